"""A saved model gives what the run's own test gave: for every protocol, every arm and every form of a task."""

import csv
import json
import random
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from scipy.special import expit, softmax
from transformers import AutoTokenizer, pipeline

import hf_bertx.pipeline_discipline  # noqa: F401  registers the pipeline
from hf_bertx.arms import ARMS
from hf_bertx.cli import main
from hf_bertx.disciplines import get_discipline
from hf_bertx.prediction.loading import as_discipline_tokenizer
from hf_bertx.protocols import PROTOCOLS
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.training import run
from hf_bertx.tasks import TASKS, Task
from hf_bertx.tokenization.windows import Windows
from hf_bertx.tokenization_discipline import DisciplineTokenizer

SYMBOLS = {"dna": list("ACGTN"), "protein": list("LAGVESIKRDTPNQFYMHCW"), "music": [str(n) for n in range(128)]}
# form -> task; each is cut to 40 tokens (k-mers to 12), and some sequences are longer
FORMS = {
    "dna": TASKS["dna-h3"],
    "protein": TASKS["protein-localization"],
    "protein pairs": replace(TASKS["protein-localization"], pair=True),
    "regression": TASKS["protein-stability"],
    "votes": TASKS["music-maestro-v1"],
    "text": TASKS["glue-cola"],
    "text pairs": TASKS["glue-rte"],
    "text regression": TASKS["glue-stsb"],
}
_SHIFTED = [name for name, arm in ARMS.items() if arm.shift != "none"]
_next = {True: cycle([*_SHIFTED, "re_emb"]), False: cycle([name for name in ARMS if name not in _SHIFTED])}
CASES = [
    (protocol, form, next(_next[task.discipline == "text"])) for protocol in PROTOCOLS for form, task in FORMS.items()
]
# forms that every protocol reads alike
READ_BY_ONE = {
    "windows": (TASKS["dna-h3"], Windows(20, 5)),
    "k-mers": (TASKS["dna-h3"], None),
    "k-mers in windows": (TASKS["dna-h3"], Windows(7)),
    "values in windows": (TASKS["protein-stability"], Windows(20)),
    "several labels": (replace(TASKS["protein-localization"], labels=("a", "b", "c"), multi_label=True,
                               metric="micro_f1", extra_metrics=("macro_f1", "auprc")), None),
}  # fmt: skip
CASES += [("recommended", form, "bert") for form in READ_BY_ONE]
ALL = FORMS | {form: task for form, (task, _) in READ_BY_ONE.items()}


