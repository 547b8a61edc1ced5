"""Where a fit starts: pixels, weights, box, priors and a first guess from moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.cutouts.fit_instrument import make_instrument
from skyloom.cutouts.framing import REACH, window
from skyloom.cutouts.levenberg import Problem
from skyloom.cutouts.sersic_model import ETA1, ETA2, LN_N, LN_R
from skyloom.stamps import Cutout

__all__ = ["N_RANGE", "Q_MIN", "Moments", "fit_window", "moments_of", "prepare", "psf_half_light"]

MODEL_FLOOR, THRESHOLDED_FLOOR = 0.03, 0.10
"""Fraction of the smoothed galaxy added in quadrature to the noise; more where noise and PSF are only
estimates."""

N_RANGE = (0.3, 6.2)
Q_MIN = 0.05

N_PRIOR, THRESHOLDED_N = (1.5, 1.0), 0.5
"""Centre of n, and sigma of ln n: weak (a factor e), against n running into its bounds on S/N 20. Less weak
for thresholded stamps: n is told by the wings that they lack."""

SIZE_PRIOR = 1.0
"""Sigma of ln half-light radius about the first guess: a factor e, against sizes that run away into the
sky."""

THRESHOLDED_SIZE = (1.2, 0.25)
"""The same for thresholded stamps: about 1.2 times the isophotal half-light radius, within 25 %. This, and
the ceiling on the pixels that were cut away, stop sizes from running away where the wings are missing."""

SKY_PRIOR = 0.1
"""Sigma of the sky about 0, in a pixel's scatter: what the median of a thousand correlated pixels leaves."""

STEP = 16


@dataclass(frozen=True)
class Moments:
    """A first look at a stamp.

    Parameters
    ----------
    radius : float
        Half-light radius, the PSF taken out, pixels.
    semi_major : float
        Half-light semi-major axis with the PSF, pixels.
    eta1, eta2 : float
        Log shear.
    """

    radius: float
    semi_major: float
    eta1: float
    eta2: float


def fit_window(cutout: Cutout, moments: Moments) -> int:
    """Side of the central square that is fitted: a multiple of 16 pixels, up to the stamp's size."""
    size = cutout.image.shape[0]
    need = max(2 * REACH * 1.15 * moments.semi_major, 40.0)
    if cutout.thresholded:
        yy, xx = np.nonzero(cutout.mask)
        need = 2.6 * max(np.abs(yy - size / 2).max(initial=0), np.abs(xx - size / 2).max(initial=0)) + 4.0
    return int(min(STEP * np.ceil(need / STEP), size - size % 2))


def prepare(
    cutouts: Sequence[Cutout], moments: Sequence[Moments], size: int, sampling: int
) -> tuple[Problem, torch.Tensor, NDArray[np.float64]]:
    """The fit problem of stamps that share a window of `size` pixels.

    Parameters
    ----------
    cutouts : sequence of Cutout
    moments : sequence of Moments
        Theirs.
    size, sampling : int
        As `skyloom.cutouts.fit_instrument.make_instrument` has them.

    Returns
    -------
    problem : Problem
        Pixels divided by `unit`.
    start : Tensor, shape (B, 6)
        First parameters; n is left to the caller.
    unit : ndarray, shape (B,)
        Image units that are 1 in the problem: the smallest sigma of a stamp's pixels, so that float32 sums
        stay near 1.
    """
    from scipy import ndimage

    data, weight, ceiling, guess, sky_sigma = [], [], [], [], []
    prior_mean, prior_sigma = np.zeros((len(cutouts), 6)), np.full((len(cutouts), 6), np.inf)
    for i, c in enumerate(cutouts):
        centre = (c.image.shape[0] - 1) / 2
        smooth = np.clip(ndimage.gaussian_filter(np.where(c.mask, c.image, 0.0), 1.0), 0.0, None)
        floor, n_sigma = (THRESHOLDED_FLOOR, THRESHOLDED_N) if c.thresholded else (MODEL_FLOOR, N_PRIOR[1])
        inverse = np.where(c.mask, 1.0 / (c.variance + (floor * smooth) ** 2), 0.0)
        image, above = c.image, np.zeros_like(c.mask)
        if c.thresholded:
            image, inverse, above = _with_ceiling(c, inverse)
        data.append(window(image, centre, centre, size, 0.0))
        weight.append(window(inverse, centre, centre, size, 0.0))
        ceiling.append(window(above, centre, centre, size, False))
        radius, eta1, eta2 = moments[i].radius, moments[i].eta1, moments[i].eta2
        size_factor, size_sigma = THRESHOLDED_SIZE if c.thresholded else (1.0, SIZE_PRIOR)
        radius *= size_factor
        guess.append([0.0, 0.0, np.log(radius), 0.0, eta1, eta2])
        prior_mean[i, LN_R], prior_sigma[i, LN_R] = np.log(radius), size_sigma
        prior_mean[i, LN_N], prior_sigma[i, LN_N] = np.log(N_PRIOR[0]), n_sigma
        prior_sigma[i, ETA1 : ETA2 + 1] = 2.0  # keeps |eta| of what the PSF hides from drifting
        noise = np.sqrt(np.median(c.variance[c.mask])) if c.mask.any() else 1.0
        sky_sigma.append(0.0 if c.thresholded else SKY_PRIOR * noise)
    unit = np.array([1.0 / np.sqrt(float(np.max(w))) if np.max(w) > 0 else 1.0 for w in weight])
    shape = torch.tensor(np.array(guess), dtype=torch.float32)
    low, high = _box(size, len(cutouts))
    problem = Problem(
        make_instrument(np.stack([c.psf for c in cutouts]), size, sampling),
        _tensor(np.stack(data) / unit[:, None, None]),
        _tensor(np.stack(weight) * unit[:, None, None] ** 2),
        torch.from_numpy(np.stack(ceiling)),
        low,
        high,
        _tensor(prior_mean),
        _tensor(prior_sigma),
        _tensor(np.array(sky_sigma) / unit),
    )
    return problem, shape, unit


