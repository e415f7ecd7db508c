"""Sequences that are longer than the model: windows in training, and the same windows in prediction."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import SHORT, own_table, train_own
from saved_models import predict
from scipy.special import expit, softmax
from transformers import pipeline

from hf_bertx import RunSpec
from hf_bertx.data.task_data import load_task_data
from hf_bertx.disciplines import DNA, MUSIC, Discipline
from hf_bertx.launch import main
from hf_bertx.metrics import mean_answers
from hf_bertx.pipeline_discipline import TASK
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.run import Run
from hf_bertx.runs.training import build_trainer
from hf_bertx.selection.command import train_command
from hf_bertx.tokenization.windows import Windows

TEXTS = ["ACGTTGCAGTACGTACCA" * 3, "AC", "GATTACA" * 5]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 records of 5 to 64 bases."""
    items = (("ACGT"[i % 4] * (5 + i), "ab"[i % 2]) for i in range(60))
    return own_table(tmp_path_factory.mktemp("rows") / "long.csv", items)


@pytest.fixture(scope="module")
def windowed_run(tiny_backbone: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    return train_own(tiny_backbone, root, table, "--window", "20", "--overlap", "5").folder


@pytest.mark.parametrize(
    ("windows", "text", "discipline", "expected"),
    [
        (Windows(4), "ACGTAC", DNA, ["ACGT", "GTAC"]),  # the last one ends with the sequence
        (Windows(4, 1), "ACGTACGTA", DNA, ["ACGT", "TACG", "CGTA"]),
        (Windows(4, 3), " ACGTA ", DNA, ["ACGT", "CGTA"]),
        (Windows(4), "ACGT", DNA, ["ACGT"]),
        (Windows(2), "acgttgNa", DNA.kmers(3), ["acgttg", "Na"]),  # three symbols and one letter
        (Windows(2), "60 64 67", MUSIC, ["60 64", "64 67"]),
    ],
)
def test_windows_hold_whole_symbols(windows: Windows, text: str, discipline: Discipline, expected: list[str]) -> None:
    found, owners = windows.cut([text, text], discipline)
    assert found == 2 * expected
    assert owners.tolist() == [0] * len(expected) + [1] * len(expected)


def test_probabilities_and_values_are_averaged() -> None:
    logits, owners = np.array([[0.0, 2.0], [1.0, 0.0], [3.0, 3.0]]), np.array([0, 0, 1])
    mean = softmax(logits[:2], axis=1).mean(axis=0)
    assert np.abs(np.exp(mean_answers(logits, owners, regression=False)) - [mean, [0.5, 0.5]]).max() < 1e-6
    assert mean_answers(np.array([1.0, 4.0, 7.0]), owners, regression=True).tolist() == [[2.5], [7.0]]
    several = expit(mean_answers(logits, owners, regression=False, multi_label=True))
    assert several == pytest.approx(np.array([expit(logits[:2]).mean(axis=0), expit(logits[2])]), abs=1e-6)


def test_a_run_scores_items_and_says_how_many_were_split(windowed_run: Path) -> None:
    run = Run.open_finished(windowed_run)
    assert windowed_run.name == "seed-42-window-20-overlap-5"
    assert (run.specification["window"], run.specification["overlap"]) == (20, 5)
    assert run.results["counts"] == {"train": 42, "validation": 9, "test": 9}
    assert run.results["cut"] == {"train": 0, "validation": 0, "test": 0}
    assert sum(run.results["split"].values()) == 44  # of 21 bases and more
    assert run.predictions("test").logits.shape == (9, 2)  # their scores are compared with results.json
    card = (run.model_dir / "README.md").read_text(encoding="utf-8")
    assert "Items of more than 20 symbols were read in windows of so many, of which two share at least 5" in card
    assert "were cut" not in card


def test_classes_weigh_the_same_over_all_windows(windowed_run: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    (data,) = (windowed_run.parents[4] / "data").glob("long-*")
    argv = f"--task {data} --backbone {tiny_backbone} --window 20 --class_weights balanced --arm bert".split()
    (spec,), args = parse_arguments(argv)
    trainer = build_trainer(spec, args, load_task_data(spec.task, spec.split, spec.data_dir), tmp_path)
    (batch,) = trainer.train_dataset.__getitems__([*range(len(trainer.train_dataset))])
    labels = batch["labels"]
    assert int(labels.sum()) * 2 != len(labels)  # the longer items are of one class more often

    def loss(*logits: float) -> float:
        answers = {"logits": torch.tensor([logits]).expand(len(labels), 2)}
        return trainer.compute_loss_func(answers, labels, len(labels)).item()

    assert loss(1.0, 0.0) == pytest.approx(loss(0.0, 1.0))


def test_answers_say_how_many_windows_were_read(windowed_run: Path, table: Path, tmp_path: Path) -> None:
    assert predict(windowed_run, table, "--output", tmp_path / "out.csv") == 0
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "out.csv").open())}
    assert (rows["s15"]["windows"], rows["s16"]["windows"]) == ("1", "2")  # 20 and 21 bases
    assert {row["cut"] for row in rows.values()} == {"0"}
    classify = pipeline(TASK, model=str(windowed_run / "model"), device="cpu")
    found = [answer.get("windows", 1) for answer in classify(TEXTS)]
    assert found == [len(Windows(20, 5).cut([text], DNA)[0]) for text in TEXTS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", "0"], "window is 0; allowed: at least 1 symbol"),
        (["--window", "20", "--overlap", "20"], "overlap is 20; allowed: 0 to 19, less than the window"),
        (["--overlap", "5"], "--overlap is 5, but --window is missing"),
        (["--window", "127"], "reads 126 symbols beside its 2 special tokens; allowed: 1 to 126"),
        (["--window", "20", "--task", "music-maestro-v1"], "its items are segments of pieces already"),
        (["--window", "20", "--task", "glue-sst2", "--arm", "bert"], "text has no symbols"),
    ],
)
def test_windows_that_are_not_allowed(
    options: list[str], message: str, tiny_backbone: Path, tmp_path: Path, refusal: Any
) -> None:
    assert message in refusal(main, "--backbone", tiny_backbone, "--output_dir", tmp_path, *options)


@pytest.mark.parametrize("verb", ["train", "probe"])
def test_a_run_that_cuts_its_items_says_so_once(
    verb: str, tiny_backbone: Path, table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path / "runs"), "--discipline", "dna"]
    for part in ("train", "validation", "test"):
        (tmp_path / f"{part}.csv").write_text(table.read_text().replace("s59,", "s59," + "T" * 200))
        argv += [f"--{part}_file", str(tmp_path / f"{part}.csv")]
    if verb == "probe":
        train_command([*argv, "--quick"])
    else:
        assert main([*argv, *SHORT]) == 0
    noted = caplog.text
    said = "1 of 60 training items (2%) are longer than the 128 tokens that the model reads"
    assert noted.count("longe") == noted.count(said) == 1
    assert "--window 126 reads them whole" in noted


def test_the_folder_of_a_specification_names_its_windows() -> None:
    spec = RunSpec(window=500, overlap=100)
    assert spec.folder().name == "seed-42-window-500-overlap-100"
    assert RunSpec.from_json({**spec.to_json()}) == RunSpec(window=500, overlap=100, split="paper")
