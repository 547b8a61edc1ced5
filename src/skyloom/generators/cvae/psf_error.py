"""PSF and centre are known only so well: a wrong width's effect on pixels, and random changes for training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skyloom.physics.kgrid import KGrid

if TYPE_CHECKING:
    from skyloom.generators.cvae.data import Stamps

__all__ = ["blurred", "jittered", "psf_sigma"]

SHARPEST = 0.3
"""Largest exponent by which a wave is strengthened: noise in the PSF beyond its resolution must not grow."""

PSF_CENTRE = 0.03
"""Pixels by which a PSF's own centre may be off, along an axis."""

MAX_SHIFT = 0.5
"""Pixels; fits of very faint galaxies have larger errors, but then the centre is what the fit says it is."""


def psf_sigma(otf: Tensor, grid: KGrid) -> Tensor:
    """Width of the Gaussian that is at one half where the PSFs' transforms are, shape (N,), in units of 1 / k.

    Parameters
    ----------
    otf : complex Tensor, shape (N, 2, K, K)
    grid : KGrid
    """
    k = grid.spacing * np.arange(grid.size)
    profile = 0.5 * (otf[:, 0, 0].abs() + otf[:, 0, :, 0].abs()).double().numpy()
    falling = np.minimum.accumulate(profile, axis=1)
    half = np.array([np.interp(-0.5, -row, k) for row in falling])
    return torch.from_numpy(np.sqrt(2 * np.log(2)) / np.maximum(half, k[1])).to(otf.real.dtype)


def blurred(otf: Tensor, grid: KGrid, variance: Tensor) -> Tensor:
    """PSFs broadened by a Gaussian of some variance along each axis; a negative one sharpens.

    Parameters
    ----------
    otf : complex Tensor, shape (N, 2, K, K)
    grid : KGrid
    variance : Tensor, shape (N,)
        In squared units of 1 / k.
    """
    square = grid.wavenumbers(variance).square()
    exponent = (-0.5 * variance[:, None, None] * (square + square[:, None])).clamp(max=SHARPEST)
    return otf * exponent.exp()[:, None]


def jittered(stamps: Stamps, index: Tensor | None = None, psf_width: float = 0.03) -> Stamps:
    """Stamps as seen by instruments that may be theirs: PSF widths and centres drawn within their errors.

    The data and everything computed from them stay. Random numbers are torch's global ones.

    Parameters
    ----------
    stamps : Stamps
    index : Tensor of int, shape (B,), optional
        Rows; all when left out.
    psf_width : float
        Relative error of a PSF's width, one sigma.

    Returns
    -------
    Stamps
        Of these rows, in their order, with another `otf` and `offset`.
    """
    if index is not None:
        stamps = stamps.subset(index.tolist())
    change = 2 * psf_width * torch.randn(len(stamps), dtype=stamps.flux.dtype) * stamps.psf_sigma**2
    error = torch.hypot(stamps.offset_error.clamp(max=MAX_SHIFT), torch.full_like(stamps.offset_error, PSF_CENTRE))
    return replace(
        stamps,
        otf=blurred(stamps.otf, stamps.k_grid, change),
        offset=stamps.offset + error * torch.randn_like(error),
    )
