"""What a validation is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.reference import Reference
from skyloom.validate.report_require import Requirement
from skyloom.validate.sample import SetAside

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What to validate against what.

    Parameters
    ----------
    real : sequence of Cutout, or Reference
        Real galaxies, or a table of numbers measured on some.
    generators : mapping of str to Generator
        Models by name.
    mock : sequence of Cutout, optional
        Simulated cutouts from elsewhere, judged as they are.
    seed : int
        Of latents, noise and resampling.
    per_real : int
        Simulated galaxies for each real one, of the models and of the Sersic profile.
    limit : int, optional
        Judge so many real galaxies at most.
    part : str, optional
        One part of the training's split only: ``test`` holds what ``skyloom train`` keeps from every model.
    least_size : float
        Judge only galaxies with a half-light radius of at least so many full widths of the PSF at half maximum.
    workers : int
        Processes that measure.
    pictures : int
        Galaxies in the montage.
    requirements : sequence of Requirement
    dropped : sequence of SetAside
        Real galaxies that their file gave no cutout of.
    inputs : mapping
        Names of the inputs, for the report.
    """

    real: Sequence[Cutout] | Reference
    generators: Mapping[str, Generator]
    mock: Sequence[Cutout] | None = None
    seed: int = 1
    per_real: int = 1
    limit: int | None = None
    part: str | None = None
    least_size: float = 0.0
    workers: int = 1
    pictures: int = 15
    requirements: Sequence[Requirement] = ()
    dropped: Sequence[SetAside] = ()
    inputs: Mapping[str, Any] | None = None
