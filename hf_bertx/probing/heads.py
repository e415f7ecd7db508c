"""Closed-form heads on frozen features: ridge regression, its strength by leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Strengths that are tried, on standardised features.
ALPHAS = tuple(float(10.0**k) for k in np.arange(-1, 6.5, 0.5))


@dataclass(frozen=True)
class Head:
    """A linear head on raw features: `features @ weight.T + bias`.

    Args:
        weight: of shape `(classes, features)`, or `(1, features)` for a regression.
        bias: of shape `(classes,)` or `(1,)`.
        alpha: the strength that leave-one-out chose.
    """

    weight: np.ndarray
    bias: np.ndarray
    alpha: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Answers of shape `(items, classes)` or `(items, 1)`: the largest class, and each label above 0, is given."""
        return features.astype(np.float32) @ self.weight.T.astype(np.float32) + self.bias.astype(np.float32)


def fit_head(features: np.ndarray, labels: np.ndarray, classes: int | None, weights: np.ndarray | None = None) -> Head:
    """Fits ridge regression on standardised features; for classes on targets of -1 and 1, one column a class.

    The strength is one of `ALPHAS`: the one with the least squared error when each item is left out in turn, which
    ridge regression has in closed form. Features that do not vary get the weight 0.

    Args:
        features: of shape `(items, features)`.
        labels: class numbers or targets, of shape `(items,)`; of items with several labels ones, `(items, labels)`.
        classes: how many classes the task has; None for a regression.
        weights: what the squared error of each item counts, of shape `(items,)`; None for 1.

    Raises:
        ValueError: fewer than 2 items, or all items of one class.
    """
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} training item; a head needs 2 at least")
    x: np.ndarray = features.astype(np.float64)
    mean = np.average(x, axis=0, weights=weights)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    scale[scale <= 1e-12 * np.abs(mean)] = 0.0  # a weighted mean of equal values is rounded
    x = (x - mean) / np.where(scale > 0, scale, 1.0)
    if labels.ndim == 2:
        y: np.ndarray = 2.0 * labels - 1.0
    elif classes is None:
        y = labels.astype(np.float64)[:, None]
    else:
        present = np.unique(labels)
        if len(present) < 2:
            raise ValueError(
                f"all {len(labels)} training items are of class {int(present[0])}; a head needs 2 classes"
            )
        y = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    centre = np.average(y, axis=0, weights=weights)
    coefficients, alpha = _ridge(x, y - centre, np.ones(len(y)) if weights is None else weights / weights.mean())
    weight = (coefficients / np.where(scale > 0, scale, np.inf)[:, None]).T
    return Head(weight, centre - weight @ mean, alpha)


def _ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of shape `(features, targets)` for centred `x` and `y`, and the strength with the least error of
    leave-one-out.

    The residual of a left-out item is `r / (1 - h)` with residual `r` and leverage `h` of the whole fit, to which the
    intercept adds the item's share of the weights, whose mean is 1. Source: Rifkin and Lippert 2007, Notes on
    Regularized Least Squares, MIT CSAIL.
    """
    items, features = x.shape
    root = np.sqrt(weights)[:, None]
    x, y = root * x, root * y
    if items > features:
        values, vectors = np.linalg.eigh(x.T @ x)  # (features,), (features, features)
        projected = x @ vectors  # (items, features): its columns have squared lengths `values`
        response = projected.T @ y
    else:
        values, left = np.linalg.eigh(x @ x.T)  # (items,), (items, items)
        projected = left * np.sqrt(np.maximum(values, 0.0))
        response = projected.T @ y
        vectors = x.T @ (left / np.sqrt(np.where(values > 1e-9 * values[-1], values, np.inf)))
    values = np.maximum(values, 0.0)
    squared = projected**2
    best = (np.inf, 0.0)
    for alpha in ALPHAS:
        shrunk = 1.0 / (values + alpha)
        residual = y - projected @ (shrunk[:, None] * response)
        leverage = squared @ shrunk + weights / items
        error = float(np.mean((residual / np.maximum(1.0 - leverage, 1e-12)[:, None]) ** 2))
        best = min(best, (error, alpha))
    alpha = best[1]
    return vectors @ (response / (values + alpha)[:, None]), alpha
