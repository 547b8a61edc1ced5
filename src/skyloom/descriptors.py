"""What plugins hand over: a name, one line for listings, and the callable that does the work.

Everything here is cheap to make: the callables are called when the thing is asked for, so that listing what
is installed imports no network and reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import click

    from skyloom.profiles import Generator, GeneratorSpec
    from skyloom.stamps import Cutout, Dropped

__all__ = [
    "Command",
    "CutoutReader",
    "Descriptor",
    "GeneratorEntry",
    "GeneratorFamily",
    "Metric",
    "NoiseModel",
    "Population",
    "Survey",
]


class Descriptor(Protocol):
    """A named thing that a plugin provides."""

    @property
    def name(self) -> str:
        """Unique among the things of its hook."""

    @property
    def summary(self) -> str:
        """One line for listings."""


@dataclass(frozen=True)
class GeneratorEntry:
    """A generator ready to use, weights and all.

    Parameters
    ----------
    name : str
        What users write in ``model: name``.
    spec : GeneratorSpec or callable () -> GeneratorSpec
        Conditions, ranges and grid, without loading the weights.
    factory : callable () -> Generator
        Makes the generator; called once a process.
    summary : str
        One line for listings.
    card : callable () -> str, optional
        The model card in Markdown: training data, licence, ranges, figures.
    """

    name: str
    spec: GeneratorSpec | Callable[[], GeneratorSpec]
    factory: Callable[[], Generator]
    summary: str = ""
    card: Callable[[], str] | None = None

    def read_spec(self) -> GeneratorSpec:
        """Return the spec, calling it when it is a function."""
        return self.spec() if callable(self.spec) else self.spec


@dataclass(frozen=True)
class GeneratorFamily:
    """An architecture that loads weights files whose model card names it.

    Parameters
    ----------
    name : str
        The card's ``family``.
    load : callable (pathlib.Path) -> Generator
        Reads a ``.safetensors`` file; raises `skyloom.errors.CheckpointError` for one it cannot use.
    summary : str
        One line for listings.
    """

    name: str
    load: Callable[[Path], Generator]
    summary: str = ""


@dataclass(frozen=True)
class CutoutReader:
    """A file format of real galaxies.

    Parameters
    ----------
    name : str
        The format's name, e.g. ``"hdf5"``.
    accepts : callable (pathlib.Path) -> bool
        Whether the file or folder is of this format; looks at names and headers only, and does not raise.
    read : callable (pathlib.Path, *, stamp_size, psf_size) -> iterable of Cutout or Dropped
        Gives the galaxies one by one, and for each that it leaves out the reason. Stamps are ``stamp_size``
        pixels wide, PSFs ``psf_size``.
    summary : str
        One line for listings.
    """

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[..., Iterable[Cutout | Dropped]]
    summary: str = ""


@dataclass(frozen=True)
class NoiseModel:
    """Noise of a detector.

    Parameters
    ----------
    name : str
        What users select it by.
    add : callable (image, parameters, rng) -> ndarray
        `image`: float32 (ny, nx) of expected electrons, sky included; `parameters`: mapping of numbers such
        as ``gain`` (e-/ADU) and ``read_noise`` (e-); `rng`: `numpy.random.Generator`. Gives the noisy image
        in ADU.
    summary : str
        One line for listings.
    """

    name: str
    add: Callable[..., Any]
    summary: str = ""


@dataclass(frozen=True)
class Survey:
    """Named observing conditions.

    Parameters
    ----------
    name : str
        What users select it by.
    load : callable () -> mapping or skyloom.surveys.ObservingConditions
        ``pixel_scale`` (arcsec/pixel), ``zero_point`` (AB mag for 1 e-/s), ``exptime`` (s), ``sky_level``
        (ADU/arcsec^2), ``gain`` (e-/ADU), ``read_noise`` (e-), ``wavelength`` (nm), ``psf`` (a
        `galsim.GSObject`, or a callable (x, y, wavelength) that gives one: pixels, nm).
    summary : str
        One line for listings.
    """

    name: str
    load: Callable[[], Any]
    summary: str = ""


@dataclass(frozen=True)
class Population:
    """Where conditions come from.

    Parameters
    ----------
    name : str
        What users select it by.
    sample : callable (size, *, seed, **options) -> Conditions
        Draws `size` galaxies; the same for the same seed.
    summary : str
        One line for listings.
    density : callable (**options) -> float, optional
        Galaxies per square degree, for the same options as `sample`.
    """

    name: str
    sample: Callable[..., Any]
    summary: str = ""
    density: Callable[..., float] | None = None


@dataclass(frozen=True)
class Metric:
    """A score that compares simulated with real galaxies.

    Parameters
    ----------
    name : str
        What users select it by, and what ``--require`` takes.
    compute : callable (real: Table, model: Table, **context) -> mapping of str to float
        Compares two tables of `skyloom.validate.measure.measure_cutouts`. Gives ``value``, ``error`` (one
        sigma), ``floor`` (the value of real galaxies against real ones, at the same sizes of sample), and
        more numbers if it likes; NaN where there is none. `context` holds ``seed`` (int), and what the run
        has besides: ``generator`` (None for Sersic and mocks), ``cutouts`` (the real ones, for a generator), ``train``
        (a table of the training galaxies), and the arrays of `skyloom.validate.run_extras.reconstructions` and
        `skyloom.validate.generator_figures`; a metric ignores what it does not need.
    summary : str
        One line for listings.
    formula : str
        The definition, in one line.
    reference : str
        The paper it comes from.
    better : str
        ``"lower"``, ``"higher"`` (the ideal is 1), ``"zero"``, ``"half"`` or ``"one"``: where the ideal lies.
        ``"none"``: there is none, the number is shown and not judged.
    label : str
        For people; the name when it is empty.
    group : str
        Heading it stands under in a report.
    quantity : str
        Column of the tables that it judges, where it judges a single one.
    """

    name: str
    compute: Callable[..., Mapping[str, float]]
    summary: str = ""
    formula: str = ""
    reference: str = ""
    better: str = "lower"
    label: str = ""
    group: str = ""
    quantity: str = ""


@dataclass(frozen=True)
class Command:
    """A subcommand of ``skyloom``.

    Parameters
    ----------
    name : str
        ``skyloom NAME``.
    load : callable () -> click.Command
        Called when the command is run or asked for its help.
    summary : str
        One line for ``skyloom --help``.
    """

    name: str
    load: Callable[[], click.Command]
    summary: str = ""
