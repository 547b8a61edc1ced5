"""Which cutouts can be judged: bad ones are set aside with a reason, counted, and the rest goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import PHYSICAL_RANGES
from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout, FitFlag, SersicFit
from skyloom.validate.sample_zero_points import Magnitude, odd_zero_points

__all__ = [
    "BATCH",
    "Refit",
    "Screening",
    "Selection",
    "SetAside",
    "batched",
    "cutout_fault",
    "fit_fault",
    "name_of",
    "select",
]

T = TypeVar("T")

BATCH = 64
"""Cutouts at a time."""

MAGNITUDES = (5.0, 40.0)
"""Range a galaxy's AB magnitude must lie in for its zero point to be believed."""

SERSIC_N = PHYSICAL_RANGES["sersic_n"]
"""Range of Sersic indices that can be drawn; fits end on its edges, to within rounding."""

OTHER_PART = "not in the part"
"""How the reason begins that a cutout belongs to another part of the training's split: no fault of its own."""

PSF_LIGHT_OUTSIDE = 0.01
"""Share of a PSF's light that may fall outside a stamp smaller than it; the PSF is then cut to the stamp."""

UNUSABLE_FIT = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.RUNAWAY_SIZE | FitFlag.LOW_SNR | FitFlag.MASKED_CENTRE
"""Fits whose numbers are no conditions to ask for. A poor fit is kept: it may be the structure itself."""

Refit = Callable[[Sequence[Cutout]], Sequence[SersicFit]]


@dataclass(frozen=True)
class SetAside:
    """One cutout that was not judged.

    Parameters
    ----------
    galaxy : str
        Source, id and band, or the row where those cannot be read.
    reason : str
        A short phrase, the same for all cutouts set aside for it.
    detail : str
        The values at fault.
    """

    galaxy: str
    reason: str
    detail: str = ""


def name_of(cutout: Cutout) -> str:
    """What names a cutout in messages."""
    return f"{cutout.source} {cutout.galaxy_id} {cutout.band}".strip()


def cutout_fault(cutout: Cutout) -> tuple[str, str] | None:
    """Why the pixels of a cutout cannot be used, as (reason, detail); None when they can."""
    image, mask, psf = cutout.image, cutout.mask, np.asarray(cutout.psf)
    if not (np.isfinite(cutout.pixel_scale) and 1e-3 < cutout.pixel_scale < 10):
        return "no pixel scale", f"{cutout.pixel_scale!r} arcsec"
    if psf.ndim != 2 or psf.size < 9 or not np.isfinite(psf).all() or not psf.sum() > 0:
        return "no PSF", f"shape {psf.shape}, sum {float(np.sum(psf)):.3g}"
    if not mask.any():
        return "all pixels masked", ""
    bad = mask & ~np.isfinite(image)
    if bad.any():
        return "NaN or infinite pixels that the mask calls usable", f"{int(bad.sum())} of {int(mask.sum())}"
    variance = cutout.variance[mask]
    if not (np.isfinite(variance).all() and (variance > 0).all()):
        return "no noise variance", f"{int((~(variance > 0)).sum())} usable pixels without"
    if not np.isfinite(cutout.zero_point):
        return "wrong zero point", f"{cutout.zero_point!r}"
    total = float(image[mask].sum())
    mag = cutout.zero_point - 2.5 * np.log10(total) if total > 0 else None
    if mag is not None and not MAGNITUDES[0] < mag < MAGNITUDES[1]:
        return "wrong zero point", f"{cutout.zero_point:g} makes it magnitude {mag:.1f}"
    if _psf_too_large(cutout):
        first = (psf.shape[0] - min(image.shape) + 1) // 2
        outside = 1.0 - float(psf[first:-first, first:-first].sum() / psf.sum())
        if outside > PSF_LIGHT_OUTSIDE:
            return (
                "PSF larger than the stamp",
                f"{psf.shape[0]} > {min(image.shape)} pixels, {outside:.1%} outside",
            )
    return None


def fit_fault(fit: SersicFit | None) -> tuple[str, str] | None:
    """Why the measured conditions of a cutout cannot be asked of a generator; None when they can."""
    if fit is None:
        return "no Sersic fit", ""
    worst = FitFlag(max(fit.flag, 0)) & UNUSABLE_FIT
    if worst:
        return "unusable Sersic fit", str(worst.name).lower().replace("_", " ")
    if not (
        fit.flux > 0
        and fit.half_light_radius > 0
        and 0 < fit.q <= 1
        and SERSIC_N[0] - 0.01 < fit.sersic_n < SERSIC_N[1] + 0.01
    ):
        size = f"half_light_radius {fit.half_light_radius:.3g}"
        return "unusable Sersic fit", f"flux {fit.flux:.3g}, {size}, n {fit.sersic_n:.3g}, q {fit.q:.3g}"
    return None


def _psf_too_large(cutout: Cutout) -> bool:
    return cutout.psf.shape[0] > min(cutout.image.shape)


