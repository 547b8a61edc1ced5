"""``image.type: LearnedScattered``: GalSim's Scattered, its learned galaxies decoded and drawn many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import galsim
from galsim.config import BuildStamp, ParseValue, RegisterImageType
from galsim.config.image import FlattenNoiseVariance
from galsim.config.image_scattered import ScatteredImageBuilder
from galsim.config.stamp import SetupConfigObjNum
from galsim.config.util import LoggerWrapper, MultiProcess, UpdateNProc

from skyloom.errors import ConfigError
from skyloom.galsim_config.collect import COLLECTOR, Collector
from skyloom.galsim_config.deferred import DEFERRED_TYPE, DeferredStamp
from skyloom.galsim_config.deferring import TruthColumns, why_not
from skyloom.galsim_config.field_drawing import DrawnStamp, draw_stamps
from skyloom.galsim_config.stamp_output import add_drawn_stamp
from skyloom.galsim_config.threads import one_torch_thread
from skyloom.galsim_config.truth_table import fill_truth_tables
from skyloom.physics.sized_stamps import check_device

__all__ = ["LearnedScatteredBuilder"]

_BATCH_SIZE = 1024
_OBJECTS_AT_ONCE = 4096  # of several processes, whose stamps all come back before they are added
_MAX_HELD = 2048  # GalSim's own stamps that wait for their turn


@dataclass(frozen=True)
class _Settings:
    batch_size: int
    device: str


@dataclass(frozen=True, eq=False)
class _Built:
    """An object's stamp, and what its pixels add to the image's variance."""

    stamp: galsim.Image | DrawnStamp
    variance: float

    @property
    def bounds(self) -> galsim.BoundsI:
        return self.stamp.bounds

    def add_to(self, image: galsim.Image) -> None:
        """Add what is on the image."""
        stamp = self.stamp
        bounds = stamp.bounds & image.bounds
        if not bounds.isDefined():
            return
        if isinstance(stamp, galsim.Image):
            image[bounds] += stamp[bounds]
            return
        x, y, x0, y0 = bounds.xmin - stamp.xmin, bounds.ymin - stamp.ymin, image.xmin, image.ymin
        width, height = bounds.xmax - bounds.xmin + 1, bounds.ymax - bounds.ymin + 1
        left, low = bounds.xmin - x0, bounds.ymin - y0
        image.array[low : low + height, left : left + width] += stamp.pixels[y : y + height, x : x + width]


class LearnedScatteredBuilder(ScatteredImageBuilder):
    """As GalSim's ``Scattered``, with the keys ``batch_size`` and ``device`` too.

    Every object is set up by GalSim's own code, in order, with its own random numbers. Learned galaxies through
    a PSF are drawn later, `batch_size` at a time; all others by GalSim, at once. The image gets them in their
    order.
    """

    def setup(
        self, config: dict[str, Any], base: dict[str, Any], image_num: int, obj_num: int, ignore: list[str], logger: Any
    ) -> tuple[int, int]:
        """Size of the image; checks the keys."""
        _settings(config, base)
        size: tuple[int, int] = super().setup(
            config, base, image_num, obj_num, [*ignore, "batch_size", "device"], logger
        )
        return size

    def buildImage(
        self, config: dict[str, Any], base: dict[str, Any], image_num: int, obj_num: int, logger: Any
    ) -> tuple[galsim.Image, float]:
        """The image without noise, and the variance already in it."""
        logger = LoggerWrapper(logger)
        SetupConfigObjNum(base, obj_num, logger)  # which moves keys from image to stamp
        reason = why_not(base)
        if reason is not None or not self.nobjects:
            if reason is not None:
                logger.warning("Image %d: objects are drawn one by one, because of %s", image_num, reason)
            built: tuple[galsim.Image, float] = super().buildImage(config, base, image_num, obj_num, logger)
            return built
        _place_at_random(config, base)
        image = base["current_image"]
        noisy: list[_Built] = []
        stamps = 0
        for one in _all_stamps(config, base, obj_num, self.nobjects, _settings(config, base), logger):
            one.add_to(image)
            stamps += 1
            if one.variance:
                noisy.append(one)
        if not stamps:
            logger.warning("No stamps were built.  All objects were skipped.")
        base["index_key"] = "image_num"
        variance = FlattenNoiseVariance(base, image, noisy, [one.variance for one in noisy], logger)
        return image, variance


def _settings(config: dict[str, Any], base: dict[str, Any]) -> _Settings:
    size, device = _BATCH_SIZE, "cpu"
    if "batch_size" in config:
        size = ParseValue(config, "batch_size", base, int)[0]
    if "device" in config:
        device = ParseValue(config, "device", base, str)[0]
    if size < 1:
        raise ConfigError(f"image.batch_size must be at least 1, not {size}")
    check_device(device, "image.device", ConfigError)
    return _Settings(size, device)


def _place_at_random(config: dict[str, Any], base: dict[str, Any]) -> None:
    """Uniform positions where the configuration has none, as Scattered does."""
    if "image_pos" in config and "world_pos" in config:
        raise galsim.GalSimConfigValueError(
            "Both image_pos and world_pos specified for Scattered image.", (config["image_pos"], config["world_pos"])
        )
    if not any(key in section for key in ("image_pos", "world_pos") for section in (config, base["stamp"])):
        low = base["image_origin"]
        config["image_pos"] = {
            "type": "XY",
            "x": {"type": "Random", "min": low.x, "max": low.x + base["image_xsize"] - 1},
            "y": {"type": "Random", "min": low.y, "max": low.y + base["image_ysize"] - 1},
        }


def _all_stamps(
    config: dict[str, Any], base: dict[str, Any], first: int, count: int, settings: _Settings, logger: Any
) -> Iterator[_Built]:
    """Stamps of all objects that are not skipped, in order."""
    processes = 1
    if count > 1 and "nproc" in config:
        processes = UpdateNProc(ParseValue(config, "nproc", base, int)[0], count, base, logger)
    if processes == 1:
        yield from _stamps(range(first, first + count), base, settings, logger)
        return
    if settings.device != "cpu":
        raise ConfigError(f"image.device '{settings.device}' works in one process; image.nproc is {processes}")
    timeout = ParseValue(config, "timeout", base, float)[0] if "timeout" in config else 900
    for start in range(first, first + count, _OBJECTS_AT_ONCE):
        end = min(start + _OBJECTS_AT_ONCE, first + count)
        length = max(1, min(settings.batch_size, -(-(end - start) // processes)))
        parts = [range(i, min(i + length, end)) for i in range(start, end, length)]
        tasks = [[({"obj_nums": part, "settings": settings}, k)] for k, part in enumerate(parts)]
        with one_torch_thread():
            results = MultiProcess(
                min(processes, len(tasks)), base, _stamps_of_task, tasks, "stamp", logger=logger, timeout=timeout,
                except_func=_report,
            )  # fmt: skip
        for result in results:
            yield from result


def _report(logger: Any, proc: str | None, k: int, exc: Exception, trace: str) -> None:
    logger.error("%sException caught when building stamps", "" if proc is None else f"{proc}: ")
    logger.debug("%s", trace)
    logger.error("Aborting the rest of this image")


def _stamps_of_task(obj_nums: range, settings: _Settings, config: dict[str, Any], logger: Any) -> list[_Built]:
    return list(_stamps(obj_nums, config, settings, logger))


def _stamps(obj_nums: range, base: dict[str, Any], settings: _Settings, logger: Any) -> Iterator[_Built]:
    """Stamps of some objects; those of learned galaxies wait until a batch of them is full."""
    truth = TruthColumns(base)
    with _deferring(base, settings, logger) as collector:
        held: list[tuple[Any, float]] = []
        waiting: dict[int, Any] = {}
        for obj_num in obj_nums:
            stamp, variance = BuildStamp(base, obj_num, do_noise=False, logger=logger)
            if isinstance(stamp, DeferredStamp):
                collector.wait_for(stamp.galaxy.slot)
            if truth.columns and obj_num not in base["_skipped_obj_nums"]:
                waiting[obj_num] = truth.note(base)
                for _, _, slot in waiting[obj_num]:
                    collector.wait_for(slot)
            if stamp is not None:
                held.append((stamp, variance))
            if collector.full or len(held) >= _MAX_HELD or obj_num == obj_nums[-1]:
                yield from _drawn(held, waiting, base, truth, collector, settings)
                held, waiting = [], {}


def _drawn(
    held: list[tuple[Any, float]],
    waiting: dict[int, Any],
    base: dict[str, Any],
    truth: TruthColumns,
    collector: Collector,
    settings: _Settings,
) -> Iterator[_Built]:
    collector.decode()
    deferred = [stamp for stamp, _ in held if isinstance(stamp, DeferredStamp)]
    with one_torch_thread():
        drawn = iter(draw_stamps(deferred, base["current_image"], settings.device))
    for stamp, variance in held:
        if not isinstance(stamp, DeferredStamp):
            yield _Built(stamp, variance)
            continue
        pixels = next(drawn)
        if pixels is None:
            truth.drop(base, stamp.obj_num)
            waiting.pop(stamp.obj_num, None)
            continue
        add_drawn_stamp(base, stamp, pixels)
        yield _Built(pixels, 0.0)
    for obj_num, entries in waiting.items():
        truth.fill(obj_num, entries)
    fill_truth_tables(base)


@contextmanager
def _deferring(base: dict[str, Any], settings: _Settings, logger: Any) -> Iterator[Collector]:
    """Let learned galaxies be pending, and their stamps deferred."""
    stamp = base["stamp"]
    before = stamp["type"]
    eager = any(key in stamp for key in ("retry_failures", "skip_failures"))
    collector = base[COLLECTOR] = Collector(settings.batch_size, logger, check_at_once=eager)
    stamp["type"] = DEFERRED_TYPE
    try:
        yield collector
    finally:
        stamp["type"] = before
        del base[COLLECTOR]


RegisterImageType("LearnedScattered", LearnedScatteredBuilder())