def rows(task: Task, n: int, seed: int) -> dict[str, list[Any]]:
    draw = random.Random(seed)
    joint = {"music": " ", "text": " "}.get(task.discipline, "")
    symbols = SYMBOLS.get(task.discipline, [f"word{k}" for k in range(50)])
    sequences = [joint.join(draw.choices(symbols, k=draw.randint(5, 60))) for _ in range(n)]
    columns: dict[str, list[Any]] = {"id": [f"{seed}-{i}" for i in range(n)], "sequence": sequences}
    if task.pair:
        columns["second_sequence"] = sequences[::-1]
    columns["group"] = [f"piece-{i // 4}" for i in range(n)]
    classes = len(task.labels or ())
    columns["label"] = [draw.random() for _ in range(n)] if task.regression else [(i // 4) % classes for i in range(n)]
    if task.multi_label:
        columns["label"] = [";".join(draw.sample(task.labels or (), draw.randint(1, classes))) for _ in range(n)]
    return columns


def trained(form: str, arm: str, protocol: str, backbone: Path, folder: Path) -> Path:
    """The folder of a finished run of four steps, on rows that are written beside it."""
    task = replace(ALL[form], max_length=12 if form == "k-mers" else 40)
    for seed, (name, n) in enumerate((("train", 64), ("validation", 12), ("test", 16))):
        Dataset.from_dict(rows(task, n, seed)).to_parquet(folder / "data" / f"{name}.parquet")
    argv = ["--task", task.name, "--arm", arm, "--protocol", protocol, "--backbone", str(backbone), "--max_steps", "4"]
    argv += ["--data_dir", str(folder / "data"), "--output_dir", str(folder / "runs"), "--logging_steps", "1"]
    argv += ["--kmer", "3"] if "k-mers" in form else []
    _, windows = READ_BY_ONE.get(form, (task, None))
    if windows is not None:
        argv += ["--window", str(windows.symbols), *(["--overlap", str(windows.overlap)] if windows.overlap else [])]
    (spec,), args = parse_arguments([*argv, "--disable_tqdm", "True"])
    return run(replace(spec, task=task), args)


def answers(given: list[dict[str, Any]], labels: list[str] | None) -> np.ndarray:
    """Scores by class, or values, shape `(items, classes)`, of a pipeline's answers or of the rows of a file."""
    if labels is None:
        return np.array([[float(answer.get("value", answer.get("score")))] for answer in given])
    return np.array([[float(row[f"score_{label}"]) for label in labels] for row in given])


def by_class(given: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{f"score_{answer['label']}": answer["score"] for answer in item} for item in given]


@pytest.mark.parametrize(("protocol", "form", "arm"), CASES)
def test_predict_and_pipelines_give_the_scores_of_the_run(
    tiny_backbone: Path, tmp_path: Path, protocol: str, form: str, arm: str
) -> None:
    (tmp_path / "data").mkdir()
    folder, task = trained(form, arm, protocol, tiny_backbone, tmp_path), ALL[form]
    _, windows = READ_BY_ONE.get(form, (task, None))
    results = json.loads((folder / "results.json").read_text())
    labels, split = None if task.labels is None else list(task.labels), results["test_split"]
    assert set(task.metrics) <= set(results["metrics"][split])
    predictions = pq.read_table(folder / "predictions_test.parquet").to_pydict()
    logits = np.array(predictions["logits"])
    expected = logits if labels is None else expit(logits) if task.multi_label else softmax(logits, axis=1)
    columns = pq.read_table(tmp_path / "data" / f"{split}.parquet").to_pydict()
    assert predictions["id"] == columns["id"]

    with (tmp_path / "in.csv").open("w") as file:
        names = [name for name in columns if name != "label"]
        csv.writer(file).writerows([names, *zip(*(columns[name] for name in names), strict=True)])
    argv = ["predict", str(folder), str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv")]
    argv += ["--second_sequence_column", "second_sequence"] if task.pair else []
    assert main([*argv, *(["--piece_column", "group"] if task.votes else [])]) == 0
    with (tmp_path / "out.csv").open() as file:
        out = list(csv.DictReader(file))
    assert [row["id"] for row in out] == columns["id"]
    np.testing.assert_allclose(answers(out, labels), expected, atol=2e-6)
    assert max(int(row["cut"] if windows is None else row["windows"]) for row in out) > (windows is not None)
    if task.votes:
        answered = zip(out, columns["label"], strict=True)
        right = {row["piece"]: row["piece_label"] == task.labels[label] for row, label in answered}
        assert np.mean(list(right.values())) == results["metrics"][split]["accuracy"]

    items: list[Any] = columns["sequence"]
    if task.pair:
        pairs = zip(columns["sequence"], columns["second_sequence"], strict=True)
        items = [{"text": first, "text_pair": second} for first, second in pairs]
    for kind in ("discipline-classification", "text-classification"):
        classify = pipeline(kind, model=str(folder / "model"), device="cpu")
        options = {} if kind.startswith("discipline") else {"truncation": True, "function_to_apply": None}
        # plain pipelines read whole sequences: the windows of one are given one by one, and averaged
        alone = kind.startswith("text") and windows is not None
        parts = [[item] for item in items]
        if alone:
            symbols = get_discipline(task.discipline, 3 if "k-mers" in form else None)
            parts = [windows.cut([item], symbols)[0] for item in items]
        if labels is None:
            given = [classify([part], **options)[0] for own in parts for part in own]
            values = answers(given, None)
        else:
            given = [classify([part], top_k=None, **options) for own in parts for part in own]
            values = answers(by_class([item[0] if isinstance(item[0], list) else item for item in given]), labels)
        ends = np.cumsum([0, *map(len, parts)])
        values = np.array([values[start:end].mean(axis=0) for start, end in pairwise(ends)])
        np.testing.assert_allclose(values, expected, atol=2e-6, err_msg=kind)


def test_every_arm_and_protocol_is_served() -> None:
    assert {arm for _, _, arm in CASES} == set(ARMS)
    assert {(protocol, form) for protocol, form, _ in CASES} >= {(p, f) for p in PROTOCOLS for f in FORMS}


def test_a_loaded_tokenizer_keeps_its_token_map(tiny_backbone: Path, tmp_path: Path) -> None:
    """Whatever stands under its name now: another revision may have another map."""
    one, other = (DisciplineTokenizer.from_backbone(tiny_backbone, "dna", "random", seed=seed) for seed in (0, 1))
    one.model_max_length = 30
    one.save_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    ours = as_discipline_tokenizer(plain)
    assert ours("ACGTN").input_ids == one("ACGTN").input_ids != other("ACGTN").input_ids
    assert ours.model_max_length == 30
    assert ours.special_tokens_map == one.special_tokens_map
