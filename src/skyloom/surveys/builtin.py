"""The surveys that come with Skyloom, as a plugin like any other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from skyloom.descriptors import Survey
from skyloom.surveys.from_galcheat import GALCHEAT, galcheat_names, load_galcheat
from skyloom.surveys.from_galsim import has_euclidlike, load_euclidlike, load_roman, roman_bands

if TYPE_CHECKING:
    import galsim

__all__ = ["skyloom_psf", "skyloom_surveys"]

hookimpl = pluggy.HookimplMarker("skyloom")


@hookimpl
def skyloom_surveys() -> Sequence[Survey]:
    """Give Roman's bands, and galcheat's surveys of which a read noise is known."""
    surveys = [
        Survey(
            name,
            load=functools.partial(load_galcheat, name),
            summary=f"{GALCHEAT[prefix].survey.replace('_', ' ')} {band}, full depth; galcheat",
        )
        for name, (prefix, band) in galcheat_names().items()
    ]
    surveys += [
        Survey(name, load=functools.partial(load_roman, name), summary=f"Roman WFI {band}, one exposure; galsim.roman")
        for name, band in roman_bands().items()
    ]
    if has_euclidlike():
        surveys.append(Survey("euclidlike_vis", load=load_euclidlike, summary="Euclid VIS; GalSim-Euclid-Like"))
    return surveys


@hookimpl(trylast=True)
def skyloom_psf(name: str, wavelength: float, x: float, y: float) -> galsim.GSObject | None:
    """Give the PSF of the survey of this name."""
    from skyloom.surveys.registry import list_surveys, load_survey

    return load_survey(name).psf(x, y, wavelength) if name in list_surveys() else None
