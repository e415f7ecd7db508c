"""Intervals, tests of two arms, floors, computed from predictions. Reads no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .. import metrics

LEVEL = 0.95  # of intervals
SIGNIFICANT = 0.05  # the p-value below which a difference counts
RESAMPLES = 2000
_ROUNDING = 1e-12  # equal scores may differ by less, as sums in another order


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; `over` says what was drawn anew: `seeds` (a t interval), `test items` or `test groups`."""

    low: float
    high: float
    over: str


def seed_interval(scores: Sequence[float], lowest: float = -1.0, highest: float = 1.0) -> Interval | None:
    """The 95% t interval of the mean over seeds; None for one seed, which says nothing about another.

    It is about other seeds on these test items, and is cut where the metric ends. Of equal scores it has no width.
    """
    if len(scores) < 2:
        return None
    spread = float(np.std(scores, ddof=1) / np.sqrt(len(scores)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(scores) - 1)) * spread
    mean = float(np.mean(scores))
    return Interval(max(mean - half, lowest), min(mean + half, highest), "seeds")


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float] | None:
    """Fieller's 95% interval of mean(numerators) / mean(denominators), of pairs, one a seed.

    None for one pair, and where the 95% t interval of the denominator holds 0: then no ratio is ruled out.

    Source: Fieller 1954, "Some problems in interval estimation".
    """
    n = len(numerators)
    if n < 2:
        return None
    above, below = float(np.mean(numerators)), float(np.mean(denominators))
    spread = np.cov(numerators, denominators) / n * stats.t.ppf((1 + LEVEL) / 2, n - 1) ** 2
    a, b, c = below**2 - spread[1, 1], above * below - spread[0, 1], above**2 - spread[0, 0]
    if a <= 0:
        return None
    half = float(np.sqrt(max(b**2 - a * c, 0.0)))  # below 0 by rounding alone
    return float((b - half) / a), float((b + half) / a)


def item_interval(resampled: np.ndarray, over: str = "test items", trials: int | None = None) -> Interval:
    """The 95% percentile interval over test items, of one run's or a mean's scores on resamples, `(resamples,)`.

    It is about other test items with these weights.

    Args:
        trials: of an accuracy, the number of items or groups. If all or none are right, all resamples are alike, and
            the interval is Clopper and Pearson's.
    """
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if trials is not None and low == high and high in (0.0, 1.0):
        low, high = stats.binomtest(int(high * trials), trials).proportion_ci(LEVEL)
    return Interval(float(low), float(high), over)


def drawn_from(items: int, groups: Sequence[str] | None) -> tuple[int, str]:
    """How many test items, or groups of them, a bootstrap draws from, and what they are called."""
    return (items, "test items") if groups is None else (len(set(groups)), "test groups")


@dataclass(frozen=True)
class Comparison:
    """How much higher the first arm scores than the second, and whether chance could explain it.

    Args:
        difference: mean of the first minus mean of the second, a fraction.
        low, high: its 95% interval, by t with `degrees_of_freedom`.
        p_value: two-sided, by the same t. Correct it where several tasks are tested; see [`holm`].
        standard_error: over test items and seeds.
        effect: Hedges' g, the difference in standard deviations of seeds; None below two seeds an arm.
        seeds: runs of the first and of the second arm.
        paired_seeds: whether runs of one seed were taken as pairs.
        items: how many were drawn from: test items, or their groups.
        over: what the test allows to be different: `test items and seeds`, or `test items` where an arm has one seed;
            `test groups` where items have groups.
    """

    difference: float
    low: float
    high: float
    p_value: float
    standard_error: float
    degrees_of_freedom: float | None
    effect: float | None
    seeds: tuple[int, int]
    paired_seeds: bool
    items: int
    resamples: int
    over: str


