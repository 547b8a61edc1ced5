"""``image.type: LearnedScattered`` against GalSim's own Scattered, with a made-up generator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pytest
from astropy.table import Table

from skyloom.errors import ConfigError, OutOfRangeError
from skyloom.physics.stamp_sizes import learned_stepk, stamp_sizes

from .learned_fields import CALLS, CASES, FINE, GAL, MIXED, blobs, build, config

assert blobs  # a fixture


def stamps(base: dict[str, Any]) -> list[galsim.Image | None]:
    base = copy.deepcopy(base)
    galsim.config.ProcessInput(base)
    count = base["image"]["nobjects"]
    galsim.config.SetupConfigImageNum(base, 0, 0)
    galsim.config.BuildImage(base)
    return [galsim.config.BuildStamp(base, i, do_noise=False)[0] for i in range(count)]


def both(base: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return build(base, type="LearnedScattered").array, build(base).array


def assert_close(base: dict[str, Any], tolerance: float = 1e-4) -> None:
    """Each pixel to a fraction of the peaks of the galaxies whose stamps it is in."""
    learned, plain = both(base)
    allowed = galsim.Image(galsim.BoundsI(1, plain.shape[1], 1, plain.shape[0]), init_value=2e-6)
    for stamp in stamps(base):
        overlap = galsim.BoundsI() if stamp is None else stamp.bounds & allowed.bounds
        if overlap.isDefined():
            allowed[overlap] += tolerance * float(stamp.array.max())
    assert plain.max() > 0
    worst = np.unravel_index(np.argmax(np.abs(learned - plain) / allowed.array), plain.shape)
    assert (np.abs(learned - plain) <= allowed.array).all(), (worst, learned[worst], plain[worst], allowed.array[worst])


def fine(base: dict[str, Any]) -> dict[str, Any]:
    """With GalSim's own folding and interpolation errors made small."""
    base = copy.deepcopy(base)
    base.setdefault("stamp", {})["gsparams"] = FINE
    for key in ("xsize", "size"):
        if f"stamp_{key}" in base["image"]:
            return base
    base["image"]["stamp_size"] = 64  # or stamps grow with the accuracy
    return base


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_scattered(case):
    if case == "one rng":  # where a stamp by itself is not that of the image
        learned, plain = both(fine(CASES[case]))
        assert np.abs(learned - plain).max() <= 1e-4 * plain.max()
    else:
        assert_close(fine(CASES[case]))


@pytest.mark.parametrize("case", ["plain", "sheared", "lensed", "tan", "edges", "offset"])
def test_sizes_of_stamps_are_those_galsim_chooses(case):
    """With the light of a stamp cut off at another pixel the images would differ by much more than that."""
    base = CASES[case]
    assert_close(base, 1e-3)  # GalSim folds 0.5 % of the light back
    learned, plain = both(base)
    assert np.array_equal(learned == 0, plain == 0)


@pytest.mark.parametrize("seed", range(20))
def test_stamp_sizes_formula(seed):
    rng = np.random.default_rng(seed)
    n, matrix, shift = rng.uniform(0.4, 6), rng.normal(size=(2, 2)), rng.normal(size=2)
    scale = rng.normal(size=(2, 2)) * 5
    psf = galsim.Moffat(beta=3, fwhm=rng.uniform(0.3, 1))
    offset = rng.uniform(-1, 1, 2)
    gsparams = galsim.GSParams(folding_threshold=10 ** rng.uniform(-4, -2))
    galaxy = galsim.Transform(galsim.Sersic(n, half_light_radius=1, gsparams=gsparams), matrix, shift)
    whole = galsim.Transform(galsim.Convolve(galaxy, psf.withGSParams(gsparams)), scale, offset)
    want = galsim.Convolve(whole, galsim.Pixel(1.0, gsparams=gsparams)).getGoodImageSize(1.0)
    got, _ = stamp_sizes(
        learned_stepk(np.array([n]), 0.0, gsparams), [(matrix[None], shift[None])],
        np.array([psf.withGSParams(gsparams).stepk]), scale[None], offset[None], pixel=True,
    )  # fmt: skip
    assert got[0] == want


@pytest.mark.parametrize("n", [0.7, 1.5, 3.0])
def test_flux_of_isolated_galaxies(n):
    place = {"type": "XY", "x": 250.3, "y": 260.1}
    base = config(1, gal={**GAL, "sersic_n": n}, image={"xsize": 512, "ysize": 512, "image_pos": place})
    learned, plain = both(fine(base) | {"image": {**base["image"], "stamp_size": 200}})
    assert learned.sum(dtype=float) == pytest.approx(plain.sum(dtype=float), rel=1e-5)


@pytest.mark.parametrize("case", ["tan", "stars mixed in", "sheared", "variable psf", "edges"])
def test_batch_size_and_processes_change_no_pixel(case):
    base = CASES[case]
    want = build(base, type="LearnedScattered").array
    changes = [{"batch_size": size} for size in (1, 2, 4)] + [{"nproc": 2}, {"nproc": 3, "batch_size": 2}]
    for change in changes:
        assert np.array_equal(build(base, type="LearnedScattered", **change).array, want), change


def test_galaxies_are_asked_for_in_batches():
    CALLS.clear()
    build(config(10), type="LearnedScattered", batch_size=4)
    assert CALLS == [4, 4, 2]


