"""Figures as inline SVG in the page's own colours and fonts: they follow its light and dark theme, and print.

matplotlib draws with the placeholder colours below; `to_svg` puts CSS variables in their place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "MUTED", "PAPER", "REAL", "SERSIC", "css_names", "new_figure", "sample_colours", "to_svg"]

INK, MUTED, GRID, PAPER = "#010201", "#020302", "#030403", "#040504"
REAL, SERSIC = "#050605", "#060706"
_MODELS = ("#070807", "#080908", "#090a09", "#0a0b0a")

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    REAL: "--c-real",
    SERSIC: "--c-sersic",
    **{colour: f"--c-model-{i}" for i, colour in enumerate(_MODELS)},
}

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": True,
}


def sample_colours(names: list[str]) -> dict[str, str]:
    """The placeholder colour of each sample: real galaxies, Sersic, and the models in their order."""
    colours, models = {}, iter(_MODELS * (1 + len(names) // len(_MODELS)))
    for name in names:
        colours[name] = REAL if name == "real" else SERSIC if name == "Sersic" else next(models)
    return colours


def css_names(names: list[str]) -> dict[str, str]:
    """The CSS variable of each sample's colour."""
    return {name: _VARIABLES[colour] for name, colour in sample_colours(names).items()}


@contextmanager
def new_figure(width: float, height: float, **layout: Any) -> Iterator[Figure]:
    """A figure of `width` x `height` inches in the page's style, outside pyplot's global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained", **layout)


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element to stand in an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Of the figure; keeps its ids apart from other figures' of the page, and the same from run to run.
    description : str
        What a reader who cannot see it should know.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id|xlink:href|href)="(#?)([^"]+)"', lambda m: _own_id(m, name), text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"(font: [\d.]+px)[^;\"]*", r"\1 var(--sans)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"\n\s*", "\n", text)
    label = escape(description, quote=True)
    width = float(figure.get_figwidth()) * 112
    view = re.search(r'viewBox="[^"]+"', text)
    assert view is not None
    size = f"width:100%;max-width:{width:.0f}px;height:auto"
    head = f'<svg {view[0]} role="img" aria-label="{label}" style="{size}"'
    return re.sub(r"<svg[^>]*", head + ' xmlns:xlink="http://www.w3.org/1999/xlink"', text, count=1)


def _own_id(match: re.Match[str], name: str) -> str:
    attribute, sign, value = match.groups()
    if attribute != "id" and not sign:
        return match[0]  # a picture's data
    return f'{attribute}="{sign}{name}-{value}"'
