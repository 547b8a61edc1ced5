"""Metrics of many quantities at once."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import (
    draws,
    feature_matrix,
    galaxies_in,
    galaxy_labels,
    generator_of,
    resolved_rows,
)
from skyloom.validate.statistics_classifier import classifier_auc
from skyloom.validate.statistics_joint import maximum_mean_discrepancy, sliced_wasserstein, standardise
from skyloom.validate.statistics_manifold import manifold_scores, memorised_share
from skyloom.validate.statistics_score import bootstrap, half_floor, random_halves, score

__all__ = ["NEIGHBOURS", "joint_metrics"]

NEIGHBOURS = 5
"""The k of precision, recall, density and coverage."""

Kind = Literal["logistic", "forest"]

_FEWEST = 4 * NEIGHBOURS
_CLASSIFIERS: tuple[tuple[Kind, str], ...] = (
    ("logistic", "logistic regression"),
    ("forest", "random forest"),
)
_KYNK = "Kynkaanniemi et al. 2019, NeurIPS 32"
_NAEEM = "Naeem et al. 2020, PMLR 119, 7176"
_LOPEZ = "Lopez-Paz & Oquab 2017, ICLR"


def joint_metrics() -> list[Metric]:
    """Give the joint metrics and that of memorisation."""
    group = "joint"
    return [
        Metric(
            "sliced_wasserstein",
            _sliced,
            "all features at once, along random directions",
            "mean over directions d of W1(real . d, model . d), features standardised",
            "Rabin et al. 2011, LNCS 6667, 435",
            label="sliced Wasserstein",
            group=group,
        ),
        Metric(
            "mmd",
            _mmd,
            "all features at once, through a Gaussian kernel; `p` from permutations",
            "E k(x, x') + E k(y, y') - 2 E k(x, y), unbiased, width of k the median distance",
            "Gretton et al. 2012, JMLR 13, 723",
            better="zero",
            label="maximum mean discrepancy",
            group=group,
        ),
        *(
            Metric(
                f"auc_{kind}{suffix}",
                partial(compute, kind),
                f"how well a {name} tells {what}",
                formula,
                _LOPEZ,
                better="half",
                label=f"classifier ({name}){where}",
                group=group,
            )
            for suffix, where, compute, what, formula in (
                (
                    "",
                    "",
                    _auc,
                    "simulated from real galaxies; 0.5 is not at all",
                    "area under the ROC curve, five folds, counterparts in one fold",
                ),
                (
                    "_resolved",
                    ", resolved",
                    _auc_resolved,
                    "them among galaxies whose half-light radius is the PSF's full width or more",
                    "as above; below that width stamps differ by how they were sampled",
                ),
            )
            for kind, name in _CLASSIFIERS
        ),
        *(
            Metric(
                name,
                partial(_manifold, name),
                summary,
                formula,
                reference,
                better=better,
                label=name,
                group=group,
            )
            for name, summary, formula, reference, better in (
                (
                    "precision",
                    "share of simulated galaxies that look real",
                    "P(y in a real ball)",
                    _KYNK,
                    "higher",
                ),
                (
                    "recall",
                    "share of real galaxies the model can make",
                    "P(x in a simulated ball)",
                    _KYNK,
                    "higher",
                ),
                (
                    "density",
                    "how densely real galaxies surround simulated ones",
                    "E(real balls at y) / k",
                    _NAEEM,
                    "one",
                ),
                (
                    "coverage",
                    "share of real galaxies with a simulated one near",
                    "P(ball of x holds a y)",
                    _NAEEM,
                    "higher",
                ),
            )
        ),
        Metric(
            "memorisation",
            _memorisation,
            "share of simulated galaxies nearer to a training galaxy than to a held-out real one",
            "P(d(y, train) < d(y, held out)), as many of each",
            "Meehan, Chaudhuri & Dasgupta 2020, PMLR 108, 3546",
            better="half",
            label="memorisation",
            group="memorisation",
        ),
    ]


_Matrix = NDArray[np.float64]


def _features(real: Table, model: Table) -> tuple[_Matrix, _Matrix, Table, Table, dict[str, float]]:
    """Standardised features, the rows they are of, and how many rows were used and left out."""
    (x, rows), (y, others) = feature_matrix(real), feature_matrix(model)
    counts: dict[str, float] = {
        "n_real": len(rows),
        "n_model": len(others),
        "left_out_real": len(real) - len(rows),
        "left_out_model": len(model) - len(others),
    }
    if min(len(rows), len(others)) >= _FEWEST:
        x, y = standardise(x, y)
    return x, y, real[rows], model[others], counts


def _sliced(real: Table, model: Table, **context: Any) -> dict[str, float]:
    x, y, real, model, counts = _features(real, model)
    if min(len(x), len(y)) < _FEWEST:
        return score(float("nan"), **counts)
    labels = galaxy_labels(real, model)

    def distance(a: _Matrix, b: _Matrix) -> float:
        return sliced_wasserstein(a, b, generator_of(context, 10), 50)

    rng = generator_of(context, 11)
    error = bootstrap(lambda i, j: distance(x[i], y[j]), *labels, rng, 40).std()
    floor, floor_error = half_floor(lambda i, j: distance(x[i], x[j]), labels[0], galaxies_in(model), rng)
    return score(distance(x, y), float(error), floor, floor_error, **counts)


def _mmd(real: Table, model: Table, **context: Any) -> dict[str, float]:
    x, y, real, model, counts = _features(real, model)
    if min(len(x), len(y)) < _FEWEST:
        return score(float("nan"), **counts)
    value, p, null = maximum_mean_discrepancy(x, y, generator_of(context, 12), labels=galaxy_labels(real, model))
    return score(value, null, null, p=p, **counts)


def _auc(kind: Kind, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor is one sigma above 0.5 for samples of one parent, sqrt((n + m + 1) / (12 n m)), n and m galaxies.

    Mann & Whitney 1947, Ann. Math. Stat. 18, 50.
    """
    x, y, real, model, counts = _features(real, model)
    if min(len(x), len(y)) < _FEWEST:
        return score(float("nan"), **counts)
    ids, others = galaxy_labels(real, model)
    value, error = classifier_auc(x, y, ids, others, kind, seed=int(context.get("seed", 0)))
    n, m = galaxies_in(real), galaxies_in(model)
    return score(value, error, 0.5 + float(np.sqrt((n + m + 1) / (12 * n * m))), **counts)


