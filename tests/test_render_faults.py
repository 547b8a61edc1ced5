"""What `skyloom render` does when things go wrong: nothing is lost, and what failed is named."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skyloom.cli.main import run
from skyloom.errors import BadInputError, ConfigError, RenderError
from skyloom.render import render_config
from skyloom.render.build import _disk_message
from skyloom.render.lock import folder_lock

from .render_fields import FILES, PLAIN, pixels, search_path, start, wait_for, write_field, write_mischief

NAMES = [f"f{number}.fits" for number in range(FILES)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of a field without learned galaxies; tests take a copy."""
    folder = tmp_path_factory.mktemp("made")
    render_config(write_field(folder, **PLAIN), folder / "out")
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("damage", "name", "what"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-2880]), "f1.fits", "f1.fits is truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x01"), "f1.fits", "f1.fits has been altered"),
        (lambda p: p.write_bytes(p.read_bytes() + b" "), "f1.fits", "f1.fits has been altered"),
        (Path.unlink, "f1.fits", "f1.fits is missing"),
        (Path.unlink, "w1.fits", "w1.fits is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:40]), "f1.fits.receipt.json", "receipt.json is damaged"),
        (lambda p: p.write_text("[]"), "f1.fits.receipt.json", "receipt.json is damaged"),
        (Path.unlink, "f1.fits.receipt.json", None),
    ],
)  # fmt: skip
def test_resume_finds_what_is_not_whole_and_makes_it_again(copy, damage, name, what):
    before, stamps = pixels(copy / "out"), {n: (copy / "out" / n).stat().st_mtime_ns for n in NAMES}
    damage(copy / "out" / name)
    files = render_config(copy / "field.yaml", copy / "out", resume=True)
    assert [path.name for path in files.written] == ["f1.fits"]
    assert [path.name for path in files.kept] == ["f0.fits", "f2.fits", "f3.fits"]
    assert not files.failed
    if what is None:
        assert not files.repaired
    else:
        assert what in files.repaired[str(copy / "out" / "f1.fits")]
    assert pixels(copy / "out") == before
    for number in (0, 2, 3):
        assert (copy / "out" / NAMES[number]).stat().st_mtime_ns == stamps[NAMES[number]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image.random_seed": 6}, "seed: 5 -> 6"),
        ({"gal.half_light_radius": 0.4}, "gal.half_light_radius: 0.3 -> 0.4"),
        ({"gal.shear": {"type": "G1G2", "g1": 0.1, "g2": 0}}, "gal.shear: not there -> "),
        ({"output.nfiles": 5}, "output.nfiles: 4 -> 5"),
    ],
)
def test_another_configuration_is_refused_at_resume(copy, overrides, message):
    before = pixels(copy / "out")
    with pytest.raises(ConfigError, match="made otherwise") as caught:
        render_config(copy / "field.yaml", copy / "out", overrides=overrides, resume=True)
    assert message in str(caught.value)
    assert pixels(copy / "out") == before
    files = render_config(copy / "field.yaml", copy / "out", overrides=overrides, overwrite=True)
    assert len(files.written) == overrides.get("output.nfiles", FILES)


def test_processes_and_folders_are_not_the_configuration(copy):
    shutil.move(copy / "out", copy / "elsewhere")
    overrides = {"output.dir": "/nowhere", "image.nproc": 1, "output.timeout": 3}
    files = render_config(copy / "field.yaml", copy / "elsewhere", overrides=overrides, resume=True)
    assert len(files.kept) == FILES


def test_other_weights_or_another_catalogue_are_refused_at_resume(tmp_path):
    catalogue = tmp_path / "c.txt"
    catalogue.write_text("0.3\n0.4\n")
    learned = {"model": "sersic", "zero_point": 30.0, "wavelength": 800.0}
    config = write_field(
        tmp_path,
        input={"learned_galaxies": learned, "catalog": {"file_name": str(catalogue)}},
        output={"file_name": "f.fits"},
    )
    render_config(config, tmp_path / "out")
    receipt = tmp_path / "out" / "f.fits.receipt.json"
    content = json.loads(receipt.read_text())
    assert content["origin"]["models"] == {"sersic": ""}
    catalogue.write_text("0.3\n0.5\n")
    with pytest.raises(ConfigError, match="input file .*c.txt"):
        render_config(config, tmp_path / "out", resume=True)
    catalogue.write_text("0.3\n0.4\n")
    content["origin"]["models"] = {"sersic": "0123456789abcdef" * 4}
    receipt.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="weights of model 'sersic': 0123456789ab -> none"):
        render_config(config, tmp_path / "out", resume=True)


