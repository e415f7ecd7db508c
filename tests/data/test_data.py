"""The rows of a task: the embedded data, own folders, bad rows, and where data is taken from by its name."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, HubUser
from datasets import Dataset, DatasetDict
from hub_server import HubServer
from raw_files import histone, write

from dataset_scripts.build import build_dataset
from hf_bertx.data import data_copies
from hf_bertx.data.task_data import evaluation_subset, load_task_data, subset
from hf_bertx.disciplines import DNA
from hf_bertx.tasks import TASKS, get_task

SPLICE = TASKS["dna-splice"]


def test_the_embedded_splice_data_is_the_published_one() -> None:
    data = load_task_data(SPLICE)
    rows = [row for split in data.splits.values() for row in split]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2871, "validation": 159, "test": 160}
    assert Counter(SPLICE.labels[row["label"]] for row in rows) == {"N": 1655, "IE": 768, "EI": 767}
    letters = Counter("".join(row["sequence"] for row in rows))
    assert {k: v for k, v in letters.items() if k not in "ACGT"} == {"N": 56, "D": 2, "R": 1, "S": 1}
    assert set(letters) <= set(DNA.symbols)
    assert {len(row["sequence"]) for row in rows} == {60}
    assert len(rows) - len({row["sequence"] for row in rows}) == 185
    assert len({row["id"] for row in rows}) == 3190
    assert data.fingerprint == "e960759b91f608f9b5f2be0353eafcaabf63d5e102a6ac33a37f670e7cf84401"
    assert (data.origin, data.revision) == ("the copy in the package", None)
    assert data.leaks[0] == "18 of 160 test items (11.2%) occur letter for letter among the training items."


def test_the_papers_split_shares_sequences_the_grouped_does_not() -> None:
    assert load_task_data(SPLICE, "paper").test_duplicates == 18
    grouped = load_task_data(SPLICE, "grouped")
    assert grouped.test_duplicates == 0
    groups = [set(split["group"]) for split in grouped.splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def dataset(**columns: list) -> DatasetDict:
    return DatasetDict({name: Dataset.from_dict(columns) for name in ("train", "validation", "test")})


def save(data: DatasetDict, folder: Path) -> str:
    for name, rows in data.items():
        rows.to_parquet(folder / f"{name}.parquet")
    return str(folder)


GOOD = {"id": ["a", "b"], "sequence": ["AC", "GT"], "label": ["EI", "N"]}


def test_own_folder_with_class_names_as_text(tmp_path: Path) -> None:
    data = load_task_data(SPLICE, data_dir=save(dataset(**GOOD), tmp_path))
    assert data.splits["train"]["label"][:] == [0, 2]
    assert data.test_duplicates == 2


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("dna-splice", {"label": ["EI", "XX"]}, "id 'b': label 'XX' is not one of"),
        ("dna-splice", {"label": [0, 3]}, "id 'b': label 3 is not one of"),
        ("dna-splice", {"label": [0.5, 1.0]}, "labels are float64"),
        ("dna-splice", {"sequence": None}, "no column 'sequence'"),
        ("dna-splice", {"label": [0, None]}, "id 'b': 'label' is missing"),
        ("dna-splice", {"label": [["EI"], ["N"]]}, r"labels are List\(.*\); allowed: EI, IE, N or their numbers"),
        ("dna-splice", {"sequence": ["AC", None]}, "id 'b': 'sequence' is missing"),
        ("dna-splice", {"id": ["a", "a"]}, "id 'a' occurs 2 times; ids are unique"),
        ("dna-splice", {"sequence": [1, 2]}, "'sequence' is int64; allowed: strings"),
        ("protein-stability", {"label": [1.0, float("nan")]}, "id 'b': the target is nan"),
        ("protein-stability", {"label": ["1.5", "2"]}, "targets are string; allowed: numbers"),
        ("music-maestro-v1", {"label": [0, 1]}, "no column 'group'"),
        ("glue-rte", {"label": [0, 1]}, "no column 'second_sequence'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, task: str, change: dict, message: str) -> None:
    columns = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        load_task_data(TASKS[task], data_dir=save(dataset(**columns), tmp_path))


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"`bertx data build dna-h3 --split paper .* The package itself holds dna-splice$"
    ):
        load_task_data(TASKS["dna-h3"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_task_data(SPLICE, data_dir=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="unknown split 'random'; allowed: paper, authors, grouped"):
        load_task_data(SPLICE, "random")
    rows = dataset(**GOOD)
    del rows["validation"]
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match="has no split 'validation'"):
        load_task_data(SPLICE, data_dir=save(rows, tmp_path / "two"))


def test_subset_is_seeded() -> None:
    rows = load_task_data(SPLICE).splits["train"]
    assert len(subset(rows, 0.01, seed=1)) == 29
    assert subset(rows, 0.01, seed=1)["id"][:] == subset(rows, 0.01, seed=1)["id"][:]
    assert subset(rows, 0.01, seed=1)["id"][:] != subset(rows, 0.01, seed=2)["id"][:]
    assert subset(rows, 1.0, seed=1) is rows
    with pytest.raises(ValueError, match="fraction is 0; allowed"):
        subset(rows, 0, seed=1)


@pytest.mark.parametrize(
    ("groups", "count", "drawn"),
    [
        ([None] * 100, 30, 30),
        ([f"g{n}" for n in range(100)], 30, 30),
        ([None] * 60 + [f"g{n // 4}" for n in range(40)], 50, 50),
        ([f"g{n // 40}" for n in range(100)], 50, 40),  # the first group drawn, and no other fits
    ],
)
def test_a_row_without_a_group_is_drawn_alone(groups: list[str | None], count: int, drawn: int) -> None:
    rows = evaluation_subset(Dataset.from_dict({"id": list(map(str, range(100))), "group": groups}), count)
    assert len(rows) == drawn
    of_group, whole = Counter(rows["group"][:]), Counter(groups)
    assert all(of_group[group] == whole[group] for group in of_group if group is not None)
    if len(whole) == 1:
        alone = Dataset.from_dict({"id": list(map(str, range(100)))})
        assert rows["id"][:] == evaluation_subset(alone, count)["id"][:]


@pytest.mark.parametrize("labels", [[1.5, 2.25, 9.0], [1, 2, 9]])
def test_targets_of_any_numbers_are_a_regression(tmp_path: Path, labels: list) -> None:
    columns = {"id": ["a", "b", "c"], "sequence": ["AC", "GG", "AA"], "label": labels}
    data = load_task_data(TASKS["protein-stability"], data_dir=save(dataset(**columns), tmp_path))
    summary = data.understood()
    assert summary["problem"] == "regression"
    assert summary["target"] == {"min": labels[0], "max": 9.0, "mean": 4.25 if labels[0] == 1.5 else 4.0}


# --- by name: the package, the Hub, the original files ---

LOAD = """
import json, sys
from dataclasses import replace
from hf_bertx.data.task_data import load_task_data
from hf_bertx.tasks import get_task
for name, revision in json.loads(sys.argv[1]):
    try:
        data = load_task_data(replace(get_task(name), revision=revision))
        print(json.dumps([data.origin, data.revision, data.leaks, len(data.splits["train"]), data.fingerprint]))
    except OSError as error:
        print(json.dumps([str(error)]))
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_dataset("dna-h3", tmp_path / "dna-h3", raw_dir=write(tmp_path / "raw", {"H3.txt": histone(60)}))
    return tmp_path / "dna-h3"


