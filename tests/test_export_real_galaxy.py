"""Exports as a RealGalaxyCatalog: GalSim's own classes draw the same galaxies from the files."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom
from skyloom.errors import BadInputError, RenderError
from skyloom.export import ExportSettings, RealGalaxyWriter, export_galaxies, export_real_galaxy
from skyloom.export.extent import edge_brightness, sersic_central_brightness, stamp_sizes
from skyloom.profiles import ProfileBatch

from .export_batches import EUCLID, RUBIN, conditions, difference, sersics, through


@pytest.fixture(scope="module")
def batch() -> ProfileBatch:
    return skyloom.load_model("cosmos").sample(conditions(), seed=3, out_of_range="clip")


@pytest.fixture(scope="module")
def exported(batch: ProfileBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "learned"
    assert export_real_galaxy(batch, folder, ra=np.arange(6.0), dec=-np.arange(6.0)) == 6
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("i", range(6))
def test_real_galaxy_is_the_original(batch: ProfileBatch, exported: Path, i: int) -> None:
    catalogue = galsim.RealGalaxyCatalog(str(exported / "real_galaxy_catalog.fits"))
    galaxy = galsim.RealGalaxy(catalogue, index=i)
    assert difference(galaxy, batch[i], EUCLID, 0.1) < 1e-3
    assert difference(galaxy, batch[i], RUBIN, 0.2) < 1e-3
    assert 0.98 * batch.flux[i] < galaxy.flux < batch.flux[i] * (1 + 1e-5)
    assert difference(galaxy, batch[(i + 1) % 6], EUCLID, 0.1) > 1e-2  # the comparison sees another galaxy


def test_sharper_telescopes_need_a_lower_threshold(batch: ProfileBatch, exported: Path) -> None:
    roman = galsim.Airy(lam=1060, diam=2.37, obscuration=0.3)
    exact = galsim.GSParams(maxk_threshold=1e-4)
    catalogue = galsim.RealGalaxyCatalog(str(exported / "real_galaxy_catalog.fits"))
    for i in range(6):
        galaxy = galsim.RealGalaxy(catalogue, index=i, gsparams=exact)
        assert difference(galaxy, batch[i].withGSParams(exact), roman, 0.11) < 1e-3


def test_cosmos_catalog_reads_it_with_all_its_cuts(batch: ProfileBatch, exported: Path) -> None:
    path = str(exported / "real_galaxy_catalog.fits")
    for level in ("none", "bad_stamp", "bad_fits", "marginal"):
        assert galsim.COSMOSCatalog(path, exclusion_level=level).nobjects == 6
    catalogue = galsim.COSMOSCatalog(path)
    assert catalogue.real_cat.getBandpass().zeropoint == pytest.approx(25.94, abs=0.01)
    real = catalogue.makeGalaxy(2, gal_type="real", rng=galsim.BaseDeviate(1))  # padded with noise
    assert difference(real, batch[2], EUCLID, 0.1) < 1e-3
    for i in range(6):
        parametric = catalogue.makeGalaxy(i, gal_type="parametric", sersic_prec=0)
        wanted = galsim.Sersic(batch.sersic_n[i], batch.half_light_radius[i], flux=batch.flux[i])
        assert difference(parametric, wanted.shear(q=batch.q[i], beta=batch[i].beta), EUCLID, 0.1) < 1e-6
    assert catalogue.getParametricRecord(3)["zphot"] == pytest.approx(1.2)


def test_catalogue_as_romanisim_uses_it(exported: Path) -> None:
    """Its `make_dummy_catalog` asks for random chromatic parametric galaxies, scaled to Roman's mirror."""
    area = 37570.0
    catalogue = galsim.COSMOSCatalog(str(exported / "real_galaxy_catalog.fits"), area=area, exptime=1)
    rng = galsim.UniformDeviate(4)
    bandpass = catalogue.getBandpass()
    galaxy = catalogue.makeGalaxy(chromatic=True, gal_type="parametric", rng=rng)
    record = catalogue.getParametricRecord(galaxy.index)
    galaxy = galaxy.rotate(rng() * 2 * np.pi * galsim.radians)
    wanted = 10 ** (-0.4 * (record["mag_auto"] - 25.94)) * area / galsim.COSMOSCatalog.hst_eff_area
    assert galaxy.calculateFlux(bandpass) == pytest.approx(wanted, rel=1e-4)
    flat = catalogue.makeGalaxy(1, chromatic=False, gal_type="parametric", rng=rng)
    assert flat.flux == pytest.approx(catalogue.getValue("flux", 1)[0] * area / galsim.COSMOSCatalog.hst_eff_area)


