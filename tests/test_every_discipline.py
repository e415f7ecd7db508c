"""A short run of every discipline, on a few rows that the test writes: pairs, regression, votes, shifts."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_bertx.run_arguments import parse_arguments
from hf_bertx.tasks import TASKS
from hf_bertx.training import run

SYMBOLS = {"dna": list("ACGTN"), "protein": list("LAGVESIKRDTPNQFYMHCW"), "music": [str(n) for n in range(128)]}


def rows(task_name: str, n: int, seed: int) -> dict[str, list[Any]]:
    task, draw = TASKS[task_name], random.Random(seed)
    joint = {"music": " ", "text": " "}.get(task.discipline, "")
    symbols = SYMBOLS.get(task.discipline, [f"word{k}" for k in range(50)])
    sequences = [joint.join(draw.choices(symbols, k=draw.randint(5, 40))) for _ in range(n)]
    columns: dict[str, list[Any]] = {"id": [f"{seed}-{i}" for i in range(n)], "sequence": sequences}
    if task.pair:
        columns["second_sequence"] = sequences[::-1]
    columns["group"] = [f"piece-{i // 4}" for i in range(n)]
    classes = len(task.labels or ())
    columns["label"] = [draw.random() for _ in range(n)] if task.regression else [(i // 4) % classes for i in range(n)]
    return columns


@pytest.mark.parametrize(
    ("task", "arm", "protocol"),
    [
        ("dna-h3", "unused", "paper"),
        ("protein-localization", "random_tokens", "paper"),
        ("protein-stability", "bert", "recommended"),
        ("music-maestro-v1", "rand", "authors"),
        ("music-maestro-v1", "random_body", "recommended"),
        ("glue-rte", "shift_1000", "paper"),
        ("glue-stsb", "random_shift_rand", "authors"),
        ("glue-cola", "re_emb", "paper"),
    ],
)
def test_a_short_run(tiny_backbone: Path, tmp_path: Path, task: str, arm: str, protocol: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for seed, (name, n) in enumerate((("train", 64), ("validation", 12), ("test", 16))):
        Dataset.from_dict(rows(task, n, seed)).to_parquet(data / f"{name}.parquet")
    argv = ["--task", task, "--arm", arm, "--protocol", protocol, "--backbone", str(tiny_backbone), "--max_steps", "4"]
    argv += [
        "--data_dir",
        str(data),
        "--output_dir",
        str(tmp_path / "runs"),
        "--logging_steps",
        "1",
        "--disable_tqdm",
        "True",
    ]
    (spec,), args = parse_arguments(argv)
    folder = run(spec, args)
    results = json.loads((folder / "results.json").read_text())
    text = TASKS[task].discipline == "text"
    assert results["steps"] == 4
    assert results["test_split"] == ("validation" if text else "test")
    assert set(TASKS[task].metrics) <= set(results["metrics"][results["test_split"]])
    assert ("segment_accuracy" in results["metrics"][results["test_split"]]) == TASKS[task].votes
    log = json.loads((folder / "log_history.json").read_text())
    assert any("eval_loss" in entry for entry in log) != text  # what is tested on validation is not selected on it
    predictions = pq.read_table(folder / "predictions_test.parquet")
    assert predictions.num_rows == (12 if text else 16)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder / "model", output_loading_info=True)
    assert not any(info.values())
    first = rows(task, 12 if text else 16, 1 if text else 2)
    sequence = [first[name][0] for name in ("sequence", "second_sequence") if name in first]
    special = not (protocol == "authors" and task.startswith("music"))
    encoded = AutoTokenizer.from_pretrained(folder / "model")(
        *sequence, return_tensors="pt", add_special_tokens=special
    )
    logits = model.eval()(**encoded).logits[0].tolist()
    assert logits == pytest.approx(predictions.to_pydict()["logits"][0], abs=1e-5)
