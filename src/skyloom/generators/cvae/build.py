"""From cutouts to a model file: choose, split, train, fit the prior, measure on held-out galaxies, write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skyloom.errors import TrainingError
from skyloom.generators.checkpoint import ModelCard, save_checkpoint
from skyloom.generators.cvae.data import GRID_SCALE, GRID_SIZE, Stamps, fitted_conditions, usable
from skyloom.generators.cvae.features import FEATURES, HINTS
from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.flow_train import fit_flow_prior
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior, fit_prior
from skyloom.generators.cvae.prior_posteriors import flow_posteriors, well_seen, wound_alike
from skyloom.generators.cvae.refine import REFINE_STEPS
from skyloom.generators.cvae.structure_gain import GAIN, structure_gain
from skyloom.generators.cvae.train import Trainer, TrainingConfig, split_of
from skyloom.generators.cvae.usage import usage_of
from skyloom.generators.density import ConditionDensity
from skyloom.generators.density_fit import fit_density
from skyloom.generators.ranges import condition_values
from skyloom.profiles import GeneratorSpec

if TYPE_CHECKING:
    from skyloom.stamps import Cutout

__all__ = ["Splits", "build_model", "split_cutouts"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """Usable cutouts by their part in training, and why others were left out."""

    train: list[Cutout]
    validation: list[Cutout]
    test: list[Cutout]
    left_out: int


def split_cutouts(sets: Sequence[Sequence[Cutout]]) -> Splits:
    """Sort cutouts into training, validation and test by the patch of sky they lie in."""
    parts: dict[str, list[Cutout]] = {"train": [], "validation": [], "test": []}
    left_out = 0
    for cutout in (c for cutouts in sets for c in cutouts):
        if usable(cutout):
            parts[split_of(cutout.source, cutout.group)].append(cutout)
        else:
            left_out += 1
    return Splits(**parts, left_out=left_out)


def build_model(
    sets: Sequence[Sequence[Cutout]],
    output: Path,
    *,
    name: str,
    config: TrainingConfig,
    folder: Path,
    flow: FlowConfig | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> ModelCard:
    """Train a conditional VAE and write it as one checkpoint.

    Parameters
    ----------
    sets : sequence of sequences of Cutout
        Cutouts with Sersic fits, all of one stamp size.
    output : Path
        The model file to write.
    name : str
        Name of the model.
    config : TrainingConfig
    flow : FlowConfig, optional
        Of the flow prior; without it the prior is a Gaussian (`skyloom.generators.cvae.prior`).
    folder : Path
        For the run's checkpoint and log.
    resume : bool
        Continue the run in `folder`. Without it a folder that holds a run is refused.
    about : mapping, optional
        Entries of the model card: ``summary``, ``licence``, ``training_data``, ``limits`` ...
    progress : callable, optional
        See `Trainer.run`.

    Returns
    -------
    ModelCard
    """
    splits = split_cutouts(sets)
    if not splits.train or not splits.validation:
        raise TrainingError(
            f"{len(splits.train)} usable cutouts to train on and {len(splits.validation)} to validate on "
            f"({splits.left_out} left out: no fit, unresolved, too large for the stamp or badly fitted)"
        )
    logger.info("%d cutouts train, %d validate", len(splits.train), len(splits.validation))
    density = _density(splits.train, config.seed)
    stamps = Stamps.from_cutouts(splits.train)
    trainer = Trainer(stamps, Stamps.from_cutouts(splits.validation), config, folder)
    found = resume and trainer.resume()
    if not found and (folder / "checkpoint.pt").exists():
        raise TrainingError(f"{folder} holds a training run already: resume it, or choose another folder")
    trainer.run(progress)
    seen = well_seen(stamps)
    prior: LatentPrior
    if flow is None:
        prior = fit_prior(wound_alike(trainer, seen), config.architecture)
    else:
        prior = fit_flow_prior(
            flow_posteriors(trainer, seen, flow.simulated), config.architecture, flow, folder, resume=resume
        )
    tensors = dict(_flatten("encoder", trainer.encoder.state_dict()))
    tensors |= dict(_flatten("decoder", trainer.decoder.state_dict()))
    tensors |= dict(_flatten("prior", prior.tensors()))
    tensors |= density.tensors()
    tensors[GAIN] = structure_gain(trainer.decoder.maps, prior, seen, seed=config.seed).numpy()
    return save_checkpoint(output, tensors, _card(name, splits, trainer, flow, about or {}))


def _density(cutouts: Sequence[Cutout], seed: int) -> ConditionDensity:
    conditions = fitted_conditions(cutouts)
    columns = {name: condition_values(conditions, name) for name in FEATURES}
    return fit_density(columns, [f"{c.source}:{c.galaxy_id}" for c in cutouts], hints=HINTS, seed=seed)


def _flatten(part: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in tensors.items():
        yield f"{part}.{name}", values.detach().float().contiguous().numpy()


def _card(
    name: str, splits: Splits, trainer: Trainer, flow: FlowConfig | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    conditions = fitted_conditions(splits.train)
    columns = {name: condition_values(conditions, name) for name in FEATURES if name not in HINTS}
    ranges = {k: _range(k, v) for k, v in columns.items() if v is not None and np.isfinite(v).any()}
    bands = tuple(sorted({c.band for c in splits.train}))
    return {
        "family": "cvae",
        "name": name,
        "spec": GeneratorSpec(
            name=name,
            summary=str(about.get("summary", "conditional VAE of galaxy structure")),
            ranges=ranges,
            bands=bands,
            grid_size=GRID_SIZE,
            grid_scale=GRID_SCALE,
        ),
        "architecture": trainer.config.architecture.as_dict(),
        "training": asdict(trainer.config)
        | {
            "flow": None if flow is None else asdict(flow),
            "cutouts": {part: len(getattr(splits, part)) for part in ("train", "validation", "test")},
            "cutouts_left_out": splits.left_out,
            "galaxies": len({(c.source, c.galaxy_id) for c in splits.train}),
        },
        "metrics": _metrics(trainer, splits),
        **about,
    }


def _range(name: str, values: np.ndarray) -> tuple[float, float]:
    """What all but one in two hundred of the training galaxies span, on either side."""
    low, high = np.nanquantile(values, [0.005, 0.995])
    if name == "q":  # noise keeps the fits of face-on discs below 1
        high = 1.0
    return float(np.round(low, 4)), float(np.round(high, 4))


def _metrics(trainer: Trainer, splits: Splits) -> dict[str, Any]:
    """Held-out figures by source, and which latents are used."""
    if not splits.test:
        return {}
    torch.manual_seed(0)
    stamps = Stamps.from_cutouts(splits.test)
    found = trainer.evidence_gain(stamps, draws=3, refine=REFINE_STEPS)
    sources = np.array([c.source for c in splits.test])
    out: dict[str, Any] = {}
    for source in sorted(set(sources)):
        rows = torch.from_numpy(np.flatnonzero(sources == source))
        gain = found["gain"][rows]
        out[source] = {
            "cutouts": len(rows),
            "gain_nats_mean": round(float(gain.mean()), 2),
            "gain_nats_median": round(float(gain.median()), 2),
            "share_gained": round(float((gain > 0).float().mean()), 3),
            "chi2_sersic": round(float(found["chi2_sersic"][rows].mean()), 4),
            "chi2_reconstruction": round(float(found["chi2"][rows].mean()), 4),
            "kl_nats": round(float(found["kl"][rows].mean()), 2),
        }
    galaxies = Galaxies.of(stamps)
    if galaxies.count > 1:
        out["latents"] = usage_of(trainer.encoder, stamps, galaxies).for_card()
    return out
