"""Groups of galaxies whose stamps may show the same sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["sky_groups"]


def sky_groups(ra: ArrayLike, dec: ArrayLike, linking_length: float) -> NDArray[np.intp]:
    """Friends of friends on the sky.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Degrees.
    linking_length : float
        Arcsec: the diagonal of a stamp, so that stamps of different groups never overlap.

    Returns
    -------
    ndarray of int, shape (N,)
        A group's number is the lowest index of its members.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    lon, lat = np.deg2rad(np.asarray(ra, dtype=np.float64)), np.deg2rad(np.asarray(dec, dtype=np.float64))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    chord = 2 * np.sin(np.deg2rad(linking_length / 3600) / 2)
    pairs = cKDTree(points).query_pairs(chord, output_type="ndarray")
    n = len(points)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    first = np.full(labels.max(initial=-1) + 1, n, dtype=np.intp)
    np.minimum.at(first, labels, np.arange(n))
    return first[labels]
