"""How probable a stamp is, given what a model says it should show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skyloom.errors import BadInputError
from skyloom.generators.cvae.noise_filter import whiten, whitening

if TYPE_CHECKING:
    from skyloom.generators.cvae.data import Stamps

__all__ = ["Likelihood", "fitted_amplitude", "independent_share", "log_likelihood", "residuals", "whitener"]

SURPRISE = 0.05
"""Share of cut-away pixels of which the isophote tells nothing: a neighbour's, or a wrong edge. It bounds what one
pixel can cost at 3 nats."""


@dataclass(frozen=True)
class Likelihood:
    """What the pixel likelihood is made of.

    Parameters
    ----------
    whitened : bool
        Correlated noise is made white (`skyloom.generators.cvae.noise_filter`); otherwise pixels are taken as
        independent and their terms multiplied by `independent_share`.
    censored : bool
        Pixels that were cut away below an isophote count as upper limits.
    student_dof : float
        Degrees of freedom of the pixel terms: tails for what the noise model leaves out. Above 2.
    model_floor : float
        Error of the model as a share of the (smoothed) light in a pixel, at least 0.
    psf_floor : float
        Error of the PSF's width as a share of it, at least 0. Both are added in quadrature to the noise.
    """

    whitened: bool = True
    censored: bool = True
    student_dof: float = 30.0
    model_floor: float = 0.04
    psf_floor: float = 0.05

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges."""
        if not self.student_dof > 2:
            raise BadInputError(f"student_dof must be above 2, not {self.student_dof}")
        for name in ("model_floor", "psf_floor"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInputError(f"{name} must be in [0, 1), not {getattr(self, name)}")


def independent_share(correlation: Tensor) -> Tensor:
    """Share of pixels that are independent, for structure much larger than the noise's: ``1 / (1 + 2 rho)^2``.

    One over the sum of the noise's correlation function in two dimensions. Structure as small as a pixel loses
    nothing: no one factor is right for both.
    """
    return 1 / (1 + 2 * correlation) ** 2


def residuals(
    model: Tensor, stamps: Stamps, index: Tensor, likelihood: Likelihood | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Data less model in units of the error, the amplitude of the model fitted by (generalised) least squares.

    Parameters
    ----------
    model : Tensor, shape (B, S, S)
    stamps : Stamps
    index : Tensor of int, shape (B,)
    likelihood : Likelihood, optional
        The stamps' own when left out.

    Returns
    -------
    plain, white : Tensor, shape (B, S, S)
        0 where not usable; both the same unless whitened.
    amplitude : Tensor, shape (B,)
        In [0.5, 2].
    """
    likelihood = stamps.likelihood if likelihood is None else likelihood
    mask = stamps.mask[index]
    weight = mask / stamps.sigma[index]
    data, model = weight * stamps.image[index], weight * model
    white = whitener(stamps, index, likelihood)
    white_data, white_model = white(data), white(model)
    amplitude = fitted_amplitude(white_data, white_model)
    scale = amplitude[:, None, None]
    return data - scale * model, white_data - scale * white_model, amplitude


def whitener(stamps: Stamps, index: Tensor, likelihood: Likelihood) -> Callable[[Tensor], Tensor]:
    """What makes images in units of the error white: of these stamps, in this order, or of one stamp many."""
    if not likelihood.whitened:
        return lambda images: images
    filters = whitening(stamps.mask[index], stamps.neighbours[index], stamps.correlation[index])
    return lambda images: whiten(images, filters)


def fitted_amplitude(data: Tensor, model: Tensor) -> Tensor:
    """By least squares, of white images (B, S, S); in [0.5, 2], shape (B,)."""
    norm = (model * model).sum((1, 2)).clamp(min=1e-9)
    return ((data * model).sum((1, 2)) / norm).clamp(0.5, 2.0)


def log_likelihood(
    model: Tensor, stamps: Stamps, index: Tensor, likelihood: Likelihood | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log likelihood of stamps, the amplitude of the model fitted.

    Parameters
    ----------
    model : Tensor, shape (B, S, S)
    stamps : Stamps
    index : Tensor of int, shape (B,)
    likelihood : Likelihood, optional
        The stamps' own when left out.

    Returns
    -------
    log_likelihood, chi2, amplitude : Tensor, shape (B,)
        In nats up to a constant of the stamp; sum over usable pixels of squared residuals in units of each pixel's
        error, correlated as they are.
    """
    likelihood = stamps.likelihood if likelihood is None else likelihood
    plain, white, amplitude = residuals(model, stamps, index, likelihood)
    dof = likelihood.student_dof
    found = -0.5 * (dof + 1) * torch.log1p(white**2 / dof).sum((1, 2))
    if not likelihood.whitened:
        found = found * stamps.independent[index]
    if likelihood.censored:
        cut = stamps.thresholded[index].nonzero()[:, 0]
        if len(cut):
            found = found.index_add(0, cut, _upper_limits(amplitude[cut, None, None] * model[cut], stamps, index[cut]))
    return found, (plain**2).sum((1, 2)), amplitude


def _upper_limits(model: Tensor, stamps: Stamps, index: Tensor) -> Tensor:
    """Log probability that pixels which were cut away lie below the isophote (Tobin 1958, Econometrica 26, 24)."""
    below = torch.special.ndtr((stamps.limit[index] - model) / stamps.limit_error[index][:, None, None])
    return independent_share(stamps.correlation[index]) * torch.log((1 - SURPRISE) * below + SURPRISE).sum((1, 2))
