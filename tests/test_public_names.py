"""The names that `skyloom` promises, looked up when first used; and files that are whole or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import skyloom
from skyloom.files import whole_file


@pytest.mark.parametrize("name", skyloom.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(skyloom, name) is not None
    assert name in dir(skyloom)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'skyloom' has no attribute 'load_modle'"):
        skyloom.load_modle  # noqa: B018


@pytest.mark.parametrize(
    "used",
    [
        "skyloom.Conditions(flux=1, half_light_radius=1, sersic_n=1)",
        "skyloom.plugin_manager()",
        "skyloom.generators.list_models()",
        "skyloom.GeneratorSpec",
    ],
)
def test_these_do_without_torch(used: str) -> None:
    code = f"import sys, skyloom, skyloom.generators; {used}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_registers_galsim_s_types() -> None:
    code = (
        "import galsim.config; galsim.config.ImportModules({'modules': ['skyloom']});"
        "assert 'LearnedGalaxy' in galsim.config.gsobject.valid_gsobject_types"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("one")
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError):
        fail_half_way(path)
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o400


def fail_half_way(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half of two")
        raise RuntimeError
