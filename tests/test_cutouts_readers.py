"""Readers of real galaxies, on sources made here in each of the three formats."""

from __future__ import annotations

import csv
import re

import galsim
import h5py
import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from skyloom.cli.main import run
from skyloom.cutouts.fits_fields import accepts_fits_fields, read_fits_fields
from skyloom.cutouts.hdf5 import read_cutouts, read_provenance
from skyloom.cutouts.hdf5_stamps import accepts_hdf5_stamps, read_hdf5_stamps
from skyloom.cutouts.noise import correlation_area
from skyloom.cutouts.real_galaxy import accepts_real_galaxy, read_real_galaxy
from skyloom.errors import CutoutError
from skyloom.manager import plugin_manager
from skyloom.stamps import Cutout, Dropped


def galaxy(scale, flux=60.0, radius=0.25, n=1.0, q=0.6, beta=0.5):
    profile = galsim.Sersic(n=n, half_light_radius=radius, flux=flux).shear(q=q, beta=beta * galsim.radians)
    return galsim.Convolve(profile, psf(scale))


def psf(scale):
    return galsim.Convolve(galsim.Moffat(beta=3, fwhm=0.13), galsim.Pixel(scale))


def draw(profile, shape, scale, x=None, y=None):
    offset = (
        0 if x is None else x - (shape[1] - 1) / 2,
        0 if y is None else y - (shape[0] - 1) / 2,
    )
    return profile.drawImage(
        nx=shape[1], ny=shape[0], scale=scale, method="no_pixel", dtype=float, offset=offset
    ).array  # fmt: skip


def noise(shape, rms, rng, width=0.6):
    out = ndimage.gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    return rms * out / out.std()


def psf_array(scale, size=41):
    return draw(psf(scale), (size, size), scale)


@pytest.fixture
def real_galaxy(tmp_path):
    """Four galaxies in GalSim's format, two of them near each other, one an empty stamp."""
    folder = tmp_path / "real"
    folder.mkdir()
    rng = np.random.default_rng(0)
    scale, rms = 0.03, 0.003
    images, psfs = fits.HDUList(), fits.HDUList()
    for i, size in enumerate((80, 100, 120, 60)):
        image = 0.001 + noise((size, size), rms, rng)
        if i != 3:
            image += draw(galaxy(scale, flux=15.0, radius=0.12 + 0.03 * i), image.shape, scale)
        images.append(fits.ImageHDU(image.astype(">f4")) if i else fits.PrimaryHDU(image.astype(">f4")))
        psfs.append(fits.ImageHDU(psf_array(scale)) if i else fits.PrimaryHDU(psf_array(scale)))
    images.writeto(folder / "images.fits")
    psfs.writeto(folder / "psfs.fits")
    columns = {
        "IDENT": ("J", [7, 8, 9, 10]),
        "RA": ("D", [150.0, 150.0 + 2 / 3600, 151.0, 152.0]),
        "DEC": ("D", [2.0, 2.0, 2.0, 2.0]),
        "MAG": ("D", [23.0] * 4),
        "BAND": ("5A", ["F814W"] * 4),
        "GAL_FILENAME": ("20A", ["images.fits"] * 4),
        "GAL_HDU": ("K", range(4)),
        "PSF_FILENAME": ("20A", ["psfs.fits"] * 4),
        "PSF_HDU": ("K", range(4)),
        "PIXEL_SCALE": ("D", [scale] * 4),
        "NOISE_VARIANCE": ("D", [rms**2] * 4),
        "NOISE_FILENAME": ("20A", ["cf.fits"] * 4),
    }
    table = [fits.Column(k, form, array=np.array(list(values))) for k, (form, values) in columns.items()]
    fits.BinTableHDU.from_columns(table).writeto(folder / "catalog.fits")
    lags = np.mgrid[-10:11, -10:11]
    fits.writeto(folder / "cf.fits", rms**2 * np.exp(-(lags**2).sum(0) / (4 * 0.6**2)))
    extra = [fits.Column("IDENT", "J", array=[7, 8, 9]), fits.Column("ZPHOT", "D", array=[0.5, -1.0, 1.2])]
    fits.BinTableHDU.from_columns(extra).writeto(folder / "catalog_fits.fits")
    return folder