@pytest.mark.parametrize("kind", ["RealGalaxy", "COSMOSGalaxy"])
def test_galsim_config(batch: ProfileBatch, exported: Path, kind: str) -> None:
    source = {"RealGalaxy": "real_catalog", "COSMOSGalaxy": "cosmos_catalog"}[kind]
    config = {
        "input": {source: {"dir": str(exported), "file_name": "real_galaxy_catalog.fits"}},
        "gal": {"type": kind, "index": 1},
        "psf": {"type": "Gaussian", "fwhm": 0.3},
        "image": {"pixel_scale": 0.1, "size": 48, "random_seed": 1},
    }
    image = galsim.config.BuildImage(config).array
    wanted = through(batch[1], galsim.Gaussian(fwhm=0.3), 0.1)
    assert np.abs(image - wanted).max() < 1e-3 * wanted.max()


def test_skyloom_reads_it(exported: Path) -> None:
    catalogue = fits.getdata(exported / "real_galaxy_catalog.fits", 1)
    assert catalogue["ident"].tolist() == list(range(100, 106))
    assert catalogue["ra"].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.allclose(catalogue["mag"], conditions().mag)
    from skyloom.cutouts.real_galaxy import read_real_galaxy

    cutouts = list(read_real_galaxy(exported))
    assert len(cutouts) == 6


def test_headers_say_where_galaxies_come_from(batch: ProfileBatch, exported: Path) -> None:
    for path in exported.glob("*.fits"):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            header = hdus[0].header
            assert (header["MODEL"], header["WSHA256"], header["SEED"]) == (
                batch.generator, batch.weights_sha256, "3",
            )  # fmt: skip
            assert (header["SKYLOOM"], header["GALSIM"]) == (skyloom.__version__, galsim.__version__)
    with fits.open(exported / "real_galaxy_images_0000.fits") as hdus:
        assert len(hdus) == 7
        assert [h.header["GALID"] for h in hdus[1:]] == list(range(100, 106))
        assert hdus[1].header["DRAWN"] == "learned"


def test_same_bytes_however_it_is_batched(tmp_path: Path) -> None:
    galaxies = sersics(7)
    export_real_galaxy(galaxies, tmp_path / "a", noise_variance=1e-4)
    export_real_galaxy((galaxies[i : i + 3] for i in (0, 3, 6)), tmp_path / "b", noise_variance=1e-4)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_files_are_split_and_read_across(tmp_path: Path) -> None:
    galaxies = sersics(5)
    writer = RealGalaxyWriter(tmp_path, ExportSettings(), files_of=2)
    writer.add(galaxies[:3])
    writer.add(galaxies[3:])
    writer.finish()
    assert len(list(tmp_path.glob("real_galaxy_images_*.fits"))) == 3
    catalogue = galsim.RealGalaxyCatalog(str(tmp_path / "real_galaxy_catalog.fits"))
    for i in (1, 2, 4):
        assert difference(galsim.RealGalaxy(catalogue, index=i), galaxies[i], EUCLID, 0.1) < 1e-3


