"""A study on a machine that may vanish: a time limit, an archive of what is finished, and going on from it."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import assert_same_run
from small_studies import small

from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.commands.study import _seconds
from hf_bertx.processor import DEADLINE
from hf_bertx.runs.outcome import seconds_until
from hf_bertx.runs.writer import RunWriter
from hf_bertx.study.archive import KEPT, read_archive, write_archive
from hf_bertx.study.command import run_study
from hf_bertx.study.estimate import room
from hf_bertx.study.execution import StudyContext, execute
from hf_bertx.study.plan import load_study


def test_a_run_stopped_by_the_time_limit_resumes_exactly(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = small(tmp_path, tiny_backbone, arms=["bert"], seeds=[0])
    (run,), context = load_study(file).runs, StudyContext(tmp_path / "runs", threads=1)
    folder = run.folder(context.root)
    RunWriter(folder).failure("of an earlier try")
    monkeypatch.setenv(DEADLINE, "0")
    assert execute(run, context).state == "left"
    assert [path.name for path in (folder / run_files.CHECKPOINTS).glob("checkpoint-*")] == ["checkpoint-1"]
    assert not (folder / run_files.FAILURE).exists()
    monkeypatch.delenv(DEADLINE)
    assert execute(run, context).state == "finished"
    assert execute(run, StudyContext(tmp_path / "whole", threads=1)).state == "finished"
    results, log = (run_files.read_json(folder / name) for name in (run_files.RESULTS, run_files.LOG))
    assert results["resumed_from_step"] == 1
    assert results["train_seconds"] >= round(seconds_until(1, log), 1)  # the time before the limit counts
    assert_same_run(folder, run.folder(tmp_path / "whole"))
    archive, other = tmp_path / "kept" / "runs.tar.xz", tmp_path / "other"
    assert write_archive(archive, context.root, [run]) == 1
    assert read_archive(archive, other) == 1
    assert sorted(path.name for path in run.folder(other).iterdir()) == sorted(KEPT)
    assert read_archive(archive, other) == 0  # what is there stays as it is


def test_the_seconds_of_a_resumed_run_are_in_its_log() -> None:
    log = [
        {"step": 2, "loss": 1.0, "num_input_tokens_seen": 100, "tokens_per_second": 50.0},
        {"step": 2, "eval_loss": 1.0, "num_input_tokens_seen": 100},
        {"step": 4, "loss": 0.9, "num_input_tokens_seen": 220, "tokens_per_second": 40.0},
        {"step": 6, "loss": 0.8, "num_input_tokens_seen": 300, "tokens_per_second": 10.0},
    ]
    assert [seconds_until(step, log) for step in (0, 2, 4)] == [0, 2, 5]


def test_a_study_goes_on_from_an_archive(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEADLINE, "inf")
    file = small(tmp_path, tiny_backbone, arms=["bert"], seeds=[0])
    archive = tmp_path / "runs.tar.xz"
    assert run_study(file, StudyContext(tmp_path / "runs", threads=1), archive=archive) == 0
    capsys.readouterr()
    file = small(tmp_path, tiny_backbone, arms=["bert"], seeds=[0, 1])
    assert run_study(file, StudyContext(tmp_path / "new"), from_archive=archive, dry_run=True) == 0
    printed = capsys.readouterr().out
    assert "1 finished runs in" in printed
    assert "2 runs, 1 finished, 1 to do" in printed
    assert not (tmp_path / "new").exists()  # a dry run writes nothing
    given = {"archive": archive, "from_archive": archive, "time_limit": 1e-3}
    assert run_study(file, StudyContext(tmp_path / "new"), **given) == 75
    printed = capsys.readouterr().out
    assert "1 finished runs added from" in printed
    assert "2 runs, 1 finished, 1 to do" in printed
    assert "0 finished, 0 failed" in printed
    assert read_archive(archive, tmp_path / "again") == 1  # the runs that came from it are in the new one


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../outside", tarfile.REGTYPE, r"entry '\.\./outside' does not lie below runs/"),
        ("runs/../../outside", tarfile.REGTYPE, "does not lie below runs/"),
        ("/outside", tarfile.REGTYPE, "does not lie below runs/"),
        ("outside", tarfile.REGTYPE, "does not lie below runs/"),
        ("runs/a\\..\\outside", tarfile.REGTYPE, "does not lie below runs/"),
        ("runs/link", tarfile.SYMTYPE, "entry 'runs/link' is neither a file nor a folder"),
        ("runs/hard", tarfile.LNKTYPE, "is neither a file nor a folder"),
        ("runs/pipe", tarfile.FIFOTYPE, "is neither a file nor a folder"),
    ],
)
def test_an_archive_writes_nothing_outside_its_folder(name: str, kind: bytes, message: str, tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for entry in (tarfile.TarInfo("runs/a/run.json"), tarfile.TarInfo(name)):
            entry.type, entry.linkname = (kind, "/etc/passwd") if entry.name == name else (tarfile.REGTYPE, "")
            tar.addfile(entry, io.BytesIO(b""))
    with pytest.raises(ValueError, match=message):
        read_archive(archive, tmp_path / "root" / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar.xz"]


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_damaged_archive_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.addfile(tarfile.TarInfo("runs/a/run.json"), io.BytesIO(b""))
    archive.write_bytes(archive.read_bytes()[:-20] if content is None else content)
    with pytest.raises(ValueError, match=r"bad\.tar\.xz: not a whole archive of runs") as raised:
        read_archive(archive, tmp_path / "root")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "root").exists()
    with pytest.raises(ValueError, match=r"none\.tar\.xz: no such file"):
        read_archive(tmp_path / "none.tar.xz", tmp_path / "root")


def test_as_many_workers_fit_as_the_memory_of_a_gpu_holds() -> None:
    assert room(80 * 2**30, 3 * 2**30) == 20  # 72 GB by 3.6 GB
    assert room(2**30, 2**30) == 1


def test_a_study_is_started_in_one_process(monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "this is one of 2; allowed: --launch 'accelerate launch" in refusal(main, "study", "table2-small")
    message = refusal(main, "study", "table2-small", "--workers", "0")
    assert message.endswith("--workers is 0; allowed: a whole number of at least 1")


def test_an_archive_has_the_ending_of_one(refusal: Any) -> None:
    message = refusal(main, "study", "smoke", "--archive", "runs.zip", "--dry_run")
    assert message.endswith("runs.zip: an archive's name ends with .tar.xz")


def test_times_are_hours_minutes_and_seconds(capsys: pytest.CaptureFixture) -> None:
    assert [_seconds(text) for text in ("90s", "9m", "3h30m", "1h")] == [90, 540, 12600, 3600]
    with pytest.raises(SystemExit):
        main(["study", "smoke", "--time_limit", "9"])
    assert capsys.readouterr().err.strip().endswith("'9' is not allowed: a time such as 90s, 9m or 3h30m")
