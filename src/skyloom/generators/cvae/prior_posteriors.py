"""What a prior learns from: posteriors of the training galaxies, and of simulated structure."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from skyloom.errors import TrainingError
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import prior_features, referenced
from skyloom.generators.cvae.evidence import posterior_of
from skyloom.generators.cvae.flow_simulated import simulated_posteriors
from skyloom.generators.cvae.instrument import Jitter
from skyloom.generators.cvae.measurement import Measurement, measured, stamps_likelihood
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import Posteriors
from skyloom.generators.cvae.refine import REFINE_STEPS, refined_posterior
from skyloom.generators.cvae.simulated_stamps import with_simulated_structure
from skyloom.generators.cvae.structure import winding
from skyloom.generators.cvae.train import Trainer

__all__ = ["flow_posteriors", "well_seen", "wound_alike"]

logger = logging.getLogger(__name__)


def well_seen(stamps: Stamps) -> Stamps:
    """The stamps that teach a prior: of galaxies whose half-light radius was seen.

    Left out are those of whose Sersics less than half the light falls on usable pixels, in the mean of their stamps. A
    disc that was cut away below an isophote is easily fitted by a larger and steeper one, and then told as a steep
    galaxy that ends.
    """
    galaxies = Galaxies.of(stamps)
    kept = galaxies.mean(stamps.seen()) >= 0.5
    if not kept.any():
        raise TrainingError("no galaxy has half of its light on usable pixels")
    logger.info("%d of %d galaxies teach the prior: half of their light was seen", int(kept.sum()), galaxies.count)
    return stamps.subset(torch.nonzero(kept[galaxies.row])[:, 0].tolist())


def flow_posteriors(trainer: Trainer, stamps: Stamps, simulated: int) -> Posteriors:
    """What the flow prior learns from: what stamps tell of real galaxies, and latents fitted to simulated structure.

    Parameters
    ----------
    trainer : Trainer
    stamps : Stamps
    simulated : int
        Galaxies of simulated structure, at the conditions of real ones.
    """
    real = wound_alike(trainer, stamps, simulated=0, correlated=True)
    galaxies = Galaxies.of(stamps)
    rows = galaxies.first[torch.arange(simulated) % galaxies.count]
    made = simulated_posteriors(
        trainer.decoder, stamps.sersic_n[rows], stamps.q[rows], stamps.features[rows], seed=trainer.config.seed
    )
    mean, log_variance, y, domain = (
        torch.cat([getattr(real, name), getattr(made, name)]) for name in ("mean", "log_variance", "features", "real")
    )
    return Posteriors(mean, log_variance, y, domain, real.measured, real.likelihood)


@torch.no_grad()
def wound_alike(
    trainer: Trainer,
    stamps: Stamps,
    simulated: int | None = None,
    *,
    refine: int = REFINE_STEPS,
    correlated: bool = False,
) -> Posteriors:
    """Posteriors of all galaxies and of simulated structure, each mirrored where needed so that all wind the same way.

    Parameters
    ----------
    trainer : Trainer
    stamps : Stamps
    simulated : int, optional
        How many galaxies of simulated structure; half as many as real ones by default.
    refine : int
        Gradient steps by which the real galaxies' posteriors are improved.
    correlated : bool
        Also find what the real ones' stamps tell with all correlations in it: `Posteriors.measured` and `likelihood`.
    """
    torch.manual_seed(trainer.config.seed)
    galaxies = Galaxies.of(stamps)
    count = galaxies.count // 2 if simulated is None else simulated
    parts = [(stamps.subset(rows.tolist()), part, True) for rows, part in galaxies.batches(16)]
    real = list(parts)
    made = 0
    while made < count:
        old, part, _ = real[made // 16 % len(real)]
        parts.append((with_simulated_structure(old, part, part.count, brighter=8.0), part, False))
        made += part.count
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    told: list[Measurement] = []
    mirrored: list[Tensor] = []
    for part_stamps, part, is_real in parts:
        index = torch.arange(len(part_stamps))
        mirror = _winds_backwards(trainer, part_stamps, index, part)
        mean, log_variance, frames = posterior_of(trainer.encoder, part_stamps, index, part, mirror=mirror[part.row])
        if is_real:
            posterior = mean, log_variance
            mean, log_variance = refined_posterior(
                trainer.decoder, part_stamps, index, part, posterior, frames, y=part_stamps.features, steps=refine
            )
            if correlated:
                told.append(measured(trainer.decoder, part_stamps, part, mean, frames))
                mirrored.append(mirror)
        rows.append(
            (mean, log_variance, prior_features(part_stamps.features, part), torch.full((part.count,), is_real))
        )
    mean, log_variance, y, domain = (torch.cat(values) for values in zip(*rows, strict=True))
    if not told:
        return Posteriors(mean, log_variance, y, domain)
    frames = Jitter(stamps.q, torch.cat(mirrored)[galaxies.row]).spread(torch.arange(len(stamps)), galaxies.frame)
    likelihood = stamps_likelihood(trainer.decoder, stamps, galaxies, frames)
    return Posteriors(mean, log_variance, y, domain, Measurement.cat(told), likelihood)


def _winds_backwards(trainer: Trainer, stamps: Stamps, index: Tensor, galaxies: Galaxies) -> Tensor:
    """Whether galaxies must be mirrored to wind the way that all do, bool, shape (galaxies.count,)."""
    y = referenced(stamps.features, galaxies)[galaxies.first]
    as_seen, mirrored = (
        winding(trainer.decoder(posterior_of(trainer.encoder, stamps, index, galaxies, mirror=side)[0], y))
        for side in (False, True)
    )
    return as_seen < mirrored
