"""Scores of resampled test items, all resamples and all runs at once.

A resample is a row of weights: how many times each item was drawn. A metric of a resample is then a few products of
matrices, where a loop over `metrics.METRICS` would take minutes. Items of a group are drawn together: near copies are
no independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

_CHUNK = 500_000  # weights in memory at once
_Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def resampled_scores(
    metric: str,
    truth: np.ndarray,
    predictions: np.ndarray,
    resamples: int,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """A metric of each run on each resample of the test items. The same resamples are used for all runs.

    Args:
        truth: class numbers or targets of shape `(items,)`; of items with several labels ones, `(items, labels)`.
        predictions: `(runs, items)` or `(runs, items, labels)`.
        resamples: how many times as many items are drawn as there are, with replacement.
        groups: of each item, where items have them: then as many whole groups are drawn as there are.

    Returns:
        Scores of shape `(resamples, runs)`, as fractions.

    Raises:
        ValueError: a metric that cannot be resampled, or shapes that do not belong together.
    """
    known = _OF_LABELS if truth.ndim == 2 else RESAMPLED
    if metric not in known:
        raise ValueError(f"metric {metric!r} cannot be resampled; allowed: {', '.join(known)}")
    if predictions.ndim != truth.ndim + 1 or predictions.shape[1:] != truth.shape or not len(truth):
        raise ValueError(f"truth {truth.shape} and predictions {predictions.shape} must be (items,) and (runs, items)")
    score = known[metric]
    draws = _draws(range(len(truth)) if groups is None else groups, resamples, seed)
    return np.concatenate([score(weights, truth, predictions) for weights in draws])


def _draws(groups: Sequence[object], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights of shape `(some, items)`: how often the group of each item was drawn."""
    numbers: dict[object, int] = {}
    group_of = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    count = len(numbers)
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK // len(group_of))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = generator.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        yield weights[:, group_of]


def _drawn(weights: np.ndarray) -> np.ndarray:
    """How many items each resample has, of shape `(resamples, 1)`."""
    return weights.sum(axis=1, keepdims=True)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _accuracy(weights: np.ndarray, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return weights @ (predictions == truth).T.astype(np.float64) / _drawn(weights)


def _of_counts(score: _Score, weights: np.ndarray, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """A score of how often each class was right, was true and was predicted, three of `(resamples, classes)`."""
    classes = np.arange(max(truth.max(), predictions.max()) + 1)
    is_true = (truth[:, None] == classes).astype(np.float64)
    true = weights @ is_true
    columns = []
    for predicted in predictions:
        hit = weights @ (is_true * (predicted == truth)[:, None])
        columns.append(score(hit, true, weights @ (predicted[:, None] == classes).astype(np.float64)))
    return np.stack(columns, axis=1)


def _f1(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    if hit.shape[1] > 2:
        raise ValueError("f1 is of two classes, numbered 0 and 1")
    return _ratio(2 * hit, true + predicted)[:, -1] if hit.shape[1] == 2 else np.zeros(len(hit))


def _macro_f1(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    seen = (true + predicted > 0).sum(axis=1)  # a class that a resample neither holds nor predicts does not count
    return _ratio(2 * hit, true + predicted).sum(axis=1) / seen


def _balanced_accuracy(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(hit, true).sum(axis=1) / (true > 0).sum(axis=1)


def _mcc(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    items = true.sum(axis=1)
    shared = hit.sum(axis=1) * items - (true * predicted).sum(axis=1)
    spread = (items**2 - (predicted**2).sum(axis=1)) * (items**2 - (true**2).sum(axis=1))
    return _ratio(shared, np.sqrt(np.maximum(spread, 0.0)))


def _pearson(weights: np.ndarray, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    items = _drawn(weights)
    y = truth - truth.mean()
    x = (predictions - predictions.mean(axis=1, keepdims=True)).T  # centred, so that no digits cancel
    mean_y, mean_x = (weights @ y)[:, None] / items, weights @ x / items
    shared = weights @ (x * y[:, None]) / items - mean_x * mean_y
    spread = (weights @ x**2 / items - mean_x**2) * ((weights @ y**2)[:, None] / items - mean_y**2)
    return _ratio(shared, np.sqrt(np.maximum(spread, 0.0)))


def _spearman(weights: np.ndarray, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    order = np.argsort(truth, kind="stable")
    true_ranks = np.empty_like(weights)
    true_ranks[:, order] = _centred_ranks(weights[:, order], truth[order])
    true_spread = np.einsum("bi,bi,bi->b", weights, true_ranks, true_ranks)
    true_ranks *= weights
    columns = []
    for predicted in predictions:
        order = np.argsort(predicted, kind="stable")
        drawn = weights[:, order]
        ranks = _centred_ranks(drawn, predicted[order])
        shared = np.einsum("bi,bi->b", ranks, true_ranks[:, order])
        columns.append(_ratio(shared, np.sqrt(np.einsum("bi,bi,bi->b", drawn, ranks, ranks) * true_spread)))
    return np.stack(columns, axis=1)


def _centred_ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Ranks within each resample minus their mean; equal values share the mean of their ranks.

    Args:
        weights: `(resamples, items)`, items in the order of `values`.
        values: sorted.
    """
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    ties = len(starts) < len(values)
    drawn = np.add.reduceat(weights, starts, axis=1) if ties else weights
    ranks = np.cumsum(drawn, axis=1)
    ranks -= drawn / 2  # the middle of those of a value: (before + 1 + before + drawn) / 2, less (items + 1) / 2
    ranks -= _drawn(weights) / 2
    return np.repeat(ranks, np.diff(np.r_[starts, len(values)]), axis=1) if ties else ranks


# the same names as `metrics.METRICS`
RESAMPLED: dict[str, _Score] = {
    "accuracy": _accuracy,
    "balanced_accuracy": partial(_of_counts, _balanced_accuracy),
    "f1": partial(_of_counts, _f1),
    "macro_f1": partial(_of_counts, _macro_f1),
    "mcc": partial(_of_counts, _mcc),
    "spearman": _spearman,
    "pearson": _pearson,
}


def _label_f1(micro: bool, weights: np.ndarray, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    right = predictions.astype(bool) & truth.astype(bool)
    counted = predictions.astype(np.float64) + truth
    if micro:  # all labels as one
        right, counted = right.sum(-1, keepdims=True), counted.sum(-1, keepdims=True)
    hit, total = (np.tensordot(weights, each, axes=(1, 1)) for each in (right, counted))  # (resamples, runs, labels)
    return _ratio(2 * hit, total).mean(axis=-1)


_OF_LABELS = {"micro_f1": partial(_label_f1, True), "macro_f1": partial(_label_f1, False)}
