"""Trap 20 of the installed libraries, and numbers worked out by hand."""

from dataclasses import replace

import evaluate
import numpy as np
import pytest

from hf_bertx.metrics import compute, evaluate_module, score, vote
from hf_bertx.runs.run import Predictions
from hf_bertx.tasks import TASKS

SPLICE, MUSIC, STABILITY = TASKS["dna-splice"], TASKS["music-maestro-v1"], TASKS["protein-stability"]


@pytest.mark.parametrize(
    ("name", "predictions", "references", "expected"),
    [
        ("accuracy", [0, 1, 2, 2], [0, 1, 2, 1], 0.75),
        ("f1", [1, 1, 0, 1], [1, 0, 0, 1], 0.8),  # precision 2/3, recall 1
        ("balanced_accuracy", [0, 0, 0, 2], [0, 0, 0, 1], 0.5),  # all of class 0, none of class 1
        ("mcc", [1, 1, 0, 0], [1, 0, 1, 0], 0.0),
        ("mcc", [1, 1, 0, 0], [0, 0, 1, 1], -1.0),
        ("spearman", [1.0, 20.0, 300.0], [0.1, 0.2, 0.3], 1.0),
        ("spearman", [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], 0.8),
        ("pearson", [1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], -1.0),
        ("spearman", [1.0, 1.0], [1.0, 2.0], 0.0),  # a constant answer ranks nothing
    ],
)
def test_known_values(name: str, predictions: list, references: list, expected: float) -> None:
    assert compute(name, predictions, references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("acc", [1], [1]), "unknown metric 'acc'; known: accuracy"),
        (("accuracy", [1, 2], [1]), "must be as many"),
        (("accuracy", [], []), "at least 1"),
        (("pearson", [1.0, float("nan")], [1.0, 2.0]), "prediction 1 is not a number"),
    ],
)
def test_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute(*arguments)


def test_vote_takes_the_majority_and_the_lowest_of_equals() -> None:
    assert vote(np.array([2, 2, 1, 3, 0, 0, 1]), ["a", "a", "a", "b", "c", "c", "c"]) == {"a": 2, "b": 3, "c": 0}
    assert vote(np.array([3, 1]), ["a", "a"]) == {"a": 1}


def test_score_votes_where_the_task_does() -> None:
    logits = np.eye(58)[[5, 5, 7, 9]]
    scores = score(MUSIC, logits, [5, 5, 5, 3], ["p", "p", "p", "q"])
    assert scores["accuracy"] == 0.5  # piece p is right, piece q is wrong
    assert scores["segment_accuracy"] == 0.5
    with pytest.raises(ValueError, match="no `group` column"):
        score(MUSIC, logits, [5, 5, 5, 3], None)
    with pytest.raises(ValueError, match="segments of 'p' have two classes"):
        score(MUSIC, logits, [5, 5, 4, 3], ["p", "p", "p", "q"])


def test_score_of_a_regression_takes_one_column() -> None:
    scores = score(STABILITY, np.array([[1.0], [2.0], [3.0]]), [1.0, 2.0, 3.0], None)
    assert scores == pytest.approx({"spearman": 1.0, "pearson": 1.0})
    assert set(score(replace(SPLICE, extra_metrics=()), np.eye(3), [0, 1, 2], None)) == {"accuracy"}


def test_answers_are_scored_as_they_are_stored() -> None:
    """Two means of the same neighbours differ in the last bit of float64 and are one number in the run's folder."""
    answers, targets = np.array([0.3, 0.1 + 0.2, 0.5, 0.1]), [2.0, 1.0, 3.0, 4.0]
    assert answers[0] != answers[1]
    assert score(STABILITY, answers, targets, None) == score(STABILITY, answers.astype(np.float32), targets, None)
    assert score(STABILITY, answers, targets, None)["spearman"] != compute("spearman", answers, targets)


def test_auprc_is_the_mean_of_average_precisions() -> None:
    task = replace(SPLICE, labels=("a", "b"), extra_metrics=("auprc",))
    logits = np.array([[0.0, 4.0], [0.0, 3.0], [0.0, 2.0], [0.0, 1.0]])
    logits[:, 0] = -logits[:, 1]
    # b ranks first and third of its own, (1 + 2/3) / 2; a likewise from the other end
    for added in (0.0, [[1.0], [9.0], [3.0], [5.0]]):  # to all logits of an item: its probabilities are the same
        found = score(task, logits + added, [1, 0, 1, 0], None)
        assert found == pytest.approx({"accuracy": 0.5, "auprc": 5 / 6})
    one = evaluate.load(evaluate_module(), "auprc")
    assert one.compute(predictions=logits.tolist(), references=[1, 0, 1, 0])["auprc"] == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="auprc: reference 1 has no scores; there are those of 1 classes"):
        one.compute(predictions=[[0.9], [0.1]], references=[1, 0])


def test_evaluate_loads_the_module_without_a_network() -> None:
    one = evaluate.load(evaluate_module(), "mcc")
    assert one.compute(predictions=[1, 1, 0, 0], references=[0, 0, 1, 1]) == {"mcc": -1.0}
    task = evaluate.load(evaluate_module(), "dna-splice")
    assert set(task.compute(predictions=[0, 1, 2], references=[0, 1, 1])) == {"accuracy", "mcc", "macro_f1"}
    labels = {"predictions": [[1, 0], [1, 1]], "references": [[1, 0], [1, 0]]}  # several an item
    for name, value in {"micro_f1": 0.8, "accuracy": 0.5, "auprc": 1.0}.items():
        assert evaluate.load(evaluate_module(), name).compute(**labels) == {name: pytest.approx(value)}
    with pytest.raises(ValueError, match=r"balanced_accuracy is of one answer .* accuracy, macro_f1, micro_f1"):
        evaluate.load(evaluate_module(), "balanced_accuracy").compute(**labels)
    with pytest.raises(ValueError, match="name a metric or a task, not 'bleu'"):
        evaluate.load(evaluate_module(), "bleu")


def test_a_segment_without_a_piece_votes_alone_in_a_run_too() -> None:
    logits, labels, pieces = np.eye(58)[[5, 3, 5, 7, 7]], np.array([5, 3, 5, 9, 9]), ("p", None, "p", None, "")
    predictions = Predictions(("a", "b", "c", "d", "e"), labels, logits, pieces)
    ids, truth, answers = predictions.answers(MUSIC)
    assert len(ids) == 4
    assert compute("accuracy", answers, truth) == score(MUSIC, logits, labels, pieces)["accuracy"] == 0.5
    later = Predictions(("d", "e"), labels[3:], logits[3:], pieces[3:]).answers(MUSIC)[0]
    assert later == ids[2:]  # of one name in each run, whichever items it looked at
