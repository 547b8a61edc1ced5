"""Registration and what goes wrong with plugins: each error names the plugin and its version."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyloom import __version__
from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, ModelNotFoundError, PluginError
from skyloom.generators import load_model, request_profiles
from skyloom.manager import (
    BUILTIN,
    DISABLE_VARIABLE,
    SkyloomPluginManager,
    build_manager,
    call_first,
    collect,
    lookup,
    plugin_manager,
)
from skyloom.profiles import ProfileRequest

GENERATOR = """
from skyloom.hookspecs import hookimpl
from skyloom.descriptors import GeneratorEntry
from skyloom.profiles import GeneratorSpec

class Toy:
    spec = GeneratorSpec("{name}")
    def sample(self, conditions, *, seed, out_of_range="error"):
        {body}

@hookimpl
def skyloom_generators():
    return [GeneratorEntry("{name}", spec=Toy.spec, factory=Toy)]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install plugins as pip does, one module and one dist-info each, and build a manager with them."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def build(**sources: str) -> SkyloomPluginManager:
        for i, (name, source) in enumerate(sources.items()):
            module = f"toy_plugin_{name}"
            modules.append(module)
            (tmp_path / f"{module}.py").write_text(source)
            info = tmp_path / f"{module}-1.{i}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.{i}\n")
            (info / "entry_points.txt").write_text(f"[skyloom]\n{name} = {module}\n")
        found = importlib.metadata.entry_points(group="skyloom")
        return build_manager([e for e in found if e.name in sources])

    yield build
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def request_two() -> ProfileRequest:
    conditions = Conditions(galaxy_id=[4, 2], flux=[1.0, 2.0], half_light_radius=0.5, sersic_n=1)
    return ProfileRequest(conditions, seed=1, generator="sersic")


def hook(signature: str, body: str, options: str = "") -> str:
    return f"from skyloom.hookspecs import hookimpl\n@hookimpl{options}\ndef {signature}:\n    {body}\n"


def test_built_ins_come_first_then_entry_points_by_name(install: Any) -> None:
    manager = install(zoo=hook("skyloom_generators()", "return []"), ant=hook("skyloom_generators()", "return []"))
    assert [name for name, _ in manager.list_name_plugin()] == [*BUILTIN, "ant", "zoo"]
    assert manager.version("ant") == "1.1"
    assert manager.version(BUILTIN[0]) == __version__


def test_the_manager_is_made_once() -> None:
    assert plugin_manager() is plugin_manager()


def test_a_name_given_twice(install: Any) -> None:
    manager = install(a=GENERATOR.format(name="x", body="pass"), b=GENERATOR.format(name="x", body="pass"))
    with pytest.raises(PluginError, match="the name 'x' is given by plugin 'a' 1.0 and by plugin 'b' 1.1") as caught:
        collect("skyloom_generators", manager)
    assert DISABLE_VARIABLE in str(caught.value)


def test_a_built_in_s_name_given_again(install: Any) -> None:
    manager = install(a=GENERATOR.format(name="cosmos", body="pass"))
    with pytest.raises(PluginError, match=f"'cosmos' is given by plugin '{BUILTIN[0]}' .* and by plugin 'a' 1.0"):
        load_model("cosmos", manager=manager)


def test_two_plugins_of_one_name(install: Any, tmp_path: Path) -> None:
    install(a="")
    (entry,) = importlib.metadata.entry_points(group="skyloom", name="a")
    with pytest.raises(PluginError, match="two plugins are named 'a': plugin 'a' 1.0 and one of version 1.0"):
        build_manager([entry, entry])


def test_a_broken_plugin_is_skipped_and_remembered(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="skyloom"):
        manager = install(bad="import no_such_module", good=GENERATOR.format(name="good", body="pass"))
    said = "plugin 'bad' 1.0: cannot import 'toy_plugin_bad' (ModuleNotFoundError: No module named 'no_such_module')"
    assert said in caplog.text
    assert load_model("good", manager=manager).spec.name == "good"
    with pytest.raises(PluginError) as caught:  # asked for
        load_model("bad", manager=manager)
    assert str(caught.value) == f"the model 'bad' cannot be had: {said}"
    with pytest.raises(ModelNotFoundError) as missing:  # perhaps asked for
        load_model("goood", manager=manager)
    assert str(missing.value).startswith("no model is named 'goood'; did you mean 'good'? There are: cosmos, good.")
    assert said in str(missing.value)


