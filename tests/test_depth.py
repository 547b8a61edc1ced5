"""The script on depth: noise is added as said, and a Sersic profile is the same at any depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.run_samples import default_refit


@pytest.fixture(scope="module")
def depth(script):
    return script("depth")


def _deep(strength: float) -> list:
    made = synthetic_cutouts(16, seed=3, strength=strength, noise_rms=0.001)
    return [replace(c, fit=fit) for c, fit in zip(made, default_refit(made), strict=True)]


@pytest.mark.parametrize("snr", [30.0, 200.0])
def test_the_image_has_the_s_n_asked_for(depth, snr: float):
    deep = _deep(0.0)
    fits = default_refit([depth.shallower(c, snr, seed=1) for c in deep])
    assert np.median([f.snr for f in fits]) == pytest.approx(snr, rel=0.05)


def test_noise_is_that_of_the_galaxy_and_lies_on_usable_pixels(depth):
    (cutout,) = _deep(0.6)[:1]
    masked = replace(cutout, mask=cutout.mask & (np.arange(cutout.image.shape[1]) > 8))
    one, again, other = (depth.shallower(masked, 100.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, again.image)
    assert not np.array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.image[~masked.mask], masked.image[~masked.mask])
    added = (one.image - masked.image)[masked.mask].var()
    assert added == pytest.approx(float(np.median(one.variance - masked.variance)), rel=0.15)


def test_structure_changes_with_depth_and_a_sersic_does_not(depth):
    found = {strength: depth.differences(_deep(strength), 100.0, seed=1)[0] for strength in (0.0, 0.8)}
    scatter = {strength: np.diff(np.quantile(d, [0.16, 0.84], axis=0), axis=0)[0] for strength, d in found.items()}
    assert (np.abs(np.median(found[0.0], axis=0)) < 0.05).all()
    assert (scatter[0.8] > 1.5 * scatter[0.0]).all()
