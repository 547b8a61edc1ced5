"""Decoding ahead of GalSim, which builds one object after the other: faster, and never anything else."""

from __future__ import annotations

import copy
from typing import Any

import galsim
import numpy as np
import pytest
from galsim.config.value import valid_value_types

from skyloom.errors import OutOfRangeError

from .learned_fields import CALLS, CASES, GAL, MIXED, blobs, config

assert blobs  # a fixture

TILED = {"type": "Tiled", "nx_tiles": 4, "ny_tiles": 3, "stamp_size": 32, "pixel_scale": 0.2, "random_seed": 5}


def built(base: dict[str, Any], look_ahead: int) -> tuple[np.ndarray, list[int]]:
    base = copy.deepcopy(base)
    base["input"]["learned_galaxies"]["look_ahead"] = look_ahead
    CALLS.clear()
    return galsim.config.BuildImage(base).array, list(CALLS)


def tiled(**sections: Any) -> dict[str, Any]:
    return config(**sections) | {"image": TILED}


RING = tiled(gal={**GAL, "galaxy_id": {"type": "Random", "min": 0, "max": 1000000}}, stamp={"type": "Ring", "num": 2})
CATALOGUE = {"type": "List", "items": [0.2, 0.3, 0.4, 0.25], "index": {"type": "Sequence", "repeat": 2}}


@pytest.mark.parametrize(
    "base",
    [
        *(CASES[name] for name in ("plain", "sheared", "tan", "stars mixed in", "edges")),
        *(CASES[name] for name in ("skips", "rejects", "one rng")),
        tiled(),
        tiled(gal=MIXED),
        tiled(gal={"type": "Add", "items": [GAL, {**GAL, "sersic_n": 1.0}]}),
        RING,
        tiled(gal={**GAL, "half_light_radius": CATALOGUE}),
        tiled(stamp={"draw_method": "phot", "n_photons": 1000}),
        config(stamp={"quick_skip": "$obj_num % 2 == 0"}),
    ],
)
def test_changes_no_pixel(base):
    want, alone = built(base, 0)
    got, together = built(base, 16)
    assert np.array_equal(want, got)
    assert set(alone) == {1}
    assert len(together) <= len(alone)


def test_asks_for_many_galaxies_at_once():
    _, calls = built(tiled(), 16)
    assert calls == [12]
    _, calls = built(tiled(), 4)
    assert calls == [4, 4, 4]


def test_does_not_look_beyond_the_image():
    _, calls = built(config(5), 16)
    assert calls == [5]


@pytest.mark.parametrize("nproc", [1, 2])
def test_processes_change_no_pixel(nproc):
    base = tiled()
    want, _ = built(base, 0)
    base["image"] = {**TILED, "nproc": nproc}
    assert np.array_equal(built(base, 16)[0], want)


def test_an_object_that_cannot_be_drawn_is_met_only_in_its_turn():
    """Object 3 is out of range; alone or foreseen, it is the one that is named, and 0 to 2 come before."""
    gal = {**GAL, "half_light_radius": {"type": "List", "items": [0.3, 0.3, 0.3, 9.0]}}
    for look_ahead in (0, 16):
        with pytest.raises(OutOfRangeError, match="object 3, "):
            built(config(8, gal=gal), look_ahead)
    skipped = config(8, gal=gal, stamp={"skip": "$obj_num % 4 == 3"})
    assert np.array_equal(built(skipped, 0)[0], built(skipped, 16)[0])


def test_an_exception_in_the_future_is_none_now():
    base = config(8, gal={**GAL, "sersic_n": "$1.0 / (1 if obj_num != 6 else 0)"}, stamp={"skip": "$obj_num == 6"})
    assert np.array_equal(built(base, 0)[0], built(base, 16)[0])


def test_values_with_a_memory_are_not_looked_ahead_at():
    count = iter(range(100000))

    def next_radius(config, base, value_type):
        return 0.2 + 0.01 * (next(count) % 10), False

    next_radius.__module__ = "somebody"
    galsim.config.RegisterValueType("SomebodysCounter", next_radius, [float])
    try:
        base = config(10, gal={**GAL, "half_light_radius": {"type": "SomebodysCounter"}})
        want, _ = built(base, 0)
        got, calls = built(base, 16)
        assert np.array_equal(want, got)
        assert calls == [1] * 10
    finally:
        del valid_value_types["SomebodysCounter"]


def test_two_images_of_one_configuration():
    base = config(6)
    base["image_num"] = 0
    images = []
    for look_ahead in (0, 16):
        one = copy.deepcopy(base)
        one["input"]["learned_galaxies"]["look_ahead"] = look_ahead
        images.append([image.array for image in galsim.config.BuildImages(2, one)])
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0][0], images[0][1])
