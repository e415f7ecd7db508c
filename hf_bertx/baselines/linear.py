"""The plain baselines: scikit-learn's estimators on counts. Each takes seconds to a few minutes.

Classifiers answer with log-probabilities. A class without a training item gets `LOG_ZERO`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

from .. import metrics
from ..tasks import Task
from .catalog import Baseline
from .features import COMMON_SYMBOLS, dipeptide_deviation, kmer_counts, ngram_features, one_hot, symbol_ids

LOG_ZERO = -30.0  # natural logarithm of a probability of 1e-13
_STEPS = 1000  # of the solver of logistic regression; it converges before
_DENSE_COLUMNS = 20_000  # up to here neighbours are found faster by dense products


@dataclass(frozen=True)
class Items:
    """Rows of a split: one or two columns of sequences, labels, groups where the task votes.

    Labels are of shape `(items,)`; where an item may have several, ones of shape `(items, labels)`.
    """

    columns: tuple[Sequence[str], ...]
    labels: np.ndarray
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

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


def search_plain(baseline: Baseline, task: Task, train: Items, validation: Items) -> tuple[dict[str, Any], list[Any]]:
    """The candidate with the best validation score, among equals the first, and the score of each."""
    all_candidates, scores = baseline.candidates(task), []
    for size, candidates in groupby(all_candidates, key=_size):
        matrices = _matrices(baseline, task, size, train, [validation])
        for candidate in candidates:
            (logits,), _ = _fit(baseline, task, candidate, matrices, train.labels)
            score = metrics.score(task, logits, validation.labels.tolist(), validation.groups)
            scores.append(score[task.metric])
    tried = [{**each, f"validation_{task.metric}": score} for each, score in zip(all_candidates, scores, strict=True)]
    return all_candidates[scores.index(max(scores))], tried


def fit_plain(
    baseline: Baseline, task: Task, candidate: dict[str, Any], train: Items, others: list[Items]
) -> tuple[list[np.ndarray], int]:
    """Answers of shape `(items, classes)` or `(items, 1)` for each of `others`, and the number of fitted numbers."""
    matrices = _matrices(baseline, task, _size(candidate), train, others)
    return _fit(baseline, task, candidate, matrices, train.labels)


def _size(candidate: dict[str, Any]) -> dict[str, int]:
    """The hyperparameters that features depend on."""
    return {name: value for name, value in candidate.items() if name.startswith("longest_")}


def _matrices(baseline: Baseline, task: Task, size: dict[str, int], train: Items, others: list[Items]) -> list[Any]:
    """Feature matrices of the training items, then of the others."""
    parts = [train, *others]
    if baseline.name == "majority":
        return [np.empty((len(part.labels), 0)) for part in parts]
    if "longest_ngram" in size:
        matrices = ngram_features(task, size["longest_ngram"], [part.columns for part in parts])
    else:
        matrices = [_symbol_features(baseline, task, size, part.columns) for part in parts]
    return _neighbours(matrices, max(baseline.values(task)["neighbours"])) if baseline.name == "nearest" else matrices


def _symbol_features(baseline: Baseline, task: Task, size: dict[str, int], columns: Sequence[Sequence[str]]) -> Any:
    """Features of sequences of symbols; those of both sequences of a pair side by side."""
    ids, common = [symbol_ids(task, column) for column in columns], COMMON_SYMBOLS[task.discipline]
    if baseline.name.startswith("dde"):
        return np.hstack([dipeptide_deviation(each) for each in ids])
    if "longest_kmer" in size:
        blocks = [kmer_counts(each, size["longest_kmer"], common) for each in ids]
    else:
        blocks = [one_hot(each, common) for each in ids]
    return sparse.hstack(blocks, format="csr")


def _neighbours(matrices: list[Any], limit: int) -> list[np.ndarray]:
    """The numbers of the training items nearest by cosine, nearest first, of shape `(items, limit)`.

    They are searched once for all candidates; `KNeighborsClassifier` would search anew for each.
    """
    rows = [normalize(matrix) for matrix in matrices]
    if rows[0].shape[1] <= _DENSE_COLUMNS:
        rows = [row.toarray().astype(np.float32) for row in rows]
    # of vectors of length 1 the nearest are those with the highest cosine
    index = NearestNeighbors(n_neighbors=min(limit, rows[0].shape[0]), algorithm="brute").fit(rows[0])
    return [np.empty(0), *(index.kneighbors(row, return_distance=False) for row in rows[1:])]


def _fit(
    baseline: Baseline, task: Task, candidate: dict[str, Any], matrices: list[Any], labels: np.ndarray
) -> tuple[list[np.ndarray], int]:
    if baseline.name == "nearest":
        return [_vote(task, labels[near[:, : candidate["neighbours"]]]) for near in matrices[1:]], 0
    if task.multi_label:
        return _fit_labels(baseline, candidate, matrices, labels)
    present = np.unique(labels)  # a small share of the data may hold one class alone
    constant = baseline.name == "majority" or (task.labels is not None and len(present) == 1)
    if task.labels is None:
        model: Any = DummyRegressor() if constant else Ridge(alpha=candidate["alpha"], solver="lsqr", tol=1e-6)
    else:
        model = DummyClassifier() if constant else LogisticRegression(C=candidate["C"], max_iter=_STEPS)
    if not constant:
        matrices = _scaled(baseline, matrices)
    model.fit(matrices[0], labels)
    size = len(task.labels or "1") if constant else model.coef_.size + np.size(model.intercept_)
    if task.labels is None:
        return [model.predict(matrix).reshape(-1, 1) for matrix in matrices[1:]], size
    answers = [np.full((matrix.shape[0], len(task.labels)), LOG_ZERO) for matrix in matrices[1:]]
    with np.errstate(divide="ignore"):  # the logarithm of a probability of 0 becomes LOG_ZERO
        for answer, matrix in zip(answers, matrices[1:], strict=True):
            answer[:, present] = np.maximum(model.predict_log_proba(matrix), LOG_ZERO)
    return answers, size


def _scaled(baseline: Baseline, matrices: list[Any]) -> list[Any]:
    """Columns with a standard deviation of 1 among the training items, so that a rare k-mer counts as a common one."""
    if baseline.name.startswith("tfidf"):
        return matrices
    scaler = StandardScaler(with_mean=not sparse.issparse(matrices[0])).fit(matrices[0])
    return [scaler.transform(matrix) for matrix in matrices]


def _fit_labels(
    baseline: Baseline, candidate: dict[str, Any], matrices: list[Any], labels: np.ndarray
) -> tuple[list[np.ndarray], int]:
    """A logit for each label, from a model of its own; one that all training items agree about gets `LOG_ZERO`."""
    if baseline.name == "majority":
        answers = [np.tile(_log_odds(labels), (len(matrix), 1)) for matrix in matrices[1:]]
        return answers, labels.shape[1]
    scaled, size = _scaled(baseline, matrices), 0
    answers = [np.empty((matrix.shape[0], labels.shape[1])) for matrix in matrices[1:]]
    for number, has_label in enumerate(labels.T):
        if has_label.min() == has_label.max():
            for answer in answers:
                answer[:, number] = LOG_ZERO if has_label[0] == 0 else -LOG_ZERO
            continue
        model = LogisticRegression(C=candidate["C"], max_iter=_STEPS).fit(scaled[0], has_label)
        size += model.coef_.size + 1
        for answer, matrix in zip(answers, scaled[1:], strict=True):
            answer[:, number] = model.decision_function(matrix)
    return answers, size


def _log_odds(labels: np.ndarray) -> np.ndarray:
    """Smoothed log-odds of each label among items of shape `(..., items, labels)`."""
    count, items = labels.sum(axis=-2), labels.shape[-2]
    return np.log((count + 0.5) / (items - count + 0.5))


def _vote(task: Task, labels: np.ndarray) -> np.ndarray:
    """Mean target, or smoothed log-share of each class, among neighbours of shape `(items, neighbours)`.

    Where an item may have several labels, of shape `(items, neighbours, labels)`: their log-odds.
    """
    if task.multi_label:
        return _log_odds(labels)
    if task.labels is None:
        return labels.mean(axis=1, keepdims=True)
    classes = np.arange(len(task.labels))
    count = (labels[:, :, None] == classes).sum(axis=1)
    return np.log((count + 1 / len(classes)) / (count.sum(axis=1, keepdims=True) + 1))
