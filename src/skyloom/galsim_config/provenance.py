"""``output.provenance``: what an image's FITS header says of how it was made."""

from __future__ import annotations

from typing import Any

import galsim
from galsim.config import GetAllParams, RegisterExtraOutput
from galsim.config.extra import ExtraOutputBuilder

from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.identity import SEED_NOTE, run_seed

__all__ = ["ProvenanceBuilder"]

_KEYWORDS = {
    "zero_point": ("ZEROPNT", float, "[mag(AB)] gives one electron over the exposure"),
    "gain": ("GAIN", float, "[e-/ADU]"),
    "exptime": ("EXPTIME", float, "[s]"),
    "psf_fwhm": ("PSFFWHM", float, "[arcsec]"),
    "sky_level": ("SKYLEVEL", float, "[ADU/arcsec2] sky in the noise"),
    "read_noise": ("RDNOISE", float, "[e-]"),
    "wavelength": ("WAVELEN", float, "[nm] observed"),
    "filter": ("FILTER", str, ""),
    "telescope": ("TELESCOP", str, ""),
    "instrument": ("INSTRUME", str, ""),
}


class ProvenanceBuilder(ExtraOutputBuilder):
    """Writes model, weights, seed and versions into the header, and the numbers the section gives.

    GalSim's own header has the WCS and pixel scale; it has no gain, exposure time or zero point.
    """

    def processImage(
        self, index: int, obj_nums: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> None:
        """Attach the header to the image that is about to be written."""
        opt = {key: kind for key, (_, kind, _) in _KEYWORDS.items()}
        check_keys(config, "output.provenance", opt)
        values, _ = GetAllParams(config, base, opt=opt)
        header = galsim.FitsHeader(getattr(base["current_image"], "header", None))
        for key, value in values.items():
            word, _, comment = _KEYWORDS[key]
            header[word] = (value, comment)
        for word, value in _origin(base).items():
            header[word] = value
        base["current_image"].header = header


def _origin(base: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    from skyloom import __version__

    words: dict[str, tuple[Any, str]] = {
        "SKYLOOM": (__version__, "version"),
        "GALSIM": (galsim.__version__, "version"),
    }
    if SEED_NOTE in base:
        words["SEED"] = (base[SEED_NOTE], "image.random_seed")
    inputs = base.get("_input_objs", {})
    for galaxies in (inputs.get("learned_galaxies") or inputs.get("generative_model") or [])[:1]:
        spec = galaxies.spec
        seed = run_seed(base) if galaxies.seed is None else galaxies.seed
        words["MODEL"] = (spec.name, "generator of the galaxies")
        words["WEIGHTS"] = (spec.weights_sha256, "")  # a SHA-256 leaves no room for a comment
        words["GALSEED"] = (seed if seed < 1 << 63 else str(seed), "seed of the galaxies")
        words["OUTRANGE"] = (galaxies.out_of_range, "policy outside the range of the model")
    return words


RegisterExtraOutput("provenance", ProvenanceBuilder())
