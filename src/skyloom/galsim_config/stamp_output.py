"""``output.learned_stamps``: every object of an image by itself, without noise, with PSF and segmentation, as HDF5."""

from __future__ import annotations

import atexit
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import galsim
from galsim.config import CalculateNoiseVariance, GetAllParams, GetCurrentValue, RegisterExtraOutput
from galsim.config.extra import ExtraOutputBuilder
from numpy.typing import NDArray

from skyloom.errors import ConfigError
from skyloom.files import current_umask
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.deferred import DeferredStamp
from skyloom.galsim_config.truth_table import learned_truths
from skyloom.physics.sized_stamps import seen_under
from skyloom.psf_images import PsfImages
from skyloom.stamp_file import NOBODY, PSF_SIZE, StampFileWriter

__all__ = ["StampsBuilder", "add_drawn_stamp"]

_KEY = "learned_stamps"
_IMAGES = ("Scattered", "LearnedScattered", "Tiled")
_OPTIONS = {"threshold": float, "psf_size": int}


class StampsBuilder(ExtraOutputBuilder):
    """Writes the stamps of a file's image as they are drawn.

    The section has `file_name`; `threshold` (1 by default), in units of the noise's sigma in the middle of the
    image, above which a pixel belongs to the object that is brightest in it; and `psf_size`, 65 pixels by default.
    """

    _writer: StampFileWriter | None = None
    _path: Path | None = None

    def initialize(self, data: Any, scratch: Any, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Begin a file; refuse what no such file can be made of."""
        self.discard()
        check_keys(config, f"output.{_KEY}", ["file_name", "dir", *_OPTIONS])
        super().initialize(data, scratch, config, base, logger)
        kind = base.get("image", {}).get("type", "Single")
        if kind not in _IMAGES:
            raise ConfigError(
                f"output.{_KEY}: an image of type {kind} has no stamps beside each other; it must be one of "
                f"{', '.join(_IMAGES)}"
            )
        output = base["output"].get("type", "Fits")
        if output != "Fits":
            raise ConfigError(f"output.{_KEY}: output.type {output} has several images a file; use Fits")
        nproc = base["image"].get("nproc", 1)
        if nproc != 1:
            raise ConfigError(f"output.{_KEY} is written by one process; image.nproc is {nproc}")

    def setupImage(self, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Open a temporary file, where the image's will be."""
        values, _ = GetAllParams(config, base, opt=_OPTIONS, ignore=["file_name", "dir"])
        self._threshold = values.get("threshold", 1.0)
        size = values.get("psf_size", PSF_SIZE)
        if not 0 <= self._threshold < math.inf:
            raise ConfigError(f"output.{_KEY}.threshold must be a number from 0, not {self._threshold}")
        if not 1 <= size <= 1025:
            raise ConfigError(f"output.{_KEY}.psf_size must be 1 to 1025 pixels, not {size}")
        folder = Path(config.get("dir") or base["output"].get("dir") or ".")
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".stamps.", suffix=".hdf5", dir=folder)
        os.close(handle)
        self._path, self._bounds = Path(name), base["image_bounds"]
        self._writer = StampFileWriter(self._path, (base["image_xsize"], base["image_ysize"]), psf_size=size)
        self._psfs = PsfImages(self._writer, size)

    def processStamp(self, obj_num: int, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Take an object's stamp; one that is drawn later comes by way of `add_drawn_stamp`."""
        stamp = base["current_stamp"]
        if isinstance(stamp, DeferredStamp) or stamp is None:
            return
        method = GetCurrentValue("draw_method", base["stamp"], str, base) if "draw_method" in base["stamp"] else "auto"
        if method == "phot":
            raise ConfigError(f"output.{_KEY}: photons that are shot have noise; draw_method must not be phot")
        section = base.get("psf")
        psf = section["current"][0] if isinstance(section, dict) else None
        galaxy_id = next((int(truth["galaxy_id"]) for truth in learned_truths(base.get("gal"), base)), NOBODY)
        corner = (stamp.bounds.xmin, stamp.bounds.ymin)
        wcs = base["wcs"].local(image_pos=base["image_pos"])
        self.add(obj_num, galaxy_id, corner, stamp.array, psf, wcs, base["wcs"]._isUniform, method != "no_pixel")

    def add(
        self,
        obj_num: int,
        galaxy_id: int,
        corner: tuple[int, int],
        pixels: NDArray[Any],
        psf: galsim.GSObject | None,
        wcs: galsim.BaseWCS,
        uniform: bool,
        pixel: bool,
    ) -> None:
        """Write an object's stamp and, where it is a new one, its PSF."""
        assert self._writer is not None
        number = -1
        if psf is not None:
            matrix = wcs.jacobian().getMatrix()
            matrix = matrix if uniform else seen_under(matrix, psf)
            number = self._psfs.number((psf, tuple(matrix.ravel().tolist())), _in_pixels, pixel=pixel)
        x, y = corner[0] - self._bounds.xmin + 1, corner[1] - self._bounds.ymin + 1
        self._writer.add(galaxy_id, obj_num, x, y, pixels, number)

    def processImage(
        self, index: int, obj_nums: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> None:
        """Finish the file."""
        assert self._writer is not None
        sigma = math.sqrt(CalculateNoiseVariance(base))
        galaxies = next(iter(base.get("_input_objs", {}).get("learned_galaxies") or []), None)
        wavelength = getattr(galaxies, "wavelength", None)
        attributes = {
            "noise_sigma": sigma,
            "threshold_sigma": self._threshold,
            "pixel_scale": math.sqrt(abs(base["wcs"].pixelArea(image_pos=base["image_center"]))),
            "wavelength": math.nan if wavelength is None else float(wavelength),
        }
        self._writer.finish(self._threshold * sigma, attributes)
        self._writer.close()
        self._writer = None

    def writeFile(self, file_name: str, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Give the file its name."""
        assert self._path is not None
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self._path.chmod(0o666 & ~current_umask())
        self._path.replace(file_name)
        self._path = None

    def discard(self) -> None:
        """Leave nothing of a file that failed; GalSim has one builder for all files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def add_drawn_stamp(base: dict[str, Any], stamp: DeferredStamp, drawn: Any) -> None:
    """Hand on a stamp that was drawn with others, where somebody wants it."""
    builder = base.get("extra_builder", {}).get(_KEY)
    if builder is not None:
        galaxy_id = int(stamp.galaxy.slot.values["galaxy_id"])
        corner = (drawn.xmin, drawn.ymin)
        builder.add(
            stamp.obj_num, galaxy_id, corner, drawn.pixels, stamp.psf, stamp.wcs, stamp.uniform_wcs, stamp.pixel
        )  # fmt: skip


def _in_pixels(key: tuple[galsim.GSObject, tuple[float, ...]]) -> galsim.GSObject:
    return galsim.JacobianWCS(*key[1]).toImage(key[0])


_BUILDER = StampsBuilder()
atexit.register(_BUILDER.discard)
RegisterExtraOutput(_KEY, _BUILDER)
