"""What was asked of a model and what a Sersic fit recovers from its images, learned galaxies and Sersics side by side.

    python scripts/calibration.py --model cosmos --count 400 --seed 1

Requests are spread over the range the model documents (sizes as given), drawn through a PSF and white noise at several
matched-filter S/N, and measured by `skyloom.cutouts.measure.fit_sersic`. The Sersics have the same conditions, PSF and
noise: what they miss, the fit misses. Then the conditions are shuffled among the galaxies, ids and so latents staying
where they are, and what is recovered must follow the shuffled conditions. Prints Markdown. Some minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise

import galsim
import numpy as np
import torch
from exactness import random_requests
from numpy.typing import NDArray
from scipy.stats import spearmanr

import skyloom
from skyloom.cutouts.measure import fit_sersic
from skyloom.frames import profile_jacobian
from skyloom.generators.ranges import condition_values
from skyloom.stamps import Cutout, FitFlag

Floats = NDArray[np.float64]
Recovered = dict[str, Floats]

PSFS = {
    "gaussian": lambda fwhm: galsim.Gaussian(fwhm=fwhm),
    "moffat": lambda fwhm: galsim.Moffat(beta=3.5, fwhm=fwhm),
    "kolmogorov": lambda fwhm: galsim.Kolmogorov(fwhm=fwhm),
}
QUANTITIES = {"mag": "Δmag", "half_light_radius": "Δ ln r", "sersic_n": "Δ ln n", "q": "Δq"}
BINS = {
    "sersic_n": (0.3, 0.8, 1.5, 3.0, 6.2),
    "q": (0.0, 0.35, 0.6, 0.8, 1.0),
    "half_light_radius": (0.0, 0.15, 0.25, 0.4, 10.0),
    "surface_brightness": (10.0, 19.0, 21.0, 23.0, 30.0),
}
UNUSABLE = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.AT_BOUND | FitFlag.RUNAWAY_SIZE | FitFlag.UNRESOLVED


def main() -> None:
    """Draw, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cosmos")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--psf", choices=list(PSFS), default="moffat")
    parser.add_argument("--fwhm", type=float, default=0.1, help="arcsec")
    parser.add_argument("--pixel-scale", type=float, default=0.03, help="arcsec")
    parser.add_argument("--stamp-size", type=int, default=128)
    parser.add_argument("--size", type=float, nargs=2, default=(0.08, 0.6), help="half-light radii, arcsec")
    parser.add_argument("--snr", type=float, nargs="+", default=(30.0, 100.0, 300.0))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = skyloom.load_model(args.model)
    asked = random_requests(model, args.count, args.seed, {"half_light_radius": tuple(args.size)})
    instrument = Instrument(PSFS[args.psf](args.fwhm), args.pixel_scale, args.stamp_size)
    print(
        f"`{args.model}`, {args.count} requests, seed {args.seed}: {args.psf} PSF of {args.fwhm} arcsec FWHM, pixels "
        f"of {args.pixel_scale} arcsec, stamps of {args.stamp_size}; half-light radii {args.size[0]} to {args.size[1]} "
        "arcsec. Recovered - asked: median ± its error (half of the 16th to 84th percentile). Counts: learned, Sersic."
    )
    batches = {"learned": model.sample(asked, seed=args.seed), "Sersic": plain(asked)}
    print("\n| S/N | fits used | " + " | ".join(f"{t}, learned | {t}, Sersic" for t in QUANTITIES.values()) + " |")
    print("|" + "---|" * (2 + 2 * len(QUANTITIES)))
    for snr in sorted(args.snr):
        found = {name: instrument.recovered(batch, asked, snr, args.seed) for name, batch in batches.items()}
        print(f"| {snr:g} | {used(found)} | {row(asked, found, np.ones(len(asked), bool))} |")
    print(f"\nAt S/N {snr:g}, by what was asked:\n")
    print("| asked | fits used | " + " | ".join(f"{t}, learned | {t}, Sersic" for t in QUANTITIES.values()) + " |")
    print("|" + "---|" * (2 + 2 * len(QUANTITIES)))
    for label, rows in bins(asked):
        few = {name: {k: v[rows] for k, v in one.items()} for name, one in found.items()}
        print(f"| {label} | {used(few)} | {row(asked, found, rows)} |")
    shuffled(model, asked, instrument, snr, args.seed)


