"""``skyloom render``: the images of a GalSim configuration."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from skyloom.cli.group import Settings
from skyloom.errors import RenderError

__all__ = ["command"]

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


@click.command("render", epilog="Example:  skyloom render field.yaml -o images image.random_seed=7 --nproc 2")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.SUB=VALUE]...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder.")
@click.option("--nproc", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option("-v", "--verbosity", default=1, show_default=True, type=click.IntRange(0, 3), help="As galsim's.")
@click.make_pass_decorator(Settings, ensure=True)
def command(
    settings: Settings, config: Path, overrides: tuple[str, ...], out: Path, nproc: int, verbosity: int
) -> None:
    """Make the images of the GalSim configuration file CONFIG.

    The file is taken as it stands; its output.dir is replaced by the folder given with -o.
    """
    from skyloom.render import parse_overrides, render_config

    logger = logging.getLogger("galsim")
    logger.setLevel(min(LEVELS[verbosity], logging.WARNING))  # the files written stand in its warnings
    handler = logging.StreamHandler()  # stderr
    handler.setLevel(LEVELS[verbosity])
    if not settings.debug:
        handler.addFilter(_no_traceback)
    logger.addHandler(handler)
    try:
        files = render_config(config, out, overrides=parse_overrides(overrides), nproc=nproc, logger=logger)
    finally:
        logger.removeHandler(handler)
    for path in files.written:
        click.echo(str(path))
    if files.failed:
        listed = "; ".join(f"{name} ({reason})" for name, reason in files.failed.items())
        total = len(files.failed) + len(files.written)
        raise RenderError(f"{len(files.failed)} of {total} files failed: {listed}")


def _no_traceback(record: logging.LogRecord) -> bool:
    """GalSim logs the traceback of a file that failed; the message at the end names its error."""
    return "Traceback (most recent call last)" not in record.getMessage()
