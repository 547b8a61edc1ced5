"""Fields of galaxies by a made-up generator, which the tests of LearnedScattered and of looking ahead share."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import Any

import galsim
import numpy as np
import pytest

from skyloom.descriptors import GeneratorEntry
from skyloom.frames import profile_jacobian
from skyloom.generators.ranges import apply_policy
from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager
from skyloom.normalise import dilation, sersic_profile
from skyloom.profiles import GeneratorSpec, ProfileBatch
from skyloom.rng import galaxy_rng

GRID, SCALE = 32, 0.25
SPEC = GeneratorSpec(
    name="blobs", ranges={"half_light_radius": (0.1, 2.0)}, grid_size=GRID, grid_scale=SCALE, weights_sha256=64 * "a"
)  # fmt: skip
CALLS: list[int] = []


class Blobs:
    """A Sersic with one smooth off-centre blob; counts the galaxies of each call."""

    spec = SPEC

    def sample(self, conditions, *, seed, out_of_range="error"):
        CALLS.append(len(conditions))
        _, drawn_from, parametric = apply_policy(conditions, SPEC, out_of_range)
        axis = (np.arange(GRID) - (GRID - 1) / 2) * SCALE
        x, y = np.meshgrid(axis, axis)
        residual = np.empty((len(conditions), GRID, GRID), np.float32)
        for row, galaxy_id in enumerate(conditions.galaxy_id):
            dx, dy = galaxy_rng(seed, int(galaxy_id), "latent").uniform(-1, 1, 2)
            blob = 0.5 * np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / 0.5) * (1 - np.exp(-((x**2 + y**2) / 0.5)))
            residual[row] = blob * sersic_profile(np.hypot(x, y), conditions.sersic_n[row])
        residual[parametric] = 0
        size = conditions.half_light_radius / dilation(residual, SCALE, conditions.sersic_n)
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id, sersic_n=conditions.sersic_n, flux=conditions.flux,
            half_light_radius=conditions.half_light_radius, q=conditions.q, beta=conditions.beta,
            jacobian=profile_jacobian(size, conditions.q, conditions.beta), residual=residual,
            grid_scale=SCALE, drawn_from=drawn_from, generator="blobs", seed=seed, weights_sha256=SPEC.weights_sha256,
        )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def blobs() -> Iterator[None]:
    """The generator by its name, in every test of a module that imports this."""
    plugin = types.SimpleNamespace(
        skyloom_generators=hookimpl(specname="skyloom_generators")(
            lambda: [GeneratorEntry("blobs", spec=SPEC, factory=Blobs)]
        )
    )
    manager = plugin_manager()
    manager.register(plugin, name="blobs for tests")
    yield
    manager.unregister(plugin)


GAL = {
    "type": "LearnedGalaxy",
    "flux": {"type": "Random", "min": 1e3, "max": 2e4},
    "half_light_radius": {"type": "Random", "min": 0.2, "max": 0.5},
    "sersic_n": {"type": "Random", "min": 0.8, "max": 2.0},
    "q": {"type": "Random", "min": 0.4, "max": 1.0},
    "beta": {"type": "Random"},
}
FINE = {"folding_threshold": 1e-4, "maxk_threshold": 1e-6, "kvalue_accuracy": 1e-7, "maximum_fft_size": 16384}
TAN = {
    "type": "Tan", "dudx": -0.1, "dudy": 0.02, "dvdx": 0.015, "dvdy": 0.11, "units": "arcsec",
    "ra": "10 hours", "dec": "60 degrees",
}  # fmt: skip
STAR = {"type": "Gaussian", "sigma": 1e-3, "flux": 500.0}


def config(count: int = 10, *, gal: Any = None, image: Any = None, **sections: Any) -> dict[str, Any]:
    return {
        "input": {"learned_galaxies": {"model": "blobs", **sections.pop("learned", {})}},
        "gal": GAL if gal is None else gal,
        "psf": {"type": "Moffat", "beta": 3.5, "fwhm": 0.3},
        "image": {
            "type": "Scattered", "nobjects": count, "xsize": 240, "ysize": 200, "pixel_scale": 0.1,
            "random_seed": 1234, **(image or {}),
        },
        **sections,
    }  # fmt: skip


def build(base: dict[str, Any], **image: Any) -> galsim.Image:
    base = copy.deepcopy(base)
    base["image"].update(image)
    return galsim.config.BuildImage(base)


SHEARED = {
    **GAL,
    "shear": {"type": "G1G2", "g1": {"type": "Random", "min": -0.2, "max": 0.2}, "g2": 0.1},
    "magnify": 1.2,
    "rotate": {"type": "Random"},
    "shift": {"type": "XY", "x": {"type": "Random", "min": -0.3, "max": 0.3}, "y": 0.07},
}
LENSED = {
    **GAL,
    "ellip": {"type": "E1E2", "e1": 0.1, "e2": -0.05},
    "lens": {"shear": {"type": "G1G2", "g1": -0.08, "g2": 0.05}, "mu": 1.3},
    "dilate": 0.9,
    "scale_flux": {"type": "Random", "min": 0.8, "max": 1.2},
}
MIXED = {
    "type": "List",
    "items": [GAL, STAR, {**GAL, "sersic_n": 1.0, "wavelength": 700.0}],
    "index": {"type": "Sequence", "first": 0, "last": 2},
}
TURNED_PSF = {
    "type": "Gaussian", "fwhm": 0.35,
    "ellip": {"type": "E1E2", "e1": "$0.001 * (image_pos.x - 100)", "e2": 0.05},
}  # fmt: skip

CASES = {
    "plain": config(),
    "stamp size": config(image={"stamp_size": 48}),
    "odd and even": config(image={"stamp_xsize": 41, "stamp_ysize": 64}),
    "sheared": config(gal=SHEARED),
    "lensed": config(gal=LENSED),
    "tan": config(gal=SHEARED, image={"wcs": TAN}),
    "world positions": config(
        image={
            "wcs": {"type": "Jacobian", "dudx": 0.1, "dudy": 0.01, "dvdx": -0.02, "dvdy": 0.09},
            "world_pos": {"type": "XY", "x": {"type": "Random", "min": 0, "max": 20}, "y": 9.3},
        }
    ),
    "stars mixed in": config(12, gal=MIXED),
    "edges": config(
        12,
        image={
            "image_pos": {
                "type": "XY",
                "x": {"type": "Random", "min": -60, "max": 300},
                "y": {"type": "Random", "min": -80, "max": 280},
            }
        },
    ),
    "variable psf": config(psf=TURNED_PSF),
    "no pixel": config(stamp={"draw_method": "no_pixel"}),
    "skips": config(12, stamp={"skip": {"type": "RandomBinomial", "p": 0.3}}),
    "rejects": config(stamp={"reject": "$obj_num % 3 == 0 and rng.raw() % 2 == 0"}),
    "offset": config(stamp={"offset": {"type": "RandomCircle", "radius": 0.7}}),
    "magnitudes": config(gal={**{k: v for k, v in GAL.items() if k != "flux"}, "mag": 22.0, "zero_point": 31.0}),
    "mixed input": config(gal={**GAL, "redshift": {"type": "Random", "min": 0, "max": 1}}),
    "one rng": config(stamp={"obj_rng": False}),
}
