"""Stamps of simulated structure: real galaxies' conditions, PSFs, masks and noise, with made-up arms and bars."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import known_values
from skyloom.generators.cvae.instrument import GridGeometry, grid_points, observe, residual_grid
from skyloom.generators.cvae.noise_filter import correlated_noise
from skyloom.generators.cvae.simulate import build_components, random_wavelengths, shade
from skyloom.generators.cvae.simulate_parameters import draw_parameters
from skyloom.generators.cvae.simulate_projection import without_sersic

__all__ = ["with_simulated_structure"]


@torch.no_grad()
def with_simulated_structure(stamps: Stamps, count: int, brighter: float = 4.0, galaxy: Tensor | None = None) -> Stamps:
    """Replace the first `count` stamps' images.

    Parameters
    ----------
    stamps : Stamps
    count : int
    brighter : float
        Simulated stamps have up to so many times less noise than the real ones, evenly in the logarithm.
    galaxy : Tensor of int, shape (B,), optional
        Rows of equal number are bands of one galaxy and share their structure, coloured by their wavelengths (rest
        frame where the redshift is known); each row is a galaxy of its own by default.

    Returns
    -------
    Stamps
        The galaxies' flux is that of the Sersic they replace. Random numbers are torch's global ones.
    """
    if count == 0:
        return stamps
    index = torch.arange(count)
    grid = GridGeometry.of(grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index]))
    f = _structure(stamps, index if galaxy is None else galaxy[:count])
    residual = residual_grid(f, grid, stamps.sersic_n[index])
    share = 1 + residual.sum((1, 2)) * stamps.grid_scale**2
    quiet = brighter ** -torch.rand(count)[:, None, None]
    noise = stamps.sigma_noise[index] * quiet
    image = observe(residual, stamps, index) / share[:, None, None]
    image = (image + noise * correlated_noise(stamps.correlation[index], image.shape[-1])) * stamps.mask[index]

    def spliced(name: str, values: Tensor) -> Tensor:
        return torch.cat([values, getattr(stamps, name)[count:]])

    floor = stamps.sigma[index] ** 2 - stamps.sigma_noise[index] ** 2
    excess = ((((image - stamps.sersic[index]) ** 2 / (noise**2 + floor)) - 1) * stamps.mask[index]).sum((1, 2))
    return replace(
        stamps,
        image=spliced("image", image),
        sigma_noise=spliced("sigma_noise", noise),
        sigma=spliced("sigma", torch.sqrt(noise**2 + floor)),
        thresholded=spliced(
            "thresholded", torch.zeros(count, dtype=torch.bool)
        ),  # their wings were not cut at an isophote
        weight=spliced("weight", 1 / torch.sqrt(1 + excess.clamp(min=0) / 500)),
    )


def _structure(stamps: Stamps, galaxy: Tensor) -> Tensor:
    """Maps f of the first rows: parts of each galaxy's first row, colour and projection of each row."""
    numbers, member = torch.unique(galaxy, return_inverse=True)
    rows = torch.arange(len(galaxy))
    first = torch.full((len(numbers),), len(galaxy)).scatter_reduce(0, member, rows, "amin")
    redshift = known_values(stamps.features[rows], "redshift")
    components = build_components(draw_parameters(stamps.sersic_n[first], stamps.q[first], redshift[first]))
    wavelength = known_values(stamps.features[rows], "wavelength") / 1000 / (1 + redshift.nan_to_num(0.0))
    wavelength = torch.where(torch.isfinite(wavelength), wavelength, random_wavelengths(len(numbers))[member])
    return without_sersic(shade(components.rows(member), wavelength), stamps.sersic_n[rows])
