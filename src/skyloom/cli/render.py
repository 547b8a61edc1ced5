"""``skyloom render``: the images of a GalSim configuration."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from skyloom.cli.group import Settings
from skyloom.errors import RenderError

__all__ = ["command"]

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""


class _Shard(click.ParamType):  # type: ignore[type-arg]
    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        number, slash, count = str(value).partition("/")
        if not slash or not number.isdecimal() or not count.isdecimal() or not 1 <= int(number) <= int(count):
            self.fail(f"'{value}' is not I/N with I from 1 to N", param, ctx)
        return int(number), int(count)


@click.command("render", epilog="Example:  skyloom render field.yaml -o images --workers 4 image.random_seed=7")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.SUB=VALUE]...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Files at a time.")
@click.option("--nproc", default=1, show_default=True, type=click.IntRange(min=1), help="Processes for one image.")
@click.option("--scheduler", metavar="ADDRESS", help="A dask scheduler whose workers make the files.")
@click.option("--shard", type=_Shard(), help="Make only every N-th file, from the I-th: for job arrays.")
@click.option("--resume", is_flag=True, help="Keep the files that are whole, and make the others.")
@click.option("--overwrite", is_flag=True, help="Replace the files of an earlier run.")
@click.option("--quicklook/--no-quicklook", default=True, show_default=True, help="A small PNG of each image.")
@click.option("--stamps", is_flag=True, help="Each galaxy without noise, PSF and segmentation, as HDF5.")
@click.option("-v", "--verbosity", default=1, show_default=True, type=click.IntRange(0, 3), help="As galsim's.")
@click.make_pass_decorator(Settings, ensure=True)
def command(
    settings: Settings, /, config: Path, overrides: tuple[str, ...], out: Path, verbosity: int, **choices: Any
) -> None:
    """Make the images of the GalSim configuration file CONFIG.

    The file is taken as it stands; its output.dir is replaced by the folder given with -o.
    """
    from skyloom.render import parse_overrides, render_config
    from skyloom.render.progress import reporter_for

    try:
        with _stopping(), _logger(verbosity, settings.debug) as logger, _reporter(reporter_for, verbosity) as reporter:
            files = render_config(
                config, out, overrides=parse_overrides(overrides), logger=logger, reporter=reporter, **choices
            )
    except KeyboardInterrupt:
        click.echo(
            "skyloom: stopped; the files made so far are whole. Go on with the same command and --resume", err=True
        )
        raise click.exceptions.Exit(STOPPED) from None
    for path in files.written:
        click.echo(str(path))
    for name, what in files.repaired.items():
        click.echo(f"skyloom: made again: {name} ({what})", err=True)
    done, total = len(files.written) + len(files.kept), files.summary.files if files.summary else 0
    if files.stopped:
        raise RenderError(
            f"'{out}': {files.stopped}; {done} of {total} files are whole. Go on elsewhere, or here with --resume"
        )
    if files.failed:
        listed = "; ".join(f"{name} ({reason})" for name, reason in files.failed.items())
        raise RenderError(f"{len(files.failed)} of {total} files failed: {listed}")


@contextmanager
def _stopping() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def _logger(verbosity: int, debug: bool) -> Iterator[logging.Logger]:
    logger = logging.getLogger("galsim")
    logger.setLevel(LEVELS[verbosity])
    handler = _Stderr(LEVELS[verbosity])
    handler.addFilter(_no_start)
    if not debug:
        handler.addFilter(_no_traceback)
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


@contextmanager
def _reporter(reporter_for: Any, verbosity: int) -> Iterator[Any]:
    quiet = verbosity == 0 or logging.getLogger("skyloom").getEffectiveLevel() >= logging.ERROR
    with reporter_for(sys.stderr, quiet=quiet) as reporter:
        yield reporter


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the time: a progress bar stands in for it while it is shown."""

    def __init__(self, level: int) -> None:
        logging.Handler.__init__(self, level)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _no_traceback(record: logging.LogRecord) -> bool:
    """GalSim logs the traceback of a file that failed; the message at the end names its error."""
    return "Traceback (most recent call last)" not in record.getMessage()


def _no_start(record: logging.LogRecord) -> bool:
    """GalSim names a file by its temporary place; the line at its end names the final one."""
    return not str(record.msg).startswith("Start file")