class Instrument:
    """PSF, pixels and stamp, and what a fit recovers through them.

    Parameters
    ----------
    psf : galsim.GSObject
    pixel_scale : float
        Arcsec.
    stamp_size : int
    """

    def __init__(self, psf: galsim.GSObject, pixel_scale: float, stamp_size: int) -> None:
        self.psf, self.pixel_scale, self.stamp_size = psf, pixel_scale, stamp_size
        effective = galsim.Convolve(psf, galsim.Pixel(pixel_scale))
        drawn = effective.drawImage(nx=65, ny=65, scale=pixel_scale, method="no_pixel").array
        self.effective = np.asarray(drawn / drawn.sum(), dtype=np.float32)

    def recovered(self, batch: skyloom.ProfileBatch, asked: skyloom.Conditions, snr: float, seed: int) -> Recovered:
        """Conditions by Sersic fits to images at one S/N; NaN where the fit says that it cannot be used."""
        images = skyloom.draw(batch, self.psf, pixel_scale=self.pixel_scale, stamp_size=self.stamp_size)
        cutouts = []
        for i, image in enumerate(images):
            sigma = float(np.sqrt(np.sum(image.astype(np.float64) ** 2))) / snr
            noise = np.random.default_rng([seed, i]).standard_normal(image.shape)
            cutouts.append(
                Cutout(
                    image=(image + sigma * noise).astype(np.float32),
                    variance=np.full(image.shape, sigma**2, np.float32),
                    mask=np.ones(image.shape, bool),
                    psf=self.effective,
                    pixel_scale=self.pixel_scale,
                    zero_point=30.0,
                    band="",
                    wavelength=float("nan"),
                    galaxy_id=i,
                    group=str(i),
                    source="calibration",
                )
            )
        fits = fit_sersic(cutouts)
        good = np.array([not (fit.flags & UNUSABLE) and fit.flux > 0 for fit in fits])
        out = {"mag": np.array([30 - 2.5 * np.log10(max(fit.flux, 1e-30)) for fit in fits])}
        out |= {name: np.array([getattr(f, name) for f in fits]) for name in ("half_light_radius", "sersic_n", "q")}
        return {name: np.where(good, values, np.nan) for name, values in out.items()}


def plain(asked: skyloom.Conditions) -> skyloom.ProfileBatch:
    """Sersics of the conditions."""
    return skyloom.ProfileBatch(
        galaxy_id=asked.galaxy_id,
        sersic_n=asked.sersic_n,
        flux=asked.flux,
        half_light_radius=asked.half_light_radius,
        q=asked.q,
        beta=asked.beta,
        jacobian=profile_jacobian(asked.half_light_radius, asked.q, asked.beta),
    )


def difference(asked: skyloom.Conditions, found: Recovered, name: str) -> Floats:
    """Recovered - asked, of the logarithm for size and n."""
    wanted = np.asarray(getattr(asked, name))
    if name in ("half_light_radius", "sersic_n"):
        return np.asarray(np.log(found[name] / wanted))
    return np.asarray(found[name] - wanted)


def row(asked: skyloom.Conditions, found: dict[str, Recovered], rows: NDArray[np.bool_]) -> str:
    """Bias and scatter of all quantities, learned and Sersic."""
    cells = []
    for name in QUANTITIES:
        for kind in ("learned", "Sersic"):
            values = difference(asked, found[kind], name)[rows]
            values = values[np.isfinite(values)]
            if len(values) < 5:
                cells.append("too few")
                continue
            low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
            scatter = (high - low) / 2
            cells.append(f"{middle:+.3f} ± {1.25 * scatter / np.sqrt(len(values)):.3f} ({scatter:.3f})")
    return " | ".join(cells)


def used(found: dict[str, Recovered]) -> str:
    """How many fits count, learned and Sersic."""
    counts = [np.isfinite(one["mag"]) for one in found.values()]
    return ", ".join(f"{c.sum()}/{len(c)}" for c in counts)


def bins(asked: skyloom.Conditions) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and rows of each bin."""
    for name, edges in BINS.items():
        values = condition_values(asked, name)
        assert values is not None
        for low, high in pairwise(edges):
            rows = (values >= low) & ((values < high) | (high == edges[-1]))
            if rows.any():
                yield f"{name} {values[rows].min():.2f} to {values[rows].max():.2f}", rows


def shuffled(
    model: skyloom.profiles.Generator, asked: skyloom.Conditions, instrument: Instrument, snr: float, seed: int
) -> None:
    """Print rank correlations of what is recovered with the shuffled conditions and with those before."""
    order = np.random.default_rng(seed).permutation(len(asked))
    mixed = asked[order].replace(galaxy_id=asked.galaxy_id)  # galaxy i keeps its latent and has another's conditions
    found = instrument.recovered(model.sample(mixed, seed=seed), mixed, snr, seed)
    print(f"\nConditions shuffled among galaxies, S/N {snr:g}: Spearman's rank correlation of what is recovered\n")
    print("| | with what is asked after the shuffle | with what was asked before |")
    print("|---|---|---|")
    for name in QUANTITIES:
        good = np.isfinite(found[name])
        after, before = (spearmanr(found[name][good], getattr(c, name)[good]).statistic for c in (mixed, asked))
        print(f"| {name} | {after:+.3f} | {before:+.3f} |")


if __name__ == "__main__":
    main()
