"""Opening what a validation is given: files of cutouts, other files of galaxies, models."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

from skyloom.cutouts.hdf5 import is_cutouts_file, read_cutouts, write_cutouts
from skyloom.cutouts.ingest import Tally, fitted
from skyloom.errors import BadInputError, CutoutError
from skyloom.generators.registry import load_model
from skyloom.manager import collect
from skyloom.profiles import Generator
from skyloom.stamps import Cutout, CutoutSet, Dropped
from skyloom.validate.sample import SetAside

__all__ = ["Joined", "load_models", "open_all", "open_cutouts"]

logger = logging.getLogger(__name__)


def open_cutouts(path: Path, ingested: Path) -> tuple[CutoutSet, list[SetAside]]:
    """Open a file of cutouts, or ingest a file or folder that one of the readers accepts.

    Parameters
    ----------
    path : Path
        A file of ``skyloom ingest``, or what that command reads.
    ingested : Path
        Where the cutouts of another format go.

    Returns
    -------
    CutoutSet
    dropped : list of SetAside
        Galaxies of another format that gave no cutout, and why.

    Raises
    ------
    CutoutError
        When nothing reads it, or it holds no galaxy that can be used.
    """
    if not path.exists():
        raise CutoutError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise CutoutError(f"{path}: the file is empty")
    if path.is_file() and is_cutouts_file(path):
        return read_cutouts(path), []
    readers = collect("skyloom_cutout_readers")
    for reader in readers.values():
        if reader.accepts(path):
            logger.info("%s: read as '%s'", path, reader.name)
            dropped: list[SetAside] = []
            stream = _cutouts_only(reader.read(path), dropped)
            try:
                write_cutouts(ingested, fitted(stream, Tally()), provenance={"source": path.name})
            except CutoutError as exc:
                reasons = "; ".join(sorted({d.reason for d in dropped})[:3])
                raise CutoutError(f"{exc}" + (f" ({reasons})" if reasons else "")) from exc
            return read_cutouts(ingested), dropped
    if path.is_file() and _starts_as_hdf5(path):
        raise CutoutError(f"{path}: an HDF5 file that is damaged or cut off, or not one of galaxies")
    known = ", ".join(["skyloom cutouts", *readers])
    raise CutoutError(f"{path}: no reader knows this file; there are: {known}")


def _starts_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _cutouts_only(stream: Iterable[Cutout | Dropped], dropped: list[SetAside]) -> Iterator[Cutout]:
    for item in stream:
        if isinstance(item, Dropped):
            dropped.append(SetAside(item.galaxy, item.reason))
        else:
            yield item


class Joined(Sequence[Cutout]):
    """Several sets of cutouts as one, in their order.

    Parameters
    ----------
    parts : sequence of sequence of Cutout
    """

    def __init__(self, parts: Sequence[Sequence[Cutout]]) -> None:
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Cutout: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cutout]: ...
    def __getitem__(self, index: int | slice) -> Cutout | list[Cutout]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"cutout {index} of {len(self)}")
        index %= len(self)
        part = bisect_right(self._ends, index)
        return self._parts[part][index - (self._ends[part - 1] if part else 0)]


def open_all(paths: Sequence[Path], folder: Path) -> tuple[Joined, list[SetAside]]:
    """Open files of cutouts as one set; see `open_cutouts`. All must have stamps of one size."""
    parts, dropped = [], []
    for i, path in enumerate(paths):
        part, lost = open_cutouts(path, folder / f"real-{i}.h5")
        parts.append(part)
        dropped += lost
    shapes = {(p[0].image.shape, p[0].psf.shape) for p in parts if len(p)}
    if len(shapes) > 1:
        shown = "; ".join(f"{image} with PSFs of {psf}" for image, psf in sorted(shapes))
        raise CutoutError(f"--real: the files have stamps of different sizes ({shown}): judge them one by one")
    return Joined(parts), dropped


def load_models(names: Sequence[str]) -> dict[str, Generator]:
    """Generators by the name that the report shows; a path's file stem stands for it.

    Raises
    ------
    BadInputError
        When two would have one name, or one that the report gives to another sample.
    """
    found: dict[str, Generator] = {}
    for name in names:
        shown = Path(name).stem if name.endswith(".safetensors") else name
        if shown in found or shown in ("real", "mock", "Sersic"):
            raise BadInputError(f"--model {name}: a sample named '{shown}' is there already")
        found[shown] = load_model(name)
    return found
