"""How much better than its Sersic the model explains a stamp: a bound on the gain in log evidence."""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.instrument import (
    GridGeometry,
    Jitter,
    encoder_input,
    grid_points,
    log_likelihood,
    observe,
    residual_grid,
)
from skyloom.generators.cvae.net import Decoder, Encoder

__all__ = ["evidence_gain", "kl_divergence", "model_images"]


def model_images(
    decoder: Decoder, stamps: Stamps, index: Tensor, z: Tensor, y: Tensor, jitter: Jitter | None = None
) -> Tensor:
    """Images of latents through the stamps' instruments, shape (B, S, S)."""
    points = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index])
    residual = residual_grid(decoder(z, y), GridGeometry.of(points, jitter), stamps.sersic_n[index])
    return observe(residual, stamps, index)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each latent from N(0, 1), nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


@torch.no_grad()
def evidence_gain(encoder: Encoder, decoder: Decoder, stamps: Stamps, draws: int = 1) -> dict[str, Tensor]:
    """Held-out figures a stamp, each of shape (N,).

    Parameters
    ----------
    encoder, decoder
        Are put into evaluation mode.
    stamps : Stamps
    draws : int
        Latents drawn from the posterior for the expectation; random numbers are torch's global ones.

    Returns
    -------
    dict
        ``gain``: ELBO less the log likelihood of the Sersic alone (f = 0), nats. ``chi2_sersic``, ``chi2``: a usable
        pixel, of the Sersic and of the posterior mean. ``kl``: nats.
    """
    encoder.eval()
    decoder.eval()
    rows: dict[str, list[Tensor]] = {"gain": [], "chi2_sersic": [], "chi2": [], "kl": []}
    for index in torch.arange(len(stamps)).split(32):
        y = stamps.features[index]
        mean, log_variance = encoder(encoder_input(stamps, index), y)
        alone, chi2_alone, _ = log_likelihood(stamps.sersic[index], stamps, index)
        _, chi2, _ = log_likelihood(model_images(decoder, stamps, index, mean, y), stamps, index)
        expected = torch.zeros(len(index))
        for _ in range(draws):
            z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            expected += log_likelihood(model_images(decoder, stamps, index, z, y), stamps, index)[0] / draws
        kl, pixels = kl_divergence(mean, log_variance).sum(1), stamps.mask[index].sum((1, 2))
        figures = (expected - kl - alone, chi2_alone / pixels, chi2 / pixels, kl)
        for name, value in zip(rows, figures, strict=True):
            rows[name].append(value)
    return {name: torch.cat(values) for name, values in rows.items()}
