"""Pictures to judge a model by eye; docs/gallery.md shows some and says what they show.

    python scripts/montage.py full build/cosmos/c*.h5                 real | reconstruction | samples, by kind
    python scripts/montage.py samples build/cosmos/c*.h5 --publish    samples alone, into docs/images
    python scripts/montage.py discs build/cosmos/*.h5 --publish       many noise-free discs
    python scripts/montage.py bands --publish                         one galaxy at three wavelengths

``full`` shows real galaxies of the test split: what it writes stays outside the repository.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
from montage_cells import CELL, ROOT, cell, filled, levels, noise_free, save, sheet, window
from PIL import Image
from scipy.ndimage import gaussian_filter

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.counterparts import above_isophote, asked_conditions
from skyloom.validate.counterparts_noise import correlated_noise
from skyloom.validate.drawing import draw_through, known_fit
from skyloom.validate.run_samples import in_ranges

BANDS = {"jwst_ceers": ("F115W", "F200W", "F444W"), "candels_hst": ("F606W", "F814W", "F125W")}
KINDS = ("face-on", "edge-on", "spheroid", "irregular")
Galaxy = list[Cutout]  # one galaxy, in the bands shown


def asymmetry(cutout: Cutout) -> float:
    """Share of light that a turn by pi does not give back, noise taken off (Conselice 2003)."""
    fit = known_fit(cutout)
    shift = np.round(np.array([fit.dy, fit.dx]) / cutout.pixel_scale).astype(int)
    image = np.roll(gaussian_filter(np.where(cutout.mask, cutout.image, 0), 1), -shift, (0, 1))
    both = cutout.mask & cutout.mask[::-1, ::-1]
    y, x = np.indices(image.shape) - (np.array(image.shape)[:, None, None] - 1) / 2
    inside = both & (np.hypot(x, y) * cutout.pixel_scale < 2 * fit.half_light_radius / np.sqrt(fit.q))
    return float(np.abs(image - image[::-1, ::-1])[inside].sum() / max(np.abs(image[inside]).sum(), 1e-30))


def by_kind(galaxies: Sequence[Galaxy], rows: int) -> dict[str, list[Galaxy]]:
    """The best seen galaxies of each kind, told apart by their fits; irregular: the most lopsided."""
    found: dict[str, list[Galaxy]] = {kind: [] for kind in KINDS}
    ragged = sorted((g for g in galaxies if known_fit(g[-1]).q > 0.4), key=lambda g: -asymmetry(g[0]))[: 2 * rows]
    for galaxy in galaxies:
        fit = known_fit(galaxy[-1])
        if galaxy in ragged[:rows]:
            found["irregular"].append(galaxy)
        elif fit.q < 0.4:
            found["edge-on"].append(galaxy)
        elif fit.sersic_n > 2.3:
            found["spheroid"].append(galaxy)
        elif fit.q > 0.5 and fit.sersic_n < 2:
            found["face-on"].append(galaxy)
    return {kind: _mixed(some, rows) for kind, some in found.items()}


def _mixed(galaxies: Sequence[Galaxy], rows: int) -> list[Galaxy]:
    """From each source in turn, those with the most resolved pixels first."""
    queues = defaultdict(list)
    for galaxy in sorted(galaxies, key=lambda g: -known_fit(g[-1]).half_light_radius / _fwhm(g[-1])):
        queues[galaxy[0].source].append(galaxy)
    turns = [[q[k] for q in queues.values() if k < len(q)] for k in range(rows)]
    return [galaxy for turn in turns for galaxy in turn][:rows]


def _fwhm(cutout: Cutout) -> float:
    return float(np.sqrt(cutout.psf.sum() / cutout.psf.max()) * cutout.pixel_scale)


def samples_of(galaxy: Galaxy, model: Generator, seed: int) -> list[galsim.GSObject]:
    """One latent in all bands of a galaxy, at their conditions."""
    shared = {
        (c.source, c.galaxy_id): float(np.median([known_fit(c).half_light_radius for c in galaxy])) for c in galaxy
    }
    out = []
    for cutout in galaxy:
        asked = asked_conditions([cutout], shared)
        out += list(model.sample(asked, seed=seed, out_of_range="clip"))
    return out


def published(galaxy: Galaxy) -> Galaxy:
    """Without anything of the real galaxy but its numbers: no pixels, no mask, even noise."""
    bare = []
    for c in galaxy:
        shape = c.image.shape
        even = np.full(shape, levels(c)[0] ** 2, np.float32)
        bare.append(replace(c, image=even, variance=even, mask=np.ones(shape, bool), thresholded=False))
    return bare


def picture(galaxy: Galaxy, model: Generator, seed: int, with_real: bool) -> list[Image.Image]:
    """A row: in each band real, reconstruction, noise-free sample, sample through PSF and noise; or the last two."""
    cells: list[Image.Image] = []
    made = samples_of(galaxy, model, seed)
    rebuilt = list(model.reconstruct(galaxy)) if with_real else [None] * len(galaxy)  # type: ignore[attr-defined]
    half = window(galaxy[0]) if len(galaxy) == 1 else float(np.median([window(c) for c in galaxy]))
    for cutout, sample, again in zip(galaxy if with_real else published(galaxy), made, rebuilt, strict=True):
        twin = _seen(cutout, sample, seed)
        noise, white = levels(cutout if with_real else twin)
        scale = cutout.pixel_scale
        if with_real:
            cells += [cell(filled(cutout, seed), scale, half, noise, white)]
            cells += [cell(*noise_free(again, half, cutout), half, noise, white)]
        cells += [cell(*noise_free(sample, half, cutout), half, noise, white)]
        cells += [cell(filled(twin, seed), scale, half, noise, white)]
    return cells


def _seen(cutout: Cutout, galaxy: galsim.GSObject, seed: int) -> Cutout:
    """The galaxy through the cutout's PSF, noise and mask."""
    variance = np.nan_to_num(cutout.variance.clip(0))
    noise = correlated_noise(variance, cutout.noise_correlation, np.random.default_rng(seed))
    image = draw_through(galaxy, cutout) + noise
    mask = above_isophote(image, cutout) if cutout.thresholded else cutout.mask
    return replace(cutout, image=np.where(mask, image, 0.0).astype(np.float32), mask=mask)