def test_noise_is_added_and_named(tmp_path: Path) -> None:
    galaxies = sersics(1)
    export_real_galaxy(galaxies, tmp_path / "quiet")
    export_real_galaxy(galaxies, tmp_path / "noisy", noise_variance=0.04)
    stamps = [fits.getdata(tmp_path / name / "real_galaxy_images_0000.fits", 1) for name in ("quiet", "noisy")]
    noise = np.asarray(stamps[1] - stamps[0], dtype=float)
    assert noise.std() == pytest.approx(0.2, rel=5 / np.sqrt(2 * noise.size))
    catalogue = galsim.RealGalaxyCatalog(str(tmp_path / "noisy" / "real_galaxy_catalog.fits"))
    assert catalogue.getNoise(0).getVariance() == pytest.approx(0.04)
    quiet = fits.getdata(tmp_path / "quiet" / "real_galaxy_catalog.fits", 1)
    assert 0 < quiet["noise_variance"][0] <= (1e-6 * stamps[0].max()) ** 2 * (1 + 1e-6)
    assert (
        galsim.COSMOSCatalog(str(tmp_path / "noisy" / "real_galaxy_catalog.fits"), exclusion_level="bad_stamp").nobjects
        < 2
    )


@given(
    n=st.floats(0.35, 6.0),
    radius=st.floats(0.05, 2.0),
    q=st.floats(0.1, 1.0),
    beta=st.floats(-3, 3),
    tolerance=st.sampled_from([1e-3, 1e-4]),
)
@settings(max_examples=30)
def test_stamps_hold_what_the_tolerance_asks(n: float, radius: float, q: float, beta: float, tolerance: float) -> None:
    n = round(n, 1)  # GalSim keeps the tables of an n
    given_ = skyloom.Conditions(flux=10.0, half_light_radius=radius, sersic_n=n, q=q, beta=beta)
    galaxy = skyloom.load_model("sersic").sample(given_, seed=0)
    setting = ExportSettings(tolerance=tolerance, max_stamp_size=4096)
    size = int(stamp_sizes(galaxy, setting)[0])
    assert size % 2 == 0
    if size == 4096:
        return
    assert edge_brightness(galaxy, np.array([size]), setting)[0] <= tolerance
    # GalSim's: the brightest point of the edge, and the peak through the PSF as a sum over it
    half = size * setting.pixel_scale / 2
    profile = galsim.Sersic(n, half_light_radius=radius).shear(q=q, beta=beta * galsim.radians)
    along = np.linspace(-half, half, 101)
    brightest = max(max(profile.xValue(half, y), profile.xValue(y, half)) for y in along)
    step = np.linspace(-1.2, 1.2, 80)  # even: it leaves out the cusp
    psf = galsim.Gaussian(fwhm=0.7)
    peak = sum(profile.xValue(x, y) * psf.xValue(x, y) for x in step for y in step) * (step[1] - step[0]) ** 2
    assert brightest <= 3 * tolerance * peak  # an ellipse's light spreads beyond the circle of equal area


@given(n=st.floats(0.3, 6.2))
@settings(max_examples=20)
def test_central_brightness_is_galsims(n: float) -> None:
    assert sersic_central_brightness(np.array([n]))[0] == pytest.approx(
        galsim.Sersic(n, half_light_radius=1.0).xValue(0, 0), rel=1e-4
    )


def test_a_galaxy_too_large_is_cut_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "skyloom"):
        export_real_galaxy(sersics(5), tmp_path / "cut", max_stamp_size=64)
    assert "galaxies larger than max_stamp_size = 64 pixels: " in caplog.text


