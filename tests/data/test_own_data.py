"""A user's own data: from a FASTA file or a table to a model with its card; a built folder is a task by its path."""

import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from datasets import Dataset, load_dataset
from own_files import SHORT, dna_table, own_order, train_own
from raw_files import midi

from dataset_scripts.build import build_dataset
from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.data.task_data import load_task_data, user_task
from hf_bertx.launch import _content, build_user_data
from hf_bertx.launch import main as train_main
from hf_bertx.publishing.cards import built_task
from hf_bertx.report import write as report
from hf_bertx.runs.arguments import read_options
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.tasks import get_task, rows_folder, task_name

SPLICE = ROOT / "hf_bertx" / "data" / "dna-splice"


def build(folder: Path, labels: str, file: Path | None = None) -> Path:
    file = dna_table(file or folder.with_name("mine.csv"), " ".join(labels), 60)
    argv = ["promoters", "--from", str(file), "--discipline", "dna", "--output", str(folder)]
    assert main(["data", "build", *argv]) == 0
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return build(tmp_path / "promoters", "ab")


def test_a_built_folder_is_a_task(built: Path) -> None:
    assert (task_name(str(built)), get_task(str(built)).labels) == ("promoters", ("a", "b"))
    assert rows_folder(str(built)) == str(built / "default")
    assert (task_name("dna-splice"), rows_folder("dna-splice")) == ("dna-splice", None)
    spec = RunSpec(task=str(built))
    assert spec.folder().as_posix() == "recommended/promoters/minilm-l6/bert/seed-42"
    assert spec.to_json()["task"] == "promoters"


def test_copies_in_the_test_set_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build(tmp_path / "promoters", "ab")
    assert "4 of 9 test items (44.4%) occur letter for letter among the training items." in capsys.readouterr().out
    lines: list[str] = []
    data = load_task_data(get_task(str(folder)), data_dir=str(folder))
    data.log_summary(lines.append)
    assert lines[0].endswith(", 9 test; copies of training items: 4 of 9 test items")
    assert data.origin == "the folder promoters"


def test_a_sequence_with_two_labels_is_said(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("sequence,label\nAC,a\nAC,b\nAC,b\nGT,a\nGT,a\nCA,b\n")
    folder = build(tmp_path / "promoters", "ab")
    lines: list[str] = []
    data = load_task_data(get_task(str(folder)), data_dir=str(folder))
    train = Dataset.from_csv(str(tmp_path / "u.csv"), cache_dir=str(tmp_path / "cache"))
    for found in (data, replace(data, splits={**data.splits, "train": train}, test_duplicates=0)):
        found.log_summary(lines.append)
    assert "labels" not in lines[0]
    assert lines[1].endswith("; training sequences that occur with several labels: 1")


def test_other_groups_of_a_users_own_are_other_data(built: Path, tmp_path: Path) -> None:
    """Intervals are over groups."""
    found = set()
    for group in ([], ["a"] * 42, ["b"] * 42):
        for part in ("train", "validation", "test"):
            rows = Dataset.from_parquet(str(built / "default" / f"{part}.parquet"))
            rows = rows.add_column("group", group[: len(rows)]) if group else rows
            rows.to_parquet(tmp_path / "rows" / f"{part}.parquet")
        found.add(load_task_data(get_task(str(built)), data_dir=str(tmp_path / "rows")).fingerprint)
    assert len(found) == 3


def test_rows_of_a_users_own_are_looked_for_where_they_can_be(built: Path) -> None:
    task = get_task(str(built))
    assert load_task_data(task, data_dir=str(built)).splits["train"].num_rows == 42
    with pytest.raises(FileNotFoundError, match=r"its data is of your own; name the folder with --data_dir"):
        load_task_data(task)  # nothing is asked of a Hub


@pytest.mark.parametrize("split", ["grouped", "fold-3"])
def test_a_split_that_the_data_does_not_have_is_refused(built: Path, split: str, refusal: Any) -> None:
    task, advice = get_task(str(built)), r"it has default\. What to do: leave --split out$"
    for folder in (built, built / "default"):
        with pytest.raises(FileNotFoundError, match=f"^task promoters: .* has no split '{split}'; {advice}"):
            load_task_data(task, split, str(folder))
        assert load_task_data(task, "authors", str(folder)).splits["train"].num_rows == 42  # of that protocol
    argv = ["--task", str(built), "--split", split, "--runs", str(built.parent / "runs")]
    assert f"has no split '{split}'" in refusal(main, "baseline", "majority", *argv)
    grouped = built.parent / "dna-splice" / "grouped"
    shutil.copytree(SPLICE, grouped.parent)
    with pytest.raises(FileNotFoundError, match="has no split 'paper'; it has grouped"):
        load_task_data(get_task("dna-splice"), data_dir=str(grouped))
    assert load_task_data(get_task("dna-splice"), "grouped", str(grouped)).splits["test"].num_rows == 162


def test_a_home_folder_is_found_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    built = build(Path("~/promoters"), "ab", file=tmp_path / "mine.csv")
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'promoters' / 'default'}: 2 classes")
    assert not built.exists()
    assert main(["data", "leaks", "~/promoters"]) == 0
    names = set()
    for labels in ("ab", "cd"):  # another file of the same name
        build(tmp_path / "other", labels, file=tmp_path / "mine.csv")
        argv = ["--train_file", "~/mine.csv", "--discipline", "dna", "--output_dir", str(tmp_path)]
        names.add(build_user_data(read_options(argv)))
    assert len(names) == 2


