"""`skyloom.render_field` against GalSim's own drawing of the same galaxies, and against LearnedScattered."""

from __future__ import annotations

from typing import Any

import galsim
import numpy as np
import pytest

import skyloom
from skyloom.conditions import Conditions
from skyloom.generators import request_profiles
from skyloom.profiles import ProfileRequest

from .field_plugins import galaxies
from .learned_fields import FINE, TAN, blobs, build, config

assert blobs  # a fixture

SIZE = (240, 200)
PSF = galsim.Moffat(beta=3.5, fwhm=0.3)
PLAIN = {"size": SIZE, "seed": 5, "model": "blobs", "noise": "none", "psf": PSF, "pixel_scale": 0.1}
SKY = galsim.TanWCS(
    galsim.AffineTransform(TAN["dudx"], TAN["dudy"], TAN["dvdx"], TAN["dvdy"], galsim.PositionD(120, 100)),
    galsim.CelestialCoord(10 * galsim.hours, 60 * galsim.degrees),
)


def turned(x: float, y: float, wavelength: float | None) -> galsim.GSObject:
    return galsim.Gaussian(fwhm=0.35).shear(e1=0.001 * (x - 100), e2=0.0005 * y)


LENSED = {"g1": np.linspace(-0.2, 0.2, 8), "g2": np.linspace(0.1, -0.1, 8), "mu": np.linspace(0.8, 1.4, 8)}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "odd stamps": {"stamp_size": 65},
    "lensed": LENSED,
    "sheared pixels": {"wcs": galsim.ShearWCS(0.1, galsim.Shear(g1=0.03, g2=-0.02)), "pixel_scale": None},
    "sky": {"wcs": SKY, "pixel_scale": None, **LENSED},
    "stars": {"kind": ["galaxy", "star"] * 4, **LENSED},
    "variable psf": {"psf": turned, "psf_cell": 50},
}