def _cut_psf(cutout: Cutout) -> NDArray[np.float32]:
    """The PSF's middle, of the largest odd side the stamp has room for, of sum 1."""
    side = min(cutout.image.shape)
    side -= 1 - side % 2
    first = (cutout.psf.shape[0] - side) // 2
    psf = cutout.psf[first : first + side, first : first + side]
    return psf / psf.sum()


def batched(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass
class Screening:
    """What became of the cutouts of a source.

    Parameters
    ----------
    read, kept : int
        How many were looked at, and how many are judged.
    set_aside : list of SetAside
        All others.
    notes : Counter
        Kept ones that needed something done, by what it was.
    """

    read: int = 0
    kept: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> dict[str, int]:
        """How many were set aside for each reason, most frequent first."""
        return dict(Counter(s.reason for s in self.set_aside).most_common())


class Selection(Sequence[Cutout]):
    """The usable cutouts of a source, read one by one when asked for.

    Parameters
    ----------
    cutouts : sequence of Cutout
    rows : sequence of int
        Which of them.
    fits : mapping of int to SersicFit
        Fits, by row, of those that came without.
    """

    def __init__(self, cutouts: Sequence[Cutout], rows: Sequence[int], fits: Mapping[int, SersicFit]) -> None:
        self._cutouts, self.rows, self._fits = cutouts, list(rows), dict(fits)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Cutout: ...
    @overload
    def __getitem__(self, index: slice) -> Selection: ...
    def __getitem__(self, index: int | slice) -> Cutout | Selection:
        if isinstance(index, slice):
            return Selection(self._cutouts, self.rows[index], self._fits)
        row = self.rows[index]
        cutout = self._cutouts[row]
        if row in self._fits:
            cutout = replace(cutout, fit=self._fits[row])
        return replace(cutout, psf=_cut_psf(cutout)) if _psf_too_large(cutout) else cutout


def select(
    cutouts: Sequence[Cutout],
    *,
    refit: Refit,
    only: Callable[[Cutout], tuple[str, str] | None] | None = None,
    keep: Callable[[Cutout], tuple[str, str] | None] | None = None,
    limit: int | None = None,
) -> tuple[Selection, Screening]:
    """Look at every cutout once and choose those that can be judged.

    Parameters
    ----------
    cutouts : sequence of Cutout
        Read by index, so that one damaged row does not hide the next.
    refit : callable
        Gives Sersic fits to cutouts that have none.
    only : callable, optional
        Which are asked for at all, before any fault is looked for: gives (reason, detail) for a cutout to leave out.
    keep : callable, optional
        Further selection of those without fault, with a fit; the same.
    limit : int, optional
        Stop after so many usable ones.
    """
    screening, rows, fits = Screening(), [], {}
    names: list[str] = []
    mags: list[Magnitude] = []
    readable = _readable(cutouts, screening, only)
    while batch := list(islice(readable, BATCH)):
        wide = {row for row, cutout in batch if _psf_too_large(cutout)}
        batch = [(row, replace(c, psf=_cut_psf(c)) if row in wide else c) for row, c in batch]
        missing = [(row, cutout) for row, cutout in batch if cutout.fit is None]
        new = dict(zip((r for r, _ in missing), refit([c for _, c in missing]) if missing else [], strict=True))
        for row, cutout in batch:
            if row in new:
                cutout = replace(cutout, fit=new[row])
            fault = fit_fault(cutout.fit) or (keep(cutout) if keep else None)
            if fault is not None:
                screening.set_aside.append(SetAside(name_of(cutout), *fault))
                continue
            rows.append(row)
            names.append(name_of(cutout))
            mags.append(_magnitude(cutout))
            screening.notes["fitted here, for they came without a Sersic fit"] += row in new
            screening.notes["PSF image larger than the stamp, cut to it"] += row in wide
            if row in new:
                fits[row] = new[row]
            if len(rows) == limit:
                break
        if len(rows) == limit:
            break
    odd = odd_zero_points(mags)
    screening.set_aside += [SetAside(names[i], "wrong zero point", detail) for i, detail in odd.items()]
    rows = [row for i, row in enumerate(rows) if i not in odd]
    screening.kept = len(rows)
    screening.notes = +screening.notes  # without the zeros
    return Selection(cutouts, rows, fits), screening


def _magnitude(cutout: Cutout) -> Magnitude:
    """Of a cutout with a usable fit."""
    assert cutout.fit is not None
    mag = cutout.zero_point - 2.5 * float(np.log10(cutout.fit.flux))
    return Magnitude(cutout.source, cutout.band, float(cutout.zero_point), mag)


def _readable(
    cutouts: Sequence[Cutout], screening: Screening, only: Callable[[Cutout], tuple[str, str] | None] | None
) -> Iterator[tuple[int, Cutout]]:
    for row in range(len(cutouts)):
        screening.read += 1
        try:
            cutout = cutouts[row]
            fault = (only(cutout) if only else None) or cutout_fault(cutout)
        except (SkyloomError, OSError, ValueError) as exc:
            screening.set_aside.append(SetAside(f"row {row}", "cannot be read", str(exc)))
            continue
        if fault is None:
            yield row, cutout
        else:
            screening.set_aside.append(SetAside(name_of(cutout), *fault))
