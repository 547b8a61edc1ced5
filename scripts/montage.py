"""Pictures to judge a model by eye; docs/gallery.md shows some and says what they show.

    python scripts/montage.py full build/cosmos/c*.h5                 real | reconstruction | samples, by kind
    python scripts/montage.py samples build/cosmos/c*.h5 --publish    samples alone, into docs/images
    python scripts/montage.py discs build/cosmos/*.h5 --publish       many noise-free discs

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
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.counterparts import Counterparts, asked_conditions
from skyloom.validate.counterparts_noise import correlated_noise
from skyloom.validate.drawing import known_fit
from skyloom.validate.run_samples import in_ranges

ROOT = Path(__file__).resolve().parents[1]
CELL, GAP = 132, 2  # pixels
REACH = 3.2  # half-light radii along the major axis, on each side of the centre
BANDS = {"jwst_ceers": ("F115W", "F200W", "F444W"), "candels_hst": ("F606W", "F814W", "F125W")}
KINDS = ("face-on", "edge-on", "spheroid", "irregular")
LIMIT = 300_000  # bytes of a published picture
Galaxy = list[Cutout]  # one galaxy, in the bands shown


def window(cutout: Cutout, reach: float = REACH) -> float:
    """Half the side of a picture, arcsec."""
    fit = known_fit(cutout)
    half = reach * fit.half_light_radius / np.sqrt(fit.q)
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


def noise_free(galaxy: galsim.GSObject, half: float, pixel_scale: float) -> tuple[NDArray[np.float64], float]:
    """A galaxy without PSF but for one as wide as the picture's pixels, at the stamp's flux a pixel; and its scale."""
    scale = 2 * half / CELL
    seen = galsim.Convolve(galaxy, galsim.Gaussian(fwhm=1.5 * scale, gsparams=galsim.GSParams(maximum_fft_size=16384)))
    image = seen.drawImage(nx=CELL, ny=CELL, scale=scale, method="no_pixel", dtype=float).array
    return image * (pixel_scale / scale) ** 2, scale


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
    rebuilt = list(model.reconstruct(galaxy)) if with_real else [None] * len(galaxy)
    half = window(galaxy[0]) if len(galaxy) == 1 else float(np.median([window(c) for c in galaxy]))
    for cutout, sample, again in zip(galaxy if with_real else published(galaxy), made, rebuilt, strict=True):
        twin = _seen(cutout, sample, seed)
        noise, white = levels(cutout if with_real else twin)
        scale = cutout.pixel_scale
        if with_real:
            cells += [cell(filled(cutout, seed), scale, half, noise, white)]
            cells += [cell(*noise_free(again.shift(-again.offset), half, scale), half, noise, white)]
        cells += [cell(*noise_free(sample, half, scale), half, noise, white)]
        cells += [cell(filled(twin, seed), scale, half, noise, white)]
    return cells


def _seen(cutout: Cutout, galaxy: galsim.GSObject, seed: int) -> Cutout:
    return next(iter(_Given([cutout], None, lambda made: [known_fit(cutout)] * len(made), seed, galaxies=[galaxy])))


class _Given(Counterparts):
    """Counterparts of galaxies that are there already."""

    def __init__(self, *args: object, galaxies: Sequence[galsim.GSObject]) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.given = galaxies

    def _galaxies(self, batch: list[Cutout], seed: int) -> list[galsim.GSObject]:
        return list(self.given)


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
    words = (
        ("real", "reconstruction", "noise-free sample", "sample, PSF, noise")
        if with_real
        else ("noise-free", "PSF, noise")
    )
    heads = [f"{band}: {word}" for band in ("blue", "middle", "red") for word in words]
    folder = args.publish or args.out
    folder.mkdir(parents=True, exist_ok=True)
    for kind, some in by_kind(galaxies, args.rows).items():
        rows, captions = [], []
        for galaxy in some:
            fit = known_fit(galaxy[-1])
            for k in range(1 if with_real else args.draws):
                rows.append(picture(galaxy, model, args.seed + k, with_real))
                what = (
                    f"{galaxy[0].band}-{galaxy[-1].band}"
                    if args.publish
                    else f"{galaxy[0].source} {galaxy[0].galaxy_id}"
                )
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
        image, scale = noise_free(sample, half, galaxy[0].pixel_scale)
        white = float(np.percentile(image, 99.5))
        cells.append(cell(image, scale, half, white / 60, white))
    rows = [cells[k : k + 12] for k in range(0, len(cells), 12)]
    folder = args.publish or args.out
    folder.mkdir(parents=True, exist_ok=True)
    save(sheet(rows), folder / "gallery_discs.png", private=False)


def save(image: Image.Image, path: Path, private: bool) -> None:
    """Write a PNG; of samples alone in few greys and small, refusing to put real galaxies into the repository."""
    if private and path.resolve().is_relative_to(ROOT / "docs"):
        raise SystemExit(f"{path} would put pixels of real galaxies into the repository")
    if not private:
        image = image.quantize(128)
    image.save(path, optimize=True)
    while not private and path.stat().st_size > LIMIT:
        size = (int(image.width * 0.9), int(image.height * 0.9))
        image = image.convert("L").resize(size, Image.Resampling.LANCZOS).quantize(128)
        image.save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size} bytes")


def main() -> None:
    """Run one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    for name in ("full", "samples", "discs"):
        mode = modes.add_parser(name)
        mode.add_argument("cutouts", nargs="+", type=Path)
        mode.add_argument("--model", default="cosmos")
        mode.add_argument("--out", type=Path, default=ROOT / "build" / "montage")
        mode.add_argument("--seed", type=int, default=1)
        mode.add_argument("--rows", type=int, default=5, help="galaxies of a kind")
        mode.add_argument("--draws", type=int, default=2, help="samples at one galaxy's conditions")
        mode.add_argument("--count", type=int, default=60, help="of discs")
        mode.set_defaults(publish=None)
        if name in ("samples", "discs"):
            mode.add_argument("--publish", nargs="?", type=Path, const=ROOT / "docs" / "images")
    args = parser.parse_args()
    model = skyloom.load_model(args.model)
    run: dict[str, Callable[[], None]] = {
        "full": lambda: gallery(args, model, True),
        "samples": lambda: gallery(args, model, False),
        "discs": lambda: discs(args, model),
    }
    run[args.mode]()


if __name__ == "__main__":
    main()
