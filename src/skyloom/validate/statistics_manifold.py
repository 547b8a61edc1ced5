"""Realism and variety apart, and whether samples are copies of the training set: by nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["ManifoldScores", "manifold_scores", "memorised_share"]


@dataclass(frozen=True)
class ManifoldScores:
    """See `manifold_scores`."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(real: NDArray[np.float64], model: NDArray[np.float64], k: int = 5) -> ManifoldScores:
    """Precision, recall, density and coverage with balls that reach to the k-th neighbour in the same sample.

    Precision is the share of simulated galaxies within the ball of some real one, recall the share of real
    ones within the ball of some simulated one (Kynkaanniemi et al. 2019, NeurIPS 32). Density is the mean
    number of real balls a simulated galaxy lies in over k, and coverage the share of real balls with a
    simulated galaxy in them (Naeem et al. 2020, ICML, PMLR 119, 7176). For equal distributions density is 1
    and coverage 1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k)) for n galaxies each, 0.97 for k = 5.

    Parameters
    ----------
    real, model : ndarray, shapes (n, D) and (m, D)
        More than k rows each, in comparable units (`skyloom.validate.statistics_joint.standardise`).
    k : int

    Returns
    -------
    ManifoldScores
    """
    real_tree, model_tree = cKDTree(real), cKDTree(model)
    real_reach = real_tree.query(real, k + 1)[0][:, -1]
    model_reach = model_tree.query(model, k + 1)[0][:, -1]
    inside_real = np.zeros(len(model), dtype=int)
    covered = np.zeros(len(real), dtype=bool)
    for i, hits in enumerate(model_tree.query_ball_point(real, real_reach)):
        inside_real[hits] += 1
        covered[i] = bool(hits)
    recalled = np.zeros(len(real), dtype=bool)
    for hits in real_tree.query_ball_point(model, model_reach):
        recalled[hits] = True
    return ManifoldScores(
        precision=float((inside_real > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside_real.mean() / k),
        coverage=float(covered.mean()),
    )


def memorised_share(
    model: NDArray[np.float64],
    train: NDArray[np.float64],
    held_out: NDArray[np.float64],
    rng: np.random.Generator,
    repeats: int = 20,
) -> tuple[float, float]:
    """Share of simulated galaxies that lie nearer to a training galaxy than to any held-out one.

    As many training galaxies as held-out ones take part, drawn anew each time: 0.5 when the model has learned
    the distribution, more when it has learned the galaxies (the idea of Meehan et al. 2020, AISTATS, PMLR
    108, 3546, with equal sizes instead of a reference).

    Parameters
    ----------
    model, train, held_out : ndarray, shapes (m, D), (t, D) and (h, D)
    rng : numpy.random.Generator
    repeats : int
        Draws from the larger of training and held-out galaxies.

    Returns
    -------
    share, error : float
        The error is binomial, in the number of the held-out galaxies or of the simulated ones if fewer.
    """
    size = min(len(train), len(held_out))
    if size == 0 or len(model) == 0:
        return float("nan"), float("nan")
    shares = []
    for _ in range(repeats if len(train) != len(held_out) else 1):
        t, h = (s[rng.choice(len(s), size, replace=False)] for s in (train, held_out))
        to_train, to_held_out = cKDTree(t).query(model)[0], cKDTree(h).query(model)[0]
        shares.append(((to_train < to_held_out) + 0.5 * (to_train == to_held_out)).mean())
    return float(np.mean(shares)), 0.5 / float(np.sqrt(min(len(model), size)))
