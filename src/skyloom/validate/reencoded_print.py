"""Structure as a page of plain text: real galaxies, models and Sersic profiles side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skyloom.validate.reencoded_tables import GROUP
from skyloom.validate.report_data import Line, Score

__all__ = ["structure_page"]

_WIDTH = 22
_PERCENTILES = (("50", "84"), ("16", "50", "84"))


def structure_page(lines: Sequence[Line]) -> list[str]:
    """Lines of text for a terminal.

    Parameters
    ----------
    lines : sequence of Line
        All of a validation; those of re-encoded structure and of residual power are shown.

    Returns
    -------
    list of str
        Empty where no sample has any of it. A number that is more than two sigma off the real one has a ``*``.
    """
    known = [line for line in lines if any(math.isfinite(s.value) for s in line.scores.values())]
    shown = [line for line in known if line.group == GROUP and _numbers(line)]
    ratios = [line for line in known if line.metric.startswith("residual_power_")]
    if not shown and not ratios:
        return []
    names = list(dict.fromkeys(name for line in shown + ratios for name in line.scores))
    page = ["", f"{'structure':40s}{'real':>{_WIDTH}s}" + "".join(f"{name[: _WIDTH - 2]:>{_WIDTH}s}" for name in names)]
    for line in shown:
        for row, keys in _numbers(line):
            first = next(s for s in line.scores.values() if f"real_{keys[0]}" in s.more)
            cells = [_cell(first, "real", keys)]
            cells += [_cell(line.scores[n], "model", keys) if n in line.scores else "" for n in names]
            page.append(f"{row[:39]:40s}" + "".join(f"{cell:>{_WIDTH}s}" for cell in cells))
    for line in ratios:
        cells = ["1"] + [_ratio(line.scores[n]) if n in line.scores else "" for n in names]
        page.append(f"{line.label[:39]:40s}" + "".join(f"{cell:>{_WIDTH}s}" for cell in cells))
    return [
        *page,
        "50 / 84 or 16 / 50 / 84 %; *: more than two sigma off the real number; residual power: over the real one",
    ]


def _numbers(line: Line) -> list[tuple[str, tuple[str, ...]]]:
    """Rows of a metric: a label, and the names of the numbers in it."""
    more = next((s.more for s in line.scores.values() if any(key.startswith("real_") for key in s.more)), {})
    for keys in _PERCENTILES[::-1]:
        if all(f"real_{key}" in more and f"model_{key}" in more for key in keys):
            return [(line.label, keys)]
    if "real_fraction" in more:
        return [(line.label, ("fraction",))]
    bins = [key.removeprefix("ratio_") for key in more if key.startswith("ratio_")]
    return [(f"{line.label}, x{more[f'ratio_{i}']:.2f}", (i,)) for i in bins]


def _cell(score: Score, kind: str, keys: tuple[str, ...]) -> str:
    if f"{kind}_{keys[0]}" not in score.more:
        return "-"
    texts = []
    for key in keys:
        off = kind == "model" and abs(score.more.get(f"sigma_{key}", 0.0)) > 2
        texts.append(f"{score.more[f'{kind}_{key}']:.3g}" + ("*" if off else ""))
    return " / ".join(texts)


def _ratio(score: Score) -> str:
    return f"{1 + score.value:.2f} +- {score.error:.2f}" if math.isfinite(score.value) else "-"
