"""The plain baselines: scikit-learn's estimators on counts. Each takes seconds to a few minutes.

What a classifier answers with are log-probabilities; a class that no training item has gets `LOG_ZERO`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from .. import metrics
from ..tasks import Task
from .catalog import Baseline
from .features import COMMON_SYMBOLS, NgramFeatures, dipeptide_deviation, kmer_counts, one_hot, symbol_ids

LOG_ZERO = -30.0  # natural logarithm of a probability of 1e-13
_STEPS = 1000  # of the solver of logistic regression; it converges before
_DENSE_COLUMNS = 20_000  # up to here neighbours are found faster by dense products


@dataclass(frozen=True)
class Items:
    """Rows of a split: one or two columns of sequences, labels of shape `(items,)`, groups where the task votes."""

    columns: tuple[Sequence[str], ...]
    labels: np.ndarray
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Fitted:
    """What came of fitting a baseline.

    Args:
        logits: by split, of shape `(items, classes)` or `(items, 1)`.
        chosen: the candidate that was tested.
        tried: every candidate with its validation score.
        parameters: numbers that were fitted.
        more: entries of `results.json` that a network has beyond these.
    """

    logits: dict[str, np.ndarray]
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]
    parameters: int
    more: dict[str, Any]


def score(task: Task, logits: np.ndarray, items: Items) -> float:
    """The task's metric, by vote where the task votes."""
    return metrics.score(task, logits, items.labels.tolist(), items.groups)[task.metric]


def search_plain(baseline: Baseline, task: Task, train: Items, validation: Items) -> tuple[dict[str, Any], list[Any]]:
    """The candidate with the best validation score, among equals the first, and the score of each."""
    tried = []
    features: dict[str, Any] = {"of": None}
    for candidate in baseline.candidates(task):
        size = {name: value for name, value in candidate.items() if name.startswith("longest_")}
        if features["of"] != size:
            features = {"of": size, "matrices": _matrices(baseline, task, size, train, [validation])}
        logits, _ = _fit(baseline, task, candidate, features["matrices"], train.labels)
        tried.append({**candidate, f"validation_{task.metric}": score(task, logits[0], validation)})
    best = max(range(len(tried)), key=lambda i: (tried[i][f"validation_{task.metric}"], -i))
    return baseline.candidates(task)[best], tried


def fit_plain(
    baseline: Baseline, task: Task, candidate: dict[str, Any], train: Items, others: list[Items]
) -> tuple[list[np.ndarray], int]:
    """Answers of shape `(items, classes)` or `(items, 1)` for each of `others`, and the number of fitted numbers."""
    size = {name: value for name, value in candidate.items() if name.startswith("longest_")}
    return _fit(baseline, task, candidate, _matrices(baseline, task, size, train, others), train.labels)


def _matrices(baseline: Baseline, task: Task, size: dict[str, int], train: Items, others: list[Items]) -> list[Any]:
    """What the estimator reads of the training items, then of the others."""
    matrices = _features(baseline, task, size, [train, *others])
    if baseline.name != "nearest":
        return matrices
    most = max(baseline.values(task)["neighbours"])
    return [None, *_neighbours(matrices, most)]


def _features(baseline: Baseline, task: Task, size: dict[str, int], parts: list[Items]) -> list[Any]:
    if "longest_ngram" in size:
        ngrams = NgramFeatures(task, size["longest_ngram"]).fit(parts[0].columns)
        return [ngrams.transform(part.columns) for part in parts]
    if baseline.name == "majority":
        return [np.empty((len(part.labels), 0)) for part in parts]
    ids = [symbol_ids(task, part.columns[0]) for part in parts]
    common = COMMON_SYMBOLS[task.discipline]
    if "longest_kmer" in size:
        return [kmer_counts(part, size["longest_kmer"], common) for part in ids]
    if baseline.name.startswith("onehot"):
        return [one_hot(part, common) for part in ids]
    return [dipeptide_deviation(part) for part in ids]


def _neighbours(matrices: list[Any], most: int) -> list[np.ndarray]:
    """The numbers of the training items nearest by cosine, nearest first, of shape `(items, most)`, for each other."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    rows = [normalize(matrix) for matrix in matrices]
    if rows[0].shape[1] <= _DENSE_COLUMNS:
        rows = [row.toarray().astype(np.float32) for row in rows]
    # of vectors of length 1 the nearest are those with the highest cosine
    index = NearestNeighbors(n_neighbors=min(most, rows[0].shape[0]), algorithm="brute").fit(rows[0])
    return [index.kneighbors(row, return_distance=False) for row in rows[1:]]


def _fit(
    baseline: Baseline, task: Task, candidate: dict[str, Any], matrices: list[Any], labels: np.ndarray
) -> tuple[list[np.ndarray], int]:
    if baseline.name == "majority":
        return _constant(task, labels, [matrix.shape[0] for matrix in matrices[1:]])
    if baseline.name == "nearest":
        return _nearest(task, [numbers[:, : candidate["neighbours"]] for numbers in matrices[1:]], labels), 0
    if not baseline.name.startswith("tfidf"):
        matrices = _comparable(matrices)
    if task.regression:
        return _ridge(candidate["alpha"], matrices, labels)
    return _logistic(task, candidate["C"], matrices, labels)


def _constant(task: Task, labels: np.ndarray, sizes: list[int]) -> tuple[list[np.ndarray], int]:
    if task.labels is None:
        answer = np.array([labels.mean()])
    else:
        shares = np.bincount(labels, minlength=len(task.labels)) / len(labels)
        answer = np.log(np.maximum(shares, np.exp(LOG_ZERO)))
    return [np.tile(answer, (size, 1)) for size in sizes], len(answer)


def _nearest(task: Task, near: list[np.ndarray], labels: np.ndarray) -> list[np.ndarray]:
    """Mean target, or smoothed log-share of each class, among the neighbours."""
    found = [labels[numbers] for numbers in near]
    if task.labels is None:
        return [values.mean(axis=1, keepdims=True) for values in found]
    classes = np.arange(len(task.labels))
    counts = [(values[:, :, None] == classes).sum(axis=1) for values in found]
    return [np.log((count + 1 / len(classes)) / (count.sum(axis=1, keepdims=True) + 1)) for count in counts]


def _comparable(matrices: list[Any]) -> list[Any]:
    """Columns with a standard deviation of 1 among the training items, so that a rare k-mer counts as a common one."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=not sparse.issparse(matrices[0])).fit(matrices[0])
    return [scaler.transform(matrix) for matrix in matrices]


def _ridge(alpha: float, matrices: list[Any], labels: np.ndarray) -> tuple[list[np.ndarray], int]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=alpha, solver="lsqr", tol=1e-6).fit(matrices[0], labels)
    return [model.predict(matrix).reshape(-1, 1) for matrix in matrices[1:]], model.coef_.size + 1


def _logistic(task: Task, C: float, matrices: list[Any], labels: np.ndarray) -> tuple[list[np.ndarray], int]:
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) == 1:  # a small share of the data may hold one class alone
        return _constant(task, labels, [matrix.shape[0] for matrix in matrices[1:]])
    model = LogisticRegression(C=C, max_iter=_STEPS).fit(matrices[0], labels)
    answers = []
    for matrix in matrices[1:]:
        full = np.full((matrix.shape[0], len(task.labels or ())), LOG_ZERO)
        full[:, present] = np.maximum(model.predict_log_proba(matrix), LOG_ZERO)
        answers.append(full)
    return answers, model.coef_.size + model.intercept_.size