def _auc_resolved(kind: Kind, real: Table, model: Table, **context: Any) -> dict[str, float]:
    large, others = resolved_rows(real, model)
    return _auc(kind, real[large], model[others], **context)


def _manifold(name: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor comes from halves of the real galaxies, the error from halves of the simulated ones."""
    x, y, real, model, counts = _features(real, model)
    if min(len(x), len(y)) < _FEWEST:
        return score(float("nan"), **counts)
    rng, (of_x, of_y) = generator_of(context, 13), galaxy_labels(real, model)
    halves = []
    for _ in range(8):
        first, second = random_halves(of_x, rng)
        neighbours = min(NEIGHBOURS, len(first) - 1, len(second) - 1)
        halves.append(getattr(manifold_scores(x[first], x[second], neighbours), name))
    # one draw of each galaxy at a time: the balls depend on how many there are
    mine = [rows for rows in draws(model) if len(rows) >= _FEWEST]
    if not mine:
        return score(float("nan"), **counts)
    value = float(np.mean([getattr(manifold_scores(x, y[rows], NEIGHBOURS), name) for rows in mine]))
    # halves of the simulated sample, not a bootstrap: doubled rows would be each other's nearest neighbours
    parts = [
        np.mean([getattr(manifold_scores(x, y[r[random_halves(of_y[r], rng)[0]]], NEIGHBOURS), name) for r in mine])
        for _ in range(8)
    ]
    return score(value, float(np.std(parts)), float(np.mean(halves)), float(np.std(halves)), **counts)


def _memorisation(real: Table, model: Table, **context: Any) -> dict[str, float]:
    """Takes ``train`` from the context; `real` are the held-out galaxies. NaN without it."""
    train = context.get("train")
    if train is None:
        return score(float("nan"))
    (held_out, rows), (made, others) = feature_matrix(real), feature_matrix(model)
    known = feature_matrix(train)[0]
    if min(len(held_out), len(made), len(known)) < _FEWEST:
        return score(float("nan"), n_real=len(held_out), n_model=len(made), n_train=len(known))
    held_out, made, known = standardise(held_out, made, known)
    theirs, mine = galaxy_labels(real[rows], model[others])
    value, error = memorised_share(made, known, held_out, generator_of(context, 14), own=(mine, theirs))
    return score(value, error, 0.5 + error, n_real=len(held_out), n_model=len(made), n_train=len(known))
