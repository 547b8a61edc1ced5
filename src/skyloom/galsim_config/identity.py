"""Which galaxy an object of a configuration is: the run's seed and the galaxy's id.

The seed says which galaxy an id stands for. It must not follow the object, file or band, so it comes from
the first ``image.random_seed`` alone. An object without a ``galaxy_id`` gets a random id from GalSim's own
generator for it, and so follows ``random_seed``, the object number, ``rng_num`` and ``index_key`` as every
random value does.
"""

from __future__ import annotations

import secrets
from typing import Any

import galsim

from skyloom.errors import ConfigError

__all__ = ["SEED_NOTE", "note_random_seed", "random_galaxy_id", "run_seed"]

# With no random_seed GalSim takes its randomness from the system, and so do we: once a process tree, so
# that the forked workers of a run agree.
_SYSTEM_SEED = secrets.randbits(64)

SEED_NOTE = "_skyloom_random_seed"
"""Key of the configuration that keeps ``image.random_seed`` as the user wrote it, when it is a number."""


def note_random_seed(base: dict[str, Any]) -> None:
    """Keep the number the user wrote, for the header, before GalSim replaces it by a sequence."""
    given = base.get("image", {}).get("random_seed")
    if isinstance(given, list):
        given = given[0]
    if isinstance(given, int):
        base[SEED_NOTE] = given


def run_seed(base: dict[str, Any]) -> int:
    """Seed of the learned galaxies that follows from ``image.random_seed``.

    GalSim turns the first random_seed N into a sequence that starts with ``BaseDeviate(N).raw()``, and keeps
    no other trace of N. That number is the seed, whether GalSim has come that far or not.

    Parameters
    ----------
    base : dict
        The whole configuration.

    Returns
    -------
    int
        In [0, 2**64).
    """
    given = base.get("image", {}).get("random_seed")
    if isinstance(given, list):
        given = given[0]
    if isinstance(given, dict) and given.get("default"):
        return int(given["first"])
    if given is None:
        return _SYSTEM_SEED
    holder = {"random_seed": given}
    return int(galsim.BaseDeviate(galsim.config.ParseValue(holder, "random_seed", base, int)[0]).raw())


def random_galaxy_id(config: dict[str, Any], base: dict[str, Any], logger: Any) -> int:
    """Id in [0, 2**62) from GalSim's random generator for this object.

    Raises
    ------
    ConfigError
        When GalSim has not set one up.
    """
    rng = galsim.config.GetRNG(config, base, logger, "LearnedGalaxy")
    if rng is None:
        raise ConfigError(
            "LearnedGalaxy: no galaxy_id, and no random generator to draw one from; "
            "give galaxy_id, or build with galsim.config.BuildStamp or BuildImage"
        )
    return int(rng.raw()) << 30 | int(rng.raw()) >> 2
