"""Files of stamps: every object by itself, its PSF and the segmentation, from both drivers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import galsim
import h5py
import numpy as np
import pytest
from astropy.io import fits

import skyloom
from skyloom.cli.main import run
from skyloom.errors import BadInputError, ConfigError, PluginError
from skyloom.render import render_config
from skyloom.stamp_file import StampFile, StampFileWriter, read_stamps

from .field_plugins import galaxies, plugin
from .render_fields import CONFIG, PLAIN, write_field

FIELD: dict[str, Any] = {
    "size": (100, 80), "seed": 5, "model": "sersic", "psf": galsim.Moffat(beta=3, fwhm=0.3), "pixel_scale": 0.1,
    "sky_level": 1000.0, "gain": 2.0, "read_noise": 3.0, "kind": ["galaxy", "star"] * 10, "noise": "none",
}  # fmt: skip


def table() -> Any:
    return galaxies(20, side=(100, 80))


def summed(found: StampFile, shape: tuple[int, int], origin: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The image that the stamps add up to, and the segmentation as its definition says."""
    image = galsim.ImageD(shape[1], shape[0], xmin=1, ymin=1)
    brightest, owner = np.full(shape, found.attributes["threshold"]), np.full(shape, -1)
    for row in range(len(found)):
        x0, y0 = (int(found.columns[name][row]) for name in ("x0", "y0"))
        stamp = galsim.ImageD(found.stamp(row).astype(float), xmin=x0, ymin=y0)
        assert stamp.array.shape == (found.columns["height"][row], found.columns["width"][row])
        both = stamp.bounds & image.bounds
        if not both.isDefined():
            continue
        image[both] += stamp[both]
        alone = galsim.ImageD(image.bounds, init_value=0)
        alone[both] = stamp[both]
        more = alone.array > brightest
        brightest[more], owner[more] = alone.array[more], row
    return image.array, owner


def test_the_stamps_of_a_field_add_up_to_it(tmp_path):
    field = skyloom.render_field(table(), **FIELD, stamps=tmp_path / "f.hdf5", stamp_threshold=2.0)
    found = skyloom.read_stamps(tmp_path / "f.hdf5")
    image, owner = summed(found, (80, 100))
    sky = 1000 * 0.01
    assert np.abs(field.image - sky - image).max() < 1e-5 * image.max()
    assert np.array_equal(found.segmentation(), owner)
    assert 0.05 < (owner >= 0).mean() < 0.95
    sigma = np.sqrt(sky * 2 + 9) / 2
    assert found.attributes["noise_sigma"] == pytest.approx(sigma)
    assert found.attributes["threshold"] == pytest.approx(2 * sigma)
    assert found.columns["galaxy_id"].tolist() == sorted(field.truth["galaxy_id"])
    order = np.argsort(field.truth["galaxy_id"])
    assert found.columns["x0"].tolist() == field.truth["stamp_x"][order].tolist()
    assert found.columns["width"].tolist() == field.truth["stamp_size"][order].tolist()
    assert set(found.columns["psf"]) == {0}
    want = FIELD["psf"].drawImage(nx=65, ny=65, scale=0.1).array
    assert np.abs(found.psf(3) - want).max() < 1e-6 * want.max()


def test_the_file_depends_on_what_is_asked_for_alone(tmp_path):
    def psf(x: float, y: float, wavelength: float | None) -> galsim.GSObject:
        return galsim.Gaussian(fwhm=0.3 + 1e-3 * x)

    files = []
    rows = table()
    rows["kind"] = FIELD["kind"]
    choice = {key: value for key, value in FIELD.items() if key != "kind"} | {"psf": psf, "psf_cell": 30}
    for order, batch_size in ((slice(None), 512), (slice(None), 3), (slice(None, None, -1), 7)):
        path = tmp_path / f"{batch_size}.hdf5"
        skyloom.render_field(rows[order], **choice, batch_size=batch_size, stamps=path)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    found = read_stamps(path)
    x = found.columns["x0"] + found.columns["width"] / 2
    left, right = (found.psf(int(row)).max() for row in (np.argmin(x), np.argmax(x)))
    assert left > right  # the wider PSF


def test_a_field_that_fails_leaves_no_file(tmp_path):
    broken = plugin(skyloom_add_noise=lambda image: image * np.nan)
    with broken, pytest.raises(PluginError, match="not finite"):
        skyloom.render_field(table(), **FIELD, stamps=tmp_path / "f.hdf5")
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInputError, match="stamp_threshold must be a number from 0, not -1"):
        skyloom.render_field(table(), **FIELD, stamps=tmp_path / "f.hdf5", stamp_threshold=-1)
    skyloom.render_field(table()[:0], **{**FIELD, "kind": None}, stamps=tmp_path / "f.hdf5")
    assert len(read_stamps(tmp_path / "f.hdf5")) == 0
    assert (read_stamps(tmp_path / "f.hdf5").segmentation() == -1).all()