def test_files_of_an_earlier_run_are_not_replaced_unasked(copy, capsys):
    arguments = ["render", str(copy / "field.yaml"), "-o", str(copy / "out")]
    assert run(arguments) == 2
    assert "--resume, or replace them with --overwrite" in capsys.readouterr().err
    assert run([*arguments, "--resume", "--overwrite"]) == 2
    assert run([*arguments, "--resume"]) == 0
    assert "4 files stand already" in capsys.readouterr().err


def test_overwriting_leaves_nothing_of_the_earlier_run(copy):
    out = copy / "out"
    render_config(copy / "field.yaml", out, overwrite=True, quicklook=True)
    assert (out / "f0.png").exists()
    assert (out / "w0.fits").exists()
    (out / "mine.txt").write_text("no file of ours")
    config = write_field(copy, **PLAIN, output={"nfiles": 2, "file_name": "$'f%d.fits' % file_num"})
    render_config(config, out, overwrite=True, shard=(1, 2))
    assert not list(out.glob("?0.png")) + list(out.glob("w0*"))
    assert all((out / name).exists() for name in ("f1.png", "w1.fits", "mine.txt"))  # of the other shard, and not ours


def test_overwriting_keeps_to_its_folder_and_to_its_own(copy):
    out = copy / "out"
    outside, linked = copy / "outside.txt", copy / "linked"
    linked.mkdir()
    for path in (outside, linked / "x.txt"):
        path.write_text("stays")
    (out / "link").symlink_to(linked)
    receipt = out / "f0.fits.receipt.json"
    content = json.loads(receipt.read_text())
    names = [str(outside), "../outside.txt", "link/x.txt", "f1.fits", "./w1.fits", ".skyloom/lock", ".", "..", "gone"]
    content["files"] |= {name: {"bytes": 0, "sha256": ""} for name in names}
    receipt.write_text(json.dumps(content))
    (out / "f2.fits.receipt.json").write_text('{"files": 3}')
    render_config(copy / "field.yaml", out, overwrite=True, shard=(1, 2), overrides={"image.random_seed": 6})
    assert all(p.exists() for p in (outside, linked / "x.txt", out / "f1.fits", out / "w1.fits", out / ".skyloom/lock"))
    assert len(pixels(out)) == 2 * FILES


def test_a_file_that_fails_leaves_the_others_and_is_made_later(tmp_path, capsys):
    config = write_field(tmp_path, **{**PLAIN, "gal": {**PLAIN["gal"], "flux": "$(1 / 0) if stop(file_num) else 100"}})
    flag = tmp_path / "flag"
    text = config.read_text() + "\neval_variables: {fx: 1}\n"
    config.write_text(text.replace("stop(file_num)", f"(file_num == 2 and not __import__('os').path.exists('{flag}'))"))
    assert run(["render", str(config), "-o", str(tmp_path / "out")]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 4 files failed" in last
    assert "f2.fits (" in last
    summary = json.loads((tmp_path / "out" / "render_summary.json").read_text())
    assert (list(summary["failed"]), sorted(summary["made"])) == (["f2.fits"], ["f0.fits", "f1.fits", "f3.fits"])
    assert not list((tmp_path / "out").glob("*2*"))
    flag.touch()
    assert run(["render", str(config), "-o", str(tmp_path / "out"), "--resume"]) == 0
    assert len(pixels(tmp_path / "out")) == 2 * FILES


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"nfiles": 2, "file_name": "same.fits"}, "two of the 2 output files would have the name 'same.fits'"),
        ({"file_name": "/tmp/away.fits"}, "leads out of the output folder"),
        ({"file_name": "../away.fits"}, "leads out of the output folder"),
        ({"file_name": ".skyloom/x.fits"}, "leads out of the output folder"),
        ({"file_name": "a.fits", "weight": {"file_name": "a.fits"}}, "an extra output has the name of an image"),
    ],
)
def test_names_that_cannot_be(tmp_path, output, message):
    with pytest.raises(ConfigError, match=message):
        render_config(write_field(tmp_path, **PLAIN, output=output), tmp_path / "out")
    assert not list((tmp_path).glob("**/*.fits"))


