"""What a fit finds of a galaxy seen less deep, real galaxies and models' side by side, as a table.

    python scripts/depth.py build/cosmos/ceers.h5 --model cosmos --snr 200 60

A Sersic fit to a deep image weighs a galaxy's outskirts, one to a shallow image its bright middle: of a galaxy with
structure they find different parameters, of a Sersic profile the same. Noise is added to bright cutouts and to models'
counterparts of them, and each is fitted again; printed is the shallow fit less the deep one of the same image, median
+- its error (half of the 16th to 84th percentile). Errors are by bootstrap over galaxies.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.rng import galaxy_rng
from skyloom.stamps import Cutout, FitFlag
from skyloom.validate.counterparts_noise import correlated_noise
from skyloom.validate.counterparts_shape import counterparts_as_real
from skyloom.validate.drawing import known_fit
from skyloom.validate.run_samples import default_refit
from skyloom.validate.statistics_score import bootstrap

FIGURES = ("ln n", "ln r", "q", "mag")
DEEPER = 3.0
"""S/N of a deep image over the largest asked for, at least."""
_BOOTSTRAPS = 300


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--model", action="append", help="name or weights file; may be given again  [cosmos]")
    parser.add_argument("--part", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--snr", type=float, nargs="+", default=[200.0, 60.0])
    parser.add_argument("--resolved", type=float, default=0.15, help="least half-light radius, arcsec")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    part = getattr(split_cutouts([skyloom.read_cutouts(path) for path in args.cutouts]), args.part)
    real = [c for c in part if _bright(c, DEEPER * max(args.snr), args.resolved)]
    if not real:
        parser.error(f"none of these cutouts has an S/N above {DEEPER * max(args.snr):g}")
    sets = {"real": real}
    for name in [*(args.model or ["cosmos"]), "Sersic"]:
        model = None if name == "Sersic" else skyloom.load_model(name)
        sets[Path(name).stem] = counterparts_as_real(real, model, default_refit, seed=args.seed)[0]
    print(f"{len(real)} stamps of {len({(c.source, c.galaxy_id) for c in real})} galaxies: shallow fit less deep fit\n")
    print("| S/N | galaxies | " + " | ".join(FIGURES) + " |\n|---" + "|---" * (1 + len(FIGURES)) + "|")
    for snr in args.snr:
        for name, cutouts in sets.items():
            found, galaxies = differences(cutouts, snr, args.seed)
            told = " | ".join(_told(column, galaxies) for column in found.T)
            print(f"| {snr:g} | {name} | {told} |")


def _bright(cutout: Cutout, snr: float, radius: float) -> bool:
    fit = known_fit(cutout)
    good = FitFlag.FAILED not in fit.flags and not cutout.thresholded
    return good and fit.snr >= snr and fit.half_light_radius >= radius


def shallower(cutout: Cutout, snr: float, seed: int) -> Cutout:
    """The same image with noise added, down to an S/N below that of its fit."""
    more = (known_fit(cutout).snr / snr) ** 2 - 1
    rng = galaxy_rng(seed, cutout.galaxy_id, f"depth {snr:g} {cutout.band}")
    typical = np.full(cutout.image.shape, more * float(np.median(cutout.variance[cutout.mask])))
    noise = correlated_noise(typical, cutout.noise_correlation, rng)
    return replace(
        cutout,
        image=np.where(cutout.mask, cutout.image + noise, cutout.image).astype(np.float32),
        variance=(cutout.variance + typical).astype(np.float32),
        fit=None,
    )


def differences(cutouts: Sequence[Cutout], snr: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shallow less deep, shape (N, 4) as `FIGURES`, and which galaxy each row is of."""
    deep = [c for c in cutouts if c.fit is not None and c.fit.snr > snr]
    rows = []
    for cutout, fit in zip(deep, default_refit([shallower(c, snr, seed) for c in deep]), strict=True):
        own = known_fit(cutout)
        if FitFlag.FAILED in fit.flags or FitFlag.FAILED in own.flags or not fit.flux > 0:
            rows.append([np.nan] * len(FIGURES))
            continue
        ratio = np.log([fit.sersic_n / own.sersic_n, fit.half_light_radius / own.half_light_radius])
        rows.append([*ratio, fit.q - own.q, -2.5 * np.log10(fit.flux / own.flux)])
    found = np.array(rows)
    good = np.isfinite(found).all(1)
    _, galaxies = np.unique([f"{c.source}:{c.galaxy_id}" for c in deep], return_inverse=True)
    return found[good], galaxies[good]


def _told(values: NDArray[np.float64], galaxies: NDArray[np.int64]) -> str:
    again = bootstrap(
        lambda _, rows: float(np.median(values[rows])), 1, galaxies, np.random.default_rng(0), _BOOTSTRAPS
    )
    low, high = np.quantile(values, [0.16, 0.84])
    return f"{np.median(values):+.3f} ± {again.std():.3f} ({(high - low) / 2:.3f})"


if __name__ == "__main__":
    sys.exit(main())
