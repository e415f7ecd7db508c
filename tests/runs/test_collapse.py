"""The guard against runs that end at the constant answer: on archived logs, in a stock `Trainer`, in whole runs."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from datasets import Dataset
from interrupted_runs import assert_same_run, interrupt
from stock_trainers import make_trainer

from hf_bertx import CollapseGuardCallback, metrics
from hf_bertx.publishing.cards import model_card
from hf_bertx.report.write import write_report
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.collapse import near_constant_loss
from hf_bertx.runs.run import Predictions, Run
from hf_bertx.runs.trainer import item_loss
from hf_bertx.runs.training import run
from hf_bertx.tasks import TASKS

# The loss of the best constant answer to the training items of each task.
CONSTANT = {"dna-splice": 1.027, "dna-h3": 0.693, "protein-localization": 2.0, "protein-fluorescence": 0.701}
CONSTANT |= {"music-maestro-v1": 1.899, "glue-cola": 0.608, "glue-sst2": 0.686, "glue-stsb": 2.19, "dna-h4": 0.687}
CONSTANT |= {"dna-h3k9ac": 0.688}


def archived(archive: Path) -> list[tuple[dict, list, dict, Predictions]]:
    """Order, log, results and test answers of the trainings of an archive."""
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            folder, _, name = entry.name.rpartition("/")
            if entry.isfile():
                files.setdefault(folder, {})[name] = tar.extractfile(entry).read()
    found = []
    for own in files.values():
        if {"run.json", "log_history.json", "results.json", "predictions_test.parquet"} <= set(own):
            order, log, results = (json.loads(own[f"{name}.json"]) for name in ("run", "log_history", "results"))
            if log and order["specification"]["task"] in CONSTANT:
                found.append((order, log, results, Predictions.read(io.BytesIO(own["predictions_test.parquet"]))))
    return found


def test_every_archived_collapse_is_found_and_no_other_run() -> None:
    counted: Counter[tuple[bool, bool]] = Counter()
    for archive in sorted((ROOT / "results").glob("*/runs.tar.xz")):
        for order, log, results, predictions in archived(archive):
            task = TASKS[order["specification"]["task"]]
            answers = predictions.logits[:, 0] if task.regression else predictions.logits.argmax(1)
            alike = metrics.constant_answer(predictions.labels, answers, task.regression)
            counted[alike, near_constant_loss(log, CONSTANT[task.name], results["steps"]) is not None] += 1
    # of those that collapsed three have a lower loss: at the lowest rate of a search they are still learning. Of the
    # others a few have the loss of the constant answer, but their answers differ, above all of `re_emb` on text
    assert (counted[True, True], counted[True, False]) == (51, 3)
    assert counted[False, False] >= 388
    assert counted[False, True] < 0.05 * counted[False, False]


@pytest.mark.parametrize(("learns", "rate"), [(True, 1e-2), (False, 1e-7)])
def test_a_stock_trainer_learns_whether_its_model_collapsed(learns: bool, rate: float, tmp_path: Path) -> None:
    guard = CollapseGuardCallback()
    trainer = make_trainer(tmp_path, [guard], num_train_epochs=13, learning_rate=rate)
    trainer.train()
    assert guard.constant_loss == pytest.approx(np.log(2))
    assert (guard.reason is None) == learns
    if not learns:
        assert "that of the constant answer, 0.693, and every item gets the same answer" in guard.reason


def test_the_constant_answers_loss_is_of_smoothed_labels(tmp_path: Path) -> None:
    guard = CollapseGuardCallback()
    trainer = make_trainer(tmp_path, [guard], max_steps=1, label_smoothing_factor=0.2)
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": 0})
    trainer.train()
    assert guard.constant_loss == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))


@pytest.mark.parametrize("balanced", [False, True])
def test_no_constant_answer_has_a_lower_loss_than_the_best(balanced: bool) -> None:
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 0])  # and none of class 2
    weights = metrics.balanced_weights(labels, 3) if balanced else None
    answer = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([answer], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = {"logits": answer.expand(len(labels), 3)}
        value = item_loss(0.2, weights)(logits, torch.tensor(labels), len(labels))
        value.backward()
        return value

    optimizer.step(loss)
    assert metrics.constant_answer_loss(labels, False, balanced, 0.2, 3) == pytest.approx(loss().item(), abs=1e-5)


def test_rows_without_labels_need_the_constant_loss(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CollapseGuardCallback()])
    trainer.train_dataset = Dataset.from_dict({"input_ids": [[2, 3, 5]] * 8})
    with pytest.raises(ValueError, match="have no column labels or label; pass constant_loss"):
        trainer.train()


def train_briefly(backbone: Path, root: Path, *more: str, events: tuple[tuple[str, int], ...] = ()) -> Run:
    argv = f"--backbone {backbone} --output_dir {root} --max_steps 100 --eval_steps 25 --seed 0".split()
    argv += "--learning_rate 1e-9 --global_batch_size 8 --precision float32 --max_eval_items 40".split()
    (spec,), args = parse_arguments([*argv, *more])
    interrupt(spec, args, *events)
    return Run.open_finished(run(spec, args))


def test_a_collapsed_run_starts_again_with_half_the_rate(tiny_backbone: Path, tmp_path: Path) -> None:
    whole = train_briefly(tiny_backbone, tmp_path / "whole")  # so low a rate learns nothing, and half of it neither
    restarts = whole.results["restarts"]
    assert [(each["learning_rate"], each["steps"]) for each in restarts] == [(1e-9, 100), (5e-10, 100)]
    assert whole.results["collapsed"].startswith("the training loss of the last steps, 1.")
    assert whole.specification["hyperparameters"]["learning_rate"] == 1e-9
    assert whole.log[-1]["step"] == 100

    card = model_card(whole.folder)
    assert "started again with half the learning rate, 2 times: these weights had 2.5e-10." in card
    assert "**It collapsed: the training loss of the last steps, 1." in card
    report = write_report(tmp_path / "whole", tmp_path / "report")[0].parent
    assert "started again 2 times with half the rate: recommended/dna-splice" in (report / "report.md").read_text()
    assert len(json.loads((report / "report.json").read_text())["restarted"]) == 1

    # in the first start; as the second one begins; as the last one has ended
    events = (("on_save", 50), ("on_train_end", 100), ("on_step_begin", 0), ("on_save", 75), ("on_train_end", 100))
    broken = train_briefly(tiny_backbone, tmp_path / "broken", events=events)
    assert_same_run(whole.folder, broken.folder)


def test_without_restarts_a_collapse_is_only_reported(tiny_backbone: Path, tmp_path: Path) -> None:
    collapsed = train_briefly(tiny_backbone, tmp_path, "--restarts", "0", "--class_weights", "balanced")
    assert (collapsed.results["restarts"], collapsed.results["collapsed"] is None) == ([], False)
    assert collapsed.results["constant_loss"] == pytest.approx(np.log(3))  # all classes weigh the same
    assert np.mean([loss for _, loss in collapsed.curve("loss")]) == pytest.approx(np.log(3), abs=0.05)
