"""A square degree in 36 files of 10 x 10 arcmin: wall time with one worker and with two, and the same pixels.

    python benchmarks/square_degree.py [--galaxies 100000] [--workers 1,2] [--folder DIR]

Euclid-like files of 6000 x 6000 pixels, sky and noise included, made by `skyloom render`. The last run's summary is
printed as `render_summary.json` has it; pixels of runs are compared by the SHA-256 in the files' receipts. The images
are removed afterwards unless a folder is given (some 6 GB a run).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = """
modules: [skyloom]
input: {{learned_galaxies: {{model: {model}, zero_point: 32.79, out_of_range: clip, wavelength: 751}}}}
psf: {{type: Moffat, beta: 3.5, fwhm: 0.17}}
gal:
    type: LearnedGalaxy
    galaxy_id: $obj_num + 1
    mag: {{type: Random, min: 20.5, max: 24.5}}
    half_light_radius: {{type: Random, min: 0.2, max: 0.6}}
    sersic_n: {{type: Random, min: 0.7, max: 3.0}}
    q: {{type: Random, min: 0.4, max: 1}}
    beta: {{type: Random}}
    shear: {{type: G1G2, g1: 0.02, g2: -0.01}}
image:
    type: LearnedScattered
    nobjects: {each}
    size: {size}
    pixel_scale: 0.1
    random_seed: 1
    noise: {{type: CCD, gain: 3.1, read_noise: 4.4, sky_level_pixel: 50}}
output: {{nfiles: {files}, file_name: "$'tile%02d.fits' % file_num"}}
"""


def pixels(folder: Path) -> dict[str, Any]:
    """SHA-256 of the pixels of each file, from its receipt."""
    found = {}
    for path in sorted(folder.glob("*.receipt.json")):
        receipt = json.loads(path.read_text())
        found[path.name] = {k: v["pixels_sha256"] for k, v in receipt["files"].items() if "pixels_sha256" in v}
    return found


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=36)
    parser.add_argument("--size", type=int, default=6000, help="pixels of a file's side")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--model", default="cosmos", help="name or path")
    parser.add_argument("--folder", type=Path, help="keep the images here")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="square-degree-"))
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "degree.yaml"
    each = -(-args.galaxies // args.files)
    config.write_text(CONFIG.format(model=args.model, each=each, size=args.size, files=args.files))
    runs: dict[int, dict[str, Any]] = {}
    made = []
    try:
        for workers in map(int, args.workers.split(",")):
            out = folder / f"workers-{workers}"
            render = [sys.executable, "-m", "skyloom", "render", str(config), "-o", str(out)]
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run([*render, "--workers", str(workers)], check=True, env=one_thread)
            runs[workers] = json.loads((out / "render_summary.json").read_text())
            made.append(pixels(out))
            if args.folder is None:
                shutil.rmtree(out)
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    if not made[0] or not all(made[0].values()):
        sys.exit("the receipts name no pixels")
    print("| workers | files | galaxies | wall, s | galaxies a second | processor, s | times faster |")
    print("|---|---|---|---|---|---|---|")
    first = next(iter(runs.values()))
    for workers, run in runs.items():
        print(
            f"| {workers} | {len(run['made'])} | {run['galaxies']} | {run['seconds']:.0f} | "
            f"{run['galaxies_per_second']:.0f} | {run['cpu_seconds']:.0f} | {first['seconds'] / run['seconds']:.2f} |"
        )
    same = all(m == made[0] for m in made)
    print(f"\npixels of all files the same: {same}\n")
    print(json.dumps(list(runs.values())[-1], indent=1))
    sys.exit(not same)


if __name__ == "__main__":
    main()
