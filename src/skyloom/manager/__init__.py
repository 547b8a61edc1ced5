"""Where plugins come together, and how their hooks are called.

`plugin_manager` registers the built-ins first, then the entry points of group ``skyloom`` in the order of
their names, so that the order of installation never matters; then misspelt hooks are looked for. An entry
point that cannot be imported is logged, skipped, and named when something it might have provided is asked
for.
"""

from skyloom.manager._build import (
    BUILTIN,
    DISABLE_VARIABLE,
    BrokenPlugin,
    SkyloomPluginManager,
    build_manager,
    plugin_manager,
)
from skyloom.manager._calls import (
    COLLECTED,
    call_first,
    call_observers,
    collect,
    lookup,
    provider,
    report_error,
)

__all__ = [
    "BUILTIN",
    "COLLECTED",
    "DISABLE_VARIABLE",
    "BrokenPlugin",
    "SkyloomPluginManager",
    "build_manager",
    "call_first",
    "call_observers",
    "collect",
    "lookup",
    "plugin_manager",
    "provider",
    "report_error",
]
