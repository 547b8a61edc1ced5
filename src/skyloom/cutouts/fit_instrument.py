"""What stands between a profile and the pixels of stamps that are fitted together: PSFs and wavenumbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Instrument", "is_undersampled", "make_instrument", "period_of", "psf_band"]

OVERSIZE = 1.5
"""Period of the discrete Fourier transform over the stamp's side: what leaves on one side returns on the
other a full stamp's side from the centre."""

CUT_POWER = 1e-5
"""Share of a PSF's power that may lie beyond the wavenumbers that are kept: for a point source, 0.001 of its
image, in quadrature; for a galaxy, which has less there, far less."""


@dataclass(frozen=True)
class Instrument:
    """Of B stamps.

    Parameters
    ----------
    otf : Tensor of complex64, shape (B, 2M + 1, M + 1)
        Of the effective PSF about its true centre, times the weights of the sum over wavenumbers.
    kx, ky : Tensor of float32, shape (1, M + 1) and (2M + 1, 1)
        Radians a pixel: kx from 0, ky from its lowest to its highest.
    square, plus, cross : Tensor, shape (2M + 1, M + 1)
        ``kx^2 + ky^2``, ``kx^2 - ky^2``, ``2 kx ky``.
    waves_x, waves_y : Tensor, shape (M + 1, S) and (2, S / 2, M + 1)
        Cosines and sines at the pixels right of the true centre.
    """

    otf: torch.Tensor
    kx: torch.Tensor
    ky: torch.Tensor
    square: torch.Tensor
    plus: torch.Tensor
    cross: torch.Tensor
    waves_x: torch.Tensor
    waves_y: torch.Tensor

    def rows(self, index: torch.Tensor) -> Instrument:
        """Some of the stamps."""
        return Instrument(
            self.otf[index], self.kx, self.ky, self.square, self.plus, self.cross, self.waves_x, self.waves_y
        )

    def narrowed(self, fraction: float) -> Instrument:
        """With the lowest wavenumbers only, this fraction of them along each axis."""
        count = self.kx.shape[1] - 1
        keep = max(1, round(fraction * count))
        y, x = slice(count - keep, count + keep + 1), slice(keep + 1)
        plane = (self.square[y, x], self.plus[y, x], self.cross[y, x])
        waves_x, waves_y = self.waves_x[x].contiguous(), self.waves_y[..., x].contiguous()
        return Instrument(self.otf[:, y, x].contiguous(), self.kx[:, x], self.ky[y], *plane, waves_x, waves_y)

    def stamps(self, waves: torch.Tensor) -> torch.Tensor:
        """Pixels of waves (B, N, 2, 2M + 1, M + 1), real and imaginary parts; shape (B, N, S, S).

        A sum over wavenumbers as two matrix products. Pixels lie in pairs about the centre and wavenumbers in
        pairs about zero, so that even and odd parts need half the work each.
        """
        m, half = self.waves_x.shape[0] - 1, self.waves_x.shape[1] // 2
        re, im = torch.matmul(waves, self.waves_x).unbind(2)
        cos_re, sin_re = re.split(half, dim=-1)
        cos_im, sin_im = im.split(half, dim=-1)
        right = (cos_re - sin_im, cos_im + sin_re)
        left = (cos_re + sin_im, cos_im - sin_re)
        # Columns from left to right: the left ones run away from the centre.
        re = torch.cat([left[0].flip(-1), right[0]], dim=-1)
        im = torch.cat([left[1].flip(-1), right[1]], dim=-1)
        even, odd = re[..., m:, :].clone(), im[..., m:, :].clone()
        even[..., 1:, :] += re[..., :m, :].flip(-2)
        odd[..., 1:, :] -= im[..., :m, :].flip(-2)
        even, odd = torch.matmul(self.waves_y[0], even), torch.matmul(self.waves_y[1], odd)
        return torch.cat([(even + odd).flip(-2), even - odd], dim=-2)


def is_undersampled(psf: NDArray[np.floating]) -> bool:
    """Whether an effective PSF lets more than 2 % through at its pixels' Nyquist frequency, along an axis."""
    edges = np.fft.fft2(psf / psf.sum())
    half = psf.shape[0] // 2  # the highest frequency of an odd grid
    return bool(max(np.abs(edges[half, 0]), np.abs(edges[0, half])) > 0.02)


