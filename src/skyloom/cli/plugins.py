"""``skyloom plugins``: who is registered, and with what."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("plugins", epilog="Example:  skyloom plugins")
def command() -> None:
    """List the plugins in the order they were registered, with version, hooks and the names they give."""
    from skyloom.errors import PluginError
    from skyloom.manager import COLLECTED, collect, plugin_manager, provider

    manager = plugin_manager()
    given: dict[str, list[str]] = {}
    problems: list[str] = []
    for hook in COLLECTED:
        try:
            names = collect(hook)
        except PluginError as exc:
            problems.append(str(exc))
            continue
        noun = hook.removeprefix("skyloom_").replace("_", " ")
        for name in names:
            given.setdefault(provider(hook, name), []).append(f"{noun}: {name}")
    for name, plugin in manager.list_name_plugin():
        kind = "built-in" if manager.is_builtin(name) else "entry point"
        click.echo(f"{name} {manager.version(name)} ({kind})")
        hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())
        click.echo(f"    hooks  {', '.join(hooks) or 'none'}")
        for line in given.get(manager.describe(name), []):
            click.echo(f"    {line}")
    for broken in manager.broken.values():
        click.echo(f"{broken.name} {broken.version} (broken): {broken.reason}")
    for problem in problems:
        click.echo(f"problem: {problem}")