def test_many_stamps_are_written_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr("skyloom.stamp_file._FLUSH_PIXELS", 50)
    rng = np.random.default_rng(1)
    stamps = [rng.normal(size=(int(h), int(w))).astype(np.float32) for h, w in rng.integers(1, 9, (30, 2))]
    with StampFileWriter(tmp_path / "s.hdf5", (10, 10), psf_size=3) as writer:
        for number in rng.permutation(30).tolist():
            writer.add(number + 100, number, number - 10, 2, stamps[number], -1)
            assert writer._held < 50
        writer.finish(0.5, {"wavelength": 700.0})
    found = read_stamps(tmp_path / "s.hdf5")
    assert found.columns["galaxy_id"].tolist() == list(range(100, 130))
    assert all(np.array_equal(found.stamp(row), stamps[row]) for row in range(30))
    assert np.array_equal(found.segmentation(), summed(found, (10, 10))[1])


def test_bytes_do_not_depend_on_when_handles_are_forgotten(tmp_path):
    made = []
    for kept in ((), ("pixels",), ("psf_image",)):
        with StampFileWriter(tmp_path / "s.hdf5", (10, 10), psf_size=3) as writer:
            handles = [writer._file[name] for name in kept]
            psf = writer.add_psf(np.ones((3, 3)))
            writer.add(1, 0, 1, 1, np.ones((3, 3)), psf)
            writer.finish(0.5, {})
            del handles
        made.append((tmp_path / "s.hdf5").read_bytes())
    assert made[0] == made[1] == made[2]


def test_a_wide_image_is_read_back(tmp_path):
    with StampFileWriter(tmp_path / "s.hdf5", (20_000, 40)) as writer:
        writer.add(7, 7, 15_000, 3, np.ones((5, 5)), -1)
        writer.finish(0.5, {})
    assert np.argwhere(read_stamps(tmp_path / "s.hdf5").segmentation() == 0).min(axis=0).tolist() == [2, 14_999]