def compare(
    first: np.ndarray,
    second: np.ndarray,
    first_resampled: np.ndarray,
    second_resampled: np.ndarray,
    items: int,
    paired_seeds: bool,
    over: str = "test items",
    lowest: float = -1.0,
) -> Comparison:
    """The multibootstrap's comparison of two arms on the same test items, over these and over seeds.

    The published p-value counts resamples. With few seeds it rejects too often: of equal arms whose seeds differ much,
    14% at three seeds, 8% at five and 3% at ten, where 5% were allowed. This one takes the bootstrap's standard error
    and t: 4%, 4% and 3% (300 drawn pairs each).

    Args:
        first, second: scores on all items, `(seeds,)`; with `paired_seeds` place n of both has the same seed.
        first_resampled, second_resampled: scores on the same resamples of items, `(resamples, seeds)`.
        items: how many were drawn from, and `over` what they are.
        lowest: the least value of the metric, whose largest is 1: the interval ends where differences do.

    Raises:
        ValueError: seeds are to be paired and their numbers differ.

    Source: Sellam et al. 2022, "The MultiBERTs: BERT Reproductions for Robustness Analysis", section 4.
    """
    if paired_seeds and len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} seeds cannot be paired")
    several = min(len(first), len(second)) > 1
    samples = [(first, first_resampled), (second, second_resampled)]
    if paired_seeds:
        samples = [(first - second, first_resampled - second_resampled)]
    item_part = float((first_resampled.mean(axis=1) - second_resampled.mean(axis=1)).var(ddof=1))
    alone = float(np.sqrt(item_part)), float(max(items - 1, 1))
    error, freedom = _standard_error(samples, item_part, items) if several else alone
    if error < _ROUNDING:
        error, freedom = 0.0, np.inf
    difference = float(first.mean() - second.mean())
    difference = 0.0 if abs(difference) < _ROUNDING else difference
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    if error > 0:
        p_value = float(2 * stats.t.sf(abs(difference) / error, freedom))
    else:  # all resamples give the same difference
        p_value = 1.0 if difference == 0 else 2 / (1 + len(first_resampled))
    return Comparison(
        difference=difference,
        low=max(difference - half, lowest - 1.0),
        high=min(difference + half, 1.0 - lowest),
        p_value=p_value,
        standard_error=error,
        degrees_of_freedom=None if np.isinf(freedom) else freedom,
        effect=_hedges_g(first, second) if several else None,
        seeds=(len(first), len(second)),
        paired_seeds=paired_seeds and several,
        items=items,
        resamples=len(first_resampled),
        over=f"{over} and seeds" if several else over,
    )


def _standard_error(
    samples: Sequence[tuple[np.ndarray, np.ndarray]], item_part: float, items: int
) -> tuple[float, float]:
    """Standard error over items and seeds, with Satterthwaite's degrees of freedom.

    The variances over seeds and over items both contain the interaction of seed and item, so it is subtracted once.

    Args:
        samples: of each arm, or of their paired differences, the scores and the resampled scores.
        item_part: the variance over items.
    """
    seed_parts, shared = [], 0.0
    for scores, resampled in samples:
        n = len(scores)
        seed_parts.append((float(scores.var(ddof=1)) / n, n - 1))
        shared += float(resampled.var(axis=0, ddof=1).mean() - resampled.mean(axis=1).var(ddof=1)) / (n - 1)
    seed_part = sum(part for part, _ in seed_parts)
    total = max(seed_part + item_part - max(shared, 0.0), seed_part, item_part)
    uncertain = sum(part**2 / freedom for part, freedom in seed_parts) + item_part**2 / max(items - 1, 1)
    return float(np.sqrt(total)), total**2 / uncertain if uncertain > 0 else float("inf")


def _hedges_g(first: np.ndarray, second: np.ndarray) -> float | None:
    """None where the seeds of both arms do not differ at all."""
    n, m = len(first), len(second)
    pooled = np.sqrt(((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / (n + m - 2))
    if pooled < _ROUNDING:
        return None
    return float((first.mean() - second.mean()) / pooled * (1 - 3 / (4 * (n + m) - 9)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, by Holm's step-down method; in the order given."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def floor(metric: str, truth: np.ndarray, regression: bool) -> float:
    """What the best constant answer scores.

    For accuracy that is the majority class, for F1 the class that scores most when always said; the mean target of a
    regression ranks nothing: 0.
    """
    if regression:
        return metrics.compute(metric, np.full(len(truth), truth.mean()), truth)
    return max(metrics.compute(metric, np.full(len(truth), label), truth) for label in np.unique(truth))
