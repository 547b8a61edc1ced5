"""Coherence of the residual: arms, rings and mottle of known modes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.validate.coherence import RADII, log_polar_modes, measure_coherence, mode_statistics
from skyloom.validate.measure_frame import prepare

from .validate_samples import make_cutout, spiral, window

U, PHI = np.arange(32)[:, None], np.arange(64) * 2 * np.pi / 64


@given(m=st.integers(1, 4), k=st.integers(-7, 7).filter(lambda k: abs(k) > 2), phase=st.floats(0, 6.28))
def test_one_wave_is_one_mode(m, k, phase):
    found = mode_statistics(log_polar_modes(np.cos(m * PHI + 2 * np.pi * k * U / 32 + phase)))
    assert found[f"coherence_m{m}"] == pytest.approx(1.0, abs=1e-6)
    assert found["coherence_chirality"] == pytest.approx(np.sign(k), abs=0.02)
    # the taper spreads one wave over three k: 1/2 to the middle, 1/4 either side, in amplitude
    assert found["coherence_strongest"] == pytest.approx(2 / 3, abs=0.03)
    assert found["coherence_ring"] == pytest.approx(0.0, abs=1e-6)


def test_equal_waves_of_ring_and_arm_share_the_power():
    ring, arm = np.cos(2 * np.pi * 4 * U / 32) + 0 * PHI, np.cos(2 * PHI + 2 * np.pi * 4 * U / 32)
    # both are cos^2 over the plane, of mean 1/2
    found = mode_statistics(log_polar_modes(ring + arm))
    assert found["coherence_ring"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("q", "beta"), [(1.0, 0.0), (0.5, 0.7), (0.6, -1.3)])
def test_arms_are_found_in_the_disc_whatever_its_orientation(q, beta):
    cutout = make_cutout(q=q, beta=beta, half_light_radius=0.8, structure=spiral(m=2, pitch=6.0))
    found, flag = measure_coherence(prepare(cutout))
    assert flag == 0
    assert found["coherence_m2"] > 0.85
    assert found["coherence_chirality"] > 0.7
    assert found["coherence_strongest"] > 0.35


def test_winding_the_other_way_turns_the_sign():
    way, other = (
        measure_coherence(prepare(make_cutout(half_light_radius=0.8, structure=spiral(pitch=pitch))))[0]
        for pitch in (6.0, -6.0)
    )
    assert way["coherence_chirality"] == pytest.approx(-other["coherence_chirality"], abs=0.05)
    assert way["coherence_abs_chirality"] == pytest.approx(other["coherence_abs_chirality"], abs=0.05)


def test_a_ring_is_a_ring():
    def ring(r, phi):
        return 0.4 * window(r) * np.cos(2 * np.pi * 4 * np.log(np.maximum(r, 0.1)) / np.log(RADII[1] / RADII[0]))

    found, _ = measure_coherence(prepare(make_cutout(half_light_radius=0.8, structure=ring)))
    assert found["coherence_ring"] > 0.85


def test_mottle_has_no_favourite_mode():
    rng = np.random.default_rng(5)
    found = [mode_statistics(log_polar_modes(rng.standard_normal((32, 64)))) for _ in range(50)]
    assert np.mean([f["coherence_chirality"] for f in found]) == pytest.approx(0.0, abs=0.06)
    assert np.mean([f["coherence_strongest"] for f in found]) < 0.08
    shares = [np.mean([f[f"coherence_m{m}"] for f in found]) for m in range(1, 5)]
    assert shares == pytest.approx([1 / 8] * 4, abs=0.02)
