"""Runs that are killed at the worst moments, two at once, and weights that change under --resume."""

from __future__ import annotations

import signal
import types
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits

from skyloom.cli.main import run
from skyloom.descriptors import GeneratorEntry
from skyloom.errors import ConfigError
from skyloom.generators import registry
from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager
from skyloom.render import render_config
from skyloom.render.products import pixel_sha256

from .learned_fields import SPEC, Blobs
from .render_fields import CONFIG, FILES, PLAIN, pixels, start, wait_for, write_field, write_mischief

# Kills its own process while the third file comes under its name.
KILLER = """
import os, pathlib, signal
import skyloom.render.build as build

real, calls = build.commit, []

def commit(source, target, names):
    names, flag = list(names), pathlib.Path(os.environ["KILLER_FLAG"])
    calls.append(names)
    if not flag.exists() and "f2.fits" in names:
        flag.write_text("was here")
        mode = os.environ["KILLER_MODE"]
        if mode == "half a file":
            with (source / "f2.fits").open("r+b") as file:
                file.truncate(3000)
        if mode == "one of two files":
            real(source, target, names[:1])
        if mode == "no receipt":
            real(source, target, names)
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target, names)

build.commit = commit
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    render_config(write_field(folder, **PLAIN), folder / "out")
    return folder / "out"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("mode", ["half a file", "one of two files", "no receipt"])
def test_killed_while_a_file_is_written(tmp_path, made, monkeypatch, mode, workers):
    """One worker: the run dies, and --resume goes on. Two: the file is made again."""
    config = write_field(tmp_path, **{**PLAIN, "modules": ["mischief_kills_at_commit"]})
    (tmp_path / "mischief_kills_at_commit.py").write_text(KILLER)
    monkeypatch.setenv("KILLER_FLAG", str(tmp_path / "flag"))
    monkeypatch.setenv("KILLER_MODE", mode)
    out = tmp_path / "out"
    process = start(config, out, "--workers", workers)
    _, error = process.communicate(timeout=300)
    assert (tmp_path / "flag").exists(), error
    if workers == "1":
        assert process.returncode == -signal.SIGKILL
        assert not (out / "f2.fits.receipt.json").exists()
        assert (out / "f2.fits").exists() == (mode != "half a file")
        for path in out.glob("?[0-9].fits"):  # what has its final name is whole
            assert pixel_sha256(path) == pixels(made)[path.name]
        process = start(config, out, "--resume")
        _, error = process.communicate(timeout=300)
        assert "2 files stand already" in error
    assert process.returncode == 0, error
    assert pixels(out) == pixels(made)
    assert sorted(p.name for p in (out / ".skyloom").iterdir() if "unfinished" in p.name) == []


def test_a_second_run_beside_a_running_one_is_refused(tmp_path, capsys):
    config = write_mischief(tmp_path, "mischief_waits", f"flux(file_num, held='{tmp_path / 'go'}')")
    out = tmp_path / "out"
    process = start(config, out)
    try:
        wait_for(lambda: list(out.glob("*.receipt.json")) or process.poll() is not None)
        other = write_field(tmp_path / "other", **PLAIN)
        for more in ([], ["--resume"], ["--overwrite"]):
            assert run(["render", str(other), "-o", str(out), "-v", "0", *more]) == 1
            assert f"process {process.pid} on " in capsys.readouterr().err
    finally:
        (tmp_path / "go").touch()
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert len(list(out.glob("f?.fits"))) == FILES
    for path in out.glob("f?.fits"):
        fits.getdata(path)


def test_weights_changed_under_resume_are_refused(tmp_path):
    """A model of the same name and ranges, whose weights are others."""
    config = write_field(
        tmp_path,
        input={"learned_galaxies": {"model": "blobs", "zero_point": 30.0}},
        gal={**CONFIG["gal"], "half_light_radius": 0.3},
        output={"file_name": "f.fits"},
    )
    out = tmp_path / "out"
    with _model("a"):
        assert len(render_config(config, out).written) == 1
        assert len(render_config(config, out, resume=True).kept) == 1
    before = (out / "f.fits").read_bytes()
    with _model("b"):
        with pytest.raises(ConfigError, match="weights of model 'blobs': aaaaaaaaaaaa -> bbbbbbbbbbbb"):
            render_config(config, out, resume=True)
        assert (out / "f.fits").read_bytes() == before
        assert len(render_config(config, out, overwrite=True).written) == 1
    assert fits.getheader(out / "f.fits")["WEIGHTS"] == 64 * "b"


class _model:  # noqa: N801
    """The generator `blobs` with weights of this letter, while a block lasts."""

    def __init__(self, letter: str) -> None:
        spec = replace(SPEC, weights_sha256=64 * letter)

        class Other(Blobs):
            def sample(self, conditions, *, seed, out_of_range="error"):
                batch = super().sample(conditions, seed=seed, out_of_range=out_of_range)
                return replace(batch, weights_sha256=spec.weights_sha256)

        Other.spec = spec
        give = hookimpl(specname="skyloom_generators")(lambda: [GeneratorEntry("blobs", spec=spec, factory=Other)])
        self.plugin = types.SimpleNamespace(skyloom_generators=give)

    def __enter__(self) -> None:
        registry._load_named.cache_clear()
        plugin_manager().register(self.plugin, name="blobs for tests")

    def __exit__(self, *exc: object) -> None:
        plugin_manager().unregister(self.plugin)
        registry._load_named.cache_clear()


def test_every_byte_that_came_with_a_file_is_watched(tmp_path):
    """An altered truth table is as bad as an altered image."""
    config = write_field(tmp_path, output={"file_name": "f.fits"})
    out = tmp_path / "out"
    render_config(config, out, quicklook=True)
    names = sorted(p.name for p in out.iterdir() if p.is_file() and not p.name.endswith((".json",)))
    assert {"f.fits", "f.galaxies.fits", "f.png"} <= set(names)
    for name in names:
        path = out / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1  # one bit
        path.write_bytes(data)
        files = render_config(config, out, resume=True, quicklook=True)
        assert files.repaired == {str(out / "f.fits"): f"{name} has been altered"}
        assert Path(out / name).read_bytes() != bytes(data)