TRUTH_COLUMNS = {
    "num": "obj_num",
    "flux_asked": "gal.flux",
    "n": "gal.sersic_n",
    "x": "$image_pos.x",
    "flux": {"type": "LearnedGalaxyValue", "field": "flux"},
    "id": {"type": "LearnedGalaxyValue", "field": "galaxy_id"},
    "how": {"type": "LearnedGalaxyValue", "field": "drawn_from"},
    "sha": {"type": "LearnedGalaxyValue", "field": "weights"},
    "mag": {"type": "LearnedGalaxyValue", "field": "mag"},
}


def _files(base: dict[str, Any], where: Path, **image: Any) -> tuple[np.ndarray, Table, list[np.ndarray]]:
    base = copy.deepcopy(base)
    base["image"].update(image)
    base["output"] = {
        "dir": str(where), "file_name": "image.fits",
        "truth": {"file_name": "truth.fits", "columns": TRUTH_COLUMNS},
        "weight": {"file_name": "weight.fits"}, "badpix": {"file_name": "badpix.fits"},
    }  # fmt: skip
    galsim.config.Process(base)
    images = [galsim.fits.read(str(where / f"{name}.fits")).array for name in ("image", "weight", "badpix")]
    return images[0], Table.read(where / "truth.fits"), images[1:]


@pytest.mark.parametrize("nproc", [1, 2])
def test_files_are_those_of_scattered(tmp_path, nproc):
    noise = {"type": "Gaussian", "sigma": 10.0}
    base = config(
        20, gal={**GAL, "half_light_radius": {"type": "List", "items": [0.06, 0.3, 0.2, 0.5]}},
        learned={"out_of_range": "parametric"},
        image={**CASES["edges"]["image"], "nobjects": 20, "noise": noise, "sky_level": 50.0, "nproc": nproc},
    )  # fmt: skip
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    image, truth, more = _files(base, tmp_path / "a")
    fast, fast_truth, fast_more = _files(base, tmp_path / "b", type="LearnedScattered")
    assert set(truth["how"]) == {"learned", "parametric"}
    assert 5 < len(truth) < 20  # the others lie off the image
    assert truth.colnames == fast_truth.colnames
    for name in truth.colnames:
        assert np.array_equal(truth[name], fast_truth[name], equal_nan=truth[name].dtype.kind == "f"), name
    assert image.std() > 9
    assert np.abs(image - fast).max() < 0.5  # the same noise
    for one, other in zip(more, fast_more, strict=True):
        assert np.array_equal(one, other)


def test_truth_of_a_list_is_that_of_the_galaxy_drawn_last_in_its_place(tmp_path):
    base = config(6, gal=MIXED)
    base["output"] = {
        "dir": str(tmp_path), "file_name": "image.fits",
        "truth": {
            "file_name": "truth.fits",
            "columns": {"id": {"type": "LearnedGalaxyValue", "field": "half_light_radius", "gal": "gal.items.0"}},
        },
    }  # fmt: skip
    tables = []
    for kind in ("Scattered", "LearnedScattered"):
        one = copy.deepcopy(base)
        one["image"]["type"] = kind
        galsim.config.Process(one)
        tables.append(Table.read(tmp_path / "truth.fits"))
    assert np.array_equal(tables[0]["id"], tables[1]["id"])


@pytest.mark.parametrize(
    "change",
    [
        {"stamp": {"draw_method": "phot"}},
        {"stamp": {"draw_method": {"type": "List", "items": ["auto", "phot"]}}},
        {"stamp": {"min_flux_frac": 0.1}},
        {"stamp": {"type": "Ring", "num": 2}},
        {"gal": {**GAL, "shift": {"type": "XY", "x": {"type": "LearnedGalaxyValue", "field": "q"}, "y": 0}}},
        {"gal": {"type": "Add", "items": [GAL, GAL]}},
        {"psf": {"type": "None"}},
    ],
)
def test_what_only_galsim_can_draw_is_left_to_it(change):
    base = config(4)
    base.update(change)
    learned, plain = both(base)
    if change.get("stamp", {}).get("draw_method") == {"type": "List", "items": ["auto", "phot"]}:
        assert np.abs(learned - plain).max() < 1e-2 * plain.max()
    else:
        assert np.array_equal(learned, plain)


def test_retries_are_those_of_scattered():
    size = {"type": "Random", "min": 0.05, "max": 0.3}  # partly out of range
    base = config(8, gal={**GAL, "half_light_radius": size}, stamp={"retry_failures": 20})
    assert_close(fine(base))


def test_a_galaxy_that_cannot_be_drawn_is_named():
    size = {"type": "List", "items": [0.3, 0.4, 0.3, 5.0, 0.3]}
    with pytest.raises(OutOfRangeError, match=r"object 3, galaxy \d+: .*half_light_radius"):
        build(config(5, gal={**GAL, "half_light_radius": size}), type="LearnedScattered")


def test_one_galaxy_in_several_objects():
    base = config(6, gal={**GAL, "galaxy_id": {"type": "List", "items": [7, 7, 8]}})
    assert_close(fine(base))


def test_no_objects():
    assert not build(config(0), type="LearnedScattered").array.any()


@pytest.mark.parametrize(("change", "words"), [({"batch_size": 0}, "batch_size"), ({"device": "abacus"}, "abacus")])
def test_settings_are_checked(change, words):
    with pytest.raises(ConfigError, match=words):
        build(config(2), type="LearnedScattered", **change)