def test_a_galaxy_too_large_for_our_grids_ends_no_export(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """GalSim draws the one of 12 arcsec; the one of 30 is too large for it too."""
    radii = np.array([0.3, 12.0, 0.4, 30.0])
    rows = skyloom.Conditions(
        galaxy_id=[7, 8, 9, 10], mag=20.0, zero_point=25.94, half_light_radius=radii, sersic_n=1.0, wavelength=814.0
    )
    large = skyloom.load_model("sersic").sample(rows, seed=1, out_of_range="parametric")
    out, place = tmp_path / "out", np.arange(4.0)
    assert export_galaxies(large, out, formats=["real-galaxy", "instance"], ra=place, dec=place) == 3
    assert f"galaxies left out of '{out}': 1 of 4: 10" in caplog.text
    assert "galaxy 10, half-light radius 30 arcsec, is left out" in caplog.text
    catalogue = galsim.COSMOSCatalog(str(out / "real_galaxy_catalog.fits"), exclusion_level="none")
    assert catalogue.orig_index.tolist() == [0, 1, 2]
    table = fits.getdata(out / "real_galaxy_catalog.fits")
    assert table["ident"].tolist() == [7, 8, 9]
    assert table["ra"].tolist() == [0.0, 1.0, 2.0]
    assert sorted(path.stem for path in (out / "stamps").rglob("*.fits")) == ["7", "8", "9"]
    stamp = fits.getdata(out / table["gal_filename"][1], int(table["gal_hdu"][1]))
    middle = len(stamp) // 2
    wanted = large[1].xValue(0.03 * 100.5, 0.03 * 200.5) * 0.03**2
    assert stamp[middle + 200, middle + 100] == pytest.approx(wanted, rel=1e-3)
    alone = [large[np.array([3])]]
    with pytest.raises(RenderError, match="none of the 1 galaxies can be drawn, the first is galaxy 10"):
        export_real_galaxy(alone, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_drawn_is_named_by_its_id(tmp_path: Path) -> None:
    batch = sersics(3)
    indices = np.array([1.0, 20.0, 1.0])
    with pytest.raises(BadInputError, match="galaxy 101: .* sersic_n 20 is outside"):
        export_real_galaxy(replace(batch, sersic_n=indices), tmp_path / "out")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"pixel_scale": 1e-5}, "pixel_scale must lie in 0.001 to 1 arcsec, not 1e-05"),
        ({"pixel_scale": float("nan")}, "pixel_scale must lie"),
        ({"psf_fwhm": 0.02}, "psf_fwhm = 0.02 arcsec is less than 1.9 pixels of 0.03 arcsec"),
        ({"noise_variance": 0.0}, "noise_variance must be positive"),
        ({"noise_variance": -1.0}, "noise_variance must lie"),
        ({"max_stamp_size": 100_000}, "max_stamp_size must lie in 32 to 4096 pixels, not 100000"),
        ({"band": "Ö"}, "band must be a name in ASCII"),
        ({"fwhm": 0.1}, "given were fwhm"),
        ({"ra": [1.0]}, "give both of 'ra' and 'dec'"),
        ({"ra": [1.0], "dec": [1.0]}, "1 positions were given for more galaxies"),
        ({"ra": np.zeros(7), "dec": np.zeros(7)}, "7 positions were given for 2 galaxies"),
        ({"ra": [1.0, 1.0], "dec": [1.0, 91.0]}, "'dec' must lie in -90 to 90 degrees; row 1 has 91.0"),
    ],
)
def test_bad_settings(tmp_path: Path, given_: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        export_real_galaxy(sersics(2), tmp_path / "out", **given_)
    assert not list(tmp_path.iterdir())


def test_bad_batches_and_folders(tmp_path: Path) -> None:
    galaxies = sersics(2)
    with pytest.raises(BadInputError, match="galaxy_id 100 occurs twice"):
        export_real_galaxy([galaxies, galaxies], tmp_path / "out")
    with pytest.raises(BadInputError, match="no galaxies"):
        export_real_galaxy([], tmp_path / "out")
    with pytest.raises(BadInputError, match="not LearnedGalaxy"):
        export_real_galaxy([galaxies[0]], tmp_path / "out")
    with pytest.raises(BadInputError, match="needs 'ra' and 'dec'"):
        export_galaxies(galaxies, tmp_path / "out", formats=["instance"])
    with pytest.raises(BadInputError, match="formats must be among"):
        export_galaxies(galaxies, tmp_path / "out", formats=["png"])  # type: ignore[list-item]
    with pytest.raises(BadInputError, match="replacing '.fits'"):
        export_real_galaxy(galaxies, tmp_path / "out.fits")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInputError, match="is a file"):
        export_real_galaxy(galaxies, tmp_path / "file")
    with pytest.raises(BadInputError, match="is not empty"):
        export_real_galaxy(galaxies, tmp_path)
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield sersics(2)
        raise RuntimeError("the network fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        export_galaxies(broken(), tmp_path / "out", formats=["real-galaxy", "instance"], ra=[0.0] * 2, dec=[0.0] * 2)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
