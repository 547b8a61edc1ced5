"""Latents and maps for sampling: by networks rearranged for it where they are known, else by the trained ones."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from skyloom.generators.cvae.fast_decoder import FastDecoder
from skyloom.generators.cvae.fast_flow import FastFlow
from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.flow_net import VelocityNet
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.net import Decoder
from skyloom.generators.cvae.prior import LatentPrior

__all__ = ["Sampler"]

logger = logging.getLogger(__name__)

_PROBES = 4
_TOLERANCE = 1e-3  # of latents and maps, both of order one; rounding makes some 1e-5


class Sampler:
    """p(z | y) and the decoder.

    Parameters
    ----------
    decoder
        Its weights are those of now: later changes are not seen.
    prior : LatentPrior
    """

    def __init__(self, decoder: Decoder, prior: LatentPrior) -> None:
        self.draw: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]] = prior.draw
        """As `LatentPrior.draw`."""
        self.decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = decoder.maps
        """As `Decoder.maps`."""
        rng = torch.Generator().manual_seed(1)
        y, noise = (torch.randn(_PROBES, n, generator=rng) for n in (WIDTH, prior.noise_size))
        if type(prior) is FlowPrior and type(prior.student) is VelocityNet and prior.steps:
            flow = FastFlow(prior.student, prior.steps, prior.real)

            def draw(y: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
                return flow(y, temperature * noise[:, :-1]), noise[:, -1] > 0

            if _same("prior", draw(y, noise, 1.0)[0], prior.draw(y, noise)[0]):
                self.draw = draw
        if type(decoder) is Decoder:
            fast = FastDecoder(decoder)
            z = prior.draw(y, noise)[0]
            if all(_same("decoder", *maps) for maps in zip(fast(z, y), decoder.maps(z, y), strict=True)):
                self.decode = fast


def _same(name: str, ours: Tensor, theirs: Tensor) -> bool:
    """Whether they agree; a network that has changed is used as it is."""
    apart = float((ours - theirs).abs().max())
    if not apart < _TOLERANCE:
        logger.warning("the rearranged %s differs by %.3g from the trained one, which is used instead", name, apart)
        return False
    return True