def test_of_equals_the_first_number_has_the_pixel(tmp_path):
    for order in ((1, 2), (2, 1)):
        with StampFileWriter(tmp_path / "s.hdf5", (3, 3)) as writer:
            for number in order:
                writer.add(number, number, 1, 1, np.ones((3, 3)), -1)
            writer.finish(0.0, {})
        assert (read_stamps(tmp_path / "s.hdf5").segmentation() == 0).all()


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        read_stamps(tmp_path / "none.hdf5")
    (tmp_path / "text.hdf5").write_text("text")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_stamps(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["a"] = 1
    with pytest.raises(BadInputError, match="no file of stamps of version 1"):
        read_stamps(tmp_path / "other.hdf5")
    with StampFileWriter(tmp_path / "s.hdf5", (3, 3)) as writer:
        writer.finish(0.0, {})
    with h5py.File(tmp_path / "s.hdf5", "r+") as file:
        del file["x0"]
        file["x0"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "a")
    with pytest.raises(BadInputError, match="'/x0' is a ExternalLink"):
        read_stamps(tmp_path / "s.hdf5")


# --- skyloom render --stamps

TILED = {
    "type": "Tiled", "nx_tiles": 3, "ny_tiles": 2, "stamp_size": 24, "pixel_scale": 0.2, "random_seed": 5,
    "noise": CONFIG["image"]["noise"],
}  # fmt: skip
TWO = {**CONFIG["output"], "nfiles": 2}
STAR = {"type": "Gaussian", "sigma": 1e-3, "flux": 500.0}
IMAGES = {
    "Scattered": CONFIG["image"],
    "LearnedScattered": {**CONFIG["image"], "type": "LearnedScattered", "batch_size": 2},
    "LearnedScattered, its own sizes": {
        key: value for key, value in {**CONFIG["image"], "type": "LearnedScattered"}.items() if key != "stamp_size"
    },
    "Tiled": TILED,
    "Tiled, overlapping": {**TILED, "border": -4},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_a_configurations_stamps_add_up_to_its_image(tmp_path, kind):
    gal = {"type": "List", "items": [CONFIG["gal"], STAR], "index": "$obj_num % 3 // 2"}
    image = {**IMAGES[kind], "wcs": {"type": "Shear", "scale": 0.2, "shear": {"type": "G1G2", "g1": 0.1, "g2": 0}}}
    del image["pixel_scale"]
    config = write_field(tmp_path, image=image, gal=gal, output=TWO)
    noiseless = write_field(tmp_path / "n", image={**image, "noise": {"type": "Gaussian", "sigma": 1e-30}}, gal=gal)
    files = render_config(config, tmp_path / "out", stamps=True)
    assert not files.failed
    render_config(noiseless, tmp_path / "n" / "out")
    for number in (0, 1):
        found = read_stamps(tmp_path / "out" / f"f{number}.stamps.hdf5")
        want = fits.getdata(tmp_path / "n" / "out" / f"f{number}.fits").astype(float)
        image_, owner = summed(found, want.shape)
        assert np.abs(image_ - want).max() < 1e-5 * want.max()
        assert np.array_equal(found.segmentation(), owner)
        learned = found.columns["number"] % 3 != 2
        assert found.columns["galaxy_id"][learned].tolist() == (found.columns["number"][learned] + 1).tolist()
        assert (found.columns["galaxy_id"][~learned] == -1).all()
        assert found.attributes["noise_sigma"] == pytest.approx(np.sqrt(100 * 0.04 / 1.5 + (3 / 1.5) ** 2))
        assert found.attributes["wavelength"] == 800
        psf = galsim.Gaussian(fwhm=0.3).drawImage(
            nx=65, ny=65, wcs=galsim.ShearWCS(0.2, galsim.Shear(g1=0.1, g2=0)), dtype=float
        )
        assert np.abs(found.psf(0) - psf.array).max() < 1e-5 * psf.array.max()


def test_the_image_and_the_truth_are_what_they_are_without(tmp_path):
    config = write_field(tmp_path, image=IMAGES["LearnedScattered"], output=TWO)
    render_config(config, tmp_path / "with", stamps=True)
    render_config(config, tmp_path / "without")
    for name in ("f0.fits", "f0.galaxies.fits"):
        with fits.open(tmp_path / "with" / name) as a, fits.open(tmp_path / "without" / name) as b:
            hdu = 1 if "galaxies" in name else 0
            assert a[hdu].data.tobytes() == b[hdu].data.tobytes()


def test_the_file_is_in_the_receipt_and_watched(tmp_path, capsys):
    config = write_field(tmp_path, output=TWO)
    out = tmp_path / "out"
    command = ["render", str(config), "-o", str(out), "--no-quicklook", "-v", "0"]
    assert run([*command, "--stamps"]) == 0
    receipt = json.loads((out / "f0.fits.receipt.json").read_text())
    assert "f0.stamps.hdf5" in receipt["files"]
    assert not list(out.glob("**/.stamps*"))
    before = (out / "f0.stamps.hdf5").read_bytes()
    (out / "f0.stamps.hdf5").write_bytes(before[:-100])
    assert run([*command, "--stamps", "--resume"]) == 0
    assert "f0.fits (f0.stamps.hdf5 is truncated" in capsys.readouterr().err
    assert (out / "f0.stamps.hdf5").read_bytes() == before
    assert run([*command, "--resume"]) == 2  # the folder has what was not asked for, or the reverse
    assert "output.learned_stamps" in capsys.readouterr().err
    files = render_config(config, tmp_path / "two", workers=2, stamps=True)
    assert len(files.written) == 2
    assert (tmp_path / "two" / "f0.stamps.hdf5").read_bytes() == before


REFUSED = {
    "single": ({"image": {"type": "Single", "pixel_scale": 0.2, "size": 32, "random_seed": 1}}, {}, "type Single"),
    "several images": ({"output": {"type": "MultiFits", "nimages": 2, "file_name": "a.fits"}}, {}, "type MultiFits"),
    "processes": ({}, {"nproc": 2}, "written by one process; image.nproc is 2"),
    "photons": ({"stamp": {"draw_method": "phot"}}, {}, "draw_method must not be phot"),
    "key": ({"output": {**TWO, "learned_stamps": {"treshold": 3}}}, {}, "unknown key 'treshold' .did you mean 'thresh"),
    "threshold": ({"output": {**TWO, "learned_stamps": {"threshold": -3}}}, {}, "threshold must be a number from 0"),
    "psf": ({"output": {**TWO, "learned_stamps": {"psf_size": 10**6}}}, {}, "psf_size must be 1 to 1025 pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_stamps_is_refused(tmp_path, case):
    sections, more, message = REFUSED[case]
    config = write_field(tmp_path, **sections)
    with pytest.raises(ConfigError, match=message):
        render_config(config, tmp_path / "out", stamps=True, **more)
    assert not list((tmp_path / "out").glob("**/*.hdf5"))


def test_settings_of_the_section(tmp_path):
    section = {"threshold": 5.0, "psf_size": 21, "file_name": "$'s%d.hdf5' % file_num"}
    config = write_field(tmp_path, **PLAIN, output={**TWO, "learned_stamps": section})
    files = render_config(config, tmp_path / "out")
    assert not files.failed
    found = read_stamps(tmp_path / "out" / "s1.hdf5")
    assert found.psf(0).shape == (21, 21)
    assert found.attributes["threshold"] == pytest.approx(5 * found.attributes["noise_sigma"])


def test_the_galsim_program_writes_them_too(tmp_path):
    base = galsim.config.CopyConfig(
        {**CONFIG, "output": {"dir": str(tmp_path), "file_name": "a.fits", "learned_stamps": {"file_name": "a.hdf5"}}}
    )
    galsim.config.Process(base)
    assert len(read_stamps(tmp_path / "a.hdf5")) == 5
    assert sorted(p.name for p in Path(tmp_path).iterdir()) == ["a.fits", "a.hdf5"]