def test_pieces_that_change_their_folder_are_other_data(tmp_path: Path) -> None:
    names = set()
    for n in range(2):  # the folder's name is the label
        for piece in range(4):
            path = tmp_path / "midi" / ("a" if piece < 2 - n else "b") / f"{piece}.mid"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(midi(*range(60, 70 + piece)))
        names.add(_content({"train_file": str(tmp_path / "midi")}))
        shutil.rmtree(tmp_path / "midi")
    assert len(names) == 2


def test_every_verb_takes_the_folder(
    built: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = tmp_path / "runs"
    argv = ["--task", str(built), "--backbone", str(tiny_backbone), "--output_dir", str(runs), *SHORT]
    assert main(["train", *argv]) == 0, capsys.readouterr().err
    assert main(["baseline", "majority", "--task", str(built), "--runs", str(runs)]) == 0, capsys.readouterr().err
    overrides = {"max_steps": 2, "eval_steps": 2, "logging_steps": 1, "precision": "float32"}
    study = {"tasks": [str(built)], "arms": ["bert"], "seeds": [42, 1], "backbones": [str(tiny_backbone)]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"about": "Mine.", "overrides": overrides, **study}))
    capsys.readouterr()
    assert main(["study", str(tmp_path / "mine.yaml"), "--runs", str(runs), "--threads", "1"]) == 0
    assert "2 runs, 1 finished, 1 to do" in capsys.readouterr().out  # the one that `train` made is the study's
    found = [Run.open_finished(path.parent) for path in sorted(runs.rglob(run_files.RUN))]
    assert [run.specification["task"] for run in found] == ["promoters"] * 8  # also the first look of `train`
    assert len({run.fingerprint for run in found}) == 1
    assert main(["report", str(runs)]) == 0
    assert "promoters" in capsys.readouterr().out
    build(built, "Ab")  # a class gets another name, the rows stay
    assert main(["study", str(tmp_path / "mine.yaml"), "--runs", str(runs)]) == 2
    assert "labels is ('a', 'b') there, ('A', 'b') asked" in capsys.readouterr().err


def write_fasta(path: Path, n: int) -> Path:
    draw = random.Random(1)
    records = [f">seq{i} label={'yes' if i % 2 else 'no'}\n{''.join(draw.choices('acgt', k=30))}\n" for i in range(n)]
    path.write_text("".join(records))
    return path


def test_a_fasta_file_becomes_a_model_with_its_card(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    runs, file = tmp_path / "runs", write_fasta(tmp_path / "promoters.fasta", 80)
    folder = train_own(tiny_backbone, runs, file).folder
    (record,) = report.collect_runs(runs)
    assert (record.task.name, record.task.labels) == ("promoters", ("no", "yes"))
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
    assert "data_fingerprint" in refusal(train_main, *own_order(tiny_backbone, runs, file))


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


def test_groups_of_the_test_file_alone_are_kept(tmp_path: Path) -> None:
    rows = [("ACGT" * (i % 9 + 1), "xy"[i % 2], f"g{i // 4}") for i in range(60)]
    (tmp_path / "a.csv").write_text("sequence,label\n" + "".join(f"{s},{label}\n" for s, label, _ in rows))
    (tmp_path / "b.csv").write_text("sequence,label,group\n" + "".join(f"{','.join(row)}\n" for row in rows))
    files = {"train_file": str(tmp_path / "a.csv"), "test_file": str(tmp_path / "b.csv")}
    build_dataset("mine", tmp_path / "built", builder_options={**files, "discipline": "dna"})
    splits = load_dataset(str(tmp_path / "built"), cache_dir=str(tmp_path / "cache"))
    assert splits["test"]["group"][:5] == ["g0"] * 4 + ["g1"]
    assert set(splits["train"]["group"]) == {None}


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
