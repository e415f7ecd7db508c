"""Several labels an item: from a table to a model that plain transformers answers alike."""

import csv
import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_damage import edit
from own_files import own_order, own_table, train_own
from saved_models import predict
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score
from transformers import pipeline

from hf_bertx.cli import main as bertx
from hf_bertx.data.labels import label_rows
from hf_bertx.launch import main
from hf_bertx.publishing.cards import model_card
from hf_bertx.report.resampling import resampled_scores
from hf_bertx.runs.run import Run

NAMES = ("cytoplasm", "membrane", "nucleus")
SEVERAL = ["--discipline", "protein", "--problem", "multi_label"]


def write_table(path: Path, rows: int) -> Path:
    """Each label has a residue of its own, which a sequence holds ten times where the item has the label."""
    draw, items = random.Random(0), []
    choices = [own for count in (1, 2, 3) for own in itertools.combinations(range(3), count)]
    for _ in range(rows):
        own = draw.choice(choices)
        sequence = "".join("KLW"[n] * 10 for n in own) + "".join(draw.choices("AGST", k=5))
        items.append((sequence, "; ".join(NAMES[n] for n in own)))
    return own_table(path, items)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("rows") / "places.csv", 400)


@pytest.fixture(scope="module")
def run(tiny_backbone: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = ["--max_steps", "60", "--eval_steps", "30", "--learning_rate", "3e-3"]
    return train_own(tiny_backbone, tmp_path_factory.mktemp("runs"), table, *SEVERAL, *options)


def test_a_run_is_scored_by_label(run: Run, table: Path) -> None:
    assert run.task.labels == NAMES
    assert run.results["understood"]["problem"] == "multi_label"
    true = {row["id"]: row["label"] for row in csv.DictReader(table.open())}
    for split in ("validation", "test"):
        found = run.predictions(split)
        assert found.logits.shape == (60, 3)
        rows = label_rows([true[name] for name in found.ids], NAMES)
        scores = {
            "micro_f1": f1_score(rows, found.logits > 0, average="micro"),
            "macro_f1": f1_score(rows, found.logits > 0, average="macro"),
            "auprc": average_precision_score(rows, found.logits),
        }
        assert run.scores[split] == pytest.approx(scores)
    assert run.scores["test"]["micro_f1"] > 0.8


def test_predict_names_every_label_that_an_item_has(run: Run, table: Path, tmp_path: Path) -> None:
    found = run.predictions("test")
    assert predict(run.folder, table, "--output", tmp_path / "out.csv", "--precision", "float32") == 0
    rows = {row["id"]: row["label"] for row in csv.DictReader((tmp_path / "out.csv").open())}
    expected = [";".join(np.array(NAMES)[logits >= 0]) for logits in found.logits]
    assert [rows[name] for name in found.ids] == expected


def test_card_and_report_take_several_labels(run: Run, tmp_path: Path) -> None:
    card = (run.model_dir / "README.md").read_text(encoding="utf-8")
    assert 'top_k=None, function_to_apply="sigmoid")' in card
    assert "Read as 3 labels, several an item: " in card
    assert ', problem_type="multi_label_classification")' in model_card(run.folder, adapter=True)
    assert bertx(["report", str(run.folder), "--output", str(tmp_path / "report")]) == 0
    table = (tmp_path / "report" / "runs.csv").read_text(encoding="utf-8")
    assert "places" in table


def test_arms_are_compared_by_several_labels(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "bert")
    shutil.copytree(run.folder, tmp_path / "rand")
    edit(tmp_path / "rand" / "run.json", lambda order: order["specification"].update(arm="rand", start="random"))
    answers = tmp_path / "rand" / "predictions_test.parquet"
    found = pq.read_table(answers)
    logits = [[value if n else -9.0 for n, value in enumerate(item)] for item in found["logits"].to_pylist()]
    place = found.column_names.index("logits")
    pq.write_table(found.set_column(place, "logits", pa.array(logits, found.schema.field("logits").type)), answers)
    given = np.array(logits) > 0
    score = f1_score(label_rows(found["label"].to_pylist(), NAMES), given, average="micro")
    edit(tmp_path / "rand" / "results.json", lambda results: results["metrics"]["test"].update(micro_f1=score))
    assert bertx(["report", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    (test,) = csv.DictReader((tmp_path / "out" / "comparisons.csv").open())
    assert (test["first"], test["second"], test["metric"], test["over"]) == ("bert", "rand", "micro_f1", "test items")
    assert float(test["difference"]) == pytest.approx(run.scores["test"]["micro_f1"] - score)
    assert 0 < float(test["low"]) < float(test["difference"]) < float(test["high"])
    assert all(row["interval_over"] == "test items" for row in csv.DictReader((tmp_path / "out" / "cells.csv").open()))


def test_baselines_and_a_probe_come_first(
    tiny_backbone: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["train", "--train_file", str(table), "--discipline", "protein", "--problem", "multi_label", "--quick"]
    argv += ["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path)]
    assert bertx(argv) == 0
    said = capsys.readouterr().out
    assert "The model (probe) cannot be told from the best baseline (nearest): test micro_f1 differs by +0.000" in said
    runs = {run.name: run for run in (tmp_path / "baseline" / "places").iterdir()}
    found = {name: Run.open_finished(folder / "baseline" / "seed-42") for name, folder in runs.items()}
    assert found["kmer-logistic"].scores["test"]["micro_f1"] > 0.99  # each label has a residue of its own
    assert found["nearest"].scores["test"]["micro_f1"] > 0.9
    assert found["majority"].scores["test"]["micro_f1"] < 0.8
    (folder,) = (path.parent for path in (tmp_path / "probe").rglob("results.json"))
    probe = Run.open_finished(folder)
    predictions = probe.predictions("test")
    plain = pipeline("text-classification", str(probe.model_dir), function_to_apply="sigmoid", top_k=None)
    sequence = {row["id"]: row["sequence"] for row in csv.DictReader(table.open())}[predictions.ids[0]]
    scores = {entry["label"]: entry["score"] for entry in plain([sequence])[0]}
    assert [scores[name] for name in NAMES] == pytest.approx(expit(predictions.logits[0]), abs=1e-2)


@pytest.mark.parametrize(("metric", "average"), [("micro_f1", "micro"), ("macro_f1", "macro")])
def test_resampled_scores_of_labels_are_those_of_sklearn(metric: str, average: str) -> None:
    generator = np.random.default_rng(0)
    truth, given = generator.integers(2, size=(30, 3)), generator.integers(2, size=(2, 30, 3))
    found = resampled_scores(metric, truth, given, 1, seed=5)
    drawn = np.random.default_rng(5).integers(30, size=(1, 30))[0]
    assert found[0] == pytest.approx([f1_score(truth[drawn], each[drawn], average=average) for each in given])
    with pytest.raises(ValueError, match=r"metric 'accuracy' cannot be resampled; allowed: micro_f1, macro_f1"):
        resampled_scores("accuracy", truth, given, 1)


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("nucleus;;membrane", [], "line 3: the label 'nucleus;;membrane' has an empty part"),
        ("nucleus;", [], "line 3: the label 'nucleus;' has an empty part; allowed: names divided by ;"),
        ("nucleus", ["--metric", "accuracy"], "--metric is 'accuracy'; allowed for multi_label: micro_f1, macro_f1"),
        ("nucleus", ["--label_smoothing_factor", "0.1"], "has several labels an item"),
        ("nucleus", ["--calibrate"], "--calibrate needs classes, and task places has several labels an item"),
    ],
)
def test_options_that_several_labels_do_not_allow(
    label: str, options: list[str], message: str, tiny_backbone: Path, table: Path, tmp_path: Path, refusal: Any
) -> None:
    lines = table.read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:2], label])
    (tmp_path / "places.csv").write_text("\n".join(lines) + "\n")
    order = own_order(tiny_backbone, tmp_path / "runs", tmp_path / "places.csv", *SEVERAL, *options)
    assert message in refusal(main, *order)
