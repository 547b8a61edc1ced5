"""Reconstructions in magnitude bins, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skyloom.validate.report_data import Line, Score
from skyloom.validate.report_verdict import judge

__all__ = ["BinRow", "BinTable", "bin_tables"]


@dataclass(frozen=True)
class BinRow:
    """One magnitude bin: its median magnitude, stamps, mean chi2 judged, median, and the mean of the Sersic fits."""

    mag: float
    count: float
    mean: Score
    median: float
    sersic: float


@dataclass(frozen=True)
class BinTable:
    """All bins of one sample in one metric, and the range that is asked."""

    sample: str
    label: str
    asked: str
    rows: Sequence[BinRow]


def bin_tables(lines: Sequence[Line]) -> list[BinTable]:
    """Tables of the metrics that gave ``bin_<i>`` and demand a range."""
    found = []
    for line in lines:
        for name, score in line.scores.items():
            more = score.more
            bins = sorted(int(key[4:]) for key in more if key.startswith("bin_") and key[4:].isdigit())
            if not bins or line.tolerance != line.tolerance:
                continue
            rows = [
                BinRow(
                    more[f"mag_{i}"],
                    more[f"n_{i}"],
                    judge(more[f"bin_{i}"], more[f"error_{i}"], float("nan"), line.ideal, tolerance=line.tolerance),
                    more[f"median_{i}"],
                    more[f"sersic_{i}"],
                )
                for i in bins
            ]
            found.append(BinTable(name, line.label, f"{line.ideal:g} ± {line.tolerance:g}", rows))
    return found
