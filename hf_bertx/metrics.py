"""Metrics of predictions, and voting over the segments of a piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .tasks import Task

Metric = Callable[[np.ndarray, np.ndarray], float]


def _of_sklearn(name: str, **options: str) -> Metric:
    def measured(predictions: np.ndarray, references: np.ndarray) -> float:
        from sklearn import metrics  # imported late, so that training starts sooner

        return float(getattr(metrics, name)(references, predictions, **options))

    return measured


def _correlation(name: str) -> Metric:
    """0.0 if one side is constant: a model that always gives the same answer ranks nothing."""

    def measured(predictions: np.ndarray, references: np.ndarray) -> float:
        from scipy import stats  # imported late, as above

        if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return 0.0
        return float(getattr(stats, name)(predictions, references).statistic)

    return measured


def _balanced_accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """The mean over the classes of the references of the share that was recognised."""
    from sklearn.metrics import recall_score

    # balanced_accuracy_score warns of classes that are predicted and not there
    return float(recall_score(references, predictions, labels=np.unique(references), average="macro"))


def _matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """0.0 where all answers and all references are one class, of which sklearn warns."""
    if np.ptp(predictions) == 0 and np.array_equal(predictions, references):
        return 0.0
    return _of_sklearn("matthews_corrcoef")(predictions, references)


def average_precision(scores: np.ndarray, references: np.ndarray) -> float:
    """The area under the precision-recall curve (AUPRC), the mean over classes, each against all others.

    Args:
        scores: of shape `(items, classes)`: the higher, the likelier is the class.
        references: class numbers of shape `(items,)`, or rows of 0 and 1 for items with several labels. A class
            without an item is left out, one without scores is refused; 0.0 where no item has a label.
    """
    from sklearn.metrics import average_precision_score

    of_class = references if references.ndim == 2 else references[:, None] == np.arange(scores.shape[1])
    if references.ndim == 1 and not (known := of_class.any(axis=1)).all():
        raise ValueError(
            f"auprc: reference {references[~known][0]:g} has no scores; there are those of {scores.shape[1]} classes"
        )
    each = [average_precision_score(of_class[:, i], scores[:, i]) for i in np.flatnonzero(of_class.any(axis=0))]
    return float(np.mean(each)) if each else 0.0


# name -> function of (predictions, references), each of shape (items,)
METRICS: dict[str, Metric] = {
    "accuracy": _of_sklearn("accuracy_score"),
    "f1": _of_sklearn("f1_score"),
    "macro_f1": _of_sklearn("f1_score", average="macro"),
    "micro_f1": _of_sklearn("f1_score", average="micro"),
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _matthews,
    "spearman": _correlation("spearmanr"),
    "pearson": _correlation("pearsonr"),
}
# Of the scores of all classes, in place of the class that was chosen.
SCORED: dict[str, Metric] = {"auprc": average_precision}


def evaluate_module() -> str:
    """The folder of the metric module that `evaluate.load` takes: `evaluate.load(evaluate_module(), "mcc")`.

    The second argument is a metric's name, or a task's, which gives all metrics of the task. Nothing is downloaded.
    """
    return str(Path(__file__).parent / "discipline_metric")


def compute(name: str, predictions: Sequence[float] | np.ndarray, references: Sequence[float] | np.ndarray) -> float:
    """One metric, as a fraction (0.96, not 96).

    Args:
        name: a key of `hf_bertx.metrics.METRICS`, e.g. `accuracy`, `mcc`, `macro_f1`, `spearman`.
        predictions: class numbers or values, of shape `(items,)`; of several labels an item, `(items, labels)`.
        references: the truth, of the same shape.

    Example:
        ```python
        >>> compute("accuracy", [0, 1, 1, 0], [0, 1, 0, 0])
        0.75
        ```

    Raises:
        ValueError: an unknown metric, no items, counts that differ, or a value that is not a number.
    """
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    predicted, true = np.asarray(predictions), np.asarray(references)
    if predicted.shape != true.shape or predicted.ndim not in (1, 2) or not len(predicted):
        raise ValueError(
            f"{name}: predictions {predicted.shape} and references {true.shape} must be as many, at least 1"
        )
    if predicted.ndim == 2 and name not in ("accuracy", "macro_f1", "micro_f1"):
        raise ValueError(f"{name} is of one answer an item; of several labels, allowed: accuracy, macro_f1, micro_f1")
    for what, values in (("prediction", predicted), ("reference", true)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {what} {int(np.argmin(np.isfinite(values)))} is not a number")
    return METRICS[name](predicted, true)


def names_of_pieces(pieces: Sequence[str | None], ids: Iterable[Any] | None = None) -> list[str]:
    """The piece that each segment votes for. A segment without a piece votes alone.

    Args:
        pieces: None or `""` for a segment that belongs to no piece.
        ids: of the segments, after which those that vote alone are named; by default their numbers.
    """
    alone = range(len(pieces)) if ids is None else ids
    return [piece or f"\0{key}" for piece, key in zip(pieces, alone, strict=True)]


def mean_answers(logits: np.ndarray, owners: np.ndarray, regression: bool, multi_label: bool = False) -> np.ndarray:
    """One answer an item from several readings of it: the mean of values, or of probabilities, as logits again.

    Args:
        logits: of each reading, shape `(readings, classes)`, or `(readings, 1)` for a regression.
        owners: the item that each reading is of, 0 to the number of items - 1, shape `(readings,)`.

    Returns:
        float32 of shape `(items, classes)`, or `(items, 1)`.
    """
    from scipy.special import expit, log_softmax, logit

    answers: np.ndarray = logits.reshape(len(logits), -1).astype(np.float64)
    if not regression:
        answers = expit(answers) if multi_label else np.exp(log_softmax(answers, axis=1))
    counts = np.bincount(owners)
    mean: np.ndarray = np.zeros((len(counts), answers.shape[1]))
    np.add.at(mean, owners, answers)
    mean /= counts[:, None]
    if multi_label:
        return logit(np.clip(mean, 1e-12, 1 - 1e-12)).astype(np.float32)
    return (mean if regression else np.log(np.maximum(mean, np.finfo(np.float32).tiny))).astype(np.float32)


def constant_answer_loss(
    labels: np.ndarray, regression: bool, balanced: bool = False, smoothing: float = 0.0, classes: int = 0
) -> float:
    """The training loss of the best constant answer: the entropy of the classes (natural logarithm), or the variance
    of the targets.

    Args:
        labels: class numbers or targets of the training items; of several labels an item, rows of `label_rows`.
        balanced: every class has the same weight in the loss.
        smoothing: `label_smoothing_factor`, the share of each label that is spread evenly over all classes.
        classes: how many there are; by default as many as `labels` has.
    """
    if labels.ndim == 2:
        rates = labels.mean(axis=0)
        both = np.stack([rates, 1 - rates])
        return float(-(both * np.log(np.where(both > 0, both, 1))).sum(axis=0).mean())
    if regression:
        return float(labels.var())
    counts = np.bincount(labels, minlength=classes)
    of_loss = (1 - smoothing) * counts / len(labels) + smoothing / len(counts)
    if balanced:
        of_loss *= balanced_weights(labels, len(counts))
    of_loss = of_loss[of_loss > 0]
    return float(-(of_loss * np.log(of_loss / of_loss.sum())).sum())


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights, `(classes,)`: each class weighs the same in all, and an item 1 on average; a class without items has 1.

    Args:
        labels: class numbers of the training items.
    """
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)


