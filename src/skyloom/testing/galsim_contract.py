"""GalSim's own style of checks on a generator's galaxies: ``python -m skyloom.testing.galsim_contract``.

Each check of `CHECKS` takes a `skyloom.LearnedGalaxy` and returns its worst deviation, which must not
exceed the check's limit. Plugin authors run them on the galaxies of their own generator::

    for name, check in CHECKS.items():
        assert check.measure(galaxy) <= check.limit, name
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skyloom.conditions import Conditions
from skyloom.errors import SkyloomError
from skyloom.galaxy import LearnedGalaxy
from skyloom.testing.galsim_checks import CHECKS
from skyloom.testing.synthetic import synthetic_batch

if TYPE_CHECKING:
    from skyloom.profiles import Generator

__all__ = ["CHECKS", "main", "model_galaxies", "run"]


def model_galaxies(model: Generator, count: int, seed: int = 0) -> list[LearnedGalaxy]:
    """Galaxies of a generator, spread evenly over its documented ranges."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {"half_light_radius": (0.1, 1.0), "sersic_n": (0.5, 4.0), "q": (0.2, 1.0)}
    values |= {name: limits for name, limits in model.spec.ranges.items() if name not in ("mag", "flux")}
    drawn = {name: rng.uniform(low, high, count) for name, (low, high) in values.items()}
    brightness = drawn.pop("surface_brightness", np.full(count, 23.0))
    mag = brightness - 2.5 * np.log10(2 * np.pi * drawn["half_light_radius"] ** 2)
    known = {
        name: column
        for name, column in drawn.items()
        if name in ("half_light_radius", "sersic_n", "q", "wavelength", "redshift")
    }
    conditions = Conditions(mag=mag, zero_point=25.0, beta=rng.uniform(-1.5, 1.5, count), **known)
    return list(model.sample(conditions, seed=seed, out_of_range="clip"))


def run(title: str, galaxies: Sequence[LearnedGalaxy]) -> bool:
    """Print each check's worst figure over the galaxies; False when one is beyond its limit."""
    print(f"{title}: {len(galaxies)} galaxies")
    good = True
    for name, check in CHECKS.items():
        try:
            worst = max(check.measure(galaxy) for galaxy in galaxies)
        except AssertionError as exc:
            print(f"  FAILED  {name:18} {exc}")
            good = False
            continue
        passed = worst <= check.limit
        good &= passed
        word = "ok" if passed else "FAILED"
        print(f"  {word:7} {name:18} {worst:9.2e} (limit {check.limit:.0e})  {check.what}")
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks on synthetic galaxies and on those of models; the exit status.

    Without a model's name `cosmos` is checked, if it can be loaded.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skyloom.testing.galsim_contract",
        description="GalSim's own style of checks on the galaxies of generators.",
    )
    parser.add_argument("models", nargs="*", help="names or weights files [cosmos]")
    parser.add_argument("--galaxies", type=int, default=8, help="galaxies of each [8]")
    options = parser.parse_args(arguments)
    from skyloom import load_model

    good = run("synthetic residuals", list(synthetic_batch(options.galaxies)))
    for name in options.models or ["cosmos"]:
        try:
            model = load_model(name)
        except SkyloomError as exc:
            if options.models:
                print(f"galsim_contract: {exc}", file=sys.stderr)
                return exc.exit_code
            print(f"{name}: not checked: {exc}")
            continue
        good &= run(name, model_galaxies(model, options.galaxies))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
