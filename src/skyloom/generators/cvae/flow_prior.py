"""The prior p(z | y) as a flow: it keeps phases, so that arms, bars and rings hang together.

A flow-matching teacher (`VelocityNet`) carries the density; a student of the same shape, distilled from it, makes the
same latents from the same noise in a few steps, and is what samples are drawn with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyloom.generators.cvae.flow_net import FlowArchitecture, VelocityNet
from skyloom.generators.cvae.flow_path import Velocity, integrate, log_density
from skyloom.generators.cvae.net import Architecture

__all__ = ["FlowPrior", "few_steps", "velocity_of"]


@dataclass(frozen=True)
class FlowPrior:
    """A trained flow.

    Parameters
    ----------
    arch : Architecture
        Of the latents.
    teacher, student : VelocityNet
    steps : int
        Euler steps of the student; 0 draws with the teacher, in 16 steps of Heun's method.
    real : float
        Domain drawn from: 1 that of real galaxies, 0 that of simulated structure.
    """

    arch: Architecture
    teacher: VelocityNet
    student: VelocityNet
    steps: int = 2
    real: float = 1.0

    @property
    def noise_size(self) -> int:
        """Standard normal numbers a sample takes."""
        return self.arch.latents + 1

    def draw(self, y: Tensor, noise: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Turn standard normal numbers into latents.

        Parameters
        ----------
        y : Tensor, shape (B, WIDTH)
            Wavelength and surface brightness are not looked at.
        noise : Tensor, shape (B, noise_size)
        temperature : float
            Scales the noise; 0 gives the one galaxy that the flow's middle leads to.

        Returns
        -------
        z : Tensor, shape (B, latents)
        mirrored : bool Tensor, shape (B,)
            Whether the decoded map is to be reversed along phi: the flow's galaxies wind all the same way.
        """
        start = temperature * noise[:, :-1]
        if self.steps:
            z = few_steps(velocity_of(self.student, y, self.real), start, self.steps)
        else:
            z = integrate(velocity_of(self.teacher, y, self.real), start, 16)
        return z, noise[:, -1] > 0

    def log_density(
        self, z: Tensor, y: Tensor, *, probes: int = 4, steps: int = 24, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log p(z | y) under the teacher.

        Parameters
        ----------
        z : Tensor, shape (B, latents)
            Of maps that wind as the flow's do; the mirror image is another galaxy with half the probability each.
        y : Tensor, shape (B, WIDTH)
        probes, steps, generator
            See `skyloom.generators.cvae.flow_path.log_density`.

        Returns
        -------
        log_density, standard_error : Tensor, shape (B,)
            Nats.
        """
        velocity = velocity_of(self.teacher, y, self.real)
        return log_density(velocity, z, steps=steps, probes=probes, generator=generator)

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name, float32, for a checkpoint."""
        out = {f"{part}.{k}": v for part in ("teacher", "student") for k, v in getattr(self, part).state_dict().items()}
        return out | {"steps": torch.tensor(float(self.steps)), "real": torch.tensor(float(self.real))}

    @classmethod
    def from_tensors(cls, arch: Architecture, tensors: dict[str, Tensor]) -> FlowPrior:
        """Inverse of `tensors`; the networks' sizes are read off their shapes."""
        blocks = {name.split(".")[2] for name in tensors if name.startswith("teacher.coarse.")}
        flow = FlowArchitecture(
            width=len(tensors["teacher.enter.weight"]),
            blocks=len(blocks),
            context=len(tensors["teacher.embed.2.weight"]),
            heads=len(tensors["teacher.attention.bias"]),
        )

        def net(part: str) -> VelocityNet:
            made = VelocityNet(arch, flow)
            made.load_state_dict({k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)})
            return made.eval().requires_grad_(False)

        steps, real = (float(tensors[name]) for name in ("steps", "real"))
        return cls(arch, net("teacher."), net("student."), steps=round(steps), real=real)


def velocity_of(net: VelocityNet, y: Tensor, real: float) -> Velocity:
    """A network's velocity at given conditions, in one domain."""
    domain = torch.full((len(y),), real)
    return lambda z, t: net(z, t, y, domain)


def few_steps(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Even Euler steps from t = 0 to 1, as the student is trained for."""
    z = noise
    for k in range(steps):
        z = z + velocity(z, torch.full((len(z),), k / steps)) / steps
    return z