@pytest.fixture
def fits_fields(tmp_path):
    """One sky in two bands, and a third field: neighbours, an edge, a duplicate, a faint and a small
    source."""
    folder = tmp_path / "fields"
    folder.mkdir()
    rng = np.random.default_rng(1)
    # arcsec from the field's centre, flux, half-light radius
    sky = [(0.0, 0.0, 60.0, 0.3), (2.5, 1.5, 40.0, 0.25), (-3.0, 2.0, 50.0, 0.3), (-2.0, -3.0, 45.0, 0.3)]
    rows = []
    bands = [(0, "F444W", 0.06, 211, 5), (1, "F115W", 0.03, 421, 5), (2, "F444W", 0.06, 211, 2)]
    for stamp, band, scale, size, group in bands:
        shape, rms = (size, size), 0.01
        sci = 0.05 + noise(shape, rms, rng)
        turned = -1 if stamp == 2 else 1
        for dx, dy, flux, radius in sky:
            x, y = (size - 1) / 2 + turned * dx / scale, (size - 1) / 2 + dy / scale
            sci += draw(galaxy(scale, flux, radius), shape, scale, x, y)
            rows.append([stamp, band, x, y, 300, radius / scale, 2.0, 1, 0])
        sci[0, 0] = np.nan
        head = fits.PrimaryHDU()
        head.header.update({"FILTER": band, "PIXSCALE": scale, "ZPAB": 26.58, "GROUP": group})
        err = np.maximum(0.02, np.sqrt(np.abs(sci) * 1e-3))
        parts = {"SCI": sci, "ERR": err, "PSF": psf_array(scale, 61)}
        hdus = [head, *(fits.ImageHDU(v.astype(np.float32), name=k) for k, v in parts.items())]
        fits.HDUList(hdus).writeto(folder / f"field_{stamp:03d}_{band.lower()}.fits")
    rows[-1][-1] = 1  # duplicate
    rows[-2][-2] = 0  # at the edge
    rows[-3][4] = 12  # S/N
    rows.append([2, "F444W", 30.0, 190.0, 50, 6.0, 2.0, 1, 0])  # nothing there
    rows.append([2, "F444W", 40.0, 40.0, 50, 2.1, 2.0, 1, 0])  # a star
    with (folder / "detections.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["stamp", "band", "x", "y", "sn", "r50_px", "psf_r50_px", "not_edge", "duplicate"])
        writer.writerows(rows)
    return folder


@pytest.fixture
def hdf5_stamps(tmp_path):
    """Three galaxies in two bands: a gap, a neighbour; galaxies 1 and 2 share sky."""
    folder = tmp_path / "stamps"
    folder.mkdir()
    rng = np.random.default_rng(2)
    scale, shape = 0.03, (100, 100)
    with h5py.File(folder / "ceers.h5", "w") as file, h5py.File(folder / "psf.h5", "w") as psfs:
        file["galaxy_id"] = [1, 2, 3]
        file["redshift"] = [1.5, 2.5, 0.8]
        for band, rms in (("f200w", 0.004), ("f444w", 0.003)):
            shown = draw(galaxy(scale, 8.0, 0.2), shape, scale)
            images = [0.002 + noise(shape, rms, rng) + shown for _ in range(3)]
            images[1] += draw(galaxy(scale, 3.0, 0.1), shape, scale, 15, 20)
            if band == "f444w":
                images[2][:, :60] = 0
            else:
                images[2][:10] = 0
            data = file.create_dataset(f"images/{band}", data=np.array(images, np.float32))
            data.attrs.update(pixel_scale_arcsec=scale, zero_point_ab=28.09)
            psfs.create_dataset(band, data=psf_array(0.02, 91)).attrs["pixel_scale_arcsec"] = 0.02
    (folder / "galaxies.csv").write_text("id,ra,dec\n1,214.0,52.0\n2,214.0,52.0003\n3,214.5,52.0\n")
    return folder


@pytest.fixture
def thresholded(tmp_path):
    """Two galaxies of which only pixels above an isophote are left, and one too small."""
    path = tmp_path / "candels.h5"
    rng = np.random.default_rng(3)
    scale, shape = 0.06, (151, 151)
    images = []
    for flux, radius in ((60.0, 0.5), (90.0, 1.2), (1.0, 0.1)):
        image = noise(shape, 0.005, rng) + draw(galaxy(scale, flux, radius), shape, scale)
        labels, _ = ndimage.label(image > 0.02)
        images.append(np.where(labels == labels[75, 75], image, 0) if labels[75, 75] else image * 0)
    with h5py.File(path, "w") as file:
        file["galaxy_id"] = [11, 12, 13]
        data = file.create_dataset("images/f814w", data=np.array(images, np.float32))
        data.attrs["pixel_scale_arcsec"] = scale
        file["zero_point_ab/f814w"] = [25.943] * 3
    return path


def split(stream):
    items = list(stream)
    return [i for i in items if isinstance(i, Cutout)], [i for i in items if isinstance(i, Dropped)]


def check(cutout, size=96):
    assert cutout.image.shape == cutout.variance.shape == cutout.mask.shape == (size, size)
    assert cutout.image.dtype == cutout.variance.dtype == cutout.psf.dtype == np.float32
    assert cutout.mask.dtype == bool
    assert (cutout.variance > 0).all()
    assert np.isfinite(cutout.image).all()
    assert cutout.psf.sum() == pytest.approx(1, abs=1e-4)
    half = cutout.psf.shape[0] // 2
    assert np.unravel_index(cutout.psf.argmax(), cutout.psf.shape) == (half, half)


def sky_is_calibrated(cutout, sigma):
    yy, xx = np.mgrid[:96, :96] - 47.5
    sky = cutout.mask & (np.hypot(xx, yy) > 38)
    assert np.median(cutout.image[sky]) == pytest.approx(0, abs=0.3 * sigma)
    assert np.sqrt(np.median(cutout.variance[sky])) == pytest.approx(sigma, rel=0.12)


def test_real_galaxy(real_galaxy):
    assert accepts_real_galaxy(real_galaxy)
    assert accepts_real_galaxy(real_galaxy / "catalog.fits")
    cutouts, dropped = split(read_real_galaxy(real_galaxy))
    assert [c.galaxy_id for c in cutouts] == [7, 8, 9]
    assert [d.galaxy for d in dropped] == ["catalog.fits ident 10"]
    assert dropped[0].reason == "no source at the stamp's centre"
    for cutout in cutouts:
        check(cutout)
        assert cutout.zero_point == 25.94
        assert 0.3 < cutout.noise_correlation < 0.7
        assert cutout.image[cutout.mask].sum() == pytest.approx(15, rel=0.1)
    assert [c.redshift for c in cutouts][::2] == [0.5, 1.2]
    assert np.isnan(cutouts[1].redshift)
    assert cutouts[0].group == cutouts[1].group != cutouts[2].group
    assert cutouts[0].mask.sum() == 80**2  # padded
    sky_is_calibrated(cutouts[1], 0.003)


def test_galsims_own_reader_agrees(real_galaxy):
    catalogue = galsim.RealGalaxyCatalog("catalog.fits", dir=str(real_galaxy))
    cutouts, _ = split(read_real_galaxy(real_galaxy))
    real = galsim.RealGalaxy(catalogue, index=1)
    theirs = real.original_gal.image.array
    edge = (100 - 96) // 2
    shifts = [np.roll(theirs, (j, i), (0, 1))[edge:-edge, edge:-edge] for j in (-1, 0, 1) for i in (-1, 0, 1)]
    difference = min(np.ptp((s - cutouts[1].image)[cutouts[1].mask][200:-200]) for s in shifts)
    assert difference < 1e-4  # the sky that was taken off, and nothing else


def test_fits_fields(fits_fields):
    assert accepts_fits_fields(fits_fields)
    cutouts, dropped = split(read_fits_fields(fits_fields))
    reasons = sorted(d.reason for d in dropped)
    assert reasons == [
        "S/N below 20", "at a field's edge", "not found again where the list has it", "not resolved",
        "seen in another field",
    ]  # fmt: skip
    assert [(c.band, c.group) for c in cutouts] == (
        [("F444W", "fields/5")] * 4 + [("F115W", "fields/5")] * 4 + [("F444W", "fields/2")]
    )
    assert [c.galaxy_id for c in cutouts[:4]] == [c.galaxy_id for c in cutouts[4:8]]  # the same sky
    assert cutouts[8].galaxy_id == 20_000
    for cutout in cutouts:
        check(cutout)
        assert cutout.pixel_scale == pytest.approx(0.06)  # F115W was binned
    for cutout in cutouts[:4]:
        assert 0.3 < cutout.noise_correlation < 0.7
        # photons of the source: what ERR has above its floor, over the noise's correlation area
        photons = (cutout.image.max() + 0.05) * 1e-3 - 0.02**2
        want = 0.01**2 + photons / correlation_area(cutout.noise_correlation)
        assert cutout.variance.max() == pytest.approx(want, rel=0.1)
        assert np.sqrt(np.median(cutout.variance)) == pytest.approx(0.01, rel=0.1)
    assert not cutouts[0].mask.all()
    assert cutouts[0].mask[44:52, 44:52].all()


def test_hdf5_stamps(hdf5_stamps):
    assert accepts_hdf5_stamps(hdf5_stamps / "ceers.h5")
    cutouts, dropped = split(read_hdf5_stamps(hdf5_stamps / "ceers.h5"))
    assert [(c.galaxy_id, c.band) for c in cutouts] == [(i, b) for i in (1, 2) for b in ("F200W", "F444W")] + [
        (3, "F200W")
    ]
    assert [d.reason for d in dropped] == ["gaps in the data"]
    for cutout in cutouts:
        check(cutout)
        assert cutout.zero_point == 28.09
        assert not cutout.thresholded
    assert cutouts[0].group == cutouts[2].group != cutouts[4].group
    assert cutouts[4].redshift == 0.8
    assert not cutouts[4].mask[:8].any()  # the gap
    assert cutouts[4].mask[40:56, 40:56].all()
    assert not cutouts[2].mask[20 - 2, 15 - 2]  # the neighbour
    sky_is_calibrated(cutouts[0], 0.004)
    sky_is_calibrated(cutouts[1], 0.003)
    half = cutouts[0].psf.shape[0] // 2
    assert cutouts[0].psf[half, half] == pytest.approx(psf_array(0.03)[20, 20], rel=0.06)


def test_thresholded_stamps(thresholded):
    cutouts, dropped = split(read_hdf5_stamps(thresholded))
    assert [c.galaxy_id for c in cutouts] == [11, 12]
    assert len(dropped) == 1
    assert "pixels above the threshold" in dropped[0].reason
    for cutout in cutouts:
        check(cutout)
        assert cutout.thresholded
        assert (cutout.image[cutout.mask] > 0).all()
        assert (cutout.image[~cutout.mask] == 0).all()
        assert cutout.zero_point == 25.943
    assert cutouts[0].pixel_scale == pytest.approx(0.06)
    assert np.sqrt(cutouts[0].variance.min()) == pytest.approx(0.005, rel=0.35)
    assert cutouts[1].pixel_scale == pytest.approx(0.12)


def change_table(folder, name, value):
    with fits.open(folder / "catalog.fits", mode="update") as hdus:
        hdus[1].data[name][1] = value


BAD_SOURCES = {
    "ident 8: 'images.fits' extension 99 cannot be read": lambda f: change_table(f, "GAL_HDU", 99),
    "not the name of a file in the catalogue's folder": lambda f: change_table(f, "PSF_FILENAME", "../psfs.fits"),
    "'none.fits' extension 1 cannot be read": lambda f: change_table(f, "GAL_FILENAME", "none.fits"),
    "found none": lambda f: (f / "catalog.fits").unlink(),
}


@pytest.mark.parametrize("message", BAD_SOURCES)
def test_broken_real_galaxy_catalogues(real_galaxy, message):
    BAD_SOURCES[message](real_galaxy)
    with pytest.raises(CutoutError, match=re.escape(message)):
        list(read_real_galaxy(real_galaxy))


def replace_text(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


BAD_FIELDS = {
    "line 3: not a detection": lambda f: replace_text(f / "detections.csv", "300", "bright"),
    "without a file: 1 F115W": lambda f: (f / "field_001_f115w.fits").unlink(),
    "not a field with": lambda f: fits.PrimaryHDU().writeto(f / "field_001_f115w.fits", overwrite=True),
    "field_001_f115w.fits": lambda f: (f / "field_001_f115w.fits").write_bytes(b"SIMPLE  = "),
}


@pytest.mark.parametrize("message", BAD_FIELDS)
def test_broken_fields(fits_fields, message):
    BAD_FIELDS[message](fits_fields)
    if message.startswith("line 3"):
        replace_text(fits_fields / "detections.csv", ",bright,", ",300,")
        rows = (fits_fields / "detections.csv").read_text().split("\n")
        rows[2] = rows[2].replace(",300,", ",bright,")
        (fits_fields / "detections.csv").write_text("\n".join(rows))
    with pytest.raises(CutoutError, match=re.escape(message)):
        list(read_fits_fields(fits_fields))


def test_stamps_without_what_they_need(hdf5_stamps):
    path = hdf5_stamps / "ceers.h5"
    (hdf5_stamps / "psf.h5").unlink()
    with pytest.raises(CutoutError, match="no PSF for band 'f200w'"):
        list(read_hdf5_stamps(path))
    with h5py.File(path, "r+") as file:
        del file["images/f200w"].attrs["pixel_scale_arcsec"]
    with pytest.raises(CutoutError, match="images/f200w has no attribute pixel_scale_arcsec"):
        list(read_hdf5_stamps(path))
    with h5py.File(path, "r+") as file:
        file["images/more"] = h5py.SoftLink("/images/f444w")
    with pytest.raises(CutoutError, match="SoftLink"):
        list(read_hdf5_stamps(path))


def test_each_format_is_recognised_by_its_own_reader_alone(real_galaxy, fits_fields, hdf5_stamps, tmp_path):
    readers = {r.name: r for given in plugin_manager().hook.skyloom_cutout_readers() for r in given}
    sources = {
        "real-galaxy": real_galaxy, "fits-fields": fits_fields, "hdf5-stamps": hdf5_stamps / "ceers.h5",
    }  # fmt: skip
    assert set(sources) <= set(readers)
    (tmp_path / "text.fits").write_text("nothing")
    for source in [*sources.values(), tmp_path / "text.fits", tmp_path / "none", tmp_path]:
        accepting = [name for name in sources if readers[name].accepts(source)]
        assert accepting == [name for name, path in sources.items() if path == source]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ingest(real_galaxy, fits_fields, thresholded, tmp_path, capsys, workers):
    out = tmp_path / "cutouts.h5"
    arguments = ["ingest", str(real_galaxy), str(fits_fields), str(thresholded), "-o", str(out)]
    assert run([*arguments, "--workers", workers]) == 0
    text = capsys.readouterr().out
    assert "14 cutouts in" in text.replace("\n", " ")
    for word in ("real-galaxy", "fits-fields", "hdf5-stamps", "dropped", "not resolved"):
        assert word in text
    cutouts = read_cutouts(out)
    assert len(cutouts) == 14
    assert {c.source for c in cutouts} == {"cosmos", "fields", "candels"}
    table = cutouts.table
    assert (table["fit_flag"] >= 0).all()
    whole = ~table["thresholded"]
    np.testing.assert_allclose(table["fit_q"][whole], 0.6, atol=0.1)
    np.testing.assert_allclose(table["fit_beta"][whole], 0.5, atol=0.2)
    assert read_provenance(out)["sources"][1] == {"name": "fields", "format": "fits-fields"}


def test_ingest_the_same_whatever_the_workers(real_galaxy, tmp_path):
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path, workers in zip(paths, "12", strict=True):
        assert run(["ingest", str(real_galaxy), "-o", str(path), "--workers", workers]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_ingest_without_fits(real_galaxy, tmp_path):
    out = tmp_path / "cutouts.h5"
    assert run(["ingest", str(real_galaxy), "-o", str(out), "--no-fit", "--stamp-size", "64"]) == 0
    cutouts = read_cutouts(out)
    assert all(c.fit is None and c.image.shape == (64, 64) for c in cutouts)


BAD_CALLS = {
    "no format 'asdf'": ["--format", "asdf"],
    "must be odd": ["--psf-size", "40"],
    "must be even": ["--stamp-size", "33"],
    "no such folder": ["-o", "/nowhere/at/all.h5"],
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_ingest_bad_input(real_galaxy, tmp_path, capsys, message):
    status = run(["ingest", str(real_galaxy), "-o", str(tmp_path / "x.h5"), *BAD_CALLS[message]])
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.h5").exists()


def test_ingest_a_source_of_no_format(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(["ingest", str(tmp_path / "empty"), "-o", str(tmp_path / "x.h5")]) == 2
    assert "formats that fit: none" in capsys.readouterr().err


def test_ingest_twice_the_same(real_galaxy, tmp_path, capsys):
    assert run(["ingest", str(real_galaxy), str(real_galaxy), "-o", str(tmp_path / "x.h5")]) == 2
    assert "comes twice" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    assert run(["ingest", "--help"]) == 0
    assert "skyloom ingest cosmos_hst/" in capsys.readouterr().out
