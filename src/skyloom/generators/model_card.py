"""`ModelCard`: what a weights file says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from skyloom.profiles import GeneratorSpec

__all__ = ["ModelCard"]

_LINE = 100  # a value longer than this gets lines of its own


@dataclass(frozen=True)
class ModelCard:
    """What a model is, was made from and may be used for.

    Parameters
    ----------
    family : str
        The generator family that can load the weights, e.g. ``cvae``.
    name : str
        Of the model.
    spec : GeneratorSpec
        Conditions, ranges, bands and grid; its `weights_sha256` is the SHA-256 of the whole file.
    training_data : str
        What it was trained on, with references.
    licence : str
        Of the weights.
    date : str
        When it was made, ISO 8601.
    architecture : mapping
        What the family needs to build the network.
    training : mapping
        How it was trained.
    metrics : mapping
        Held-out figures; a list of rows with the same names is printed as a table.
    versions : mapping of str to str
        Of the packages it was made with.
    extras : mapping
        Anything else.
    """

    family: str
    name: str
    spec: GeneratorSpec
    training_data: str = ""
    licence: str = ""
    date: str = ""
    architecture: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole weights file, as ``sha256sum`` prints it; empty before it is written."""
        return self.spec.weights_sha256

    def to_dict(self) -> dict[str, Any]:
        """Everything but the SHA-256, which a file can't hold of itself, as JSON; extras on top."""
        spec = {f.name: getattr(self.spec, f.name) for f in fields(GeneratorSpec) if f.name != "weights_sha256"}
        spec["ranges"] = {name: list(limits) for name, limits in self.spec.ranges.items()}
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("spec", "extras")}
        return {**self.extras, **out, "spec": spec}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], weights_sha256: str = "") -> ModelCard:
        """Inverse of `to_dict`; names that aren't known become extras.

        Raises
        ------
        ValueError
            Names what is missing or of the wrong type.
        """
        known = {f.name: f for f in fields(cls) if f.name != "extras"}
        for name, f in known.items():
            if name not in values:
                if f.default is MISSING and f.default_factory is MISSING:
                    raise ValueError(f"the model card has no '{name}'")
                continue
            wanted = str if f.type == "str" else (Mapping, GeneratorSpec)
            if not isinstance(values[name], wanted):
                raise ValueError(f"'{name}' of the model card is a {type(values[name]).__name__}")
        if not values["family"] or not values["name"]:
            raise ValueError("'family' and 'name' of the model card must not be empty")
        given = {name: values[name] for name in known if name in values and name != "spec"}
        extras = {name: value for name, value in values.items() if name not in known}
        return cls(**given, spec=_spec(values["spec"], weights_sha256), extras=extras)

    def to_markdown(self) -> str:
        """Return the card as a page to read."""
        spec = self.spec
        lines = [f"# {self.name}", "", spec.summary, ""]
        facts = {
            "Family": self.family,
            "Training data": self.training_data,
            "Licence": self.licence,
            "Date": self.date,
            "Bands": ", ".join(spec.bands),
            "Grid": f"{spec.grid_size} x {spec.grid_size}, {spec.grid_scale:g} half-light radii a pixel",
            "Needs": ", ".join(spec.required),
            "SHA-256": self.sha256,
        }
        lines += [f"- {name}: {value}" for name, value in facts.items() if value]
        lines += ["", "| condition | from | to |", "|---|---|---|"] if spec.ranges else []
        lines += [f"| {name} | {low:g} | {high:g} |" for name, (low, high) in spec.ranges.items()]
        for title in ("metrics", "architecture", "training", "versions", "extras"):
            values = getattr(self, title)
            if values:
                lines += ["", f"## {title.capitalize()}", "", *_listed(values)]
        return "\n".join(lines) + "\n"


def _spec(values: Any, weights_sha256: str) -> GeneratorSpec:
    if isinstance(values, GeneratorSpec):
        return replace(values, weights_sha256=weights_sha256)
    names = {f.name for f in fields(GeneratorSpec)} - {"weights_sha256"}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"the model card's spec has an unknown entry '{unknown[0]}'")
    try:
        return GeneratorSpec(
            name=str(values["name"]),
            summary=str(values.get("summary", "")),
            ranges={str(name): (float(low), float(high)) for name, (low, high) in values.get("ranges", {}).items()},
            required=tuple(map(str, values.get("required", GeneratorSpec.required))),
            bands=tuple(map(str, values.get("bands", ()))),
            grid_size=int(values.get("grid_size", 0)),
            grid_scale=float(values.get("grid_scale", 0.0)),
            weights_sha256=weights_sha256,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ValueError(f"the model card's spec cannot be read: {type(exc).__name__}: {exc}") from exc


def _listed(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in values.items():
        if _is_table(value):
            lines += [f"{indent}- {name}:", "", *(indent + "  " + line for line in _table(value)), ""]
        elif isinstance(value, Mapping) and len(str(value)) > _LINE:
            lines += [f"{indent}- {name}:", *_listed(value, indent + "  ")]
        elif isinstance(value, Mapping):
            lines.append(f"{indent}- {name}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines


def _is_table(value: Any) -> bool:
    """Whether a value is rows of the same columns."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(row, Mapping) for row in value):
        return False
    return len({tuple(row) for row in value}) == 1


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(str(row[name]) for name in columns) + " |" for row in rows]
