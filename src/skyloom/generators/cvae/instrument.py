"""The instrument inside the likelihood: from a log-polar map to what a stamp would show.

    f on the map  ->  residual R = S (exp f - 1), S without its cusp, on the canonical grid  ->  affine map, PSF, pixels

The last step is `skyloom.physics.draw_arrays`, the renderer of simulations.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.frame import map_coordinates, nodes, sample_map, without_cusp
from skyloom.generators.cvae.likelihood import Likelihood, log_likelihood
from skyloom.physics.draw_arrays import draw_arrays
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = [
    "GridGeometry",
    "Jitter",
    "Likelihood",
    "encoder_input",
    "grid_points",
    "log_likelihood",
    "observe",
    "radius_in_pixels",
    "residual_grid",
]


class Jitter:
    """Random changes of a galaxy's frame: mirror, turn, small shift and scale; training's augmentation.

    Discs seen nearly face on are turned by any angle, inclined ones by a few degrees only: their structure knows
    where the major axis is.

    Parameters
    ----------
    q : Tensor, shape (B,)
        Axis ratios.
    mirror : bool or bool Tensor of shape (B,), optional
        Only mirror (True) or do nothing (False); None draws everything.
    """

    def __init__(self, q: Tensor, mirror: bool | Tensor | None = None) -> None:
        n = len(q)
        if mirror is None:
            flip = torch.where(torch.rand(n, 2) < 0.5, -1.0, 1.0)
            turn = torch.where(q > 0.5, 2 * torch.pi * torch.rand(n), 0.06 * torch.randn(n))
            self.scale, self.shift = torch.exp(0.05 * torch.randn(n)), 0.03 * torch.randn(n, 2)
        else:
            flip = torch.ones(n, 2)
            flip[:, 1] = 1.0 - 2.0 * torch.as_tensor(mirror).float()
            turn, self.scale, self.shift = torch.zeros(n), torch.ones(n), torch.zeros(n, 2)
        c, s = torch.cos(turn), torch.sin(turn)
        self.matrix = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2) * flip[:, :, None]

    def spread(self, galaxy: Tensor, frame: Tensor) -> Jitter:
        """For stamps of galaxies: galaxy (N,) numbers rows of this; frame (N,) is its radius in its galaxy's."""
        out = copy.copy(self)
        out.matrix, out.shift = self.matrix[galaxy], self.shift[galaxy]
        out.scale = self.scale[galaxy] * frame
        return out

    def forward(self, points: Tensor) -> Tensor:
        """Disc positions as the network sees them; points (B, ..., 2)."""
        flat = points.reshape(len(points), -1, 2) @ self.matrix.mT * self.scale[:, None, None]
        return (flat + self.shift[:, None]).reshape(points.shape)

    def backward(self, points: Tensor) -> Tensor:
        """Inverse of `forward`."""
        flat = (points.reshape(len(points), -1, 2) - self.shift[:, None]) / self.scale[:, None, None]
        return (flat @ self.matrix).reshape(points.shape)


def grid_points(size: int, scale: float, angle: Tensor) -> Tensor:
    """Where the residual grid's pixels lie in the disc (major axis along x).

    Parameters
    ----------
    size : int
    scale : float
        Half-light radii per pixel.
    angle : Tensor, shape (B,)
        `skyloom.frames.grid_angle`.

    Returns
    -------
    Tensor, shape (B, size, size, 2)
    """
    x = (torch.arange(size) - (size - 1) / 2) * scale
    gy, gx = torch.meshgrid(x, x, indexing="ij")
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return torch.stack([c * gx + s * gy, c * gy - s * gx], -1)


