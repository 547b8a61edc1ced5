"""The Sersic family in torch against GalSim, SciPy and quadrature."""

import galsim
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammainc, gammaincinv

from skyloom.physics.sersic import (
    sersic_b,
    sersic_enclosed_flux,
    sersic_kvalue,
    sersic_surface_brightness,
)

INDICES = (0.3, 0.5, 0.731, 1.0, 2.5, 4.0, 6.2)


def test_b_is_that_of_the_incomplete_gamma_function():
    n = torch.linspace(0.3, 6.2, 301, dtype=torch.float64)
    assert np.abs(sersic_b(n).numpy() / gammaincinv(2 * n.numpy(), 0.5) - 1).max() < 1e-9


@pytest.mark.parametrize("n", INDICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transform_is_galsims(n, dtype):
    k = torch.logspace(-3, 2.7, 60, dtype=torch.float64)
    profile = galsim.Sersic(n, half_light_radius=1, gsparams=galsim.GSParams(kvalue_accuracy=1e-7))
    expected = np.array([profile.kValue(x, 0).real for x in k.tolist()])
    got = sersic_kvalue(torch.tensor([n], dtype=dtype), k[None].to(dtype))[0].numpy()
    assert np.abs(got - expected).max() < 1.2e-5


@given(n=st.floats(0.3, 6.2), ln_r=st.floats(-5, 3))
def test_profile_is_galsims_and_encloses_its_flux(n, ln_r):
    r = float(np.exp(ln_r))
    at = (torch.tensor([n], dtype=torch.float64), torch.tensor([r], dtype=torch.float64))
    expected = float(galsim.Sersic(n, half_light_radius=1).xValue(r, 0))
    assert float(sersic_surface_brightness(*at)) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert float(sersic_enclosed_flux(*at)) == pytest.approx(
        gammainc(2 * n, gammaincinv(2 * n, 0.5) * r ** (1 / n)), abs=1e-4
    )


def test_surface_brightness_integrates_to_one():
    for n in (0.5, 1.0, 3.3):

        def ring(r, n=n):
            args = (torch.tensor(n, dtype=torch.float64), torch.tensor(r, dtype=torch.float64))
            return 2 * np.pi * r * float(sersic_surface_brightness(*args))

        assert quad(ring, 0, 1)[0] == pytest.approx(0.5, abs=1e-6)


def test_gradients_are_the_functions_own():
    n = torch.tensor([0.77, 3.1], dtype=torch.float64, requires_grad=True)
    k = torch.tensor([[0.1, 1.234, 9.87], [0.02, 0.5, 55.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sersic_kvalue, (n, k), atol=1e-6, rtol=1e-4)
    assert torch.autograd.gradcheck(lambda n, r: sersic_surface_brightness(n[:, None], r), (n, k))
    centre = sersic_surface_brightness(n, torch.zeros(2, dtype=torch.float64, requires_grad=True))
    assert torch.isfinite(torch.autograd.grad(centre.sum(), n)[0]).all()
