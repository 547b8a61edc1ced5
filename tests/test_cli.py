"""The command line: help, errors, `plugins`, `models`, `sample`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from matplotlib.image import imread

from skyloom import __version__
from skyloom.cli.group import COMMANDS
from skyloom.cli.main import run
from skyloom.descriptors import Command
from skyloom.errors import SkyloomError
from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager

ONE = ["--flux", "1e4", "--half-light-radius", "0.5", "--sersic-n", "1.5", "--q", "0.6", "--beta", "30"]
SERSIC = ["sample", "--model", "sersic"]


def test_help_is_fast_and_lists_all() -> None:
    code = (
        "import sys; from skyloom.cli.main import run; assert run(['--help']) == 0;"
        "print([m for m in ('torch', 'matplotlib', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name, summary in COMMANDS.items():
        assert name in done.stdout
        assert summary[:30] in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"Example: skyloom {name}" in out
    assert "--debug" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["sample", *ONE], "Missing option '-o'"),
        ([*SERSIC, *ONE, "-o", "a.txt"], "'a.txt' must end in one of .h5, .hdf5, .fits, .png"),
        ([*SERSIC, *ONE, "--conditions", "no.ecsv", "-o", "a.h5"], "'no.ecsv' does not exist"),
        (
            ["models", "sersik"],
            "no model is named 'sersik'; did you mean 'sersic'? There are: cosmos, sersic.",
        ),
        (
            ["sample", "--model", "nosuch", *ONE, "-o", "a.h5"],
            "no model is named 'nosuch'. There are: cosmos, sersic.",
        ),
        ([*SERSIC, "--mag", "22", *ONE[2:], "-o", "a.h5"], "column 'mag' needs 'zero_point'"),
        ([*SERSIC, *ONE, "--mag", "22", "--zero-point", "30", "-o", "a.h5"], "exactly one of the columns"),
        ([*SERSIC, *ONE, "--q", "1.5", "-o", "a.h5"], "column 'q', row 0 (galaxy 0): 1.5 is not within"),
        ([*SERSIC, *ONE, "--q", "0.01", "-o", "a.h5"], "galaxy 0 (row 0): q = 0.01 is outside [0.05, 1]"),
        (
            ["sample", "--model", "no.safetensors", *ONE, "-o", "a.h5"],
            "weights file 'no.safetensors' does not exist",
        ),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--debug", "models", "nosuch"], ["models", "nosuch", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" in capsys.readouterr().err
    assert run(["models", "nosuch"]) == 2
    assert "Traceback" not in capsys.readouterr().err


class Extra:
    """A plugin with a command that fails as it is told."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def skyloom_commands(self) -> list[Command]:
        return [Command("extra", load=self.load, summary="of a plugin")]

    def load(self) -> click.Command:
        def work() -> None:
            raise self.error

        return click.Command("extra", callback=work)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SkyloomError("it broke"), 1, "skyloom: error: it broke\n"),
        (ValueError("deep inside"), 1, "skyloom: error: ValueError: deep inside\n"),
        (
            PermissionError(13, "not yours", "/x"),
            1,
            "skyloom: error: PermissionError: [Errno 13] not yours: '/x'\n",
        ),
        (KeyboardInterrupt(), 1, "skyloom: stopped\n"),
    ],
)
def test_failures_and_a_command_of_a_plugin(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = Extra(error)
    plugin_manager().register_version(plugin, "extra", "1.0")
    try:
        assert run(["--help"]) == 0
        assert "of a plugin" in capsys.readouterr().out
        assert run(["extra"]) == status
        assert capsys.readouterr().err.endswith(message)
    finally:
        plugin_manager().unregister(plugin)


def test_the_program_s_exit_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "skyloom", "models", "nosuch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "skyloom-sersic 0.1.0 (entry point)\n    hooks  skyloom_generators\n    generators: sersic\n" in out
    assert f"skyloom.generators.builtin {__version__} (built-in)" in out


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    out = capsys.readouterr().out
    assert "sersic  purely physical" in out
    assert "q: 0.05 to 1" in out
    assert "cosmos  " in out
    assert run(["models", "sersic"]) == 0
    assert capsys.readouterr().out.startswith("# sersic")


def test_sample_profiles(tmp_path: Path) -> None:
    assert run([*SERSIC, *ONE, "--count", "3", "--seed", "5", "-o", str(tmp_path / "new" / "a.h5")]) == 0
    with h5py.File(tmp_path / "new" / "a.h5") as file:
        assert file["galaxy_id"][:].tolist() == [0, 1, 2]
        assert file["flux"][:].tolist() == [1e4] * 3
        assert file["beta"][0] == pytest.approx(np.pi / 6)
        assert file["half_light_radius"].attrs["unit"] == "arcsec"
        assert file["drawn_from"][0] == b"parametric"
        assert (file.attrs["generator"], file.attrs["seed"]) == ("sersic", "5")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.h5"]


@pytest.mark.parametrize("name", ["t.ecsv", "t.fits", "t.csv"])
def test_sample_a_table_to_stamps(name: str, tmp_path: Path) -> None:
    table = Table({"galaxy_id": [5, 3], "mag": [22.0, 23.0], "half_light_radius": [0.3, 0.4], "sersic_n": [1.0, 2.0]})
    table.write(tmp_path / name)
    out = tmp_path / "out.fits"
    arguments = ["--conditions", str(tmp_path / name), "--zero-point", "27", "-o", str(out)]
    assert run([*SERSIC, *arguments, "--pixel-scale", "0.1", "--stamp-size", "64"]) == 0
    with fits.open(out) as units:
        assert units[0].data.shape == (2, 64, 64)
        assert units[0].data.sum((1, 2)) == pytest.approx([100, 39.8], rel=0.05)
        assert np.unravel_index(units[0].data[0].argmax(), (64, 64))[0] in (31, 32)
        assert units["TRUTH"].data["galaxy_id"].tolist() == [5, 3]
        assert units[0].header["generator"] == "sersic"


def test_sample_a_bad_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("galaxy_id,flux,half_light_radius,sersic_n\n1,5,0.5,1\n2,5,-0.5,1\n")
    out = str(tmp_path / "o.h5")
    assert run([*SERSIC, "--conditions", str(bad), "-o", out]) == 2
    assert "bad.csv': column 'half_light_radius', row 1 (galaxy 2): -0.5 is not within" in capsys.readouterr().err
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  =                    T")
    assert run([*SERSIC, "--conditions", str(tmp_path / "bad.fits"), "-o", out]) == 2
    assert "bad.fits' cannot be read as a table" in capsys.readouterr().err
    assert run([*SERSIC, "--conditions", str(bad), "--count", "2", "-o", out]) == 2
    assert "a table has its own rows" in capsys.readouterr().err
    (tmp_path / "bad.txt").write_text("1 2 3")
    assert run([*SERSIC, "--conditions", str(tmp_path / "bad.txt"), "-o", out]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1  # without astropy's list of formats
    bad.write_text("galaxy_id,flux,half_light_radius,sersic_n\n")
    assert run([*SERSIC, "--conditions", str(bad), "-o", out]) == 2
    assert "bad.csv' has no rows" in capsys.readouterr().err


def test_sample_a_picture(tmp_path: Path) -> None:
    assert run([*SERSIC, *ONE, "--count", "3", "--stamp-size", "32", "-o", str(tmp_path / "a.png")]) == 0
    picture = imread(tmp_path / "a.png")
    assert picture.shape[:2] == (64, 64)
    assert picture[8:24, 8:24, :3].mean() > 2 * picture[40:56, 40:56, :3].mean()  # the fourth place is empty


def test_sample_a_galaxy_too_steep_for_an_fft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steep = ["--flux", "1e4", "--sersic-n", "6", "--q", "0.2", "--half-light-radius"]
    out = str(tmp_path / "a.fits")
    small = ["--stamp-size", "32", "-o", out]
    assert run([*SERSIC, *steep, "0.05", *small]) == 0  # GalSim alone would ask for 80 GB
    stamp = fits.getdata(out)[0]
    assert 0.85 < stamp.sum() / 1e4 < 1
    assert run([*SERSIC, *steep, "1e-3", "--pixel-scale", "10", "--stamp-size", "1024", "-o", out]) == 1
    assert "galaxy 0: half_light_radius = 0.001 arcsec is too small to draw without a PSF" in capsys.readouterr().err
