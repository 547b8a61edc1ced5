"""Real and simulated galaxies through one encoder: what its maps of structure say of either.

A sample of a model has no noise and no PSF, a real galaxy has both. So that they can be compared, the sample is put
through the PSF, noise and mask of its real counterpart, its Sersic fit is measured anew, and both are encoded by the
same encoder: what noise or PSF hide, they hide in both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout
from skyloom.validate.reencoded_maps import map_statistics
from skyloom.validate.sample import fit_fault

__all__ = ["MapEncoder", "Reencoder", "encoder_among", "judged_rows", "reencoded_table"]

logger = logging.getLogger(__name__)

MIN_SNR = 80.0
"""S/N of the whole galaxy below which an encoder sees next to nothing."""

MIN_RESOLVED = 1.0
"""Half-light radius in units of the PSF's FWHM below which arms and bars are not resolved."""

MIN_Q = 0.4
"""Axis ratio below which a disc cannot be turned face on: its own thickness and dust take over."""


@runtime_checkable
class MapEncoder(Protocol):
    """What a generator must have for its structure to be judged.

    ``encode_maps(cutouts)`` gives f, the log of each galaxy over its Sersic, encoded from that cutout alone, as an
    array of shape (N, 32, 64): rows outwards and columns around, on the nodes of `skyloom.generators.cvae.frame`.
    """

    def encode_maps(self, cutouts: Sequence[Cutout]) -> NDArray[np.floating]:
        """Maps of cutouts with Sersic fits, in the order given."""
        ...


def encoder_among(generators: Iterable[Any]) -> MapEncoder | None:
    """The first that can encode maps; None without one."""
    return next((g for g in generators if isinstance(g, MapEncoder)), None)


def judged_rows(cutouts: Sequence[Cutout], *, min_snr: float = MIN_SNR) -> list[int]:
    """Rows of the galaxies that are bright, resolved and face-on enough to show structure.

    Parameters
    ----------
    cutouts : sequence of Cutout
    min_snr : float
    """
    return [i for i, cutout in enumerate(cutouts) if _shows_structure(cutout, min_snr)]


def _shows_structure(cutout: Cutout, min_snr: float) -> bool:
    fit = cutout.fit
    if fit is None or fit_fault(fit) is not None:
        return False
    peak = float(cutout.psf.max() / cutout.psf.sum(dtype=float))
    fwhm = np.sqrt(4 * np.log(2) / (np.pi * peak)) * cutout.pixel_scale
    return bool(fit.snr >= min_snr and fit.half_light_radius >= MIN_RESOLVED * fwhm and fit.q >= MIN_Q)


def reencoded_table(encoder: MapEncoder, cutouts: Sequence[Cutout]) -> Table:
    """Statistics of the maps of cutouts with fits, one row each.

    Returns
    -------
    Table
        ``source``, ``galaxy_id``, ``band``, ``redshift``, ``wavelength`` (nm), ``snr``, ``q``, and the columns of
        `skyloom.validate.reencoded_maps.map_statistics`.
    """
    maps = np.asarray(encoder.encode_maps(cutouts), dtype=np.float64)
    if len(maps) != len(cutouts):
        raise SkyloomError(f"the encoder gave {len(maps)} maps for {len(cutouts)} cutouts")
    fits = [c.fit for c in cutouts if c.fit is not None]
    about: dict[str, Any] = {name: [getattr(c, name) for c in cutouts] for name in ("source", "galaxy_id", "band")}
    about |= {name: np.array([getattr(c, name) for c in cutouts], float) for name in ("redshift", "wavelength")}
    about |= {name: np.array([getattr(fit, name) for fit in fits], float) for name in ("snr", "q", "sersic_n")}
    return Table({**about, **map_statistics(maps)})


class Reencoder:
    """The bright resolved ones of some real galaxies, encoded once, to compare samples with.

    Parameters
    ----------
    encoder : MapEncoder
    real : sequence of Cutout
    """

    def __init__(self, encoder: MapEncoder, real: Sequence[Cutout]) -> None:
        self.encoder, self.real = encoder, real

    @cached_property
    def _rows(self) -> list[int]:
        return judged_rows(self.real)

    @cached_property
    def _table(self) -> Table:
        return reencoded_table(self.encoder, [self.real[i] for i in self._rows])

    def figures(self, simulated: Sequence[Cutout], rows: Sequence[int] | None) -> dict[str, Any]:
        """Tables of the real galaxies and of their simulated counterparts, as entries of the metrics' context.

        Parameters
        ----------
        simulated : sequence of Cutout
            With fits.
        rows : sequence of int, or None
            The real cutout of each, which may have several; None for a sample without counterparts, which is chosen
            by its own fits.

        Returns
        -------
        dict
            ``reencoded_real`` and ``reencoded_model``; empty where they cannot be had.
        """
        if rows is None:
            chosen, twins = judged_rows(simulated), self._rows
        else:
            wanted = set(self._rows)
            chosen = [i for i, row in enumerate(rows) if int(row) in wanted and _fitted(simulated[i])]
            twins = [int(rows[i]) for i in chosen]
        if not chosen or not twins:
            return {}
        try:
            model = reencoded_table(self.encoder, [simulated[i] for i in chosen])
            kept = np.isin(self._rows, twins)
            return {"reencoded_real": self._table[kept], "reencoded_model": model}
        except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
            logger.warning("galaxies cannot be encoded again: %s", exc)
            return {}


def _fitted(cutout: Cutout) -> bool:
    return fit_fault(cutout.fit) is None
