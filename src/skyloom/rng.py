"""One random stream a galaxy and purpose, the same whatever the batch, worker or order.

Each stream is NumPy's counter-based Philox 4x64 (Salmon et al. 2011, SC'11) with a 128-bit key hashed from
(seed, galaxy id, purpose). Streams of different keys are independent for all practical purposes, and nothing
has to be handed from one galaxy to the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError

__all__ = ["check_seed", "galaxy_normals", "galaxy_rng"]

_SEED_BITS = 128


def check_seed(seed: int) -> int:
    """Return `seed` as an int, or raise when it is not an integer in [0, 2**128).

    Raises
    ------
    BadInputError
        For negative, too large or non-integer seeds. Zero is a seed like any other.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise BadInputError(f"seed must be an integer, not {seed!r}")
    value = int(seed)
    if not 0 <= value < 1 << _SEED_BITS:
        raise BadInputError(f"seed must lie in [0, 2**{_SEED_BITS}), not {value}")
    return value


def galaxy_rng(seed: int, galaxy_id: int, purpose: str) -> np.random.Generator:
    """Return the random generator of one galaxy for one purpose.

    Parameters
    ----------
    seed : int
        The run's seed, in [0, 2**128).
    galaxy_id : int
        Any 64-bit signed integer.
    purpose : str
        What the numbers are for, e.g. ``"latent"``: streams of different purposes never overlap.

    Returns
    -------
    numpy.random.Generator
    """
    message = check_seed(seed).to_bytes(16, "little") + int(galaxy_id).to_bytes(8, "little", signed=True)
    digest = hashlib.blake2b(message + purpose.encode(), digest_size=16, person=b"skyloom").digest()
    key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def galaxy_normals(
    seed: int, galaxy_ids: Sequence[int] | NDArray[np.int64], purpose: str, size: int
) -> NDArray[np.float32]:
    """Standard normal numbers for many galaxies, each from its own stream.

    Returns
    -------
    ndarray of float32, shape (N, size)
    """
    out = np.empty((len(galaxy_ids), size), dtype=np.float32)
    for row, galaxy_id in zip(out, galaxy_ids, strict=True):
        row[:] = galaxy_rng(seed, int(galaxy_id), purpose).standard_normal(size, dtype=np.float32)
    return out
