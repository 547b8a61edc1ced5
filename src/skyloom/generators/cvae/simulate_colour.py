"""How the parts of a galaxy change with wavelength."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["REFERENCE", "contrast", "dust_curve"]

REFERENCE = 0.6
"""Rest wavelength in micron at which shares of light are defined."""


def dust_curve(wavelength: Tensor) -> Tensor:
    """Attenuation against that at 0.55 micron.

    Calzetti et al. 2000 (ApJ 533, 682), equation 4, between 0.12 and 2.2 micron; beyond, the power -1.8 of the
    wavelength (Landini et al. 1984), which meets it at 2.2.

    Parameters
    ----------
    wavelength : Tensor
        Rest frame, micron.
    """
    x = wavelength.clamp(0.12, 2.2)
    blue = 2.659 * (-2.156 + 1.509 / x - 0.198 / x**2 + 0.011 / x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / x) + 4.05
    return torch.where(x < 0.63, blue, red) * (wavelength.clamp(min=2.2) / 2.2) ** -1.8 / 4.0515


def contrast(wavelength: Tensor, power: Tensor | float) -> Tensor:
    """Contrast of a part with the disc beneath it against that at `REFERENCE`: a power of the wavelength.

    The powers of `skyloom.generators.cvae.simulate` (young stars -0.9, the arms' old stars -0.1, bars +0.25) are a
    choice: arms of old stars keep their contrast from the blue to 3.6 micron while that of flocculent arms falls
    (Elmegreen et al. 2011, ApJ 737, 32), and clumps are seen in the ultraviolet and fade at 1 micron (Guo et al. 2018).
    """
    return (wavelength.clamp(0.12, 5.0) / REFERENCE) ** power