def read_test(paths: Sequence[Path], model: Generator, every: bool = True) -> dict[tuple[str, int], Galaxy]:
    """Galaxies of the test split in the bands where they are bright, resolved and in the model's ranges, or in all."""
    keep = in_ranges([model])
    galaxies = defaultdict(list)
    for cutout in split_cutouts([skyloom.read_cutouts(path) for path in paths]).test:
        fit = known_fit(cutout)
        if not every or (fit.snr >= 80 and fit.half_light_radius >= _fwhm(cutout) and keep(cutout) is None):
            galaxies[cutout.source, cutout.galaxy_id].append(cutout)
    return dict(galaxies)


def gallery(args: argparse.Namespace, model: Generator, with_real: bool) -> None:
    """One picture a kind; with real galaxies, or of samples alone."""
    galaxies = []
    seen = read_test(args.cutouts, model)
    for (source, number), bands in read_test(args.cutouts, model, every=False).items():
        if len(seen.get((source, number), ())) < 2:
            continue
        shown = [next((c for c in bands if c.band == name), None) for name in BANDS.get(source, ())]
        if shown and all(c is not None for c in shown):
            galaxies.append([c for c in shown if c is not None])
    words = ("real", "reconstruction") * with_real + ("noise-free sample", "with PSF, noise")
    heads = [word for _ in range(3) for word in words]
    folder = folder_of(args)
    for kind, some in by_kind(galaxies, args.rows).items():
        rows, captions = [], []
        for galaxy in some:
            fit = known_fit(galaxy[-1])
            for k in range(1 if with_real else args.draws):
                rows.append(picture(galaxy, model, args.seed + k, with_real))
                name = f"{galaxy[0].source} {galaxy[0].galaxy_id}"
                what = f"{galaxy[0].band} to {galaxy[-1].band}" if args.publish else name
                captions.append(f"{what} n {fit.sersic_n:.1f} q {fit.q:.2f}" if k == 0 else "")
        if rows:
            save(sheet(rows, captions, heads), folder / f"{'full' if with_real else 'gallery'}_{kind}.png", with_real)


