"""Thresholds for survey gates: ``--require METRIC<VALUE``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skyloom.errors import ConfigError
from skyloom.validate.report_data import Line

__all__ = ["Requirement", "check_requirements", "known_metrics", "parse_requirement"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_PATTERN = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Requirement:
    """One threshold.

    Parameters
    ----------
    metric : str
    sign : {'<', '<=', '>', '>='}
    value : float
    """

    metric: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.value:g}"

    def holds(self, value: float) -> bool:
        """Whether it holds; a score that is not a number holds nothing."""
        return math.isfinite(value) and _OPERATORS[self.sign](value, self.value)


def parse_requirement(text: str) -> Requirement:
    """Read ``METRIC<VALUE``.

    Raises
    ------
    ConfigError
        When it is something else.
    """
    found = _PATTERN.fullmatch(text)
    if not found:
        raise ConfigError(f"--require {text!r} is not of the form METRIC<VALUE (or <=, >, >=)")
    try:
        value = float(found[3])
    except ValueError:
        raise ConfigError(f"--require {text!r}: {found[3]!r} is no number") from None
    return Requirement(found[1], found[2], value)


def known_metrics(requirements: Sequence[Requirement], names: Sequence[str]) -> None:
    """Check that all thresholds are on metrics there are, before hours are spent.

    Raises
    ------
    ConfigError
        Names the metric that is not known, and those that are.
    """
    for need in requirements:
        if need.metric not in names:
            there_are = ", ".join(sorted(names))
            raise ConfigError(f"--require {need}: no metric '{need.metric}'; there are {there_are}")


def check_requirements(
    requirements: Sequence[Requirement], lines: Sequence[Line], judged: Sequence[str]
) -> list[tuple[str, bool]]:
    """Whether each threshold holds for every judged sample, with what each scored.

    Raises
    ------
    ConfigError
        As `known_metrics`.
    """
    known_metrics(requirements, [line.metric for line in lines])
    known = {line.metric: line for line in lines}
    out = []
    for need in requirements:
        for name in judged:
            score = known[need.metric].scores.get(name)
            value = score.value if score is not None else math.nan
            shown = f"{value:.4g}" if math.isfinite(value) else "not measured"
            out.append((f"{need} by {name}: {shown}", need.holds(value)))
    return out
