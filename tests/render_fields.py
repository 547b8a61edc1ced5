"""Small fields for the tests of `skyloom render`: four files of five galaxies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

import skyloom

FILES = 4
CONFIG: dict[str, Any] = {
    "modules": ["skyloom"],
    "input": {"learned_galaxies": {"model": "sersic", "out_of_range": "clip", "zero_point": 30.0, "wavelength": 800.0}},
    "psf": {"type": "Gaussian", "fwhm": 0.3},
    "gal": {
        "type": "LearnedGalaxy", "galaxy_id": "$obj_num + 1", "mag": {"type": "Random", "min": 20, "max": 24},
        "half_light_radius": 0.3, "sersic_n": 1.5, "q": 0.7,
    },
    "image": {
        "type": "Scattered", "size": 64, "pixel_scale": 0.2, "nobjects": 5, "random_seed": 5, "stamp_size": 32,
        "noise": {"type": "CCD", "gain": 1.5, "read_noise": 3, "sky_level": 100},
    },
    "output": {
        "nfiles": FILES,
        "file_name": {"type": "NumberedFile", "root": "f", "num": "$file_num"},
        "weight": {"file_name": "$'w%d.fits' % file_num"},
    },
}  # fmt: skip
PLAIN = {"modules": [], "input": {}, "gal": {"type": "Exponential", "half_light_radius": 0.3, "flux": 100}}
"""Sections that do without learned galaxies, for faults that have nothing to do with them."""

# What a test's configuration calls for each object, from a module in a folder of its own.
MISCHIEF = """
import os, pathlib, signal, time

def flux(file_num, dies=(), dies_once=(), flag="", held=""):
    end = time.monotonic() + 60  # every file but the first waits until there is the file `held`
    while held and file_num > 0 and not pathlib.Path(held).exists() and time.monotonic() < end:
        time.sleep(0.02)
    if file_num in dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if file_num in dies_once and not pathlib.Path(flag).exists():
        pathlib.Path(flag).write_text("was here")
        os.kill(os.getpid(), signal.SIGKILL)
    return 100.0
"""


def write_field(folder: Path, **sections: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "field.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **sections}))
    return path


def write_mischief(folder: Path, name: str, call: str) -> Path:
    """A field whose galaxies' flux is `call` of the module of this name."""
    path = write_field(folder, **{**PLAIN, "modules": [name], "gal": {**PLAIN["gal"], "flux": f"${name}.{call}"}})
    (folder / f"{name}.py").write_text(MISCHIEF)
    return path


def pixels(out: Path) -> dict[str, str]:
    found = {}
    for path in sorted(out.glob("*.receipt.json")):
        for name, entry in json.loads(path.read_text())["files"].items():
            if "pixels_sha256" in entry:
                found[name] = entry["pixels_sha256"]
    return found


# A shell that starts the tests in the background leaves SIGINT ignored, and children inherit that.
SKYLOOM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("skyloom", run_name="__main__", alter_sys=True)
"""


def search_path(folder: Path) -> str:
    """Modules of a folder, and what is being tested: child processes must not find another installed one."""
    return os.pathsep.join([str(folder), str(Path(skyloom.__file__).parents[1])])


def start(config: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SKYLOOM, "render", str(config), "-o", str(out), "--no-quicklook", *more]
    environment = {**os.environ, "PYTHONPATH": search_path(config.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
