"""`skyloom render`: a GalSim configuration run in process, and what is said of files that failed."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
import pytest
import yaml
from astropy.io import fits

from skyloom.cli.main import run
from skyloom.demo import conditions_file
from skyloom.errors import ConfigError
from skyloom.render import parse_overrides, render_config

CONFIG = {
    "psf": {"type": "Gaussian", "fwhm": 0.2},
    "gal": {"type": "Exponential", "half_light_radius": 0.3, "flux": {"type": "Random", "min": 1, "max": 2}},
    "image": {
        "type": "Tiled", "nx_tiles": 2, "ny_tiles": 1, "stamp_size": 16, "pixel_scale": 0.2, "random_seed": 5,
        "noise": {"type": "Gaussian", "sigma": 0.1},
    },
    "output": {
        "dir": "/nowhere", "file_name": "a.fits",
        "truth": {"dir": "/nowhere", "file_name": "t.fits", "columns": {"flux": "gal.flux"}},
    },
}  # fmt: skip
CATALOGUE = conditions_file()
SEVERAL = {"nfiles": 3, "file_name": {"type": "NumberedFile", "root": "f", "num": "$file_num"}}
BREAKS_IN_FILE_1 = {"type": "Exponential", "flux": 1, "half_light_radius": "$0.3 / (file_num != 1)"}


def write(folder: Path, **sections) -> Path:
    path = folder / "field.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **sections}))
    return path


def test_the_folder_is_replaced_also_for_the_truth(tmp_path, capsys):
    assert run(["render", str(write(tmp_path)), "-o", str(tmp_path / "out")]) == 0
    assert {"a.fits", "t.fits"} <= {p.name for p in (tmp_path / "out").iterdir()}
    shown = capsys.readouterr()
    assert shown.out.split() == [str(tmp_path / "out" / "a.fits")]
    assert "a.fits: 2 galaxies" in shown.err


@pytest.mark.parametrize("output", [CONFIG["output"], SEVERAL])
def test_processes_leave_the_pixels_alone(tmp_path, output):
    path = write(tmp_path, output=output)
    one = render_config(path, tmp_path / "one")
    two = render_config(path, tmp_path / "two", nproc=2)
    assert len(one.written) == (3 if "nfiles" in output else 1)
    for a, b in zip(sorted(one.written), sorted(two.written), strict=True):
        assert a.name == b.name
        assert np.array_equal(fits.getdata(a), fits.getdata(b))


def test_overrides(tmp_path):
    path = write(tmp_path)
    first = render_config(path, tmp_path / "1")
    second = render_config(path, tmp_path / "2", overrides=parse_overrides(["image.random_seed=6"]))
    third = render_config(path, tmp_path / "3", overrides=parse_overrides(["image.noise={type: Gaussian, sigma: 9}"]))
    a, b, c = (fits.getdata(r.written[0]) for r in (first, second, third))
    assert not np.array_equal(a, b)
    assert c.std() > 10 * a.std()
    assert parse_overrides(["a.b=", "c=[1, x]"]) == {"a.b": None, "c": [1, "x"]}
    for bad in ("nothing", "=3", "a=[1"):
        with pytest.raises(ConfigError, match="key.sub=value|not YAML"):
            parse_overrides([bad])


@pytest.mark.parametrize("options", [[], ["--nproc", "2"], ["-v", "0"], ["--debug"]])
def test_files_that_failed_are_named(tmp_path, capsys, options):
    path = write(tmp_path, gal=BREAKS_IN_FILE_1, output=SEVERAL)
    assert run(["render", str(path), "-o", str(tmp_path), *options]) == 1
    shown = capsys.readouterr()
    assert ("Traceback" in shown.err) == ("--debug" in options)
    assert "-v" not in options or "galaxies/s" not in shown.err
    last = shown.err.strip().splitlines()[-1]
    assert "1 of 3 files failed" in last
    assert str(tmp_path / "f1.fits") in last
    assert "division by zero" in last
    assert len(shown.out.split()) == 2
    assert sorted(p.name for p in tmp_path.glob("f*.fits")) == ["f0.fits", "f2.fits"]


@pytest.mark.parametrize(
    ("sections", "status", "message"),
    [
        ({"gal": {"type": "Nebula"}}, 2, "configuration 'field'.*Nebula"),
        ({"gal": {"type": "Exponential", "half_light_radius": 1, "fluxx": 2}}, 2, "fluxx"),
        ({"modules": ["no_such_module"]}, 2, "no_such_module"),
        ({"modules": ["galsim_hub"]}, 2, r"galsim_hub.*modules: \[skyloom\]"),
        ({"output": "a.fits"}, 2, "output must be a mapping, not 'a.fits'"),
        (
            {
                "input": {"catalog": {"file_name": CATALOGUE}},
                "gal": {"type": "Exponential", "half_light_radius": {"type": "Catalog", "col": "hlr"}},
            },
            2,
            "hlr",
        ),
        ({"modules": ["skyloom"], "input": {"learned_galaxies": {"model": "x"}}}, 2, "no model is named 'x'"),
    ],
)
def test_bad_configurations(tmp_path, capsys, sections, status, message):
    path = write(tmp_path, **sections)
    assert run(["render", str(path), "-o", str(tmp_path), "-v", "0"]) == status
    error = capsys.readouterr().err
    assert "Traceback" not in error
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


@pytest.mark.parametrize("text", [None, "a: [1", "- 1", ""])
def test_files_that_are_no_configuration(tmp_path, text):
    path = tmp_path / "field.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match="field.yaml"):
        render_config(path, tmp_path)


def test_an_enormous_fft_is_an_error_and_not_a_crash(tmp_path):
    image = {"pixel_scale": 0.2, "size": 16, "gsparams": {"maximum_fft_size": 32}}
    files = render_config(write(tmp_path, image=image), tmp_path)
    assert not files.written
    assert "FFT" in files.failed[str(tmp_path / "a.fits")]
    assert not galsim.errors.raise_fft_size_error
