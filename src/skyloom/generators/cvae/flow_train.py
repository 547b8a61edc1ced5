"""Training of the flow prior: expectation maximisation from posteriors, then distillation to a few steps.

1. Teacher on simulated structure, whose latents are known sharply.
2. Expectation: posterior samples of the real galaxies, under the flow as prior and with what their stamps tell
   (`skyloom.generators.cvae.measurement`) as measurement. The first time the prior is that of simulated structure: what
   a stamp does not tell is then filled in coherently, not with the independent noise the encoder falls back on. Where
   stamps tell little the samples are moved on until they hold all that the prior says.
3. Maximisation: the teacher goes on with simulated structure and these samples, told apart by a flag. Again from 2.
4. The student learns to make the teacher's latents, from the same noise, in a few Euler steps (rectified flow's pairs:
   Liu et al. 2023).

Every step draws its random numbers from a seed hashed from (seed, stage, step): a run that was stopped and resumed
makes the same steps as one that was not.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from skyloom.errors import TrainingError
from skyloom.generators.cvae.features import hide
from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.flow_expectation import BATCH, expected_latents
from skyloom.generators.cvae.flow_net import VelocityNet
from skyloom.generators.cvae.flow_path import integrate, matching_loss
from skyloom.generators.cvae.flow_prior import FlowPrior, few_steps, velocity_of
from skyloom.generators.cvae.flow_turn import random_turns, turned
from skyloom.generators.cvae.net import Architecture
from skyloom.generators.cvae.prior import Posteriors
from skyloom.generators.cvae.run_state import cut_log, fingerprint, read_state, seed_of, write_state

__all__ = ["FlowTrainer", "fit_flow_prior"]

logger = logging.getLogger(__name__)

_GLOBAL_WEIGHT = 0.2


def fit_flow_prior(
    posteriors: Posteriors,
    arch: Architecture,
    config: FlowConfig,
    folder: Path,
    *,
    weight: Tensor | None = None,
    resume: bool = False,
    progress: Callable[[str, int, float], None] | None = None,
) -> FlowPrior:
    """Train a flow prior.

    Parameters
    ----------
    posteriors : Posteriors
        Of real galaxies, `measured`, and of simulated structure with latents as sharp as can be
        (`skyloom.generators.cvae.flow_simulated`).
    arch : Architecture
    config : FlowConfig
    folder : Path
        For the run's checkpoint and log.
    weight : Tensor, optional, shape (N,)
        Of each galaxy.
    resume : bool
        Continue the run in `folder`, if it holds one.
    progress : callable, optional
        Called after each step with the stage's name, the step's number and its loss.

    Returns
    -------
    FlowPrior

    Raises
    ------
    TrainingError
        When there is nothing of one of the two kinds, no stamp tells anything, the loss is not finite, or the folder's
        run is another one.
    """
    trainer = FlowTrainer(posteriors, arch, config, folder, weight)
    if resume:
        trainer.resume()
    return trainer.run(progress)


class FlowTrainer:
    """The run behind `fit_flow_prior`, which see for the parameters."""

    def __init__(
        self, posteriors: Posteriors, arch: Architecture, config: FlowConfig, folder: Path, weight: Tensor | None = None
    ) -> None:
        real = posteriors.real
        if not real.any() or real.all():
            raise TrainingError(
                f"a flow prior needs real galaxies and simulated structure, not {int(real.sum())} and "
                f"{int((~real).sum())}"
            )
        self.posteriors, self.arch, self.config, self.folder = posteriors, arch, config, folder
        weight = torch.ones(len(real)) if weight is None else weight
        if posteriors.measured is None:
            raise TrainingError("a flow prior needs what stamps tell of real galaxies: Posteriors.measured")
        self.measured = posteriors.measured
        # by what the stamp can tell, not by what it does: smooth galaxies count as those with arms do
        told = self.measured.nats()
        self.weight = weight.clone()
        self.weight[real] *= told / (told + config.informed)
        if not self.weight[real].sum() > 0:
            raise TrainingError("the stamps of no real galaxy tell anything of its latents")
        self.stages = ["first", *(f"round {k + 1}" for k in range(config.rounds)), "distil"]
        self.stage = self.step = 0
        self.samples = torch.empty(0)  # of the real galaxies' posteriors: draw, galaxy, latent
        self.pairs: tuple[Tensor, Tensor, Tensor] = (torch.empty(0), torch.empty(0), torch.empty(0))
        torch.manual_seed(seed_of("flow", config.seed, "start", 0))
        self.teacher = VelocityNet(arch, config.flow)
        self._begin(self.teacher)
        self._checkpoint, self._losses = folder / "flow.pt", folder / "flow.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, progress: Callable[[str, int, float], None] | None = None) -> FlowPrior:
        """Train to the end."""
        config = self.config
        if self.stage == self.step == 0:
            self._losses.unlink(missing_ok=True)
        while self.stage < len(self.stages):
            name, distil = self.stages[self.stage], self.stage == len(self.stages) - 1
            steps = config.distil_steps if distil else config.first_steps if self.stage == 0 else config.steps
            if self.step == 0:
                self._prepare(distil)
            while self.step < steps:
                loss = self._one_step(steps, distil)
                self.step += 1
                self._log(name, loss)
                if progress is not None:
                    progress(name, self.step, loss)
                if self.step % config.checkpoint_every == 0:
                    self.save()
            if distil:
                break
            self.teacher.load_state_dict(self.average)
            self.stage, self.step = self.stage + 1, 0
        self.save()
        student = VelocityNet(self.arch, config.flow)
        student.load_state_dict(self.average)
        teacher = copy.deepcopy(self.teacher)
        for net in (teacher, student):
            net.eval().requires_grad_(False)
        return FlowPrior(self.arch, teacher, student, config.draw_steps if config.distil_steps else 0)

    def _begin(self, net: VelocityNet) -> None:
        self.net = net
        self.average = copy.deepcopy(net.state_dict())
        self.optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)

    @torch.no_grad()
    def _prepare(self, distil: bool) -> None:
        """What a stage starts from: samples of the real galaxies, or the teacher's pairs; and a fresh optimiser."""
        if self.stage == 0:
            return
        self._begin(copy.deepcopy(self.teacher))
        if not distil:
            self.teacher = self.net
            generator = torch.Generator().manual_seed(seed_of("flow", self.config.seed, "expectation", self.stage))
            self.samples = expected_latents(
                self.net, self.posteriors, self.measured, self.config, real=float(self.stage > 1), generator=generator
            )
            return
        if not self.config.distil_steps:
            return
        torch.manual_seed(seed_of("flow", self.config.seed, "pairs", 0))
        rows = torch.multinomial(self.weight * self.posteriors.real, self.config.pairs, replacement=True)
        y = self._blurred(self.posteriors.features[rows])
        noise = torch.randn(len(rows), self.arch.latents)
        z = [
            integrate(velocity_of(self.teacher, y[i], 1.0), noise[i], 16) for i in torch.arange(len(rows)).split(BATCH)
        ]
        self.pairs = (noise, torch.cat(z), y)

    def _one_step(self, steps: int, distil: bool) -> float:
        config = self.config
        torch.manual_seed(seed_of("flow", config.seed, self.stages[self.stage], self.step))
        rate = config.distil_rate if distil else config.learning_rate
        decay = 0.5 + 0.5 * math.cos(math.pi * self.step / steps)
        self.optimiser.param_groups[0]["lr"] = rate * min(1.0, (self.step + 1) / 100) * decay + 1e-6
        loss = self._distil_loss() if distil else self._matching_loss()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"flow prior: the loss is {float(loss)} in '{self.stages[self.stage]}', step {self.step}"
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        keep = min(config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.net.state_dict().items():
            self.average[name].mul_(keep).add_(value, alpha=1 - keep)
        return float(loss.detach())

    def _matching_loss(self) -> Tensor:
        posteriors, config = self.posteriors, self.config
        count = round(config.real * config.batch) if len(self.samples) else 0
        simulated = torch.nonzero(~posteriors.real)[:, 0]
        rows = simulated[torch.multinomial(self.weight[simulated], config.batch - count, replacement=True)]
        scatter = (posteriors.log_variance[rows] / 2).exp()
        z, y = posteriors.mean[rows] + scatter * torch.randn_like(scatter), posteriors.features[rows]
        if count:
            chosen = torch.multinomial(self.weight[posteriors.real], count, replacement=True)
            z = torch.cat([z, self.samples[torch.randint(config.draws, (count,)), chosen]])
            y = torch.cat([y, posteriors.features[posteriors.real][chosen]])
        domain = torch.cat([torch.zeros(config.batch - count), torch.ones(count)])
        z, y = turned(z, random_turns(y), self.arch), self._blurred(y)
        t = torch.sigmoid(torch.randn(len(z)))  # logit-normal (Esser et al. 2024, sec. 3.1)
        error = matching_loss(lambda a, b: self.net(a, b, y, domain), z, torch.randn_like(z), t)
        return self._mean(error)

    def _distil_loss(self) -> Tensor:
        rows = torch.randint(len(self.pairs[0]), (self.config.batch,))
        noise, z, y = (part[rows] for part in self.pairs)
        turns = random_turns(y)
        noise, z = (turned(part, turns, self.arch) for part in (noise, z))
        return self._mean((few_steps(velocity_of(self.net, y, 1.0), noise, self.config.draw_steps) - z) ** 2)

    def _mean(self, error: Tensor) -> Tensor:
        d = self.arch.global_latents
        return _GLOBAL_WEIGHT * error[:, :d].mean() + error[:, d:].mean()

    def _blurred(self, y: Tensor) -> Tensor:
        """Conditions blurred by about their errors, the redshift hidden now and then."""
        y = y.clone()
        y[:, :3] += 0.05 * torch.randn(len(y), 3)
        hide(y, "redshift", torch.rand(len(y)) < self.config.unknown)
        return y

    def _log(self, stage: str, loss: float) -> None:
        with open(self._losses, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"stage": stage, "step": self.step, "loss": loss}) + "\n")

    def save(self) -> None:
        """Write the state of the run; the old checkpoint stays until the new one is whole."""
        write_state(self._checkpoint, asdict(self.config), self._data(), {
            "stage": self.stage,
            "step": self.step,
            "teacher": self.teacher.state_dict(),
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "samples": self.samples,
            "pairs": self.pairs,
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
            When it belongs to another run or cannot be read.
        """
        state = read_state(self._checkpoint, asdict(self.config), self._data())
        if state is None:
            return False
        self.stage, self.step = state["stage"], state["step"]
        self.teacher.load_state_dict(state["teacher"])
        distilling = self.stage == len(self.stages) - 1 and self.step > 0
        self._begin(copy.deepcopy(self.teacher) if distilling else self.teacher)
        self.net.load_state_dict(state["net"])
        self.average, self.samples, self.pairs = state["average"], state["samples"], state["pairs"]
        self.optimiser.load_state_dict(state["optimiser"])
        cut_log(
            self._losses, lambda entry: (self.stages.index(entry["stage"]), entry["step"]) <= (self.stage, self.step)
        )
        return True

    def _data(self) -> dict[str, str]:
        p, told = self.posteriors, self.measured
        parts = (p.mean, p.log_variance, p.features, p.real, told.directions, told.precision, told.value, self.weight)
        return {"posteriors": fingerprint(*parts)}
