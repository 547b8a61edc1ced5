"""Readers of BlendingToolKit's files, plain stamps and fields, on files made here."""

from __future__ import annotations

import re

import galsim
import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from skyloom.cli.main import run
from skyloom.cutouts.btk_hdf5 import accepts_btk_hdf5, read_btk_hdf5
from skyloom.cutouts.btk_surveys import BTK_SURVEYS, default_psf, zero_point_of
from skyloom.cutouts.fits_field import accepts_fits_field, read_fits_field
from skyloom.cutouts.fits_images import read_fits_image
from skyloom.cutouts.hdf5 import read_cutouts
from skyloom.cutouts.plain_arrays import accepts_plain_arrays, read_plain_arrays
from skyloom.cutouts.plain_stamps import accepts_plain_stamps, read_plain_stamps
from skyloom.cutouts.sidecar import SideCar, read_sidecar
from skyloom.cutouts.sidecar_psf import sidecar_psf
from skyloom.errors import CutoutError
from skyloom.manager import collect
from skyloom.stamps import Cutout, Dropped
from skyloom.validate.run_inputs import open_cutouts

SIDECAR = 'pixel_scale = 0.1\nzero_point = 27.0\nband = "VIS"\nwavelength = 715.0\npsf_fwhm = 0.16\n'
PSF = galsim.Moffat(beta=3, fwhm=0.16)


def split(stream):
    items = list(stream)
    return [c for c in items if isinstance(c, Cutout)], [d for d in items if isinstance(d, Dropped)]


def check(cutout, size=96):
    assert cutout.image.shape == cutout.variance.shape == cutout.mask.shape == (size, size)
    assert cutout.psf.shape == (81, 81)
    assert cutout.psf.sum() == pytest.approx(1, abs=1e-4)
    assert np.unravel_index(cutout.psf.argmax(), cutout.psf.shape) == (40, 40)
    assert (cutout.variance > 0).all()
    assert (cutout.image[~cutout.mask] == 0).all()


# --- BlendingToolKit ---------------------------------------------------------------------------------------

SCALE, SIDE, BANDS = 0.2, 101, ("u", "g", "r", "i", "z", "y")
PLACES = [[(0.0, 0.0)], [(-2.0, 1.0), (2.4, -1.2)], [(1.0, 3.0), (-3.0, -2.0), (0.5, -0.5)]]
SKY = 4000.0


def btk_flux(mag, band):
    return 10 ** (-0.4 * (mag - zero_point_of(BTK_SURVEYS["LSST"].filters[band])))


def write_btk(path, *, photons=True, sky=SKY, seed=0, survey="LSST", psfs=None):
    """A file in the layout of BTK 1.0.9's BlendBatch.save, drawn as its CatsimGenerator draws."""
    rng = np.random.default_rng(seed)
    lsst = BTK_SURVEYS["LSST"]
    drawn = psfs or [default_psf(lsst, lsst.filters[b]) for b in BANDS]
    blends, alone, tables = np.zeros((3, 6, SIDE, SIDE)), np.zeros((3, 4, 6, SIDE, SIDE)), []
    for i, places in enumerate(PLACES):
        columns = {name: [p[k] for p in places] for k, name in enumerate(("ra", "dec"))}
        columns["redshift"] = [0.5 + 0.1 * j for j in range(len(places))]
        columns |= {f"{b}_ab": [20.0 + 0.5 * j for j in range(len(places))] for b in BANDS}
        for k, name in enumerate(("x_peak", "y_peak")):
            columns[name] = [p[k] / SCALE + (SIDE - 1) / 2 for p in places]
        columns["btk_rotation"] = [0.0] * len(places)
        columns |= {f"not_drawn_{b}": [0.0] * len(places) for b in BANDS}
        tables.append(Table({name: np.asarray(v, dtype=float) for name, v in columns.items()}))
        for k, band in enumerate(BANDS):
            for j, (x, y) in enumerate(places):
                profile = galsim.Exponential(half_light_radius=0.5, flux=btk_flux(20.0 + 0.5 * j, band))
                placed = galsim.Convolve(profile.shear(q=0.6, beta=0.5 * galsim.radians), drawn[k]).shift(x, y)
                alone[i, j, k] = placed.drawImage(nx=SIDE, ny=SIDE, scale=SCALE).array
            light = alone[i, :, k].sum(0)
            variance = sky + (np.clip(light, 0, None) if photons else 0)
            blends[i, k] = light + np.sqrt(variance) * rng.normal(size=light.shape)
    with h5py.File(path, "w") as file:
        file["blend_images"], file["isolated_images"] = blends, alone
        file["psf"] = np.array([p.drawImage(nx=SIDE, ny=SIDE).array for p in drawn])
        for i, table in enumerate(tables):
            table.write(file, path=f"catalog_list/{i}", format="hdf5")
        file.attrs.update(batch_size=3, max_n_sources=4, stamp_size=20.2, survey_name=survey)
    return path