def by_galsim(table: Any, field: skyloom.Field, choice: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The same field drawn by GalSim, galaxy by galaxy, and what each pixel may differ by."""
    request = ProfileRequest(Conditions.from_table(table), choice["seed"], "blobs")
    batch = request_profiles(request)
    image = galsim.ImageD(*SIZE, xmin=1, ymin=1)
    allowed = galsim.ImageD(*SIZE, xmin=1, ymin=1, init_value=2e-6)
    places = {int(row["galaxy_id"]): row for row in field.truth}
    for i, galaxy_id in enumerate(batch.galaxy_id.tolist()):
        if galaxy_id not in places:
            continue
        row = places[galaxy_id]
        profile = galsim.DeltaFunction(flux=batch.flux[i]) if row["kind"] == "star" else batch[i]
        if row["kind"] != "star" and "g1" in choice:
            profile = profile.lens(g1=choice["g1"][i], g2=choice["g2"][i], mu=choice["mu"][i])
        place = galsim.PositionD(row["x"], row["y"])
        psf = choice["psf"]
        if not isinstance(psf, galsim.GSObject):
            cell = choice["psf_cell"]
            middle = [
                0.5 + (k * cell + min((k + 1) * cell, side)) / 2
                for k, side in zip(
                    np.clip([(v - 0.5) // cell for v in (place.x, place.y)], 0, [(s - 1) // cell for s in SIZE]),
                    SIZE, strict=True,
                )
            ]  # fmt: skip
            psf = psf(*middle, None)
        n = int(row["stamp_size"])
        stamp = galsim.ImageD(n, n, xmin=int(row["stamp_x"]), ymin=int(row["stamp_y"]))
        whole = galsim.Convolve(profile, psf, gsparams=galsim.GSParams(**FINE))
        wcs = field.wcs.local(image_pos=place)
        whole.drawImage(image=stamp, wcs=wcs, offset=place - stamp.true_center)
        overlap = stamp.bounds & image.bounds
        image[overlap] += stamp[overlap]
        allowed[overlap] += 1e-4 * stamp.array.max()
    return image.array, allowed.array


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_galsims(case):
    choice = {**PLAIN, "stamp_size": 64, **CASES[case]}
    table = galaxies()
    field = skyloom.render_field(table, **choice)
    want, allowed = by_galsim(table, field, choice)
    assert len(field.truth) >= 6
    assert want.max() > 0
    worst = np.unravel_index(np.argmax(np.abs(field.image - want) / allowed), want.shape)
    assert (np.abs(field.image - want) <= allowed).all(), (worst, field.image[worst], want[worst], allowed[worst])


@pytest.mark.parametrize("lensed", [False, True])
def test_fluxes_of_isolated_galaxies(lensed):
    """Each alone on a large stamp: its light there is GalSim's to 1e-5."""
    table = galaxies(3, x=250.3, y=260.1)
    more = {"g1": 0.1, "g2": -0.05, "mu": 1.3} if lensed else {}
    for i in range(3):
        one = table[i : i + 1]
        field = skyloom.render_field(one, **{**PLAIN, "size": 512, "stamp_size": 200, **more})
        galaxy = request_profiles(ProfileRequest(Conditions.from_table(one), 5, "blobs"))[0]
        if lensed:
            galaxy = galaxy.lens(**more)
        stamp = galsim.Convolve(galaxy, PSF, gsparams=galsim.GSParams(**FINE)).drawImage(
            nx=200, ny=200, scale=0.1, offset=(-0.2, -0.4), dtype=float
        )
        assert field.image.sum(dtype=float) == pytest.approx(stamp.array.sum(), rel=1e-5)
        assert field.truth["lensed_flux"][0] == pytest.approx(galaxy.flux, rel=1e-12)


def scattered(table: Any, **image: Any) -> np.ndarray:
    """The field as GalSim's configuration has it, of type LearnedScattered."""
    names = ("galaxy_id", "flux", "half_light_radius", "sersic_n", "q")
    gal = {name: {"type": "List", "items": table[name].tolist()} for name in names}
    gal["beta"] = {"type": "List", "items": [v * galsim.radians for v in table["beta"].tolist()]}
    places = {"type": "XY", **{c: {"type": "List", "items": table[c].tolist()} for c in "xy"}}
    base = config(
        len(table), gal={"type": "LearnedGalaxy", **gal}, learned={"seed": 5},
        image={"type": "LearnedScattered", "image_pos": places, **image},
    )  # fmt: skip
    return build(base).array


def test_the_other_driver_makes_the_same_image():
    table = galaxies(30)
    ours = skyloom.render_field(table, **PLAIN).image
    theirs = scattered(table)
    assert np.array_equal(ours == 0, theirs == 0)  # stamps of the same sizes, at the same places
    assert np.abs(ours - theirs).max() < 1e-6 * theirs.max()


@pytest.mark.slow
def test_a_galaxy_too_large_for_our_grids_is_drawn_by_galsim():
    table = galaxies(1, half_light_radius=2.0, sersic_n=4.0, x=40.3, y=50.2)
    choice = {**PLAIN, "psf": galsim.Gaussian(fwhm=0.004), "pixel_scale": 0.02, "stamp_size": 300}
    field = skyloom.render_field(table, **choice)
    galaxy = request_profiles(ProfileRequest(Conditions.from_table(table), 5, "blobs"))[0]
    corner = [int(field.truth[f"stamp_{c}"][0]) for c in "xy"]
    stamp = galsim.ImageF(300, 300, xmin=corner[0], ymin=corner[1])
    galsim.Convolve(galaxy, choice["psf"]).drawImage(
        stamp, scale=0.02, offset=galsim.PositionD(40.3, 50.2) - stamp.true_center
    )
    part = stamp[galsim.BoundsI(1, 150, 1, 150)]
    assert np.abs(field.image[:150, :150] - part.array).max() < 1e-5 * part.array.max()


@pytest.mark.slow
def test_a_stamp_that_needs_too_large_a_grid_is_cut(caplog):
    """Where the size is not asked for: a concentrated galaxy whose wings GalSim gives thousands of pixels."""
    table = galaxies(1, half_light_radius=1.8, sersic_n=6.0, x=600.3, y=611.2, q=0.5)
    choice = {**PLAIN, "model": "sersic", "size": 4000, "psf": galsim.Gaussian(fwhm=0.05), "pixel_scale": 0.05}
    field = skyloom.render_field(table, **choice)
    size = int(field.truth["stamp_size"][0])
    assert f"is cut to {size}" in caplog.text
    assert [int(field.truth[f"stamp_{c}"][0]) for c in "xy"] == [601 - size // 2, 612 - size // 2]
    galaxy = request_profiles(ProfileRequest(Conditions.from_table(table), 5, "sersic"))[0]
    part = galsim.ImageF(galsim.BoundsI(501, 700, 512, 711))
    galsim.Convolve(galaxy, choice["psf"], gsparams=galsim.GSParams(maximum_fft_size=20000)).drawImage(
        part, scale=0.05, offset=galsim.PositionD(600.3, 611.2) - part.true_center
    )
    assert np.abs(field.image[511:711, 500:700] - part.array).max() < 2e-4 * part.array.max()
