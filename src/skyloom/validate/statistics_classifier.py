"""Whether a classifier can tell simulated from real galaxies."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["classifier_auc"]


def classifier_auc(
    real: NDArray[np.float64],
    model: NDArray[np.float64],
    real_groups: NDArray[np.int64],
    model_groups: NDArray[np.int64],
    kind: Literal["logistic", "forest"] = "logistic",
    folds: int = 5,
    seed: int = 0,
) -> tuple[float, float]:
    """Area under the ROC curve of a cross-validated classifier two-sample test.

    Lopez-Paz & Oquab 2017 (ICLR). A galaxy and its own counterpart are in the same fold: else the
    classifier could know from one which conditions the other has. Both classes weigh the same. 0.5: no
    better than chance; 1: always right.

    Parameters
    ----------
    real, model : ndarray, shapes (n, D) and (m, D)
    real_groups, model_groups : ndarray, shapes (n,) and (m,)
        A galaxy's id, the same for its counterpart.
    kind : {"logistic", "forest"}
        Logistic regression, or a random forest of 200 trees.
    folds : int
    seed : int
        Of the folds and trees.

    Returns
    -------
    auc, error : float
        Mean over the folds, and the error of that mean from their scatter.
    """
    from sklearn.metrics import roc_auc_score

    features = np.concatenate([real, model])
    labels = np.concatenate([np.zeros(len(real), int), np.ones(len(model), int)])
    groups = np.concatenate([real_groups, model_groups])
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(len(names)) % folds
    fold = order[np.searchsorted(names, groups)]
    scores = []
    for i in range(folds):
        test = fold == i
        if len(np.unique(labels[test])) < 2 or len(np.unique(labels[~test])) < 2:
            continue
        classifier = _classifier(kind, seed)
        classifier.fit(features[~test], labels[~test])
        scores.append(roc_auc_score(labels[test], classifier.predict_proba(features[test])[:, 1]))
    if not scores:
        return float("nan"), float("nan")
    error = float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else float("nan")
    return float(np.mean(scores)), error


def _classifier(kind: str, seed: int) -> Any:
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    if kind == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(200, min_samples_leaf=3, class_weight="balanced", random_state=seed, n_jobs=1)
    raise ValueError(f"no classifier '{kind}'; there are logistic and forest")
