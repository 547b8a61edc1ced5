"""Flows from noise to latents and back: integration, density, and posteriors under a measurement.

Everything here takes the velocity as a function, so that it can be tested on populations whose velocity is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from skyloom.generators.cvae.flow_net import skip_and_scale
from skyloom.generators.cvae.measurement import Measurement

__all__ = ["Velocity", "integrate", "log_density", "matching_loss", "moved_in_noise", "posterior_samples", "times"]

_STRIDE = 0.3  # of the latents, rms
_FIRST_STRIDE = 0.25  # of the noise, by which Metropolis steps begin

Velocity = Callable[[Tensor, Tensor], Tensor]
"""v(z_t, t) for z_t (B, latents) and t (B,)."""


def matching_loss(velocity: Velocity, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Squared error of the velocity, in units of its scatter were z standard normal, shape (B, latents).

    The regression of flow matching (Lipman et al. 2023, eq. 23, without a floor of noise) on straight paths.
    """
    z_t = (1 - t[:, None]) * noise + t[:, None] * z
    _, scale = skip_and_scale(t)
    return ((velocity(z_t, t) - (z - noise)) / scale[:, None]) ** 2


def times(steps: int) -> Tensor:
    """Times from 0 to 1, shape (steps + 1,), even in the angle atan(t / (1 - t)): shorter steps at both ends."""
    angle = torch.linspace(0, math.pi / 2, steps + 1, dtype=torch.float64)
    t = torch.sin(angle) / (torch.sin(angle) + torch.cos(angle))
    return t.float()


def integrate(velocity: Velocity, start: Tensor, steps: int, *, back: bool = False) -> Tensor:
    """Follow the flow from noise, t = 0, to latents, t = 1, with Heun's method: two evaluations a step.

    Parameters
    ----------
    velocity : Velocity
    start : Tensor, shape (B, latents)
    steps : int
    back : bool
        From latents to the noise that they come from.

    Returns
    -------
    Tensor, shape (B, latents)
    """
    z, t = start, times(steps).to(start.device)
    for now, then in pairwise((t.flip(0) if back else t)[:, None].expand(-1, len(z))):
        step = (then - now)[:, None]
        v = velocity(z, now)
        z = z + step * (0.5 * (v + velocity(z + step * v, then)))
    return z


