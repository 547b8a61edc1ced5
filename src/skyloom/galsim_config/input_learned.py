"""``input.learned_galaxies``: the generator that a configuration draws its galaxies with."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast, get_args

from galsim.config import GetAllParams, InputLoader, RegisterInputType

from skyloom.conditions import Conditions
from skyloom.errors import ConfigError
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.identity import note_random_seed
from skyloom.galsim_config.threads import keep_one_thread, one_torch_thread
from skyloom.profiles import GeneratorSpec, OutOfRange, ProfileRequest
from skyloom.rng import check_seed

__all__ = ["DrawnGalaxy", "LearnedGalaxies", "LearnedGalaxiesLoader"]

_CACHED = 8  # galaxies; more than one is asked for twice only within a stamp or a ring


@dataclass(frozen=True)
class DrawnGalaxy:
    """One galaxy, and how it was drawn."""

    profile: Any
    """The `skyloom.LearnedGalaxy`."""
    truth: dict[str, Any]
    """What `LearnedGalaxyValue` gives: see `skyloom.galsim_config.value`."""


class LearnedGalaxies:
    """A generator by name, with the settings of ``input.learned_galaxies``.

    The model is loaded once a process, at first use; workers inherit it through the fork.

    Parameters
    ----------
    model : str
        Name of a generator, or a path to weights.
    out_of_range : {'error', 'clip', 'parametric'}
        What to do with a galaxy outside the generator's ranges.
    zero_point : float, optional
        AB magnitude that gives one electron over the exposure, for galaxies that have none of their own.
    wavelength : float, optional
        Observed wavelength in nm, likewise.
    seed : int, optional
        Of the galaxies' structure; follows ``image.random_seed`` when left out.

    Raises
    ------
    ConfigError
        For a policy that does not exist.
    """

    def __init__(
        self,
        model: str = "cosmos",
        out_of_range: str = "error",
        zero_point: float | None = None,
        wavelength: float | None = None,
        seed: int | None = None,
    ) -> None:
        if out_of_range not in get_args(OutOfRange):
            raise ConfigError(
                f"input.learned_galaxies: out_of_range must be one of {', '.join(get_args(OutOfRange))}, "
                f"not {out_of_range!r}"
            )
        self.model = model
        self.out_of_range = cast(OutOfRange, out_of_range)
        self.zero_point = zero_point
        self.wavelength = wavelength
        self.seed = None if seed is None else check_seed(seed)
        self._cache: OrderedDict[Any, DrawnGalaxy] = OrderedDict()

    @property
    def spec(self) -> GeneratorSpec:
        """The generator's, which loads it."""
        from skyloom.generators.registry import load_model

        with one_torch_thread():
            return load_model(self.model).spec

    def draw(self, seed: int, **columns: Any) -> DrawnGalaxy:
        """One galaxy.

        Parameters
        ----------
        seed : int
            Of its structure, used unless the input has its own.
        **columns
            One value for each column of `skyloom.Conditions`, ``galaxy_id`` among them.

        Raises
        ------
        ConditionsError, OutOfRangeError
            Name the galaxy, the condition and its value.
        """
        from skyloom.generators.registry import request_profiles

        seed = seed if self.seed is None else self.seed
        key = (seed, *sorted(columns.items()))
        if key not in self._cache:
            conditions = Conditions(**{name: [value] for name, value in columns.items()})
            request = ProfileRequest(conditions, seed, generator=self.model, out_of_range=self.out_of_range)
            with one_torch_thread():
                batch = request_profiles(request)
            self._cache[key] = DrawnGalaxy(batch[0], _truth(conditions, batch))
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return self._cache[key]


def _truth(conditions: Conditions, batch: Any) -> dict[str, Any]:
    drawn = ("galaxy_id", "flux", "half_light_radius", "sersic_n", "q", "beta")
    return {
        "structure_radius": conditions.half_light_radius[0].item(),  # unless given
        **{name: values[0].item() for name, values in conditions.as_dict().items()},
        **{name: getattr(batch, name)[0].item() for name in drawn},
        "drawn_from": str(batch.drawn_from[0]),
        "generator": batch.generator,
        "weights": batch.weights_sha256,
        "seed": batch.seed,
    }


class LearnedGalaxiesLoader(InputLoader):
    """Checks the section, and says in each image which model and weights draw its galaxies."""

    section = "input.learned_galaxies"
    params = {"model": str, "out_of_range": str, "zero_point": float, "wavelength": float, "seed": int}

    def getKwargs(self, config: dict[str, Any], base: dict[str, Any], logger: Any) -> tuple[dict[str, Any], bool]:
        """Arguments of `LearnedGalaxies`; safe to keep when none of them changes from file to file."""
        check_keys(config, self.section, self.params)
        note_random_seed(base)
        return GetAllParams(config, base, opt=self.params)

    def setupImage(self, input_obj: Any, config: dict[str, Any], base: dict[str, Any], logger: Any = None) -> None:
        """Load the model, and log one line that `galsim` shows by default."""
        from skyloom import __version__

        spec = input_obj.spec
        weights = f"weights {spec.weights_sha256[:12]}" if spec.weights_sha256 else "no weights"
        if logger:
            logger.warning(
                "Image %d: galaxies by %s (%s), skyloom %s",
                base.get("image_num", 0),
                spec.name,
                weights,
                __version__,
            )


# A proxy would cost a message a galaxy: workers draw for themselves, on one thread each.
RegisterInputType(
    "learned_galaxies",
    LearnedGalaxiesLoader(LearnedGalaxies, use_proxy=False, worker_init=keep_one_thread, worker_initargs=lambda: ()),
)
