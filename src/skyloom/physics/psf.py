"""Optical transfer functions of GalSim PSFs on our Fourier grids, the square pixel included.

The PSF is cut to one period in real space before its transform is sampled: light that would reach a pixel from
another period's copy of the galaxy is then nowhere. Airy and Kolmogorov wings would otherwise need a grid twice
as large.
"""

from __future__ import annotations

import math
from functools import lru_cache

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from skyloom.errors import RenderError
from skyloom.physics.kgrid import KGrid
from skyloom.physics.windows import Window

__all__ = ["Psf", "prepared", "psf_otf"]

Floats = NDArray[np.float64]

_MAXK_THRESHOLD = 1e-4
_FADED = 1e-5  # of the flux
_TAIL_NODES = 64
_FINE_EDGES, _SMOOTHING = 130, 4
_MAX_CUT = 600  # samples; wings that reach further out hold nothing that a stamp would show


class Psf:
    """A GalSim profile and what drawing asks of it.

    Parameters
    ----------
    profile : galsim.GSObject
        In arcsec. Its flux multiplies the images.
    window : Window, optional
        By which its transform is multiplied; it ends where the window does.

    Attributes
    ----------
    maxk : float
        Where its transform ends, radians per arcsec, rounded up to a ladder so that similar PSFs share grids.
    otfs : dict
        Transfer functions made before, by grid, pixel scale, pixel and window.
    """

    def __init__(self, profile: galsim.GSObject, window: Window | None = None) -> None:
        self.profile = profile.withGSParams(maxk_threshold=_MAXK_THRESHOLD)
        self.window = window
        self._images: dict[int, Floats] = {}
        self._edges: dict[int, float] = {}
        self._tails: dict[float, tuple[Floats, Floats, Floats]] = {}
        self._smoothed: dict[Window, Psf] = {}
        self._whole: Psf | None = None
        self.otfs: dict[tuple[KGrid, float, bool, Window | None], NDArray[np.complex128] | Floats] = {}
        self.maxk = 1.03 ** math.ceil(math.log(self.profile.maxk) / math.log(1.03) - 1e-9)
        if window is not None:
            self.maxk = window.end

    def smoothed(self, window: Window) -> Psf:
        """The same PSF times a window, with what has been computed of it before."""
        if window not in self._smoothed:
            self._smoothed[window] = Psf(self.profile, window)
            self._smoothed[window]._whole = self
        return self._smoothed[window]

    @property
    def step(self) -> float:
        """Spacing of its real-space samples, arcsec."""
        return math.pi / self.maxk

    def grid(self, samples: int, end: float = math.inf) -> KGrid:
        """The Fourier grid whose period is an odd number of samples, and which may end before the PSF does."""
        period = samples * self.step
        size = (samples + 1) // 2
        if end < self.maxk:
            size = min(size, math.ceil(end * period / (2 * math.pi)) + 1)
        return KGrid(period=period, size=size)

    def _image(self, samples: int) -> Floats:
        """Surface brightness on an even grid three times as large; its origin is pixel [0, 0], and it wraps around.

        Its own periodic copies put 3e-4 of an Airy pattern's flux into the cut.
        """
        rung = math.ceil(math.log(max(samples, 31)) / math.log(1.25) - 1e-9)  # few sizes, for the cache
        side = 2 * next_fast_len(math.ceil(1.5 * 1.25**rung))
        if side not in self._images:
            spacing = 2 * math.pi / (side * self.step)
            array = self.profile.drawKImage(nx=side, ny=side, scale=spacing).array
            if self.window is not None:
                array = array * self.window.plane(spacing * (np.arange(side, dtype=np.float64) - side // 2))
            half = np.concatenate([array[:, side // 2 :], array[:, :1]], axis=1)  # the image is real
            self._images[side] = irfft2(np.fft.ifftshift(half, axes=0), s=(side, side)) / self.step**2
        return self._images[side]

    def transform(self, grid: KGrid) -> NDArray[np.complex128]:
        """Transform of the PSF cut to a period of `grid` (one of `self.grid`), shape (2, size, size)."""
        samples = round(grid.period / self.step)
        if samples > _MAX_CUT or self._faded(grid.period):
            return self._uncut(grid)
        pixels = np.fft.ifftshift(np.arange(samples) - samples // 2)
        plane = rfft2(self._image(samples)[np.ix_(pixels, pixels)])[:, : grid.size] * self.step**2
        other = plane[-np.arange(grid.size)].conj()  # of -k_x, which is that of -k_y turned round
        return np.stack([plane[: grid.size], other])

    def _uncut(self, grid: KGrid) -> NDArray[np.complex128]:
        side = 2 * grid.size
        array = self.profile.drawKImage(nx=side, ny=side, scale=grid.spacing).array
        k = np.arange(grid.size)
        middle = grid.size
        if self.window is not None:
            array = array * self.window.plane(grid.spacing * (np.arange(side, dtype=np.float64) - middle))
        return np.stack([array[middle:, middle:], array[middle:, :][:, middle - k]])

    def _faded(self, period: float) -> bool:
        """Whether the wings beyond one period hold next to nothing, so that there is nothing to cut."""
        whole = self._whole or self
        return whole.edge(round(period / whole.step) | 1) * period**2 < _FADED

    def tail(self, pixel_scale: float) -> tuple[Floats, Floats, Floats]:
        """What of a point source's image comes from large wavenumbers, as a bound of surface brightness for flux 1.

        Returns
        -------
        k : ndarray, shape (M,)
            Radians per arcsec, from 0.
        square : ndarray, shape (M,)
            From wavenumbers outside the square of half-side k, per square arcsec.
        circle : ndarray, shape (M,)
            From those outside the circle.
        """
        if pixel_scale not in self._tails:
            spacing = self.maxk / _TAIL_NODES
            array = np.abs(self.profile.drawKImage(nx=2 * _TAIL_NODES, ny=2 * _TAIL_NODES, scale=spacing).array)
            k = np.abs(spacing * (np.arange(2 * _TAIL_NODES) - _TAIL_NODES))
            response = np.abs(np.sinc(k * pixel_scale / (2 * np.pi)))
            light = (array * response * response[:, None] / max(self.profile.flux, 1e-300)).ravel()
            light *= (spacing / (2 * math.pi)) ** 2
            nodes = spacing * np.arange(_TAIL_NODES + 1, dtype=np.float64)
            tails: list[Floats] = []
            for distance in (np.maximum(k, k[:, None]), np.hypot(k, k[:, None])):
                bins = np.minimum((distance / spacing).astype(np.int64), _TAIL_NODES).ravel()
                by_bin = np.bincount(bins, weights=light, minlength=_TAIL_NODES + 1)
                tails.append(np.cumsum(by_bin[::-1], dtype=np.float64)[::-1])
            self._tails[pixel_scale] = (nodes, tails[0], tails[1])
        return self._tails[pixel_scale]

    def peak(self, pixel_scale: float) -> float:
        """Central surface brightness of PSF and pixel, per square arcsec, for flux 1."""
        image = self._image(64)
        centre = image[0, 0]
        # a pixel wider than the PSF spreads it further; the error of adding areas is nothing here
        return float(1.0 / (max(self.profile.flux, 1e-300) / max(centre, 1e-300) + pixel_scale**2))

    def edge(self, samples: int) -> float:
        """Mean surface brightness half a period from the centre along an axis, per square arcsec, for flux 1."""
        if samples > _MAX_CUT:
            return 0.0
        if samples > _FINE_EDGES and self.window is None:  # far out a smoothed PSF says the same
            smooth = self.smoothed(Window.that_ends(self.maxk / _SMOOTHING))
            return smooth.edge(round(samples / _SMOOTHING) | 1)
        if samples not in self._edges:
            image, reach = self._image(samples), samples // 2
            near = np.arange(-(reach // 2), reach // 2 + 1)
            self._edges[samples] = float(max(np.abs(image[reach, near]).mean(), np.abs(image[near, reach]).mean()))
        return self._edges[samples]


@lru_cache(maxsize=32)
def prepared(profile: galsim.GSObject) -> Psf:
    """The `Psf` of a profile, with what it has computed before."""
    return Psf(profile)


def psf_otf(
    psf: Psf, grid: KGrid, *, pixel_scale: float, pixel: bool = True, without: Window | None = None
) -> NDArray[np.complex128] | Floats:
    """Optical transfer function of a PSF, cut to one period, and the square pixel.

    Parameters
    ----------
    psf : Psf
    grid : KGrid
        One of `psf.grid`.
    pixel_scale : float
        Arcsec.
    pixel : bool
        False when the PSF includes the pixel's response already.
    without : Window, optional
        What it passes is left out.

    Returns
    -------
    ndarray of float64 or complex128, shape (2, size, size)
        Real where the PSF is symmetric about its centre.

    Raises
    ------
    RenderError
        When the PSF's transform is not a number.
    """
    key = (grid, pixel_scale, pixel, without)
    if key not in psf.otfs:
        psf.otfs[key] = _otf(psf, grid, pixel_scale if pixel else 0.0, without)
    return psf.otfs[key]


def _otf(psf: Psf, grid: KGrid, pixel_scale: float, without: Window | None) -> NDArray[np.complex128] | Floats:
    otf = psf.transform(grid)
    k = grid.spacing * np.arange(grid.size, dtype=np.float64)
    if without is not None:
        otf = otf * (1 - without.plane(k))
    if not np.isfinite(otf).all():
        raise RenderError(f"the transform of the PSF is not finite: {psf.profile!r:.200}")
    response = np.sinc(k * pixel_scale / (2 * np.pi))
    otf = otf * (response[:, None] * response)
    real: Floats = np.ascontiguousarray(otf.real)
    if np.abs(otf.imag).max() < 1e-7 * np.abs(otf.real).max():
        return real
    return np.asarray(otf)
