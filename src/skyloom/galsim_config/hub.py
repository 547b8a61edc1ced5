"""The names of galsim_hub, so that its configurations run with ``modules: [skyloom]``.

``input.generative_model`` and ``gal.type: GenerativeModelGalaxy`` mean, in our words:

============== =========================================================================================
galsim_hub     here
============== =========================================================================================
`file_name`    a weights file (``.safetensors``) or the name of a model; its own (``hub:...``, a TensorFlow
               module) stand for `cosmos`
`mag_auto`     `mag`, AB, with the zero point of the COSMOS images, 25.94 (one e-/s in HST/ACS F814W)
`flux_radius`  `half_light_radius`, circularised, in COSMOS pixels of 0.03 arcsec
`zphot`        `redshift`
============== =========================================================================================

What galsim_hub's models chose themselves is drawn from the galaxy's own random stream: ln n normal about ln
1.4 with scatter 0.65, within 0.5 to 4; q = 0.05 + 0.96 B with B of the Beta distribution (2.27, 2.18),
within 0.2 to 1, both as in the GALFIT measurements of 3D-HST (van der Wel et al. 2012) above F160W 24.5;
beta uniform.
"""

from __future__ import annotations

import math
from typing import Any

import galsim
from galsim.config import GetAllParams, GetInputObj, RegisterInputType, RegisterObjectType

from skyloom.errors import ConfigError
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.identity import random_galaxy_id, run_seed
from skyloom.galsim_config.input_learned import LearnedGalaxies, LearnedGalaxiesLoader
from skyloom.galsim_config.object_learned import draw_for_config
from skyloom.galsim_config.threads import keep_one_thread
from skyloom.rng import galaxy_rng

__all__ = ["PIXEL_SCALE", "ZERO_POINT", "GenerativeModelLoader", "build_hub_galaxy"]

PIXEL_SCALE = 0.03
"""Arcsec per pixel of the COSMOS images, in which `flux_radius` counts."""

ZERO_POINT = 25.94
"""AB magnitude of 1 e-/s in them."""

_REQUIRED = {"mag_auto": float, "flux_radius": float}
_OPTIONAL = {
    "zphot": float, "sersic_n": float, "q": float, "beta": galsim.Angle, "galaxy_id": int,
    "zero_point": float, "flux": float,
}  # fmt: skip
_NOTE = (
    "The names of galsim_hub are kept for old configurations. The new ones: input.learned_galaxies.model "
    "(here %s) for generative_model.file_name; gal.type LearnedGalaxy with mag, half_light_radius (arcsec), "
    "redshift for GenerativeModelGalaxy with mag_auto, flux_radius (pixels of 0.03 arcsec) and zphot"
)
_UNUSED = ("x_interpolant", "k_interpolant", "pad_factor", "noise_pad_size")


class GenerativeModelLoader(LearnedGalaxiesLoader):
    """``input.generative_model``, and one note that names the new keys."""

    section = "input.generative_model"
    params = {"file_name": str, **LearnedGalaxiesLoader.params}

    def getKwargs(self, config: dict[str, Any], base: dict[str, Any], logger: Any) -> tuple[dict[str, Any], bool]:
        """Arguments of `LearnedGalaxies`."""
        kwargs, safe = super().getKwargs(config, base, logger)
        file_name = kwargs.pop("file_name", "")
        if "model" not in kwargs:
            kwargs["model"] = _model_of(file_name)
        kwargs.setdefault("zero_point", ZERO_POINT)
        if logger and not base.get("_skyloom_hub_noted"):
            logger.warning(_NOTE, kwargs["model"])
            base["_skyloom_hub_noted"] = True
        return kwargs, safe


def _model_of(file_name: str) -> str:
    from skyloom.generators.registry import list_models

    ours = file_name.endswith(".safetensors") or file_name in list_models()
    return file_name if ours else "cosmos"


def build_hub_galaxy(
    config: dict[str, Any], base: dict[str, Any], ignore: list[str], gsparams: dict[str, Any], logger: Any
) -> tuple[Any, bool]:
    """Builder with GalSim's signature, for ``gal.type: GenerativeModelGalaxy``.

    Raises
    ------
    ConfigError, ConditionsError, OutOfRangeError
        Name the object, the galaxy and the value.
    """
    galaxies: LearnedGalaxies = GetInputObj("generative_model", config, base, "GenerativeModelGalaxy")
    where = "gal (type GenerativeModelGalaxy)"
    check_keys(config, where, [*_REQUIRED, *_OPTIONAL, "num"], [*ignore, *_UNUSED])
    for name in _REQUIRED:
        if name not in config:
            raise ConfigError(f"{where}: '{name}' is missing")
    given, _ = GetAllParams(config, base, req=_REQUIRED, opt=_OPTIONAL, ignore=[*ignore, *_UNUSED, "num"])
    if "galaxy_id" not in given:
        given["galaxy_id"] = random_galaxy_id(config, base, logger)
    seed = run_seed(base) if galaxies.seed is None else galaxies.seed
    values = _shape(seed, given["galaxy_id"])
    values.update({k: given[k] for k in ("sersic_n", "q", "beta", "galaxy_id", "zero_point") if k in given})
    values.update(mag=given["mag_auto"], half_light_radius=given["flux_radius"] * PIXEL_SCALE)
    if "zphot" in given:
        values["redshift"] = given["zphot"]
    return draw_for_config(galaxies, values, config, base, gsparams, logger), False


def _shape(seed: int, galaxy_id: int) -> dict[str, Any]:
    """Sersic index, axis ratio and position angle of a galaxy that was given none."""
    rng = galaxy_rng(seed, galaxy_id, "galsim_hub shape")
    n, q, beta = rng.normal(math.log(1.4), 0.65), rng.beta(2.27, 2.18), rng.uniform(0, math.pi)
    return {
        "sersic_n": min(max(math.exp(n), 0.5), 4.0),
        "q": min(max(0.05 + 0.96 * q, 0.2), 1.0),
        "beta": beta * galsim.radians,
    }


RegisterInputType(
    "generative_model",
    GenerativeModelLoader(LearnedGalaxies, use_proxy=False, worker_init=keep_one_thread, worker_initargs=lambda: ()),
)
RegisterObjectType("GenerativeModelGalaxy", build_hub_galaxy, input_type="generative_model")
