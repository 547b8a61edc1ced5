"""Every hook: documented with its exact signature, tested, called as documented."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pytest

from skyloom import hookspecs
from skyloom.conditions import Conditions
from skyloom.descriptors import (
    Command,
    CutoutReader,
    GeneratorEntry,
    GeneratorFamily,
    Metric,
    NoiseModel,
    Population,
    Survey,
)
from skyloom.errors import PluginError
from skyloom.generators import load_model, request_profiles
from skyloom.hookspecs import hookimpl
from skyloom.manager import COLLECTED, call_first, call_observers, collect, plugin_manager, report_error
from skyloom.profiles import GeneratorSpec, ProfileBatch, ProfileRequest
from skyloom.surveys import load_survey

ROOT = Path(__file__).resolve().parents[1]
HOOKS = {name: value for name, value in vars(hookspecs).items() if name.startswith("skyloom_")}
DOCUMENTED = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")


def signature(function: Any) -> str:
    """As docs/hooks.md prints it: annotations and all, on one line."""
    return f"{function.__name__}{inspect.signature(function)}".replace("'", "")


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented_with_its_exact_signature(name: str) -> None:
    printed = [re.sub(r"\s+", " ", block) for block in re.findall(r"```text\n(.*?)```", DOCUMENTED, re.DOTALL)]
    printed = [block.replace("( ", "(").replace(" )", ")").replace(",)", ")").strip() for block in printed]
    assert signature(HOOKS[name]) in printed, f"docs/hooks.md lacks:\n{signature(HOOKS[name])}"


def test_no_hook_is_documented_that_does_not_exist() -> None:
    assert set(re.findall(r"^### `(skyloom_\w+)`", DOCUMENTED, re.MULTILINE)) == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_hook_has_a_test(name: str) -> None:
    assert f"test_{name}" in globals(), f"write a test named test_{name} in {Path(__file__).name}"


@pytest.mark.parametrize("name", HOOKS)
def test_hook_says_what_it_must(name: str) -> None:
    text = inspect.getdoc(HOOKS[name]) or ""
    kind = re.search(r"^Kind: (collect|first result|observe)\b", text, re.MULTILINE)
    assert kind, "which kind?"
    assert "Called" in text, "when is it called?"
    assert "Example" in text
    opts = plugin_manager().caller(name).spec.opts  # type: ignore[union-attr]
    if name != "skyloom_after_profiles":
        assert opts["firstresult"] == (kind[1] == "first result")
    assert (kind[1] == "collect") == (name in COLLECTED)
    if kind[1] != "collect":
        numbers = {"batch", "request", "image", "g1", "wavelength"} & set(inspect.signature(HOOKS[name]).parameters)
        assert not numbers or "Units:" in text, "which units?"


# --- one test a hook ----------------------------------------------------------------------------------------


@pytest.fixture
def register():
    """Register plugins for one test: ``register(plugin, name, version)``."""
    manager = plugin_manager()
    registered = []

    def add(plugin: object, name: str = "toy", version: str = "1.2") -> object:
        manager.register_version(plugin, name, version)
        registered.append(plugin)
        return plugin

    yield add
    for plugin in registered:
        manager.unregister(plugin)
    manager.broken.clear()


def plugin_with(**hooks: Any) -> Any:
    """An object with hook implementations that are the given functions."""

    class Plugin:
        pass

    plugin = Plugin()
    for name, function in hooks.items():
        function.__name__ = name
        setattr(plugin, name, function if hasattr(function, "skyloom_impl") else hookimpl(function))
    return plugin


@pytest.fixture
def request_two() -> ProfileRequest:
    conditions = Conditions(galaxy_id=[4, 2], flux=[1.0, 2.0], half_light_radius=0.5, sersic_n=1)
    return ProfileRequest(conditions, seed=1, generator="sersic")


class Toy:
    """A generator that turns Sersic profiles upside down, as far as anybody can tell."""

    spec = GeneratorSpec("toy")

    def sample(self, conditions: Conditions, *, seed: int, out_of_range: str = "error") -> ProfileBatch:
        return replace(load_model("sersic").sample(conditions, seed=seed), generator="toy")


def check_collected(register: Any, hook: str, descriptor: Any) -> None:
    register(plugin_with(**{hook: lambda: [descriptor]}))
    assert collect(hook)[descriptor.name] is descriptor
    assert list(collect(hook)) == sorted(collect(hook))


def test_skyloom_generators(register: Any, request_two: ProfileRequest) -> None:
    check_collected(register, "skyloom_generators", GeneratorEntry("toy", spec=Toy.spec, factory=Toy))
    batch = request_profiles(replace(request_two, generator="toy"))
    assert batch.generator == "toy"
    assert load_model("toy") is load_model("toy")


def test_skyloom_generator_families(register: Any) -> None:
    check_collected(register, "skyloom_generator_families", GeneratorFamily("gan", load=lambda path: Toy()))


def test_skyloom_populations(register: Any) -> None:
    check_collected(register, "skyloom_populations", Population("field", sample=lambda size, *, seed: None))


def test_skyloom_surveys(register: Any) -> None:
    check_collected(register, "skyloom_surveys", Survey("balloon", load=dict))


def test_skyloom_noise_models(register: Any) -> None:
    check_collected(register, "skyloom_noise_models", NoiseModel("emccd", add=lambda image, parameters, rng: image))


def test_skyloom_cutout_readers(register: Any) -> None:
    reader = CutoutReader("asdf", accepts=lambda path: path.suffix == ".asdf", read=lambda path: None)  # type: ignore[arg-type,return-value]
    check_collected(register, "skyloom_cutout_readers", reader)


def test_skyloom_metrics(register: Any) -> None:
    check_collected(register, "skyloom_metrics", Metric("gini", compute=lambda real, model, **context: {}))


def test_skyloom_commands(register: Any) -> None:
    check_collected(register, "skyloom_commands", Command("mosaic", load=lambda: None))  # type: ignore[arg-type,return-value]


def test_skyloom_before_profiles(register: Any, request_two: ProfileRequest) -> None:
    seen = []
    register(plugin_with(skyloom_before_profiles=lambda request: seen.append(request)))
    request_profiles(request_two)
    assert seen == [request_two]


def test_skyloom_profiles(register: Any, request_two: ProfileRequest) -> None:
    def profiles(request: ProfileRequest) -> ProfileBatch | None:
        return Toy().sample(request.conditions, seed=request.seed) if request.generator == "remote" else None

    register(plugin_with(skyloom_profiles=profiles))
    assert request_profiles(request_two).generator == "sersic"  # None leaves it to the built-in
    assert request_profiles(replace(request_two, generator="remote")).generator == "toy"


def test_skyloom_after_profiles(register: Any, request_two: ProfileRequest) -> None:
    @hookimpl(wrapper=True)
    def brighter(request: ProfileRequest, batch: ProfileBatch) -> Any:
        assert batch.flux.tolist() == [1, 2]
        got = yield
        return replace(got, flux=got.flux * 3)

    seen = []
    register(plugin_with(skyloom_after_profiles=brighter), "brighter")
    register(plugin_with(skyloom_after_profiles=lambda batch: seen.append(batch)), "observer")
    batch = request_profiles(request_two)
    assert batch.flux.tolist() == [3, 6]
    assert seen == [batch]


def test_skyloom_lens(register: Any, request_two: ProfileRequest) -> None:
    batch = request_profiles(request_two)
    shear = {"g1": np.full(2, 0.1), "g2": np.zeros(2), "mu": np.full(2, 1.5)}
    builtin, plugin = call_first("skyloom_lens", batch=batch, **shear)  # type: ignore[misc]
    assert plugin == "skyloom.physics.builtin"
    assert np.allclose(np.linalg.det(builtin.jacobian), 1.5 * np.linalg.det(batch.jacobian))

    def lens(batch: ProfileBatch, g1: Any, mu: Any) -> ProfileBatch:
        matrix = np.array([np.diag([1 + g, 1 - g]) for g in g1])
        return replace(batch, jacobian=matrix @ batch.jacobian, flux=batch.flux * mu)

    register(plugin_with(skyloom_lens=lens))
    lensed, plugin = call_first("skyloom_lens", batch=batch, **shear)  # type: ignore[misc]
    assert plugin == "toy"
    assert lensed.flux.tolist() == [1.5, 3]


def test_skyloom_psf(register: Any) -> None:
    register(plugin_with(skyloom_psf=lambda name: galsim.Gaussian(fwhm=0.2) if name == "toy" else None))
    place = {"wavelength": 700.0, "x": 1.0, "y": 1.0}
    assert call_first("skyloom_psf", name="toy", **place) == (galsim.Gaussian(fwhm=0.2), "toy")
    assert call_first("skyloom_psf", name="euclid", **place) is None
    euclid = call_first("skyloom_psf", name="euclid_vis", **place)
    assert euclid == (load_survey("euclid_vis").psf(1, 1, 700.0), "skyloom.surveys.builtin")


def test_skyloom_add_noise(register: Any) -> None:
    def add_noise(image: Any, parameters: Any, rng: np.random.Generator) -> Any:
        return (rng.poisson(image) / parameters["gain"]).astype(np.float32)

    register(plugin_with(skyloom_add_noise=add_noise))
    arguments = {"image": np.full((3, 4), 50.0, np.float32), "name": "toy", "parameters": {"gain": 2.0}}
    noisy, _ = call_first("skyloom_add_noise", rng=np.random.default_rng(1), **arguments)  # type: ignore[misc]
    assert noisy.shape == (3, 4)
    assert 15 < noisy.mean() < 35


def test_skyloom_after_image(register: Any) -> None:
    seen = []
    register(plugin_with(skyloom_after_image=lambda image, provenance: seen.append(provenance)))
    call_observers("skyloom_after_image", image=np.zeros((2, 2)), truth=None, provenance={"seed": 1})
    assert seen == [{"seed": 1}]


def test_skyloom_on_error(register: Any, caplog: pytest.LogCaptureFixture, request_two: ProfileRequest) -> None:
    seen = []

    def broken(error: BaseException) -> None:
        raise RuntimeError("alert server is down")

    register(plugin_with(skyloom_on_error=lambda error, stage, galaxy_id: seen.append((error, stage, galaxy_id))))
    register(plugin_with(skyloom_on_error=broken), "alerts")
    error = ValueError("x")
    report_error(error, "profiles", 7)
    assert seen == [(error, "profiles", 7)]
    assert "'skyloom_on_error' of plugin 'alerts' 1.2 failed: RuntimeError: alert server is down" in caplog.text

    nan = plugin_with(
        skyloom_profiles=lambda request: replace(Toy().sample(request.conditions, seed=1), flux=np.array([1, np.nan]))
    )
    register(nan, "nan")
    with pytest.raises(PluginError) as caught:
        request_profiles(request_two)
    assert seen[1:] == [(caught.value, "profiles", 2)]
