"""One task, in whatever process: GalSim builds the file, and it comes under its name with a receipt."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import galsim

from skyloom.physics.huge_fft import raise_on_huge_fft
from skyloom.render.documents import CONFIG_ERRORS, Document, config_message
from skyloom.render.headers import add_headers
from skyloom.render.products import commit, file_sha256, pixel_sha256
from skyloom.render.quicklook import draw_quicklook
from skyloom.render.receipts import Receipt, receipt_name, versions, write_receipt
from skyloom.render.stamps import add_stamps
from skyloom.render.tasks import Task
from skyloom.render.truth import add_truth

__all__ = ["Outcome", "build_task", "forget_prepared", "prepared"]

_KEPT = 2  # documents whose inputs stay in memory
_PREPARED: OrderedDict[str, dict[str, Any]] = OrderedDict()
_DISK = {errno.ENOSPC: "no space left", errno.EDQUOT: "quota exceeded", errno.EROFS: "read-only file system"}


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    name: str
    made: bool = False
    reason: str = ""
    """Why the file was not made; empty when GalSim skipped it (`output.skip`)."""
    bad_input: bool = False
    """The configuration is at fault."""
    disk: bool = False
    """Nothing can be written any more, so that other tasks would fail too."""
    galaxies: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    traceback: str = ""
    log: list[tuple[int, str]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether it should have been made and was not."""
        return bool(self.reason)


def build_task(
    task: Task,
    document: Document,
    out: Path,
    scratch: Path,
    *,
    quicklook: bool = False,
    logger: logging.Logger | None = None,
) -> Outcome:
    """Make one file and what comes with it. Never raises for what goes wrong in the task.

    Parameters
    ----------
    task : Task
        Which file.
    document : Document
        Its configuration.
    out : pathlib.Path
        Final folder.
    scratch : pathlib.Path
        A folder on the same file system, for what is not yet whole.
    quicklook : bool, optional
        Add a picture.
    logger : logging.Logger, optional
        Gets GalSim's messages.
    """
    start, cpu = time.perf_counter(), time.process_time()
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{Path(task.name).stem}.", dir=scratch))
    except OSError as exc:
        return _failed(task, document, exc)
    try:
        galaxies, written = _build(task, document, folder, logger)
        if not written:
            return Outcome(task.name)
        if quicklook:
            draw_quicklook(folder / task.name)
        names = [name for name in _files(folder) if name not in task.taken]
        files = {name: _entry(folder / name) for name in names}
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        receipt = Receipt(
            task.name, task.origin, files, galaxies, round(seconds, 3), round(cpu_seconds, 3), versions()
        )  # fmt: skip
        write_receipt(folder, receipt)
        commit(folder, out, names)
        commit(folder, out, [receipt_name(task.name)])  # last: it says that all the others are there
        return Outcome(task.name, True, galaxies=galaxies, seconds=seconds, cpu_seconds=cpu_seconds)
    except Exception as exc:
        return _failed(task, document, exc)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepared(document: Document, logger: logging.Logger | None = None) -> dict[str, Any]:
    """Configuration with its modules imported and the inputs that all files share; kept for the next task.

    They are kept for this reading of the configuration alone: the text may be the same in the next run, but a worker
    that outlives a run must not draw from what its catalogue was before, nor with another `image.nproc`.
    """
    key = document.reading
    if key not in _PREPARED:
        galsim.config.ImportModules(document.config)
        base = galsim.config.CopyConfig(document.config)
        base["rng"] = object()  # as GalSim does: an input that asks for randomness before there is any must fail
        galsim.config.ProcessInput(base, logger=logger, safe_only=True)
        _PREPARED[key] = base
        while len(_PREPARED) > _KEPT:
            _PREPARED.popitem(last=False)
    _PREPARED.move_to_end(key)
    return _PREPARED[key]


def forget_prepared() -> None:
    """Free the inputs that `prepared` keeps."""
    _PREPARED.clear()


def _build(task: Task, document: Document, folder: Path, logger: logging.Logger | None) -> tuple[int, bool]:
    config = galsim.config.CopyConfig(prepared(document, logger))
    config["output"]["dir"] = str(folder)
    config["output"].pop("noclobber", None)  # receipts say what is there
    add_headers(config, task)
    add_truth(config, task)
    add_stamps(config, task)
    (folder / task.name).parent.mkdir(parents=True, exist_ok=True)
    with raise_on_huge_fft():
        _, seconds = galsim.config.BuildFile(
            config, file_num=task.file_num, image_num=task.image_num, obj_num=task.obj_num, logger=logger
        )
    skipped = len(config.get("_skipped_obj_nums", ()))
    return sum(config.get("nobj", ())) - skipped, seconds != 0


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _entry(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    pixels = pixel_sha256(path)
    return entry if pixels is None else {**entry, "pixels_sha256": pixels}


def _failed(task: Task, document: Document, exc: BaseException) -> Outcome:
    disk = _disk_message(exc)
    bad = isinstance(exc, (*CONFIG_ERRORS, ModuleNotFoundError))
    message = disk or (str(config_message(document.root, exc)) if bad else f"{type(exc).__name__}: {exc}")
    return Outcome(
        task.name, reason=" ".join(message.split()), bad_input=bad, disk=bool(disk),
        traceback="".join(traceback.format_exception(exc)),
    )  # fmt: skip


def _disk_message(exc: BaseException | None) -> str:
    """What is wrong with the disk, if that is what is wrong."""
    while exc is not None:
        if isinstance(exc, OSError):
            if exc.errno in _DISK:
                return _DISK[exc.errno]
            if "not enough space on disk" in str(exc).lower():  # astropy's own words, without a number
                return _DISK[errno.ENOSPC]
        exc = exc.__cause__ or exc.__context__
    return ""