@dataclass(frozen=True)
class GridGeometry:
    """What `residual_grid` needs to know of a grid's pixels; of one grid for many galaxies, or of one a galaxy.

    Parameters
    ----------
    radius : Tensor, shape (1 or B, G, G)
        At which the Sersic is taken, half-light radii: `skyloom.generators.cvae.frame.without_cusp`.
    coordinates : Tensor, shape (1 or B, G, G, 2)
        On the map.
    window : Tensor, shape (1 or B, G, G)
        By which f is multiplied: R must end inside the grid.
    """

    radius: Tensor
    coordinates: Tensor
    window: Tensor

    @classmethod
    def of(cls, points: Tensor, jitter: Jitter | None = None) -> GridGeometry:
        """Geometry of `grid_points`, as seen in a jittered frame."""
        r = torch.hypot(points[..., 0], points[..., 1])
        window = torch.sigmoid((4.1 - r) / 0.08) * (r < 4.45)
        return cls(
            without_cusp(r),
            map_coordinates(points if jitter is None else jitter.forward(points)),
            window,
        )


def residual_grid(f: Tensor, grid: GridGeometry, sersic_n: Tensor) -> Tensor:
    """The learned residual R = S (exp f - 1) on the canonical grid, S without its cusp.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    grid : GridGeometry
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, G, G)
    """
    sersic = sersic_surface_brightness(sersic_n[:, None, None], grid.radius)
    sampled = sample_map(f, grid.coordinates.expand(len(f), -1, -1, -1))
    return sersic * torch.expm1(sampled * grid.window)


def encoder_input(stamps: Stamps, index: Tensor, jitter: Jitter | None = None, noise: float = 0.0) -> Tensor:
    """What the encoder sees of stamps, on the nodes of the log-polar map.

    Parameters
    ----------
    stamps : Stamps
    index : Tensor of int, shape (B,)
    jitter : Jitter, optional
    noise : float
        Extra noise of up to so many times the stamp's own.

    Returns
    -------
    Tensor, shape (B, 5, ROWS, COLUMNS)
        Residual from the Sersic in units of the error and of the Sersic, signal to noise, where pixels are usable, and
        how far the PSF blurs: the logarithm of its width over the radius of the node, at least 0.1 half-light radii.
    """
    image, mask, model = stamps.image[index], stamps.mask[index], stamps.sersic[index]
    sigma, sky = stamps.sigma[index], stamps.sigma_noise[index]
    if noise > 0:
        image = image + noise * sky * torch.randn_like(image) * torch.rand(len(index), 1, 1)
    rest = (image - model) * mask
    channels = torch.stack(
        [
            torch.asinh(rest / sigma),
            (rest / (model.clamp(min=0) + 2 * sky)).clamp(-3, 3),
            torch.asinh(image * mask / sky) / 3,
            mask,
        ],
        1,
    )
    points = nodes()[None].expand(len(index), -1, -1, -1)
    if jitter is not None:
        points = jitter.backward(points)
    flat = points.reshape(len(index), -1, 2) @ stamps.disc_to_pixel[index].mT + stamps.offset[index][:, None]
    grid = (2 * flat / image.shape[-1]).reshape(points.shape)  # the offset counts from the stamp's true centre
    seen = F.grid_sample(channels, grid, mode="bilinear", align_corners=False)
    from_centre = torch.linalg.vector_norm(nodes(), dim=-1).clamp(min=0.1)
    blur = (stamps.psf_sigma[index] / radius_in_pixels(stamps, index)).log()[:, None, None] - from_centre.log()
    return torch.cat([seen, blur.clamp(-4, 3)[:, None] / 2], 1)


def radius_in_pixels(stamps: Stamps, index: Tensor) -> Tensor:
    """Half-light radius of stamps' galaxies, shape (B,)."""
    return torch.linalg.det(stamps.disc_to_pixel[index]).abs().sqrt()


def observe(residual: Tensor, stamps: Stamps, index: Tensor) -> Tensor:
    """Model images, at the fitted flux of the Sersic part.

    Parameters
    ----------
    residual : Tensor, shape (B, G, G)
    stamps : Stamps
    index : Tensor of int, shape (B,)

    Returns
    -------
    Tensor, shape (B, S, S)
    """
    return draw_arrays(
        residual, stamps.grid_scale, stamps.sersic_n[index], stamps.jacobian[index], stamps.offset[index],
        stamps.flux[index], stamps.otf[index],
        grid=stamps.k_grid, pixel_scale=1.0, stamp_size=stamps.image.shape[-1],
    )  # fmt: skip
