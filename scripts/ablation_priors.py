"""Priors of one trained model compared: N(0, 1), the Gaussian of `skyloom.generators.cvae.prior`, and the flow.

By the coherence of their samples, as `scripts/coherence_table.py` measures it, and by the bound on the log evidence
of test stamps under each.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ablation_bounds import bounds
from torch import Tensor

import skyloom
from skyloom.generators.cvae.build import Splits
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.net import Architecture
from skyloom.generators.cvae.prior import LatentPrior, Prior, fit_prior
from skyloom.generators.cvae.prior_posteriors import well_seen, wound_alike
from skyloom.generators.cvae.structure_gain import structure_gain
from skyloom.generators.cvae.train import TrainingConfig
from skyloom.validate.counterparts_shape import counterparts_as_real
from skyloom.validate.reencoded import Reencoder, judged_rows
from skyloom.validate.reencoded_metrics import COHERENCE, coherence_comparison
from skyloom.validate.run_samples import default_refit

__all__ = ["StandardPrior", "compare_priors", "priors_of"]

COLUMNS = (*COHERENCE, "ring", "rms")


@dataclass(frozen=True)
class StandardPrior:
    """N(0, 1), under which the networks were trained."""

    arch: Architecture

    @property
    def noise_size(self) -> int:
        """Standard normal numbers a sample takes."""
        return self.arch.latents + 1

    def draw(self, y: Tensor, noise: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """The noise itself."""
        return temperature * noise[:, :-1], noise[:, -1] > 0

    def log_density(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z), and its error, 0."""
        found = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
        return found, torch.zeros_like(found)

    def tensors(self) -> dict[str, Tensor]:
        """None: there is nothing to keep."""
        return {}


def compare_priors(name: str, splits: Splits, folder: Path, *, draws: int, seed: int) -> dict[str, Any]:
    """All figures of the priors.

    Parameters
    ----------
    name : str
        Of a model with a flow prior, or its weights file.
    splits : Splits
    folder : Path
        Keeps the fitted Gaussian.
    draws : int
        Samples a real galaxy.
    seed : int
    """
    model = skyloom.load_model(name)
    if not isinstance(model, CVAEGenerator) or not isinstance(model.prior, FlowPrior):
        raise SystemExit(f"{name} has no flow prior to compare")
    priors = priors_of(model, splits, folder, seed)
    stamps = Stamps.from_cutouts(splits.test)
    found = {}
    for label, prior in priors.items():
        torch.manual_seed(seed)
        found[label] = bounds(model, prior, stamps)
        print(label, {k: float(np.mean(v)) for k, v in found[label].items()}, flush=True)
    return {
        "steps": model.card.training.get("steps"),
        "bounds": found,
        "source": list(stamps.source),
        "galaxy_id": list(stamps.galaxy_id),
        "coherence": coherence(model, priors, splits, draws=draws, seed=seed),
    }


def priors_of(model: CVAEGenerator, splits: Splits, folder: Path, seed: int) -> dict[str, LatentPrior]:
    """N(0, 1), the Gaussian fitted to the posteriors of the training galaxies, and the model's own flow."""
    arch = model.encoder.arch
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"gaussian-{_hash_of(model)}-{seed}.pt"
    if kept.exists():
        gaussian = Prior.from_tensors(arch, torch.load(kept, weights_only=True))
    else:
        nets = SimpleNamespace(encoder=model.encoder, decoder=model.decoder, config=TrainingConfig(seed=seed))
        stamps = well_seen(Stamps.from_cutouts(splits.train))
        gaussian = fit_prior(wound_alike(nets, stamps), arch)  # type: ignore[arg-type]
        torch.save(gaussian.tensors(), kept)
    return {"N(0, 1)": StandardPrior(arch), "Gaussian, circulant": gaussian, "flow": model.prior}


def coherence(
    model: CVAEGenerator, priors: dict[str, LatentPrior], splits: Splits, *, draws: int, seed: int
) -> dict[str, Any]:
    """Median and 84th percentile of each statistic of coherence, and how far each prior's are from the real ones'."""
    real = [splits.test[i] for i in judged_rows(splits.test)]
    if not real:
        raise SystemExit("none of the test cutouts is bright and resolved")
    reencoder = Reencoder(model, real)
    train = well_seen(Stamps.from_cutouts(splits.train))
    gains = {name: structure_gain(model.decoder.maps, prior, train, seed=seed) for name, prior in priors.items()}
    generators = {
        name: CVAEGenerator(model.encoder, model.decoder, prior, model.card, model.density, gains[name])
        for name, prior in priors.items()
    }
    out: dict[str, Any] = {"columns": list(COLUMNS), "stamps": len(real), "draws": draws, "priors": {}}
    out["gains"] = {name: gain.tolist() for name, gain in gains.items()}
    for name, generator in [*generators.items(), ("Sersic", None)]:
        cutouts, rows = counterparts_as_real(real, generator, default_refit, seed=seed, draws=draws)
        tables = reencoder.figures(cutouts, rows)
        if not tables:
            raise SystemExit(f"{name}: none of {len(cutouts)} samples could be encoded")
        pair = (tables["reencoded_real"], tables["reencoded_model"])
        found = coherence_comparison(*pair, np.random.default_rng(0), list(COLUMNS))
        twelve = found.sigmas[: 2 * len(COHERENCE)]
        out.setdefault("real", {"values": found.real.tolist(), "errors": found.real_error.tolist()})
        out["priors"][name] = {
            "values": found.model.tolist(),
            "sigmas": found.sigmas.tolist(),
            "rms_sigma": float(np.sqrt(np.mean(twelve**2))),
            "within_2": int((np.abs(twelve) <= 2).sum()),
        }
        print(name, out["priors"][name], flush=True)
    return out


def _hash_of(model: CVAEGenerator) -> str:
    """Of the networks: another training has another Gaussian."""
    digest = hashlib.blake2b(digest_size=4)
    for net in (model.encoder, model.decoder):
        for values in net.state_dict().values():
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()
