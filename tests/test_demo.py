"""The demo: its configuration and table, and what it writes (with Sersic galaxies, to be quick)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skyloom import Conditions
from skyloom.cli.main import run
from skyloom.demo import conditions_file, configuration_file, run_demo
from skyloom.demo.picture import asinh_stretch, choose_galaxies
from skyloom.generators.registry import list_models
from skyloom.render import render_config

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"image.size": 300, "image.nobjects": 40, "image.image_pos.x.max": 300, "image.image_pos.y.max": 300}
needs_sersic = pytest.mark.skipif(
    "sersic" not in list_models(), reason="the plugin distribution skyloom-sersic is not installed"
)


def test_the_example_in_the_documentation_is_the_demo():
    example = ROOT / "docs" / "examples" / "euclid_field.yaml"
    assert example.read_bytes() == configuration_file().read_bytes()


def test_the_table_is_plausible():
    table = Table.read(conditions_file())
    conditions = Conditions.from_table(table, zero_point=30.0)
    assert len(conditions) == len(set(table["galaxy_id"])) == 300
    assert (table["mag"].min() >= 18.5) & (table["mag"].max() <= 25.0)
    counts, _ = np.histogram(table["mag"], [21, 22, 23, 24, 25])
    assert np.all(np.diff(counts) > 0)
    assert np.median(table["half_light_radius"][table["mag"] > 24]) == pytest.approx(0.27, abs=0.1)


@needs_sersic
def test_the_demo_writes_image_truth_and_picture(tmp_path):
    files = run_demo(tmp_path / "new", model="sersic", overrides=SMALL)
    assert (files.model, files.galaxies) == ("sersic", 40)
    with fits.open(files.image) as hdus:
        header, image = hdus[0].header, hdus[0].data
    assert image.shape == (300, 300)
    assert header["ZEROPNT"] == pytest.approx(25.5 + 2.5 * np.log10(1695))
    assert (header["SEED"], header["GAIN"], header["EXPTIME"], header["MODEL"]) == (
        2026,
        1.0,
        1695.0,
        "sersic",
    )
    variance = 4.5**2 * 3 + header["SKYLEVEL"] * 0.1**2
    assert np.sqrt(np.mean(image[image < 0] ** 2)) == pytest.approx(np.sqrt(variance), rel=0.08)
    truth = Table.read(files.truth)
    assert np.allclose(truth["flux"], 10 ** (-0.4 * (truth["mag"] - header["ZEROPNT"])))
    asked = Table.read(conditions_file())[:40]
    assert list(truth["galaxy_id"]) == list(asked["galaxy_id"])
    for name in ("mag", "half_light_radius", "sersic_n", "q", "redshift"):
        assert np.allclose(truth[name], asked[name])
    assert np.allclose(truth["beta"], np.deg2rad(asked["beta"]))
    assert files.picture.read_bytes().startswith(b"\x89PNG")


@needs_sersic
def test_command_says_where_things_are(tmp_path, capsys, monkeypatch):
    from skyloom.demo import run as demo_run

    def small(path, out, *, overrides, **more):
        return render_config(path, out, overrides={**overrides, **SMALL}, **more)

    monkeypatch.setattr(demo_run, "render_config", small)
    assert run(["demo", "-o", str(tmp_path), "--model", "sersic", "--seed", "7", "--nproc", "2"]) == 0
    said = capsys.readouterr().out
    for name in ("euclid_field.fits", "euclid_field_truth.fits", "demo.png"):
        assert str(tmp_path / name) in said
    assert fits.getheader(tmp_path / "euclid_field.fits")["SEED"] == 7


def test_an_unknown_model_is_bad_input(tmp_path, capsys):
    assert run(["demo", "-o", str(tmp_path), "--model", "nonesuch"]) == 2
    assert "nonesuch" in capsys.readouterr().err


def test_stretch_is_monotonic_within_0_and_1():
    scaled = asinh_stretch(np.array([[-100.0, -2.0, 0.0, 1.0, 50.0, 1e3, 1e9]]), 1.0, 1e3, 4.0)[0]
    assert np.all(np.diff(scaled) >= 0)
    assert (scaled[0], scaled[1], scaled[-2], scaled[-1]) == (0.0, 0.0, 1.0, 1.0)


def test_galaxies_for_the_picture_are_whole_and_apart():
    rng = np.random.default_rng(1)
    truth = Table({name: rng.uniform(1, 500, 200) for name in ("x", "y")})
    truth["mag"], truth["q"] = rng.uniform(19, 25, 200), rng.uniform(0.3, 1, 200)
    truth["half_light_radius"] = rng.uniform(0.2, 2, 200)
    rows = choose_galaxies(truth, 500, 0.1, 6)
    assert len(set(rows)) == 6
    chosen = truth[rows]
    reach = 30 * chosen["half_light_radius"]
    for name in ("x", "y"):
        assert np.all((chosen[name] > reach) & (chosen[name] < 500 - reach))


@pytest.mark.slow
@needs_sersic
def test_the_stock_program_runs_the_example_from_anywhere(tmp_path):
    galsim = Path(sys.executable).with_name("galsim")
    command = [
        galsim,
        "-x",
        ROOT / "docs" / "examples" / "euclid_field.yaml",
        "input.learned_galaxies.model=sersic",
    ]
    command += [f"{key}={value}" for key, value in SMALL.items()]
    images = []
    for nproc in (1, 2):
        done = subprocess.run(
            [*command, f"image.nproc={nproc}"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("galaxies by sersic") == 1
        images.append(fits.getdata(tmp_path / "output" / "euclid_field.fits"))
    assert np.array_equal(*images)
