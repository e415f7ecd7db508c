"""Numbers of the study `verdict`, computed again from its archived answers without the report's code."""

import io
import json
import random
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

FORMULAS = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "mcc": matthews_corrcoef,
    # a constant answer ranks nothing: 0
    "spearman": lambda truth, answers: np.nan_to_num(spearmanr(truth, answers).statistic),
}


def test_a_hundred_scores_drawn_at_random() -> None:
    with tarfile.open(ROOT / "results" / "verdict" / "runs.tar.xz") as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    folders = sorted(name.rpartition("/")[0] for name in files if name.endswith("/results.json"))
    for folder in random.Random(20211).sample(folders, 100):
        task = json.loads(files[f"{folder}/run.json"])["task"]
        results = json.loads(files[f"{folder}/results.json"])
        table = pq.read_table(io.BytesIO(files[f"{folder}/predictions_test.parquet"]))
        truth = table["label"].to_numpy()
        if "decision" in table.column_names:
            answers = table["decision"].to_numpy()
        else:
            logits = np.array(table["logits"].to_pylist())
            answers = logits[:, 0] if task["labels"] is None else logits.argmax(1)
        if task["votes"]:  # the commonest answer of a piece's segments; the first of equals
            pieces = table["group"].to_numpy()
            first = {piece: place for place, piece in reversed(list(enumerate(pieces)))}
            answers = np.array([np.bincount(answers[pieces == piece]).argmax() for piece in first])
            truth = np.array([truth[place] for place in first.values()])
        stated = results["metrics"][task["test_split"]][task["metric"]]
        assert FORMULAS[task["metric"]](truth, answers) == pytest.approx(stated, abs=1e-4), folder
