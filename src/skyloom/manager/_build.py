"""Registering: the built-ins, then the entry points, then the search for misspelt hooks."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import pluggy

from skyloom import hookspecs
from skyloom.errors import PluginError

__all__ = [
    "BUILTIN",
    "DISABLE_VARIABLE",
    "BrokenPlugin",
    "SkyloomPluginManager",
    "build_manager",
    "plugin_manager",
]

logger = logging.getLogger(__name__)

BUILTIN: tuple[str, ...] = (
    "skyloom.generators.builtin",
    "skyloom.cutouts.builtin",
    "skyloom.surveys.builtin",
    "skyloom.populations.builtin",
    "skyloom.validate.builtin",
    "skyloom.physics.builtin",
)
"""Modules with hook implementations of our own; plugins like any other, registered first."""

DISABLE_VARIABLE = "SKYLOOM_DISABLE_PLUGINS"
"""Environment variable: names of entry points, separated by commas, that are left out."""

REPLACING = "skyloom_after_profiles"
"""The one first-result hook that takes wrappers: they replace the batch."""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be imported, or whose hook failed when it was asked what it has."""

    name: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"plugin '{self.name}' {self.version}: {self.reason}"


@final
class SkyloomPluginManager(pluggy.PluginManager):
    """pluggy's manager, which also knows versions and broken plugins.

    Attributes
    ----------
    broken : dict of str to BrokenPlugin
        By the plugin's name.
    """

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.broken: dict[str, BrokenPlugin] = {}
        self._versions: dict[str, str] = {}

    def register_version(self, plugin: object, name: str, version: str) -> None:
        """Register a plugin under its name and version, refusing what pluggy refuses with our own error."""
        if self.has_plugin(name):
            raise PluginError(
                f"two plugins are named '{name}': {self.describe(name)} and one of version {version}; "
                f"uninstall one, or leave both out with {DISABLE_VARIABLE}={name}"
            )
        self._versions[name] = version
        try:
            self.register(plugin, name=name)
        except (pluggy.PluginValidationError, ValueError) as exc:
            raise PluginError(f"{self.describe(name)} does not fit Skyloom's hooks: {exc}") from exc

    def remember_broken(self, name: str, version: str, reason: str) -> None:
        """Log a plugin that failed, and keep it for the message of whoever asks for what it might have."""
        self.broken[name] = BrokenPlugin(name, version, reason)
        logger.warning("%s; it is left out", self.broken[name])

    def version(self, name: str) -> str:
        """Version of the distribution a plugin comes from."""
        return self._versions.get(name, "of unknown version")

    def describe(self, name: str) -> str:
        """Plugin and version, as messages name them."""
        return f"plugin '{name}' {self.version(name)}"

    def caller(self, hook_name: str) -> pluggy.HookCaller:
        """Return the hook of this name."""
        caller: pluggy.HookCaller = getattr(self.hook, hook_name)
        return caller

    def is_builtin(self, name: str) -> bool:
        """Whether a plugin is Skyloom's own."""
        return name in BUILTIN


def build_manager(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
) -> SkyloomPluginManager:
    """Make a plugin manager.

    Parameters
    ----------
    entry_points : iterable of importlib.metadata.EntryPoint, optional
        Those installed in group ``skyloom`` by default.

    Raises
    ------
    PluginError
        For a misspelt hook, an argument no hook has, a wrapper of a first-result hook, or a plugin's name
        used twice.
    """
    manager = SkyloomPluginManager()
    manager.add_hookspecs(hookspecs)
    from skyloom import __version__

    for module in BUILTIN:
        manager.register_version(importlib.import_module(module), module, __version__)
    disabled = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")}
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    for entry in sorted(entry_points, key=lambda e: (e.name, e.value)):
        if entry.name in disabled:
            logger.info("plugin '%s' is left out, as %s says", entry.name, DISABLE_VARIABLE)
            continue
        version = entry.dist.version if entry.dist is not None else "of unknown version"
        try:
            plugin = entry.load()
        except Exception as exc:  # whatever a stranger's module raises, it must not stop the others
            manager.remember_broken(entry.name, version, f"cannot import '{entry.value}' ({brief(exc)})")
            continue
        manager.register_version(plugin, entry.name, version)
    _check_hooks(manager)
    return manager


@functools.lru_cache(maxsize=1)
def plugin_manager() -> SkyloomPluginManager:
    """Return the process's plugin manager, made at the first call.

    Raises
    ------
    PluginError
        As `build_manager`.
    """
    return build_manager()


def brief(error: BaseException) -> str:
    """Class and message of an error on one line."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _check_hooks(manager: SkyloomPluginManager) -> None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        name = manager.get_name(exc.plugin) or "?"
        raise PluginError(f"{manager.describe(name)} implements a hook that does not exist: {exc}") from exc
    for name, plugin in manager.list_name_plugin():
        for caller in manager.get_hookcallers(plugin) or ():
            if not (caller.spec and caller.spec.opts["firstresult"]) or caller.name == REPLACING:
                continue
            if any(i.plugin is plugin and (i.wrapper or i.hookwrapper) for i in caller.get_hookimpls()):
                raise PluginError(f"{manager.describe(name)} wraps '{caller.name}', which one plugin answers alone")
