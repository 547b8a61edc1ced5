"""The population that comes with Skyloom, as a plugin like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from skyloom.descriptors import Population

__all__ = ["skyloom_populations"]

hookimpl = pluggy.HookimplMarker("skyloom")


@hookimpl
def skyloom_populations() -> Sequence[Population]:
    """Give `cosmos`; its file of numbers is read when it is used."""
    return [
        Population(
            "cosmos",
            sample=_sample,
            summary="field galaxies of COSMOS, F814W or F160W 18 to 26, fitted to 3D-HST/CANDELS and COSMOS",
            density=_density,
        )
    ]


def _sample(size: int, *, seed: int, **options: Any) -> Any:
    from skyloom.populations.cosmos import load_cosmos

    return load_cosmos().sample(size, seed=seed, **options)


def _density(**options: Any) -> float:
    from skyloom.populations.cosmos import load_cosmos

    return load_cosmos().density(**options)
