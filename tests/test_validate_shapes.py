"""Counterparts are fitted as the real cutouts were: one shape a galaxy where theirs is shared, else band by band."""

from dataclasses import replace

import numpy as np
import pytest

from skyloom.cutouts.bands_together import fit_bands_together
from skyloom.cutouts.hdf5 import read_cutouts
from skyloom.cutouts.measure import fit_sersic
from skyloom.stamps import FitFlag
from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.counterparts_shape import counterparts_as_real, shape_is_shared, shared_radii
from skyloom.validate.run_samples import default_refit, simulate


@pytest.fixture(scope="module")
def bands():
    """Three galaxies in two bands each, and one that has only one, unfitted."""
    sky = synthetic_cutouts(4, seed=3, stamp_size=48, strength=0.3)
    again = synthetic_cutouts(4, seed=3, stamp_size=48, strength=0.3, psf_fwhm=0.18, noise_rms=0.015)
    first = [replace(c, band="F115W", wavelength=1154.0, fit=None) for c in sky]
    second = [replace(c, band="F200W", wavelength=1990.0, fit=None) for c in again[:3]]
    return [*first, *second]


def _with(cutouts, fits):
    return [replace(c, fit=fit) for c, fit in zip(cutouts, fits, strict=True)]


def _shapes(cutouts):
    found = {}
    for c in cutouts:
        found.setdefault(c.galaxy_id, []).append(c.fit)
    return found


def test_bands_share_a_shape_where_the_real_ones_do(bands, tmp_path):
    real = _with(bands, fit_bands_together(bands))
    assert [shape_is_shared(fits) for fits in _shapes(real).values()] == [True, True, True, False]
    made, rows = counterparts_as_real(real, None, default_refit, seed=2, draws=2)
    assert sorted(rows) == sorted([*range(7)] * 2)
    own = fit_sersic([replace(c, fit=None) for c in made])
    for cutout, alone in zip(made, own, strict=True):
        if cutout.galaxy_id == real[3].galaxy_id:
            assert (cutout.fit.q, cutout.fit.beta) == pytest.approx((alone.q, alone.beta), abs=1e-6)
    for draw in range(2):
        of_draw = [c for k, c in enumerate(made) if rows[:k].count(rows[k]) == draw]
        for galaxy, fits in _shapes(of_draw).items():
            assert shape_is_shared(fits) == (galaxy != real[3].galaxy_id)
    # the file of a validation holds the same
    kept = simulate(real, None, tmp_path / "made.h5", seed=2, identity="x", per_real=2)
    assert kept.rows == rows
    np.testing.assert_allclose([c.fit.q for c in read_cutouts(tmp_path / "made.h5")], [c.fit.q for c in made])


def test_bands_fitted_by_themselves_stay_so(bands):
    real = _with(bands, fit_sersic(bands))
    assert not any(shape_is_shared(fits) for fits in _shapes(real).values())
    made, _ = counterparts_as_real(real, None, default_refit)
    assert not any(shape_is_shared(fits) for fits in _shapes(made).values())


def test_a_band_that_gave_the_shared_shape_up_does_not_hide_that_it_was_tried(bands):
    one, two, _ = fit_bands_together([bands[0], bands[4], replace(bands[4], band="F444W", wavelength=4404.0)])
    other = replace(two, q=0.5 * two.q, flag=int(two.flags | FitFlag.OWN_SHAPE))
    assert shape_is_shared([one, two])
    assert shape_is_shared([one, two, other])
    assert shape_is_shared([one, other])
    assert not shape_is_shared([one, replace(two, q=0.5 * two.q)])
    assert not shape_is_shared([one, None])


def test_shared_radii_are_medians(bands):
    real = _with(bands, fit_bands_together(bands))
    found = shared_radii(real)
    pair = [c.fit.half_light_radius for c in real if c.galaxy_id == real[0].galaxy_id]
    assert found[real[0].source, real[0].galaxy_id] == pytest.approx(np.sqrt(np.prod(pair)))
