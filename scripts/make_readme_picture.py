"""Make docs/images/demo.png, the picture of the README, from the demo's: smaller, in few colours.

skyloom demo -o demo && python scripts/make_readme_picture.py demo/demo.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from PIL import Image

from skyloom.demo.picture import COLOURS, TEXT

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.png"
LIMIT = 600_000  # bytes


def palette() -> Image.Image:
    """Shades of the demo's colours, evenly: one made from the picture would spend itself on the sky."""
    shades = LinearSegmentedColormap.from_list("night", COLOURS)(np.linspace(0, 1, 62))[:, :3]
    colours = np.vstack([shades, to_rgb(TEXT), to_rgb("#5f7894")])
    image = Image.new("P", (1, 1))
    image.putpalette(np.round(255 * colours).astype(np.uint8).tobytes())
    return image


def main() -> None:
    """Shrink until the file is small enough to live in the repository."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="demo.png of the demo")
    picture = Image.open(parser.parse_args().picture).convert("RGB")
    shades = palette()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    for width in range(picture.width, 800, -100):
        size = (width, round(picture.height * width / picture.width))
        small = picture.resize(size, Image.Resampling.LANCZOS).quantize(palette=shades, dither=Image.Dither.NONE)
        small.save(OUT, optimize=True)
        if OUT.stat().st_size < LIMIT:
            print(f"{OUT.name}: {size[0]} x {size[1]}, {OUT.stat().st_size} bytes")
            return
    raise SystemExit(f"{OUT.name} does not get below {LIMIT} bytes")


if __name__ == "__main__":
    main()
