"""Charts of measured quantities: distributions, planes of two, a corner of many, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.validate.plots_theme import GRID, MUTED, REAL, new_figure, sample_colours, to_svg

__all__ = ["corner", "curves", "distribution", "finite_column", "plane", "shared_range"]

MAX_POINTS = 500
"""Points drawn of a scatter plot, so that the page stays small; contours and histograms use all galaxies."""

_DASHES = {"Sersic": (0, (4, 2))}
Tables = Mapping[str, Table]
Array = NDArray[np.float64]


def finite_column(table: Table, name: str) -> Array:
    """A column's finite values; none when there is no such column."""
    values = np.asarray(table[name], dtype=np.float64) if name in table.colnames else np.empty(0)
    return values[np.isfinite(values)]


def shared_range(tables: Tables, name: str, *, trim: float = 0.5) -> tuple[float, float] | None:
    """Range that holds all but `trim` per cent of each sample on each side; None without values."""
    ends = [np.percentile(v, [trim, 100 - trim]) for v in (finite_column(t, name) for t in tables.values()) if v.size]
    if not ends:
        return None
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    room = 0.04 * (high - low) or 0.5
    return float(low - room), float(high + room)


def distribution(tables: Tables, name: str, label: str) -> str | None:
    """Histograms of one quantity: real galaxies filled, others as lines; None without real values."""
    limits = shared_range(tables, name)
    if limits is None or not finite_column(tables["real"], name).size:
        return None
    bins = int(np.clip(np.sqrt(len(tables["real"])), 10, 36))
    edges = np.linspace(*limits, bins + 1)
    with new_figure(3.1, 1.95) as figure:
        axes = figure.add_subplot()
        for sample, colour in sample_colours(list(tables)).items():
            values = finite_column(tables[sample], name)
            if not values.size:
                continue
            height = np.histogram(values, edges)[0] / values.size
            if sample == "real":
                axes.stairs(height, edges, color=colour, fill=True, alpha=0.28, linewidth=0)
            axes.stairs(height, edges, color=colour, linewidth=1.6, linestyle=_DASHES.get(sample, "-"))
        axes.set_title(label)
        axes.set_xlim(*limits)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        medians = ", ".join(f"{s} {np.median(v):.3g}" for s in tables if (v := finite_column(tables[s], name)).size)
        return to_svg(figure, f"d-{name}", f"Distribution of {label}. Medians: {medians}.")


