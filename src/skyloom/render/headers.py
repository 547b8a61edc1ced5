"""What the FITS headers of rendered files say, beside GalSim's WCS."""

from __future__ import annotations

from typing import Any

import galsim
from galsim.config import RegisterExtraOutput
from galsim.config.extra import ExtraOutputBuilder

from skyloom.render.tasks import Task

__all__ = ["add_headers"]

_KEY = "skyloom_render"
_NOISE = ("gain", "read_noise", "sky_level")  # of image.noise type CCD
_VARIABLES = {"zero_point": "fzero_point", "exptime": "fexptime"}


def add_headers(config: dict[str, Any], task: Task) -> None:
    """Add ``output.provenance`` and the numbers of the task to a configuration.

    The section's own values win. Those it lacks are taken from where the configuration has them: gain, read
    noise and sky of a CCD's noise, zero point and wavelength of ``input.learned_galaxies``, and the
    variables ``fzero_point`` and ``fexptime``.

    Parameters
    ----------
    config : dict
        Of the file; altered.
    task : Task
        Says hash, seed and numbers.
    """
    output = config["output"]
    given = output.get("provenance")
    section = {**_told(config), **(given if isinstance(given, dict) else {})}
    output["provenance"] = section
    output[_KEY] = {
        "CONFHASH": (task.origin.config_sha256, ""),  # a SHA-256 leaves no room for a comment
        "FILENUM": (task.file_num, "number of the file in its configuration"),
        **({} if task.origin.seed is None else {"SEED": (task.origin.seed, "image.random_seed")}),
    }


def _told(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    noise = config["image"].get("noise")
    if isinstance(noise, dict) and noise.get("type", "Poisson") == "CCD":
        found.update({key: noise[key] for key in _NOISE if key in noise})
    variables = config.get("eval_variables")
    if isinstance(variables, dict):
        found.update({key: f"${name[1:]}" for key, name in _VARIABLES.items() if name in variables})
    galaxies = config.get("input", {}).get("learned_galaxies")
    if isinstance(galaxies, dict):
        found.update({key: galaxies[key] for key in ("zero_point", "wavelength") if key in galaxies})
    # a value drawn at random would be another one in the header
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) or str(v)[:1] in "$@"}


class _RenderHeader(ExtraOutputBuilder):
    def processImage(
        self, index: int, obj_nums: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> None:
        header = galsim.FitsHeader(getattr(base["current_image"], "header", None))
        for word, value in config.items():
            header[word] = value
        base["current_image"].header = header


RegisterExtraOutput(_KEY, _RenderHeader())
