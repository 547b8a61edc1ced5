"""The stages of a field, each asked for through its hook, and what is checked of the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, PluginError
from skyloom.generators.checks import check_batch
from skyloom.generators.registry import request_profiles
from skyloom.manager import call_first, plugin_manager, report_error
from skyloom.profiles import OutOfRange, ProfileBatch, ProfileRequest
from skyloom.surveys.registry import list_surveys

__all__ = ["PsfChoice", "ask_lens", "ask_noise", "ask_profiles", "ask_psf", "model_of", "stage", "who_changes_profiles"]

Column = NDArray[np.float64]
PsfChoice: TypeAlias = "str | galsim.GSObject | Callable[[float, float, float | None], galsim.GSObject]"


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Tell ``skyloom_on_error`` what fails in here."""
    try:
        yield
    except Exception as exc:
        report_error(exc, name, getattr(exc, "galaxy_id", None))
        raise


def ask_profiles(
    conditions: Conditions, rows: NDArray[np.int64], *, kind: str, model: str, seed: int, out_of_range: OutOfRange
) -> ProfileBatch:
    """Profiles of objects of one kind.

    Parameters
    ----------
    conditions : Conditions
    rows : ndarray of int
        Their rows in the catalogue, for messages.
    kind, model, seed, out_of_range
        As `ProfileRequest`.
    """
    try:
        return request_profiles(ProfileRequest(conditions, seed, model, out_of_range, kind))
    except BadInputError as exc:
        text = re.sub(r"\brow (\d+)\b", lambda m: f"row {rows[int(m[1])]}", str(exc))
        raise type(exc)(text) from exc


def ask_lens(
    batch: ProfileBatch, conditions: Conditions, rows: NDArray[np.int64], g1: Column, g2: Column, mu: Column
) -> tuple[ProfileBatch, str]:
    """Lensed profiles, and who lensed them.

    Parameters
    ----------
    batch : ProfileBatch
        N galaxies.
    conditions : Conditions
        What was asked for.
    rows : ndarray of int, shape (N,)
        In the catalogue, for messages.
    g1, g2, mu : ndarray, shape (N,)
    """
    with stage("lens"):
        try:
            answer = call_first("skyloom_lens", batch=batch, g1=g1, g2=g2, mu=mu)
        except BadInputError as exc:
            if exc.galaxy_id is None:
                raise
            error = type(exc)(f"row {rows[np.argmax(batch.galaxy_id == exc.galaxy_id)]}: {exc}")
            error.galaxy_id = exc.galaxy_id
            raise error from exc
        if answer is None:
            raise PluginError("no plugin answers 'skyloom_lens'")
        who = _describe(answer[1])
        check_batch(answer[0], conditions, who)
        return answer[0], who


def ask_psf(choice: PsfChoice, wavelength: float | None, x: float, y: float) -> tuple[galsim.GSObject, str]:
    """The PSF at a place, and who gave it; nobody where it was not asked for by name.

    Parameters
    ----------
    choice : str, galsim.GSObject or callable (x, y, wavelength) -> galsim.GSObject
        A name is asked for through ``skyloom_psf``.
    wavelength : float, optional
        nm.
    x, y : float
        Pixels.
    """
    if isinstance(choice, galsim.GSObject):
        return choice, ""
    if callable(choice):
        psf = choice(x, y, wavelength)
        if not isinstance(psf, galsim.GSObject):
            raise BadInputError(f"psf({x:g}, {y:g}, {wavelength}) gave {psf!r:.60}, not a galsim.GSObject")
        return psf, ""
    if wavelength is None:
        raise BadInputError(f"psf '{choice}': a PSF by name needs wavelength (nm)")
    answer = call_first("skyloom_psf", name=choice, wavelength=wavelength, x=x, y=y)
    if answer is None:
        raise BadInputError(f"no PSF is named '{choice}'; surveys have one: {', '.join(list_surveys())}")
    return answer[0], _describe(answer[1])


def ask_noise(
    image: NDArray[np.float32], name: str, parameters: Mapping[str, float], rng: np.random.Generator
) -> tuple[NDArray[np.float32], str]:
    """The observed image in ADU, and who made it so."""
    with stage("noise"):
        answer = call_first("skyloom_add_noise", image=image, name=name, parameters=parameters, rng=rng)
        if answer is None:
            raise PluginError("no plugin answers 'skyloom_add_noise'")
        noisy, who = answer[0], _describe(answer[1])
        if noisy.shape != image.shape or not np.issubdtype(noisy.dtype, np.number):
            raise PluginError(f"noise '{name}' of {who} gave {noisy.dtype} of shape {noisy.shape} for {image.shape}")
        if not np.isfinite(noisy.sum(dtype=np.float64)):
            raise PluginError(f"noise '{name}' of {who} gave pixels that are not finite")
        return np.asarray(noisy, dtype=np.float32), who


def who_changes_profiles() -> list[str]:
    """Plugins that may replace profiles after they are made; those that only look on are not among them."""
    manager = plugin_manager()
    found = manager.caller("skyloom_after_profiles").get_hookimpls()
    names = {one.plugin_name for one in found if one.wrapper or one.hookwrapper}
    return sorted(_describe(name) for name in names)


def _describe(plugin: str) -> str:
    """Who answered; our own in one word."""
    manager = plugin_manager()
    return "skyloom" if manager.is_builtin(plugin) else manager.describe(plugin)


def model_of(model: str | Mapping[str, Any], kind: str) -> str:
    """The generator for a kind of objects."""
    if isinstance(model, Mapping):
        if kind not in model and kind != "star":
            raise BadInputError(f"model names no generator for the kind '{kind}'; it has {', '.join(map(str, model))}")
        return str(model.get(kind, "star"))
    return str(model)