def plane(
    tables: Tables,
    x: str,
    y: str,
    labels: tuple[str, str],
    *,
    guides: Sequence[tuple[Sequence[float], Sequence[float], str]] = (),
    invert: tuple[bool, bool] = (False, False),
    log: tuple[bool, bool] = (False, False),
) -> list[tuple[str, str]]:
    """One scatter plot a sample, with contours of the real galaxies in each; (sample, svg) pairs.

    Parameters
    ----------
    tables : mapping of str to Table
    x, y : str
        Columns.
    labels : (str, str)
        Of the axes.
    guides : sequence of (xs, ys, text)
        Lines to draw, with a word at their end.
    invert, log : (bool, bool)
        Of the axes.
    """
    limits = [_axis_range(tables, name, is_log) for name, is_log in zip((x, y), log, strict=True)]
    if limits[0] is None or limits[1] is None:
        return []
    real = _pairs(tables["real"], x, y)
    out = []
    for sample, colour in sample_colours(list(tables)).items():
        points = _pairs(tables[sample], x, y)
        if not len(points):
            continue
        with new_figure(3.1, 2.7) as figure:
            axes = figure.add_subplot()
            for axis, is_log in (("x", log[0]), ("y", log[1])):
                getattr(axes, f"set_{axis}scale")("log" if is_log else "linear")
            for xs, ys, text in guides:
                axes.plot(xs, ys, color=MUTED, linewidth=0.8, linestyle=":")
                axes.annotate(text, (xs[-1], ys[-1]), color=MUTED, fontsize=7.5, ha="right", va="bottom")
            shown = points[:: max(1, -(-len(points) // MAX_POINTS))]
            axes.scatter(shown[:, 0], shown[:, 1], s=6, color=colour, alpha=0.55, linewidths=0)
            _contours(axes, real, limits, log, REAL)
            _limits(axes, limits, invert)
            _plain_ticks(axes, log)
            axes.set_xlabel(labels[0])
            axes.set_ylabel(labels[1])
            axes.set_title(sample)
            text = f"{labels[1]} against {labels[0]}: {len(points)} galaxies, {sample}; contours: real galaxies."
            out.append((sample, to_svg(figure, f"p-{x}-{y}-{_slug(sample)}", text)))
    return out


def corner(tables: Tables, names: Sequence[str], labels: Sequence[str]) -> str | None:
    """All pairs of some quantities, as contours that hold 39 % and 86 %: one and two sigma in a plane."""
    usable = [i for i, name in enumerate(names) if all(finite_column(t, name).size > 20 for t in tables.values())]
    if len(usable) < 2:
        return None
    names, labels = [names[i] for i in usable], [labels[i] for i in usable]
    limits = [shared_range(tables, name, trim=1.0) or (0.0, 1.0) for name in names]
    side = len(names)
    colours = sample_colours(list(tables))
    with new_figure(1.5 * side, 1.4 * side) as figure:
        grid = figure.subplots(side, side, squeeze=False)
        for row in range(side):
            for column in range(side):
                axes = grid[row, column]
                if column > row:
                    axes.set_visible(False)
                    continue
                for sample, table in tables.items():
                    if row == column:
                        edges = np.linspace(*limits[row], 22)
                        values = finite_column(table, names[row])
                        height = np.histogram(values, edges)[0] / values.size
                        axes.stairs(height, edges, color=colours[sample], linestyle=_DASHES.get(sample, "-"))
                    else:
                        pairs = _pairs(table, names[column], names[row])
                        dash = "dashed" if sample in _DASHES else "solid"
                        _contours(axes, pairs, [limits[column], limits[row]], (False, False), colours[sample], dash)
                        axes.set_ylim(*limits[row])
                axes.set_xlim(*limits[column])
                if row == column:
                    axes.set_yticks([])
                    axes.spines["left"].set_visible(False)
                axes.tick_params(labelleft=column == 0 and row > 0, labelbottom=row == side - 1)
                axes.locator_params(nbins=3)
                if row == side - 1:
                    axes.set_xlabel(labels[column])
                if column == 0 and row > 0:
                    axes.set_ylabel(labels[row])
        listed = ", ".join(labels)
        return to_svg(figure, "corner", f"Corner plot of {listed}: contours of {', '.join(tables)}.")


def curves(
    series: Mapping[str, tuple[Array, Array, Array | None, Array | None]],
    name: str,
    labels: tuple[str, str, str],
    *,
    log: tuple[bool, bool] = (False, False),
    zero: float | None = None,
    whole: bool = False,
    y_range: tuple[float, float] | None = None,
) -> str | None:
    """Lines with bands: `series` gives x, y and the band's lower and upper edge a sample.

    `zero` draws a level line; `whole` puts ticks at whole numbers of x.
    """
    series = {sample: s for sample, s in series.items() if np.isfinite(s[1]).any()}
    if not series:
        return None
    with new_figure(3.1, 2.35) as figure:
        axes = figure.add_subplot()
        if zero is not None:
            axes.axhline(zero, color=GRID, linewidth=0.9)
        for sample, colour in sample_colours(list(series)).items():
            x, y, low, high = series[sample]
            if low is not None and high is not None:
                axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(
                x,
                y,
                color=colour,
                linewidth=1.7,
                linestyle=_DASHES.get(sample, "-"),
                marker="o",
                markersize=2.5,
            )
        axes.set_xscale("log" if log[0] else "linear")
        axes.set_yscale("log" if log[1] else "linear")
        _plain_ticks(axes, log)
        if whole:
            axes.set_xticks(np.unique(np.concatenate([s[0] for s in series.values()])))
        if y_range is not None:
            axes.set_ylim(*y_range)
        axes.set_title(labels[0])
        axes.set_xlabel(labels[1])
        axes.set_ylabel(labels[2])
        return to_svg(figure, f"c-{name}", f"{labels[0]}: {labels[2]} against {labels[1]}, for {', '.join(series)}.")


def _pairs(table: Table, x: str, y: str) -> Array:
    if x not in table.colnames or y not in table.colnames:
        return np.empty((0, 2))
    pairs = np.column_stack([np.asarray(table[x], dtype=np.float64), np.asarray(table[y], dtype=np.float64)])
    return pairs[np.isfinite(pairs).all(axis=1)]


def _axis_range(tables: Tables, name: str, log: bool) -> tuple[float, float] | None:
    found = shared_range(tables, name)
    if found is None or not log:
        return found
    positive = np.concatenate([v[v > 0] for v in (finite_column(t, name) for t in tables.values())])
    return (float(positive.min()) / 1.1, float(positive.max()) * 1.1) if positive.size else None


def _limits(axes: Any, limits: Sequence[tuple[float, float] | None], invert: tuple[bool, bool]) -> None:
    for setter, limit, turned in zip((axes.set_xlim, axes.set_ylim), limits, invert, strict=True):
        if limit is not None:
            setter(*(reversed(limit) if turned else limit))


def _plain_ticks(axes: Any, log: tuple[bool, bool]) -> None:
    """Write 0.2 and 5 on logarithmic axes, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, is_log in zip((axes.xaxis, axes.yaxis), log, strict=True):
        if is_log:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def _contours(
    axes: Any,
    pairs: Array,
    limits: Sequence[tuple[float, float] | None],
    log: tuple[bool, bool],
    colour: str,
    style: str = "solid",
) -> None:
    """Smoothed density of `pairs`, at the levels that hold 39 % and 86 % of it."""
    from scipy.stats import gaussian_kde

    scaled = np.column_stack([np.log10(np.maximum(c, 1e-12)) if g else c for c, g in zip(pairs.T, log, strict=True)])
    if len(scaled) < 12 or (scaled.std(axis=0) < 1e-9).any():
        return
    axis: list[Array] = []
    for limit, is_log in zip(limits, log, strict=True):
        low, high = limit or (0.0, 1.0)
        axis.append(np.linspace(np.log10(low), np.log10(high), 60) if is_log else np.linspace(low, high, 60))
    try:
        density = gaussian_kde(scaled.T)
    except np.linalg.LinAlgError:  # all on one line
        return
    height = density(np.stack([g.ravel() for g in np.meshgrid(*axis)])).reshape(60, 60)
    ranked = np.sort(height.ravel())[::-1]
    held = np.cumsum(ranked) / ranked.sum()
    levels = sorted({float(ranked[np.searchsorted(held, share)]) for share in (0.393, 0.865)})
    x, y = (10**a if g else a for a, g in zip(axis, log, strict=True))
    axes.contour(x, y, height, levels=levels, colors=colour, linewidths=1.1, linestyles=style)


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)
