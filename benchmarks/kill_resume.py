"""Kill a render at random moments, resume it, and compare every pixel with an undisturbed run.

    python benchmarks/kill_resume.py [--rounds 10] [--seed 1]

A round starts `skyloom render --workers 2 --resume`, waits until a random number of files stand and a moment
longer, and sends SIGKILL to the driver, to one of its workers, or to both; this goes on until a run ends by
itself. Then the SHA-256 of the pixels of all files must be those of a run with one worker that nobody
disturbed, and nothing unfinished may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

FILES = 6
SLOW = """
import time

def flux(seconds):
    time.sleep(seconds)
    return 1.0
"""
CONFIG = """
modules: [skyloom, slow_for_kills]
input:
  learned_galaxies: {model: %(model)s, out_of_range: clip, zero_point: 30, wavelength: 800}
psf: {type: Moffat, beta: 3, fwhm: 0.3}
gal:
  type: LearnedGalaxy
  galaxy_id: $obj_num + 1
  mag: {type: Random, min: 20, max: 24}
  half_light_radius: {type: Random, min: 0.2, max: 0.6}
  sersic_n: 1.5
  q: {type: Random, min: 0.4, max: 1.0}
image:
  type: Scattered
  size: 96
  pixel_scale: 0.1
  nobjects: 5
  random_seed: 11
  stamp_size: $48 * int(slow_for_kills.flux(0.05))
  noise: {type: CCD, gain: 1.5, read_noise: 3, sky_level: 100}
output:
  nfiles: %(files)d
  file_name: $'f%%d.fits' %% file_num
  weight: {file_name: $'w%%d.fits' %% file_num}
"""


def write_configuration(folder: Path, model: str) -> Path:
    (folder / "slow_for_kills.py").write_text(SLOW)
    path = folder / "field.yaml"
    path.write_text(CONFIG % {"model": model, "files": FILES})
    return path


def start(configuration: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "skyloom", "render", str(configuration), "-o", str(out), "--no-quicklook", *more]
    path = os.pathsep.join([str(configuration.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with (configuration.parent / "log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def pixels(out: Path) -> dict[str, str]:
    """SHA-256 of the pixels by name, from the receipts, after a check that the files are as these say."""
    from skyloom.render.receipts import read_receipt

    found = {}
    for path in sorted(out.glob("*.receipt.json")):
        receipt = read_receipt(out, path.name.removesuffix(".receipt.json"))
        assert receipt is not None
        assert not isinstance(receipt, str), receipt
        assert receipt.damage(out) is None, receipt.damage(out)
        found.update(
            {name: entry["pixels_sha256"] for name, entry in receipt.files.items() if "pixels_sha256" in entry}
        )
    return found


def workers_of(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        children = psutil.Process(driver.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def disturb(driver: subprocess.Popen[bytes], out: Path, chance: random.Random) -> str:
    """Wait for a random moment and kill; says what was killed, '' when the run was faster."""
    enough, patience = chance.randrange(FILES), chance.uniform(0.0, 0.7)
    target = chance.choice(["driver", "worker", "both"])
    begun = len(list(out.glob("*.receipt.json")))
    while driver.poll() is None and len(list(out.glob("*.receipt.json"))) < max(enough, min(begun + 1, FILES)):
        time.sleep(0.01)
    time.sleep(patience)
    if driver.poll() is not None:
        return ""
    victims = workers_of(driver)
    if target != "driver" and victims:
        chance.choice(victims).send_signal(signal.SIGKILL)
    if target != "worker":
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs(victims, timeout=30)
        assert not alive, f"workers outlive their driver: {alive}"
    return target


def kill_and_resume(folder: Path, reference: dict[str, str], configuration: Path, chance: random.Random) -> list[str]:
    """One round; says what was killed."""
    out, killed = folder, []
    while True:
        driver = start(configuration, out, "--workers", "2", "--resume")
        try:
            target = disturb(driver, out, chance)
            status = driver.wait(timeout=600)
        finally:
            driver.kill()  # it has a session of its own, and no Ctrl-C reaches it
        killed += [target] if target else []
        if status == 0:
            break
        assert status == -signal.SIGKILL, f"exit status {status}: see {configuration.parent / 'log'}"
    assert pixels(out) == reference, "pixels differ"
    left = [path for path in out.rglob("*") if "unfinished" in str(path)]
    assert not left, f"left over: {left}"
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="cosmos")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration = write_configuration(folder, arguments.model)
        assert start(configuration, folder / "reference").wait() == 0
        reference = pixels(folder / "reference")
        for number in range(arguments.rounds):
            begin = time.monotonic()
            killed = kill_and_resume(folder / f"round{number}", reference, configuration, chance)
            line = {"round": number, "killed": killed, "identical": len(reference)}
            print(json.dumps({**line, "seconds": round(time.monotonic() - begin, 1)}), flush=True)


if __name__ == "__main__":
    main()
