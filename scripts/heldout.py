"""Held-out figures and a montage (real | reconstruction | sample) of a model on cutouts it has not seen.

    python scripts/heldout.py build/cosmos/*.h5 --model cosmos -o heldout.png

Cutouts of the model's own test split are chosen; the split is by patch of sky. With `--independent` the figures are
those of a likelihood that takes pixels as independent of each other, without upper limits and with floors of 3 %: nats
that can be compared with work that does not make noise white. Correlated noise counts more than it should there.
With `--correlated` posteriors with correlations between latents are tried too: a tighter bound, some 5 seconds a stamp.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import galsim
import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import evidence_gain
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.likelihood import Likelihood
from skyloom.generators.cvae.refine import REFINE_STEPS
from skyloom.stamps import Cutout

mpl.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    """Print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--model", default="cosmos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--independent", action="store_true", help="pixels taken as independent; no picture")
    parser.add_argument("--correlated", action="store_true", help="posteriors with correlations between latents too")
    parser.add_argument("-o", "--output", type=Path, default=Path("heldout.png"))
    args = parser.parse_args()
    model = skyloom.load_model(args.model)
    test = split_cutouts([skyloom.read_cutouts(path) for path in args.cutouts]).test
    if not test:
        parser.error("none of these cutouts is held out")
    if args.independent:
        gains(independent(model, test, correlated=args.correlated), test)
        return
    gains(model.held_out(test, correlated=args.correlated), test)
    picked = brightest(test, 24)
    montage(model, picked, args.seed, args.output)
    print(f"montage of {len(picked)} galaxies: {args.output}")


def independent(model: CVAEGenerator, test: list[Cutout], *, correlated: bool) -> dict[str, NDArray[np.float64]]:
    """`CVAEGenerator.held_out` with another likelihood: every pixel counts in full."""
    likelihood = Likelihood(whitened=False, censored=False, model_floor=0.03, psf_floor=0.03)
    stamps = Stamps.from_cutouts(test, likelihood)
    stamps = replace(stamps, independent=torch.ones(len(stamps)))
    torch.manual_seed(0)
    found = evidence_gain(model.encoder, model.decoder, stamps, 3, refine=REFINE_STEPS, correlated=correlated)
    return {name: values.double().numpy() for name, values in found.items()}


def gains(found: dict[str, NDArray[np.float64]], test: list[Cutout]) -> None:
    """Negative log likelihood a galaxy of the Sersic alone, less the bound of the model's: nats gained."""
    source = np.array([c.source for c in test])
    print(f"{'source':16s} {'n':>4s} {'nats gained: mean':>18s} {'median':>8s} {'share > 0':>10s}", end="")
    print(f" {'chi2 Sersic':>12s} {'model':>7s}")
    for name in sorted(set(source)):
        rows = source == name
        gain = found["gain"][rows]
        print(
            f"{name:16s} {rows.sum():4d} {gain.mean():18.1f} {np.median(gain):8.1f} {(gain > 0).mean():10.2f} "
            f"{found['chi2_sersic'][rows].mean():12.3f} {found['chi2'][rows].mean():7.3f}"
        )


def brightest(test: list[Cutout], count: int) -> list[Cutout]:
    """The cutouts of highest S/N that show a galaxy of more than five pixels, one a galaxy."""
    resolved = [c for c in test if c.fit is not None and c.fit.half_light_radius > 5 * c.pixel_scale]
    seen: dict[tuple[str, int], Cutout] = {}
    for cutout in sorted(resolved, key=lambda c: -c.fit.snr if c.fit else 0.0):
        seen.setdefault((cutout.source, cutout.galaxy_id), cutout)
    return list(seen.values())[:count]


def montage(model: object, cutouts: list[Cutout], seed: int, output: Path) -> None:
    """Draw the picture: as observed, reconstructed, sampled at the same conditions through PSF and noise, and plain."""
    from skyloom.generators.cvae.data import fitted_conditions

    conditions = fitted_conditions(cutouts)
    rebuilt = model.reconstruct(cutouts)  # type: ignore[attr-defined]
    sampled = model.sample(conditions, seed=seed, out_of_range="clip")  # type: ignore[attr-defined]
    rows = ("real", "reconstruction", "sample", "reconstruction, no PSF", "sample, no PSF")
    figure, axes = plt.subplots(len(rows), len(cutouts), figsize=(1.3 * len(cutouts), 1.35 * len(rows)), squeeze=False)
    rng = np.random.default_rng(seed)
    for column, cutout in enumerate(cutouts):
        for axis, image in zip(axes[:, column], _images(cutout, rebuilt[column], sampled[column], rng), strict=True):
            axis.imshow(image, cmap="gray", origin="lower")
            axis.set_xticks([])
            axis.set_yticks([])
        fit = cutout.fit
        axes[0, column].set_title(f"{cutout.band}\nn {fit.sersic_n:.1f}  q {fit.q:.1f}" if fit else "", fontsize=7)
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name, fontsize=7)
    figure.tight_layout(pad=0.2)
    figure.savefig(output, dpi=80)


def _images(
    cutout: Cutout, rebuilt: galsim.GSObject, sampled: galsim.GSObject, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    fit = cutout.fit
    assert fit is not None
    psf = galsim.InterpolatedImage(galsim.Image(cutout.psf, scale=cutout.pixel_scale), flux=1.0)
    size = cutout.image.shape[0]
    sigma = float(np.sqrt(np.median(cutout.variance[cutout.mask])))
    half = int(np.clip(3.3 * fit.half_light_radius / np.sqrt(fit.q) / cutout.pixel_scale, 12, size // 2))
    cut = slice(size // 2 - half, size // 2 + half)
    seen = [np.where(cutout.mask, cutout.image - fit.sky, 0)]
    for galaxy, noise in ((rebuilt, 0.0), (sampled.shift(fit.dx, fit.dy), sigma)):
        both = galsim.Convolve(galaxy, psf)
        image = both.drawImage(nx=size, ny=size, scale=cutout.pixel_scale, method="no_pixel").array
        seen.append(np.where(cutout.mask, image + noise * rng.standard_normal(image.shape), 0))
    top = np.arcsinh(seen[0].max() / sigma / 3)
    stretched = [np.clip(np.arcsinh(image[cut, cut] / sigma / 3) / top, -0.05, 1) for image in seen]
    for galaxy in (rebuilt, sampled):
        scale = 2 * half * cutout.pixel_scale / 120
        plain = galaxy.drawImage(nx=120, ny=120, scale=scale, method="no_pixel").array
        stretched.append(np.arcsinh(plain / np.quantile(plain, 0.7)))
    return stretched


if __name__ == "__main__":
    main()
