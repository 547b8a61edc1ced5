"""Whole images through GalSim's configuration: learned galaxies in batches against four other ways, side by side.

    python benchmarks/fields.py [--galaxies 1000] [--stamp-size 0] [--table 100,1000,10000,100000] [--json FILE]

Each row is one YAML text: parsed, processed, and an image of 2000 x 2000 Euclid-like pixels built from it, without
noise. The same distributions of magnitude, size, Sersic index, shape and position in all rows but the last, which
draws RealGalaxy objects. The row "catalogue in Python" has no YAML: its conditions are columns of a table, its stamps
of the sizes GalSim chooses in the others (`catalogue.py`). A row runs in a process of its own, on one thread; a first
image of 16 galaxies with another seed and another PSF is not counted, so that imports and the reading of weights are
not, while everything that belongs to the image is. Times are processor time. Slow rows draw fewer galaxies.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import galsim
import numpy as np

COSMOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "cosmos_hst"
CATALOGUE = "catalogue in Python"
SIZE, PIXEL_SCALE = 2000, 0.1

IMAGE = """
psf: {{type: Moffat, beta: 3.5, fwhm: {fwhm}}}
image:
    type: {image}
    nobjects: {count}
    size: 2000
    pixel_scale: 0.1
    random_seed: {seed}
    {stamp_size}
output: {{file_name: unused.fits}}
gal:
    half_light_radius: {{type: Random, min: 0.2, max: 0.6}}
    q: {{type: Random, min: 0.4, max: 1}}
    beta: {{type: Random}}
    shear: {{type: G1G2, g1: 0.02, g2: -0.01}}
"""

LEARNED = """
modules: [skyloom]
input: {{learned_galaxies: {{model: {model}, zero_point: 33.6, out_of_range: clip, look_ahead: {look_ahead}}}}}
"""


def learned(base: dict[str, Any], options: argparse.Namespace) -> None:
    """Learned galaxies, of continuous Sersic index."""
    base["gal"].update(
        type="LearnedGalaxy", mag={"type": "Random", "min": 20.5, "max": 24},
        sersic_n={"type": "Random", "min": 0.7, "max": 3.0},
    )  # fmt: skip


def sersic(base: dict[str, Any], options: argparse.Namespace) -> None:
    """GalSim's Sersic, of continuous index: a new look-up table for each galaxy."""
    gal = base["gal"]
    gal["ellip"] = {"type": "QBeta", "q": gal.pop("q"), "beta": gal.pop("beta")}
    gal.update(
        type="Sersic", flux={"type": "Random", "min": 7e3, "max": 1.7e5}, n={"type": "Random", "min": 0.7, "max": 3.0}
    )


def sersic_rounded(base: dict[str, Any], options: argparse.Namespace) -> None:
    """The same with the index rounded to 0.1, so that GalSim's cache holds all tables."""
    sersic(base, options)
    base["gal"]["n"] = "$round(nn, 1)"
    base["eval_variables"] = {"fnn": {"type": "Random", "min": 0.7, "max": 3.0}}


def real(base: dict[str, Any], options: argparse.Namespace) -> None:
    """COSMOS galaxies as RealGalaxy."""
    base["gal"] = {"type": "RealGalaxy", "random": True, "shear": base["gal"]["shear"]}
    base["input"] = {"real_catalog": {"dir": str(options.cosmos), "file_name": "real_galaxy_catalog.fits"}}


ROWS: dict[str, tuple[str, Callable[[dict[str, Any], argparse.Namespace], None], float, int]] = {
    "LearnedScattered": ("LearnedScattered", learned, 1.0, 16),
    "Scattered, LearnedGalaxy": ("Scattered", learned, 0.15, 16),
    "Scattered, LearnedGalaxy, one at a time": ("Scattered", learned, 0.1, 0),
    "Scattered, Sersic of continuous n": ("Scattered", sersic, 0.3, 16),
    "Scattered, Sersic of rounded n": ("Scattered", sersic_rounded, 1.0, 16),
    "Scattered, RealGalaxy": ("Scattered", real, 0.06, 16),
}
"""Name: image type, galaxies, share of the galaxies that it draws, objects looked ahead at."""


