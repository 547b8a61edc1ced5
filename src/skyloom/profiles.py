"""What stages hand to each other: `GeneratorSpec`, `ProfileRequest` and `ProfileBatch`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, overload

import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, PluginError
from skyloom.rng import check_seed

if TYPE_CHECKING:
    from skyloom.galaxy import LearnedGalaxy

__all__ = ["Generator", "GeneratorSpec", "Origin", "OutOfRange", "ProfileBatch", "ProfileRequest"]

OutOfRange = Literal["error", "clip", "parametric"]
"""What to do with a galaxy outside a generator's ranges: refuse, move to the edge, or draw its Sersic."""

Origin = Literal["learned", "clipped", "parametric"]
"""How a galaxy was drawn; the truth table's column ``drawn_from``."""


_MORE_AXES: dict[str, tuple[int, ...]] = {"jacobian": (2, 2), "offset": (2,)}
"""Shapes of a batch's columns behind the axis of galaxies; others have none."""


@dataclass(frozen=True)
class GeneratorSpec:
    """What a generator takes and gives.

    Parameters
    ----------
    name : str
        The name users select it by.
    summary : str
        One line for listings.
    ranges : mapping of str to (float, float)
        Closed range of each condition the generator was made for, in the units of `skyloom.Conditions`.
        Derived conditions may appear, e.g. ``surface_brightness`` (AB mag/arcsec^2, mean within the
        half-light radius).
    required : sequence of str
        Conditions without which it cannot draw.
    bands : sequence of str
        Bands of the training data, for people to read.
    grid_size : int
        Pixels along a side of the residual grid; 0 for a generator without a learned part.
    grid_scale : float
        Half-light radii per grid pixel.
    weights_sha256 : str
        Of the weights file; empty for a generator without weights.
    """

    name: str
    summary: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    required: tuple[str, ...] = ("half_light_radius", "sersic_n", "q", "beta")
    bands: tuple[str, ...] = ()
    grid_size: int = 0
    grid_scale: float = 0.0
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {}
        for name, limits in self.ranges.items():
            numbers = [float(limit) for limit in limits]
            if len(numbers) != 2 or not numbers[0] <= numbers[1]:
                raise PluginError(f"GeneratorSpec '{self.name}': the range of '{name}' is (low, high), not {limits!r}")
            ranges[name] = numbers[0], numbers[1]
        object.__setattr__(self, "ranges", MappingProxyType(ranges))

    def __reduce__(self) -> Any:  # a mappingproxy does not pickle
        return GeneratorSpec, tuple(
            dict(self.ranges) if f.name == "ranges" else getattr(self, f.name) for f in fields(self)
        )


class Generator(Protocol):
    """Turns conditions and one random stream a galaxy into light profiles."""

    @property
    def spec(self) -> GeneratorSpec:
        """What it takes and gives."""

    def sample(self, conditions: Conditions, *, seed: int, out_of_range: OutOfRange = "error") -> ProfileBatch:
        """One profile for each row of `conditions`, in their order.

        Raises
        ------
        OutOfRangeError
            For a row outside the ranges, when `out_of_range` is ``"error"``.
        """


@dataclass(frozen=True)
class ProfileRequest:
    """A stage's request for galaxies.

    Parameters
    ----------
    conditions : Conditions
        One row a galaxy.
    seed : int
        The run's seed.
    generator : str
        Name of the generator, or a path to weights.
    out_of_range : {'error', 'clip', 'parametric'}
        What to do outside the generator's ranges.
    kind : str
        Class of the objects, the same for all rows: ``galaxy``, ``star``, or what a catalogue calls them.
    """

    conditions: Conditions
    seed: int
    generator: str = "cosmos"
    out_of_range: OutOfRange = "error"
    kind: str = "galaxy"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.out_of_range not in get_args(OutOfRange):
            raise BadInputError(
                f"out_of_range must be one of {', '.join(get_args(OutOfRange))}, not {self.out_of_range!r}"
            )


