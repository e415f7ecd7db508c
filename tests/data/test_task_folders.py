"""A folder that `bertx data build` made is a task: train, study and baseline take it by its path."""

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from datasets import Dataset
from own_files import SHORT, dna_table
from raw_files import midi

from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.data.task_data import load_task_data
from hf_bertx.launch import _content, build_user_data
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
def test_a_split_that_the_data_does_not_have_is_refused(
    built: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task, advice = get_task(str(built)), r"it has default\. What to do: leave --split out$"
    for folder in (built, built / "default"):
        with pytest.raises(FileNotFoundError, match=f"^task promoters: .* has no split '{split}'; {advice}"):
            load_task_data(task, split, str(folder))
        assert load_task_data(task, "authors", str(folder)).splits["train"].num_rows == 42  # of that protocol
    argv = ["--task", str(built), "--split", split, "--runs", str(built.parent / "runs")]
    assert main(["baseline", "majority", *argv]) == 2
    assert f"has no split '{split}'" in capsys.readouterr().err
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
