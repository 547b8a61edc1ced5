"""Sersic fits: stamps a second, and how close to truth.

    python benchmarks/fit_speed.py [cutouts.h5 ...] [--stamps 500]

Rates are stamps per second of processor time, times two cores, so that a shared machine does not blur them.
"plain" is the same fit without its short cuts: every wavenumber, two starts one after the other, and a stop
when chi2 still moves by less than 0.02. Simulated stamps are GalSim's, with Gaussian noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import galsim
import numpy as np
import torch

from skyloom import read_cutouts
from skyloom.cutouts import fit_instrument, measure
from skyloom.cutouts.levenberg import Problem, Solution, minimise
from skyloom.stamps import Cutout, FitFlag, SersicFit

CORES, SCALE, SIZE, NOISE = 2, 0.06, 96, 0.03


def simulated(count: int, rng: np.random.Generator) -> tuple[np.ndarray, list[Cutout]]:
    """Truth (count, 4): flux, half-light radius, n, q; and the stamps."""
    pixel = galsim.Pixel(SCALE)
    blur = galsim.Convolve(galsim.Moffat(beta=3, fwhm=0.14), pixel)
    psf = blur.drawImage(nx=81, ny=81, scale=SCALE, method="no_pixel", dtype=float).array
    psf = (psf / psf.sum()).astype(np.float32)
    truth, cutouts = [], []
    for i in range(count):
        flux, radius = np.exp(rng.uniform(*np.log([10, 1000]))), np.exp(rng.uniform(*np.log([0.12, 0.5])))
        n, q, beta = np.round(rng.uniform(0.6, 4.5), 1), rng.uniform(0.2, 0.95), rng.uniform(-1.57, 1.57)
        galaxy = galsim.Sersic(n=n, half_light_radius=radius, flux=flux).shear(q=q, beta=beta * galsim.radians)
        galaxy = galsim.Convolve(galaxy.shift(*rng.uniform(-0.03, 0.03, 2)), blur)
        image = galaxy.drawImage(nx=SIZE, ny=SIZE, scale=SCALE, method="no_pixel", dtype=float).array
        image = (image + rng.normal(0, NOISE, image.shape)).astype(np.float32)
        truth.append((flux, radius, n, q))
        cutouts.append(
            Cutout(
                image=image,
                variance=np.full((SIZE, SIZE), NOISE**2, np.float32),
                mask=np.ones((SIZE, SIZE), bool),
                psf=psf,
                pixel_scale=SCALE,
                zero_point=25.0,
                band="F814W",
                wavelength=804.6,
                galaxy_id=i,
                group=f"sim/{i}",
                source="sim",
            )
        )
    return np.array(truth), cutouts


def plain(cutouts: list[Cutout]) -> list[SersicFit]:
    """Fit without short cuts."""

    def from_start(problem: Problem, guess: torch.Tensor, _: float) -> Solution:
        ends = []
        for n in (1.0, 2.5):
            start = guess.clone()
            start[:, 3] = float(np.log(n))
            ends.append(minimise(problem, start, steps=6, tolerance=0.02))
        for name, values in vars(ends[0]).items():
            better = ends[1].cost < ends[0].cost
            if name != "cost":
                values[better] = getattr(ends[1], name)[better]
        ends[0].cost = torch.minimum(ends[0].cost, ends[1].cost)
        return minimise(problem, ends[0], steps=40, tolerance=0.02)

    with (
        mock.patch.object(measure, "_from_start", from_start),
        mock.patch.object(measure, "OTHER_STARTS", ()),
        mock.patch.object(fit_instrument, "CUT_POWER", -1.0),
    ):
        fit_instrument._band.cache_clear()
        fits = measure.fit_sersic(cutouts)
    fit_instrument._band.cache_clear()
    return fits


def rate(fit: Callable[[list[Cutout]], list[SersicFit]], cutouts: list[Cutout]) -> tuple[float, list[SersicFit]]:
    """Stamps per second on `CORES` cores, and the fits."""
    begin = time.process_time()
    fits = fit(cutouts)
    return CORES * len(cutouts) / (time.process_time() - begin), fits


def speed(name: str, cutouts: list[Cutout]) -> list[SersicFit]:
    """Print one line of rates; give the fits."""
    measure.fit_sersic(cutouts[:2])  # tables
    fast, fits = rate(measure.fit_sersic, cutouts)
    slow, whole = rate(plain, cutouts)
    both = [(a.chi2, b.chi2) for a, b in zip(fits, whole, strict=True) if not (a.flag | b.flag) & FitFlag.FAILED]
    chi2 = np.divide(*np.array(both).T)
    print(
        f"{name:12s} {len(cutouts):5d} {fast:8.0f}/s {slow:8.0f}/s {fast / slow:6.1f}x"
        f"   chi2 over plain: median {np.median(chi2):.5f}, largest {chi2.max():.4f}, >1.001: {(chi2 > 1.001).sum()}"
    )
    return fits


def accuracy(truth: np.ndarray, fits: list[SersicFit]) -> None:
    """Print bias, scatter and pulls by S/N."""
    snr = np.array([f.snr for f in fits])
    good = np.array([not f.flag & ~(FitFlag.TRUNCATED | FitFlag.LOW_SNR | FitFlag.AT_BOUND) for f in fits])
    got = np.array([[f.flux, f.half_light_radius, f.sersic_n, f.q] for f in fits])
    error = np.array([[f.flux_error, f.half_light_radius_error, f.sersic_n_error, f.q_error] for f in fits])
    off = np.concatenate([np.log(got[:, :3] / truth[:, :3]), got[:, 3:] - truth[:, 3:]], axis=1)
    off[:, 0] *= -2.5 / np.log(10)
    pull = (got - truth) / error
    print("\nS/N            N     " + "".join(f"{n:>26s}" for n in ("mag", "ln size", "ln n", "q")))
    print(" " * 22 + "    median scatter pull rms" * 4)
    for low, high in ((5, 20), (20, 50), (50, 100), (100, 1e9)):
        some = good & (snr >= low) & (snr < high)
        if some.sum() < 5:
            continue
        cells = ""
        for k in range(4):
            scatter = 1.4826 * np.median(np.abs(off[some, k] - np.median(off[some, k])))
            clipped = np.clip(pull[some, k], -5, 5)
            cells += f"    {np.median(off[some, k]):+.3f} {scatter:6.3f}  {np.sqrt(np.mean(clipped**2)):6.2f} "
        print(f"{low:4.0f} to {high:<9.0f} {some.sum():4d}  {cells}")
    print(f"left out: {(~good).sum()} flagged as failed, unconverged, runaway, unresolved or poor")


def statmorph(truth: np.ndarray, cutouts: list[Cutout], fits: list[SersicFit]) -> None:
    """The same of statmorph's Sersic fits, where it is installed."""
    try:
        import statmorph
    except ImportError:
        return
    import warnings

    rows, begin = [], time.process_time()
    for c, t, f in zip(cutouts, truth, fits, strict=True):
        segments = (c.image > 1.5 * NOISE) & (np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) < SIZE / 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = statmorph.SourceMorphology(
                c.image, segments.astype(int), label=1, weightmap=np.full_like(c.image, NOISE), psf=c.psf
            )
        if s.flag_sersic == 0:
            radius = s.sersic_rhalf * np.sqrt(1 - s.sersic_ellip) * SCALE
            theirs = [np.log(radius / t[1]), np.log(s.sersic_n / t[2]), 1 - s.sersic_ellip - t[3]]
            ours = [np.log(f.half_light_radius / t[1]), np.log(f.sersic_n / t[2]), f.q - t[3]]
            rows.append([theirs, ours])
    seconds = (time.process_time() - begin) / len(cutouts)
    off = np.array(rows)
    print(f"\nstatmorph, {len(rows)} of {len(cutouts)} with flag_sersic 0, {CORES / seconds:.1f}/s; ln size, ln n, q:")
    for k, name in enumerate(("statmorph", "skyloom")):
        middle = np.median(off[:, k], axis=0)
        scatter = 1.4826 * np.median(np.abs(off[:, k] - middle), axis=0)
        print(f"  {name:10s} median {np.round(middle, 3)} scatter {np.round(scatter, 3)}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files of cutouts")
    parser.add_argument("--stamps", type=int, default=500, help="simulated stamps")
    parser.add_argument("--real", type=int, default=60, help="stamps of each file")
    parser.add_argument("--statmorph", type=int, default=30, help="stamps that statmorph fits, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    truth, cutouts = simulated(given.stamps, np.random.default_rng(1))
    print(f"{'stamps':12s} {'N':>5s} {'fit':>10s} {'plain':>10s}   ratio   ({CORES} cores)")
    fits = speed("simulated", cutouts)
    for path in given.files:
        every = read_cutouts(path)
        rows = np.linspace(0, len(every) - 1, min(given.real, len(every))).astype(int)
        speed(path.stem, [every[int(i)] for i in rows])
    accuracy(truth, fits)
    some = slice(given.statmorph)
    if given.statmorph:
        statmorph(truth[some], cutouts[some], fits[some])


if __name__ == "__main__":
    main()
