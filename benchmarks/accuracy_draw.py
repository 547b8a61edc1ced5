"""Figures of merit of batched drawing: its differences to GalSim with tight GSParams.

    python benchmarks/accuracy_draw.py [--count 200] [--sersic-count 60]

The first rows are galaxies without a learned part (f = 0), half-light radius 0.05 to 3 arcsec; then galaxies with
random smooth residuals, under a lower-triangular map and under a general one (lensed and turned).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from galaxies import PSFS, galsim_image, random_galaxies

from skyloom.physics.draw import draw

STAMP_SIZE = 64


def compare(label: str, psf_name: str, count: int, seed: int, **galaxy_options: object) -> None:
    """Print one row."""
    psf, pixel_scale = PSFS[psf_name]
    rng = np.random.default_rng(seed)
    galaxies = random_galaxies(count, rng, pixel_scale=pixel_scale, **galaxy_options)  # type: ignore[arg-type]
    ours = draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=STAMP_SIZE)
    worst, flux = np.zeros(count), np.zeros(count)
    for i in range(count):
        reference = galsim_image(galaxies, i, psf, pixel_scale, STAMP_SIZE)
        worst[i] = np.abs(ours[i] - reference).max() / reference.max()
        flux[i] = abs(ours[i].sum(dtype=float) / reference.sum() - 1)
    print(
        f"| {label} | {psf_name} | {count} | {worst.max():.1e} | {np.median(worst):.1e} | {flux.max():.1e} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="galaxies with a residual, each PSF")
    parser.add_argument("--sersic-count", type=int, default=60, help="galaxies without, each PSF")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| galaxies | PSF | number | largest difference / peak | median of largest | largest flux difference |")
    print("|---|---|---|---|---|---|")
    for psf_name in PSFS:
        compare("Sersic", psf_name, options.sersic_count, options.seed, residual=False, size_range=(0.05, 3.0))
    for general in (False, True):
        label = "with residual, general map" if general else "with residual"
        for psf_name in PSFS:
            compare(label, psf_name, options.count, options.seed, general=general)


if __name__ == "__main__":
    main()
