"""How large a period each galaxy needs, in samples of the PSF.

Three things may leak into a stamp from a period's edge: the Sersic's periodic copies (their light is
subtracted, to a few per cent), the PSF's wings that the cut at one period loses, and copies of the residual.
Each is kept below a fraction of the peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, gammaln

from skyloom.errors import RenderError
from skyloom.physics.bandwidth import ends_early, residual_lines, zones_count
from skyloom.physics.psf import Psf
from skyloom.physics.split import core_samples

__all__ = ["Plan", "plan_samples", "residual_reach"]

_TOLERANCE = 1e-5
_WINGS_TOLERANCE = 3e-5  # at the middle of a stamp's edge, where it is worst
_COPIES_TOLERANCE = 2e-5  # of what is left after their subtraction
_COPIES_NOTHING = 1e-6  # not worth a subtraction
_COPIES_LEFT = 0.07  # of the copies' light, where the PSF changes nothing
_FINE = 5.0  # of the tolerance: the fine part of a residual is a fraction of it
_LADDER = 1.18
_AT_ONCE = 32  # galaxies, to stay in the processor's caches
_MAX_SAMPLES = 4095

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How each of N galaxies is drawn.

    Parameters
    ----------
    samples : ndarray of int, shape (N,)
        Odd number of the PSF's samples in the period.
    core : ndarray of int, shape (N,)
        The same of the small period of galaxies whose wavenumbers are parted; 0 for others.
    copies_seen : ndarray of bool, shape (N,)
        Whether light of periodic copies is to be subtracted.
    early : ndarray of bool, shape (N,)
        Whether wavenumbers up to `skyloom.physics.bandwidth.EARLY_END` of the PSF's are enough.
    zones : ndarray of bool, shape (N,)
        See `skyloom.physics.draw_arrays.draw_levels`.
    """

    samples: NDArray[np.int64]
    core: NDArray[np.int64]
    copies_seen: NDArray[np.bool_]
    early: NDArray[np.bool_]
    zones: NDArray[np.bool_]


def residual_reach(
    residual: NDArray[np.floating], grid_scale: float, jacobian: Floats, thresholds: Sequence[Floats]
) -> list[Floats]:
    """How far what exceeds thresholds reaches from a galaxy's centre along an axis of the image.

    Parameters
    ----------
    residual : ndarray, shape (N, G, G)
    grid_scale : float
        Canonical units per grid point.
    jacobian : ndarray, shape (N, 2, 2)
        Arcsec per canonical unit.
    thresholds : sequence of ndarray, shape (N,)
        In the residual's unit.

    Returns
    -------
    list of ndarray, shape (N,)
        Arcsec; the smaller of what a circle and a rectangle about all that exceeds a threshold say.
    """
    if len(residual) > _AT_ONCE:
        parts = [slice(i, i + _AT_ONCE) for i in range(0, len(residual), _AT_ONCE)]
        found = [residual_reach(residual[p], grid_scale, jacobian[p], [t[p] for t in thresholds]) for p in parts]
        return [np.concatenate(one) for one in zip(*found, strict=True)]
    count = (residual.shape[-1] + 1) // 2
    half = np.arange(count) + (residual.shape[-1] % 2 == 0) / 2 + 1  # of the upper right quadrant
    radius = torch.from_numpy(np.hypot(half, half[:, None]).astype(np.float32))
    size = torch.from_numpy(np.abs(residual))  # torch's reductions are several times faster than NumPy's
    size = torch.maximum(size[:, -count:], size[:, :count].flip(1))
    size = torch.maximum(size[:, :, -count:], size[:, :, :count].flip(2))
    along_x, along_y = size.amax(1).numpy(), size.amax(2).numpy()
    reach = []
    for threshold in thresholds:
        x, y = (np.where(a > threshold[:, None], half, 0).max(axis=1) for a in (along_x, along_y))
        seen = size > torch.from_numpy(threshold.astype(np.float32))[:, None, None]
        r = (seen * radius).amax((1, 2)).numpy()
        rectangle = np.abs(jacobian) @ np.stack([x, y], axis=1)[:, :, None]
        circle = np.linalg.norm(jacobian, axis=2) * r[:, None]
        reach.append(grid_scale * np.minimum(rectangle[:, :, 0], circle).max(axis=1))
    return reach


