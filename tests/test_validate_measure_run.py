"""Measuring many cutouts: order, workers, resuming, and cutouts that cannot be used."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from skyloom.errors import BadInputError, CutoutError
from skyloom.stamps import FitFlag
from skyloom.validate import measure as measure_module
from skyloom.validate.measure import count_flags, measure_cutouts
from skyloom.validate.measure_flags import MeasureFlag
from skyloom.validate.measure_frame import prepare
from skyloom.validate.measure_tools import FLAGS, QUANTITIES, TOOLS, measure_cutout

from .validate_samples import make_cutout

SMALL = {"half_light_radius": 0.25, "size": 48, "sigma": 0.3, "psf_fwhm": 0.12}


def sample(number=4):
    return [make_cutout(i, q=0.4 + 0.1 * (i % 6), flux=1500.0 + 500 * i, **SMALL) for i in range(number)]


def equal(a, b):
    assert a.colnames == b.colnames
    for name in a.colnames:
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]), err_msg=name)


def test_a_good_cutout_has_every_number():
    row = measure_cutout(make_cutout(sigma=0.3, flux=4000.0))
    assert set(row) == {*QUANTITIES, *FLAGS}
    assert [name for name in QUANTITIES if not np.isfinite(row[name])] in (
        [],
        ["profile_00"],  # an annulus smaller than a pixel
    )
    assert all(row[flag] in (0, MeasureFlag.SUSPECT) for flag in FLAGS)


def test_every_column_belongs_to_one_tool():
    assert len(QUANTITIES) == sum(len(tool.columns) for tool in TOOLS)


def test_the_numbers_do_not_depend_on_workers():
    cutouts = sample(3)
    equal(measure_cutouts(cutouts), measure_cutouts(iter(cutouts), workers=2))


def test_the_table_names_the_galaxies_and_their_units():
    table = measure_cutouts(sample(2))
    assert list(table["galaxy_id"]) == [0, 1]
    assert list(table["index"]) == [0, 1]
    assert list(table["band"]) == ["F814W"] * 2
    assert str(table["moments_sigma"].unit) == "arcsec"
    assert table["gini"].dtype == np.float64
    assert table["flag_moments"].dtype.kind == "i"


def test_large_ids_survive(tmp_path):
    big = [replace(c, galaxy_id=2**62 + 1) for c in sample(1)]
    path = tmp_path / "part.jsonl"
    assert measure_cutouts(big, resume=path)["galaxy_id"][0] == 2**62 + 1
    assert measure_cutouts(big, resume=path)["galaxy_id"][0] == 2**62 + 1


def test_no_cutouts_are_an_empty_table():
    table = measure_cutouts([])
    assert len(table) == 0
    assert "gini" in table.colnames


def test_resuming_measures_only_what_is_missing(tmp_path, monkeypatch):
    cutouts, path = sample(4), tmp_path / "part.jsonl"
    whole = measure_cutouts(cutouts, resume=path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # two rows, and a third that a crash cut off
    asked = []
    real = measure_module.measure_cutout
    monkeypatch.setattr(measure_module, "measure_cutout", lambda c: asked.append(c.galaxy_id) or real(c))
    equal(measure_cutouts(cutouts, resume=path), whole)
    assert asked == [2, 3]
    equal(measure_cutouts(iter(cutouts), resume=tmp_path / "other.jsonl"), whole)


def test_resuming_from_another_sample_is_refused(tmp_path):
    path = tmp_path / "part.jsonl"
    cutouts = sample(2)
    measure_cutouts(cutouts, resume=path)
    brighter = [replace(c, image=2 * c.image) for c in cutouts]
    with pytest.raises(BadInputError, match=r"part\.jsonl holds measurements of other cutouts"):
        measure_cutouts(brighter, resume=path)
    path.write_text(json.dumps({"some": "thing"}) + "\n")
    with pytest.raises(BadInputError, match="not a file of measurements"):
        measure_cutouts(cutouts, resume=path)


def test_a_missing_statmorph_is_said_once(monkeypatch):
    monkeypatch.setattr(measure_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=r"skyloom\[validate\]"):
        measure_cutouts(sample(1))


def test_progress_is_told():
    seen = []
    measure_cutouts(sample(2), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


BAD = {
    "all masked": lambda c: replace(c, mask=np.zeros_like(c.mask)),
    "all NaN": lambda c: replace(c, image=np.full_like(c.image, np.nan)),
    "no PSF": lambda c: replace(c, psf=np.zeros((0, 0), np.float32)),
    "NaN PSF": lambda c: replace(c, psf=np.full((5, 5), np.nan, np.float32)),
    "zero PSF": lambda c: replace(c, psf=np.zeros((5, 5), np.float32)),
    "PSF larger than the stamp": lambda c: replace(c, psf=np.ones((99, 99), np.float32)),
    "zero point": lambda c: replace(c, zero_point=float("nan")),
    "pixel scale": lambda c: replace(c, pixel_scale=0.0),
    "variance": lambda c: replace(c, variance=np.zeros_like(c.variance)),
    "shape": lambda c: replace(c, variance=c.variance[:5]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_cutout_is_counted_and_the_rest_goes_on(what, caplog):
    good = sample(1)[0]
    with caplog.at_level(logging.INFO, logger="skyloom"):
        table = measure_cutouts([replace(BAD[what](good), galaxy_id=77), good])
    assert list(table["flag_moments"]) == [MeasureFlag.BAD_INPUT, 0]
    assert np.isnan(table["moments_sigma"][0])
    assert np.isfinite(table["moments_sigma"][1])
    assert "galaxy 77" in caplog.text
    assert count_flags(table)["moments"] == {
        "good": 1, "suspect": 0, "low_snr": 0, "failed": 0, "no_fit": 0, "few_pixels": 0, "bad_input": 1,
    }  # fmt: skip


def test_a_cutout_that_cannot_be_read_is_a_row():
    class Broken(list):
        def __getitem__(self, index):
            if index == 1:
                raise CutoutError("file.h5: cutout 1 cannot be read")
            return super().__getitem__(index)

    table = measure_cutouts(Broken(sample(3)))
    assert list(table["flag_residual"] == MeasureFlag.BAD_INPUT) == [False, True, False]
    assert table["galaxy_id"][1] == -1


def test_some_bad_pixels_are_only_masked():
    cutout = sample(1)[0]
    image = cutout.image.copy()
    image[3, 5] = np.nan
    row = measure_cutout(replace(cutout, image=image))
    assert np.isfinite(row["moments_sigma"])
    assert np.isfinite(row["residual_rms"])


@pytest.mark.parametrize("kind", ["none", "failed"])
def test_without_a_fit_the_rest_is_measured(kind):
    cutout = sample(1)[0]
    fit = None if kind == "none" else replace(cutout.fit, flag=int(FitFlag.FAILED), flux=float("nan"))
    row = measure_cutout(replace(cutout, fit=fit))
    assert row["flag_residual"] == row["flag_fit"] == row["flag_coherence"] == MeasureFlag.NO_FIT
    assert row["flag_moments"] == 0
    assert np.isfinite(row["gini"])


def test_a_tool_that_breaks_is_flagged(monkeypatch):
    from skyloom.validate import measure_tools

    def broken(frame):
        raise ZeroDivisionError("a strange galaxy")

    monkeypatch.setattr(
        measure_tools, "TOOLS", tuple(replace(t, run=broken) if t.name == "pixels" else t for t in TOOLS)
    )
    row = measure_cutout(sample(1)[0])
    assert row["flag_pixels"] == MeasureFlag.FAILED
    assert np.isnan(row["pixels_p50"])
    assert row["flag_moments"] == 0


def test_a_thresholded_stamp_has_a_morphology():
    cutout = make_cutout(flux=6000.0, sigma=0.3)
    above = cutout.image > 0.6
    image = np.where(above, cutout.image, 0.0).astype(np.float32)
    row = measure_cutout(replace(cutout, image=image, mask=above, thresholded=True))
    assert np.isfinite(row["gini"])
    assert np.isfinite(row["moments_sigma"])


def test_a_small_galaxy_cut_at_its_isophote_is_measured_and_one_of_too_few_pixels_is_not():
    cutout = make_cutout(1, half_light_radius=0.3, sigma=0.3, n=0.8)
    rows, columns = np.indices(cutout.image.shape)
    away = np.hypot(rows - 47.5, columns - 47.5)
    island = away < 8  # 2 % of the stamp, and all that a thresholded one holds
    prepare(replace(cutout, mask=island, thresholded=True))
    with pytest.raises(CutoutError, match="60 are needed"):
        prepare(replace(cutout, mask=away < 4))
    with pytest.raises(CutoutError, match="60 are needed"):
        prepare(replace(cutout, mask=away > 20))  # thousands of pixels, none of the galaxy's
