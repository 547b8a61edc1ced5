"""What the encoder is shown of a stamp beside the galaxy's other stamps, so that it can tell of colour."""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.features import FEATURES, STEP, set_step, wavelength_known, without_band
from skyloom.generators.cvae.instrument import Jitter, encoder_input
from skyloom.generators.cvae.net import Encoder
from skyloom.generators.cvae.posterior import Galaxies

__all__ = ["colour_channels", "encode", "prior_features", "referenced"]

_WAVELENGTH = FEATURES.index("wavelength")
_LEAST_STEP = 0.15  # in wavelength, against which a difference of structure is not taken for colour


def referenced(y: Tensor, galaxies: Galaxies, seen: Tensor | None = None) -> Tensor:
    """Features of stamps whose galaxies' latents are defined at the mean wavelength of their stamps.

    There, what the stamps tell of structure and of its slope is independent, as the posterior's latents are; a stamp by
    itself tells nothing of the slope.

    Parameters
    ----------
    y : Tensor, shape (B, WIDTH)
    galaxies : Galaxies
        Of the stamps.
    seen : bool Tensor, shape (B,), optional
        Stamps that count for the mean; all when left out.

    Returns
    -------
    Tensor, shape (B, WIDTH)
    """
    counts = _counted(y, seen)
    reference = galaxies.total(counts * y[:, _WAVELENGTH]) / galaxies.total(counts).clamp(min=1.0)
    y = y.clone()
    set_step(y, reference[galaxies.row])
    return y


def prior_features(y: Tensor, galaxies: Galaxies) -> Tensor:
    """What the prior of galaxies' latents, as samples have them, is told.

    Parameters
    ----------
    y : Tensor, shape (B, WIDTH)
        Of stamps.
    galaxies : Galaxies
        Of the stamps.

    Returns
    -------
    Tensor, shape (galaxies.count, WIDTH)
        The mean of the stamps', without what differs between bands.
    """
    return without_band(galaxies.mean(y))


def encode(
    encoder: Encoder,
    stamps: Stamps,
    index: Tensor,
    galaxies: Galaxies,
    frames: Jitter | None = None,
    y: Tensor | None = None,
    *,
    noise: float = 0.0,
    seen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What each stamp says of its galaxy's latents.

    Parameters
    ----------
    encoder : Encoder
    stamps : Stamps
    index : Tensor of int, shape (B,)
    galaxies : Galaxies
        Of these stamps.
    frames : Jitter, optional
    y : Tensor, shape (B, WIDTH), optional
        `referenced` features; those of the stamps when left out.
    noise : float
        See `encoder_input`.
    seen : bool Tensor, shape (B,), optional
        Stamps that the others may be compared with; all when left out.

    Returns
    -------
    mean, log_variance : Tensor, shape (B, latents)
        To be multiplied by `joint_posterior`.
    """
    y = referenced(stamps.features[index], galaxies, seen) if y is None else y
    x = encoder_input(stamps, index, frames, noise)
    told: tuple[Tensor, Tensor] = encoder(torch.cat([x, colour_channels(x, y, galaxies, seen)], 1), y)
    return told


def colour_channels(x: Tensor, y: Tensor, galaxies: Galaxies, seen: Tensor | None = None) -> Tensor:
    """How a stamp's structure differs from the mean of its galaxy's stamps, a step of wavelength.

    The slope of a straight line through points (x_i, f_i) is the mean of (f_i - <f>) / (x_i - <x>) weighted by
    (x_i - <x>)^2: so each stamp can speak for itself, and as loudly as the other channel says. Where a stamp shows
    nothing at a node (masked, or fainter than the noise) it counts less in both means there.

    Parameters
    ----------
    x : Tensor, shape (B, C, ROWS, COLUMNS)
        Of `encoder_input`.
    y : Tensor, shape (B, WIDTH)
        `referenced` features.
    galaxies : Galaxies
        Of the stamps.
    seen : bool Tensor, shape (B,), optional
        Stamps that count for the mean.

    Returns
    -------
    Tensor, shape (B, 2, ROWS, COLUMNS)
        The stamp's own slope, and its distance in wavelength from the mean, node by node; both 0 for a galaxy's only
        stamp, and where the wavelength is not known.
    """
    counts = _counted(y, seen)[:, None, None]
    weight = x[:, 3] * (0.1 + x[:, 2].clamp(min=0)) * counts
    total = galaxies.mean(weight).clamp(min=1e-6)

    def from_mean(values: Tensor) -> Tensor:
        return (values - (galaxies.mean(weight * values) / total)[galaxies.row]) * counts

    offset = from_mean(y[:, STEP, None, None].expand_as(weight))
    slope = (from_mean(x[:, 1]) * offset / (offset**2 + _LEAST_STEP**2) * x[:, 3]).clamp(-3, 3)
    return torch.stack([slope, offset], 1)


def _counted(y: Tensor, seen: Tensor | None = None) -> Tensor:
    """1 for stamps of known wavelength that are seen, 0 for others, shape (B,)."""
    known = wavelength_known(y)
    return (known if seen is None else known & seen).to(y)
