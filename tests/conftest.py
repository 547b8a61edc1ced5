"""Fixtures that every test file may use."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# The first call of a torch or GalSim function is far slower than the next, so a deadline per example
# would fail at random. CI draws the same examples every time.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

# Set here, not in a fixture: it must come before the first import of pyplot, also in child processes.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """A file of scripts/, imported by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $SKYLOOM_SHARED_DATA, or ../shared/data beside the repository."""
    named = os.environ.get("SKYLOOM_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = f"SKYLOOM_SHARED_DATA={named}" if named else "../shared/data beside the repository"
        pytest.skip(f"no real data: {where} is not a folder")
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Keep torch on one thread, if some test has imported it: faster here, and safe to fork after.

    Deliberately no environment variable: child processes must behave as they do for a user.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