@dataclass(frozen=True, eq=False)
class ProfileBatch(Sequence["LearnedGalaxy"]):
    """Light profiles of N galaxies as they stand above the atmosphere: no PSF, no noise, no pixel.

    In the canonical frame (see `skyloom.frames`) a profile is a circular Sersic of half-light radius 1 and
    flux 1 plus the learned residual, times `amplitude`.

    Parameters
    ----------
    galaxy_id : ndarray of int64, shape (N,)
    sersic_n : ndarray, shape (N,)
    flux : ndarray, shape (N,)
        Total flux, in the conditions' electrons.
    half_light_radius : ndarray, shape (N,)
        Of the whole profile, circularised, arcsec.
    q, beta : ndarray, shape (N,)
        Axis ratio, and position angle in radians.
    jacobian : ndarray, shape (N, 2, 2)
        Arcsec per canonical unit; lower triangular as a generator gives it, and faster to draw then. Its
        determinant is (`half_light_radius` / dilation)^2, the dilation being what makes the half-light radius of
        Sersic and residual together exact.
    residual : ndarray of float32, shape (N, G, G), or None
        Surface brightness of the learned part, in units of the Sersic's flux per canonical area; rows run
        along +y. The origin is the grid's true centre. None: no learned part.
    grid_scale : float
        Half-light radii per grid pixel.
    offset : ndarray, shape (N, 2), optional
        Arcsec; zero by default.
    drawn_from : ndarray of str, shape (N,), optional
        ``learned``, ``clipped`` or ``parametric``.
    wavelength, redshift : ndarray, shape (N,), optional
        As requested; NaN where not known.
    generator : str
        Name of the generator.
    weights_sha256 : str
        Of its weights; empty without.
    seed : int
        The seed the latents were drawn with.
    """

    galaxy_id: NDArray[np.int64]
    sersic_n: NDArray[np.float64]
    flux: NDArray[np.float64]
    half_light_radius: NDArray[np.float64]
    q: NDArray[np.float64]
    beta: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    residual: NDArray[np.float32] | None = None
    grid_scale: float = 0.0
    offset: NDArray[np.float64] = None  # type: ignore[assignment]
    drawn_from: NDArray[np.str_] = None  # type: ignore[assignment]
    wavelength: NDArray[np.float64] | None = None
    redshift: NDArray[np.float64] | None = None
    generator: str = ""
    weights_sha256: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        n = len(self.galaxy_id)
        if self.offset is None:
            object.__setattr__(self, "offset", np.zeros((n, 2)))
        if self.drawn_from is None:
            word = "parametric" if self.residual is None else "learned"
            object.__setattr__(self, "drawn_from", np.full(n, word, dtype="<U10"))
        for name in self._row_names():
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise PluginError(f"ProfileBatch: '{name}' has {len(values)} rows for {n} galaxies")
            more = _MORE_AXES.get(name, ())
            if values is not None and name != "residual" and values.shape[1:] != more:
                wanted = ", ".join(("N", *map(str, more))) if more else "N,"
                raise PluginError(f"ProfileBatch: '{name}' must be ({wanted}), not {values.shape}")
        if self.residual is not None:
            if self.residual.ndim != 3 or self.residual.shape[1] != self.residual.shape[2]:
                raise PluginError(f"ProfileBatch: 'residual' must be (N, G, G), not {self.residual.shape}")
            if self.residual.dtype != np.float32:
                raise PluginError(f"ProfileBatch: 'residual' must be float32, not {self.residual.dtype}")
            if not self.grid_scale > 0:
                raise PluginError(f"ProfileBatch: 'grid_scale' must be positive, not {self.grid_scale}")

    @property
    def residual_flux(self) -> NDArray[np.float64]:
        """Flux of the learned part in units of the Sersic's, shape (N,)."""
        if self.residual is None:
            return np.zeros(len(self))
        return np.asarray(self.residual.sum((1, 2), dtype=np.float64) * self.grid_scale**2)

    @property
    def amplitude(self) -> NDArray[np.float64]:
        """Flux of the Sersic part, such that Sersic and residual together have `flux`; shape (N,)."""
        return np.asarray(self.flux / (1.0 + self.residual_flux))

    def __len__(self) -> int:
        return len(self.galaxy_id)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> LearnedGalaxy: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> ProfileBatch: ...
    def __getitem__(self, index: Any) -> LearnedGalaxy | ProfileBatch:
        """One galaxy as a GSObject, or the galaxies of a slice, mask or integer array as a batch."""
        if isinstance(index, (int, np.integer)):
            from skyloom.galaxy import LearnedGalaxy

            if not -len(self) <= index < len(self):
                raise IndexError(f"galaxy {index} of a batch of {len(self)}")
            return LearnedGalaxy.from_batch(self, int(index) % len(self))
        rows = np.arange(len(self))[index]
        columns: dict[str, Any] = {name: getattr(self, name) for name in self._row_names()}
        columns = {name: None if values is None else values[rows] for name, values in columns.items()}
        return replace(self, **columns)

    def __iter__(self) -> Iterator[LearnedGalaxy]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def concatenate(cls, batches: Sequence[ProfileBatch]) -> ProfileBatch:
        """Put batches of one generator, seed and grid one after the other.

        A batch without a learned part joins one that has it with a residual of zero.
        """
        if not batches:
            raise PluginError("ProfileBatch.concatenate needs at least one batch")
        head = next((b for b in batches if b.residual is not None), batches[0])
        columns: dict[str, Any] = {}
        for name in cls._row_names():
            parts = [getattr(b, name) for b in batches]
            if name == "residual" and head.residual is not None:
                grid = head.residual.shape[1:]
                parts = [
                    np.zeros((len(batch), *grid), np.float32) if part is None else part
                    for batch, part in zip(batches, parts, strict=True)
                ]
            if name in ("wavelength", "redshift") and any(p is not None for p in parts):
                parts = [
                    np.full(len(batch), np.nan) if part is None else part
                    for batch, part in zip(batches, parts, strict=True)
                ]
            columns[name] = None if any(p is None for p in parts) else np.concatenate(parts)
        return replace(head, **columns)

    @staticmethod
    def _row_names() -> tuple[str, ...]:
        return (
            "galaxy_id", "sersic_n", "flux", "half_light_radius", "q", "beta", "jacobian", "residual",
            "offset", "drawn_from", "wavelength", "redshift",
        )  # fmt: skip
