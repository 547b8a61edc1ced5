"""Decoding a few objects' galaxies at once where GalSim builds one object after the other.

When a galaxy is asked for that is not decoded yet, the objects after it are evaluated in a copy of the
configuration, with their own random numbers, up to the conditions of their galaxies; all are decoded together
and kept. An object whose conditions turn out as foreseen finds its galaxy ready. Another is decoded when its turn
comes: what was foreseen never enters an image by itself. Whatever goes wrong in the copy ends the looking ahead,
not the run.
"""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import dataclass, field
from typing import Any

from galsim.config import CopyConfig, SetupConfigObjNum
from galsim.config.gsobject import UpdateGSParams, valid_gsobject_types
from galsim.config.image import valid_image_types
from galsim.config.stamp import stamp_ignore, valid_stamp_types
from galsim.config.util import LoggerWrapper
from galsim.config.value import valid_value_types

from skyloom.errors import SkyloomError
from skyloom.galsim_config.decoding import Slot, decode

__all__ = ["CAPTURE", "decode_ahead"]

logger = logging.getLogger(__name__)

CAPTURE = "_skyloom_capture"
"""Key of a copy of the configuration under which galaxies are only taken down."""

_SILENT = LoggerWrapper(None)
_STATE = "_skyloom_look_ahead"
_KEPT = 8  # galaxies kept beside those looked ahead at: one asked for twice within a stamp or a ring
_TRUSTED = ("galsim", "skyloom", "imsim", "roman_imsim", "euclidlike_imsim")
"""Packages whose types give the same values however often they are asked."""


@dataclass(eq=False)
class _State:
    """What looking ahead knows of an image."""

    image: tuple[Any, ...]
    copy: dict[str, Any] | None
    end: int
    """First object number beyond the image, as far as that is known."""
    foreseen: set[Any] = field(default_factory=set)
    wasted: int = 0
    used: int = 0


def decode_ahead(slot: Slot, base: dict[str, Any]) -> None:
    """Give a slot its profile: one kept from before, or a new one along with those of the objects to come.

    Raises
    ------
    BadInputError
        When it cannot be drawn; names object and galaxy.
    """
    kept = slot.galaxies.kept
    found = kept.get(slot.key)
    if found is None:
        decode_with = _foreseen(slot, base) if slot.galaxies.look_ahead > 1 else []
        if decode_with:
            try:
                decode([slot, *decode_with], slot.galaxies.look_ahead)
            except SkyloomError:  # of an object that is not due yet, and may never come to this
                slot.batch = None
                base[_STATE].copy = None
        if slot.batch is None:
            decode([slot], 1)
        for one in (slot, *decode_with):
            if one.batch is not None:
                kept[one.key] = one
        while len(kept) > slot.galaxies.look_ahead + _KEPT:
            kept.popitem(last=False)
        return
    state = base.get(_STATE)
    if state is not None:
        state.used += slot.key in state.foreseen
        state.foreseen.discard(slot.key)
    slot.batch, slot.conditions, slot.row = found.batch, found.conditions, found.row


def _foreseen(slot: Slot, base: dict[str, Any]) -> list[Slot]:
    """Galaxies of the objects after this one, as far as they can be foreseen."""
    state = _state(base)
    state.wasted += len(state.foreseen)
    state.foreseen.clear()
    if state.copy is None or state.wasted > 4 * (state.used + slot.galaxies.look_ahead):
        return []
    found: list[Slot] = []
    keys = {slot.key}
    obj_num = slot.obj_num + 1
    while len(found) < slot.galaxies.look_ahead - 1 and obj_num < state.end:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                new = _galaxies_of(state.copy, obj_num)
        except Exception as exc:  # a skip, or anything a configuration can raise
            logger.debug("object %d is not looked ahead at: %r", obj_num, exc)
            new = []
            if obj_num > slot.obj_num + slot.galaxies.look_ahead:
                break
        if obj_num - slot.obj_num > 4 * slot.galaxies.look_ahead:  # hardly any learned galaxies
            break
        for one in new:
            if one.galaxies is slot.galaxies and one.key not in keys:
                keys.add(one.key)
                found.append(one)
        obj_num += 1
    state.foreseen = keys - {slot.key}
    return found