def discs(args: argparse.Namespace, model: Generator) -> None:
    """Noise-free samples at the conditions of discs that are not edge on: to count what is wrong."""
    found = [g for g in read_test(args.cutouts, model).values() if known_fit(g[-1]).q > 0.5]
    found = [[next((c for c in g if c.band in ("F606W", "F115W", "F150W")), g[0])] for g in found]
    shown = [g for g in found if known_fit(g[0]).sersic_n < 2.3]
    cells = []
    for k in range(args.count):
        galaxy = shown[k % len(shown)]
        sample = samples_of(galaxy, model, args.seed + k // len(shown))[0]
        half = window(galaxy[0])
        image, scale = noise_free(sample, half, galaxy[0])
        white = float(np.percentile(image, 99.5))
        cells.append(cell(image, scale, half, white / 60, white))
    rows = [cells[k : k + 12] for k in range(0, len(cells), 12)]
    save(sheet(rows), folder_of(args) / "gallery_discs.png", private=False)


def bands(args: argparse.Namespace, model: Generator) -> None:
    """One latent at 600, 1250 and 4400 nm: twelve discs at z = 0.8, none of them a real galaxy's conditions."""
    columns, count = [], 12
    for wavelength, radius, n in ((600.0, 0.66, 0.9), (1250.0, 0.60, 1.1), (4400.0, 0.52, 1.4)):
        asked = skyloom.Conditions(
            galaxy_id=np.arange(count),
            mag=np.full(count, 21.5),
            zero_point=25.0,
            half_light_radius=radius,
            sersic_n=n,
            q=np.linspace(0.45, 0.95, count),
            beta=np.linspace(-1.4, 1.4, count),
            wavelength=wavelength,
            redshift=0.8,
            structure_radius=0.6,
        )
        images = []
        profiles = model.sample(asked, seed=args.seed, out_of_range="clip")
        for image in skyloom.draw(profiles, galsim.Gaussian(fwhm=0.05), pixel_scale=0.03, stamp_size=CELL):
            white = float(np.percentile(image, 99.5))
            images.append(cell(image, 1.0, CELL / 2, white / 60, white))
        columns.append(images)
    save(sheet(columns, ("600 nm", "1250 nm", "4400 nm")), folder_of(args) / "gallery_bands.png", private=False)


def folder_of(args: argparse.Namespace) -> Path:
    """Where pictures go, made where missing."""
    folder: Path = args.publish or args.out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Run one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    for name in ("full", "samples", "discs", "bands"):
        mode = modes.add_parser(name)
        if name != "bands":
            mode.add_argument("cutouts", nargs="+", type=Path)
        mode.add_argument("--model", default="cosmos")
        mode.add_argument("--out", type=Path, default=ROOT / "build" / "montage")
        mode.add_argument("--seed", type=int, default=1)
        mode.add_argument("--rows", type=int, default=3, help="galaxies of a kind")
        mode.add_argument("--draws", type=int, default=2, help="samples at one galaxy's conditions")
        mode.add_argument("--count", type=int, default=60, help="of discs")
        mode.set_defaults(publish=None)
        if name != "full":
            mode.add_argument("--publish", nargs="?", type=Path, const=ROOT / "docs" / "images")
    args = parser.parse_args()
    model = skyloom.load_model(args.model)
    run: dict[str, Callable[[], None]] = {
        "full": lambda: gallery(args, model, True),
        "samples": lambda: gallery(args, model, False),
        "discs": lambda: discs(args, model),
        "bands": lambda: bands(args, model),
    }
    run[args.mode]()


if __name__ == "__main__":
    main()
