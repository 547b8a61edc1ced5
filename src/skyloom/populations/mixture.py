"""A Gaussian mixture, and its draws under a condition on one linear combination of the coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixture"]

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussian mixture of K components in D dimensions.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum to 1.
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
    """

    weights: Column
    means: Column
    covariances: Column

    @cached_property
    def roots(self) -> Column:
        """Lower Cholesky factors, shape (K, D, D)."""
        return np.asarray(np.linalg.cholesky(self.covariances), dtype=np.float64)

    def log_components(self, x: Column) -> Column:
        """Log of weight times density of each component at `x` (N, D), shape (N, K)."""
        out = np.empty((len(x), len(self.weights)))
        for k, (weight, mean, root) in enumerate(zip(self.weights, self.means, self.roots, strict=True)):
            r = np.linalg.solve(root, (x - mean).T)
            out[:, k] = np.log(weight) - 0.5 * (r**2).sum(axis=0) - np.log(np.diag(root)).sum()
        return out - 0.5 * x.shape[1] * np.log(2 * np.pi)

    def log_density(self, x: Column) -> Column:
        """Log of the density at `x` (N, D), shape (N,)."""
        return np.asarray(np.logaddexp.reduce(self.log_components(x), axis=1))

    def given(self, value: Column, direction: Column, uniform: Column, normals: Column) -> Column:
        """Draws x with ``direction @ x == value``, one a row, shape (N, D).

        A component is chosen by its probability under the condition; a draw of it is then moved along the
        covariance with the condition (Matheron's rule, Journel & Huijbregts 1978), which gives the conditional
        normal distribution exactly.

        Parameters
        ----------
        value : ndarray, shape (N,)
        direction : ndarray, shape (D,)
        uniform : ndarray, shape (N,)
            In [0, 1).
        normals : ndarray, shape (N, D)
            Standard normal.
        """
        along = self.covariances @ direction
        variance = along @ direction
        centre = self.means @ direction
        logs = np.log(self.weights) - 0.5 * np.log(variance) - 0.5 * (value[:, None] - centre) ** 2 / variance
        share = np.exp(logs - logs.max(axis=1, keepdims=True))
        cumulative = np.cumsum(share, axis=1)
        chosen = np.minimum((uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1), len(self.weights) - 1)
        x = self.means[chosen] + np.einsum("nij,nj->ni", self.roots[chosen], normals)
        return x + (along / variance[:, None])[chosen] * (value - x @ direction)[:, None]
