"""Galaxies drawn as cutouts were seen: the same by either way, and in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyloom.errors import RenderError, SkyloomError
from skyloom.validate import drawing
from skyloom.validate.drawing import draw_through, seen_through, sersic_galaxy
from skyloom.validate.measure_frame import prepare

from .validate_samples import make_cutout


@pytest.fixture(scope="module")
def cutout():
    return make_cutout(1, n=4.0, half_light_radius=0.5, q=0.6, size=64, psf_fwhm=0.2)


def test_a_fit_is_drawn_as_galsim_draws_it(cutout):
    fit = cutout.fit
    galaxy = galsim.Sersic(n=fit.sersic_n, half_light_radius=fit.half_light_radius, flux=fit.flux)
    galaxy = galaxy.shear(q=fit.q, beta=fit.beta * galsim.radians).shift(fit.dx, fit.dy)
    psf = galsim.InterpolatedImage(galsim.Image(cutout.psf.astype(float), scale=cutout.pixel_scale), flux=1.0)
    seen = galsim.Convolve(galaxy, psf)
    expected = seen.drawImage(nx=64, ny=64, scale=cutout.pixel_scale, method="no_pixel", dtype=float).array
    np.testing.assert_allclose(draw_through(sersic_galaxy(fit), cutout) - fit.sky, expected, atol=1e-9 * expected.max())
    np.testing.assert_allclose(prepare(cutout).model, expected, atol=1e-9 * expected.max())


def test_both_ways_of_drawing_agree(cutout, monkeypatch):
    shear = galsim.Shear(g1=0.02, g2=-0.1).getMatrix()
    galaxy = sersic_galaxy(cutout.fit)
    one = seen_through(galaxy, cutout, matrix=shear, shift=(0.05, -0.03))
    monkeypatch.setattr(drawing, "MAX_FFT", 0)
    other = seen_through(galaxy, cutout, matrix=shear, shift=(0.05, -0.03))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(other, one, atol=2e-5 * one.max())


def test_what_cannot_be_bounded_is_refused(cutout):
    wide = galsim.Sersic(n=6.2, half_light_radius=20.0)  # none of ours
    with pytest.raises(RenderError, match="Fourier grid of"):
        seen_through(wide, cutout)
    with pytest.raises(RenderError, match="too large to draw"):
        seen_through(sersic_galaxy(replace(cutout.fit, sersic_n=6.2, half_light_radius=1e3)), cutout)
    with pytest.raises(SkyloomError, match="no Sersic fit"):
        draw_through(wide, replace(cutout, fit=None))


_RUNAWAY = """
import resource
from dataclasses import replace
import torch
from skyloom.validate.measure_frame import prepare
from tests.validate_samples import make_cutout

torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cutout = make_cutout(1, n=4.0, half_light_radius=0.5, size=64)
model = prepare(replace(cutout, fit=replace(cutout.fit, sersic_n=6.2, half_light_radius=12.0))).model
assert (model > 0).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6)
"""


def test_a_fit_that_ran_away_is_measured_in_little_memory(pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", _RUNAWAY], capture_output=True, text=True, check=True, cwd=pytestconfig.rootpath
    )
    assert float(done.stdout) < 0.6  # GB; GalSim's own grid would take 10