def test_a_plugin_whose_list_fails_is_skipped_and_remembered(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    manager = install(bad=hook("skyloom_generators()", "1 / 0"))
    assert "cosmos" in collect("skyloom_generators", manager)
    assert "plugin 'bad' 1.0: skyloom_generators failed (ZeroDivisionError: division by zero)" in caplog.text
    with pytest.raises(ModelNotFoundError, match="These failed to load and may provide it: plugin 'bad' 1.0"):
        load_model("nosuch", manager=manager)


@pytest.mark.parametrize("value", ["None", "42", "'cosmos'", "[1]", "{'a': 1}"])
def test_a_wrong_return_type_of_a_collecting_hook(value: str, install: Any) -> None:
    manager = install(a=hook("skyloom_generators()", f"return {value}"))
    with pytest.raises(
        PluginError, match="'skyloom_generators' of plugin 'a' 1.0 must return a list of GeneratorEntry"
    ):
        collect("skyloom_generators", manager)


@pytest.mark.parametrize(
    ("hook_name", "promised", "arguments"),
    [
        ("skyloom_profiles", "ProfileBatch", ["request"]),
        ("skyloom_lens", "ProfileBatch", ["batch", "g1", "g2", "mu"]),
        ("skyloom_psf", "GSObject", ["name", "wavelength", "x", "y"]),
        ("skyloom_add_noise", "ndarray", ["image", "name", "parameters", "rng"]),
    ],
)
def test_a_wrong_return_type_of_a_first_result_hook(
    hook_name: str, promised: str, arguments: list[str], install: Any
) -> None:
    manager = install(a=hook(f"{hook_name}()", "return 'blank'"))
    with pytest.raises(PluginError, match=f"'{hook_name}' of plugin 'a' 1.0 must return a {promised}, not 'blank'"):
        call_first(hook_name, manager=manager, **dict.fromkeys(arguments))


@pytest.mark.parametrize("hook_name", ["skyloom_profiles", "skyloom_lens", "skyloom_psf", "skyloom_add_noise"])
def test_two_plugins_claim_a_first_result_hook(hook_name: str, install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"b": hook(f"{hook_name}()", "return None"), "a": hook(f"{hook_name}()", "return None")}
    manager = install(**sources)
    with pytest.raises(PluginError, match=f"'{hook_name}' is claimed by plugin 'a' 1.1 and plugin 'b' 1.0"):
        call_first(hook_name, manager=manager)
    monkeypatch.setenv(DISABLE_VARIABLE, "c, a")
    found = importlib.metadata.entry_points(group="skyloom")
    left = build_manager([e for e in found if e.name in sources])
    assert left.has_plugin("b")
    assert not left.has_plugin("a")


def test_a_hook_that_fails(install: Any, request_two: ProfileRequest) -> None:
    manager = install(a=hook("skyloom_profiles(request)", "return request.nothing"))
    with pytest.raises(PluginError, match="'skyloom_profiles' of plugin 'a' 1.0 failed: AttributeError: .*nothing"):
        request_profiles(request_two, manager=manager)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            hook("skyloom_generatorz()", "pass"),
            "plugin 'a' 1.0 implements a hook that does not exist: .*generatorz",
        ),
        (hook("skyloom_psf(naem)", "pass"), "plugin 'a' 1.0 does not fit Skyloom's hooks: (?s:.*)naem"),
        (
            hook("skyloom_psf()", "yield", "(wrapper=True)"),
            "plugin 'a' 1.0 wraps 'skyloom_psf', which one plugin answers",
        ),
    ],
)
def test_a_plugin_that_does_not_fit(source: str, message: str, install: Any) -> None:
    with pytest.raises(PluginError, match=message):
        install(a=source)


