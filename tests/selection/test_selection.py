"""`bertx train` on own data: baselines and a probe first, the best model on validation, one table."""

import random
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from made_runs import make_run
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_bertx import run_files
from hf_bertx.publishing.cards import model_card
from hf_bertx.report.records import collect_runs
from hf_bertx.runs.arguments import read_options
from hf_bertx.runs.run import Run
from hf_bertx.runs.writer import RunWriter
from hf_bertx.selection import command as selection
from hf_bertx.selection.candidates import BASELINE, FINE_TUNED, PROBE, Candidate
from hf_bertx.selection.comparison import compare_candidates, table
from hf_bertx.selection.learning_rate import best_rate


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every other sequence holds TATAAT."""
    path, draw = tmp_path_factory.mktemp("own") / "motif.fasta", random.Random(1)
    records = []
    for i in range(400):
        letters = draw.choices("ACGT", k=40)
        if i % 2:
            place = draw.randrange(34)
            letters[place : place + 6] = "TATAAT"
        records.append(f">seq{i} label={'yes' if i % 2 else 'no'}\n{''.join(letters)}\n")
    path.write_text("".join(records))
    return path


def order(fasta: Path, backbone: Path, root: Path, *more: str) -> tuple[Path, list[str]]:
    """The folder that is kept, and the lines for the user."""
    lines: list[str] = []
    argv = ["--train_file", str(fasta), "--discipline", "dna", "--backbone", str(backbone), "--output_dir", str(root)]
    if "--quick" not in more:
        argv += ["--max_steps", "4", "--eval_steps", "2", "--logging_steps", "1", "--precision", "float32"]
    kept = selection.train_command([*argv, "--disable_tqdm", "true", *more], lines.append)
    return kept, lines


@pytest.fixture(scope="module")
def whole(fasta: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    return order(fasta, tiny_backbone, tmp_path_factory.mktemp("whole") / "my runs")


def test_what_takes_seconds_comes_first_and_a_table_last(whole: tuple[Path, list[str]]) -> None:
    lines = whole[1]
    assert lines[0] == "data: 2 classes: no (200), yes (200); 280 train, 60 validation, 60 test"
    names = [line.split()[0] for line in lines[2:7]]
    assert names == ["majority", "kmer-logistic", "onehot-logistic", "nearest", "probe"]
    start = next(i for i, line in enumerate(lines) if line.startswith("Now fine-tuning"))
    assert start == 8
    shown = [line.split()[0] for line in lines[start + 3 : start + 9]]
    assert sorted(shown) == ["fine-tuned", "kmer-logistic", "majority", "nearest", "onehot-logistic", "probe"]
    assert "the best baseline (kmer-logistic): test accuracy differs by" in lines[-3]
    assert shlex.split(lines[-1])[5] == str(whole[0])


def test_the_model_that_validation_chooses_is_kept(whole: tuple[Path, list[str]]) -> None:
    kept = Run.open_finished(whole[0])
    compared = kept.results["comparison"]
    models = {row["kind"]: row for row in compared["candidates"] if row["kind"] != BASELINE}
    best = max(models.values(), key=lambda row: row["validation"])
    assert compared["kept"] == best["name"]
    assert kept.score("test", "accuracy") == pytest.approx(best["test"])
    run_files.check_run(kept.folder)  # what was added to the results is no file of the run
    card = (kept.model_dir / "README.md").read_text()
    assert compared["sentence"] in card
    assert f"| **{best['name']}** | {best['validation']:.3f} | {best['test']:.3f} [" in card


def test_quick_saves_the_probe_as_an_ordinary_model(fasta: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    kept, lines = order(fasta, tiny_backbone, tmp_path / "runs", "--quick", "--baselines", "none")
    assert not (tmp_path / "runs" / "recommended").exists()
    assert not (tmp_path / "runs" / "baseline").exists()
    run = Run.open_finished(kept)
    model = AutoModelForSequenceClassification.from_pretrained(run.model_dir)
    assert type(model).__name__ == "BertForSequenceClassification"
    predictions = run.predictions("test")
    lines_of_file = fasta.read_text().splitlines()
    names = [line.split()[0][1:] for line in lines_of_file[::2]]
    sequences = dict(zip(names, lines_of_file[1::2], strict=True))
    tokenizer = AutoTokenizer.from_pretrained(run.model_dir)
    encoded = tokenizer([sequences[key] for key in predictions.ids], return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = model(**encoded).logits.numpy()
    assert np.abs(logits - predictions.logits).max() < 2e-3
    card = (run.model_dir / "README.md").read_text()
    assert "A probe: the embeddings and the lower " in card or "A probe: the embeddings alone of" in card
    calibrated, _ = order(fasta, tiny_backbone, tmp_path / "runs", "--quick", "--baselines", "none", "--calibrate")
    assert Run.open_finished(calibrated).results["calibration"]["temperature"] < 1
    assert "config: paper" not in card  # data of one's own are no configuration of a data set on the Hub
    assert "bertx predict" in lines[-1]
    measured = {"file": "onnx/model.onnx", "inputs": ["input_ids"], "opset": 18, "sequences": 8, "longest": 60}
    measured |= {"largest_difference": 2e-6, "tolerance": 1e-4, "versions": {"onnxruntime": "1.32.0"}}
    assert "`onnx/model.onnx` is the same model in ONNX (opset 18" in model_card(kept, onnx=measured)


def test_three_rates_are_tried_and_the_best_trains(fasta: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    options = ("--baselines", "none", "--probe_items", "0", "--find_learning_rate")
    kept, lines = order(fasta, tiny_backbone, tmp_path / "runs", *options)
    results = Run.open_finished(kept).results
    tried = results["learning_rates_tried"]
    assert [each["learning_rate"] for each in tried] == [3e-5, 1e-4, 3e-4]
    assert Run.open(kept).specification["hyperparameters"]["learning_rate"] == best_rate(tried, 1e-4)
    trials = [run_files.read_json(path) for path in (tmp_path / "runs" / ".trials").rglob(run_files.RESULTS)]
    assert [trial["steps"] for trial in trials] == [1, 1, 1]  # a tenth of 4 steps, at least one
    assert sum(line.startswith("  learning rate") for line in lines) == 3
    assert [each.folder for each in collect_runs(tmp_path / "runs")] == [kept]  # no report shows a trial


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--baselines", "all"), "--baselines is 'all'; allowed: plain, none"),
        (("--probe_items", "1"), "--probe_items is '1'; allowed: a number from 2 on, all, or 0 for no probe"),
        (("--quick", "--probe_items", "0"), "--quick saves the probe, and --probe_items 0 leaves it out"),
        (("--quick", "--arm", "bert", "rand"), "--quick saves one probe; .* with bertx probe --arm bert rand"),
        (("--arm", "bert", "rand", "bert"), "--arm names bert twice; leave one out"),
        (("--quick", "--find_learning_rate"), "--find_learning_rate has no effect with --quick, which trains nothing"),
        (("--quick", "--learning_rate", "1e-4"), "--learning_rate has no effect with --quick"),
        (("--find_learning_rate", "--learning_rate", "1"), "--find_learning_rate and --learning_rate are both given"),
        (("--class_weights", "inverse"), "--class_weights is 'inverse'; allowed: balanced"),
        (("--restarts", "-1"), "--restarts is -1; allowed: 0 or more"),
    ],
)
def test_a_wrong_option_is_one_line(more: tuple[str, ...], message: str, fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        order(fasta, tmp_path, tmp_path / "runs", *more)


def test_weights_need_classes_and_a_choice_needs_a_test(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--class_weights needs classes, and task protein-stability is a regression"):
        selection.train_command(["--task", "protein-stability", "--class_weights", "balanced"])
    with pytest.raises(ValueError, match="glue-stsb is tested on its validation set, so that no model may be chosen"):
        selection.train_command(["--task", "glue-stsb", "--quick"])
    assert read_options(["--quick"]).run.quick


def answered(folder: Path, split: str, right: np.ndarray, groups: list[str] | None = None) -> None:
    """Gives a run answers on a split: 0 to each item that is right, and all items are of class 0."""
    columns = {"id": [str(i) for i in range(len(right))], "label": [0] * len(right)}
    rows = Dataset.from_dict(columns | ({} if groups is None else {"group": groups}))
    RunWriter(folder).predictions(split == "test", rows, np.eye(3)[1 - right.astype(int)])
    results = run_files.read_json(folder / run_files.RESULTS)
    results["metrics"][split] = {"accuracy": float(right.mean())}
    run_files.write_json(folder / run_files.RESULTS, results)


def test_the_comparison_by_numbers_that_are_known(tmp_path: Path) -> None:
    """Validation chooses the second model, though the first is better on test."""
    made = []
    for kind, name, skill, arm, score in (
        (FINE_TUNED, "a", 2.2, "bert", 0.1),
        (PROBE, "b", 2.0, "re_emb", 0.9),
        (BASELINE, "c", 0.4, "rand", 0.2),
    ):
        folder = make_run(tmp_path, skill=skill, arm=arm)
        answered(folder, "validation", np.arange(10) < 10 * score)
        made.append(Candidate(kind, name, Run.open(folder)))
    compared = compare_candidates(made)
    assert [row["validation"] for row in compared["candidates"]] == pytest.approx([0.1, 0.9, 0.2])
    assert (compared["kept"], compared["best_baseline"]) == ("b", "c")
    tested = [row["test"] for row in compared["candidates"]]
    assert compared["difference"] == pytest.approx(tested[1] - tested[2])
    assert compared["low"] > 0
    assert compared["sentence"].startswith("The model (b) beats the best baseline (c): test accuracy differs by +0.")
    assert table(compared)[1].split()[:2] == ["b", "(kept)"]
    _, good, bad = (each.run for each in made)
    for model, said in ((bad, "is worse than"), (good, "cannot be told from")):
        again = compare_candidates([Candidate(PROBE, "m", model), Candidate(BASELINE, "n", good)])
        assert again["sentence"].startswith(f"The model (m) {said} the best baseline (n): test accuracy differs by ")
    plain = [Candidate(BASELINE, "nearest", bad), Candidate(BASELINE, "majority", good)]
    assert compare_candidates([Candidate(PROBE, "m", good), *plain])["best_baseline"] == "majority"


def test_intervals_of_a_comparison_are_over_groups(tmp_path: Path) -> None:
    made = []
    for seed, (kind, share) in enumerate([(PROBE, 0.9), (BASELINE, 0.5)]):
        folder = make_run(tmp_path, seed=seed, items=40, split="grouped")
        right = np.random.default_rng(seed).random(40) < share
        for split in ("validation", "test"):
            answered(folder, split, right.repeat(3), [f"g{i // 3}" for i in range(120)])
        made.append(Candidate(kind, kind, Run.open(folder)))
    compared = compare_candidates(made)
    assert (compared["test_items"], compared["test_groups"]) == (120, 40)
    assert "[95% over 40 groups of 120 items]" in table(compared)[0]
    assert compared["sentence"].endswith("over test groups.")
    share = compared["candidates"][1]["test"]
    half = 1.96 * np.sqrt(share * (1 - share) / 40)  # as of 40 items, not of 120
    low, high = compared["candidates"][1]["low"], compared["candidates"][1]["high"]
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.03)


def test_of_equal_rates_the_usual_one_is_kept() -> None:
    rates = (3e-5, 1e-4, 3e-4)
    for scores, best in (((0.5, 0.5, 0.5), 1e-4), ((0.6, 0.5, 0.6), 3e-5), ((0.5, 0.5, 0.6), 3e-4)):
        tried = [{"learning_rate": rate, "validation": score} for rate, score in zip(rates, scores, strict=True)]
        assert best_rate(tried, 1e-4) == best