@pytest.fixture(scope="module")
def btk_master(tmp_path_factory):
    return write_btk(tmp_path_factory.mktemp("btk") / "blend_0.hdf5")


@pytest.fixture
def btk(btk_master, tmp_path):
    path = tmp_path / "blend_0.hdf5"
    path.write_bytes(btk_master.read_bytes())
    return path


def test_btk(btk):
    assert accepts_btk_hdf5(btk)
    assert accepts_btk_hdf5(btk.parent)
    cutouts, dropped = split(read_btk_hdf5(btk))
    assert not dropped
    assert len(cutouts) == 6 * 6
    first = cutouts[0]
    assert [c.band for c in cutouts[:6]] == list(BANDS)
    assert {c.group for c in cutouts} == {f"blend_0/blend_0-{i}" for i in range(3)}
    assert len({c.galaxy_id for c in cutouts}) == 6
    assert [c.redshift for c in cutouts if c.group.endswith("-2")][:3] == pytest.approx([0.5, 0.6, 0.7])
    for cutout in cutouts:
        check(cutout)
        assert cutout.pixel_scale == pytest.approx(0.2)
        assert cutout.zero_point == pytest.approx(zero_point_of(BTK_SURVEYS["LSST"].filters[cutout.band]))
    assert first.wavelength == pytest.approx(368.141)


def test_btk_neighbours_are_gone_and_the_noise_is_right(btk):
    """What is left of a source of a blend is its isolated image and noise of the variance given."""
    cutouts, _ = split(read_btk_hdf5(btk))
    crowded = [c for c in cutouts if c.group.endswith("-2") and c.band == "i"][2]
    with h5py.File(btk) as file:
        true = file["isolated_images"][2, 2, 3]
    x, y = 0.5 / SCALE + 50, -0.5 / SCALE + 50
    left, low = (int(np.floor(v - 47.5 + 0.5)) for v in (x, y))
    window = np.zeros((96, 96))
    ys, xs = slice(max(0, low), min(SIDE, low + 96)), slice(max(0, left), min(SIDE, left + 96))
    window[ys.start - low : ys.stop - low, xs.start - left : xs.stop - left] = true[ys, xs]
    pulls = ((crowded.image - window) / np.sqrt(crowded.variance))[crowded.mask]
    assert pulls.std() == pytest.approx(1, abs=0.03)
    assert abs(pulls.mean()) < 0.05
    core = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 8  # a neighbour left in would show here
    inside = ((crowded.image - window) / np.sqrt(crowded.variance))[core & crowded.mask]
    assert inside.std() == pytest.approx(1, abs=0.2)
    assert crowded.variance.max() > 1.5 * np.median(crowded.variance)


def test_btk_background_noise_alone(tmp_path):
    path = write_btk(tmp_path / "blend_0.hdf5", photons=False)
    for cutout in split(read_btk_hdf5(path))[0]:
        np.testing.assert_allclose(cutout.variance, SKY, rtol=0.05)


def test_btk_psf_is_that_of_the_images_pixels(btk):
    """The file's PSF is drawn at another scale than its images; ours is not."""
    psf = default_psf(BTK_SURVEYS["LSST"], BTK_SURVEYS["LSST"].filters["u"])
    want = psf.drawImage(nx=81, ny=81, scale=SCALE).array
    cutout = next(c for c in read_btk_hdf5(btk) if c.band == "u")
    np.testing.assert_allclose(cutout.psf, want / want.sum(), atol=1e-5 * want.max())
    with h5py.File(btk) as file:
        stored = file["psf"][0]
    assert abs(psf.nyquist_scale / SCALE - 1) > 0.02
    assert abs(stored.max() / want.max() - 1) > 0.02


