"""Training of the conditional VAE: reproducible from a seed, and resumable to the same losses.

Every step draws its random numbers from a seed hashed from (seed, step), so a run that was stopped and resumed makes
the same steps as one that was not.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from skyloom.errors import TrainingError
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import encode, referenced
from skyloom.generators.cvae.evidence import evidence_gain, kl_divergence
from skyloom.generators.cvae.features import FEATURES, OPTIONAL, STEP, hide
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter, log_likelihood
from skyloom.generators.cvae.net import Architecture, Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies, joint_posterior
from skyloom.generators.cvae.psf_error import jittered
from skyloom.generators.cvae.run_state import cut_log, fingerprint, read_state, seed_of, write_state
from skyloom.generators.cvae.simulated_stamps import with_simulated_structure

__all__ = ["Trainer", "TrainingConfig", "split_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training run depends on besides its cutouts.

    Parameters
    ----------
    steps : int
    batch : int
        Galaxies a step.
    bands : int
        Stamps of one galaxy a step, at most; chosen anew each time.
    learning_rate, weight_decay : float
        Of AdamW, after a warm-up over 50 steps, with a cosine decay.
    beta : float
        Weight of the KL term after its warm-up over a quarter of the steps.
    noise : float
        Extra noise for the encoder's input, up to so many times the stamp's own.
    unseen : float
        Probability with which all but a galaxy's first stamp of the step are hidden from the encoder, so that latents
        learn to tell of bands that were not seen.
    simulated : float
        Share of a batch's galaxies whose images are replaced by simulated structure.
    unknown : float
        Probability with which an optional condition is hidden from the network.
    ema : float
        Decay of the averaged weights, which are the ones kept.
    evaluate_every, checkpoint_every : int
        Steps.
    seed : int
    """

    steps: int = 3000
    batch: int = 16
    bands: int = 3
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-3
    beta: float = 0.5
    noise: float = 0.7
    unseen: float = 0.25
    simulated: float = 0.3
    unknown: float = 0.1
    ema: float = 0.995
    evaluate_every: int = 500
    checkpoint_every: int = 100
    seed: int = 1
    architecture: Architecture = field(default_factory=Architecture)


def split_of(source: str, group: str) -> str:
    """``train`` (70 %), ``validation`` (10 %) or ``test`` (20 %), the same for all stamps of one patch of sky."""
    number = int.from_bytes(hashlib.blake2b(f"{source}/{group}".encode(), digest_size=4).digest(), "little") % 10
    return "test" if number < 2 else "validation" if number == 2 else "train"