def _with_ceiling(
    c: Cutout, inverse: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.floating], NDArray[np.bool_]]:
    """Image, weight and ceiling of a thresholded stamp.

    A pixel that was cut away is known to lie below the isophote: no brighter than the median along its inner
    edge. One pixel of margin is left out, where noise decided.
    """
    from scipy import ndimage

    edge = c.mask & ~ndimage.binary_erosion(c.mask)
    level = float(np.median(c.image[edge])) if edge.any() else np.inf
    beyond = ~ndimage.binary_dilation(c.mask)
    noise = float(np.median(c.variance[edge])) if edge.any() else 1.0
    image = np.where(beyond, np.float32(level), c.image)
    return image, np.where(beyond, 1.0 / noise, inverse), beyond


def _box(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    shift, eta = min(6.0, size / 8), float(-np.log(Q_MIN))
    low = [-shift, -shift, np.log(0.1), np.log(N_RANGE[0]), -eta, -eta]
    high = [shift, shift, np.log(size), np.log(N_RANGE[1]), eta, eta]
    return tuple(torch.tensor(v, dtype=torch.float32).expand(count, 6) for v in (low, high))  # type: ignore[return-value]


def _tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def moments_of(c: Cutout) -> Moments:
    """Measure `Moments` about the stamp's true centre."""
    s = c.image.shape[0]
    yy, xx = np.mgrid[:s, :s] - (s - 1) / 2
    image = np.where(c.mask, c.image, 0.0).astype(np.float64)
    noise = float(np.sqrt(np.median(c.variance[c.mask]))) if c.mask.any() else 1.0
    r50 = _half_light(image, np.hypot(xx, yy), c, noise)
    psf_r50 = psf_half_light(c)
    weight = image * np.exp(-0.5 * (xx**2 + yy**2) / (1.5 * r50) ** 2)
    total = weight.sum()
    eta1 = eta2 = 0.0
    if total > 0:
        cxx, cyy, cxy = ((weight * p).sum() / total for p in (xx**2, yy**2, xx * yy))
        trace = max(cxx + cyy, 1e-3)
        e1, e2 = (cxx - cyy) / trace, 2 * cxy / trace
        e = min(float(np.hypot(e1, e2)) * 1.3, 0.8)  # the round weight makes it rounder
        eta1, eta2 = (float(np.arctanh(e) * v / max(np.hypot(e1, e2), 1e-9)) for v in (e1, e2))
    radius = np.sqrt(max(r50**2 - psf_r50**2, 0.25 * psf_r50**2, 0.09))
    return Moments(float(radius), float(r50 * np.exp(0.5 * np.hypot(eta1, eta2))), eta1, eta2)


def _half_light(image: NDArray[np.float64], radius: NDArray[np.float64], c: Cutout, noise: float) -> float:
    """From the curve of growth, stopped where a ring's mean is lost in the noise."""
    index = radius.astype(int)
    count = np.bincount(index[c.mask], minlength=index.max() + 1)
    mean = np.bincount(index[c.mask], weights=image[c.mask], minlength=index.max() + 1) / np.maximum(count, 1)
    area = np.bincount(index.ravel())
    faint = np.nonzero(mean < noise * (1 + 2 * c.noise_correlation) / np.sqrt(np.maximum(count, 1)))[0]
    end = max(int(faint[faint > 1][0]) if (faint > 1).any() else len(mean), 2)
    growth = np.cumsum((mean * area)[:end])
    if not growth[-1] > 0:
        return 2.0
    return float(max(np.interp(0.5 * growth[-1], growth, np.arange(1, end + 1)), 1.0))


def psf_half_light(c: Cutout) -> float:
    """Half-light radius of the effective PSF, pixels."""
    return _half_light_of(np.ascontiguousarray(c.psf, dtype=np.float32).tobytes(), c.psf.shape[0])


@lru_cache(maxsize=256)
def _half_light_of(data: bytes, size: int) -> float:
    half = size // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    order = np.argsort(np.hypot(xx, yy), axis=None)
    growth = np.cumsum(np.frombuffer(data, dtype=np.float32)[order])
    return float(np.hypot(xx, yy).ravel()[order][int(np.searchsorted(growth, 0.5 * growth[-1]))])
