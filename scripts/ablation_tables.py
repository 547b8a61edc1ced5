"""The results of `scripts/ablations.py` as Markdown tables, and as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_tables"]

Floats = NDArray[np.float64]
REFERENCES = {"cartesian": "no_simulations"}
"""What a variant is compared with galaxy by galaxy, where that is not the full model."""


def write_tables(results: dict[str, dict[str, Any]], folder: Path, command: str) -> None:
    """Write ``ablations_table.md`` and ``ablations.json``.

    Parameters
    ----------
    results : dict
        By name, as `scripts/ablations.py` keeps them; missing ones have no row.
    folder : Path
    command : str
        That makes them again.
    """
    trained = {name: result for name, result in results.items() if name != "priors"}
    text, summary = [], {"command": command}
    if "full" in trained:
        settings = trained["full"]["settings"]
        dates = sorted({result["date"] for result in results.values()})
        text.append(
            f"`{command}`, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}: {settings['steps']} steps of "
            f"{settings['batch']} galaxies each, seed {settings['seed']}."
        )
        summary |= {"settings": settings, "date": dates[-1], "variants": {}}
        text += [_gains(trained), _chi2(trained), _differences(trained, summary), _joint(trained)]
    if "priors" in results:
        text += [_bounds(results["priors"], summary), _coherence(results["priors"], summary)]
    (folder / "ablations_table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    (folder / "ablations.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _gains(trained: dict[str, dict[str, Any]]) -> str:
    sources = _sources(trained["full"]["stamps"])
    head = [f"{name} ({rows.sum()})" for name, rows in sources.items()]
    lines = _head("gain in ELBO over f = 0, mean / median a stamp, nats", [*head, "stamps that gain", "KL", "weights"])
    lines.append(_row("f = 0 (Sersic)", ["0 / 0"] * len(head) + ["", "", ""]))
    for result in trained.values():
        gain, kl = (_column(result["stamps"], name) for name in ("gain", "kl"))
        cells = [f"{gain[rows].mean():.1f} / {np.median(gain[rows]):.1f}" for rows in sources.values()]
        cells += [f"{(gain > 0).mean():.2f}", f"{kl.mean():.0f}", f"{result['parameters'] / 1000:.0f}k"]
        lines.append(_row(result["label"], cells))
    return "\n".join(lines)


def _chi2(trained: dict[str, dict[str, Any]]) -> str:
    sources = _sources(trained["full"]["stamps"])
    lines = _head("χ² a pixel, mean / median", [f"{name} ({rows.sum()})" for name, rows in sources.items()])

    def row(label: str, values: Floats) -> str:
        cells = [f"{values[rows].mean():.3f} / {np.median(values[rows]):.3f}" for rows in sources.values()]
        return _row(label, cells)

    lines.append(row("f = 0 (Sersic)", _column(trained["full"]["stamps"], "chi2_sersic")))
    lines += [row(result["label"], _column(result["stamps"], "chi2")) for result in trained.values()]
    return "\n".join(lines)


def _differences(trained: dict[str, dict[str, Any]], summary: dict[str, Any]) -> str:
    lines = _head("gain less that of", ["", "mean ± error, nats", "median", "stamps that lose"])
    for name, result in trained.items():
        figures: dict[str, Any] = {"label": result["label"], "parameters": result["parameters"], "sources": {}}
        for source, rows in _sources(result["stamps"]).items():
            columns = {k: _column(result["stamps"], k)[rows] for k in ("gain", "chi2_sersic", "chi2", "kl")}
            gain = columns["gain"]
            figures["sources"][source] = {
                "stamps": int(rows.sum()),
                "gain_mean": _short(gain.mean()),
                "gain_median": _short(np.median(gain)),
                "share_gained": _short((gain > 0).mean()),
            } | {k: _short(v.mean()) for k, v in columns.items() if k != "gain"}
        reference = REFERENCES.get(name, "full")
        if name != reference and reference in trained:
            change = _column(result["stamps"], "gain") - _column(trained[reference]["stamps"], "gain")
            error = _error(change, _galaxies(result["stamps"]), np.mean)
            lost = float((change < 0).mean())
            cells = [trained[reference]["label"], f"{change.mean():+.1f} ± {error:.1f}", f"{np.median(change):+.1f}"]
            lines.append(_row(result["label"], [*cells, f"{lost:.2f}"]))
            figures["against"] = {
                "reference": reference,
                "mean": _short(change.mean()),
                "error": _short(error),
                "median": _short(np.median(change)),
                "share_lost": _short(lost),
            }
        summary["variants"][name] = figures
    return "\n".join(lines)


def _joint(trained: dict[str, dict[str, Any]]) -> str:
    """Of galaxies seen in several bands: all bands from one latent, or each from its own."""
    lines = _head("galaxies in several bands: gain, mean / median a galaxy", ["one posterior", "a posterior a band"])
    for result in trained.values():
        galaxies, stamps = result["galaxies"], result["stamps"]
        several = _column(galaxies, "bands") > 1
        numbers = {key: k for k, key in enumerate(zip(galaxies["source"], galaxies["galaxy_id"], strict=True))}
        apart = np.zeros(len(several))
        for source, galaxy, gain in zip(stamps["source"], stamps["galaxy_id"], stamps["gain"], strict=True):
            apart[numbers[source, galaxy]] += gain
        together = _column(galaxies, "gain")[several]
        pairs = [f"{v.mean():.1f} / {np.median(v):.1f}" for v in (together, apart[several]) if len(v)]
        lines.append(_row(result["label"], pairs or ["none", "none"]))
    return "\n".join(lines)


def _bounds(priors: dict[str, Any], summary: dict[str, Any]) -> str:
    lines = _head(
        "prior: bound on the gain, mean / median a stamp, nats", ["q of the encoder", "q in the prior's noise"]
    )
    out = {}
    for name, found in priors["bounds"].items():
        values = [np.asarray(found[kind], dtype=float) for kind in ("encoder", "adapted")]
        lines.append(_row(name, [f"{v.mean():.1f} / {np.median(v):.1f}" for v in values]))
        out[name] = {
            f"{kind}_{of.__name__}": _short(of(v))
            for kind, v in zip(("encoder", "adapted"), values, strict=True)
            for of in (np.mean, np.median)
        }
    summary["priors"] = {"settings": priors["settings"], "model_steps": priors["steps"], "bounds": out}
    return "\n".join(lines)


def _coherence(priors: dict[str, Any], summary: dict[str, Any]) -> str:
    found = priors["coherence"]
    lines = _head("samples, encoded again: median / 84th percentile", [*found["columns"], "rms σ", "within 2 σ"])

    def cells(values: list[float]) -> list[str]:
        return [f"{low:.2f} / {high:.2f}" for low, high in zip(values[::2], values[1::2], strict=True)]

    lines.append(_row(f"real ({found['stamps']} stamps)", [*cells(found["real"]["values"]), "", ""]))
    lines.append(_row("±", [*cells(found["real"]["errors"]), "", ""]))
    for name, one in found["priors"].items():
        lines.append(_row(name, [*cells(one["values"]), f"{one['rms_sigma']:.2f}", f"{one['within_2']} of 12"]))
    summary["priors"]["coherence"] = found
    return "\n".join(lines)


def _head(first: str, others: list[str]) -> list[str]:
    return [_row(first, others), "|" + "---|" * (1 + len(others))]


def _row(first: str, cells: list[str]) -> str:
    return "| " + " | ".join([first, *cells]) + " |"


def _column(table: dict[str, Any], name: str) -> Floats:
    return np.asarray(table[name], dtype=np.float64)


def _sources(table: dict[str, Any]) -> dict[str, NDArray[np.bool_]]:
    """Rows of each source, and all."""
    source = np.array(table["source"])
    return {name: source == name for name in dict.fromkeys(table["source"])} | {"all": np.ones(len(source), bool)}


def _galaxies(table: dict[str, Any]) -> NDArray[np.intp]:
    """Number of each stamp's galaxy."""
    keys = list(zip(table["source"], table["galaxy_id"], strict=True))
    numbers = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _error(values: Floats, galaxy: NDArray[np.intp], of: Callable[[Floats], Any], rounds: int = 1000) -> float:
    """Error of a statistic of stamps, from the bootstrap over galaxies."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(galaxy == g) for g in range(galaxy.max() + 1)]
    drawn = [
        of(values[np.concatenate([rows[g] for g in rng.integers(len(rows), size=len(rows))])]) for _ in range(rounds)
    ]
    return float(np.std(drawn))


def _short(value: float) -> float:
    return float(f"{float(value):.4g}")
