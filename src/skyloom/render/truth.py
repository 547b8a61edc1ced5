"""A truth table beside every image that has learned galaxies."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from skyloom.render.tasks import GALAXY_INPUTS, Task

__all__ = ["add_truth"]


def add_truth(config: dict[str, Any], task: Task) -> None:
    """Add ``output.learned_truth`` to a configuration that draws learned galaxies, or its missing `file_name`.

    The tables are named after the image: ``f0.galaxies.fits`` and ``f0.galaxies.parquet`` for ``f0.fits``. With
    `hdu` the table goes into the image's file, and has no name.

    Parameters
    ----------
    config : dict
        Of the file; altered.
    task : Task
        Says the name of the image.
    """
    sections = config.get("input")
    if isinstance(sections, dict) and any(name in sections for name in GALAXY_INPUTS):
        stem = PurePath(task.name)
        name = str(stem.with_name(stem.name.split(".fits")[0] + ".galaxies.fits"))
        section = config["output"].setdefault("learned_truth", {})
        if isinstance(section, dict) and "hdu" not in section:
            section.setdefault("file_name", name)
