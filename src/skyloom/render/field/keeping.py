"""The stamps of a field kept in a file, which appears when the field is whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyloom.files import whole_file
from skyloom.psf_images import PsfImages
from skyloom.render.field.observing import Observing
from skyloom.render.field.painting import Part, View
from skyloom.stamp_file import PSF_SIZE, StampFileWriter

__all__ = ["KeptStamps", "keep_stamps"]


@dataclass(frozen=True, eq=False)
class KeptStamps:
    """Takes stamps in electrons, and writes them in ADU."""

    writer: StampFileWriter
    psfs: PsfImages
    view: View
    gain: float

    def __call__(self, part: Part, i: int, pixels: NDArray[np.float32]) -> None:
        """Take one; its galaxy's id is its number, for a row's depends on the catalogue's order."""
        galaxy_id = int(part.batch.galaxy_id[i])
        psf = self.psfs.number(part.keys[i], self.view.psfs.in_image)
        x0, y0 = part.corners[i].tolist()
        self.writer.add(galaxy_id, galaxy_id, x0, y0, pixels / np.float32(self.gain), psf)

    def finish(self, observing: Observing, threshold: float, config_sha256: str) -> None:
        """Write the rest; `threshold` is in units of the noise of sky and read-out."""
        sigma = math.hypot(math.sqrt(observing.sky_electrons), observing.read_noise) / observing.gain
        attributes = {
            "noise_sigma": sigma,
            "threshold_sigma": threshold,
            "pixel_scale": observing.pixel_scale,
            "wavelength": math.nan if observing.wavelength is None else observing.wavelength,
            "gain": observing.gain,
            "survey": observing.name,
            "config_sha256": config_sha256,
        }
        self.writer.finish(threshold * sigma, attributes)


@contextmanager
def keep_stamps(path: Path | None, view: View, gain: float) -> Iterator[KeptStamps | None]:
    """What takes the stamps of a field, if there is a file for them."""
    if path is None:
        yield None
        return
    with whole_file(path) as temporary, StampFileWriter(temporary, view.size) as writer:
        yield KeptStamps(writer, PsfImages(writer, PSF_SIZE), view, gain)
