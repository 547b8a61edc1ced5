"""The model that is fitted: a Sersic through the stamp's PSF, and its derivatives, a batch at once.

Everything happens in k space, with the Fourier transform of the Sersic family from `skyloom.physics`.
Distances are in pixels here. The shape is a log shear (eta1, eta2): axis ratio ``q = exp(-|eta|)``, position
angle ``atan2(eta2, eta1)/2``, the half-light radius is kept. Unlike (q, beta) it has no edge and no
undefined angle at the circle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.physics.tables import galaxy_rows, look_up, transform_table

__all__ = [
    "DX",
    "DY",
    "ETA1",
    "ETA2",
    "LN_N",
    "LN_R",
    "Instrument",
    "is_undersampled",
    "make_instrument",
    "model_images",
]

DX, DY, LN_R, LN_N, ETA1, ETA2 = range(6)
"""Columns of the parameters: centre from the stamp's true centre, ln half-light radius, ln n, log shear."""

OVERSIZE = 1.5
"""Period of the discrete Fourier transform over the stamp's side: what leaves on one side returns on the
other a full stamp's side from the centre."""


@dataclass(frozen=True)
class Instrument:
    """What stands between profile and pixels, for B stamps.

    Parameters
    ----------
    otf : Tensor of complex64, shape (B, F, F//2 + 1)
        Of the effective PSF, times the phase that puts the origin at the stamp's true centre.
    kx, ky : Tensor of float32, shape (1, F//2 + 1) and (F, 1)
        Radians a pixel.
    size : int
        Pixels along a side of the stamps.
    sampling : int
        Points a pixel that the model is computed on, of which one is kept.
    """

    otf: torch.Tensor
    kx: torch.Tensor
    ky: torch.Tensor
    size: int
    sampling: int = 1

    def stamps(self, waves: torch.Tensor) -> torch.Tensor:
        """Pixels of waves (..., F, F//2 + 1), shape (..., S, S)."""
        end = self.size * self.sampling
        images = torch.fft.irfft2(waves)[..., : end : self.sampling, : end : self.sampling]
        return images * self.sampling**2


def is_undersampled(psf: NDArray[np.floating]) -> bool:
    """Whether an effective PSF lets more than 2 % through at its pixels' Nyquist frequency, along an axis."""
    edges = np.fft.fft2(psf / psf.sum())
    half = psf.shape[0] // 2  # the highest frequency of an odd grid
    return bool(max(np.abs(edges[half, 0]), np.abs(edges[0, half])) > 0.02)


def make_instrument(psfs: NDArray[np.floating], size: int, sampling: int = 1) -> Instrument:
    """Instrument of stamps of `size` pixels.

    Parameters
    ----------
    psfs : ndarray, shape (B, P, P)
        Effective PSFs in the stamps' pixels, P odd. Between the pixels they are band limited when `sampling`
        is 1, and interpolated with GalSim's Quintic when it is 2: for PSFs that `is_undersampled`, whose
        light beyond the Nyquist frequency is folded back into the stamp.
    size : int
    sampling : int
        1 or 2.
    """
    period = 2 * int(np.ceil(max(OVERSIZE * size, psfs.shape[1]) / 2))
    middle = psfs.shape[1] // 2
    padded = np.zeros((len(psfs), period, period), np.float32)
    padded[:, : psfs.shape[1], : psfs.shape[2]] = psfs
    padded = np.roll(padded, (-middle, -middle), axis=(1, 2))
    fine = period * sampling
    ky = sampling * 2 * np.pi * np.fft.fftfreq(fine)[:, None]
    kx = sampling * 2 * np.pi * np.fft.rfftfreq(fine)[None]
    factor = np.exp(-1j * (size - 1) / 2 * (kx + ky))
    # The sine half of the highest terms cannot be held by the grid; they carry no light worth keeping.
    factor[fine // 2] = 0
    factor[:, fine // 2] = 0
    transform = np.fft.fft2(padded)
    if sampling > 1:
        import galsim

        interpolant = galsim.Quintic()
        factor = factor * interpolant.kval(ky[:, 0])[:, None] * interpolant.kval(kx[0])[None]
        transform = np.tile(transform, (1, sampling, sampling))
    otf = torch.from_numpy((transform[..., : fine // 2 + 1] * factor).astype(np.complex64))
    return Instrument(otf, torch.from_numpy(kx).float(), torch.from_numpy(ky).float(), size, sampling)


def model_images(
    instrument: Instrument, p: torch.Tensor, *, jacobian: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stamps of Sersic profiles of flux 1.

    Parameters
    ----------
    instrument : Instrument
    p : Tensor, shape (B, 6)
        Columns `DX` ... `ETA2`, pixels.
    jacobian : bool
        Whether to give the derivatives too.

    Returns
    -------
    image : Tensor, shape (B, S, S)
    derivatives : Tensor, shape (B, 6, S, S), or None
    """
    kx, ky = instrument.kx, instrument.ky
    column = [c[:, None, None] for c in p.unbind(1)]
    # |k'|^2 with k' the wavevector in the frame where the galaxy is circular: J^T k, J J^T = r^2 exp(eta .
    # sigma)
    eta = torch.sqrt(column[ETA1] ** 2 + column[ETA2] ** 2 + 1e-12)
    cosh, sinhc = torch.cosh(eta), torch.sinh(eta) / eta
    square, plus, cross = kx**2 + ky**2, kx**2 - ky**2, 2 * kx * ky
    stretch = column[ETA1] * plus + column[ETA2] * cross
    radius = torch.exp(column[LN_R])
    form = (cosh * square + sinhc * stretch).clamp(min=1e-20)
    k = radius * torch.sqrt(form)

    table = transform_table()
    position = torch.log1p((k / table.x0).square()) / table.t_step
    n = torch.exp(p[:, LN_N])
    rows = galaxy_rows(table, n)
    wave = instrument.otf * torch.exp(-1j * (kx * column[DX] + ky * column[DY]))
    base = look_up(rows, position) * wave
    if not jacobian:
        return instrument.stamps(base), None

    step = 0.02
    by_ln_n = (galaxy_rows(table, n * (1 + step)) - galaxy_rows(table, n * (1 - step))) / (2 * step)
    by_t = torch.gradient(rows, dim=1)[0] / table.t_step
    by_ln_k = look_up(by_t, position) * (2 * k**2 / (table.x0**2 + k**2)) * wave  # dS/dln k
    slope = (cosh - sinhc) / eta**2 * stretch
    half = 0.5 / form
    waves = torch.stack(
        [
            base,
            -1j * kx * base,
            -1j * ky * base,
            by_ln_k,
            look_up(by_ln_n, position) * wave,
            by_ln_k * half * (sinhc * (column[ETA1] * square + plus) + slope * column[ETA1]),
            by_ln_k * half * (sinhc * (column[ETA2] * square + cross) + slope * column[ETA2]),
        ],
        dim=1,
    )
    images = instrument.stamps(waves)
    return images[:, 0], images[:, 1:]
