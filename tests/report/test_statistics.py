"""Statistics on predictions whose answer is known: by hand, by scikit-learn and scipy, or by drawing the truth."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from hf_bertx import metrics
from hf_bertx.metrics import calibration, constant_answer
from hf_bertx.report.resampling import RESAMPLED, resampled_scores
from hf_bertx.report.statistics import Comparison, compare, floor, holm, item_interval, seed_interval


def synthetic(metric: str, items: int, runs: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    if metric in ("spearman", "pearson"):
        truth = generator.normal(size=items).round(1)  # rounded: ties
        return truth, (truth + generator.normal(size=(runs, items))).round(1)
    classes = 2 if metric == "f1" else classes
    truth = generator.integers(classes, size=items)
    wrong = generator.random((runs, items)) < 0.3
    return truth, np.where(wrong, generator.integers(classes, size=(runs, items)), truth)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("metric", sorted(RESAMPLED))
def test_a_resampled_score_is_the_metric_of_those_items(metric: str, grouped: bool) -> None:
    assert set(metrics.METRICS) - set(RESAMPLED) == {"micro_f1"}  # of several labels an item
    truth, predictions = synthetic(metric, items=60, runs=3, classes=9)  # so few that resamples lack classes
    groups = ["c", "a", "b", *np.random.default_rng(1).choice(list("abcdefghijkl"), 57)] if grouped else range(60)
    members = [np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)]
    found = resampled_scores(metric, truth, predictions, 40, seed=11, groups=groups if grouped else None)
    assert found.shape == (40, 3)
    drawn = np.random.default_rng(11).integers(len(members), size=(40, len(members)))
    for row, of_groups in zip(found, drawn, strict=True):
        items = np.concatenate([members[group] for group in of_groups])
        expected = [metrics.compute(metric, predicted[items], truth[items]) for predicted in predictions]
        assert row == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", sorted(RESAMPLED))
def test_constant_answers_are_resampled_without_a_warning(metric: str) -> None:
    truth, predictions = synthetic(metric, items=50, runs=1)
    predictions[:] = 1
    with np.errstate(all="raise"):
        found = resampled_scores(metric, truth, predictions, resamples=20)
    assert found.shape == (20, 1)
    if metric in ("mcc", "spearman", "pearson"):
        assert (found == 0).all()


@pytest.mark.parametrize(
    ("metric", "truth", "shape", "message"),
    [
        ("bleu", [0, 0, 0], (1, 3), "metric 'bleu' cannot be resampled; allowed: accuracy"),
        ("accuracy", [0, 0, 0], (1, 4), r"must be \(items,\) and \(runs, items\)"),
        ("f1", [0, 1, 2], (1, 3), "two classes"),
    ],
)
def test_what_cannot_be_resampled_is_an_error(metric: str, truth: list[int], shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resampled_scores(metric, np.array(truth), np.zeros(shape, int), 10)


def test_interval_over_seeds_is_the_t_interval() -> None:
    interval = seed_interval([0.1, 0.2, 0.3])
    # mean 0.2, standard deviation 0.1, t(0.975, 2) = 4.3027
    assert (interval.low, interval.high) == pytest.approx((0.2 - 0.24841, 0.2 + 0.24841), abs=1e-5)
    assert interval.over == "seeds"
    assert seed_interval([0.4]) is None


def test_interval_over_items_is_that_of_a_proportion() -> None:
    truth = np.ones(400, int)
    predictions = np.r_[np.ones(320, int), np.zeros(80, int)][None]  # 80% right
    interval = item_interval(resampled_scores("accuracy", truth, predictions, 10_000)[:, 0])
    assert (interval.low, interval.high) == pytest.approx((0.8 - 1.96 * 0.02, 0.8 + 1.96 * 0.02), abs=0.004)
    assert interval.over == "test items"


@pytest.mark.parametrize(("right", "low", "high"), [(30, 0.8843, 1.0), (0, 0.0, 0.1157)])
def test_a_perfect_accuracy_has_the_interval_of_a_proportion(right: int, low: float, high: float) -> None:
    truth = np.ones(30, int)
    drawn = resampled_scores("accuracy", truth, (np.arange(30) < right)[None].astype(int), 500)[:, 0]
    interval = item_interval(drawn, trials=30)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)  # Clopper and Pearson 1934
    assert item_interval(drawn).low == item_interval(drawn).high  # of other metrics it is not known


def compared(
    truth: np.ndarray, first: np.ndarray, second: np.ndarray, paired: bool, resamples: int = 2000
) -> Comparison:
    """Two arms by their accuracy, from answers `(seeds, items)`."""
    n, runs = len(first), np.concatenate([first, second])
    scores, drawn = (runs == truth).mean(axis=1), resampled_scores("accuracy", truth, runs, resamples)
    return compare(scores[:n], scores[n:], drawn[:, :n], drawn[:, n:], len(truth), paired)


def drawn_arms(
    generator: Any, seeds: int, items: int, seed_spread: float, difference: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two arms whose seeds differ in how often they are right, and whose items differ in how hard they are."""
    hardness = generator.normal(scale=1.0, size=items)
    skills = generator.normal(scale=seed_spread, size=(2, seeds)) + np.array([[difference], [0.0]])
    right = generator.random((2, seeds, items)) < 1 / (1 + np.exp(-(1.0 + skills[..., None] - hardness)))
    return np.ones(items, int), right[0].astype(int), right[1].astype(int)


