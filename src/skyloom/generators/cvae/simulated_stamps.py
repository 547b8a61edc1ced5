"""Stamps of simulated structure: real galaxies' conditions, PSFs, masks and noise, with made-up arms and bars."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import known_values
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.noise_filter import correlated_noise
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.projection import without_sersic
from skyloom.generators.cvae.simulate import build_components, random_wavelengths, shade
from skyloom.generators.cvae.simulate_parameters import draw_parameters, drawn_redshifts

__all__ = ["with_simulated_structure"]


@torch.no_grad()
def with_simulated_structure(stamps: Stamps, galaxies: Galaxies, count: int, brighter: float = 4.0) -> Stamps:
    """Replace the images of the first `count` galaxies.

    Parameters
    ----------
    stamps : Stamps
        In the order of their galaxies.
    galaxies : Galaxies
        Which of the stamps show one galaxy: these share their structure, coloured by their wavelengths in the rest
        frame; an unknown redshift is drawn.
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
    shown = galaxies.row < count
    count = int(shown.sum())
    index = torch.arange(count)
    frame = Jitter(stamps.q[index], mirror=False).spread(index, galaxies.frame[index])
    grid = GridGeometry.of(grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index]), frame)
    f = _structure(stamps, galaxies.row[index], galaxies.first)
    residual = residual_grid(f, grid, stamps.sersic_n[index])
    share = 1 + residual.sum((1, 2)) * stamps.grid_scale**2
    quiet = brighter ** -torch.rand(galaxies.count)[galaxies.row[index]][:, None, None]
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
        thresholded=spliced("thresholded", torch.zeros(count, dtype=torch.bool)),  # no isophote cut their wings
        weight=spliced("weight", 1 / torch.sqrt(1 + excess.clamp(min=0) / 1000)),
    )


def _structure(stamps: Stamps, member: Tensor, first: Tensor) -> Tensor:
    """Maps f of the first rows: parts of each galaxy's first row, colour and projection of each row."""
    first = first[: int(member.max()) + 1]
    redshift = drawn_redshifts(known_values(stamps.features[first], "redshift"))
    components = build_components(draw_parameters(stamps.sersic_n[first], stamps.q[first], redshift))
    rows = torch.arange(len(member))
    wavelength = known_values(stamps.features[rows], "wavelength") / 1000 / (1 + redshift[member])
    wavelength = torch.where(torch.isfinite(wavelength), wavelength, random_wavelengths(len(first))[member])
    return without_sersic(shade(components.rows(member), wavelength), stamps.sersic_n[rows])
