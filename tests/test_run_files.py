"""Files of a run: digests, what a killed process leaves, a full disk."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_bertx import run_files
from hf_bertx.registry import one_line, run_command
from hf_bertx.runs import checkpoints as run_checkpoints
from hf_bertx.runs.spec import RunSpec


def make_finished(folder: Path) -> Path:
    run_files.write_folder(folder / "model", lambda path: run_files.write_text(path / "weights", "good"))
    run_files.write_text(folder / "model" / run_files.CARD, "# A card\n")
    files = run_files.file_digests(folder, ["model", "adapter"])
    run_files.write_json(folder / run_files.RESULTS, {"files": files})
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "weights: the file is missing"),
        (lambda file: file.write_text(""), "damaged or changed (0 bytes, 4 were written)"),
        (lambda file: file.write_text("goad"), "damaged or changed (its sha256 is "),
    ],
)
def test_a_changed_file_is_named(damage: Any, message: str, tmp_path: Path) -> None:
    folder = make_finished(tmp_path / "run")
    run_files.write_text(folder / "model" / run_files.CARD, "# Another card\n")
    run_files.check_run(folder)
    damage(folder / "model" / "weights")
    run_files.check_run(folder, below="adapter/")
    with pytest.raises(ValueError, match="weights") as error:
        run_files.check_run(folder)
    assert message in str(error.value)


def test_results_without_digests_are_refused(tmp_path: Path) -> None:
    for content in ("{}", "[]", '{"files": 1}'):
        (tmp_path / run_files.RESULTS).write_text(content)
        with pytest.raises(ValueError, match="does not record the run's files"):
            run_files.check_run(tmp_path)


def test_written_files_can_be_read_by_everybody(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        (path / "sub").mkdir(mode=0o700)
        os.close(os.open(path / "sub" / "weights", os.O_CREAT, 0o600))

    run_files.write_folder(tmp_path / "model", write)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"model": 0o755, "sub": 0o755, "weights": 0o644}


def test_a_number_that_json_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.json: scores.test.1.loss is nan; allowed: finite numbers"):
        run_files.write_json(tmp_path / "a.json", {"seed": 1, "scores": {"test": [0.5, {"loss": float("nan")}]}})
    assert not (tmp_path / "a.json").exists()


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    run_files.write_json(path, {"a": 1})

    def fails(temporary: Path) -> None:
        (temporary / "half").write_text("x")
        raise OSError("disk full")

    run_files.write_folder(tmp_path / "model", lambda folder: (folder / "w").write_text("good"))
    with pytest.raises(OSError, match="disk full"):
        run_files.write_folder(tmp_path / "model", fails)
    assert (tmp_path / "model" / "w").read_text() == "good"
    assert run_files.read_json(path) == {"a": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "model"]


@pytest.mark.parametrize("content", [b'{"a": ', b'{"a": "\xff"}', b"[" * 50_000, b"9" * 5000])
def test_damaged_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json(, line 1)?: not JSON \(.*; remove the folder to run again"):
        run_files.read_json(tmp_path / "a.json")


def test_a_start_sweeps_what_a_killed_process_left(tmp_path: Path) -> None:
    kept = ["checkpoints/a.pt", "model/weights"]
    killed = [".model.x1.tmp/weights", ".log.x2.tmp", "model/.card.x3.tmp"]
    for name in (*kept, *killed):
        run_files.write_text(tmp_path / name, "x")
    run_files.sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [tmp_path / name for name in kept]
    (tmp_path / run_files.RESULTS).write_text("{}")
    run_files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "results.json"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b"), "a b"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "the disk is full: /x/y"),
        (FileExistsError(errno.EEXIST, "File exists", "/x/y"), "/x/y: a file stands where a folder is needed"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x/y"), "x/y: a file stands where a folder is needed"),
        (KeyError("alphabet"), "KeyError: 'alphabet' (TRANSFORMERS_VERBOSITY=debug shows where)"),
        (RuntimeError("WandbCallback requires wandb"), "WandbCallback requires wandb"),
        (ImportError("no module"), "no module"),
        (ValueError(), "ValueError: no message (TRANSFORMERS_VERBOSITY=debug shows where)"),
    ],
)
def test_any_exception_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> None:
        raise error

    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    assert run_command("bertx", act) == 2
    assert capsys.readouterr().err == f"bertx: error: {line}\n"
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "debug")
    with pytest.raises(type(error)):
        run_command("bertx", act)


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "full"),
        RuntimeError("basic_ios::clear: iostream error"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_named_with_its_path(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))

    def write(path: Path) -> None:
        raise raised

    for put in (run_files.write_folder, run_files.write_whole):
        with pytest.raises(OSError, match="the disk is full") as error:
            put(tmp_path / "model", write)
        assert one_line(error.value) == f"the disk is full: {tmp_path / 'model'}"
    assert not list(tmp_path.iterdir())


def make_checkpoint(root: Path, step: int, best: int | None) -> Path:
    folder = root / f"checkpoint-{step}"
    state = {"global_step": step, "best_model_checkpoint": None if best is None else f"/moved/checkpoint-{best}"}
    run_files.write_json(folder / "trainer_state.json", state)
    run_files.write_text(folder / "optimizer.pt", "states")
    run_checkpoints.mark_complete(folder, step)
    return folder


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        ({}, 12),
        ({"checkpoint-12/optimizer.pt": "statez"}, 8),
        ({"checkpoint-12/optimizer.pt": None}, 8),
        ({"checkpoint-12/complete.json": None}, 8),
        ({"checkpoint-12/complete.json": "{}"}, 8),
        ({"checkpoint-12/trainer_state.json": "{}"}, 8),
        ({"checkpoint-8/optimizer.pt": ""}, 4),  # the best one of 12
        ({"checkpoint-4/trainer_state.json": None, "checkpoint-8/complete.json": "[]"}, None),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_last_whole_one(
    damage: dict[str, str | None], kept: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step, best in ((4, 4), (8, 8), (12, 8)):
        make_checkpoint(tmp_path, step, best)
    for name, content in damage.items():
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    found = run_checkpoints.last_complete_checkpoint(tmp_path)
    assert (None if found is None else found.name) == (None if kept is None else f"checkpoint-{kept}")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"checkpoint-{step}" for step in (4, 8, 12) if kept is not None and step <= kept}
    assert len(caplog.messages) == 3 - len(left)
    assert all("cannot be used: " in line and "\n" not in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("./tiny", "tiny"),
        ("../models/tiny/", "models--tiny"),
        ("/a/tiny", "a--tiny"),
        ("a/b", "a--b"),
        (".", "folder"),
    ],
)
def test_a_folder_of_runs_is_never_hidden(backbone: str, name: str) -> None:
    folder = RunSpec("dna-h3", backbone=backbone, seed=0).folder()
    assert folder == Path("recommended/dna-h3", name, "bert/seed-0")
