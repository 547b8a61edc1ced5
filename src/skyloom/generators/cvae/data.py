"""Cutouts as training wants them: tensors of one size, with the fitted Sersic drawn through each stamp's PSF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skyloom.conditions import Conditions
from skyloom.errors import TrainingError
from skyloom.frames import grid_angle, profile_jacobian
from skyloom.generators.cvae.features import condition_features
from skyloom.generators.cvae.isophote import upper_limits
from skyloom.generators.cvae.likelihood import Likelihood, independent_share
from skyloom.generators.cvae.noise_filter import MAX_CORRELATION, usable_neighbours
from skyloom.generators.cvae.psf_error import blurred, psf_sigma
from skyloom.physics.draw_arrays import draw_arrays
from skyloom.physics.kgrid import KGrid
from skyloom.stamps import FitFlag

if TYPE_CHECKING:
    from skyloom.stamps import Cutout

__all__ = ["Stamps", "fitted_conditions", "usable"]

logger = logging.getLogger(__name__)

GRID_SIZE = 96
GRID_SCALE = 9.0 / GRID_SIZE
FITTED = ("dx", "dy", "dx_error", "dy_error", "flux", "sky")


@dataclass(frozen=True)
class Stamps:
    """Tensors of N stamps; lengths in pixels, fluxes in the stamps' own units.

    Parameters
    ----------
    image, mask, sigma, sigma_noise, sersic : Tensor, shape (N, S, S)
        Data; 1 where usable; error with and without the floors of `likelihood`; the fitted Sersic through the PSF.
    neighbours : Tensor of uint8, shape (N, S, S)
        `skyloom.generators.cvae.noise_filter.usable_neighbours` of the mask.
    limit : Tensor, shape (N, S, S)
        What pixels that were cut away lie below; infinite where nothing is known, and for stamps left whole.
    limit_error : Tensor, shape (N,)
        One sigma of the noise there.
    thresholded : bool Tensor, shape (N,)
        Whether a stamp has limits.
    k_grid : KGrid
        On which images are formed.
    otf : complex Tensor, shape (N, 2, K, K)
        Transform of the effective PSF, on `k_grid`.
    jacobian : Tensor, shape (N, 2, 2)
        Canonical grid to pixels, lower triangular.
    disc_to_pixel : Tensor, shape (N, 2, 2)
        Disc with its major axis along x to pixels.
    offset : Tensor, shape (N, 2)
        Of the galaxy from the stamp's true centre, pixels.
    offset_error : Tensor, shape (N, 2)
        Of the fit.
    psf_sigma : Tensor, shape (N,)
        Width of the PSF, pixels.
    angle, sersic_n, q, flux, half_light_radius : Tensor, shape (N,)
        The radius in arcsec.
    features : Tensor, shape (N, WIDTH)
    correlation, independent : Tensor, shape (N,)
        Of the noise of neighbouring pixels; share of pixels that are independent of one another.
    weight : Tensor, shape (N,)
        Weight of a galaxy in the loss: below 1 where the Sersic alone is far off, so that a few bright galaxies do
        not own the training.
    source : tuple of str
    group : tuple of str
    galaxy_id : tuple of int
    likelihood : Likelihood
        That `sigma` was made for.
    """

    k_grid: KGrid
    image: Tensor
    mask: Tensor
    sigma: Tensor
    sigma_noise: Tensor
    sersic: Tensor
    neighbours: Tensor
    limit: Tensor
    limit_error: Tensor
    thresholded: Tensor
    otf: Tensor
    jacobian: Tensor
    disc_to_pixel: Tensor
    offset: Tensor
    offset_error: Tensor
    psf_sigma: Tensor
    angle: Tensor
    sersic_n: Tensor
    q: Tensor
    flux: Tensor
    half_light_radius: Tensor
    features: Tensor
    correlation: Tensor
    independent: Tensor
    weight: Tensor
    source: tuple[str, ...]
    group: tuple[str, ...]
    galaxy_id: tuple[int, ...]
    grid_scale: float = GRID_SCALE
    likelihood: Likelihood = field(default_factory=Likelihood)

    def __len__(self) -> int:
        return len(self.source)

    def seen(self) -> Tensor:
        """Share of the fitted Sersic's light that falls on usable pixels, shape (N,)."""
        return (self.sersic * self.mask).sum((1, 2)) / self.flux

    def subset(self, rows: Sequence[int]) -> Stamps:
        """The stamps of some rows."""
        index = torch.as_tensor(rows, dtype=torch.long)
        changes: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                changes[entry.name] = value[index]
            elif isinstance(value, tuple):
                changes[entry.name] = tuple(value[i] for i in index.tolist())
        return replace(self, **changes)

    @classmethod
    def from_cutouts(cls, cutouts: Sequence[Cutout], likelihood: Likelihood | None = None) -> Stamps:
        """Prepare cutouts that have a Sersic fit.

        Parameters
        ----------
        cutouts : sequence of Cutout
        likelihood : Likelihood, optional
            `Likelihood()` when left out.

        Raises
        ------
        TrainingError
            When there are none, one has no fit, or their stamps differ in size.
        """
        if not len(cutouts):
            raise TrainingError("no usable cutouts to prepare")
        items, likelihood = list(cutouts), Likelihood() if likelihood is None else likelihood
        for cutout in items:
            if cutout.fit is None or FitFlag.FAILED in cutout.fit.flags:
                raise TrainingError(f"galaxy {cutout.galaxy_id} of '{cutout.source}', {cutout.band}: no Sersic fit")
        sizes = {c.image.shape for c in items}
        if len(sizes) > 1:
            raise TrainingError(f"all stamps must have one size, not {sorted(sizes)}")
        size = items[0].image.shape[0]
        conditions = fitted_conditions(items)
        pixel = np.array([c.pixel_scale for c in items])
        fit = {name: np.array([getattr(c.fit, name) for c in items]) for name in FITTED}
        jacobian = _tensor(profile_jacobian(conditions.half_light_radius / pixel, conditions.q, conditions.beta))
        offset = _tensor(np.stack([fit["dx"], fit["dy"]], 1) / pixel[:, None])
        sersic_n, flux = _tensor(conditions.sersic_n), _tensor(fit["flux"])
        grid = KGrid(period=size * 4 / 3, size=int(size * 2 / 3) + 1)  # a third more than the stamp for the PSF's wings
        otf = torch.stack([_otf(c.psf, grid) for c in items])
        width = psf_sigma(otf, grid)

        def drawn(otf: Tensor) -> Tensor:
            parts = [
                draw_arrays(
                    None, GRID_SCALE, sersic_n[rows], jacobian[rows], offset[rows], flux[rows], otf[rows],
                    grid=grid, pixel_scale=1.0, stamp_size=size,
                )
                for rows in torch.arange(len(items)).split(64)
            ]  # fmt: skip
            return torch.cat(parts)

        sersic = drawn(otf)
        floor = (drawn(blurred(otf, grid, 2 * likelihood.psf_floor * width**2)) - sersic).square()
        mask = _tensor(np.stack([c.mask for c in items]))
        image = _tensor(np.stack([np.where(c.mask, c.image, 0.0) for c in items])) - _tensor(fit["sky"])[:, None, None]
        image = image * mask
        variance = _tensor(np.stack([np.where(c.mask, c.variance, 1.0) for c in items]))
        smooth = torch.nn.functional.avg_pool2d(image[:, None], 3, 1, 1)[:, 0].clamp(min=0)
        sigma_noise = variance.sqrt()
        sigma = torch.sqrt(variance + (likelihood.model_floor * smooth) ** 2 + floor)
        correlation = _tensor(np.clip([c.noise_correlation for c in items], 0.0, MAX_CORRELATION))
        excess = ((((image - sersic) / sigma) ** 2 - 1) * mask).sum((1, 2)).clamp(min=0)
        beta, stretch = _tensor(conditions.beta), _tensor(np.sqrt(conditions.q))
        c, s = torch.cos(beta), torch.sin(beta)
        radius = _tensor(conditions.half_light_radius / pixel)
        rows = [torch.stack([c / stretch, -s * stretch], -1), torch.stack([s / stretch, c * stretch], -1)]
        return cls(
            k_grid=grid,
            image=image,
            mask=mask,
            sigma=sigma,
            sigma_noise=sigma_noise,
            sersic=sersic,
            neighbours=usable_neighbours(mask),
            limit=torch.from_numpy(np.stack([_limits(c) for c in items])),
            limit_error=_tensor(np.array([_faint_noise(c) for c in items])),
            thresholded=torch.tensor([c.thresholded for c in items]),
            otf=otf,
            jacobian=jacobian,
            disc_to_pixel=torch.stack(rows, -2) * radius[:, None, None],
            offset=offset,
            offset_error=_tensor(np.nan_to_num(np.stack([fit["dx_error"], fit["dy_error"]], 1) / pixel[:, None])),
            psf_sigma=width,
            angle=_tensor(grid_angle(conditions.q, conditions.beta)),
            sersic_n=sersic_n,
            q=_tensor(conditions.q),
            flux=flux,
            half_light_radius=_tensor(conditions.half_light_radius),
            features=condition_features(conditions),
            correlation=correlation,
            independent=independent_share(correlation),
            weight=1 / torch.sqrt(1 + excess / 1000),
            source=tuple(c.source for c in items),
            group=tuple(c.group for c in items),
            galaxy_id=tuple(int(c.galaxy_id) for c in items),
            likelihood=likelihood,
        )


