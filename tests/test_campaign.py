"""A campaign against silent faults: kills and damaged files. Slow: `make campaign` runs it.

Whatever happens to a process or a file, a command ends with the right result or with one line that says why not.
"""

import hashlib
import itertools
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from file_damage import DAMAGES, damage

from hf_bertx.cli import main
from hf_bertx.launch import main as train_main

pytestmark = pytest.mark.slow

KILLS = 30
SEED = 20210707
SIX = tuple(DAMAGES)[:6]  # where each damage costs a training


def outcome(act: Callable[[list[str]], int], argv: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """The exit status, and the line of the error."""
    capsys.readouterr()
    status = act(argv)
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if ": error: " in line]
    assert status in (0, 2), f"{argv}: {status}"
    if status == 2:
        assert len(errors) == 1, lines
        assert len(errors[0]) > 30, errors
    return status, errors[0] if errors else ""


# --- kills -----------------------------------------------------------------------------------------------------------


def arguments(backbone: Path, root: Path) -> list[str]:
    argv = ["--backbone", str(backbone), "--output_dir", str(root), "--max_steps", "40", "--eval_steps", "5"]
    return [*argv, "--logging_steps", "5", "--learning_rate", "1e-3", "--precision", "float32", "--threads", "1"]


def digests(root: Path) -> dict[str, str]:
    (folder,) = (path.parent for path in root.rglob("results.json"))
    files = [folder / "model" / "model.safetensors", *folder.glob("predictions_*.parquet")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_killed_trainings_end_as_undisturbed_ones(tiny_backbone: Path, tmp_path: Path) -> None:
    # forked from a process that has imported everything: nothing is to be learned from kills before a run begins
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hf_bertx.launch", "hf_bertx.runs.training", "hf_bertx.publishing.cards"])

    def train(root: Path, seconds: float | None = None) -> bool:
        process = context.Process(target=train_main, args=(arguments(tiny_backbone, root),))
        process.start()
        process.join(seconds)
        alive = process.is_alive()
        process.kill()
        process.join()
        return not alive

    train(tmp_path / "first")
    started = time.monotonic()
    train(tmp_path / "whole")
    took = time.monotonic() - started
    expected = digests(tmp_path / "whole")
    rng, kills, number = random.Random(SEED), 0, 0
    while kills < KILLS:
        root = tmp_path / f"killed-{number}"
        number += 1
        for tries in range(6):  # the last one may take as long as it likes
            if train(root, rng.uniform(0.05, 1.1) * took if tries < 5 else None):
                break
            kills += 1
        assert digests(root) == expected
        (folder,) = (path.parent for path in root.rglob("results.json"))
        assert not list(folder.rglob("*.tmp")), "a killed process left a temporary file"
        assert not (folder / "checkpoints").exists()
        shutil.rmtree(root)


# --- damaged files ---------------------------------------------------------------------------------------------------


def damaged_copies(
    whole: Path, copy: Path, below: str = "", damages: Iterable[str] = DAMAGES
) -> Iterator[tuple[Path, str]]:
    """Copies a folder again and again, each time with one file of `below` damaged; yields the file, and how."""
    files = sorted(path.relative_to(whole / below) for path in (whole / below).rglob("*") if path.is_file())
    for name, how in itertools.product(files, damages):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        damage(copy / below / name, how)
        yield name, how


def test_a_damaged_run_is_refused_or_answers_the_same(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    records = tmp_path / "records.fasta"
    records.write_text("".join(f">s{n}\n{'ACGT' * 15}\n" for n in range(4)))
    copy, output = tmp_path / "copy", tmp_path / "answers.csv"
    verbs: dict[str, list[str]] = {
        "predict": ["predict", str(copy), str(records), "--output", str(output), "--overwrite"],
        "report": ["report", str(copy), "--output", str(tmp_path / "report")],
        "publish": ["publish", "model", str(copy), "owner/name", "--dry_run"],
    }
    shutil.copytree(run_folder, copy)
    assert outcome(main, verbs["predict"], capsys)[0] == 0
    answers = output.read_bytes()
    for name, how in damaged_copies(run_folder, copy):
        output.unlink(missing_ok=True)
        status, _ = outcome(main, verbs["predict"], capsys)
        assert status == 2 or output.read_bytes() == answers, f"{name}, {how}: other answers"
        if name.parts[0] != "model":
            outcome(main, verbs["report"], capsys)
        status, _ = outcome(main, verbs["publish"], capsys)
        card = name.name == "README.md"  # written anew by each upload
        assert status == 2 or card or name.parts[0] != "model", f"{name}, {how}: published"


def test_a_damaged_finished_run_is_not_skipped_in_silence(
    tiny_backbone: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "runs"
    copy = root / run_folder.relative_to(next(p for p in run_folder.parents if p.name.startswith("short")))
    argv = ["--backbone", str(tiny_backbone), "--output_dir", str(root), "--max_steps", "8", "--eval_steps", "4"]
    argv += ["--logging_steps", "2", "--learning_rate", "1e-3", "--precision", "float32", "--seed", "0"]
    before = (run_folder / "model" / "model.safetensors").read_bytes()
    for name, how in damaged_copies(run_folder, copy):
        if outcome(train_main, argv, capsys)[0] == 0:
            assert (copy / "model" / "model.safetensors").read_bytes() == before, f"{name}, {how}: another model"


def test_a_damaged_checkpoint_is_refused_or_ends_the_same(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *arguments(tiny_backbone, tmp_path / "begun")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("begun/**/checkpoint-15/complete.json")):
        time.sleep(0.01)
        assert process.poll() is None, "the run ended before its third checkpoint"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (checkpoint,) = tmp_path.glob("begun/**/checkpoint-15")
    below = checkpoint.relative_to(tmp_path / "begun").as_posix()
    root = tmp_path / "again"
    shutil.copytree(tmp_path / "begun", root)
    assert outcome(train_main, arguments(tiny_backbone, root), capsys)[0] == 0
    expected = digests(root)
    for name, how in damaged_copies(tmp_path / "begun", root, below, SIX):
        status, _ = outcome(train_main, arguments(tiny_backbone, root), capsys)
        assert status == 2 or digests(root) == expected, f"{name}, {how}: another run"


def test_a_damaged_data_set_is_refused_or_read_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    raw = tmp_path / "mine.csv"
    rng = random.Random(SEED)
    rows = [f"r{n},{''.join(rng.choices('ACGT', k=40))},{'ab'[n % 2]}" for n in range(200)]
    raw.write_text("id,sequence,label\n" + "\n".join(rows) + "\n")
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    build = ["data", "build", "mine", "--from", str(raw), "--discipline", "dna", "--output", str(whole)]
    assert main(build) == 0
    verbs = [["data", "leaks", str(copy)], ["publish", "dataset", str(copy), "owner/name", "--dry_run"]]
    for name, how in damaged_copies(whole, copy):
        for argv in verbs:
            status, _ = outcome(main, argv, capsys)
            assert status == 2 or name.suffix != ".parquet", f"{' '.join(argv[:2])}, {name}, {how}: used"
