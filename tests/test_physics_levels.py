"""Images drawn on two Fourier grids, or with fewer wavenumbers, are those of one full grid."""

import dataclasses
import sys
from pathlib import Path

import galsim
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import skyloom.physics.draw as draw_module
from skyloom.frames import profile_jacobian
from skyloom.physics.draw import draw
from skyloom.physics.plan import plan_samples, residual_reach
from skyloom.physics.psf import Psf
from skyloom.physics.windows import Window

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from galaxies import PSFS, Galaxies, random_galaxies

MOFFAT = galsim.Moffat(beta=3.5, fwhm=0.16)


def plans_and_images(galaxies, psf, pixel_scale, stamp_size):
    """Images as they are drawn, their plan, and images with every wavenumber on one grid."""
    plans = []

    def noted(*args, **kwargs):
        plans.append(plan_samples(*args, **kwargs))
        return plans[-1]

    def plain(*args, **kwargs):
        plan = plan_samples(*args, **kwargs)
        no = np.zeros(len(plan.core), dtype=bool)
        return dataclasses.replace(plan, core=np.zeros_like(plan.core), early=no, zones=~no)

    images = []
    with pytest.MonkeyPatch.context() as patch:
        for planned in (noted, plain):
            patch.setattr(draw_module, "plan_samples", planned)
            images.append(draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=stamp_size))
    return plans[0], *images


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("psf_name", ["moffat", *PSFS])
def test_parted_wavenumbers_make_the_same_image(psf_name, general):
    psf, pixel_scale = PSFS.get(psf_name, (MOFFAT, 0.1))
    galaxies = random_galaxies(24, np.random.default_rng(3), pixel_scale=pixel_scale, general=general)
    plan, images, whole = plans_and_images(galaxies, psf, pixel_scale, 160)
    assert (plan.core > 0).mean() > (0 if psf_name == "hst" else 0.2)  # its rings reach far
    peak = whole.max(axis=(1, 2))
    assert (np.abs(images - whole).max(axis=(1, 2)) / peak).max() < 5e-5
    assert np.abs(images.sum(axis=(1, 2)) / whole.sum(axis=(1, 2)) - 1).max() < 3e-4


@settings(max_examples=25, deadline=None)
@given(
    n=st.floats(0.3, 6.2), ln_size=st.floats(-3, 0.2), q=st.floats(0.1, 1), beta=st.floats(-4, 4),
    x=st.floats(-0.2, 0.2), y=st.floats(-0.2, 0.2),
)  # fmt: skip
@example(n=0.375, ln_size=0.0, q=0.34375, beta=0.0, x=0.0, y=0.0)  # a disc that ends sharply, nearly edge on
@example(n=0.42, ln_size=0.03, q=0.36, beta=0.1, x=0.0, y=0.0)
def test_any_sersic_is_the_same_on_two_grids(n, ln_size, q, beta, x, y):
    size = float(np.exp(ln_size))
    one = np.ones(1)
    galaxy = Galaxies(
        sersic_n=n * one, half_light_radius=size * one, q=q * one, beta=beta * one,
        jacobian=profile_jacobian(size * one, q * one, beta * one), offset=np.array([[x, y]]), amplitude=one,
    )  # fmt: skip
    _, images, whole = plans_and_images(galaxy, MOFFAT, 0.1, 128)
    assert np.abs(images - whole).max() < 8e-5 * whole.max()


def test_a_plan_does_not_depend_on_the_neighbours():
    galaxies = random_galaxies(40, np.random.default_rng(6), general=True)
    psf = Psf(MOFFAT)

    def plan(rows):
        return plan_samples(
            psf, pixel_scale=0.1, stamp_size=96, sersic_n=galaxies.sersic_n[rows], jacobian=galaxies.jacobian[rows],
            offset=galaxies.offset[rows], residual=galaxies.residual[rows], grid_scale=galaxies.grid_scale,
        )  # fmt: skip

    together = plan(np.arange(40))
    order = np.random.default_rng(0).permutation(40)
    for part in np.split(order, [1, 8, 25]):
        for field in dataclasses.fields(together):
            assert (getattr(plan(part), field.name) == getattr(together, field.name)[part]).all()


@settings(max_examples=20, deadline=None)
@given(q=st.floats(0.1, 1), beta=st.floats(-4, 4), row=st.integers(0, 23), column=st.integers(0, 23))
def test_reach_holds_all_that_is_bright(q, beta, row, column):
    residual = np.zeros((1, 24, 24), np.float32)
    residual[0, row, column] = 1.0
    jacobian = profile_jacobian(np.ones(1), np.array([q]), np.array([beta]))
    place = jacobian[0] @ [(column - 11.5) * 0.3, (row - 11.5) * 0.3]
    near, none = residual_reach(residual, 0.3, jacobian, (np.array([0.5]), np.array([2.0])))
    assert near[0] >= np.abs(place).max()
    assert none[0] == 0


@given(half=st.floats(0.1, 50))
def test_a_window_passes_the_coarse_and_stops_the_fine(half):
    window = Window.for_half_period(half)
    along = window.plane(np.array([0.0, window.centre, window.end]))[0]
    assert along[0] == pytest.approx(1, abs=1e-4)
    assert along[1] == pytest.approx(0.5, abs=1e-4)
    assert along[2] < 1e-4
    assert Window.that_ends(window.end).width == pytest.approx(window.width)