def moved_in_noise(
    velocity: Velocity,
    z: Tensor,
    log_likelihood: Callable[[Tensor], Tensor],
    *,
    moves: int = 100,
    steps: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Move posterior samples on, by Metropolis steps in the noise that the flow makes them of.

    `posterior_samples` goes through the flow's reverse diffusion time and again, and a network that has the velocity
    only nearly right takes a little of what hangs together each time: where nothing is measured it does not give the
    prior back. Noise that the flow has taken to latents is standard normal whatever the network; the preconditioned
    Crank-Nicolson proposal (Cotter et al. 2013, Stat. Sci. 28, 424) keeps it so, and is accepted by the likelihood
    alone. Slow where much is measured: each stride adapts towards three in ten accepted.

    Parameters
    ----------
    velocity : Velocity
    z : Tensor, shape (B, latents)
        To start from.
    log_likelihood : callable
        Latents (B, latents) to log likelihoods (B,).
    moves : int
    steps : int
        Of Heun's method from noise to latents.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape (B, latents)
    """
    noise = integrate(velocity, z, 2 * steps, back=True)
    z = integrate(velocity, noise, steps)
    here = log_likelihood(z)
    stride = torch.full_like(here, _FIRST_STRIDE)
    for _ in range(moves):
        fresh = torch.randn(noise.shape, generator=generator).to(noise)
        proposed = (1 - stride**2).sqrt()[:, None] * noise + stride[:, None] * fresh
        there = integrate(velocity, proposed, steps)
        likelihood = log_likelihood(there)
        taken = torch.rand(len(here), generator=generator).to(here).log() < likelihood - here
        noise, z = (torch.where(taken[:, None], new, old) for new, old in ((proposed, noise), (there, z)))
        here = torch.where(taken, likelihood, here)
        stride = (stride * torch.where(taken, 1.15, 0.94)).clamp(0.02, 1.0)
    return z


def log_density(
    velocity: Velocity, z: Tensor, *, steps: int = 24, probes: int = 4, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Log density of latents, by following the flow back to the noise.

    The change of density along the flow is the integral of the velocity's divergence (Chen et al. 2018, eq. 8),
    whose trace is estimated with random signs (Hutchinson's estimator, as by Grathwohl et al. 2019, eq. 7).

    Parameters
    ----------
    velocity : Velocity
        Differentiable.
    z : Tensor, shape (B, latents)
    steps : int
        Of Heun's method.
    probes : int
        Vectors for the trace, at least 2; each is kept along the whole path.
    generator : torch.Generator, optional

    Returns
    -------
    log_density, standard_error : Tensor, shape (B,)
        Nats; the error is that of the trace, from the scatter between probes.
    """
    if probes < 2:
        raise ValueError(f"probes must be at least 2 to give an error, not {probes}")
    t = times(steps).to(z.device).flip(0)
    signs = torch.randint(0, 2, (probes, *z.shape), generator=generator).to(z) * 2 - 1
    x, divergence = z, torch.zeros(probes, len(z)).to(z)

    def slope(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            v = velocity(x, at.expand(len(x)))
            traces = []
            for k in range(probes):
                (back,) = torch.autograd.grad(v, x, signs[k], retain_graph=k + 1 < probes)
                traces.append((back * signs[k]).sum(1))
        return v.detach(), torch.stack(traces)

    for now, then in pairwise(t):
        v, trace = slope(x, now)
        v_end, trace_end = slope(x + (then - now) * v, then)
        x = x + 0.5 * (then - now) * (v + v_end)
        divergence += 0.5 * (now - then) * (trace + trace_end)
    at_noise = -0.5 * (x**2 + math.log(2 * math.pi)).sum(1)
    return at_noise - divergence.mean(0), divergence.std(0) / math.sqrt(probes)


def posterior_samples(
    velocity: Velocity,
    measurement: Measurement,
    *,
    slope: Callable[[Tensor], Tensor] | None = None,
    levels: int = 24,
    steps: int = 5,
    loudest: float = 3.0,
    quietest: float = 0.1,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample latents given a measurement of each, with the flow as prior.

    Split Gibbs sampling (Vono et al. 2019; with diffusion priors: Wu et al. 2024): a copy x of the latents z, tied to
    them by Gaussian noise of width rho, is drawn given z and the measurement, which is exact direction by direction;
    then z given x, which is the flow's own reverse diffusion from noise rho. rho falls from `loudest` to `quietest`.
    What the tie adds to a measurement's variance is taken off it first, so that the posterior is the exact one wherever
    the measurement is worse than the tie.

    Parameters
    ----------
    velocity : Velocity
    measurement : Measurement
        Of B galaxies.
    slope : callable, optional
        Latents (B, latents) to the derivatives of their log likelihood, of the same shape. The measurement is then
        taken at each level as it looks from where the latents are, its precision as given: a likelihood that is not
        Gaussian, followed from a `start` that it likes by steps of at most 0.3 rms.
    levels : int
        Values of rho.
    steps : int
        Of the reverse diffusion at each.
    loudest, quietest : float
        First and last rho; latents have a scatter of order one.
    start : Tensor, optional, shape (B, latents)
        Where to start from; standard normal without it.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor, shape (B, latents)
    """
    directions, precision = measurement.directions, measurement.precision
    shape = len(directions), directions.shape[2]

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator).to(directions)

    def along(z: Tensor) -> Tensor:
        return torch.einsum("bkd,bd->bk", directions, z)

    variance = torch.where(precision > 1e-6, 1 / precision.clamp(min=1e-6), torch.inf)
    z = normal() if start is None else start
    for k in range(levels):
        rho = loudest * (quietest / loudest) ** (k / max(levels - 1, 1))
        own = 1 / (variance - rho**2).clamp(min=1e-4 * rho**2)
        tie = 1 / rho**2
        here, noise = along(z), rho * normal()
        if slope is None:
            move = torch.einsum("bkd,bk->bd", directions, own / (own + tie) * (measurement.value - here))
        else:
            pull = slope(z)
            told = along(pull)
            newton = own / (own + tie) / precision.clamp(min=1e-6) - rho**2
            move = rho**2 * pull + torch.einsum("bkd,bk->bd", directions, newton * told)
            move = move * (_STRIDE / move.square().mean(1, keepdim=True).sqrt()).clamp(max=1)
        noise = measurement.stretched(noise, (tie / (own + tie)) ** 0.5)
        z = _denoised(velocity, z + move + noise, rho, steps, normal)
    return z


def _denoised(velocity: Velocity, x: Tensor, rho: float, steps: int, normal: Callable[[], Tensor]) -> Tensor:
    """Draw z given x = z + rho noise: a second-order solver of the reverse diffusion.

    SDE-DPM-Solver++(2M) of Lu et al. (2022), in l = log(t / (1 - t)), down to an eighth of rho, or 0.1 from louder
    noise; what is left there is taken off.
    """
    span = math.log(8 * max(rho / 0.8, 1.0))
    h = span / steps
    t = [1 / (1 + rho * math.exp(-h * k)) for k in range(steps + 1)]
    z = t[0] * x
    before: Tensor | None = None
    kept = math.exp(-h)
    for now, then in pairwise(t):
        clean = z + (1 - now) * velocity(z, torch.full((len(z),), now))
        ahead = clean if before is None else 1.5 * clean - 0.5 * before
        fresh = 1 - kept**2
        z = (1 - then) / (1 - now) * kept * z + then * fresh * ahead + (1 - then) * math.sqrt(fresh) * normal()
        before = clean
    return z + (1 - t[-1]) * velocity(z, torch.full((len(z),), t[-1]))
