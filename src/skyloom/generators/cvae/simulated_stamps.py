"""Stamps of simulated structure: real galaxies' conditions, PSFs, masks and noise, with made-up arms and bars."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.simulate import simulate_structure

__all__ = ["with_simulated_structure"]


@torch.no_grad()
def with_simulated_structure(stamps: Stamps, galaxies: Galaxies, count: int, brighter: float = 4.0) -> Stamps:
    """Replace the images of the first `count` galaxies.

    Parameters
    ----------
    stamps : Stamps
        In the order of their galaxies.
    galaxies : Galaxies
        Which of the stamps show one galaxy.
    count : int
    brighter : float
        Simulated stamps have up to so many times less noise than the real ones, evenly in the logarithm.

    Returns
    -------
    Stamps
        The galaxies' flux is that of the Sersic they replace. Random numbers are torch's global ones.
    """
    if count == 0:
        return stamps
    index = torch.nonzero(galaxies.row < count)[:, 0]
    row, first = galaxies.row[index], galaxies.first[:count]
    frame = Jitter(stamps.q[index], mirror=False).spread(torch.arange(len(index)), galaxies.frame[index])
    grid = GridGeometry.of(grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index]), frame)
    f = simulate_structure(stamps.sersic_n[first], stamps.q[first])[row]
    count = len(index)
    residual = residual_grid(f, grid, stamps.sersic_n[index])
    share = 1 + residual.sum((1, 2)) * stamps.grid_scale**2
    quiet = brighter ** -torch.rand(len(first))[row][:, None, None]
    noise = stamps.sigma_noise[index] * quiet
    image = observe(residual, stamps, index) / share[:, None, None]
    image = (image + noise * _correlated(stamps.correlation[index], image.shape[-1])) * stamps.mask[index]

    def spliced(name: str, values: Tensor) -> Tensor:
        return torch.cat([values, getattr(stamps, name)[count:]])

    floor = stamps.sigma[index] ** 2 - stamps.sigma_noise[index] ** 2
    excess = ((((image - stamps.sersic[index]) ** 2 / (noise**2 + floor)) - 1) * stamps.mask[index]).sum((1, 2))
    return replace(
        stamps,
        image=spliced("image", image),
        sigma_noise=spliced("sigma_noise", noise),
        sigma=spliced("sigma", torch.sqrt(noise**2 + floor)),
        weight=spliced("weight", 1 / torch.sqrt(1 + excess.clamp(min=0) / 500)),
    )


def _correlated(correlation: Tensor, size: int) -> Tensor:
    """White noise smoothed by (a, 1, a) along both axes, of unit variance and this correlation between neighbours."""
    rho = correlation.clamp(1e-3, 0.6)
    a = (1 - torch.sqrt((1 - 2 * rho**2).clamp(min=0))) / (2 * rho)  # rho = 2 a / (1 + 2 a^2)
    a = a[:, None, None]
    white = torch.randn(len(rho), size + 2, size + 2)
    rows = white[:, 1:-1] + a * (white[:, :-2] + white[:, 2:])
    both = rows[..., 1:-1] + a * (rows[..., :-2] + rows[..., 2:])
    return both / (1 + 2 * a * a)
