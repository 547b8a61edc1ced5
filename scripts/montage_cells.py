"""Cells and sheets of `montage.py` and `montage_blind.py`: one stretch, one size, and what may be written where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from skyloom.stamps import Cutout
from skyloom.validate.counterparts_noise import correlated_noise
from skyloom.validate.drawing import known_fit, seen_through

ROOT = Path(__file__).resolve().parents[1]
CELL, GAP = 132, 2  # pixels
REACH = 3.2  # half-light radii along the major axis, on each side of the centre
LIMIT = 300_000  # bytes of a published picture


def window(cutout: Cutout) -> float:
    """Half the side of a picture, arcsec."""
    fit = known_fit(cutout)
    half = REACH * fit.half_light_radius / np.sqrt(fit.q)
    return float(np.clip(half / cutout.pixel_scale, 10, min(cutout.image.shape) / 2) * cutout.pixel_scale)


def stretch(image: NDArray[np.floating], noise: float, white: float) -> NDArray[np.float64]:
    """From 0 at -1.5 sigma to 1 at `white`, linear near the noise, logarithmic above (Lupton et al. 2004)."""
    low = np.arcsinh(-0.6)
    return np.asarray((np.arcsinh(image / (2.5 * noise)) - low) / (np.arcsinh(white / (2.5 * noise)) - low))


def levels(cutout: Cutout) -> tuple[float, float]:
    """The noise of a typical pixel, and the brightness shown white."""
    noise = float(np.sqrt(np.median(cutout.variance[cutout.mask])))
    return noise, max(float(np.percentile(cutout.image[cutout.mask], 99.9)), 8 * noise)


def cell(image: NDArray[np.floating], pixel_scale: float, half: float, noise: float, white: float) -> Image.Image:
    """A square about the stamp's centre as a grey picture, +y up."""
    shown = np.flipud((np.clip(stretch(image, noise, white), 0, 1) * 255).astype(np.uint8))
    middle, half = shown.shape[0] / 2, half / pixel_scale
    low, high = max(middle - half, 0.0), min(middle + half, float(shown.shape[0]))
    return Image.fromarray(shown).resize((CELL, CELL), Image.Resampling.BICUBIC, box=(low, low, high, high))


def filled(cutout: Cutout, seed: int) -> NDArray[np.float64]:
    """The image with noise where masked, so that masks catch no eye; nothing below an isophote."""
    if cutout.thresholded:
        return np.where(cutout.mask, cutout.image, 0.0)
    flat = np.full(cutout.image.shape, levels(cutout)[0] ** 2)
    return np.where(
        cutout.mask, cutout.image, correlated_noise(flat, cutout.noise_correlation, np.random.default_rng(seed))
    )


def noise_free(galaxy: galsim.GSObject, half: float, cutout: Cutout) -> tuple[NDArray[np.float64], float]:
    """A galaxy without PSF but for one as wide as the picture's pixels, at the stamp's flux a pixel; and its scale."""
    scale = 2 * half / CELL
    fine = replace(cutout, image=np.zeros((CELL, CELL), np.float32), pixel_scale=scale)
    psf, shift = galsim.Gaussian(fwhm=1.5 * scale), (-galaxy.offset.x, -galaxy.offset.y)
    return seen_through(galaxy, fine, psf=psf, shift=shift) * (cutout.pixel_scale / scale) ** 2, scale


def sheet(
    rows: Sequence[Sequence[Image.Image]], captions: Sequence[str] = (), heads: Sequence[str] = ()
) -> Image.Image:
    """Rows of cells, with a caption in each row's first cell and heads above."""
    step, top = CELL + GAP, 16 if heads else 0
    out = Image.new("L", (step * max(map(len, rows)), step * len(rows) + top), 40)
    pen = ImageDraw.Draw(out)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            out.paste(picture, (j * step, top + i * step))
        if i < len(captions):
            pen.text((3, top + i * step + 1), captions[i], fill=255)
    for j, head in enumerate(heads):
        pen.text((j * step + 3, 2), head, fill=255)
    return out


def save(image: Image.Image, path: Path, private: bool) -> None:
    """Write a PNG; of samples alone a small one, and none of real galaxies into the repository."""
    if private and path.resolve().is_relative_to(ROOT / "docs"):
        raise SystemExit(f"{path} would put pixels of real galaxies into the repository")
    small = image
    small.save(path, optimize=True)
    while not private and path.stat().st_size > LIMIT:
        small = image.resize((int(small.width * 0.95), int(small.height * 0.95)), Image.Resampling.LANCZOS)
        small.save(path, optimize=True)
    print(f"{path}: {small.width} x {small.height}, {path.stat().st_size} bytes")
