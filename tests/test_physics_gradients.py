"""Gradients of image formation, in float64."""

import galsim
import numpy as np
import pytest
import torch

from skyloom.physics.draw_arrays import draw_arrays
from skyloom.physics.psf import Psf, psf_otf

PIXEL_SCALE, STAMP_SIZE, GRID_SCALE = 0.25, 6, 0.6


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-2.5:3, -2.5:3]
    blob = np.exp(-((x - 0.3) ** 2 + (y + 0.5) ** 2) / 3)
    values = (
        np.stack([0.2 * blob, -0.1 * blob.T]) + 0.01 * rng.normal(size=(2, 6, 6)),
        np.array([0.8, 2.7]),
        np.array([[[0.4, 0.0], [0.1, 0.3]], [[0.3, 0.0], [-0.05, 0.5]]]),
        rng.uniform(-0.1, 0.1, (2, 2)),
        np.array([1.0, 3.0]),
    )
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


def image_of(psf):
    psf = Psf(psf)
    grid = psf.grid(41)
    otf = torch.from_numpy(psf_otf(psf, grid, pixel_scale=PIXEL_SCALE))

    def image(residual, n, jacobian, offset, amplitude):
        return draw_arrays(
            residual, GRID_SCALE, n, jacobian, offset, amplitude, otf,
            grid=grid, pixel_scale=PIXEL_SCALE, stamp_size=STAMP_SIZE,
        )  # fmt: skip

    return image


@pytest.mark.parametrize("shear", [0.0, 0.2, 0.7])
def test_gradients_with_respect_to_everything(shear):
    residual, n, jacobian, offset, amplitude = inputs()
    with torch.no_grad():
        jacobian[:, 0, 1] += shear  # 0.7 turns the grid
    image = image_of(galsim.Gaussian(fwhm=0.5))
    assert torch.autograd.gradcheck(image, (residual, n, jacobian, offset, amplitude), atol=1e-6, rtol=2e-3)


def test_gradients_through_an_asymmetric_psf():
    image = image_of(galsim.Gaussian(fwhm=0.5) + 0.3 * galsim.Gaussian(fwhm=0.4).shift(0.2, 0.1))
    assert torch.autograd.gradcheck(image, inputs(), atol=1e-6, rtol=2e-3)


def test_fast_path_for_triangular_maps_is_the_general_one():
    residual, n, jacobian, offset, amplitude = inputs()
    image = image_of(galsim.Gaussian(fwhm=0.5))
    general = image(residual, n, jacobian, offset, amplitude)
    fast = image(residual, n, jacobian.detach(), offset, amplitude)
    torch.testing.assert_close(fast, general, atol=1e-9, rtol=1e-6)


def test_odd_and_even_grids_have_one_centre():
    """A residual padded by one row and column on the far sides, and moved back by half a grid point."""
    residual, n, jacobian, _, amplitude = (t.detach() for t in inputs())
    image = image_of(galsim.Gaussian(fwhm=0.5))
    padded = torch.nn.functional.pad(residual, (0, 1, 0, 1))
    half = GRID_SCALE / 2 * jacobian.sum(dim=-1)
    zero = torch.zeros_like(half)
    part = image(residual, n, jacobian, zero, amplitude) - image(0 * residual, n, jacobian, zero, amplitude)
    moved = image(padded, n, jacobian, half * 0 + half, amplitude) - image(0 * padded, n, jacobian, half, amplitude)
    torch.testing.assert_close(part, moved, atol=2e-6, rtol=0)