def usable(cutout: Cutout) -> bool:
    """Whether a cutout can teach: a sound fit of a resolved galaxy that the stamp holds."""
    fit = cutout.fit
    if fit is None:
        return False
    radius = fit.half_light_radius / cutout.pixel_scale
    numbers = (radius, fit.sersic_n, fit.q, fit.flux, fit.chi2, fit.dx, fit.dy)
    if not np.all(np.isfinite(numbers)):
        return False
    return bool(
        0.8 < radius < 0.42 * cutout.image.shape[0]
        and fit.flux > 0
        and fit.chi2 < 60
        and cutout.mask.sum() > 60
        and 0.3 <= fit.sersic_n <= 6.2
    )


def fitted_conditions(cutouts: Sequence[Cutout]) -> Conditions:
    """Conditions as the Sersic fits measured them; one row a cutout, numbered from 0."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(c.fit, name) for c in cutouts], dtype=np.float64)

    flux = column("flux")
    return Conditions(
        flux=np.where(flux > 0, flux, 1e-30),
        zero_point=np.array([c.zero_point for c in cutouts]),
        half_light_radius=column("half_light_radius"),
        sersic_n=np.clip(column("sersic_n"), 0.3, 6.2),
        q=np.clip(column("q"), 0.02, 1.0),
        beta=column("beta"),
        wavelength=np.array([c.wavelength for c in cutouts]),
        redshift=np.ma.masked_invalid([c.redshift for c in cutouts]),
    )


def _limits(cutout: Cutout) -> np.ndarray:
    """Upper limits on what was cut away; none for a stamp left whole."""
    if not cutout.thresholded:
        return np.full(cutout.image.shape, np.inf, np.float32)
    return upper_limits(cutout.image, cutout.mask, _faint_noise(cutout))


def _faint_noise(cutout: Cutout) -> float:
    """One sigma of the noise of a typical usable pixel."""
    return float(np.sqrt(np.median(cutout.variance[cutout.mask]))) if cutout.mask.any() else 1.0


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _otf(psf: np.ndarray, grid: KGrid) -> Tensor:
    """Transform of an effective PSF image about its true centre, of unit flux, shape (2, size, size)."""
    k = grid.spacing * np.arange(grid.size)
    height, width = psf.shape
    ky = np.exp(-1j * k[:, None] * (np.arange(height) - (height - 1) / 2))
    kx = np.exp(-1j * k[:, None] * (np.arange(width) - (width - 1) / 2))
    rows = ky @ (psf / psf.sum())
    return torch.from_numpy(np.stack([rows @ kx.T, rows @ kx.conj().T]).astype(np.complex64))
