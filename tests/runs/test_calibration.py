"""`--calibrate`: one temperature, fitted on validation and written into the head."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import own_order, own_table, train_own
from saved_models import predict
from scipy.special import softmax
from transformers import pipeline

from hf_bertx.launch import main
from hf_bertx.metrics import calibration
from hf_bertx.runs.calibration import fit_temperature


def test_a_temperature_undoes_a_factor() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 3))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > draw.random((20_000, 1))).argmax(axis=1)
    assert abs(fit_temperature(3 * logits, labels) - 3) < 0.1
    assert calibration(3 * logits, labels).error > 0.1
    assert calibration(logits, labels).error < 0.02
    halves = np.repeat(np.arange(20_000), 2)  # two windows of each item, alike
    assert abs(fit_temperature(3 * np.repeat(logits, 2, axis=0), labels, halves) - 3) < 0.1


LONGER = "--max_steps 40 --eval_steps 20 --learning_rate 3e-3".split()


def noisy_table(path: Path, rows: int, label: str = "") -> Path:
    draw = random.Random(0)
    items = []
    for _ in range(rows):
        first = draw.choice("AC")
        name = label or ("ab"[first == "A"] if draw.random() < 0.7 else draw.choice("ab"))
        items.append((first * 12 + "".join(draw.choices("ACGT", k=8)), name))
    return own_table(path, items)


def test_a_calibrated_run_differs_by_its_temperature_alone(tiny_backbone: Path, tmp_path: Path) -> None:
    table = noisy_table(tmp_path / "noisy.csv", 600)
    plain = train_own(tiny_backbone, tmp_path / "plain", table, *LONGER)
    made = train_own(tiny_backbone, tmp_path / "calibrated", table, *LONGER, "--calibrate")
    found = made.results["calibration"]
    assert found["temperature"] != 1
    for split in ("validation", "test"):
        raw, scaled = plain.predictions(split), made.predictions(split)
        assert np.abs(raw.logits / found["temperature"] - scaled.logits).max() < 1e-4
        assert abs(calibration(raw.logits, raw.labels).error - found["before"][split]) < 1e-4
        assert abs(calibration(scaled.logits, scaled.labels).error - found["after"][split]) < 1e-4
    assert plain.scores == made.scores
    config = json.loads((made.model_dir / "config.json").read_text())
    assert config["calibration_temperature"] == pytest.approx(found["temperature"], abs=1e-6)
    assert "Calibrated: the head was divided by" in (made.model_dir / "README.md").read_text()
    tested = made.predictions("test")
    assert predict(made.folder, table, "--output", tmp_path / "out.csv", "--precision", "float32") == 0
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "out.csv").open())}
    stock = pipeline("text-classification", model=str(made.model_dir), device="cpu")
    sequences = {row["id"]: row["sequence"] for row in csv.DictReader(table.open())}
    answers = stock([sequences[name] for name in tested.ids], top_k=None)
    scores = [next(entry["score"] for entry in answer if entry["label"] == "a") for answer in answers]
    expected = softmax(tested.logits, axis=1)[:, 0]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert [float(rows[name]["score_a"]) for name in tested.ids] == pytest.approx(expected, abs=1e-5)


def test_items_in_windows_are_calibrated(tiny_backbone: Path, tmp_path: Path) -> None:
    items = (("ACGT"[i % 4] * (5 + i % 60), "ab"[i % 2]) for i in range(160))  # test has other windows than validation
    made = train_own(tiny_backbone, tmp_path, own_table(tmp_path / "long.csv", items), "--window", "20", "--calibrate")
    for split, error in made.results["calibration"]["after"].items():
        tested = made.predictions(split)
        assert error == pytest.approx(calibration(tested.logits, tested.labels).error, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "label", "options", "message"),
    [
        (60, "", [], "--calibrate needs 20 validation items or more, and there are 9"),
        (600, "0.5", ["--problem", "regression"], "--calibrate needs classes, and task table is a regression"),
    ],
)
def test_runs_that_cannot_be_calibrated(
    rows: int, label: str, options: list[str], message: str, tiny_backbone: Path, tmp_path: Path, refusal: Any
) -> None:
    table = noisy_table(tmp_path / "table.csv", rows, label)
    assert message in refusal(main, *own_order(tiny_backbone, tmp_path / "runs", table, "--calibrate", *options))
