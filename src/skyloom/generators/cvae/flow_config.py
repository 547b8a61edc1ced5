"""What a flow prior's training depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from skyloom.errors import TrainingError
from skyloom.generators.cvae.flow_net import FlowArchitecture

__all__ = ["FlowConfig"]


@dataclass(frozen=True)
class FlowConfig:
    """Everything a flow's training depends on besides its posteriors.

    Parameters
    ----------
    flow : FlowArchitecture
    simulated : int
        Galaxies of simulated structure.
    first_steps, steps : int
        Of the teacher before and after each expectation.
    rounds : int
        Expectations.
    distil_steps, pairs : int
        Of the student, and how many galaxies of the teacher it learns from; 0 steps leave it the teacher's copy.
    draw_steps : int
        Euler steps of the student.
    batch : int
    learning_rate, distil_rate : float
        Of AdamW, with warm-up over 100 steps and a cosine decay in each stage.
    real : float
        Share of real galaxies in a batch, once there are samples of them.
    informed : float
        A real galaxy counts by I / (I + informed) if its stamp narrows the latents by I nats: one that tells nothing
        would only give the prior back.
    unknown : float
        Probability with which the redshift is hidden.
    draws : int
        Posterior samples of each real galaxy an expectation.
    levels, sampler_steps : int
        Of `posterior_samples`.
    moves : int
        Of `moved_in_noise`, for galaxies whose stamps tell little.
    ema : float
    checkpoint_every : int
    seed : int

    Raises
    ------
    TrainingError
        When a number is out of its range.
    """

    flow: FlowArchitecture = field(default_factory=FlowArchitecture)
    simulated: int = 2048
    first_steps: int = 2500
    steps: int = 3000
    rounds: int = 2
    distil_steps: int = 3000
    pairs: int = 8192
    draw_steps: int = 2
    batch: int = 64
    learning_rate: float = 2e-3
    distil_rate: float = 1e-3
    real: float = 0.75
    informed: float = 30.0
    unknown: float = 0.15
    draws: int = 4
    levels: int = 16
    sampler_steps: int = 4
    moves: int = 100
    ema: float = 0.998
    checkpoint_every: int = 250
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers with which a flow would not see one of its two populations, or learn nothing."""
        for name in ("rounds", "draws", "pairs", "draw_steps", "levels", "sampler_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} of a flow prior must be at least 1, not {getattr(self, name)}")
        if not 0 < round(self.real * self.batch) < self.batch:
            raise TrainingError(
                f"a batch of {self.batch}, {self.real} of it real galaxies, has no real ones or no simulated structure"
            )
        if self.informed < 0:
            raise TrainingError(f"informed must be at least 0, not {self.informed}")

    def shortened(self, share: float) -> FlowConfig:
        """The same with this share of the steps and galaxies, at least one of each; for trials."""
        names = ("simulated", "first_steps", "steps", "distil_steps", "pairs")
        return replace(self, **{name: max(1, round(min(share, 1.0) * getattr(self, name))) for name in names})
