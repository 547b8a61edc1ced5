"""A file of stamps beside every image, where it is asked for."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from skyloom.render.tasks import Task

__all__ = ["STAMPS", "add_stamps"]

STAMPS = "learned_stamps"
"""Of the section ``output``."""


def add_stamps(config: dict[str, Any], task: Task) -> None:
    """Name the file of ``output.learned_stamps`` after the image: ``f0.stamps.hdf5`` for ``f0.fits``.

    Parameters
    ----------
    config : dict
        Of the file; altered.
    task : Task
        Says the name of the image.
    """
    section = config["output"].get(STAMPS)
    if isinstance(section, dict):
        stem = PurePath(task.name)
        section.setdefault("file_name", str(stem.with_name(stem.name.split(".fits")[0] + ".stamps.hdf5")))
