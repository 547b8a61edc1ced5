"""GalSim's limit on Fourier transforms as an error that can be caught."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import galsim

__all__ = ["raise_on_huge_fft"]


@contextmanager
def raise_on_huge_fft() -> Iterator[None]:
    """Have GalSim raise for a far too large FFT, which else ends the process without a word."""
    before = galsim.errors.raise_fft_size_error
    galsim.errors.raise_fft_size_error = True
    try:
        yield
    finally:
        galsim.errors.raise_fft_size_error = before
