"""What an archive of runs keeps: decisions of probes, row numbers in place of ids of unlicensed data, failures."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_damage import edit
from made_runs import make_failure, make_run

from hf_bertx import run_files
from hf_bertx.arms import BASELINE
from hf_bertx.protocols import PROBE
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.records import read_runs
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.runs.writer import RunWriter
from hf_bertx.study.archive import KEPT, read_archive, write_archive


def of_protocol(root: Path, task: str, protocol: str) -> tuple[Path, RunSpec]:
    """A finished run, and what a study calls it."""
    if protocol == BASELINE:
        folder = make_run(root, task, BASELINE, backbone="kmer-logistic", protocol=protocol)
        spec = RunSpec.of_baseline("kmer-logistic", task)
    else:
        folder, spec = make_run(root, task, protocol=protocol), RunSpec(task, protocol=protocol, seed=0)
    if protocol != "recommended":
        edit(folder / run_files.RESULTS, chosen={}, tried=[])
    return folder, spec


def unpacked(root: Path, *specs: RunSpec) -> Path:
    """A folder with what an archive of runs gives back."""
    archive, other = root.with_name("a.tar.xz"), root.with_name("other")
    assert write_archive(archive, root, specs) == read_archive(archive, other) == 1
    return other


@pytest.mark.parametrize(
    ("task", "protocol", "first_id", "decided"),
    [
        ("dna-splice", "recommended", "item-0", False),
        ("dna-splice", PROBE, "item-0", True),
        ("dna-splice", BASELINE, "item-0", False),
        ("dna-h3", "recommended", "#0", False),
        ("dna-h3", PROBE, "#0", True),
        ("dna-h3", BASELINE, "#0", False),
        ("protein-fluorescence", PROBE, "#0", False),
        ("music-maestro-v1", PROBE, "item-0", True),
    ],
)
def test_an_archived_run_keeps_its_score(
    tmp_path: Path, task: str, protocol: str, first_id: str, decided: bool
) -> None:
    root = tmp_path / "runs"
    folder, spec = of_protocol(root, task, protocol)
    other, again = unpacked(root, spec), tmp_path / "again.tar.xz"
    kept = other / folder.relative_to(root)
    write_archive(again, other, [spec])  # as a study that goes on from an archive does
    assert again.read_bytes() == (tmp_path / "a.tar.xz").read_bytes()
    run_files.check_run(kept)
    first, second = Run.open(folder).predictions(), Run.open(kept).predictions()
    assert second.ids[0] == first_id if not first.groups else "piece" in second.groups[0]
    assert (set(second.logits.flatten()) == {0, 1}) is second.decided is decided
    assert (first.answers(Run.open(folder).task)[2] == second.answers(Run.open(kept).task)[2]).all()
    (cell,), (same,) = (make_cells([Run.open(path)], resamples=10) for path in (folder, kept))
    assert cell.calibration == same.calibration


def test_decisions_of_older_archives_have_no_calibration(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder, spec = of_protocol(root, "dna-splice", PROBE)
    kept = unpacked(root, spec) / folder.relative_to(root)
    of_baseline = {"protocol": BASELINE, "arm": BASELINE}  # of which they kept decisions alone, too
    edit(kept / run_files.RUN, lambda order: order["specification"].update(of_baseline))
    (cell,) = make_cells([Run.open(kept)], resamples=10)
    assert (cell.calibration, cell.answers is None) == (None, False)


def test_an_archive_keeps_the_logits_of_several_labels(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder, spec = of_protocol(root, "dna-splice", PROBE)
    edit(folder / run_files.RUN, lambda order: order["task"].update(multi_label=True, metric="micro_f1"))
    table = pq.read_table(folder / run_files.TEST_PREDICTIONS)
    table = table.set_column(1, "label", pa.array(["EI;N"] * len(table)))
    pq.write_table(table, folder / run_files.TEST_PREDICTIONS)
    results = run_files.read_json(folder / run_files.RESULTS)
    results["metrics"]["test"]["micro_f1"] = 0.5
    RunWriter(folder).results(results)
    kept = pq.read_table(unpacked(root, spec) / folder.relative_to(root) / run_files.TEST_PREDICTIONS)
    assert kept["logits"] == table["logits"]


@pytest.mark.parametrize("training", [False, True])
def test_a_finished_run_takes_the_place_of_a_killed_one(tmp_path: Path, training: bool) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    folder = make_run(root)
    write_archive(tmp_path / "a.tar.xz", root, [RunSpec(seed=0)])
    killed = make_run(other, skill=0.1, finished=False)
    make_failure(killed)
    (killed / run_files.CHECKPOINTS / "checkpoint-1").mkdir(parents=True)
    with run_files.locked(killed if training else tmp_path / "another"):
        assert read_archive(tmp_path / "a.tar.xz", other) == int(not training)
    if training:  # another process has it
        assert not (killed / run_files.RESULTS).exists()
        return
    run_files.check_run(killed)
    assert (killed / run_files.LOG).read_bytes() == (folder / run_files.LOG).read_bytes()
    assert {path.name for path in killed.iterdir()} <= set(KEPT)


def test_an_archive_says_which_runs_failed(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_run(root)
    make_failure(make_run(root, seed=1, finished=False), "RuntimeError: out of memory")
    make_run(root, seed=2, finished=False)
    runs = read_runs(unpacked(root, *(RunSpec(seed=seed) for seed in range(4))))
    (failure,) = runs.failures
    assert (failure.error, failure.specification["seed"]) == ("RuntimeError: out of memory", 1)
    assert len(runs.records) == 2
    read_archive(tmp_path / "a.tar.xz", tmp_path / "again", failed=False)  # a study tries it again, from the start
    assert len(read_runs(tmp_path / "again").records) == 1


@pytest.mark.parametrize(("groups", "kept"), [(40, 40), (19, None), (160, None), (-40, None)])
def test_an_archive_keeps_groups_that_are_drawn_together(tmp_path: Path, groups: int, kept: int | None) -> None:
    root = tmp_path / "runs"
    folder = make_run(root, "dna-h3", "bert", 0, split="grouped")
    path = folder / run_files.TEST_PREDICTIONS
    # the last case: one large group and many alone, which are 4 groups in effect
    names = [f"chr{i % groups}" if groups > 0 else "chr0" if i < 80 else None for i in range(160)]
    table = pq.read_table(path).append_column("group", pa.array(names))
    pq.write_table(table, path)
    RunWriter(folder).results(run_files.read_json(folder / run_files.RESULTS))
    other = unpacked(root, RunSpec(task="dna-h3", seed=0, split="grouped"))
    archived = Run.open(other / folder.relative_to(root))
    (cell,), (same,) = (make_cells([run]) for run in (Run.open(folder), archived))
    assert cell.interval == same.interval
    assert (None if cell.groups is None else len(set(cell.groups))) == kept
    assert same.interval.over == ("test groups" if kept else "test items")
    stored = pq.read_table(archived.folder / run_files.TEST_PREDICTIONS)
    assert not any("chr" in str(value) for column in stored.columns for value in column.to_pylist())


def test_archived_and_new_runs_are_of_the_same_items(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = make_run(root, "dna-h3", "bert", 0)
    other = unpacked(root, RunSpec(task="dna-h3", seed=0))
    newer = make_run(other, "dna-h3", "bert", 1)
    older = other / folder.relative_to(root)
    (cell,) = make_cells(map(Run.open, (older, newer)))
    assert len(cell.scores) == 2
    assert cell.answers is not None
