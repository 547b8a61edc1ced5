"""Profiles for many objects of a configuration at a time: what each asks for, and its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError

if TYPE_CHECKING:
    from skyloom.galaxy import LearnedGalaxy
    from skyloom.galsim_config.input_learned import LearnedGalaxies
    from skyloom.profiles import ProfileBatch

__all__ = ["Slot", "decode", "for_object"]

_DRAWN = ("galaxy_id", "flux", "half_light_radius", "sersic_n", "q", "beta")


@dataclass(eq=False)
class Slot:
    """One galaxy that an object asks for, and its profile once it is there."""

    galaxies: LearnedGalaxies
    """The input object."""
    seed: int
    values: dict[str, Any]
    """One value for each column of `skyloom.Conditions`."""
    obj_num: int
    batch: ProfileBatch | None = None
    conditions: Conditions | None = None
    row: int = 0
    """In both."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for galaxies that are the same."""
        return (id(self.galaxies), self.seed, *sorted(self.values.items()))

    def galaxy(self) -> LearnedGalaxy:
        """The decoded galaxy."""
        assert self.batch is not None
        return self.batch[self.row]

    def truth(self) -> dict[str, Any]:
        """What `LearnedGalaxyValue` gives, of the decoded galaxy: see `skyloom.galsim_config.value`."""
        batch, row = self.batch, self.row
        assert batch is not None
        assert self.conditions is not None
        asked = {name: values[row].item() for name, values in self.conditions.as_dict().items()}
        return {
            "structure_radius": asked["half_light_radius"],  # unless given
            **asked,
            **{name: getattr(batch, name)[row].item() for name in _DRAWN},
            "drawn_from": str(batch.drawn_from[row]),
            "generator": batch.generator,
            "weights": batch.weights_sha256,
            "seed": batch.seed,
            "out_of_range": self.galaxies.out_of_range,
            "requested": asked,
        }

    def report(self, logger: Any) -> None:
        """Say in the log how it was drawn."""
        if not logger:
            return
        assert self.batch is not None
        logger.debug("obj %d: LearnedGalaxy %s", self.obj_num, self.values)
        drawn_from = self.batch.drawn_from[self.row]
        if drawn_from in ("clipped", "parametric") and self.galaxies.spec.grid_size:
            logger.info(
                "obj %d: galaxy %d is outside the range of %s: %s",
                self.obj_num, self.values["galaxy_id"], self.galaxies.model, drawn_from,
            )  # fmt: skip


def decode(slots: Iterable[Slot], most: int) -> None:
    """Give every slot its profile, asking for at most `most` galaxies at a time.

    Slots that ask for the same galaxy share it. One request cannot have an id twice, so galaxies of one id that
    differ in anything else are asked for apart.

    Raises
    ------
    BadInputError
        For the first object, in their order, that cannot be drawn; names object and galaxy.
    SkyloomError
        As `skyloom.generators.registry.request_profiles`.
    """
    slots = list(slots)
    firsts: dict[tuple[Any, ...], Slot] = {}
    for slot in slots:
        firsts.setdefault(slot.key, slot)
    for group in _groups(firsts.values()):
        for start in range(0, len(group), most):
            part = group[start : start + most]
            try:
                _request(part)
            except BadInputError:  # which of them, and what its object says
                for slot in sorted(part, key=lambda s: s.obj_num):
                    try:
                        _request([slot])
                    except BadInputError as exc:
                        raise for_object(exc, slot.obj_num, slot.values["galaxy_id"]) from exc
    for slot in slots:
        first = firsts[slot.key]
        slot.batch, slot.conditions, slot.row = first.batch, first.conditions, first.row


def for_object(exc: BadInputError, obj_num: int, galaxy_id: int) -> BadInputError:
    """The same error of a request for one galaxy, with its object in place of its row."""
    galaxy = f"galaxy {galaxy_id}"
    text = str(exc).removeprefix(f"{galaxy} (row 0): ").replace(f", row 0 ({galaxy})", "")
    return type(exc)(f"object {obj_num}, {galaxy}: {text}")


def _groups(slots: Iterable[Slot]) -> Iterator[list[Slot]]:
    """Slots that one request can ask for."""
    groups: dict[Any, list[Slot]] = {}
    seen: dict[Any, int] = {}
    for slot in slots:
        kind = (id(slot.galaxies), slot.seed, frozenset(slot.values))
        turn = seen.setdefault((kind, slot.values["galaxy_id"]), 0)
        seen[kind, slot.values["galaxy_id"]] += 1
        groups.setdefault((kind, turn), []).append(slot)
    yield from groups.values()


def _request(slots: list[Slot]) -> None:
    conditions = Conditions(**{name: [slot.values[name] for slot in slots] for name in slots[0].values})
    batch = slots[0].galaxies.request(slots[0].seed, conditions)
    for row, slot in enumerate(slots):
        slot.batch, slot.conditions, slot.row = batch, conditions, row
