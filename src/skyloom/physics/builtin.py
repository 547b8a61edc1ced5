"""Built-in answers for lensing and noise, hook implementations like any other; both are NumPy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skyloom.descriptors import NoiseModel
from skyloom.errors import BadInputError
from skyloom.hookspecs import hookimpl
from skyloom.profiles import ProfileBatch

__all__ = ["skyloom_add_noise", "skyloom_lens", "skyloom_noise_models"]


@hookimpl(trylast=True)
def skyloom_lens(
    batch: ProfileBatch, g1: NDArray[np.float64], g2: NDArray[np.float64], mu: NDArray[np.float64]
) -> ProfileBatch:
    """Shear and magnify."""
    from skyloom.physics.lens import lens_batch

    return lens_batch(batch, g1, g2, mu)


@hookimpl
def skyloom_noise_models() -> Sequence[NoiseModel]:
    """Give a CCD's noise, white noise, and none."""
    from skyloom.physics.noise import add_ccd_noise, add_gaussian_noise, add_no_noise

    return [
        NoiseModel("ccd", add=add_ccd_noise, summary="Poisson noise of sky and sources, Gaussian read noise"),
        NoiseModel("gaussian", add=add_gaussian_noise, summary="white noise, by default that of sky and read-out"),
        NoiseModel("none", add=add_no_noise, summary="expected ADU"),
    ]


@hookimpl(trylast=True)
def skyloom_add_noise(
    image: NDArray[np.float32], name: str, parameters: Mapping[str, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Call the noise model of this name."""
    from skyloom.manager import lookup

    model: NoiseModel = lookup("skyloom_noise_models", name, noun="noise model", error=BadInputError)
    return model.add(image, parameters, rng)