def loaded(user: HubUser, *wanted: tuple[str, str | None], **settings: Any) -> list[list[Any]]:
    done = user.run(sys.executable, "-c", LOAD, json.dumps(wanted), PYTHONPATH=str(ROOT), token=None, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_the_hub_at_its_revision_and_then_from_the_cache(built: Path, hub: HubServer, user: HubUser) -> None:
    user.published("dataset", str(built), "--i-have-permission")
    revision = hub.repository("bertx/dna-h3", "dataset").tags["v1"]
    folder = load_task_data(get_task("dna-h3"), data_dir=str(built))
    (row,) = loaded(user, ("dna-h3", None))
    assert row[:2] == [f"the Hub: bertx/dna-h3 at revision {revision[:12]}", revision]
    assert tuple(row[2]) == folder.leaks
    assert len(folder.leaks) >= 2
    assert row[3:] == [len(folder.splits["train"]), folder.fingerprint]
    later = hub.repository("bertx/dna-h3", "dataset").add("main", "empty", {})
    assert loaded(user, ("dna-h3", revision))[0] == row
    hub.stop()
    cached, missing, other = loaded(user, ("dna-h3", None), ("dna-h4", None), ("dna-h3", later.id), HF_HUB_OFFLINE="1")
    assert cached == row
    assert missing[0].startswith(
        "task dna-h4: its data is not in the package and could not be loaded from bertx/dna-h4"
    )
    assert "offline" in missing[0].lower()
    assert "`bertx data build dna-h4 --split paper --output DIR`" in missing[0]
    assert "is what this name means" in other[0], other


def test_what_nobody_has_is_built_unless_offline(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def build(name: str, split: str) -> Path:
        asked.append((name, split))
        return built

    with pytest.raises(FileNotFoundError, match="its data is not in the package"):
        load_task_data(get_task("dna-h3"), build=build)
    assert asked == []
    monkeypatch.setattr(data_copies.constants, "HF_HUB_OFFLINE", False)
    data = load_task_data(get_task("dna-h3"), build=build)
    assert (data.origin, data.revision) == ("its original files, built here", None)
    assert asked == [("dna-h3", "paper")]

    def fails(name: str, split: str) -> Path:
        raise OSError("no answer from any address\nsecond line")

    with pytest.raises(
        FileNotFoundError, match=r"Nor could it be built .*: no answer from any address\. What to do: "
    ):
        load_task_data(get_task("dna-h3"), build=fails)
