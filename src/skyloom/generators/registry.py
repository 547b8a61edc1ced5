"""Models by name or by the path of their weights, and requests for galaxies through the hooks."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skyloom.errors import BadInputError, CheckpointError, ModelNotFoundError, PluginError, SkyloomError
from skyloom.generators.checks import check_batch
from skyloom.generators.point_source import point_sources
from skyloom.manager import (
    SkyloomPluginManager,
    call_first,
    call_observers,
    collect,
    lookup,
    plugin_manager,
    provider,
    report_error,
)
from skyloom.profiles import Generator, GeneratorSpec, ProfileBatch, ProfileRequest

if TYPE_CHECKING:
    from skyloom.descriptors import GeneratorEntry, GeneratorFamily

__all__ = ["list_models", "load_model", "request_profiles", "sample_request"]


def list_models(manager: SkyloomPluginManager | None = None) -> dict[str, GeneratorEntry]:
    """All generators that can be asked for by name, without loading any."""
    return collect("skyloom_generators", manager)


def load_model(name_or_path: str | os.PathLike[str], *, manager: SkyloomPluginManager | None = None) -> Generator:
    """Return a generator, loaded once a process.

    Parameters
    ----------
    name_or_path : str or path
        The name of a registered generator, or the path of a weights file (``.safetensors``) with a model
        card.
    manager : SkyloomPluginManager, optional
        The process's own by default.

    Returns
    -------
    Generator
        With ``.spec`` and ``.sample(conditions, seed=...)``.

    Raises
    ------
    ModelNotFoundError
        For a name that is not registered; lists those that are.
    CheckpointError
        For a file that is missing, damaged or not a weights file.
    PluginError
        When the plugin that has the name cannot be imported.
    """
    manager = manager or plugin_manager()
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise BadInputError(f"a model is a name or a path, not {name_or_path!r}")
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and not text.endswith(".safetensors") and os.sep not in text:
        return _load_named(manager, text)
    path = Path(text)
    if not path.is_file():
        raise CheckpointError(f"weights file '{path}' does not exist" if not path.exists() else f"'{path}' is no file")
    state = path.stat()  # a file written anew is read anew
    return _load_file(manager, path.resolve(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _load_named(manager: SkyloomPluginManager, name: str) -> Generator:
    entry: GeneratorEntry = lookup("skyloom_generators", name, noun="model", error=ModelNotFoundError, manager=manager)
    who = f"generator '{name}' of {provider('skyloom_generators', name, manager)}"
    try:
        generator = entry.factory()
    except SkyloomError:
        raise
    except Exception as exc:
        raise PluginError(f"{who} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not isinstance(getattr(generator, "spec", None), GeneratorSpec) or not hasattr(generator, "sample"):
        raise PluginError(f"{who}: its factory returned a {type(generator).__name__} without 'spec' or 'sample'")
    return generator


@functools.lru_cache(maxsize=16)
def _load_file(manager: SkyloomPluginManager, path: Path, mtime_ns: int, size: int) -> Generator:
    from skyloom.generators.checkpoint import read_card

    family: GeneratorFamily = lookup(
        "skyloom_generator_families",
        read_card(path).family,
        noun="generator family",
        error=ModelNotFoundError,
        manager=manager,
    )
    return family.load(path)


def request_profiles(request: ProfileRequest, *, manager: SkyloomPluginManager | None = None) -> ProfileBatch:
    """Ask for galaxies, through the hooks: before, profiles, after.

    Raises
    ------
    PluginError
        When whoever made the galaxies broke, or gave other galaxies than asked or numbers that are not
        finite.
    OutOfRangeError
        As the generator's `sample`.
    """
    manager = manager or plugin_manager()
    try:
        call_observers("skyloom_before_profiles", manager=manager, request=request)
        answer = call_first("skyloom_profiles", manager=manager, request=request)
        if answer is None:  # the built-in answers always, unless somebody unregistered it
            raise PluginError("no plugin answers 'skyloom_profiles'")
        batch: ProfileBatch = answer[0]
        if not manager.is_builtin(answer[1]):  # which has checked its generator's
            check_batch(batch, request.conditions, manager.describe(answer[1]))
        batch = call_observers("skyloom_after_profiles", manager=manager, request=request, batch=batch)
        check_batch(batch, request.conditions, "hook 'skyloom_after_profiles'")
    except Exception as exc:
        report_error(exc, "profiles", getattr(exc, "galaxy_id", None), manager=manager)
        raise
    return batch


def sample_request(request: ProfileRequest) -> ProfileBatch:
    """Sample the generator that a request names: the built-in answer to ``skyloom_profiles``.

    Rows of the kind ``star`` are points.

    Raises
    ------
    PluginError
        Names generator, plugin and version, when it fails or does not give what was asked for.
    """
    if request.kind == "star":
        return point_sources(request)
    manager = plugin_manager()
    generator = load_model(request.generator, manager=manager)
    who = f"generator '{request.generator}'"
    if request.generator in list_models(manager):
        who += f" of {provider('skyloom_generators', request.generator, manager)}"
    try:
        batch = generator.sample(request.conditions, seed=request.seed, out_of_range=request.out_of_range)
    except SkyloomError:
        raise
    except Exception as exc:
        raise PluginError(f"{who} failed: {type(exc).__name__}: {exc}") from exc
    check_batch(batch, request.conditions, who)
    return batch
