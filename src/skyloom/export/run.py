"""Exports of whole batches, or of streams of them, into a folder that appears when it is complete."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyloom.errors import BadInputError, RenderError
from skyloom.export.drawing import warn_of_cuts
from skyloom.export.folder import whole_folder
from skyloom.export.instance import InstanceWriter
from skyloom.export.real_galaxy import RealGalaxyWriter
from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch

__all__ = ["Format", "export_galaxies", "export_instance_catalog", "export_real_galaxy"]

_logger = logging.getLogger(__name__)
_MOST_LISTED = 20  # galaxies in one message; each has one of its own too

Format = Literal["real-galaxy", "instance"]

Batches = ProfileBatch | Iterable[ProfileBatch]
Positions = tuple[NDArray[np.float64], NDArray[np.float64]] | None


class _Writer(Protocol):
    def add(self, batch: ProfileBatch, ra: Any, dec: Any) -> list[int]: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def export_real_galaxy(
    batches: Batches,
    out: str | os.PathLike[str],
    *,
    ra: ArrayLike | None = None,
    dec: ArrayLike | None = None,
    **settings: Any,
) -> int:
    """Write galaxies as a RealGalaxyCatalog that GalSim reads.

    `out` gets ``real_galaxy_catalog.fits``, its companions ``_fits`` (parametric) and ``_selection`` (for
    `galsim.COSMOSCatalog`'s quality cuts), the stamps in files of 1000, and the PSF.

    Parameters
    ----------
    batches : ProfileBatch or iterable of them
        One after the other, each drawn and written before the next is asked for.
    out : path
        A folder that is missing or empty. It appears under this name when it is complete.
    ra, dec : array_like, optional
        Degrees, for the catalogue's columns; one number a galaxy, of all batches.
    **settings
        As `ExportSettings`, for example ``pixel_scale=0.02``.

    Returns
    -------
    int
        How many galaxies were written. Those that are too large to be drawn are left out, and logged.

    Raises
    ------
    BadInputError
        For settings that cannot be used, galaxies with one id, no galaxies, a folder that is not empty.
    RenderError
        When none of the galaxies can be drawn.

    Examples
    --------
    >>> export_real_galaxy(batch, "cosmos_like")
    >>> galaxy = galsim.RealGalaxy(galsim.RealGalaxyCatalog("cosmos_like/real_galaxy_catalog.fits"), index=0)
    """
    return export_galaxies(batches, out, formats=("real-galaxy",), ra=ra, dec=dec, settings=_made(settings))


def export_instance_catalog(
    batches: Batches,
    out: str | os.PathLike[str],
    *,
    ra: ArrayLike,
    dec: ArrayLike,
    **settings: Any,
) -> int:
    """Write galaxies as FITS stamps and an instance catalogue that imSim reads.

    `out` gets ``instance_catalog.txt``, the SED file that it names, and ``stamps/``. Parameters, result and
    errors as `export_real_galaxy`, but each galaxy needs a position.
    """
    return export_galaxies(batches, out, formats=("instance",), ra=ra, dec=dec, settings=_made(settings))


def export_galaxies(
    batches: Batches,
    out: str | os.PathLike[str],
    *,
    formats: Sequence[Format] = ("real-galaxy",),
    ra: ArrayLike | None = None,
    dec: ArrayLike | None = None,
    settings: ExportSettings | None = None,
) -> int:
    """Write galaxies in several formats at once; see `export_real_galaxy`.

    Parameters
    ----------
    formats : sequence of {'real-galaxy', 'instance'}
    settings : ExportSettings, optional
    """
    settings = settings or ExportSettings()
    wanted = sorted(set(formats))
    if not wanted or not set(wanted) <= set(get_args(Format)):
        raise BadInputError(f"formats must be among {', '.join(get_args(Format))}, not {list(formats)!r}")
    positions = _positions(ra, dec)
    if positions is None and "instance" in wanted:
        raise BadInputError("an instance catalogue needs 'ra' and 'dec' of each galaxy")
    with whole_folder(Path(out)) as folder:
        writers: list[_Writer] = []
        try:
            if "real-galaxy" in wanted:
                writers.append(RealGalaxyWriter(folder, settings))
            if "instance" in wanted:
                writers.append(InstanceWriter(folder, settings))
            count, left_out = 0, []
            for batch in _checked(batches):
                place = _of(positions, count, len(batch))
                warn_of_cuts(batch, settings)
                missing = {row for writer in writers for row in writer.add(batch, *place)}
                left_out += batch.galaxy_id[sorted(missing)].tolist()
                count += len(batch)
            if not count:
                raise BadInputError("there are no galaxies to export")
            if positions is not None and len(positions[0]) != count:
                raise BadInputError(f"{len(positions[0])} positions were given for {count} galaxies")
            if len(left_out) == count:
                raise RenderError(f"none of the {count} galaxies can be drawn, the first is galaxy {left_out[0]}")
            for writer in writers:
                writer.finish()
        finally:
            for writer in writers:
                writer.close()
    if left_out:
        _logger.warning("galaxies left out of '%s': %d of %d: %s", out, len(left_out), count, _listed(left_out))
    return count - len(left_out)


def _listed(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - _MOST_LISTED} more" if len(ids) > _MOST_LISTED else ""
    return ", ".join(map(str, ids[:_MOST_LISTED])) + more


def _made(settings: dict[str, Any]) -> ExportSettings:
    try:
        return ExportSettings(**settings)
    except TypeError as exc:
        names = ", ".join(ExportSettings.__dataclass_fields__)
        raise BadInputError(f"an export's settings are {names}; given were {', '.join(settings)}") from exc


def _checked(batches: Batches) -> Iterator[ProfileBatch]:
    """Batches of one model and seed; every id once."""
    seen: set[int] = set()
    made_by: tuple[str, str, int] | None = None
    several: Iterable[Any] = [batches] if isinstance(batches, ProfileBatch) else batches
    for batch in several:
        if not isinstance(batch, ProfileBatch):
            raise BadInputError(f"an export takes ProfileBatch objects, not {type(batch).__name__}")
        this = batch.generator, batch.weights_sha256, batch.seed
        if made_by not in (None, this):
            raise BadInputError(f"batches of different origin in one export: {made_by} and {this}")
        made_by = this
        for galaxy_id in batch.galaxy_id.tolist():
            if galaxy_id in seen:
                raise BadInputError(f"galaxy_id {galaxy_id} occurs twice")
            seen.add(galaxy_id)
        yield batch


def _positions(ra: ArrayLike | None, dec: ArrayLike | None) -> Positions:
    if (ra is None) != (dec is None):
        raise BadInputError("give both of 'ra' and 'dec', or neither")
    if ra is None:
        return None
    pair = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    for name, values, low, high in (("ra", pair[0], -360.0, 360.0), ("dec", pair[1], -90.0, 90.0)):
        if values.ndim != 1 or len(values) != len(pair[0]):
            raise BadInputError(f"'{name}' must be a column as long as the other, not of shape {values.shape}")
        bad = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(bad):
            raise BadInputError(f"'{name}' must lie in {low:g} to {high:g} degrees; row {bad[0]} has {values[bad[0]]}")
    return pair


def _of(positions: Positions, first: int, count: int) -> tuple[Any, Any]:
    if positions is None:
        return None, None
    ra, dec = (values[first : first + count] for values in positions)
    if len(ra) != count:
        raise BadInputError(f"{len(positions[0])} positions were given for more galaxies than that")
    return ra, dec
