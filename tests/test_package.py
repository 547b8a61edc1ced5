"""What every user of the package meets first: import, version, entry point, type marker."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata, resources

import skyloom


def test_import_leaves_torch_alone() -> None:
    code = "import sys, skyloom; print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_version_is_the_distributions() -> None:
    assert metadata.version("skyloom") == skyloom.__version__


def test_command_is_declared() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="skyloom")
    assert entry.value == "skyloom.cli.main:main"


def test_types_are_marked() -> None:
    assert resources.files("skyloom").joinpath("py.typed").is_file()
