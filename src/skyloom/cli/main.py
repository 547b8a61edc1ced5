"""Entry point of the program: errors become one message on stderr and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from skyloom.cli.group import Settings, skyloom
from skyloom.errors import SkyloomError

__all__ = ["main", "run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0 done, 1 failed, 2 bad input.
    """
    settings = Settings()
    try:
        result = skyloom.main(
            None if arguments is None else list(arguments),
            prog_name="skyloom",
            standalone_mode=False,
            obj=settings,
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as exc:  # click's own: a usage error has status 2, others 1
        exc.show(file=sys.stderr)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("skyloom: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has gone, e.g. `skyloom models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SkyloomError as exc:
        return _fail(str(exc), exc.exit_code, settings)
    except Exception as exc:
        text = f"{type(exc).__name__}: {exc}".rstrip(": ")
        return _fail(text, 1, settings)


def _fail(message: str, status: int, settings: Settings) -> int:
    if settings.debug:
        traceback.print_exc(file=sys.stderr)
    print(f"skyloom: error: {message}", file=sys.stderr)
    return status


def main() -> None:
    """Run the command line of this process and leave with its exit status."""
    sys.exit(run())
