"""Surveys by name, through the hook ``skyloom_surveys``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skyloom.errors import ConfigError, PluginError, SkyloomError
from skyloom.manager import SkyloomPluginManager, collect, lookup, plugin_manager, provider
from skyloom.surveys.observing import ObservingConditions

if TYPE_CHECKING:
    from skyloom.descriptors import Survey

__all__ = ["list_surveys", "load_survey", "survey_table"]


def list_surveys(manager: SkyloomPluginManager | None = None) -> dict[str, Survey]:
    """All surveys that can be asked for by name, without loading any."""
    return collect("skyloom_surveys", manager)


def load_survey(name: str, *, manager: SkyloomPluginManager | None = None) -> ObservingConditions:
    """Return named observing conditions.

    Parameters
    ----------
    name : str
        E.g. ``"euclid_vis"``, ``"lsst_i"``, ``"roman_h158"``, ``"hst_acs_f814w"``; see `list_surveys`.
    manager : SkyloomPluginManager, optional
        The process's own by default.

    Returns
    -------
    ObservingConditions

    Raises
    ------
    ConfigError
        For a name that is not registered, with those that are and the nearest, or numbers that cannot be.
    PluginError
        When the plugin that has the name fails.
    """
    manager = manager or plugin_manager()
    if not isinstance(name, str):
        raise ConfigError(f"a survey is asked for by its name, not by {name!r:.60}")
    entry: Survey = lookup("skyloom_surveys", name, noun="survey", error=ConfigError, manager=manager)
    try:
        given = entry.load()
    except SkyloomError:
        raise
    except Exception as exc:
        who = provider("skyloom_surveys", name, manager)
        raise PluginError(f"survey '{name}' of {who} failed: {type(exc).__name__}: {exc}") from exc
    if isinstance(given, ObservingConditions):
        return given
    if not isinstance(given, Mapping):
        who = provider("skyloom_surveys", name, manager)
        raise PluginError(f"survey '{name}' of {who} must give observing conditions or a mapping, not {given!r:.60}")
    return ObservingConditions.from_mapping(name, given)


def survey_table(manager: SkyloomPluginManager | None = None) -> str:
    """All surveys' numbers as a Markdown table, as the documentation shows it."""
    lines = [
        "| name | pixel | zero point | exposure | sky | sky | gain | read noise | wavelength | PSF FWHM | source |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        "| | arcsec | AB mag of 1 e-/s | s | mag/arcsec² | e-/pixel | e-/ADU | e- | nm | arcsec | |",
    ]
    for name in list_surveys(manager):
        s = load_survey(name, manager=manager)
        fwhm = _fwhm(s)
        lines.append(
            f"| `{name}` | {s.pixel_scale:g} | {s.zero_point:.2f} | {s.exptime:g} | {s.sky_brightness:.2f} "
            f"| {s.sky_electrons:.0f} | {s.gain:g} | {s.read_noise:.1f} | {s.wavelength:.0f} | {fwhm:.3f} "
            f"| {s.source} |"
        )
    return "\n".join(lines) + "\n"


def _fwhm(survey: ObservingConditions) -> float:
    """Diameter (arcsec) of a circle with the area in which the PSF is above half of its maximum."""
    scale = survey.pixel_scale / 20
    image = survey.psf().drawImage(nx=320, ny=320, scale=scale, method="no_pixel").array
    return 2 * math.sqrt((image > image.max() / 2).sum() * scale**2 / math.pi)
