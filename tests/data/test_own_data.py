"""A user's own files through train.py: from a FASTA file or a table to a model, its card and a report."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from own_files import own_order, train_own

from dataset_scripts.build import build_dataset
from hf_bertx import run_files
from hf_bertx.data.task_data import user_task
from hf_bertx.launch import main
from hf_bertx.publishing.cards import built_task
from hf_bertx.report import write as report


def write_fasta(path: Path, n: int) -> Path:
    draw = random.Random(1)
    records = [f">seq{i} label={'yes' if i % 2 else 'no'}\n{''.join(draw.choices('acgt', k=30))}\n" for i in range(n)]
    path.write_text("".join(records))
    return path


def test_a_fasta_file_becomes_a_model_with_its_card(
    tiny_backbone: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    runs, file = tmp_path / "runs", write_fasta(tmp_path / "promoters.fasta", 80)
    folder = train_own(tiny_backbone, runs, file).folder
    (record,) = report.collect_runs(runs)
    assert (record.task.name, record.task.labels) == ("promoters", ("no", "yes"))
    assert record.results is not None
    assert record.results["counts"] == {"train": 56, "validation": 12, "test": 12}
    assert record.results["cut"] == {"train": 0, "validation": 0, "test": 0}
    card = (folder / run_files.MODEL / "README.md").read_text()
    assert "the data set promoters" in card
    assert "huggingface.co/datasets" not in card
    assert "| test | 12 |" in card
    assert "Read as 2 classes: no (40), yes (40); 56 train, 12 validation, 12 test" in card
    assert "tokens were cut:" not in card
    assert "promoters" in report.markdown(report.tables(report.read_runs(runs))[0])
    assert "56 training items, the folder promoters-" in card
    assert "licence not stated (repeat `bertx train`" in card
    made = (folder / run_files.RESULTS).stat().st_mtime_ns
    assert train_own(tiny_backbone, runs, file, "--license", "cc-by-4.0").folder == folder
    assert (folder / run_files.RESULTS).stat().st_mtime_ns == made  # a finished run is not trained again
    assert "; licence cc-by-4.0; sha256" in (folder / run_files.MODEL / "README.md").read_text()
    write_fasta(file, 100)  # another file under the same name is another run
    assert "data_fingerprint" in refusal(main, *own_order(tiny_backbone, runs, file))


def test_targets_in_a_table_make_a_regression(tiny_backbone: Path, tmp_path: Path) -> None:
    rows = [f"ACDEFGHIK{'LMN'[i % 3] * (i % 7 + 1)},{i / 10:.1f},family-{i % 30}\n" for i in range(120)]
    table = tmp_path / "stability.csv"
    table.write_text("peptide,score,family\n" + "".join(rows))
    columns = ("--sequence_column", "peptide", "--label_column", "score", "--group_column", "family")
    run = train_own(tiny_backbone, tmp_path / "runs", table, "--discipline", "protein", *columns)
    (record,) = report.collect_runs(tmp_path / "runs")
    assert record.task.metrics == ("spearman", "pearson")
    assert record.task.max_length == 19  # the longest of 16 residues, two special tokens and one to spare
    assert json.loads((run.folder / "model" / "config.json").read_text())["problem_type"] == "regression"


def test_groups_that_two_files_share_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, first in (("train", 0), ("test", 5)):
        rows = "".join(f"{'ACGT' * (i % 9 + 1)},{'xy'[i % 2]},family-{first + i % 6}\n" for i in range(60))
        (tmp_path / f"{name}.csv").write_text("sequence,label,group\n" + rows)
    files = {f"{name}_file": str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    build_dataset("mine", tmp_path / "built", builder_options={**files, "discipline": "dna"})
    said = "groups of test.csv that are in the training file too: 1, as 'family-5'"
    assert said in caplog.text
    assert said in (tmp_path / "built" / "README.md").read_text()


def test_no_item_is_cut_below_what_the_model_can_read(tmp_path: Path) -> None:
    labels = Counter({"a": 2, "b": 2})
    assert user_task("mine", "text", labels, 4, False, False, "file").max_length == 512  # words, not tokens
    assert user_task("mine", "dna", labels, 2000, False, False, "file").max_length == 512
    rows = "".join(f"{'ACDE' * 4},{'FGHI' * 3},{'xy'[i % 2]}\n" for i in range(60))
    for name, more in (("train", ""), ("test", f"{'ACDE' * 5},{'FGHI' * 3},x\n")):
        (tmp_path / f"{name}.csv").write_text("sequence,partner,label\n" + rows + more)
    files = {f"{name}_file": str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    told = {**files, "discipline": "protein", "second_sequence_column": "partner"}
    build_dataset("pairs", tmp_path / "built", builder_options=told)
    assert built_task(tmp_path / "built").max_length == 20 + 12 + 3  # of the longest pair of any file
