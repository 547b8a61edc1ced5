"""The map from the canonical frame to the sky, against GalSim's shear."""

from __future__ import annotations

import galsim
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skyloom.frames import grid_angle, profile_jacobian

RADIUS = st.floats(1e-3, 100)
Q = st.floats(0.01, 1)
BETA = st.floats(-10, 10)


@given(RADIUS, Q, BETA)
def test_the_jacobian_is_galsim_s_shear_up_to_a_turn_of_the_grid(radius: float, q: float, beta: float) -> None:
    jacobian = profile_jacobian(radius, q, beta)
    sheared = galsim.Exponential(half_light_radius=radius).shear(q=q, beta=beta * galsim.radians)
    expected = sheared.jac * radius
    assert jacobian[0, 1] == 0
    assert np.isclose(np.linalg.det(jacobian), radius**2, rtol=1e-9)
    # the turn that makes it lower triangular is a rotation, nothing more
    turn = np.linalg.solve(expected, jacobian)
    assert np.allclose(turn @ turn.T, np.eye(2), atol=1e-7 / q**2)
    assert np.allclose(jacobian @ jacobian.T, expected @ expected.T, rtol=1e-9, atol=1e-9 * radius**2 / q)


@given(RADIUS, Q, BETA)
def test_the_grid_angle_points_along_the_major_axis(radius: float, q: float, beta: float) -> None:
    angle = grid_angle(q, beta)
    x, y = profile_jacobian(radius, q, beta) @ [np.cos(angle), np.sin(angle)]
    assert np.isclose(np.hypot(x, y), radius / np.sqrt(q), rtol=1e-6)
    assert np.isclose(np.cos(np.arctan2(y, x) - beta), 1.0, atol=1e-9)


def test_a_sheared_profile_is_drawn_the_same() -> None:
    q, beta, radius = 0.4, 0.7, 0.5
    (a, b), (c, d) = profile_jacobian(radius, q, beta)
    ours = galsim.Sersic(n=1.5, half_light_radius=1).transform(a, b, c, d) / (a * d - b * c)
    theirs = galsim.Sersic(n=1.5, half_light_radius=radius).shear(q=q, beta=beta * galsim.radians)
    psf = galsim.Gaussian(fwhm=0.2)
    images = [galsim.Convolve(g, psf).drawImage(nx=48, ny=48, scale=0.1).array for g in (ours, theirs)]
    assert np.abs(images[0] - images[1]).max() < 1e-5 * images[1].max()


def test_arrays_and_scalars_mix() -> None:
    assert profile_jacobian([1.0, 2.0], 0.5, 0.0).shape == (2, 2, 2)
    assert np.allclose(profile_jacobian([1.0, 2.0], 1.0, 0.3), np.eye(2) * [[[1.0]], [[2.0]]])
    assert grid_angle(np.ones(3), 0.2).shape == (3,)
