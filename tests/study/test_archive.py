"""What an archive of runs keeps: decisions of probes, row numbers in place of ids of unlicensed data."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_runs import make_run

from hf_bertx import run_files
from hf_bertx.report.make_cells import make_cells
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.runs.writer import RunWriter
from hf_bertx.study.archive import read_archive, write_archive


def as_probe(folder: Path) -> None:
    results = run_files.read_json(folder / run_files.RESULTS)
    run_files.write_json(folder / run_files.RESULTS, results | {"chosen": {"layer": 1}})


@pytest.mark.parametrize(
    ("task", "probe", "first_id", "logits"),
    [
        ("dna-splice", False, "item-0", False),
        ("dna-splice", True, "item-0", True),
        ("dna-h3", False, "#0", False),
        ("dna-h3", True, "#0", True),
        ("protein-fluorescence", True, "#0", False),
        ("music-maestro-v1", True, "item-0", True),
    ],
)
def test_an_archived_run_keeps_its_score(tmp_path: Path, task: str, probe: bool, first_id: str, logits: bool) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    folder = make_run(root, task, "bert", 0)
    if probe:
        as_probe(folder)
    assert write_archive(tmp_path / "a.tar.xz", root, [RunSpec(task=task, seed=0)]) == 1
    assert read_archive(tmp_path / "a.tar.xz", other) == 1
    kept = other / folder.relative_to(root)
    run_files.check_run(kept)
    first, second = Run.open(folder).predictions(), Run.open(kept).predictions()
    assert first is not None
    assert second is not None
    assert second.ids[0] == first_id if not first.groups else "piece" in second.groups[0]
    assert (set(second.logits.flatten()) == {0, 1}) is logits
    assert (first.answers(Run.open(folder).task)[2] == second.answers(Run.open(kept).task)[2]).all()


@pytest.mark.parametrize(("groups", "kept"), [(40, 40), (19, None), (160, None), (-40, None)])
def test_an_archive_keeps_groups_that_are_drawn_together(tmp_path: Path, groups: int, kept: int | None) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    folder = make_run(root, "dna-h3", "bert", 0, split="grouped")
    path = folder / run_files.TEST_PREDICTIONS
    # the last case: one large group and many alone, which are 4 groups in effect
    names = [f"chr{i % groups}" if groups > 0 else "chr0" if i < 80 else None for i in range(160)]
    table = pq.read_table(path).append_column("group", pa.array(names))
    pq.write_table(table, path)
    results = run_files.read_json(folder / run_files.RESULTS)
    RunWriter(folder).results(results)
    write_archive(tmp_path / "a.tar.xz", root, [RunSpec(task="dna-h3", seed=0, split="grouped")])
    read_archive(tmp_path / "a.tar.xz", other)
    archived = Run.open(other / folder.relative_to(root))
    (cell,), (same,) = (make_cells([run]) for run in (Run.open(folder), archived))
    assert cell.interval == same.interval
    assert (None if cell.groups is None else len(set(cell.groups))) == kept
    assert (same.interval is not None and same.interval.over) == ("test groups" if kept else "test items")
    stored = pq.read_table(archived.folder / run_files.TEST_PREDICTIONS)
    assert not any("chr" in str(value) for column in stored.columns for value in column.to_pylist())


def test_archived_and_new_runs_are_of_the_same_items(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_run(root, "dna-h3", "bert", 0)
    write_archive(tmp_path / "a.tar.xz", root, [RunSpec(task="dna-h3", seed=0)])
    other = tmp_path / "other"
    read_archive(tmp_path / "a.tar.xz", other)
    newer = make_run(other, "dna-h3", "bert", 1)
    older = other / make_run(root, "dna-h3", "bert", 0).relative_to(root)
    (cell,) = make_cells(map(Run.open, (older, newer)))
    assert len(cell.scores) == 2
    assert cell.answers is not None
