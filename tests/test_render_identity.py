"""The pixels of a render do not depend on workers, processes, shards, or on who was killed."""

from __future__ import annotations

import errno
import importlib.util
import json
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import galsim
import pytest
import yaml
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.cli.main import run
from skyloom.errors import BadInputError, ConfigError, RenderError
from skyloom.render import render_config
from skyloom.render.receipts import Origin
from skyloom.render.state import claim_seed, seed_of
from skyloom.render.tasks import Task, shard_of

from .render_fields import CONFIG, FILES, PLAIN, pixels, write_field

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run of one worker."""
    folder = tmp_path_factory.mktemp("whole")
    files = render_config(write_field(folder), folder / "out")
    assert (len(files.written), files.failed) == (FILES, {})
    return folder


def test_two_workers(whole, tmp_path):
    files = render_config(whole / "field.yaml", tmp_path, workers=2)
    assert files.summary.galaxies == 5 * FILES
    assert pixels(tmp_path) == pixels(whole / "out")
    assert len(pixels(tmp_path)) == 2 * FILES
    for path in files.written:  # and not the pixels alone
        assert path.read_bytes() == (whole / "out" / path.name).read_bytes()


def test_two_processes_for_an_image(whole, tmp_path):
    render_config(whole / "field.yaml", tmp_path, nproc=2)
    assert pixels(tmp_path) == pixels(whole / "out")


def test_two_shards_are_the_whole(whole, tmp_path):
    for shard in ("2/2", "1/2"):
        command = ["render", str(whole / "field.yaml"), "-o", str(tmp_path), "--shard", shard, "--no-quicklook"]
        assert run(command) == 0
    assert pixels(tmp_path) == pixels(whole / "out")
    summary = json.loads((tmp_path / "render_summary.1-of-2.json").read_text())
    assert summary["made"] == ["f0.fits", "f2.fits"]


def test_the_galsim_program_makes_the_same_pixels(whole, tmp_path):
    config = {**CONFIG, "output": {**CONFIG["output"], "dir": str(tmp_path)}}
    galsim.config.Process(galsim.config.CopyConfig(config))
    for number in range(FILES):
        ours, theirs = (fits.getdata(f / f"f{number}.fits") for f in (whole / "out", tmp_path))
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    spec = importlib.util.spec_from_file_location("kill_resume", ROOT / "benchmarks" / "kill_resume.py")
    kill_resume = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_resume)
    chance = random.Random(3)
    configuration = kill_resume.write_configuration(tmp_path, "sersic")
    assert kill_resume.start(configuration, tmp_path / "reference").wait() == 0
    reference = kill_resume.pixels(tmp_path / "reference")
    assert len(reference) == 2 * kill_resume.FILES
    killed = []
    for number in range(2):
        killed += kill_resume.kill_and_resume(tmp_path / str(number), reference, configuration, chance)
    assert killed


# --- documents, shared names, seeds


def test_documents_are_tasks_and_have_the_same_galaxies(tmp_path):
    bands = [{"output": {"file_name": f"{band}.fits", "nfiles": 1}} for band in "ri"]
    base = {**CONFIG, "output": {}}
    path = tmp_path / "bands.yaml"
    path.write_text(yaml.safe_dump_all([base, *bands]))
    files = render_config(path, tmp_path / "out")
    assert [p.name for p in files.written] == ["r.fits", "i.fits"], files.failed
    assert (fits.getdata(files.written[0]) == fits.getdata(files.written[1])).all()


def test_a_file_that_tasks_share_comes_from_the_first(tmp_path):
    psf = {"psf": {"type": "Gaussian", "fwhm": "$0.3 + 0.1 * file_num"}}
    output = {**CONFIG["output"], "psf": {"file_name": "psf.fits"}}
    config = write_field(tmp_path, **{**PLAIN, **psf, "output": output})
    render_config(config, tmp_path / "forward")
    for shard in ((2, 2), (1, 2)):
        render_config(config, tmp_path / "shards", shard=shard)
    assert pixels(tmp_path / "forward") == pixels(tmp_path / "shards")
    assert "psf.fits" in pixels(tmp_path / "forward")
    other = write_field(tmp_path / "one", **{**PLAIN, **psf, "output": {**output, "nfiles": 1}})
    render_config(other, tmp_path / "one" / "out")
    assert pixels(tmp_path / "one" / "out")["psf.fits"] == pixels(tmp_path / "forward")["psf.fits"]


@pytest.mark.parametrize("name", ["truth.fits", "$'truth.fit%s' % ('s' * (file_num > 0))"])
def test_a_truth_table_that_tasks_share_is_refused(tmp_path, name):
    output = {**CONFIG["output"], "learned_truth": {"file_name": name}}
    with pytest.raises(ConfigError, match=r"would hold the galaxies of one of the 4 output files and lose"):
        render_config(write_field(tmp_path, output=output), tmp_path / "out", shard=(1, 2))
    assert not list(tmp_path.glob("out/*"))


def test_a_truth_table_of_each_task_may_have_any_name(tmp_path):
    output = {**CONFIG["output"], "learned_truth": {"file_name": "$'truth%d.fits' % file_num"}}
    config = write_field(tmp_path, output=output)
    render_config(config, tmp_path / "out")
    assert len(list(tmp_path.glob("out/truth?.fits"))) == FILES
    assert len(render_config(config, tmp_path / "out", resume=True).kept) == FILES


@pytest.mark.parametrize("section", [{}, {"hdu": 1}])
def test_a_truth_section_without_a_name(tmp_path, section):
    config = write_field(tmp_path, output={"file_name": "f.fits", "learned_truth": section})
    files = render_config(config, tmp_path / "out")
    assert files.written, files.failed
    name = "f.fits" if section else "f.galaxies.fits"
    assert len(fits.getdata(tmp_path / "out" / name, 1)) == 5
    assert (tmp_path / "out" / "f.galaxies.fits").exists() == (not section)


def test_without_a_seed_one_is_drawn_and_kept(tmp_path):
    image = {key: value for key, value in CONFIG["image"].items() if key != "random_seed"}
    config = write_field(tmp_path, **PLAIN, image=image)
    files = render_config(config, tmp_path / "a")
    seed = fits.getheader(files.written[0])["SEED"]
    before = pixels(tmp_path / "a")
    (tmp_path / "a" / "f1.fits").unlink()
    render_config(config, tmp_path / "a", resume=True)
    assert pixels(tmp_path / "a") == before
    render_config(config, tmp_path / "b", overrides={"image.random_seed": seed})
    assert pixels(tmp_path / "b") == before
    shutil.rmtree(tmp_path / "a")
    render_config(config, tmp_path / "a")
    assert pixels(tmp_path / "a") != before


def test_a_kept_seed_that_cannot_be_read_is_refused(tmp_path):
    image = {key: value for key, value in CONFIG["image"].items() if key != "random_seed"}
    config = write_field(tmp_path, **PLAIN, image=image, output={"file_name": "f.fits"})
    seed = tmp_path / "out" / ".skyloom" / "seed"
    seed.parent.mkdir(parents=True)
    for damaged in ("", "none", "0"):
        seed.write_text(damaged)
        with pytest.raises(RenderError, match="holds no seed"):
            render_config(config, tmp_path / "out")
    seed.write_text("7\n")
    files = render_config(config, tmp_path / "out")
    assert fits.getheader(files.written[0])["SEED"] == 7


@pytest.mark.parametrize("links", [True, False])
def test_shards_that_draw_a_seed_at_once_take_the_same(tmp_path, monkeypatch, links):
    def refuse(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr("skyloom.render.state.os.link", refuse)
    (tmp_path / ".skyloom").mkdir()
    start = threading.Barrier(8)

    def claim(seed):
        start.wait()
        return claim_seed(tmp_path, seed)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(claim, range(1, 9)))
    assert len(found) == 1
    assert seed_of(tmp_path) == found.pop()
    assert [path.name for path in (tmp_path / ".skyloom").iterdir()] == ["seed"]


def test_a_seed_never_stands_there_without_its_number(tmp_path, monkeypatch):
    """Killed at any write, a run leaves no empty file."""
    (tmp_path / ".skyloom").mkdir()

    def stop(file):
        raise KeyboardInterrupt

    monkeypatch.setattr("skyloom.render.state.os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        claim_seed(tmp_path, 5)
    monkeypatch.undo()
    assert claim_seed(tmp_path, 6) == 6


def _task(number: int) -> Task:
    return Task(f"{number}.fits", 0, number, number, number, 1, Origin("", "", 1))


@given(st.integers(0, 40), st.integers(1, 12))
@settings(max_examples=40)
def test_shards_divide_the_tasks(count, shards):
    tasks = [_task(number) for number in range(count)]
    parts = [shard_of(tasks, (number, shards)) for number in range(1, shards + 1)]
    assert sorted(t.file_num for part in parts for t in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("choice", [{"shard": (0, 2)}, {"shard": (3, 2)}, {"workers": 0}])
def test_choices_that_cannot_be(tmp_path, choice):
    with pytest.raises(BadInputError):
        render_config(write_field(tmp_path), tmp_path / "out", **choice)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_cannot_be_on_the_command_line(tmp_path, shard, capsys):
    assert run(["render", str(write_field(tmp_path)), "-o", str(tmp_path / "o"), f"--shard={shard}"]) == 2
    assert "is not I/N" in capsys.readouterr().err


def test_the_sections_of_a_configuration_are_mappings(tmp_path):
    with pytest.raises(ConfigError, match="image must be a mapping"):
        render_config(write_field(tmp_path, image=3), tmp_path / "out")