def psf_band(psf: NDArray[np.floating]) -> tuple[int, float]:
    """How finely stamps of a PSF are sampled, and where its power ends.

    Parameters
    ----------
    psf : ndarray, shape (P, P)

    Returns
    -------
    sampling : int
        1, or 2 for a PSF that `is_undersampled`.
    band : float
        Wavenumber along an axis, cycles a pixel, beyond which there is next to no power.
    """
    return _band(np.ascontiguousarray(psf, dtype=np.float32).tobytes(), psf.shape[0])


@lru_cache(maxsize=256)
def _band(data: bytes, size: int) -> tuple[int, float]:
    psf = np.frombuffer(data, dtype=np.float32).reshape(size, size)
    sampling = 1 + is_undersampled(psf)
    return sampling, _power_ends(psf, sampling)


def _power_ends(psf: NDArray[np.floating], sampling: int) -> float:
    size = psf.shape[0]
    m = np.arange(-(size * sampling // 2), size * sampling // 2 + 1)
    power = np.abs(np.fft.fft2(psf)[np.ix_(m % size, m % size)]) ** 2
    if sampling > 1:
        response = _quintic(2 * np.pi * m / size) ** 2
        power *= response[:, None] * response
    beyond = np.maximum(np.abs(m)[:, None], np.abs(m))
    within = np.cumsum(np.bincount(beyond.ravel(), weights=power.ravel()))
    highest = int(np.searchsorted(within, (1 - CUT_POWER) * within[-1]))
    return min((highest + 1) / size, sampling / 2)


def period_of(size: int, psf_size: int) -> int:
    """Pixels after which stamps of `size` pixels repeat."""
    return 2 * int(np.ceil(max(OVERSIZE * size, psf_size) / 2))


def make_instrument(psfs: NDArray[np.floating], size: int, sampling: int = 1, band: float | None = None) -> Instrument:
    """Instrument of stamps of `size` pixels.

    Parameters
    ----------
    psfs : ndarray, shape (B, P, P)
        Effective PSFs in the stamps' pixels, P odd. Between the pixels they are band limited when `sampling`
        is 1, and interpolated with GalSim's Quintic when it is 2: for PSFs that `is_undersampled`, whose
        light beyond the Nyquist frequency is folded back into the stamp.
    size : int
        Even.
    sampling : int
        1 or 2.
    band : float, optional
        Highest wavenumber along an axis, cycles a pixel; that of the PSF with the widest when left out.
    """
    band = max(_power_ends(psf, sampling) for psf in psfs) if band is None else band
    period, middle = period_of(size, psfs.shape[1]), psfs.shape[1] // 2
    # The sine half of the very highest terms cannot be held by the grid; they carry no light worth keeping.
    count = min(int(np.ceil(band * period)), period * sampling // 2 - 1)
    padded = np.zeros((len(psfs), period, period), np.float32)
    padded[:, : psfs.shape[1], : psfs.shape[2]] = psfs
    padded = np.roll(padded, (-middle, -middle), axis=(1, 2))
    my, mx = np.arange(-count, count + 1), np.arange(count + 1)
    ky, kx = 2 * np.pi * my / period, 2 * np.pi * mx / period
    weight = np.where(mx == 0, 1.0, 2.0) / period**2 * np.ones((len(my), 1))
    if sampling > 1:
        weight *= _quintic(ky)[:, None] * _quintic(kx)
    transform = np.fft.fft2(padded)[:, (my % period)[:, None], mx % period]
    pixels = np.arange(size // 2) + 0.5
    angles = torch.from_numpy(kx[:, None] * pixels)
    x, y = torch.from_numpy(kx).float()[None], torch.from_numpy(ky).float()[:, None]
    return Instrument(
        torch.from_numpy((transform * weight).astype(np.complex64)),
        x,
        y,
        x**2 + y**2,
        x**2 - y**2,
        2 * x * y,
        torch.cat([torch.cos(angles), torch.sin(angles)], dim=1).float(),
        torch.stack([torch.cos(angles).T, torch.sin(angles).T]).float().contiguous(),
    )


def _quintic(k: NDArray[np.float64]) -> NDArray[np.float64]:
    import galsim

    return np.asarray(galsim.Quintic().kval(k))
