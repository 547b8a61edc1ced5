"""A field depends on what is asked for alone: not on batches, not on the order of the rows."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import galsim
import numpy as np
import pytest

import skyloom
from skyloom.hookspecs import hookimpl
from skyloom.render.field import filling, painting, places

from .field_plugins import galaxies, plugin
from .learned_fields import CALLS, blobs
from .render_fields import search_path
from .test_field_galsim import PLAIN, SKY, turned

assert blobs  # a fixture

COUNT = 40
MIXED = {
    "g1": np.linspace(-0.1, 0.1, COUNT),
    "g2": np.linspace(0.1, 0, COUNT),
    "kind": ["galaxy", "star", "galaxy", "odd"] * 10,
    "stamp_size": None,
    "survey": "euclid_vis",
    "pixel_scale": 0.1,
    "psf": turned,
    "psf_cell": 60,
}


def field(rows: Any = slice(None), **more: Any) -> skyloom.Field:
    choice = {**PLAIN, **MIXED, **more}
    for name in ("g1", "g2", "kind"):
        choice[name] = np.asarray(choice[name])[rows]
    crowded = galaxies(COUNT, side=(40, 40))  # without noise, which hides the last bits of float32 sums
    return skyloom.render_field(crowded[rows], **choice)


@pytest.fixture(scope="module")
def whole() -> skyloom.Field:
    return field()


@pytest.mark.parametrize("batch_size", [1, 3, 17, 40])
def test_batches_change_no_pixel(whole, batch_size):
    CALLS.clear()
    again = field(batch_size=batch_size)
    assert max(CALLS) <= batch_size
    assert np.array_equal(again.image, whole.image)
    assert again.provenance["config_sha256"] == whole.provenance["config_sha256"]


def test_the_order_of_the_rows_changes_no_pixel(whole):
    rows = np.random.default_rng(1).permutation(COUNT)
    again = field(rows)
    assert np.array_equal(again.image, whole.image)
    assert again.provenance["config_sha256"] == whole.provenance["config_sha256"]
    assert set(again.truth["galaxy_id"]) == set(whole.truth["galaxy_id"])
    ids = galaxies(COUNT, side=(40, 40))["galaxy_id"][rows]
    assert again.truth["galaxy_id"].tolist() == [i for i in ids.tolist() if i in set(whole.truth["galaxy_id"])]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6},
        {"exposure": 1},
        {"gain": 2.0},
        {"noise": "gaussian"},
        {"g1": np.zeros(COUNT)},
        {"psf_cell": 61},
        {"subtract_sky": True},
        {"stamp_size": 40},
    ],
)
def test_what_decides_the_pixels_is_in_the_hash(whole, change):
    noisy, again = field(noise="ccd"), field(**{"noise": "ccd", **change})
    assert not np.array_equal(again.image, noisy.image)
    hashes = {one.provenance["config_sha256"] for one in (whole, noisy, again)}
    assert len(hashes) == 3
    assert np.array_equal(field(noise="ccd", batch_size=7).image, noisy.image)


class Blur:
    def __init__(self, fwhm: float) -> None:
        self.fwhm = fwhm

    def __call__(self, x: float, y: float, wavelength: float | None) -> galsim.GSObject:
        return galsim.Gaussian(fwhm=self.fwhm)


def test_psfs_of_one_name_have_hashes_of_their_own():
    def image(corner: float) -> galsim.GSObject:
        pixels = galsim.Gaussian(fwhm=0.3).drawImage(nx=64, ny=64, scale=0.1)
        pixels.array[20, 20] += corner  # in the part that NumPy leaves out of a long array's repr
        return galsim.InterpolatedImage(pixels)

    def hashed(psf: Any) -> str:
        choice = {**PLAIN, "model": "sersic", "psf": psf, "size": 40, "stamp_size": 16}
        return skyloom.render_field(galaxies(2, x=20, y=20), **choice).provenance["config_sha256"]

    psfs = [Blur(0.3), Blur(0.4), *(lambda x, y, w, f=f: galsim.Gaussian(fwhm=f) for f in (0.3, 0.4))]
    psfs += [functools.partial(turned), functools.partial(lambda a, x, y, w: galsim.Gaussian(fwhm=a), 0.5)]
    psfs += [image(0.0), image(1e-4)]
    hashes = [hashed(psf) for psf in psfs]
    assert len(set(hashes)) == len(psfs)
    assert [hashed(Blur(0.3)), hashed(image(0.0))] == [hashes[0], hashes[6]]


def test_plugins_that_decide_pixels_are_in_the_hash():
    @hookimpl(wrapper=True)
    def same(request: Any, batch: Any) -> Any:
        return (yield)

    def psf(name: str, wavelength: float, x: float, y: float) -> Any:
        return galsim.Gaussian(fwhm=0.3) if name == "toy" else None

    choice = {**PLAIN, "model": "sersic", "psf": "toy", "wavelength": 700.0, "size": 40, "stamp_size": 16}
    found = []
    for hooks in ({}, {"skyloom_after_profiles": same}):
        with plugin(skyloom_psf=psf, **hooks):
            found.append(skyloom.render_field(galaxies(2, x=20, y=20), **choice).provenance)
    assert [one["stages"]["psf"] for one in found] == [["plugin 'toy' 1.2"]] * 2
    assert [one["stages"]["after_profiles"] for one in found] == [[], ["plugin 'toy' 1.2"]]
    assert found[0]["config_sha256"] != found[1]["config_sha256"]


def test_places_are_drawn_from_the_seed():
    table = galaxies(200)
    table.remove_columns(["x", "y"])
    choice = {**PLAIN, "model": "sersic", "psf": galsim.Gaussian(fwhm=0.2)}
    one, two = (skyloom.render_field(rows, **choice) for rows in (table, table[::-1]))
    assert np.array_equal(one.image, two.image)
    x, y = one.truth["x"], one.truth["y"]
    assert (x.min() > 0.5, x.max() < 240.5, y.min() > 0.5, y.max() < 200.5) == (True,) * 4
    assert abs(x.mean() - 120.5) < 4 * 240 / np.sqrt(12 * 200)
    other = skyloom.render_field(table, **{**choice, "seed": 6})
    assert not np.isclose(other.truth["x"], x).any()


def test_places_on_the_sky():
    table = galaxies(12)
    plain = skyloom.render_field(table, **{**PLAIN, "wcs": SKY, "pixel_scale": None})
    ra, dec = (np.asarray(v) for v in SKY.xyToradec(np.asarray(table["x"]), np.asarray(table["y"]), units="deg"))
    table.remove_columns(["x", "y"])
    table["ra"], table["dec"] = ra % 360, dec
    again = skyloom.render_field(table, **{**PLAIN, "wcs": SKY, "pixel_scale": None})
    assert np.abs(again.image - plain.image).max() < 1e-5 * plain.image.max()
    assert np.allclose(again.truth["ra"], plain.truth["ra"], atol=1e-9)


def test_objects_far_off_the_image_are_not_asked_for():
    table = galaxies(6, x=[120, -3, -2000, 90, 3000, 100], y=[100, 50, 20, 260, 90, -5000])
    CALLS.clear()
    seen = skyloom.render_field(table, **PLAIN)
    assert sum(CALLS) == 3
    near = skyloom.render_field(table[[0, 1, 3]], **PLAIN)
    assert np.array_equal(seen.image, near.image)
    assert set(seen.truth["galaxy_id"]) <= set(near.truth["galaxy_id"]) | set(table["galaxy_id"][[0]])


def test_the_other_side_of_the_sky_is_not_mirrored_into_the_image():
    """A tangent plane shows what is behind it where its antipode is."""
    table = galaxies(3)
    table.remove_columns(["x", "y"])
    table["ra"] = [150.0, 330.0 + 1e-3, 150.0 + 5e-4]
    table["dec"] = [60.0, -60.0 + 1e-3, 60.0]
    field = skyloom.render_field(table, **{**PLAIN, "wcs": SKY, "pixel_scale": None})
    assert field.truth["galaxy_id"].tolist() == table["galaxy_id"][[0, 2]].tolist()
    alone = skyloom.render_field(table[[0, 2]], **{**PLAIN, "wcs": SKY, "pixel_scale": None})
    assert np.array_equal(field.image, alone.image)
    coarse = galsim.TanWCS(galsim.AffineTransform(90, 0, 0, 90, galsim.PositionD(120, 100)), SKY.center)
    ids = table["galaxy_id"]
    x, y = places._project(np.array(table["ra"]), np.array(table["dec"]), coarse, (240, 200), np.array(ids))
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist() == [True, False, True]  # though the image is half the sky


def test_distortions_that_fold_back_lose_no_field(caplog):
    """GalSim cannot invert this polynomial some 100 pixels off the image, and says so for the whole array."""
    header = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 150.0, "CRVAL2": 60.0, "CRPIX1": 120.0,
        "CRPIX2": 100.0, "CD1_1": -0.1 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.1 / 3600,
        "A_ORDER": 3, "B_ORDER": 3, "A_3_0": -4e-6, "A_1_2": -4e-6, "B_0_3": -4e-6, "B_2_1": -4e-6,
    }  # fmt: skip
    wcs = galsim.FitsWCS(header=galsim.FitsHeader(header))
    table = galaxies(30)
    table.remove_columns(["x", "y"])
    table["ra"], table["dec"] = 150.0, 60.0 + np.linspace(0, 0.22, 30) ** 2
    with pytest.raises(galsim.GalSimError):
        wcs.radecToxy(np.array(table["ra"]), np.array(table["dec"]), units="deg")
    choice = {**PLAIN, "model": "sersic", "psf": galsim.Gaussian(fwhm=0.2), "wcs": wcs, "pixel_scale": None}
    field = skyloom.render_field(table, **choice)
    assert "its WCS has no place" in caplog.text
    assert np.isclose(field.truth["dec"], table["dec"][: len(field.truth)], atol=1e-7).all()
    assert 2 <= len(field.truth) < 30
    assert np.array_equal(skyloom.render_field(table[: len(field.truth)], **choice).image, field.image)


def test_a_stamp_that_is_cut_off_the_image_is_not_in_the_truth(monkeypatch, caplog):
    real = painting.draw_sized

    def small_grids(arrays: Any, sizes: Any, *rest: Any) -> Any:
        return [None if len(s) > 128 else s for s in real(arrays, sizes, *rest)]

    monkeypatch.setattr(painting, "draw_sized", small_grids)
    table = galaxies(4, half_light_radius=1.0, sersic_n=2.5, q=1.0, x=[-70, 310, 120, -4], y=[100, 100, 270, 205])
    field = skyloom.render_field(table, **{**PLAIN, "model": "sersic"})
    assert caplog.text.count("which our Fourier grids hold") == 4
    assert field.truth["galaxy_id"].tolist() == [table["galaxy_id"][3]]
    assert np.array_equal(skyloom.render_field(table[3:], **{**PLAIN, "model": "sersic"}).image, field.image)
    image = np.zeros((3, 4), dtype=np.float32)
    for corner in ((-5, 1), (5, 1), (1, -5), (1, 4)):
        filling._add(image, np.ones((2, 2), dtype=np.float32), *corner)
    assert not image.any()


def test_windows_of_stamps_change_no_pixel(whole, monkeypatch):
    drawn = []
    real = painting.draw_sized

    def noted(arrays: Any, sizes: Any, *rest: Any) -> Any:
        drawn.append(int(sizes.prod(axis=1).sum()))
        return real(arrays, sizes, *rest)

    monkeypatch.setattr(painting, "draw_sized", noted)
    monkeypatch.setattr(painting, "_WINDOW_PIXELS", 2**14)
    largest = int(whole.truth["stamp_size"].max()) ** 2
    assert np.array_equal(field().image, whole.image)
    assert len(drawn) > 10
    assert max(drawn) <= max(2**14, largest)


MEMORY = """
import resource, sys
import galsim, numpy as np, skyloom
count = int(sys.argv[1])
conditions = skyloom.Conditions(flux=1e3, half_light_radius=np.full(count, 0.3), sersic_n=1.2)
skyloom.render_field(
    conditions, size=300, seed=1, model="sersic", psf=galsim.Gaussian(fwhm=0.2), pixel_scale=0.1, stamp_size=160,
    batch_size=64, noise="none", stamps=sys.argv[2],
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_galaxies(tmp_path):
    """Of 2000 stamps of 160 pixels, 200 MB, hardly any are held at a time; nor by the file they are kept in."""
    peak = []
    for count in (100, 2100):
        command = [sys.executable, "-c", MEMORY, str(count), str(tmp_path / "stamps.hdf5")]
        environment = {**os.environ, "PYTHONPATH": search_path(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peak.append(int(done.stdout))
    assert peak[1] - peak[0] < 60, peak
