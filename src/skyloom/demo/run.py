"""Render the demo's field, and make its picture."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.table import Table

from skyloom.demo import configuration_file
from skyloom.errors import RenderError
from skyloom.render import render_config

__all__ = ["DemoFiles", "run_demo"]


@dataclass(frozen=True)
class DemoFiles:
    """What the demo made."""

    image: Path
    truth: Path
    picture: Path
    model: str
    weights_sha256: str
    galaxies: int


def run_demo(
    out: str | os.PathLike[str],
    *,
    model: str = "cosmos",
    overrides: dict[str, Any] | None = None,
    nproc: int = 1,
    logger: logging.Logger | None = None,
) -> DemoFiles:
    """Make image, truth table and picture in the folder `out`.

    Parameters
    ----------
    out : path
        Folder; made when missing. Files of an earlier run are replaced.
    model : str
        Name of a generator, or a path to weights.
    overrides : dict, optional
        Values by key of the configuration, e.g. ``{"image.random_seed": 7}``.
    nproc : int, optional
        Processes; the pixels do not depend on it.
    logger : logging.Logger, optional
        Gets GalSim's messages.

    Raises
    ------
    SkyloomError
        As `skyloom.render.render_config`.
    """
    from skyloom.demo.picture import draw_picture

    out = Path(out)
    overrides = {**(overrides or {}), "input.learned_galaxies.model": model}
    files = render_config(configuration_file(), out, overrides=overrides, nproc=nproc, overwrite=True, logger=logger)
    if files.failed or not files.written:
        raise RenderError("; ".join(f"{name}: {why}" for name, why in files.failed.items()) or "no image was made")
    image = files.written[0]
    truth = image.with_name(image.stem + "_truth.fits")
    picture = out / "demo.png"
    header = draw_picture(image, truth, picture, model=model)
    return DemoFiles(image, truth, picture, header["MODEL"], header["WEIGHTS"], len(Table.read(truth)))
