"""Galaxies of an image that wait to be decoded together."""

from __future__ import annotations

from typing import Any

import galsim

from skyloom.galsim_config.decoding import Slot, decode
from skyloom.galsim_config.look_ahead import decode_ahead
from skyloom.galsim_config.pending import PendingGalaxy

__all__ = ["COLLECTOR", "Collector"]

COLLECTOR = "_skyloom_collector"
"""Key of the configuration under which an image keeps one while its objects are set up."""


class Collector:
    """Makes pending galaxies, and decodes those whose stamps wait.

    Parameters
    ----------
    batch_size : int
        Galaxies asked for at a time.
    logger
        GalSim's.
    check_at_once : bool
        Decode every galaxy at once: its object may be tried again when it cannot be drawn.
    """

    def __init__(self, batch_size: int, logger: Any, *, check_at_once: bool = False) -> None:
        self._batch_size = batch_size
        self._logger = logger
        self._check_at_once = check_at_once
        self._waiting: list[Slot] = []

    def pend(self, slot: Slot, base: dict[str, Any], gsparams: dict[str, Any]) -> PendingGalaxy:
        """A galaxy that waits for `decode`, or decodes itself when it has to."""

        def fetch(slot: Slot) -> None:
            decode_ahead(slot, base)
            slot.report(self._logger)

        if self._check_at_once:
            fetch(slot)
        return PendingGalaxy(slot, fetch, galsim.GSParams(**gsparams) if gsparams else None)

    def wait_for(self, slot: Slot) -> None:
        """Decode it with the next batch."""
        self._waiting.append(slot)

    @property
    def full(self) -> bool:
        """Whether a batch waits."""
        return len(self._waiting) >= self._batch_size

    def decode(self) -> None:
        """Decode all that wait."""
        slots = [slot for slot in dict.fromkeys(self._waiting) if slot.batch is None]
        decode(slots, self._batch_size)
        for slot in slots:
            slot.report(self._logger)
        self._waiting.clear()