def plan_samples(
    psf: Psf,
    *,
    pixel_scale: float,
    stamp_size: int,
    sersic_n: Floats,
    jacobian: Floats,
    offset: Floats,
    residual: NDArray[np.floating] | None = None,
    grid_scale: float = 0.0,
) -> Plan:
    """The periods that galaxies need, and how they can be drawn then.

    Parameters
    ----------
    psf : Psf
    pixel_scale, stamp_size
        Arcsec, pixels.
    sersic_n, jacobian, offset, residual, grid_scale
        As for `draw_arrays`, N galaxies.

    Raises
    ------
    RenderError
        When a galaxy would need more than 4095 samples along an axis.
    """
    n, area = sersic_n, np.abs(np.linalg.det(jacobian))
    longest = np.linalg.norm(jacobian, ord=2, axis=(1, 2))
    stamp_width = pixel_scale * stamp_size
    rung = max(stamp_width / psf.step, 16.0)
    if rung > _MAX_SAMPLES:
        raise RenderError(
            f"a stamp of {stamp_size} pixels of {pixel_scale:.4g} arcsec is too large to draw with a PSF that "
            f"transmits wavenumbers up to {psf.maxk:.4g} per arcsec: it would need more than {_MAX_SAMPLES} samples "
            "along an axis"
        )
    half = stamp_width / 2 + np.abs(offset).max(axis=1)
    b = gammaincinv(2 * n, 0.5)
    ln_norm = 2 * n * np.log(b) - np.log(2 * np.pi * n) - gammaln(2 * n)
    # peak of the image: the flux inside the PSF's area, spread over it
    spot = 1 / psf.peak(pixel_scale)
    peak = 0.7 * gammainc(2 * n, b * (spot / np.pi / area) ** (0.5 / n)) / spot
    reach = bright = np.zeros(len(n))
    if residual is not None:
        faint = _TOLERANCE * peak * area
        reach, bright = residual_reach(residual, grid_scale, jacobian, (faint, _FINE * faint))
    samples = np.zeros(len(n), dtype=np.int64)
    copies_seen = np.zeros(len(n), dtype=bool)
    todo = np.arange(len(n))
    while len(todo):
        size = int(np.ceil(rung)) | 1
        if size > _MAX_SAMPLES:
            row = int(todo[0])
            raise RenderError(
                f"galaxy {row} (size {longest[row]:.4g} arcsec, n {n[row]:.3g}) is too large to draw in a stamp of "
                f"{stamp_size} pixels of {pixel_scale:.4g} arcsec with this PSF: the Fourier grid would need more than "
                f"{_MAX_SAMPLES} samples along an axis"
            )
        period = size * psf.step
        distance = np.maximum(period - half[todo], 1e-9)
        i, lengths = todo, longest[todo]
        rho = distance / lengths
        copies = np.exp(ln_norm[i] - b[i] * rho ** (1 / n[i])) / area[i]
        # the PSF blurs a copy's ridge, which the subtraction does not know
        blur = spot / (8 * np.pi) * b[i] / n[i] * rho ** (1 / n[i] - 2) * (lengths / area[i]) ** 2
        left = np.minimum(_COPIES_LEFT + blur, 1)
        beyond = gammainc(2 * n[i], b[i] * (np.maximum(period / 2 - half[i], 0) / lengths) ** (1 / n[i]))
        wings = 0.5 * psf.edge(size) * (1 - beyond)
        good = (left * copies < _COPIES_TOLERANCE * peak[i]) & (wings < _WINGS_TOLERANCE * peak[i])
        good &= (period >= half[i] + reach[i]) & (period >= 2 * (half[i] - pixel_scale))
        samples[todo[good]] = size
        copies_seen[todo[good]] = (copies > _COPIES_NOTHING * peak[i])[good]
        todo = todo[~good]
        rung *= _LADDER
    core = core_samples(
        psf, samples, pixel_scale=pixel_scale, stamp_size=stamp_size, sersic_n=n, jacobian=jacobian, offset=offset,
        reach=bright, peak=peak,
    )  # fmt: skip
    lines = np.zeros((2, len(n))) if residual is None else residual_lines(residual, grid_scale)
    image = {"pixel_scale": pixel_scale, "jacobian": jacobian, "peak": peak, "lines": lines}
    early = ends_early(psf, sersic_n=n, grid_scale=grid_scale, **image)
    zones = zones_count(psf, grid_scale=grid_scale, **image) if residual is not None else np.zeros(len(n), dtype=bool)
    return Plan(samples, core, copies_seen, early, zones)