def test_btk_custom_psf_needs_its_scale(tmp_path):
    psf = galsim.Moffat(beta=3.5, fwhm=0.7)
    path = write_btk(tmp_path / "blend_0.hdf5", psfs=[psf] * 6)
    with pytest.raises(CutoutError, match=re.escape("band 'u': its PSF is not the survey's default")):
        list(read_btk_hdf5(path))
    (tmp_path / "blend_0.toml").write_text(f"psf_pixel_scale = {psf.nyquist_scale}\n")
    want = psf.drawImage(nx=81, ny=81, scale=SCALE, dtype=float).array
    cutout = next(iter(read_btk_hdf5(path)))
    np.testing.assert_allclose(cutout.psf, want / want.sum(), atol=2e-3 * want.max())


def test_btk_survey_of_another_name(btk):
    with h5py.File(btk, "a") as file:
        file.attrs["survey_name"] = "Mine"
    with pytest.raises(CutoutError, match="'Mine', band 'u': no wavelength"):
        list(read_btk_hdf5(btk))
    bands = [f"[bands.{b}]\nwavelength = {400 + 100 * k}\npsf_fwhm = 0.8\n" for k, b in enumerate(BANDS)]
    btk.with_suffix(".toml").write_text("".join(bands))
    cutouts, _ = split(read_btk_hdf5(btk))
    assert [c.wavelength for c in cutouts[:6]] == [400, 500, 600, 700, 800, 900]
    for cutout in cutouts[:6]:  # from its catalogue's magnitudes
        assert cutout.zero_point == pytest.approx(zero_point_of(BTK_SURVEYS["LSST"].filters[cutout.band]), abs=0.02)


def test_btk_bad_sources_are_counted(btk):
    with h5py.File(btk, "a") as file:
        file["blend_images"][0] = np.nan
        table = file["catalog_list/1"][:]
        table["not_drawn_g"][1] = 1
        table["x_peak"][0], table["ra"][0] = 900, (900 - 50) * SCALE
        file["catalog_list/1"][...] = table
        file["blend_images"][2, 0] = file["isolated_images"][2, :, 0].sum(0)
        file["isolated_images"][2, 1, 4] *= 1e-4
    cutouts, dropped = split(read_btk_hdf5(btk))
    reasons = [d.reason for d in dropped]
    assert reasons.count("no finite pixels") == 6
    assert reasons.count("not drawn by BTK") == 1
    assert reasons.count("centre outside the image") == 6
    assert reasons.count("S/N below 10") == 1
    assert dropped[0].galaxy == "blend_0.hdf5 blend 0 source 0 u"
    assert len(cutouts) + len(dropped) == 36


def test_btk_noiseless(tmp_path):
    path = write_btk(tmp_path / "blend_0.hdf5", sky=0.0, photons=False)
    cutouts, dropped = split(read_btk_hdf5(path))
    assert not cutouts
    assert {d.reason for d in dropped} == {"images without noise (draw them with add_noise='all' or 'background')"}


def test_btk_surveys_drawn_together(btk_master, tmp_path):
    for name in ("LSST", "LSST_2"):
        folder = tmp_path / "0" / name
        folder.mkdir(parents=True)
        (folder / "blend_0.hdf5").write_bytes(btk_master.read_bytes())
    cutouts, _ = split(read_btk_hdf5(tmp_path))
    half = len(cutouts) // 2
    assert [c.galaxy_id for c in cutouts[:half]] == [c.galaxy_id for c in cutouts[half:]]


def replace_dataset(path, name, **new):
    with h5py.File(path, "a") as file:
        del file[name]
        if new:
            file.create_dataset(name, **new)


def link(path, name):
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "/x")


BROKEN_BTK = {
    "psf (5, 101, 101) for 6 bands": lambda p: replace_dataset(p, "psf", data=np.ones((5, 101, 101))),
    "no PSF (give psf or psf_fwhm in blend_0.toml)": lambda p: replace_dataset(p, "psf"),
    "the PSF of band 'u' is not finite": lambda p: replace_dataset(p, "psf", data=np.full((6, 9, 9), np.nan)),
    "are not BTK's": lambda p: replace_dataset(p, "isolated_images", data=np.zeros((3, 6, 101, 101))),
    "do not go with blend_images": lambda p: replace_dataset(p, "isolated_images", data=np.zeros((3, 4, 6, 99, 99))),
    "catalog_list/1 is not a table": lambda p: replace_dataset(p, "catalog_list/1"),
    "'/psf' is a ExternalLink": lambda p: link(p, "psf"),
    "declares": lambda p: replace_dataset(
        p, "blend_images", shape=(9000, 6, 101, 101), chunks=(1, 1, 101, 101), dtype="f8"
    ),
    "its catalogues say 0.2 arcsec a pixel, blend_0.toml says 0.3": lambda p: p.with_suffix(".toml").write_text(
        "pixel_scale = 0.3"
    ),
    "pixelscale is not known": lambda p: p.with_suffix(".toml").write_text("pixelscale = 0.2"),
}


