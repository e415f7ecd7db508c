"""A user's own files through train.py: from a FASTA file or a table to a model, its card and a report."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from subprocess import CompletedProcess

from conftest import ROOT
from python_processes import run_python

from dataset_scripts.build import build_dataset
from hf_bertx import run_files
from hf_bertx.data.task_data import own_task
from hf_bertx.publishing.cards import built_task
from hf_bertx.report import write as report
from hf_bertx.tasks import TASKS


def train(folder: Path, backbone: Path, *argv: str) -> CompletedProcess:
    told = ["--backbone", backbone, "--max_steps", 4, "--baselines", "none", "--probe_items", 0]  # see tests/selection
    return run_python(ROOT / "train.py", *told, *argv, cwd=folder)


def twice(labels: Iterable[str]) -> Counter[str]:
    """Two items of each label."""
    return Counter(dict.fromkeys(labels, 2))


def write_fasta(path: Path, n: int) -> None:
    draw = random.Random(1)
    records = [f">seq{i} label={'yes' if i % 2 else 'no'}\n{''.join(draw.choices('acgt', k=30))}\n" for i in range(n)]
    path.write_text("".join(records))


def test_a_fasta_file_becomes_a_model_with_its_card(tiny_backbone: Path, tmp_path: Path) -> None:
    write_fasta(tmp_path / "promoters.fasta", 80)
    done = train(tmp_path, tiny_backbone, "--train_file", "promoters.fasta", "--discipline", "dna")
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = report.collect_runs(tmp_path / "runs")
    assert record.task.name == "promoters" not in TASKS
    assert record.task.labels == ("no", "yes")
    assert record.results is not None
    assert record.results["counts"] == {"train": 56, "validation": 12, "test": 12}
    card = (record.folder / run_files.MODEL / "README.md").read_text()
    assert "the data set promoters" in card
    assert "huggingface.co/datasets" not in card
    assert "| test | 12 |" in card
    assert "Read as 2 classes: no (40), yes (40); 56 train, 12 validation, 12 test" in card
    assert record.results["cut"] == {"train": 0, "validation": 0, "test": 0}
    assert "tokens were cut:" not in card
    assert "promoters" in report.markdown(report.tables(report.read_runs(tmp_path / "runs"))[0])
    again = train(tmp_path, tiny_backbone, "--train_file", "promoters.fasta", "--discipline", "dna")
    assert "holds this run, finished" in again.stderr
    write_fasta(tmp_path / "promoters.fasta", 100)  # another file under the same name is another run
    changed = train(tmp_path, tiny_backbone, "--train_file", "promoters.fasta", "--discipline", "dna")
    assert changed.returncode == 2
    assert "data_fingerprint" in changed.stderr.splitlines()[-1]


def test_targets_in_a_table_make_a_regression(tiny_backbone: Path, tmp_path: Path) -> None:
    rows = [f"ACDEFGHIK{'LMN'[i % 3] * (i % 7 + 1)},{i / 10:.1f},family-{i % 30}\n" for i in range(120)]
    (tmp_path / "stability.csv").write_text("peptide,score,family\n" + "".join(rows))
    columns = ("--sequence_column", "peptide", "--label_column", "score", "--group_column", "family")
    done = train(tmp_path, tiny_backbone, "--train_file", "stability.csv", "--discipline", "protein", *columns)
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = report.collect_runs(tmp_path / "runs")
    assert record.task.metrics == ("spearman", "pearson")
    assert record.task.max_length == 19  # the longest of 16 residues, two special tokens and one to spare
    assert json.loads((record.folder / "model" / "config.json").read_text())["problem_type"] == "regression"


def test_no_item_is_cut_below_what_the_model_can_read(tmp_path: Path) -> None:
    assert own_task("mine", "text", twice("ab"), 4, False, False, "file").max_length == 512  # words, not tokens
    assert own_task("mine", "dna", twice("ab"), 2000, False, False, "file").max_length == 512
    rows = "".join(f"{'ACDE' * 5},{'FGHI' * 3},{'xy'[i % 2]}\n" for i in range(60))
    (tmp_path / "pairs.csv").write_text("sequence,partner,label\n" + rows)
    told = {"train_file": str(tmp_path / "pairs.csv"), "discipline": "protein", "second_sequence_column": "partner"}
    build_dataset("pairs", tmp_path / "built", builder_options=told)
    assert built_task(tmp_path / "built").max_length == 20 + 12 + 3