def rejected(seeds: int, seed_spread: float, difference: float = 0.0, times: int = 200) -> float:
    """How often the p-value is below 0.05."""
    generator = np.random.default_rng(0)
    drawn = (drawn_arms(generator, seeds, 200, seed_spread, difference) for _ in range(times))
    return float(np.mean([compared(*arms, paired=False, resamples=200).p_value < 0.05 for arms in drawn]))


@pytest.mark.parametrize(("seeds", "spread", "low"), [(3, 1.0, 0.01), (10, 0.5, 0.01), (1, 0.0, 0.02)])
def test_equal_arms_are_rejected_as_often_as_allowed(seeds: int, spread: float, low: float) -> None:
    assert low <= rejected(seeds, spread) <= 0.09


def test_a_difference_is_detected_and_its_interval_holds_it() -> None:
    assert rejected(seeds=5, seed_spread=0.2, difference=1.0) > 0.9
    generator, inside = np.random.default_rng(3), 0
    many = drawn_arms(np.random.default_rng(9), 400, 5_000, 0.4, 0.7)
    true_difference = many[1].mean() - many[2].mean()
    for _ in range(200):
        truth, first, second = drawn_arms(generator, 4, 200, 0.4, 0.7)
        found = compared(truth, first, second, paired=False, resamples=200)
        inside += found.low <= true_difference <= found.high
    assert 0.91 <= inside / 200 <= 0.99


@pytest.mark.parametrize(("lowest", "limit"), [(0.0, 1.0), (-1.0, 2.0)])
def test_an_interval_ends_where_differences_do(lowest: float, limit: float) -> None:
    first, second = np.array([0.0]), np.array([1.0])
    drawn = np.random.default_rng(0).integers(2, size=(500, 2)).astype(float)
    found = compare(first, second, drawn[:, :1], drawn[:, 1:], 2, False, lowest=lowest)  # two items: t = 12.7
    assert (found.low, found.high) == (-limit, limit)


def test_paired_seeds_narrow_the_interval() -> None:
    generator = np.random.default_rng(1)
    truth = np.ones(500, int)
    luck = generator.normal(scale=0.15, size=(6, 1))
    draws = generator.random((6, 500))
    first, second = ((draws < np.clip(level + luck, 0, 1)).astype(int) for level in (0.7, 0.65))
    paired = compared(truth, first, second, paired=True)
    unpaired = compared(truth, first, second, paired=False)
    assert paired.difference == unpaired.difference == pytest.approx(first.mean() - second.mean())
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    assert (paired.low > 0, unpaired.low > 0) == (True, False)
    assert (paired.paired_seeds, paired.over) == (True, "test items and seeds")