class Trainer:
    """Trains encoder and decoder on prepared stamps.

    Parameters
    ----------
    train, validation : Stamps
    config : TrainingConfig
    folder : Path
        Where the checkpoint and ``losses.jsonl`` go.
    """

    def __init__(self, train: Stamps, validation: Stamps, config: TrainingConfig, folder: Path) -> None:
        self.train_set, self.validation, self.config, self.folder = train, validation, config, folder
        self.galaxies = Galaxies.of(train)
        torch.manual_seed(seed_of(config.seed, -1))
        self.encoder, self.decoder = Encoder(config.architecture), Decoder(config.architecture)
        if not referenced(train.features, self.galaxies)[:, STEP].any():  # nobody tells of colour
            for weights in self.decoder.slope.parameters():
                nn.init.zeros_(weights)
        self.average = copy.deepcopy(self._nets().state_dict())
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.optimiser = torch.optim.AdamW(
            self._nets().parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self._checkpoint, self._losses = folder / "checkpoint.pt", folder / "losses.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def _nets(self) -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})

    def run(self, progress: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the end, writing a checkpoint now and then; leaves the best averaged weights in the networks.

        Parameters
        ----------
        progress : callable, optional
            Called after each step with the step's number and its losses.
        """
        config = self.config
        if self.step == 0:  # of a run that ended before its first checkpoint
            self._losses.unlink(missing_ok=True)
        while self.step < config.steps:
            losses = self._one_step()
            self.step += 1
            if self.step % config.evaluate_every == 0 or self.step == config.steps:
                losses |= self._evaluate_average()
            self._log(losses)
            if progress is not None:
                progress(self.step, losses)
            if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                self.save()
        assert self.best is not None
        self._nets().load_state_dict(self.best[1])
        self.encoder.eval()
        self.decoder.eval()

    def _one_step(self) -> dict[str, float]:
        config = self.config
        done = self.step / config.steps
        torch.manual_seed(seed_of(config.seed, self.step))
        rows = self._stamps_of(self._batch_of(self.step))
        galaxies = self.galaxies.subset(rows)
        stamps = self.train_set.subset(rows.tolist())
        stamps = with_simulated_structure(stamps, galaxies, round(config.simulated * galaxies.count))
        seen_through = jittered(stamps)
        index = torch.arange(len(stamps))
        self._nets().train()
        rate = config.learning_rate * min(1.0, (self.step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        jitter = Jitter(stamps.q[galaxies.first]).spread(galaxies.row, galaxies.frame)
        seen = torch.rand(galaxies.count)[galaxies.row] >= config.unseen
        seen[galaxies.first] = True
        y = referenced(_hide(stamps.features, galaxies, config.unknown), galaxies, seen)
        told = encode(self.encoder, stamps, index, galaxies, jitter, y, noise=config.noise, seen=seen)
        mean, log_variance = joint_posterior(told[0], told[1], galaxies, seen)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        model = model_images(self.decoder, seen_through, index, z[galaxies.row], y, jitter)
        likelihood, _, amplitude = log_likelihood(model, stamps, index)
        kl = kl_divergence(mean, log_variance)
        beta = config.beta * min(1.0, done / 0.25 + 0.05)
        weighted = galaxies.mean(stamps.weight) * beta * kl.sum(1) - galaxies.total(stamps.weight * likelihood)
        loss = weighted.mean() / 100 + 0.02 * (torch.log(amplitude) ** 2).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {float(loss)} at step {self.step}")
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._nets().parameters(), 1.0)
        self.optimiser.step()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self._nets().state_dict().items():
            self.average[name].mul_(decay).add_(value, alpha=1 - decay)
        d = config.architecture.global_latents
        return {
            "loss": float(loss.detach()),
            "nll": float(-likelihood.detach().mean()),
            "kl_global": float(kl[:, :d].detach().sum(1).mean()),
            "kl_local": float(kl[:, d:].detach().sum(1).mean()),
        }

    def _stamps_of(self, picked: Tensor) -> Tensor:
        """Rows of the stamps of galaxies, at most `bands` of each, in random order."""
        rows = []
        for galaxy in picked.tolist():
            own = torch.nonzero(self.galaxies.row == galaxy)[:, 0]
            rows.append(own[torch.randperm(len(own))[: self.config.bands]])
        return torch.cat(rows)

    def _batch_of(self, step: int) -> Tensor:
        """Galaxies of a step: passes through all, shuffled anew each time."""
        size, n = self.config.batch, self.galaxies.count
        first = step * size
        picked = []
        for number in range(first // n, (first + size - 1) // n + 1):
            order = np.random.Generator(np.random.Philox(key=seed_of(self.config.seed, -2 - number))).permutation(n)
            start = max(first - number * n, 0)
            picked.append(order[start : first + size - number * n])
        return torch.from_numpy(np.concatenate(picked))

    def evidence_gain(
        self, stamps: Stamps, draws: int = 1, galaxies: Galaxies | None = None, refine: int = 0
    ) -> dict[str, Tensor]:
        """`skyloom.generators.cvae.evidence.evidence_gain` of the networks as they are."""
        return evidence_gain(self.encoder, self.decoder, stamps, draws, galaxies, refine=refine)

    def _evaluate_average(self) -> dict[str, float]:
        current = copy.deepcopy(self._nets().state_dict())
        self._nets().load_state_dict(self.average)
        torch.manual_seed(seed_of(self.config.seed, self.step))
        found = self.evidence_gain(self.validation, galaxies=Galaxies.of(self.validation))
        score = float(found["gain"].clamp(-1500, 1500).mean())
        if self.best is None or score > self.best[0]:
            self.best = (score, copy.deepcopy(self.average))
        self._nets().load_state_dict(current)
        logger.info("step %d: held-out gain over the Sersic %.1f nats", self.step, score)
        return {"validation_gain": score, "validation_chi2": float(found["chi2"].mean())}

    def _log(self, losses: dict[str, float]) -> None:
        with open(self._losses, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **losses}) + "\n")

    def save(self) -> None:
        """Write the state of the run; the old checkpoint stays until the new one is whole."""
        write_state(self._checkpoint, asdict(self.config), self._data(), {
            "step": self.step,
            "nets": self._nets().state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        })  # fmt: skip

    def resume(self) -> bool:
        """Continue from the folder's checkpoint, if there is one.

        Returns
        -------
        bool
            Whether there was.

        Raises
        ------
        TrainingError
            When the checkpoint belongs to another configuration or other cutouts, or cannot be read.
        """
        state = read_state(self._checkpoint, asdict(self.config), self._data())
        if state is None:
            return False
        self.step = state["step"]
        self._nets().load_state_dict(state["nets"])
        self.average, self.best = state["average"], state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        cut_log(self._losses, lambda entry: entry["step"] <= self.step)
        return True

    def _data(self) -> dict[str, str]:
        used = [(s.image, s.mask, s.flux, s.offset) for s in (self.train_set, self.validation)]
        return {"cutouts": fingerprint(*(values for four in used for values in four))}


def _hide(y: Tensor, galaxies: Galaxies, probability: float) -> Tensor:
    """Hide optional conditions at random, and blur the others by about their measurement errors."""
    y = y.clone()
    n = len(FEATURES)
    y[:, :n] += 0.05 * torch.randn(len(y), n) * (y[:, :n] != 0)
    for name in OPTIONAL:
        hide(y, name, (torch.rand(galaxies.count) < probability)[galaxies.row])
    return y
