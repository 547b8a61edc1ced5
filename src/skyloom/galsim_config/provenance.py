"""``output.provenance``: what an image's FITS header says of how it was made."""

from __future__ import annotations

from typing import Any

import galsim
from galsim.config import GetAllParams, RegisterExtraOutput
from galsim.config.extra import ExtraOutputBuilder

from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.identity import SEED_NOTE, run_seed
from skyloom.image_header import OBSERVING_WORDS, galaxy_words, version_words

__all__ = ["ProvenanceBuilder"]


class ProvenanceBuilder(ExtraOutputBuilder):
    """Writes model, weights, seed and versions into the header, and the numbers the section gives.

    GalSim's own header has the WCS and pixel scale; it has no gain, exposure time or zero point.
    """

    def processImage(
        self, index: int, obj_nums: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> None:
        """Attach the header to the image that is about to be written."""
        opt = {key: kind for key, (_, kind, _) in OBSERVING_WORDS.items()}
        check_keys(config, "output.provenance", opt)
        values, _ = GetAllParams(config, base, opt=opt)
        header = galsim.FitsHeader(getattr(base["current_image"], "header", None))
        for key, value in values.items():
            word, _, comment = OBSERVING_WORDS[key]
            header[word] = (value, comment)
        for word, value in _origin(base).items():
            header[word] = value
        base["current_image"].header = header


def _origin(base: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    words = version_words()
    if SEED_NOTE in base:
        words["SEED"] = (base[SEED_NOTE], "image.random_seed")
    inputs = base.get("_input_objs", {})
    for galaxies in (inputs.get("learned_galaxies") or inputs.get("generative_model") or [])[:1]:
        spec = galaxies.spec
        seed = run_seed(base) if galaxies.seed is None else galaxies.seed
        words |= galaxy_words(spec.name, spec.weights_sha256, seed, galaxies.out_of_range)
    return words


RegisterExtraOutput("provenance", ProvenanceBuilder())
