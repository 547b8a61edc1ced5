"""Purely physical galaxies: Sersic profiles through the interface of the learned ones."""

from __future__ import annotations

import numpy as np

from skyloom.conditions import Conditions
from skyloom.descriptors import GeneratorEntry
from skyloom.frames import profile_jacobian
from skyloom.generators.ranges import apply_policy
from skyloom.hookspecs import hookimpl
from skyloom.profiles import GeneratorSpec, OutOfRange, ProfileBatch
from skyloom.rng import check_seed

__all__ = ["SPEC", "SersicGenerator", "skyloom_generators"]

SPEC = GeneratorSpec(
    name="sersic",
    summary="purely physical: the Sersic profile and nothing else",
    ranges={"sersic_n": (0.3, 6.2), "q": (0.05, 1.0)},
)


class SersicGenerator:
    """Sersic profiles of the flux, size, index, axis ratio and angle asked for."""

    spec = SPEC

    def sample(self, conditions: Conditions, *, seed: int, out_of_range: OutOfRange = "error") -> ProfileBatch:
        """One Sersic profile for each row of `conditions`; nothing is random, the seed is only kept.

        Raises
        ------
        skyloom.errors.OutOfRangeError
            For a row outside `SPEC.ranges`, when `out_of_range` is ``"error"``.
        """
        _, drawn_from, _ = apply_policy(conditions, self.spec, out_of_range)
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id,
            sersic_n=conditions.sersic_n,
            flux=conditions.flux,
            half_light_radius=conditions.half_light_radius,
            q=conditions.q,
            beta=conditions.beta,
            jacobian=profile_jacobian(conditions.half_light_radius, conditions.q, conditions.beta),
            drawn_from=np.where(drawn_from == "learned", "parametric", drawn_from),
            wavelength=conditions.wavelength,
            redshift=conditions.redshift,
            generator=self.spec.name,
            seed=check_seed(seed),
        )


@hookimpl
def skyloom_generators() -> list[GeneratorEntry]:
    """Give the model `sersic`."""
    return [GeneratorEntry("sersic", spec=SPEC, factory=SersicGenerator, summary=SPEC.summary)]
