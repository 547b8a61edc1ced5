"""Image formation on arrays: a pure, differentiable function of galaxies, PSF and pixels.

The image is the inverse transform of (Sersic + kernel × residual) × OTF over a square Fourier grid: two
matrix products, so that wavenumbers, pixels, shifts and aliasing need no common grid and no FFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from skyloom.physics.general_map import GeneralResidual, general_residual
from skyloom.physics.kgrid import KGrid, pixel_waves
from skyloom.physics.residual import kernel_transform
from skyloom.physics.tables import galaxy_rows, look_up, transform_table
from skyloom.physics.wings import copies_light

__all__ = ["Level", "draw_arrays", "draw_levels"]


def draw_arrays(
    residual: torch.Tensor | None,
    grid_scale: float,
    sersic_n: torch.Tensor,
    jacobian: torch.Tensor,
    offset: torch.Tensor | None,
    amplitude: torch.Tensor,
    otf: torch.Tensor,
    *,
    grid: KGrid,
    pixel_scale: float,
    stamp_size: int,
    subtract_copies: bool = True,
) -> torch.Tensor:
    """Draw galaxies through a PSF onto pixels.

    Differentiable in every tensor. Everything is of one floating type, and on one device.

    Parameters
    ----------
    residual : Tensor, shape (B, G, G), or None
        Learned part in the canonical frame, in units of the Sersic's flux per canonical area; rows along +y.
    grid_scale : float
        Canonical units per grid point.
    sersic_n : Tensor, shape (B,)
        Sersic index.
    jacobian : Tensor, shape (B, 2, 2)
        Canonical frame to image plane, arcsec. Lower triangular is fastest.
    offset : Tensor, shape (B, 2), or None
        Of the galaxy from the stamp's true centre, (x, y) in arcsec.
    amplitude : Tensor, shape (B,)
        Flux of the Sersic part.
    otf : Tensor, real or complex, shape (2, size, size) or (B, 2, size, size)
        From `psf_otf` on `grid`.
    grid : KGrid
        Large enough for these galaxies, see `plan_samples`.
    pixel_scale : float
        Arcsec.
    stamp_size : int
        Pixels, even or odd.
    subtract_copies : bool
        Take out the light of periodic copies of the Sersic part.

    Returns
    -------
    Tensor, shape (B, stamp_size, stamp_size)
        Flux per pixel.
    """
    galaxies = _prepared(residual, grid_scale, sersic_n, jacobian)
    image = _seen(galaxies, otf, offset, grid, pixel_scale, stamp_size, zones=True)
    if subtract_copies:
        shift = torch.zeros_like(jacobian[:, 0]) if offset is None else offset
        copies = copies_light(sersic_n, jacobian, shift, grid, pixel_scale=pixel_scale, stamp_size=stamp_size)
        through = otf.real if otf.is_complex() else otf
        image = image - copies * through[..., 0, 0, 0].reshape(-1, 1, 1)
    return image * amplitude[:, None, None]


@dataclass(frozen=True)
class Level:
    """A part of the wavenumbers, and the part of the stamp in which it is seen.

    Parameters
    ----------
    otf : Tensor, real or complex, shape (2, size, size)
        From `psf_otf` on `grid`, its windows included.
    grid : KGrid
    stamp_size : int
        Pixels.
    """

    otf: torch.Tensor
    grid: KGrid
    stamp_size: int


def draw_levels(
    residual: torch.Tensor | None,
    grid_scale: float,
    sersic_n: torch.Tensor,
    jacobian: torch.Tensor,
    offset: torch.Tensor | None,
    amplitude: torch.Tensor,
    levels: Sequence[Level],
    *,
    pixel_scale: float,
    zones: bool,
    gentle: bool,
) -> torch.Tensor:
    """Draw galaxies whose wavenumbers are parted; the light of periodic copies stays in.

    Parameters
    ----------
    residual, grid_scale, sersic_n, jacobian, offset, amplitude, pixel_scale
        As for `draw_arrays`.
    levels : sequence of Level
        The first has the whole stamp, others smaller ones about the same centre (of the same parity).
    zones : bool
        Whether general maps ask for what lies beyond the residual grid's Nyquist frequency.
    gentle : bool
        Whether all maps pass `skyloom.physics.general_map.gentle_shear`.

    Returns
    -------
    Tensor, shape (B, stamp_size, stamp_size)
        Of the first level's stamp, flux per pixel.
    """
    galaxies = _prepared(residual, grid_scale, sersic_n, jacobian, gentle=gentle)
    image: torch.Tensor | None = None
    for level in levels:
        part = _seen(galaxies, level.otf, offset, level.grid, pixel_scale, level.stamp_size, zones=zones)
        if image is None:
            image = part
            continue
        first = (image.shape[1] - level.stamp_size) // 2
        image[:, first : first + level.stamp_size, first : first + level.stamp_size] += part
    assert image is not None
    return image * amplitude[:, None, None]


@dataclass(frozen=True)
class _Galaxies:
    """What is the same of galaxies on every Fourier grid."""

    rows: torch.Tensor
    slopes: torch.Tensor
    jacobian: torch.Tensor
    residual: GeneralResidual | None
    grid_scale: float


def _prepared(
    residual: torch.Tensor | None,
    grid_scale: float,
    sersic_n: torch.Tensor,
    jacobian: torch.Tensor,
    *,
    gentle: bool = False,
) -> _Galaxies:
    rows = galaxy_rows(transform_table(), sersic_n)
    general = None if residual is None else general_residual(residual, jacobian, grid_scale, gentle=gentle)
    return _Galaxies(rows, rows.diff(dim=1), jacobian, general, grid_scale)


def _seen(
    galaxies: _Galaxies,
    otf: torch.Tensor,
    offset: torch.Tensor | None,
    grid: KGrid,
    pixel_scale: float,
    stamp_size: int,
    *,
    zones: bool,
) -> torch.Tensor:
    """Pixels of galaxies through an OTF, for flux 1 of the Sersic part."""
    real, imag = _transforms(galaxies, grid, zones=zones)
    if otf.is_complex():
        o_real, o_imag = otf.real, otf.imag
        if imag is None:
            real, imag = real * o_real, real * o_imag
        else:
            real, imag = real * o_real - imag * o_imag, real * o_imag + imag * o_real
    else:
        real = real * otf
        imag = None if imag is None else imag * otf
    waves = pixel_waves(grid, pixel_scale, stamp_size, real.dtype, str(real.device))
    return _to_pixels(real, imag, offset, grid, waves)


def _transforms(galaxies: _Galaxies, grid: KGrid, *, zones: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Real and imaginary part of the galaxies' transforms, for flux 1 of the Sersic part: (B, 2, size, size)."""
    table, jacobian = transform_table(), galaxies.jacobian
    k = grid.wavenumbers(jacobian)
    signed = torch.stack([k, -k])[:, None, :]  # (2, 1, size): both signs of k_x
    # 1 + |J^T k|^2 / x0^2 as a quadratic form in k
    form = (jacobian @ jacobian.mT / table.x0**2)[:, :, :, None, None, None]
    cross = signed * k[:, None]
    square = torch.addcmul(
        form[:, 0, 0] * k.square() + (form[:, 1, 1] * k.square()[:, None] + 1), 2 * form[:, 0, 1], cross
    )
    sersic = look_up(galaxies.rows, torch.log(square) * (1 / table.t_step), galaxies.slopes)
    if galaxies.residual is None:
        return sersic, None
    j = galaxies.residual.jacobian[:, :, :, None, None, None]
    k_x = j[:, 0, 0] * signed + j[:, 1, 0] * k[:, None]
    k_y = j[:, 1, 1] * k[:, None]
    if galaxies.residual.shear is not None:
        k_y = k_y + j[:, 0, 1] * signed
    real, imag = galaxies.residual.transform(grid, k_x * (1 / (2 * math.pi)) if zones else None)
    kernel = kernel_transform(k_x) * (galaxies.grid_scale**2 * kernel_transform(k_y))
    return torch.addcmul(sersic, kernel, real), kernel * imag