def test_many_items_give_the_t_test_of_the_seeds() -> None:
    # every item is alike for a run: half a million of them leave only the seeds
    scores = np.array([[0.60, 0.70, 0.62, 0.66], [0.52, 0.61, 0.57, 0.50]])
    items = 50_000
    first, second = ((np.arange(items) < row[:, None] * items).astype(int) for row in scores)
    shuffle = np.random.default_rng(0).permutation(items)
    truth = np.ones(items, int)
    found = compared(truth, first[:, shuffle], second[:, shuffle], paired=True, resamples=200)
    expected = stats.ttest_rel(*scores)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.1)
    assert found.degrees_of_freedom == pytest.approx(3, abs=0.2)
    pooled = np.sqrt((scores[0].var(ddof=1) + scores[1].var(ddof=1)) / 2)
    assert found.effect == pytest.approx((scores[0].mean() - scores[1].mean()) / pooled * (1 - 3 / 23), abs=1e-3)


def test_one_seed_is_compared_over_items_alone() -> None:
    truth = np.ones(300, int)
    first, second = ((np.arange(300) < right)[None].astype(int) for right in (270, 210))
    found = compared(truth, first, second, paired=True)
    assert found.difference == pytest.approx(0.2)
    assert (found.over, found.effect, found.degrees_of_freedom) == ("test items", None, 299)
    # 60 of 300 items differ, all one way: standard error sqrt(0.2 * 0.8 / 300)
    assert found.standard_error == pytest.approx(0.0231, abs=0.002)
    assert found.p_value < 1e-6
    with pytest.raises(ValueError, match="1 and 2 seeds cannot be paired"):
        compared(truth, first, np.r_[second, second], paired=True)


def test_one_seed_on_few_items_has_the_t_interval_of_the_items() -> None:
    truth, first, second = np.ones(9, int), np.ones((1, 9), int), np.r_[np.zeros(4), np.ones(5)][None].astype(int)
    found = compared(truth, first, second, paired=False, resamples=20_000)
    differences = (first - second)[0]
    assert found.standard_error == pytest.approx(differences.std() / 3, rel=0.05)
    assert found.low == pytest.approx(4 / 9 - stats.t.ppf(0.975, 8) * found.standard_error)


def test_arms_whose_seeds_answer_alike() -> None:
    truth = np.random.default_rng(0).integers(3, size=100)
    zeros, ones = np.zeros((3, 100), int), np.ones((3, 100), int)
    same = compared(truth, zeros, zeros[:2], paired=False)  # means of 3 and of 2 equal scores differ by rounding
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    other = compared(truth, zeros, ones, paired=True)
    assert other.difference < 0
    assert other.effect is None  # seeds do not differ


def test_holm_by_hand() -> None:
    # sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 -> 0.06, 0.5 x 1
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_floors_by_hand() -> None:
    truth = np.array([0, 0, 0, 1, 2])
    assert floor("accuracy", truth, regression=False) == 0.6
    assert floor("mcc", truth, regression=False) == 0.0
    # always saying 1 of 2 in 5: precision 0.4, recall 1
    assert floor("f1", np.array([0, 1, 0, 1, 0]), regression=False) == pytest.approx(2 * 0.4 / 1.4)
    assert floor("spearman", np.array([0.1, 0.7, 3.0]), regression=True) == 0.0


@pytest.mark.parametrize(
    ("truth", "answers", "regression", "constant"),
    [
        ([0.0, 1.0, 2.0, 3.0], [1.3, 1.3, 1.3, 1.3], True, True),
        ([0.0, 1.0, 2.0, 3.0], [1.3, 1.3001, 1.3, 1.3], True, True),
        ([0.0, 1.0, 2.0, 3.0], [1.3, 1.32, 1.3, 1.3], True, False),
        ([0, 1], [1, 1], False, True),
        ([0, 1], [1, 0], False, False),
        ([[0, 1], [1, 1]], [[True, False], [True, False]], False, True),
        ([[0, 1], [1, 1]], [[True, False], [True, True]], False, False),
    ],
)
def test_constant_answers(truth: list[float], answers: list[float], regression: bool, constant: bool) -> None:
    assert constant_answer(np.array(truth), np.array(answers), regression) is constant


def test_calibration_by_hand() -> None:
    # two items with confidence 0.9, one right; two with 0.6, both right: 0.5 * 0.4 + 0.5 * 0.4
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]))
    found = calibration(logits, np.array([0, 1, 1, 1]), bins=10)
    assert found.error == pytest.approx(0.4)
    assert [tuple(bin_) for bin_ in found.bins] == [(pytest.approx(0.6), 1.0, 2), (pytest.approx(0.9), 0.5, 2)]
