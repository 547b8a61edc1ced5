"""Populations by name, through the hook ``skyloom_populations``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from skyloom.conditions import Conditions
from skyloom.errors import ConditionsError, PluginError, SkyloomError
from skyloom.manager import SkyloomPluginManager, collect, lookup, plugin_manager, provider
from skyloom.rng import check_seed, galaxy_rng

if TYPE_CHECKING:
    from skyloom.descriptors import Population

__all__ = ["LoadedPopulation", "list_populations", "load_population"]

MAX_GALAXIES = 1_000_000_000


def list_populations(manager: SkyloomPluginManager | None = None) -> dict[str, Population]:
    """All populations that can be asked for by name, without loading any."""
    return collect("skyloom_populations", manager)


def load_population(name: str, *, manager: SkyloomPluginManager | None = None) -> LoadedPopulation:
    """Return a source of conditions by its name.

    Parameters
    ----------
    name : str
        E.g. ``"cosmos"``; see `list_populations`.
    manager : SkyloomPluginManager, optional
        The process's own by default.

    Raises
    ------
    ConditionsError
        For a name that is not registered, with those that are and the nearest.
    """
    manager = manager or plugin_manager()
    if not isinstance(name, str):
        raise ConditionsError(f"a population is asked for by its name, not by {name!r:.60}")
    entry = lookup("skyloom_populations", name, noun="population", error=ConditionsError, manager=manager)
    return LoadedPopulation(entry, provider("skyloom_populations", name, manager))


@dataclass(frozen=True)
class LoadedPopulation:
    """A population ready to draw from.

    Parameters
    ----------
    entry : skyloom.descriptors.Population
    provided_by : str
        Plugin and version, for messages.
    """

    entry: Population
    provided_by: str = "its plugin"

    @property
    def name(self) -> str:
        """Its name."""
        return self.entry.name

    def sample(self, size: int, *, seed: int, **options: Any) -> Conditions:
        """Draw `size` galaxies; `options` are the population's own, for `cosmos` see `CosmosPopulation.sample`.

        Raises
        ------
        ConditionsError
            For options that the population does not take.
        PluginError
            When the plugin fails, or gives something else than as many Conditions.
        """
        found = self._call(self.entry.sample, size, seed=seed, **options)
        if not isinstance(found, Conditions) or len(found) != size:
            raise PluginError(f"population '{self.name}' of {self.provided_by} gave no Conditions of {size} galaxies")
        return found

    def density(self, **options: Any) -> float:
        """Galaxies per square degree, for the options of `sample`.

        Raises
        ------
        ConditionsError
            When the population does not know.
        """
        if self.entry.density is None:
            raise ConditionsError(f"population '{self.name}' knows no density; say how many galaxies there are")
        return float(self._call(self.entry.density, **options))

    def sample_area(self, area: float, *, seed: int, **options: Any) -> Conditions:
        """Draw the galaxies of an area: as many as a Poisson distribution of the expected number gives.

        Parameters
        ----------
        area : float
            Square degrees.
        seed : int
            Gives the number too.

        Raises
        ------
        ConditionsError
            For an area that is not a positive number, or holds more than 1e9 galaxies.
        """
        if isinstance(area, bool) or not isinstance(area, Real) or not math.isfinite(area) or area < 0:
            raise ConditionsError(f"the area must be a number of square degrees from 0, not {area!r:.60}")
        expected = self.density(**options) * float(area)
        if expected > MAX_GALAXIES:
            raise ConditionsError(f"{area:g} square degrees hold {expected:.3g} galaxies; at most {MAX_GALAXIES:g}")
        number = int(galaxy_rng(check_seed(seed), 0, f"number of {self.name}").poisson(expected))
        return self.sample(number, seed=seed, **options)

    def _call(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except SkyloomError:
            raise
        except TypeError as exc:
            if "unexpected keyword" in str(exc):
                raise ConditionsError(f"population '{self.name}': {exc}") from exc
            raise PluginError(f"population '{self.name}' of {self.provided_by} failed: {exc}") from exc
        except Exception as exc:
            raise PluginError(
                f"population '{self.name}' of {self.provided_by} failed: {type(exc).__name__}: {exc}"
            ) from exc