# --- the disk


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system; skips where that is not permitted."""
    folder = tmp_path / "mount"
    folder.mkdir()

    def mount(options):
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
        )
        if result.returncode:
            pytest.skip(f"mounting a tmpfs is not permitted here: {result.stderr.decode().strip()}")
        return folder

    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_full_disk_is_one_message_and_resume_goes_on(tmp_path, mounted, capsys):
    folder = mounted("size=160k")
    config = write_field(tmp_path, **PLAIN)
    arguments = ["render", str(config), "-o", str(folder), "--no-quicklook"]
    assert run([*arguments, "image.size=100", "-v", "0"]) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "no space left" in error
    assert "--resume" in error
    done = len(list(folder.glob("f?.fits.receipt.json")))
    assert 1 <= done < FILES
    assert len(list(folder.glob("f?.fits"))) == done
    if subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be enlarged here")
    assert run([*arguments, "image.size=100", "--resume"]) == 0
    render_config(config, tmp_path / "whole", overrides={"image.size": 100})
    assert pixels(folder) == pixels(tmp_path / "whole")


def test_a_read_only_folder_is_one_message(tmp_path, mounted, capsys):
    folder = mounted("size=1m,ro")
    assert run(["render", str(write_field(tmp_path, **PLAIN)), "-o", str(folder), "-v", "0"]) == 1
    error = capsys.readouterr().err.strip()
    assert error == f"skyloom: error: cannot write into '{folder}': Read-only file system"


def test_a_file_in_the_folders_place_is_one_message(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert run(["render", str(write_field(tmp_path, **PLAIN)), "-o", str(tmp_path / "out"), "-v", "0"]) == 1
    assert "cannot write into" in capsys.readouterr().err


def test_errors_of_the_disk_are_known_by_number_and_by_astropys_words():
    assert _disk_message(OSError(errno.ENOSPC, "x")) == "no space left"
    wrapped = RuntimeError("y")
    wrapped.__cause__ = OSError("Not enough space on disk: requested 3, available 2.")
    assert _disk_message(wrapped) == "no space left"
    assert _disk_message(OSError(errno.ENOENT, "x")) == ""


# --- two runs

HOLD = "import sys, pathlib, time; from skyloom.render.lock import folder_lock\nwith folder_lock(pathlib.Path(sys.argv[1]), eval(sys.argv[2])):\n    print('held', flush=True); time.sleep(600)"  # noqa: E501


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder's lock."""
    (tmp_path / "out" / ".skyloom").mkdir(parents=True)
    started = []

    def hold(shard=None):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "out" / ".skyloom"), repr(shard)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline().strip() == "held"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_run_on_a_folder_is_refused_until_the_first_is_dead(tmp_path, holder, capsys):
    process = holder()
    arguments = ["render", str(write_field(tmp_path, **PLAIN)), "-o", str(tmp_path / "out")]
    assert run(arguments) == 1
    assert f"process {process.pid} on " in capsys.readouterr().err
    assert run([*arguments, "--shard", "1/2"]) == 1
    process.kill()
    process.wait()
    assert run(arguments) == 0


def test_shards_share_a_folder_and_exclude_a_whole_run(tmp_path, holder):
    holder((1, 2))
    config = write_field(tmp_path, **PLAIN)
    with pytest.raises(RenderError, match="is rendering into"):
        render_config(config, tmp_path / "out")
    with pytest.raises(RenderError, match="is rendering into"):
        render_config(config, tmp_path / "out", shard=(1, 2))
    assert len(render_config(config, tmp_path / "out", shard=(2, 2)).written) == 2


def test_a_whole_run_removes_what_killed_shards_left(tmp_path):
    config = write_field(tmp_path, **PLAIN)
    state = tmp_path / "out" / ".skyloom"
    for name in ("unfinished/f9.x", "unfinished-1-of-2/f0.x", "unfinished-3-of-5/f2.x"):
        (state / name).mkdir(parents=True)
        (state / name / "f.fits").write_bytes(b"half")
    render_config(config, tmp_path / "out", shard=(1, 2))
    assert sorted(p.name for p in state.glob("unfinished*")) == ["unfinished", "unfinished-3-of-5"]
    render_config(config, tmp_path / "out", resume=True)
    assert not list(state.glob("unfinished*"))