def _galaxies_of(base: dict[str, Any], obj_num: int) -> list[Slot]:
    """Evaluate an object of the copy as `galsim.config.BuildStamp` does, up to its profile."""
    captured: list[Slot] = []
    base[CAPTURE] = captured
    SetupConfigObjNum(base, obj_num)
    stamp = base["stamp"]
    builder = copy.copy(valid_stamp_types[stamp["type"]])
    if builder.quickSkip(stamp, base):
        return []
    builder.setupRNG(stamp, base, _SILENT)
    xsize, ysize, image_pos, world_pos = builder.setup(stamp, base, 0, 0, stamp_ignore, _SILENT)
    builder.locateStamp(stamp, base, xsize, ysize, image_pos, world_pos, _SILENT)
    if builder.getSkip(stamp, base, _SILENT):
        return []
    gsparams = UpdateGSParams({}, stamp["gsparams"], base) if "gsparams" in stamp else {}
    psf = builder.buildPSF(stamp, base, gsparams, _SILENT)
    builder.buildProfile(stamp, base, psf, gsparams, _SILENT)
    return captured


def _state(base: dict[str, Any]) -> _State:
    """The state of this image, made anew for each."""
    image = (id(base), base.get("file_num", 0), base.get("image_num", 0))
    state: _State | None = base.get(_STATE)
    if state is None or state.image != image:
        state = base[_STATE] = _State(image, None, 0)
        if _trusted(base):
            try:
                state.copy = _copied(base)
                state.end = _end(base, state.copy)
            except Exception as exc:
                logger.debug("no looking ahead in this image: %r", exc)
                state.copy = None
    return state


def _copied(base: dict[str, Any]) -> dict[str, Any]:
    scratch: dict[str, Any] = CopyConfig(base)
    for key in ("extra_builder", "current_stamp", "current_prof", "output_manager", _STATE):
        scratch.pop(key, None)
    if scratch["stamp"]["type"].startswith("_Skyloom"):
        scratch["stamp"]["type"] = "Basic"
    scratch["stamp"]["_done"] = True  # a leading underscore is not copied
    scratch["_propagated_index_key_rng_num"] = True
    return scratch


def _end(base: dict[str, Any], scratch: dict[str, Any]) -> int:
    """Object number beyond the last one, were this object the image's first."""
    builder = copy.copy(valid_image_types[scratch["image"].get("type", "Single")])
    count: int = builder.getNObj(scratch["image"], scratch, scratch.get("image_num", 0))
    scratch["index_key"] = "obj_num"
    return int(base.get("obj_num", 0)) + count


def _trusted(base: dict[str, Any]) -> bool:
    """Whether all types that an object is made of belong to packages known to have no memory."""
    stamp_type = base.get("stamp", {}).get("type", "Basic")
    if not _is_trusted(type(valid_stamp_types.get(stamp_type))):
        return False
    stack: list[Any] = [base.get(key) for key in ("gal", "psf", "stamp", "image")]
    stack += [value for key, value in base.items() if key.endswith(("_gal", "_psf"))]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(value for key, value in item.items() if key != "current" and not str(key).startswith("_"))
            name = item.get("type")
            if not isinstance(name, str):
                continue
            makers = [valid_gsobject_types.get(name), (valid_value_types.get(name) or [None])[0]]
            if not all(maker is None or _is_trusted(maker) for maker in makers):
                return False
    return True


def _is_trusted(maker: Any) -> bool:
    return str(getattr(maker, "__module__", "")).partition(".")[0] in _TRUSTED
