"""Readers and fits on real galaxies; skipped where the data are not there."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from skyloom.cutouts.fits_fields import read_fits_fields
from skyloom.cutouts.hdf5_stamps import read_hdf5_stamps
from skyloom.cutouts.measure import fit_sersic
from skyloom.cutouts.real_galaxy import read_real_galaxy
from skyloom.stamps import Cutout, FitFlag

LOST = FitFlag.FAILED | FitFlag.NOT_CONVERGED


def read(reader, path):
    if not path.exists():
        pytest.skip(f"no {path.name} in the real data")
    items = list(reader(path))
    return [i for i in items if isinstance(i, Cutout)], len(items)


def test_cosmos(shared_data):
    cutouts, read_in = read(read_real_galaxy, shared_data / "cosmos_hst")
    assert read_in == 70
    assert len(cutouts) >= 65
    fits = fit_sersic(cutouts)
    assert not any(f.flags & LOST for f in fits)
    assert np.median([f.chi2 for f in fits]) == pytest.approx(1.05, abs=0.1)
    assert np.median([c.noise_correlation for c in cutouts]) == pytest.approx(0.47, abs=0.05)
    from astropy.io import fits as astropy_fits

    table = astropy_fits.getdata(shared_data / "cosmos_hst" / "real_galaxy_catalog.fits")
    listed = dict(zip(table["IDENT"].tolist(), table["MAG"].tolist(), strict=True))
    good = [i for i, f in enumerate(fits) if f.flags in (FitFlag(0), FitFlag.TRUNCATED)]
    mags = np.array([cutouts[i].zero_point - 2.5 * np.log10(fits[i].flux) for i in good])
    difference = mags - [listed[cutouts[i].galaxy_id] for i in good]
    assert abs(np.median(difference)) < 0.15
    assert 1.48 * np.median(np.abs(difference - np.median(difference))) < 0.25


def test_cosmosweb(shared_data):
    cutouts, read_in = read(read_fits_fields, shared_data / "jwst_cosmosweb")
    assert read_in == 776
    assert len(cutouts) >= 220
    fits = fit_sersic(cutouts[::4])
    assert not any(f.flags & LOST for f in fits)
    assert np.median([f.chi2 for f in fits]) < 1.5
    ids = {band: {c.galaxy_id for c in cutouts if c.band == band} for band in ("F444W", "F115W")}
    both = ids["F444W"] & ids["F115W"]
    assert len(both) >= 8


@pytest.mark.parametrize(("name", "bands"), [("candels_hst/candels_hst.h5", 3), ("jwst_ceers/jwst_ceers.h5", 7)])
def test_stamps(shared_data, name, bands):
    path = shared_data / name
    if not path.exists():
        pytest.skip(f"no {path.name} in the real data")
    cutouts = [i for i in islice(read_hdf5_stamps(path), 20 * bands) if isinstance(i, Cutout)]
    assert len(cutouts) > 10 * bands
    assert len({c.band for c in cutouts}) == bands
    assert all(c.thresholded == (bands == 3) for c in cutouts)
    fits = fit_sersic(cutouts[::bands])
    assert not any(f.flags & LOST for f in fits)