@pytest.mark.parametrize("message", BROKEN_BTK)
def test_broken_btk(btk, message):
    BROKEN_BTK[message](btk)
    with pytest.raises(CutoutError, match=re.escape(message)):
        list(read_btk_hdf5(btk))


def test_btk_table_of_objects_is_refused(btk):
    """A table with variable-length text could hold references; fixed-length columns, vectors too, are read."""
    with h5py.File(btk, "a") as file:
        columns = np.dtype([("x_peak", "f8"), ("name", h5py.string_dtype())])
        del file["catalog_list/0"]
        file.create_dataset("catalog_list/0", (1,), columns)
    with pytest.raises(CutoutError, match="only numbers and fixed-length text"):
        list(read_btk_hdf5(btk))


# --- plain stamps ------------------------------------------------------------------------------------------


def stamp(seed, size=110, scale=0.1, rms=0.5, flux=2000.0, sky=3.0, radius=0.35):
    rng = np.random.default_rng(seed)
    profile = galsim.Exponential(half_light_radius=radius, flux=flux).shear(q=0.6, beta=0.5 * galsim.radians)
    light = galsim.Convolve(profile, PSF).drawImage(nx=size, ny=size, scale=scale, dtype=float).array
    return light + sky + rms * rng.normal(size=light.shape)


def psf_image(size=41, scale=0.1):
    return PSF.drawImage(nx=size, ny=size, scale=scale, dtype=float).array


def write_stamp(path, image, header=None, **extensions):
    primary = fits.PrimaryHDU(image.astype(np.float32))
    primary.header.update({"PIXSCALE": 0.1, "ZPAB": 27.0, "FILTER": "VIS", "WAVELEN": 715.0} | (header or {}))
    for word in [w for w, v in (header or {}).items() if v is None]:
        del primary.header[word]
    hdus = [primary, *(fits.ImageHDU(np.asarray(v, dtype=np.float32), name=k) for k, v in extensions.items())]
    fits.HDUList(hdus).writeto(path)


def test_plain_fits_stamps(tmp_path):
    folder = tmp_path / "stamps"
    folder.mkdir()
    for i in range(3):
        write_stamp(folder / f"s{i}.fits", stamp(i), {"GALID": 70 + i, "REDSHIFT": 0.3}, PSF=psf_image())
    noisy = np.sqrt(0.25 + np.clip(stamp(3, rms=0, sky=0), 0, None) / 10)
    masked = np.zeros((110, 110))
    masked[:20] = 1
    write_stamp(folder / "s3.fits", stamp(3), {"GALID": 73}, PSF=psf_image(), ERR=noisy, MASK=masked)
    assert accepts_plain_stamps(folder)
    cutouts, dropped = split(read_plain_stamps(folder))
    assert not dropped
    assert [c.galaxy_id for c in cutouts] == [70, 71, 72, 73]
    for cutout in cutouts:
        check(cutout)
        assert (cutout.band, cutout.wavelength, cutout.zero_point) == ("VIS", 715.0, 27.0)
        assert np.sqrt(np.median(cutout.variance)) == pytest.approx(0.5, rel=0.1)
        assert cutout.image[cutout.mask].sum() == pytest.approx(2000, rel=0.1)  # its sky is off
    assert cutouts[0].redshift == 0.3
    assert not cutouts[3].mask[:13].any()
    assert cutouts[3].variance.max() > 1.5 * 0.25  # photons of the galaxy, from ERR
    assert cutouts[0].variance.max() < 1.1 * np.median(cutouts[0].variance)
    list_file = tmp_path / "some.txt"
    list_file.write_text("# two\nstamps/s1.fits\nstamps/s0.fits\n")
    assert accepts_plain_stamps(list_file)
    assert [c.galaxy_id for c in split(read_plain_stamps(list_file))[0]] == [71, 70]


