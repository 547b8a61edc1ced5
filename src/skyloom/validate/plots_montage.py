"""Pictures of the same galaxies, real and simulated, side by side at equal stretch."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout
from skyloom.validate.drawing import draw_through, sersic_galaxy

__all__ = ["Panel", "Strip", "choose_rows", "montage"]

SIDE = 112
"""Pixels along a side of a picture."""

REACH = 3.2
"""Half-light radii along the major axis that a picture shows on each side of the centre."""


@dataclass(frozen=True)
class Panel:
    """One picture: the sample, the stamp and what is left of it after its best Sersic, as data URIs."""

    sample: str
    image: str
    residual: str


@dataclass(frozen=True)
class Strip:
    """One galaxy: its caption and a picture a sample."""

    caption: str
    panels: Sequence[Panel]


def choose_rows(table: Table, count: int) -> list[int]:
    """Which galaxies to show: half of them the brightest in S/N, half spread evenly over the rest."""
    snr = np.asarray(table["fit_snr"], dtype=np.float64) if "fit_snr" in table.colnames else np.zeros(len(table))
    order = np.argsort(-np.nan_to_num(snr, nan=-1.0), kind="stable")
    if {"galaxy_id", "source"} <= set(table.colnames):  # a galaxy in its best band only
        names = [f"{table['source'][i]}/{table['galaxy_id'][i]}" for i in order]
        order = order[np.sort(np.unique(names, return_index=True)[1])]
    if len(order) <= count:
        return [int(i) for i in order]
    bright = count // 2
    spread = np.linspace(bright, len(order) - 1, count - bright).round().astype(int)
    return [int(order[i]) for i in [*range(bright), *spread]]


def montage(galaxies: Sequence[Mapping[str, Cutout]]) -> list[Strip]:
    """Strips of pictures; each galaxy's samples by name, ``real`` among them, with fits."""
    return [_strip(samples) for samples in galaxies]


def _strip(samples: Mapping[str, Cutout]) -> Strip:
    real = samples["real"]
    view = _window(real)
    noise = float(np.sqrt(np.median(real.variance[real.mask])))
    visible = real.image[view][real.mask[view]]
    white = max(float(np.percentile(visible, 99.7)), 6 * noise) if visible.size else 6 * noise
    residuals = {name: _residual(cutout)[view] for name, cutout in samples.items()}
    # one stretch for the galaxy's residuals too: that of the real one, at least the noise
    spread = max(float(np.percentile(np.abs(residuals["real"]), 98.5)), 4 * noise)
    panels = [
        Panel(name, _grey(_asinh(cutout.image[view], noise, white)), _grey(0.5 + residuals[name] / (2 * spread)))
        for name, cutout in samples.items()
    ]
    return Strip(_caption(real), panels)


def _caption(cutout: Cutout) -> str:
    fit = cutout.fit
    if fit is None:
        return f"{cutout.source} {cutout.galaxy_id}, {cutout.band}"
    mag = cutout.zero_point - 2.5 * np.log10(fit.flux)
    size = f"r {fit.half_light_radius:.2f}″, n {fit.sersic_n:.1f}, q {fit.q:.2f}"
    return f"{cutout.source} {cutout.galaxy_id} · {cutout.band} {mag:.1f} mag · {size}"


def _window(cutout: Cutout) -> tuple[slice, slice]:
    """The square about the centre that shows the galaxy, never more than the stamp."""
    side = min(cutout.image.shape)
    half = side / 2
    if cutout.fit is not None:
        half = REACH * cutout.fit.half_light_radius / np.sqrt(cutout.fit.q) / cutout.pixel_scale
    half = int(np.clip(round(half), 10, side // 2))
    middle = [(s - 1) / 2 for s in cutout.image.shape]
    y, x = (slice(int(np.ceil(m - half)), int(np.ceil(m - half)) + 2 * half) for m in middle)
    return y, x


def _residual(cutout: Cutout) -> NDArray[np.float64]:
    if cutout.fit is None:
        return np.zeros(cutout.image.shape)
    import galsim

    try:
        model = draw_through(sersic_galaxy(cutout.fit), cutout)
    except (galsim.GalSimError, SkyloomError):
        return np.zeros(cutout.image.shape)
    return np.where(cutout.mask, cutout.image - model, 0.0)


def _asinh(image: NDArray[np.floating], noise: float, white: float) -> NDArray[np.float64]:
    """From 0 at -1.5 sigma to 1 at `white`, linear near the noise, logarithmic above (Lupton et al. 2004)."""
    soft = 2.5 * noise
    low = np.arcsinh(-1.5 * noise / soft)
    return np.asarray((np.arcsinh(image / soft) - low) / (np.arcsinh(white / soft) - low))


def _grey(values: NDArray[np.float64]) -> str:
    """A square array of 0 (black) to 1 (white), +y up, as the data URI of a PNG."""
    from PIL import Image

    pixels = (np.clip(np.nan_to_num(values), 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(np.flipud(pixels)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
