"""Stamps that are set up by GalSim's own code and drawn later, many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from galsim.config.stamp import DrawBasic, ParseDType, StampBuilder, valid_stamp_types
from numpy.typing import NDArray

from skyloom.galsim_config.pending import PendingGalaxy

__all__ = ["DEFERRED_TYPE", "DRAW_METHODS", "DeferredStamp"]

DEFERRED_TYPE = "_SkyloomDeferred"
DRAW_METHODS = ("auto", "fft", "no_pixel")
"""Values of ``draw_method`` that `skyloom.draw` knows."""

Floats = NDArray[np.float64]


@dataclass(eq=False)
class DeferredStamp:
    """Stands for the image of an object's stamp until it is drawn."""

    obj_num: int
    galaxy: PendingGalaxy
    profile: galsim.GSObject
    """With everything GalSim does to it, and the PSF."""
    psf: galsim.GSObject
    matrix: Floats | None
    """What GalSim does to the galaxy on the sky; None for nothing."""
    shift: tuple[float, float]
    brightness: float
    """Ratio of surface brightness that GalSim asks for."""
    wcs: galsim.BaseWCS
    """Local."""
    uniform_wcs: bool
    """Whether it is the same all over the image."""
    offset: galsim.PositionD
    center: galsim.PositionI
    size: tuple[int, int] | None
    """Pixels along x and y; None where GalSim chooses."""
    method: str
    dtype: Any

    @property
    def pixel(self) -> bool:
        """Whether the pixel is convolved with."""
        return self.method != "no_pixel"

    def draw_with_galsim(self) -> NDArray[np.floating[Any]]:
        """The stamp's pixels as GalSim alone draws them."""
        size = {} if self.size is None else {"nx": self.size[0], "ny": self.size[1]}
        image = self.profile.drawImage(
            wcs=self.wcs, offset=self.offset, method=self.method, dtype=self.dtype, **size
        )  # fmt: skip
        return image.array

    def galsim_size(self) -> int:
        """Size that GalSim chooses, asked for directly."""
        image = self.profile.drawImage(wcs=self.wcs, offset=self.offset, method=self.method, setup_only=True)
        return int(image.array.shape[0])


class DeferringBuilder(StampBuilder):
    """GalSim's Basic stamps, but for learned galaxies through a PSF it returns a `DeferredStamp`."""

    def updateSkip(
        self, prof: Any, image: Any, method: str, offset: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> bool:
        """Whether the stamp is entirely off the image; a size not known yet is decided on later."""
        if image is None and _drawable(prof, method, base):
            return False
        return bool(super().updateSkip(prof, image, method, offset, config, base, logger))

    def draw(
        self, prof: Any, image: Any, method: str, offset: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> Any:
        """Take down what is to be drawn, or draw with GalSim what only GalSim can."""
        if prof is None:
            return image
        if not _drawable(prof, method, base):
            return DrawBasic(prof, image, method, offset, config, base, logger)
        light, psf = prof.obj_list
        transformed = isinstance(light, galsim.Transformation)
        return DeferredStamp(
            obj_num=base["obj_num"],
            galaxy=light.original if transformed else light,
            profile=prof,
            psf=psf,
            matrix=light._jac if transformed else None,
            shift=(light._dx, light._dy) if transformed else (0.0, 0.0),
            brightness=light._flux_ratio if transformed else 1.0,
            wcs=_local_wcs(base),
            uniform_wcs=base["wcs"]._isUniform,
            offset=offset,
            center=base["stamp_center"],
            size=None if image is None else (image.array.shape[1], image.array.shape[0]),
            method=method,
            dtype=ParseDType(config, base) if image is None else image.dtype,
        )

    def updateOrigin(self, config: dict[str, Any], base: dict[str, Any], image: Any) -> None:
        """Centre the stamp on its place; a deferred one knows it."""
        if not isinstance(image, DeferredStamp):
            super().updateOrigin(config, base, image)


def _drawable(prof: Any, method: str, base: dict[str, Any]) -> bool:
    """Whether `skyloom.draw` can draw it: one learned galaxy under affine maps, and one PSF."""
    if method not in DRAW_METHODS or not isinstance(prof, galsim.Convolution):
        return False
    if base.get("stamp_center") is None or len(prof.obj_list) != 2 or "bandpass" in base:
        return False
    light, psf = prof.obj_list
    if isinstance(light, galsim.Transformation):
        light = light.original
    return isinstance(light, PendingGalaxy) and not isinstance(psf, PendingGalaxy) and not prof.real_space


def _local_wcs(base: dict[str, Any]) -> Any:
    wcs = base["wcs"]
    if not wcs._isUniform:
        return wcs.local(image_pos=base["image_pos"])
    kept = base.get("_skyloom_local_wcs")
    if kept is None or kept[0] is not wcs:
        kept = base["_skyloom_local_wcs"] = (wcs, wcs.local())
    return kept[1]


valid_stamp_types[DEFERRED_TYPE] = DeferringBuilder()