def test_a_lock_of_another_machine_holds_while_it_gives_signs_of_life(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"pid": 7, "host": "some-other-machine"}))
    with pytest.raises(RenderError, match="process 7 on some-other-machine"), folder_lock(tmp_path):
        pass
    assert "some-other-machine" in lock.read_text()
    os.utime(lock, (time.time() - 1000, time.time() - 1000))
    with folder_lock(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("skyloom.render.lock.fcntl.lockf", refuse)
    holder = {"pid": os.getppid(), "host": socket.gethostname()}
    (tmp_path / "lock").write_text(json.dumps(holder))
    with pytest.raises(RenderError, match=f"process {os.getppid()} on "), folder_lock(tmp_path):
        pass
    (tmp_path / "lock").unlink()
    (tmp_path / "lock-1-of-2").write_text(json.dumps(holder))
    with pytest.raises(RenderError, match=f"process {os.getppid()} on .*lock-1-of-2"), folder_lock(tmp_path):
        pass
    (tmp_path / "lock-1-of-2").unlink()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "lock").write_text(json.dumps({**holder, "pid": gone.pid}))
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_one_process_renders_into_a_folder_once_at_a_time(tmp_path):
    with folder_lock(tmp_path), pytest.raises(RenderError, match="already rendering"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


# --- signals


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, "1"), (signal.SIGTERM, "1"), (signal.SIGINT, "2")])
def test_ctrl_c_stops_cleanly_and_resume_goes_on(tmp_path, made, number, workers):
    config = write_mischief(tmp_path, "mischief_held", f"flux(file_num, held='{tmp_path / 'go'}')")
    out = tmp_path / "out"
    process = start(config, out, "--workers", workers)
    wait_for(lambda: list(out.glob("*.receipt.json")) or process.poll() is not None)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    last = error.strip().splitlines()[-1]
    assert "--resume" in last
    assert "Traceback" not in error
    assert json.loads((out / "render_summary.json").read_text())["interrupted"]
    done = len(list(out.glob("*.receipt.json")))
    assert 1 <= done < FILES
    assert sorted(p.name for p in (out / ".skyloom").iterdir() if "unfinished" in p.name) == []
    (tmp_path / "go").touch()
    process = start(config, out, "--resume")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert f"{done} files stand already" in error
    assert pixels(out) == pixels(made / "out")


# --- workers


def test_a_killed_worker_costs_nothing_and_a_task_that_kills_is_named(tmp_path, made, capsys, monkeypatch):
    call = f"flux(file_num, dies=[2], dies_once=[1], flag='{tmp_path / 'flag'}')"
    config = write_mischief(tmp_path, "mischief_kills", call)
    monkeypatch.setenv("PYTHONPATH", search_path(tmp_path))  # for the workers
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["render", str(config), "-o", str(tmp_path / "out"), "--workers", "2", "--no-quicklook"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert (tmp_path / "flag").exists(), last
    assert "1 of 4 files failed" in last
    assert "f2.fits (its worker died each time" in last
    expected = {name: sha for name, sha in pixels(made / "out").items() if "2" not in name}
    assert pixels(tmp_path / "out") == expected


def test_workers_keep_their_memory_between_batches():
    from skyloom.render import dask_cluster

    with dask_cluster._client(1, None) as client:
        found = client.submit(lambda names: {name: os.environ.get(name) for name in names}, list(dask_cluster._MALLOC))
        assert found.result() == {name: str(value) for name, value in dask_cluster._MALLOC.items()}


def test_a_scheduler_that_does_not_answer(tmp_path):
    from skyloom.render import dask_cluster

    config = write_field(tmp_path, **PLAIN)
    before = dask_cluster.ANSWER
    dask_cluster.ANSWER = "1s"
    try:
        with pytest.raises(BadInputError, match="no scheduler answers at 'tcp://127.0.0.1:9'"):
            render_config(config, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    finally:
        dask_cluster.ANSWER = before


def test_workers_of_a_scheduler(tmp_path, made):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        files = render_config(made / "field.yaml", tmp_path / "out", scheduler=cluster.scheduler_address)
    assert len(files.written) == FILES
    assert pixels(tmp_path / "out") == pixels(made / "out")


def test_a_worker_that_outlives_a_run_reads_a_changed_catalogue(tmp_path):
    from distributed import LocalCluster

    catalogue = tmp_path / "c.txt"
    gal = {**PLAIN["gal"], "flux": {"type": "Catalog", "col": 0}}
    sections = {**PLAIN, "input": {"catalog": {"file_name": str(catalogue)}}, "gal": gal, "output": {"nfiles": 1}}
    config = write_field(tmp_path, **sections)
    found = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        for number, flux in enumerate((100, 90000)):
            catalogue.write_text(f"{flux}\n" * 5)
            render_config(config, tmp_path / f"{number}", scheduler=cluster.scheduler_address)
            render_config(config, tmp_path / f"here{number}")
            assert pixels(tmp_path / f"{number}") == pixels(tmp_path / f"here{number}")
            found.append(pixels(tmp_path / f"{number}"))
    assert found[0] != found[1]


def test_several_workers_without_dask_are_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    config = write_field(tmp_path, **PLAIN)
    with pytest.raises(BadInputError, match=r"pip install 'skyloom\[cluster\]'"):
        render_config(config, tmp_path / "out", workers=2)
    assert len(render_config(config, tmp_path / "out").written) == FILES
