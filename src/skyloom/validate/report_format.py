"""Numbers as people read them, and the small pictures of the report's table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from skyloom.validate.report_data import Line, Sample, Score

__all__ = ["FILTERS", "number", "strip_plot", "with_error"]

_WIDTH, _HEIGHT = 116, 18
_LOW, _HIGH = 0.25, 32.0


def number(value: float, digits: int = 3) -> str:
    """A number to some significant digits, with a real minus sign; a dash for NaN."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}×10^{int(exponent)}".replace("-", "−")
    return text.replace("-", "−")


def with_error(score: Score) -> str:
    """Value and error to the same decimal."""
    if not math.isfinite(score.value):
        return "–"
    if not (math.isfinite(score.error) and score.error > 0):
        return number(score.value)
    places = min(4, max(0, 1 - math.floor(math.log10(score.error))))
    return f"{score.value:.{places}f} ± {score.error:.{places}f}".replace("-", "−")


def real_text(line: Line) -> str | Markup:
    """Median and spread of the quantity over real galaxies, or the perfect score."""
    if math.isfinite(line.real):
        low, high = line.real_spread
        spread = f"({_to_place(low, high - low)} to {_to_place(high, high - low)})"
        return Markup(f'{number(line.real)} <span class="spread">{spread}</span>')
    return f"ideal {number(line.ideal)}" if math.isfinite(line.ideal) else "–"


def _to_place(value: float, width: float) -> str:
    """A number to the decimal that shows a range of this width in two digits."""
    if not (math.isfinite(width) and width > 0):
        return number(value, 2)
    text = f"{value:.{max(0, 1 - math.floor(math.log10(width)))}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def capital(text: str) -> str:
    """A label with a capital letter, but for a lone symbol such as q."""
    return text[:1].upper() + text[1:] if text[1:2].isalpha() else text


def mini_marks(line: Line, judged: Sequence[Sample]) -> Markup:
    """The verdicts as signs before the label, for screens too narrow to show the last column."""
    signs = {"pass": '<span class="pass">✓</span>', "falls short": '<span class="short">✗</span>'}
    found = [signs.get(line.scores[s.name].outcome, "·") for s in judged if s.name in line.scores]
    return Markup('<span class="mini" aria-hidden="true">' + "".join(found) + " </span>")


def strip_plot(line: Line, colours: Mapping[str, str]) -> Markup:
    """Where each sample stands in multiples of the floor, on a logarithmic line; the tick is what passes."""
    found = {name: s.multiple for name, s in line.scores.items() if not math.isnan(s.multiple)}
    if not found:
        return Markup("")
    mid = _HEIGHT / 2
    said = ", ".join(f"{name} {number(multiple, 2)} × the floor" for name, multiple in found.items())
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="{escape(said)}">',
        f'<rect x="0" y="{mid - 4}" width="{_place(2.0):.1f}" height="8" class="ok"/>',
        f'<line x1="0" x2="{_WIDTH}" y1="{mid}" y2="{mid}" class="axis"/>',
    ]
    for name in reversed(list(found)):
        x = _place(found[name])
        shape = f'<circle cx="{x:.1f}" cy="{mid}" r="4.2" style="fill:var({colours[name]})"/>'
        if name == "Sersic":
            side = 6.4
            shape = (
                f'<rect x="{x - side / 2:.1f}" y="{mid - side / 2:.1f}" width="{side}" height="{side}"'
                f' class="hollow" style="stroke:var({colours[name]})"/>'
            )
        parts.append(shape)
    return Markup("".join(parts) + "</svg>")


def _place(multiple: float) -> float:
    clipped = min(max(multiple, _LOW), _HIGH)
    return 5 + (_WIDTH - 10) * math.log(clipped / _LOW) / math.log(_HIGH / _LOW)


def times(multiple: float) -> str:
    """A multiple of the floor."""
    if math.isnan(multiple):
        return ""
    return "> 99 ×" if multiple > 99 else f"{multiple:.1f} ×"


def floor_text(line: Line) -> str:
    """The floor; or what is asked in its place."""
    if math.isfinite(line.tolerance):
        return f"{number(line.ideal)} ± {number(line.tolerance)}"
    return number(line.floor)


def percent(part: float, whole: float) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "with_error": with_error,
    "real_text": real_text,
    "capital": capital,
    "mini_marks": mini_marks,
    "strip_plot": strip_plot,
    "times": times,
    "percent": percent,
    "floor_text": floor_text,
}
"""Filters of the template."""
