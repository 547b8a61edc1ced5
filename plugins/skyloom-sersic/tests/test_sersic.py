"""The plugin as its users meet it: installed, found through its entry point, asked for by name."""

from __future__ import annotations

import subprocess
import sys

import galsim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skyloom
from skyloom.errors import OutOfRangeError
from skyloom.generators import list_models
from skyloom.manager import plugin_manager, provider
from skyloom.testing.contract import check_generator


@pytest.fixture(scope="module")
def sersic():
    return skyloom.load_model("sersic")


def test_found_through_its_entry_point():
    assert plugin_manager().has_plugin("skyloom-sersic")
    assert "sersic" in list_models()
    assert provider("skyloom_generators", "sersic") == "plugin 'skyloom-sersic' 0.1.0"


def test_contract(sersic):
    check_generator(sersic)


def test_needs_no_torch():
    code = (
        "import sys, skyloom; m = skyloom.load_model('sersic');"
        "m.sample(skyloom.Conditions(flux=1, half_light_radius=1, sersic_n=1), seed=0);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(
    n=st.floats(0.5, 6),
    q=st.floats(0.2, 1),
    beta=st.floats(-4, 4),
    radius=st.floats(0.05, 3),
    flux=st.floats(1e-2, 1e6),
)
def test_is_galsim_s_sersic(sersic, n, q, beta, radius, flux):
    batch = sersic.sample(skyloom.Conditions(flux=flux, half_light_radius=radius, sersic_n=n, q=q, beta=beta), seed=3)
    shape = galsim.Shear(q=q, beta=beta * galsim.radians).getMatrix() * radius
    assert np.allclose(batch.jacobian[0] @ batch.jacobian[0].T, shape @ shape.T, rtol=1e-9, atol=1e-12)
    assert batch.flux[0] == batch.amplitude[0] == flux
    assert batch.residual is None
    assert batch.drawn_from[0] == "parametric"


def test_out_of_range(sersic):
    thin = skyloom.Conditions(galaxy_id=8, flux=1, half_light_radius=1, sersic_n=1, q=0.01)
    with pytest.raises(OutOfRangeError, match=r"galaxy 8 .*q = 0.01 is outside \[0.05, 1\].*'sersic'"):
        sersic.sample(thin, seed=0)
    assert sersic.sample(thin, seed=0, out_of_range="parametric").drawn_from[0] == "parametric"
