"""What `scripts/ablations.py` trains: the whole model, and the model with one thing left out or changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_cartesian import cartesian_frame
from torch import Tensor, nn

from skyloom.generators.cvae.build import Splits
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import referenced
from skyloom.generators.cvae.evidence import kl_divergence, posterior_of
from skyloom.generators.cvae.features import FEATURES, STEP
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.likelihood import Likelihood, log_likelihood
from skyloom.generators.cvae.net import Architecture
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.train import Trainer, TrainingConfig
from skyloom.stamps import Cutout

__all__ = ["VARIANTS", "Variant", "judge", "run_variant"]

STAMPS_A_GALAXY = 1.9
"""A step of 16 galaxies has 30.5 stamps on average, three at most of each."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Parameters
    ----------
    label : str
        In the table.
    prepare : callable
        Cutouts to what is trained on, and what the encoder sees when it is judged.
    simulated : float, optional
        In place of the default of `TrainingConfig`.
    stamps : float
        Multiplies the batch.
    architecture : Architecture, optional
        In place of the default.
    wire : callable
        Changes a new trainer.
    frame : callable
        Context in which it is trained and judged.
    """

    label: str
    prepare: Callable[[Sequence[Cutout]], Stamps] = Stamps.from_cutouts
    simulated: float | None = None
    stamps: float = 1.0
    architecture: Architecture | None = None
    wire: Callable[[Trainer], None] = field(default=lambda trainer: None)
    frame: Callable[[], AbstractContextManager[None]] = nullcontext

    def config(self, steps: int, batch: int, seed: int) -> TrainingConfig:
        """How it is trained."""
        config = TrainingConfig(steps=steps, batch=round(batch * self.stamps), seed=seed)
        changed = {"simulated": self.simulated, "architecture": self.architecture}
        return replace(config, **{name: value for name, value in changed.items() if value is not None})


def without_instrument(cutouts: Sequence[Cutout]) -> Stamps:
    """Stamps whose PSF is a point: images are compared with the model above the atmosphere."""
    point = np.ones((1, 1), np.float32)
    return Stamps.from_cutouts([replace(c, psf=point) for c in cutouts])


def diluted(cutouts: Sequence[Cutout]) -> Stamps:
    """Stamps whose pixels count as independent, each by the share that is."""
    return Stamps.from_cutouts(cutouts, Likelihood(whitened=False))


def each_alone(cutouts: Sequence[Cutout]) -> Stamps:
    """Stamps of which none shows the same galaxy as another."""
    stamps = Stamps.from_cutouts(cutouts)
    return replace(stamps, galaxy_id=tuple(range(len(stamps))))


def blank_conditions(trainer: Trainer) -> None:
    """Let the networks see the conditions of an unknown galaxy, whatever they are given; steps between bands stay."""

    def unknown(_: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y = torch.zeros_like(given[1])
        y[:, len(FEATURES) : STEP] = 1.0
        y[:, STEP] = given[1][:, STEP]
        return given[0], y

    for net in (trainer.encoder, trainer.decoder):
        net.register_forward_pre_hook(unknown)


def grey(trainer: Trainer) -> None:
    """Let galaxies have one structure at all wavelengths, but for what the decoder's modulation does."""

    trainer.decoder.slope.register_forward_hook(lambda module, given, found: torch.zeros_like(found))


def never_together(trainer: Trainer) -> None:
    """`grey`, and an encoder that does not see how stamps of one galaxy differ."""
    grey(trainer)

    def no_colour(_: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.cat([given[0][:, :-2], torch.zeros_like(given[0][:, -2:])], 1), given[1]

    trainer.encoder.register_forward_pre_hook(no_colour)


VARIANTS: dict[str, Variant] = {
    "full": Variant("full model"),
    "no_instrument": Variant("no instrument in the likelihood", without_instrument),
    "no_conditions": Variant("no conditions in the networks", wire=blank_conditions),
    "grey": Variant("no slope with wavelength", wire=grey),
    "coarse": Variant(
        "no finer grid of latents", architecture=Architecture(local_channels=4, fine_channels=0, colour_channels=0)
    ),
    "diluted": Variant("diluted likelihood, not whitened", diluted),
    "each_band": Variant("each band a galaxy of its own", each_alone, stamps=STAMPS_A_GALAXY, wire=never_together),
    "no_simulations": Variant("no simulations", simulated=0.0),
    "cartesian": Variant("no simulations, Cartesian frame", simulated=0.0, frame=cartesian_frame),
}


def run_variant(
    variant: Variant, splits: Splits, config: TrainingConfig, folder: Path, *, draws: int = 3
) -> dict[str, Any]:
    """Train, or go on training, and judge on the test split.

    Returns
    -------
    dict
        ``stamps``: columns of figures of each test stamp by itself; ``galaxies``: of the joint posterior of all stamps
        of each test galaxy; ``parameters`` of both networks.
    """
    with variant.frame():
        trainer = Trainer(variant.prepare(splits.train), variant.prepare(splits.validation), config, folder)
        variant.wire(trainer)
        trainer.resume()
        trainer.run(lambda step, losses: print(step, losses, flush=True) if step % 100 == 0 else None)
        judged, seen = Stamps.from_cutouts(splits.test), variant.prepare(splits.test)
        alone = judge(trainer, judged, seen, Galaxies.alone(len(judged)), draws)
        galaxies = Galaxies.of(judged)
        together = judge(trainer, judged, seen, galaxies, draws)
    first = [splits.test[i] for i in galaxies.first.tolist()]
    bands = torch.bincount(galaxies.row, minlength=galaxies.count)
    return {
        "stamps": {**_names(splits.test), "band": [c.band for c in splits.test], **alone},
        "galaxies": {**_names(first), "bands": bands.tolist(), **together},
        "parameters": sum(p.numel() for net in (trainer.encoder, trainer.decoder) for p in net.parameters()),
    }


@torch.no_grad()
def judge(trainer: Trainer, judged: Stamps, seen: Stamps, galaxies: Galaxies, draws: int) -> dict[str, list[float]]:
    """`skyloom.generators.cvae.evidence.evidence_gain` where the encoder sees other stamps than those that judge."""
    torch.manual_seed(0)
    encoder, decoder = trainer.encoder.eval(), trainer.decoder.eval()
    rows: dict[str, list[float]] = {"gain": [], "chi2_sersic": [], "chi2": [], "kl": []}
    for index, part in galaxies.batches(16):
        y = referenced(judged.features[index], part)
        mean, log_variance, still = posterior_of(encoder, seen, index, part)
        alone, chi2_alone, _ = log_likelihood(judged.sersic[index], judged, index)
        _, chi2, _ = log_likelihood(model_images(decoder, judged, index, mean[part.row], y, still), judged, index)
        expected = torch.zeros(len(index))
        for _ in range(draws):
            z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            images = model_images(decoder, judged, index, z[part.row], y, still)
            expected += log_likelihood(images, judged, index)[0] / draws
        kl, pixels = kl_divergence(mean, log_variance).sum(1), judged.mask[index].sum((1, 2))
        rows["gain"] += (part.total(expected - alone) - kl).tolist()
        rows["chi2_sersic"] += part.mean(chi2_alone / pixels).tolist()
        rows["chi2"] += part.mean(chi2 / pixels).tolist()
        rows["kl"] += kl.tolist()
    return rows


def _names(cutouts: Sequence[Cutout]) -> dict[str, list[Any]]:
    return {"source": [c.source for c in cutouts], "galaxy_id": [int(c.galaxy_id) for c in cutouts]}