def test_plain_fits_stamps_that_are_bad_are_counted_and_the_rest_goes_on(tmp_path):
    good = {"PSF": psf_image()}
    write_stamp(tmp_path / "a_good.fits", stamp(0), **good)
    write_stamp(tmp_path / "b_no_psf.fits", stamp(1))
    write_stamp(tmp_path / "c_nan.fits", np.full((110, 110), np.nan), **good)
    write_stamp(tmp_path / "d_no_scale.fits", stamp(2), {"PIXSCALE": None}, **good)
    write_stamp(tmp_path / "e_no_zero_point.fits", stamp(2), {"ZPAB": None}, **good)
    write_stamp(tmp_path / "f_blank.fits", np.random.default_rng(0).normal(size=(110, 110)), **good)
    write_stamp(tmp_path / "g_nan_psf.fits", stamp(3), PSF=np.full((21, 21), np.nan))
    write_stamp(tmp_path / "h_same_id.fits", stamp(4), {"GALID": 1}, **good)
    write_stamp(
        tmp_path / "i_other_scale.fits", stamp(5, scale=0.2, radius=0.7), {"PIXSCALE": 0.2}, PSF=psf_image(41, 0.2)
    )
    write_stamp(tmp_path / "j_large_psf.fits", stamp(6), PSF=psf_image(301))
    write_stamp(tmp_path / "k_shape.fits", stamp(7), PSF=psf_image(), ERR=np.ones((9, 9)))
    write_stamp(tmp_path / "l_strange.fits", stamp(7), {"FILTER": "Q", "WAVELEN": None}, **good)
    (tmp_path / "m_empty.fits").write_bytes(b"")
    whole = (tmp_path / "a_good.fits").read_bytes()
    (tmp_path / "n_cut.fits").write_bytes(whole[: len(whole) // 3])
    cutouts, dropped = split(read_plain_stamps(tmp_path))
    assert {d.galaxy: d.reason for d in dropped} == {
        "b_no_psf.fits": "no PSF (give psf or psf_fwhm in stamps.toml)",
        "c_nan.fits": "no finite, unmasked pixels",
        "d_no_scale.fits": "no pixel scale (PIXSCALE, or pixel_scale in stamps.toml)",
        "e_no_zero_point.fits": "no zero point (ZPAB, or zero_point in stamps.toml)",
        "f_blank.fits": "no source at the stamp's centre",
        "g_nan_psf.fits": "PSF that is not a finite image of positive sum",
        "h_same_id.fits": "a galaxy and band that another file has",
        "k_shape.fits": "not a FITS image that can be read",
        "l_strange.fits": "no wavelength for band 'Q' (WAVELEN, or wavelength in stamps.toml)",
        "m_empty.fits": "not a FITS image that can be read",
        "n_cut.fits": "not a FITS image that can be read",
    }
    assert [c.pixel_scale for c in cutouts] == pytest.approx([0.1, 0.2, 0.1])  # each in its own pixels
    for cutout in cutouts:
        check(cutout)


def test_sidecar_gives_what_the_stamps_lack(tmp_path):
    fits.writeto(tmp_path / "one.fits", stamp(0))
    (tmp_path / "stamps.toml").write_text(SIDECAR)
    cutouts, dropped = split(read_plain_stamps(tmp_path))
    assert not dropped
    check(cutouts[0])
    want = psf_image(81)
    np.testing.assert_allclose(cutouts[0].psf, want / want.sum(), atol=1e-6)
    np.save(tmp_path / "psf.npy", psf_image(61, 0.05))
    for line in ('psf = "psf.npy"\npsf_pixel_scale = 0.05\n', 'psf = "psf.fits"\npsf_pixel_scale = 0.05\n'):
        fits.writeto(tmp_path / "psf.fits", psf_image(61, 0.05), overwrite=True)
        (tmp_path / "stamps.toml").write_text(SIDECAR.replace("psf_fwhm = 0.16\n", line))
        cutouts, dropped = split(read_plain_stamps(tmp_path))  # the PSF's file is no stamp
        assert len(cutouts) + len(dropped) == (1 if "fits" in line else 2)
        check(cutouts[0])


def test_a_psf_without_the_pixel_gets_it(tmp_path):
    bare = PSF.drawImage(nx=101, ny=101, scale=0.03, method="no_pixel", dtype=float).array
    np.save(tmp_path / "psf.npy", bare)
    sidecar = SideCar(path=tmp_path / "x.toml", psf="psf.npy", psf_pixel_scale=0.03, psf_has_pixel=False)
    want = psf_image(41)
    np.testing.assert_allclose(sidecar_psf(sidecar, 0.1, 41), want / want.sum(), atol=0.005 * want.max())


def test_arrays(tmp_path):
    images = np.stack([stamp(i) for i in range(4)]).astype(np.float32)
    images[2] = np.nan
    np.save(tmp_path / "mine.npy", images)
    (tmp_path / "mine.toml").write_text(SIDECAR)
    assert accepts_plain_arrays(tmp_path / "mine.npy")
    cutouts, dropped = split(read_plain_arrays(tmp_path / "mine.npy"))
    assert [c.galaxy_id for c in cutouts] == [1, 2, 4]
    assert [(d.galaxy, d.reason) for d in dropped] == [("mine.npy row 2 (galaxy 3)", "no finite, unmasked pixels")]
    psfs = np.stack([psf_image()] * 4)
    psfs[1] = np.nan
    np.savez_compressed(
        tmp_path / "own.npz", images=images, psf=psfs, galaxy_id=[9, 8, 7, 6], redshift=[0.1, 0.2, 0.3, -1],
        pixel_scale=0.1, zero_point=27.0, band="F814W", weight=np.full_like(images, 4.0),
        mask=np.ones(images.shape, bool),
    )  # fmt: skip
    cutouts, dropped = split(read_plain_arrays(tmp_path / "own.npz"))
    assert [(c.galaxy_id, c.band, c.wavelength) for c in cutouts] == [(9, "F814W", 804.6), (6, "F814W", 804.6)]
    assert cutouts[0].redshift == 0.1
    assert np.isnan(cutouts[1].redshift)
    assert [d.reason for d in dropped] == [
        "PSF that is not a finite image of positive sum", "no finite, unmasked pixels",
    ]  # fmt: skip
    for cutout in cutouts:
        check(cutout)


def save_npz(path, **arrays):
    np.savez(path, **{"images": np.ones((2, 40, 40)), "pixel_scale": 0.1} | arrays)


BAD_ARRAYS = {
    "no band (FILTER, or band in own.toml)": {},
    "own.npz: no PSF (give psf or psf_fwhm in own.toml)": {"band": "F814W", "zero_point": 25.0},
    "no zero point": {"band": "F814W", "psf": psf_image()},
    "images must be (N, H, W), not (40, 40)": {"images": np.ones((40, 40))},
    "images must be (N, H, W), not (0, 40, 40)": {"images": np.ones((0, 40, 40))},
    "mask has shape (2, 3, 3)": {"mask": np.ones((2, 3, 3))},
    "galaxy_id has shape (3,), there are 2 images": {"galaxy_id": [1, 2, 3]},
    "pixel_scale must be one value": {"pixel_scale": [0.1, 0.2]},
    "psf must be (P, Q) or (2, P, Q)": {"psf": np.ones((3, 9, 9))},
    "that can be read": {"images": np.array([{}, {}], dtype=object)},
    "has type <U1": {"images": np.full((2, 40, 40), "a")},
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_bad_arrays(tmp_path, message):
    save_npz(tmp_path / "own.npz", **BAD_ARRAYS[message])
    with pytest.raises(CutoutError, match=re.escape(message)):
        list(read_plain_arrays(tmp_path / "own.npz"))


def test_cut_off_arrays(tmp_path):
    for name, write in (("a.npy", lambda p: np.save(p, np.ones((3, 40, 40)))), ("b.npz", save_npz)):
        write(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CutoutError, match="that can be read"):
            list(read_plain_arrays(tmp_path / name))


# --- a field -----------------------------------------------------------------------------------------------

FIELD = [(80.3, 90.1, 2000), (250.2, 110.7, 3000), (270.9, 118.0, 1500), (150.0, 300.4, 2500), (320.0, 330.0, 2200)]


@pytest.fixture
def field(tmp_path):
    """Five galaxies, two of them neighbours, one cut by the edge, a star, and a background with a slope."""
    rng = np.random.default_rng(5)
    image = galsim.Image(400, 380, scale=0.1, dtype=float)
    for x, y, flux in [*FIELD, (398.0, 200.0, 2000)]:
        profile = galsim.Exponential(half_light_radius=0.4, flux=flux).shear(q=0.7, beta=0.3 * galsim.radians)
        placed = galsim.Convolve(profile, PSF)
        placed.drawImage(image, add_to_image=True, center=galsim.PositionD(x + 1, y + 1))
    PSF.withFlux(3000).drawImage(image, add_to_image=True, center=galsim.PositionD(60, 250))
    pixels = image.array + 5.0 + 0.002 * np.arange(400) + 0.4 * rng.normal(size=image.array.shape)
    path = tmp_path / "sky.fits"
    write_stamp(path, pixels, {"GAIN": 5.0}, PSF=psf_image())
    return path


def test_field_without_a_catalogue(field):
    assert accepts_fits_field(field)
    cutouts, dropped = split(read_fits_field(field))
    assert len(cutouts) == 5
    assert sorted(d.reason for d in dropped if "S/N" not in d.reason) == ["at the field's edge", "not resolved"]
    for cutout in cutouts:
        check(cutout)
        assert cutout.group == "sky/0"
        assert np.sqrt(np.median(cutout.variance)) == pytest.approx(0.4, rel=0.1)
        assert cutout.variance.max() > 1.3 * np.median(cutout.variance)  # photons, by GAIN
    places = [(c.centre_x / 0.1 + 199.5, c.centre_y / 0.1 + 189.5) for c in cutouts]
    for (x, y, flux), k in [(g, int(np.argmin([np.hypot(g[0] - a, g[1] - b) for a, b in places]))) for g in FIELD]:
        assert np.hypot(places[k][0] - x, places[k][1] - y) < 1.5
        if flux not in (3000, 1500):
            assert cutouts[k].image.sum() == pytest.approx(flux, rel=0.07)
            assert cutouts[k].mask.mean() > 0.9
        else:
            assert not cutouts[k].mask.all()  # its neighbour


def test_field_with_a_catalogue(field):
    rows = [(7, *FIELD[0][:2], 0.7), (8, *FIELD[1][:2], -1), (9, 30.0, 30.0, 1.0), (10, 9e4, 1.0, 1.0)]
    rows += [(11, FIELD[0][0] + 1, FIELD[0][1] - 1, 0.2)]
    ids, x, y, z = zip(*rows, strict=True)
    columns = {"galaxy_id": ids, "x": np.array(x) + 1, "y": np.array(y) + 1, "redshift": z}
    Table(columns).write(field.with_name("sky_truth.fits"))
    cutouts, dropped = split(read_fits_field(field))
    assert [c.galaxy_id for c in cutouts] == [7, 8]
    assert cutouts[0].redshift == 0.7
    assert np.isnan(cutouts[1].redshift)
    assert {d.galaxy.split(" of")[0]: d.reason for d in dropped} == {
        "sky.fits galaxy 9": "not detected where the catalogue has it",
        "sky.fits galaxy 10": "outside the field",
        "sky.fits galaxy 11": "blended with another galaxy of the catalogue",
    }
    field.with_name("mine.csv").write_text("id,x,y\n4,81.3,91.1\n")
    field.with_suffix(".toml").write_text('catalogue = "mine.csv"\n')
    assert [c.galaxy_id for c in split(read_fits_field(field))[0]] == [4]


BAD_CATALOGUES = {
    "needs columns x and y": "id,ra,dec\n1,2,3\n",
    "row 2: not a galaxy's place": "x,y\n10,10\nhere,12\n",
    "row 2: galaxy id 3 comes twice": "id,x,y\n3,10,10\n3,11,11\n",
    "row 1: x, y = nan": "x,y\nnan,1\n",
}


@pytest.mark.parametrize("message", BAD_CATALOGUES)
def test_bad_catalogues(field, message):
    field.with_suffix(".csv").write_text(BAD_CATALOGUES[message])
    with pytest.raises(CutoutError, match=re.escape(message)):
        list(read_fits_field(field))


def test_field_that_lacks_something(tmp_path):
    fits.writeto(tmp_path / "bare.fits", stamp(0))
    for line in ("band", "pixel scale", "zero point", "wavelength", "PSF"):
        with pytest.raises(CutoutError, match=f"bare.fits: no {line}"):
            list(read_fits_field(tmp_path / "bare.fits"))
        keys = {"band": 2, "pixel scale": 0, "zero point": 1, "wavelength": 3, "PSF": 4}
        with (tmp_path / "bare.toml").open("a") as file:
            file.write(SIDECAR.splitlines()[keys[line]] + "\n")
    assert len(split(read_fits_field(tmp_path / "bare.fits"))[0]) == 1


# --- through the commands ----------------------------------------------------------------------------------


def test_no_two_readers_accept_one_source(btk, field, tmp_path):
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    write_stamp(stamps / "s.fits", stamp(0), PSF=psf_image())
    np.save(tmp_path / "mine.npy", np.ones((2, 40, 40)))
    readers = collect("skyloom_cutout_readers")
    for path, name in (
        (btk, "btk-hdf5"), (field, "fits-field"), (stamps, "plain-stamps"), (tmp_path / "mine.npy", "plain-arrays"),
    ):  # fmt: skip
        assert [r.name for r in readers.values() if r.accepts(path)] == [name]
    assert not [r.name for r in readers.values() if r.accepts(tmp_path / "nothing")]


def test_ingest_takes_them_all(btk, field, tmp_path, capsys):
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    write_stamp(stamps / "a.fits", stamp(0), PSF=psf_image())
    write_stamp(stamps / "b.fits", stamp(0))
    np.save(tmp_path / "mine.npy", np.stack([stamp(1)]))
    (tmp_path / "mine.toml").write_text(SIDECAR)
    out = tmp_path / "all.h5"
    sources = [str(p) for p in (btk, field, stamps, tmp_path / "mine.npy")]
    assert run(["ingest", *sources, "-o", str(out), "--no-fit"]) == 0
    text = capsys.readouterr().out
    for word in ("btk-hdf5", "fits-field", "plain-stamps", "plain-arrays", "1 no PSF", "not resolved"):
        assert word in text
    assert {c.source for c in read_cutouts(out)} == {"blend_0", "sky", "stamps", "mine"}


def test_fits_of_ingested_galaxies_find_the_truth(btk, field, tmp_path):
    """The PSFs and pixels are those of the images, or sizes and shapes would be off."""
    for name, path, radius, q in (("btk", btk, 0.5, 0.6), ("field", field, 0.4, 0.7)):
        cutouts, _ = open_cutouts(path, tmp_path / f"{name}.h5")
        good = cutouts.column("fit_snr") > 50
        assert good.sum() > 4
        assert np.median(cutouts.column("fit_half_light_radius")[good]) == pytest.approx(radius, rel=0.04)
        assert np.median(cutouts.column("fit_q")[good]) == pytest.approx(q, abs=0.03)
        assert np.median(cutouts.column("fit_sersic_n")[good]) == pytest.approx(1, abs=0.15)
        mag = cutouts.column("zero_point") - 2.5 * np.log10(cutouts.column("fit_flux"))
        if name == "btk":
            ids = cutouts.column("galaxy_id")
            np.testing.assert_allclose(mag[ids == 0], 20.0, atol=0.05)


# --- side-cars ---------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=True, allow_infinity=True) | st.booleans() | st.integers(-5, 5))
def test_sidecar_numbers_are_in_range_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("sidecar") / "stamps.toml"
    text = str(value).lower()
    path.write_text(f"pixel_scale = {text}\n")
    if not isinstance(value, bool) and 1e-3 <= value <= 10:
        assert read_sidecar(path.parent).pixel_scale == value
    else:
        with pytest.raises(CutoutError, match="pixel_scale must be a number"):
            read_sidecar(path.parent)


BAD_SIDECARS = {
    "not a TOML file": "pixel_scale 0.1",
    "'../x.fits' is not the name of a file in the same folder": 'psf = "../x.fits"',
    "psf and psf_fwhm both given": 'psf = "a.fits"\npsf_fwhm = 0.1',
    "psf_profile must be one of": 'psf_profile = "airy"',
    "band must be text, not 3": "band = 3",
    "psf_has_pixel must be true or false": "psf_has_pixel = 1",
    "bands must be tables": "bands = 3",
    "bands.i.gian is not known": "[bands.i]\ngian = 2",
}


@pytest.mark.parametrize("message", BAD_SIDECARS)
def test_bad_sidecars(tmp_path, message):
    (tmp_path / "stamps.toml").write_text(BAD_SIDECARS[message])
    with pytest.raises(CutoutError, match=re.escape(message)):
        read_sidecar(tmp_path)


def test_a_wcs_gives_the_pixel_scale(tmp_path):
    head = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CD1_1": -2.4e-5,
        "CD1_2": 1.8e-5,
        "CD2_1": 1.8e-5,
        "CD2_2": 2.4e-5,
    }
    write_stamp(tmp_path / "w.fits", stamp(0), head | {"PIXSCALE": None})
    assert read_fits_image(tmp_path / "w.fits").pixel_scale == pytest.approx(3e-5 * 3600)
