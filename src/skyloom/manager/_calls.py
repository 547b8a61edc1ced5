"""How hooks are called: with the answers checked, and failures blamed on a plugin and its version."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pluggy

from skyloom import descriptors
from skyloom.errors import BadInputError, PluginError, SkyloomError
from skyloom.manager._build import DISABLE_VARIABLE, REPLACING, SkyloomPluginManager, brief, plugin_manager
from skyloom.profiles import ProfileBatch

__all__ = ["COLLECTED", "call_first", "call_observers", "collect", "lookup", "provider", "report_error"]

logger = logging.getLogger(__name__)

COLLECTED: dict[str, type] = {
    "skyloom_generators": descriptors.GeneratorEntry,
    "skyloom_generator_families": descriptors.GeneratorFamily,
    "skyloom_populations": descriptors.Population,
    "skyloom_surveys": descriptors.Survey,
    "skyloom_noise_models": descriptors.NoiseModel,
    "skyloom_cutout_readers": descriptors.CutoutReader,
    "skyloom_metrics": descriptors.Metric,
    "skyloom_commands": descriptors.Command,
}
"""What each collecting hook returns a list of."""


def collect(hook_name: str, manager: SkyloomPluginManager | None = None) -> dict[str, Any]:
    """Ask all plugins for their named things.

    Parameters
    ----------
    hook_name : str
        A key of `COLLECTED`.

    Returns
    -------
    dict of str to descriptor
        By name, in alphabetical order.

    Raises
    ------
    PluginError
        When a plugin returns something else than a list of the hook's descriptor, or two give one name.
    """
    manager = manager or plugin_manager()
    return {name: descriptor for name, (descriptor, _) in _collected(hook_name, manager).items()}


def provider(hook_name: str, name: str, manager: SkyloomPluginManager | None = None) -> str:
    """Plugin and version that provide a named thing, as messages name them."""
    manager = manager or plugin_manager()
    return manager.describe(_collected(hook_name, manager)[name][1])


def lookup(
    hook_name: str,
    name: str,
    *,
    noun: str,
    error: type[BadInputError] = BadInputError,
    manager: SkyloomPluginManager | None = None,
) -> Any:
    """Return one named thing.

    Parameters
    ----------
    hook_name : str
        A key of `COLLECTED`.
    name : str
        The name asked for.
    noun : str
        What messages call it, e.g. ``"model"``.
    error : type
        What is raised when there is none.

    Raises
    ------
    BadInputError
        Of class `error`: lists the names that exist, the nearest ones, and plugins that failed to load.
    PluginError
        When the name is that of a plugin which failed to load.
    """
    manager = manager or plugin_manager()
    found = collect(hook_name, manager)
    if name in found:
        return found[name]
    if name in manager.broken:
        raise PluginError(f"the {noun} '{name}' cannot be had: {manager.broken[name]}")
    near = difflib.get_close_matches(name, found, n=3, cutoff=0.5)
    message = f"no {noun} is named '{name}'"
    message += f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    message += f" There are: {', '.join(found) or 'none'}."
    if manager.broken:
        message += " These failed to load and may provide it: " + "; ".join(map(str, manager.broken.values())) + "."
    raise error(message)


def call_first(hook_name: str, *, manager: SkyloomPluginManager | None = None, **kwargs: Any) -> tuple[Any, str] | None:
    """Call a first-result hook.

    Parameters
    ----------
    hook_name : str
        One of the hooks of that kind.
    **kwargs
        The hook's arguments.

    Returns
    -------
    (result, plugin) or None
        What the first plugin with an answer returned and its name; None when no plugin has one.

    Raises
    ------
    PluginError
        When two plugins claim the hook, one fails, or returns something else than the hook promises.
    """
    manager = manager or plugin_manager()
    implementations = _plain(manager, hook_name)
    claimed = sorted(i.plugin_name for i in implementations if not manager.is_builtin(i.plugin_name))
    if len(claimed) > 1:
        raise PluginError(
            f"hook '{hook_name}' is claimed by {' and '.join(map(manager.describe, claimed))}: only one may "
            f"answer it; uninstall the others or leave them out with {DISABLE_VARIABLE}=NAME"
        )
    for implementation in implementations:
        result = _call(manager, implementation, kwargs)
        if result is not None:
            return _typed(manager, hook_name, result, implementation.plugin_name), implementation.plugin_name
    return None


def call_observers(hook_name: str, *, manager: SkyloomPluginManager | None = None, **kwargs: Any) -> Any:
    """Tell all plugins of something; for ``skyloom_after_profiles`` let the wrappers replace the batch first.

    Returns
    -------
    ProfileBatch or None
        The batch that goes on, for ``skyloom_after_profiles``.

    Raises
    ------
    PluginError
        When a plugin fails, or a plain implementation returns something.
    """
    manager = manager or plugin_manager()
    observers = [i for i in _plain(manager, hook_name) if not manager.is_builtin(i.plugin_name)]
    replaced = None
    if hook_name == REPLACING:
        wrappers = [i.plugin_name for i in manager.caller(hook_name).get_hookimpls() if _wraps(i)]
        caller = manager.subset_hook_caller(hook_name, [i.plugin for i in observers])
        try:
            replaced = caller(**kwargs)
        except PluginError:
            raise
        except Exception as exc:
            names = " or ".join(map(manager.describe, wrappers))
            raise PluginError(f"hook '{hook_name}' of {names} failed: {brief(exc)}") from exc
        kwargs["batch"] = _typed(manager, hook_name, replaced, " or ".join(wrappers))
    for implementation in observers:
        result = _call(manager, implementation, kwargs)
        if result is not None:
            who = manager.describe(implementation.plugin_name)
            raise PluginError(f"hook '{hook_name}' of {who} only observes, but returned a {type(result).__name__}")
    return replaced


def report_error(
    error: BaseException,
    stage: str,
    galaxy_id: int | None = None,
    *,
    manager: SkyloomPluginManager | None = None,
) -> None:
    """Tell all plugins of a failure; the caller raises it afterwards. Never raises itself."""
    try:
        manager = manager or plugin_manager()
    except PluginError:  # then this very error is on its way to the user
        return
    for implementation in _plain(manager, "skyloom_on_error"):
        try:
            _call(manager, implementation, {"error": error, "stage": stage, "galaxy_id": galaxy_id})
        except PluginError as exc:
            logger.error("%s", exc)


def _wraps(implementation: pluggy.HookImpl) -> bool:
    return implementation.wrapper or implementation.hookwrapper


def _plain(manager: SkyloomPluginManager, hook_name: str) -> list[pluggy.HookImpl]:
    """Implementations that are not wrappers, in the order in which pluggy calls them."""
    return [i for i in reversed(manager.caller(hook_name).get_hookimpls()) if not _wraps(i)]


def _call(manager: SkyloomPluginManager, implementation: pluggy.HookImpl, kwargs: Mapping[str, Any]) -> Any:
    """Call one implementation; what it raises, unless it is ours and says enough, becomes a `PluginError`."""
    try:
        return implementation.function(*(kwargs[name] for name in implementation.argnames))
    except SkyloomError:
        raise
    except Exception as exc:
        hook = implementation.function.__name__
        who = manager.describe(implementation.plugin_name)
        raise PluginError(f"hook '{hook}' of {who} failed: {brief(exc)}") from exc


def _collected(hook_name: str, manager: SkyloomPluginManager) -> dict[str, tuple[Any, str]]:
    """Descriptor and plugin of each name, in alphabetical order."""
    wanted = COLLECTED[hook_name]
    found: dict[str, tuple[Any, str]] = {}
    for implementation in reversed(_plain(manager, hook_name)):
        plugin = implementation.plugin_name
        if plugin in manager.broken:
            continue
        try:
            given = _call(manager, implementation, {})
        except PluginError as exc:
            if manager.is_builtin(plugin):
                raise
            manager.remember_broken(
                plugin, manager.version(plugin), f"{hook_name} failed ({brief(exc.__cause__ or exc)})"
            )
            continue
        if not isinstance(given, (list, tuple)) or not all(isinstance(item, wanted) for item in given):
            raise PluginError(
                f"hook '{hook_name}' of {manager.describe(plugin)} must return a list of {wanted.__name__}, "
                f"not {given!r:.100}"
            )
        for item in given:
            if item.name in found:
                first, second = manager.describe(found[item.name][1]), manager.describe(plugin)
                raise PluginError(
                    f"hook '{hook_name}': the name '{item.name}' is given by {first} and by {second}; "
                    f"uninstall one or leave it out with {DISABLE_VARIABLE}=NAME"
                )
            found[item.name] = item, plugin
    return dict(sorted(found.items()))


def _typed(manager: SkyloomPluginManager, hook_name: str, result: Any, plugin: str) -> Any:
    """Return the result of a first-result hook if it is of the type the hook promises."""
    wanted: type = ProfileBatch
    if hook_name == "skyloom_psf":
        import galsim

        wanted = galsim.GSObject
    elif hook_name == "skyloom_add_noise":
        wanted = np.ndarray
    if not isinstance(result, wanted):
        who = manager.describe(plugin)
        raise PluginError(f"hook '{hook_name}' of {who} must return a {wanted.__name__}, not {result!r:.100}")
    return result
