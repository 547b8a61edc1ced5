"""How a run tells where it is: a bar on a terminal, a line a file elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from skyloom.render.build import Outcome
from skyloom.render.tasks import Task

__all__ = ["BarReporter", "LineReporter", "QuietReporter", "Reporter", "reporter_for"]


class Reporter(Protocol):
    """Is told of every task when it ends."""

    def start(self, todo: Sequence[Task], kept: int) -> None:
        """Begin: tasks to be done, and the number of files that stand already."""

    def done(self, outcome: Outcome) -> None:
        """One task ended."""

    def stop(self) -> None:
        """End, in whatever way."""


class QuietReporter:
    """Says nothing."""

    def start(self, todo: Sequence[Task], kept: int) -> None:
        """Nothing."""

    def done(self, outcome: Outcome) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class _Count:
    """Work done and left, in galaxies."""

    def __init__(self, todo: Sequence[Task], clock: float) -> None:
        self._share = {task.name: max(task.galaxies, 1) for task in todo}
        self.total = sum(self._share.values())
        self.files, self.ended, self.worked, self.galaxies = len(todo), 0, 0, 0
        self._start = clock

    def add(self, outcome: Outcome) -> None:
        self.ended += 1
        self.worked += self._share[outcome.name]
        self.galaxies += outcome.galaxies

    def state(self, clock: float) -> str:
        seconds = max(clock - self._start, 1e-3)
        text = f"{self.ended} of {self.files} files; {self.galaxies / seconds:.0f} galaxies/s"
        if self.ended < self.files:
            text += f"; about {_time(seconds * (self.total - self.worked) / self.worked)} left"
        return text


class LineReporter:
    """A plain line a file, for logs.

    Parameters
    ----------
    stream : text file
        Usually stderr.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = _Count((), 0.0)

    def start(self, todo: Sequence[Task], kept: int) -> None:
        """Say what there is to do."""
        self._count = _Count(todo, time.monotonic())
        whole = f"{kept} files stand already; " if kept else ""
        self._say(f"{whole}{len(todo)} files to make, {sum(t.galaxies for t in todo)} galaxies at most")

    def done(self, outcome: Outcome) -> None:
        """Say what became of one."""
        self._count.add(outcome)
        if outcome.failed:
            what = f"failed: {outcome.reason}"
        elif outcome.made:
            what = f"{outcome.galaxies} galaxies, {outcome.seconds:.1f} s"
        else:
            what = "skipped"
        self._say(f"{outcome.name}: {what} ({self._count.state(time.monotonic())})")

    def stop(self) -> None:
        """Nothing."""

    def _say(self, text: str) -> None:
        print(f"skyloom: {text}", file=self._stream, flush=True)


class BarReporter:
    """A bar with galaxies a second and the time left, for terminals.

    Parameters
    ----------
    stream : text file
        A terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"),
            console=Console(file=stream), redirect_stdout=False,
        )  # fmt: skip
        self._count = _Count((), 0.0)

    def start(self, todo: Sequence[Task], kept: int) -> None:
        """Show the bar."""
        self._count = _Count(todo, time.monotonic())
        self._bar = self._progress.add_task("rendering", total=self._count.total, state=f"0 of {len(todo)} files")
        self._progress.start()

    def done(self, outcome: Outcome) -> None:
        """Advance the bar, and print what failed above it."""
        self._count.add(outcome)
        if outcome.failed:
            self._progress.console.print(f"{outcome.name}: failed: {outcome.reason}", markup=False, highlight=False)
        self._progress.update(self._bar, completed=self._count.worked, state=self._count.state(time.monotonic()))

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


@contextmanager
def reporter_for(stream: TextIO, *, quiet: bool = False) -> Iterator[Reporter]:
    """The reporter that fits the stream, stopped at the end."""
    reporter: Reporter = QuietReporter() if quiet else BarReporter(stream) if stream.isatty() else LineReporter(stream)
    try:
        yield reporter
    finally:
        reporter.stop()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
