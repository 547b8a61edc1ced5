"""Which images can have their learned galaxies drawn together, and the truth that waits for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from galsim.config import GetFromConfig

from skyloom.galsim_config.decoding import Slot
from skyloom.galsim_config.deferred import DRAW_METHODS
from skyloom.galsim_config.pending import PendingTruth
from skyloom.galsim_config.value import truth_value

__all__ = ["TruthColumns", "why_not"]

_OUTPUTS = {"truth", "learned_truth", "weight", "badpix", "provenance", "skyloom_render", "learned_stamps"}
"""Extra outputs that do not look at a stamp's pixels while the image is being made, or wait for them."""

_NEED_PIXELS = ("min_flux_frac", "min_snr", "max_snr")
_WORDS = ("current_stamp", "current_prof", "current_image")
_VALUE = "LearnedGalaxyValue"


def why_not(base: dict[str, Any]) -> str | None:
    """Why an image's objects have to be drawn one by one; None when they need not.

    Something asks for an object's pixels, or for what is known of it only when it is decoded, before the next
    object's turn.
    """
    stamp = base.get("stamp", {})
    image = base.get("image", {})
    if stamp.get("type", "Basic") != "Basic":
        return f"stamp.type {stamp['type']}"
    for key in _NEED_PIXELS:
        if key in stamp:
            return f"stamp.{key}"
    if "photon_ops" in stamp or base.get("sensor") is not None:
        return "photon_ops or a sensor"
    if "signal_to_noise" in base.get("gal", {}):
        return "gal.signal_to_noise"
    method = stamp.get("draw_method", image.get("draw_method", "auto"))
    if isinstance(method, str) and method[:1] not in "$@" and method not in DRAW_METHODS:
        return f"draw_method {method}"
    others = set(base.get("extra_builder", {})) - _OUTPUTS
    if others:
        return f"output.{sorted(others)[0]}"
    words, values = _count(base)
    if words:
        return f"a value that asks for {words[0]}"
    if values != len(TruthColumns(base).columns):
        return f"a {_VALUE} outside the columns of a truth table"
    return None


def _count(base: dict[str, Any]) -> tuple[list[str], int]:
    """Words in the configuration that ask for a drawn stamp, and how often `LearnedGalaxyValue` stands there."""
    words: list[str] = []
    values = 0
    stack: list[Any] = [base.get(key) for key in ("gal", "psf", "stamp", "image", "input", "output", "eval_variables")]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(value for key, value in item.items() if key != "current" and not str(key).startswith("_"))
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            words.extend(word for word in _WORDS if word in item)
            values += _VALUE in item
    return words, values


class TruthColumns:
    """Columns of ``output.truth`` that are a `LearnedGalaxyValue`.

    Parameters
    ----------
    base : dict
        The whole configuration.

    Attributes
    ----------
    columns : list of (int, str, str)
        Place in the row, field, and the key where the galaxy stands.
    """

    def __init__(self, base: dict[str, Any]) -> None:
        self.columns: list[tuple[int, str, str]] = []
        self._builder = base.get("extra_builder", {}).get("truth")
        if self._builder is None:
            return
        for place, value in enumerate(base["output"]["truth"]["columns"].values()):
            if isinstance(value, dict) and value.get("type") == _VALUE:
                field, gal = value.get("field"), value.get("gal", "gal")
                if isinstance(field, str) and isinstance(gal, str) and field[:1] not in "$@" and gal[:1] not in "$@":
                    self.columns.append((place, field, gal))

    def note(self, base: dict[str, Any]) -> list[tuple[int, str, Slot]]:
        """Entries of the row just made that wait for a galaxy: place, field, slot."""
        waiting = []
        for place, field, gal in self.columns:
            section = GetFromConfig(base, gal)
            truth = section.get("_learned_truth") if isinstance(section, dict) else None
            if isinstance(truth, PendingTruth):
                waiting.append((place, field, truth.slot))
        return waiting

    def fill(self, obj_num: int, waiting: Iterable[tuple[int, str, Slot]]) -> None:
        """Put in what is known now."""
        waiting = list(waiting)
        if not waiting:
            return
        row = self._builder.scratch[obj_num]
        for place, field, slot in waiting:
            row[place] = truth_value(slot.truth(), field)
        self._builder.scratch[obj_num] = row  # a copy, where processes share it

    def drop(self, base: dict[str, Any], obj_num: int) -> None:
        """Make an object one that was skipped."""
        if "_skipped_obj_nums" in base and "extra_builder" in base:
            base["_skipped_obj_nums"][obj_num] = None
        if self._builder is not None:
            self._builder.scratch.pop(obj_num, None)