def test_an_observer_must_not_answer(install: Any, request_two: ProfileRequest) -> None:
    manager = install(a=hook("skyloom_after_profiles(batch)", "return batch"))
    with pytest.raises(
        PluginError, match="'skyloom_after_profiles' of plugin 'a' 1.0 only observes, but returned a Prof"
    ):
        request_profiles(request_two, manager=manager)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield; return 5", "'skyloom_after_profiles' of plugin 'a' 1.0 must return a ProfileBatch, not 5"),
        ("yield; 1 / 0", "'skyloom_after_profiles' of plugin 'a' 1.0 failed: ZeroDivisionError"),
        ("got = yield; return got[:1]", "'skyloom_after_profiles' returned 1 profiles for 2 galaxies"),
    ],
)
def test_a_wrapper_that_breaks_the_batch(body: str, message: str, install: Any, request_two: ProfileRequest) -> None:
    manager = install(a=hook("skyloom_after_profiles()", body, "(wrapper=True)"))
    with pytest.raises(PluginError, match=message):
        request_profiles(request_two, manager=manager)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "galaxy_id=batch.galaxy_id[::-1]",
            "plugin 'a' 1.0 returned galaxy 2 in row 0, where 4 was asked for",
        ),
        ("flux=batch.flux * [1, float('nan')]", "plugin 'a' 1.0: galaxy 2 has flux = nan"),
        ("half_light_radius=-batch.flux", "plugin 'a' 1.0: galaxy 4 has half_light_radius = -1.0"),
        ("jacobian=batch.jacobian * float('inf')", "plugin 'a' 1.0: galaxy 4 has jacobian = (inf|nan)"),
        ("residual=residual, grid_scale=0.1", "plugin 'a' 1.0: galaxy 2 has residual = nan"),
    ],
)
def test_a_batch_with_a_bad_galaxy(
    changes: str, message: str, install: Any, request_two: ProfileRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    residual = np.zeros((2, 4, 4), np.float32)
    residual[1, 2, 3] = np.nan
    monkeypatch.setattr(sys, "toy_residual", residual, raising=False)
    body = f"""
    import dataclasses, sys, numpy, skyloom
    residual = sys.toy_residual
    batch = skyloom.load_model("sersic").sample(request.conditions, seed=1)
    return dataclasses.replace(batch, {changes})
    """
    manager = install(a=hook("skyloom_profiles(request)", body))
    with pytest.raises(PluginError, match=message), np.errstate(invalid="ignore"):
        request_profiles(request_two, manager=manager)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "generator 'toy' of plugin 'a' 1.0 returned a NoneType instead of a ProfileBatch"),
        ("return [1]", "generator 'toy' of plugin 'a' 1.0 returned a list instead of a ProfileBatch"),
        ("raise KeyError('w')", "generator 'toy' of plugin 'a' 1.0 failed: KeyError: 'w'"),
    ],
)
def test_a_generator_that_fails(
    body: str, message: str, install: Any, request_two: ProfileRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = install(a=GENERATOR.format(name="toy", body=body))
    monkeypatch.setattr("skyloom.generators.registry.plugin_manager", lambda: manager)
    with pytest.raises(PluginError, match=message):
        request_profiles(replace(request_two, generator="toy"))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("lambda: 1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("dict", "its factory returned a dict without 'spec'"),
    ],
)
def test_a_factory_that_fails(factory: str, message: str, install: Any) -> None:
    source = GENERATOR.format(name="toy", body="pass").replace("factory=Toy", f"factory={factory}")
    with pytest.raises(PluginError, match=f"generator 'toy' of plugin 'a' 1.0.*{message}"):
        load_model("toy", manager=install(a=source))


def test_lookup_lists_what_there_is() -> None:
    with pytest.raises(BadInputError, match=r"^no command is named 'hubble'\. There are: none\.$"):
        lookup("skyloom_commands", "hubble", noun="command", manager=build_manager([]))