def _to_pixels(
    real: torch.Tensor,
    imag: torch.Tensor | None,
    offset: torch.Tensor | None,
    grid: KGrid,
    waves: torch.Tensor,
) -> torch.Tensor:
    """Inverse transform, for offset galaxies too.

    With c and s the cosines and sines of k x and k y, it sums c_y (a c_x - g s_x) - s_y (d s_x + e c_x), where a and
    e are sums over both signs of k_x of the real and the imaginary part, d and g differences.
    """
    a, d = real[:, 0] + real[:, 1], real[:, 0] - real[:, 1]
    if imag is None:
        e = g = torch.zeros_like(a[:1])
    else:
        e, g = imag[:, 0] + imag[:, 1], imag[:, 0] - imag[:, 1]
    cos_y, sin_y = waves.chunk(2, dim=1)
    if offset is None:
        by_cos, by_sin = cos_y @ a - sin_y @ e, cos_y @ g + sin_y @ d
    else:  # turn (cos, sin) by k times the offset, along y and then along x
        angle = offset[:, :, None] * grid.wavenumbers(real)
        c, s = angle.cos(), angle.sin()
        c_y, s_y = c[:, None, 1], s[:, None, 1]
        cos_y, sin_y = cos_y * c_y + sin_y * s_y, sin_y * c_y - cos_y * s_y
        by_cos = torch.baddbmm(cos_y @ a, sin_y, e.expand_as(a), alpha=-1)
        by_sin = torch.baddbmm(cos_y @ g.expand_as(a), sin_y, d)
        c_x, s_x = c[:, None, 0], s[:, None, 0]
        by_cos, by_sin = c_x * by_cos + s_x * by_sin, c_x * by_sin - s_x * by_cos
    cos_x, sin_x = waves.chunk(2, dim=1)
    return by_cos @ cos_x.mT - by_sin @ sin_x.mT
