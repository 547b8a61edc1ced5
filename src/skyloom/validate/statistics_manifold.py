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
    own: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
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
    own : (ndarray, ndarray), optional
        Labels of the simulated and of the held-out galaxies: a simulated galaxy is not compared with held-out ones of
        its own label, whose conditions it was asked for and which it is therefore near to.

    Returns
    -------
    share, error : float
        The error is binomial, in the number of the held-out galaxies or of the simulated ones if fewer.
    """
    size = min(len(train), len(held_out))
    if size == 0 or len(model) == 0:
        return float("nan"), float("nan")
    mine, theirs = own if own is not None else (np.full(len(model), -1), np.arange(len(held_out)))
    shares = []
    for _ in range(repeats if len(train) != len(held_out) else 1):
        t = train[rng.choice(len(train), size, replace=False)]
        rows = rng.choice(len(held_out), size, replace=False)
        to_train, to_held_out = cKDTree(t).query(model)[0], _nearest_other(model, held_out[rows], mine, theirs[rows])
        shares.append(((to_train < to_held_out) + 0.5 * (to_train == to_held_out)).mean())
    return float(np.mean(shares)), 0.5 / float(np.sqrt(min(len(model), size)))


def _nearest_other(
    points: NDArray[np.float64], others: NDArray[np.float64], mine: NDArray[np.int64], theirs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of each point to the nearest of the others that is not of its own label."""
    most = int(np.unique(theirs, return_counts=True)[1].max())  # so many may be of the own label
    distance, index = cKDTree(others).query(points, list(range(1, min(most + 1, len(others)) + 1)))
    return np.asarray(np.where(theirs[index] == mine[:, None], np.inf, distance).min(axis=1))
