"""The group ``skyloom``: commands by name, none imported before it is run."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

import click

from skyloom import __version__
from skyloom.errors import SkyloomError

__all__ = ["COMMANDS", "Settings", "skyloom"]

COMMANDS: dict[str, str] = {
    "demo": "A mock survey field of learned galaxies, with a picture.",
    "export": "Write galaxies as files that other simulators read.",
    "ingest": "Turn files of real galaxies into one HDF5 file of cutouts.",
    "models": "List the models, or show one model's card.",
    "plugins": "List what is registered, and the hooks it implements.",
    "render": "Run a GalSim configuration.",
    "sample": "Draw galaxies of given properties: profiles or pictures.",
    "train": "Train a conditional VAE on cutouts.",
    "validate": "Compare models or mock cutouts with real galaxies, and write a report.",
}
"""Built-in commands and the line `skyloom --help` shows; each is `command` in ``skyloom.cli.NAME``."""


@dataclass
class Settings:
    """Choices that hold for every command.

    Parameters
    ----------
    debug : bool
        Show tracebacks.
    """

    debug: bool = False


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Settings).debug = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


class _LazyGroup(click.Group):
    """Finds commands by name: the built-in ones, then those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *self._plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"skyloom.cli.{cmd_name}").command
        elif cmd_name in (others := self._plugin_commands()):
            command = others[cmd_name].load()
        else:
            return None
        if not any("--debug" in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())  # users add it at the end of the line that failed
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        rows = dict(COMMANDS) | {name: c.summary for name, c in self._plugin_commands().items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))

    @staticmethod
    def _plugin_commands() -> dict[str, Any]:
        from skyloom.manager import collect

        try:
            return collect("skyloom_commands")
        except SkyloomError as exc:  # the built-in commands shall work all the same
            logging.getLogger(__name__).warning("%s", exc)
            return {}


@click.group(
    "skyloom",
    cls=_LazyGroup,
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:  skyloom sample --flux 1e4 --half-light-radius 0.8 --sersic-n 1.5 -o galaxy.png",
)
@click.version_option(__version__, prog_name="skyloom")
@click.option("-v", "--verbose", count=True, help="Say more; twice for debugging.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def skyloom(verbose: int, quiet: bool) -> None:
    """Learned galaxies for GalSim image simulations.

    Exit status: 0 done, 1 failed, 2 bad input.
    """
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logger = logging.getLogger("skyloom")
    logger.setLevel(level)
    handler = logging.StreamHandler()  # stderr
    handler.setFormatter(logging.Formatter("skyloom: %(message)s"))
    logger.handlers[:] = [handler]