def constant_answer(truth: np.ndarray, predictions: np.ndarray, regression: bool) -> bool:
    """Whether a run collapsed: it gives every item one class or the same labels, or values that differ by less than a
    thousandth of the targets' standard deviation."""
    if regression:
        return bool(np.ptp(predictions) <= 1e-3 * truth.std())
    return bool((predictions == predictions[0]).all())


def vote(predictions: np.ndarray, groups: Sequence[str]) -> dict[str, int]:
    """The class most segments of each group were given; among equally many, the lowest number wins.

    Source: the paper, appendix G.4: "we inference on all the segments and decide the final output by voting".

    Args:
        predictions: class numbers of shape `(segments,)`.
        groups: the piece of each segment.
    """
    votes: dict[str, list[int]] = defaultdict(list)
    for group, prediction in zip(groups, predictions, strict=True):
        votes[group].append(int(prediction))
    return {group: int(np.bincount(cast).argmax()) for group, cast in votes.items()}


def score(
    task: Task, logits: np.ndarray, references: Sequence[float] | np.ndarray, groups: Sequence[str] | None
) -> dict[str, float]:
    """All metrics of a task, of answers as a run's folder holds them: in float32, which may make two of them equal.

    Args:
        logits: `(items, classes)`, or `(items, 1)` or `(items,)` for a regression.
        references: class numbers or targets, of shape `(items,)`.
        groups: the piece of each item, where the task votes.

    Raises:
        ValueError: the task votes and there are no groups, the segments of a piece disagree about its class, or an
            answer is not a number.
    """
    from scipy.special import log_softmax

    true, logits = np.asarray(references), np.asarray(logits, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1))
    if len(bad):
        raise ValueError(f"item {bad[0]}: the model answers with what is not a number (nan or infinity)")
    predicted = logits.reshape(-1) if task.regression else logits > 0 if task.multi_label else logits.argmax(axis=-1)
    if not task.votes:
        # a logit of one class says nothing without those of the others; several labels are independent
        sure = logits if task.multi_label else log_softmax(logits.astype(np.float64), axis=-1)
        return {
            name: SCORED[name](sure, true) if name in SCORED else compute(name, predicted, true)
            for name in task.metrics
        }
    if groups is None:
        raise ValueError(f"task {task.name} votes over the segments of a piece, and the data has no `group` column")
    groups = names_of_pieces(groups)
    truth: dict[str, float] = {}
    for group, reference in zip(groups, true, strict=True):
        if truth.setdefault(group, reference) != reference:
            raise ValueError(f"the segments of {group!r} have two classes: {truth[group]} and {reference}")
    voted = vote(predicted, groups)
    pieces = list(truth)
    scores = {name: compute(name, [voted[p] for p in pieces], [truth[p] for p in pieces]) for name in task.metrics}
    return {**scores, "segment_accuracy": compute("accuracy", predicted, true)}


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy.

    Args:
        error: expected calibration error: mean distance of the two over bins, weighted by items.
        bins: `(mean confidence, accuracy, items)` of each bin that has items, from low to high confidence.
    """

    error: float
    bins: tuple[tuple[float, float, int], ...]


def calibration(logits: np.ndarray, truth: np.ndarray, bins: int = 15) -> Calibration:
    """Of the class that each item was given, with the softmax of its logits as confidence.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", with bins of equal width.

    Args:
        logits: `(items, classes)`.
        truth: class numbers, `(items,)`.
    """
    from scipy.special import softmax

    confidence = softmax(logits.astype(np.float64), axis=1).max(axis=1)
    right = logits.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count, sure, good = (
        np.bincount(place, weights=values, minlength=bins) for values in (np.ones(len(truth)), confidence, right)
    )
    error = float(np.abs(sure - good).sum() / len(truth))
    filled = np.flatnonzero(count)
    return Calibration(
        error, tuple((float(sure[i] / count[i]), float(good[i] / count[i]), int(count[i])) for i in filled)
    )