def text_of(row: str, count: int, seed: int, fwhm: float, options: argparse.Namespace) -> str:
    """The YAML of a row."""
    import yaml

    image, fill, _, look_ahead = ROWS[row]
    stamp_size = f"stamp_size: {options.stamp_size}" if options.stamp_size else ""
    text = IMAGE.format(image=image, count=count, seed=seed, fwhm=fwhm, stamp_size=stamp_size)
    if fill is learned:
        text += LEARNED.format(model=options.model, look_ahead=look_ahead)
    base = yaml.safe_load(text)
    fill(base, options)
    return yaml.safe_dump(base)


def catalogue_image(count: int, seed: int, fwhm: float, options: argparse.Namespace) -> np.ndarray:
    """The image of the YAML rows, from a table."""
    from catalogue import draw_catalogue, random_catalogue

    from skyloom import load_model

    conditions, places = random_catalogue(count, SIZE, seed)
    image = np.zeros((SIZE, SIZE), dtype=np.float32)
    psf, shear = galsim.Moffat(beta=3.5, fwhm=fwhm), galsim.Shear(g1=0.02, g2=-0.01)
    draw_catalogue(
        load_model(options.model), conditions, places, psf, image, pixel_scale=PIXEL_SCALE, shear=shear
    )  # fmt: skip
    return image


def run_here(row: str, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Time one row in this process."""
    import torch
    import yaml

    torch.set_num_threads(1)

    def image(text: str) -> galsim.Image:
        base = yaml.safe_load(text)
        galsim.config.ImportModules(base)
        return galsim.config.BuildImage(base)

    def field(count: int, seed: int, fwhm: float) -> None:
        if row == CATALOGUE:
            catalogue_image(count, seed, fwhm, options)
        else:
            image(text_of(row, count, seed, fwhm, options))

    field(16, 9, 0.17)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    field(count, 1, 0.16)
    seconds = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"galaxies": count, "seconds": seconds, "peak_mib": after / 1024, "grown_mib": (after - before) / 1024}


def run_apart(row: str, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Time one row in a process of its own."""
    command = [
        sys.executable, __file__, "--row", row, "--galaxies", str(count), "--stamp-size", str(options.stamp_size),
        "--model", options.model, "--cosmos", str(options.cosmos),
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--stamp-size", type=int, default=0, help="pixels; 0 leaves it to GalSim")
    parser.add_argument("--table", default="100,1000,10000,100000", help="numbers of galaxies; empty for none")
    parser.add_argument("--model", default="cosmos", help="name or path")
    parser.add_argument("--cosmos", type=Path, default=COSMOS, metavar="DIR", help="RealGalaxyCatalog of COSMOS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--row", choices=[*ROWS, CATALOGUE], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(run_here(options.row, options.galaxies, options)))
        return
    results: dict[str, Any] = {"rows": {}, "growth": {}}
    print("| one core, end to end | galaxies a second | ms a galaxy | times LearnedScattered's |")
    print("|---|---|---|---|")
    shares = {row: share for row, (_, _, share, _) in ROWS.items()}
    for row, share in {"LearnedScattered": 1.0, CATALOGUE: 1.0, **shares}.items():
        if row in ROWS and ROWS[row][1] is real and not options.cosmos.is_dir():
            print(f"{row}: left out, no catalogue of real galaxies at {options.cosmos}", file=sys.stderr)
            continue
        one = results["rows"][row] = run_apart(row, max(20, int(options.galaxies * share)), options)
        each = one["seconds"] / one["galaxies"]
        first = next(iter(results["rows"].values()))
        ratio = each * first["galaxies"] / first["seconds"]
        print(f"| {row} | {1 / each:.0f} | {1e3 * each:.2f} | {ratio:.1f} |", flush=True)
    counts = [int(float(count)) for count in options.table.split(",") if count]
    if counts:
        print("\n| galaxies | LearnedScattered, ms a galaxy | MiB | catalogue in Python, ms a galaxy | MiB |")
        print("|---|---|---|---|---|")
    for count in counts:
        cells = [str(count)]
        for row in ("LearnedScattered", CATALOGUE):
            one = run_apart(row, count, options)
            results["growth"].setdefault(row, []).append(one)
            cells += [f"{1e3 * one['seconds'] / count:.2f}", f"{one['peak_mib']:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
