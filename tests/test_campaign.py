"""A campaign against silent faults: kills, damaged files, fuzzed inputs. Slow: `make campaign` runs it.

Whatever happens to a process or a file, a command ends with the right result or with one line that says why not.
"""

import hashlib
import io
import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from hf_bertx.cli import main
from hf_bertx.data.input_records import read_input
from hf_bertx.launch import main as train_main

pytestmark = pytest.mark.slow

KILLS, FUZZED = 30, 2000
SEED = 20210707

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :],
    "bit": lambda content: content[: (m := len(content) * 2 // 3)] + bytes([content[m] ^ 4]) + content[m + 1 :],
    "braces": lambda content: b"{}",
    "missing": lambda content: None,
    "tail": lambda content: content[:-1],
    "head": lambda content: content[1:],
    "twice": lambda content: content * 2,
    "noise": lambda content: random.Random(len(content)).randbytes(len(content)),
}
SIX = tuple(DAMAGES)[:6]  # where each damage costs a training
damaged: list[Path] = []


def damage(path: Path, how: str) -> None:
    damaged.append(path)
    content = DAMAGES[how](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


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


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


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
    for name in files_of(run_folder):
        for how in DAMAGES:
            shutil.rmtree(copy)
            shutil.copytree(run_folder, copy)
            damage(copy / name, how)
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
    relative = run_folder.relative_to(next(p for p in run_folder.parents if p.name.startswith("short")))
    argv = ["--backbone", str(tiny_backbone), "--output_dir", str(root), "--max_steps", "8", "--eval_steps", "4"]
    argv += ["--logging_steps", "2", "--learning_rate", "1e-3", "--precision", "float32", "--seed", "0"]
    before = hashlib.sha256((run_folder / "model" / "model.safetensors").read_bytes()).hexdigest()
    for name in files_of(run_folder):
        for how in DAMAGES:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(run_folder, root / relative)
            damage(root / relative / name, how)
            status, _ = outcome(train_main, argv, capsys)
            if status == 0:
                now = hashlib.sha256((root / relative / "model" / "model.safetensors").read_bytes()).hexdigest()
                assert now == before, f"{name}, {how}: another model"


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
    relative = checkpoint.relative_to(tmp_path / "begun")
    root = tmp_path / "again"
    shutil.copytree(tmp_path / "begun", root)
    assert outcome(train_main, arguments(tiny_backbone, root), capsys)[0] == 0
    expected = digests(root)
    for name in files_of(checkpoint):
        for how in SIX:
            shutil.rmtree(root)
            shutil.copytree(tmp_path / "begun", root)
            damage(root / relative / name, how)
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
    for name in files_of(whole):
        for how in DAMAGES:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            damage(copy / name, how)
            for argv in verbs:
                status, _ = outcome(main, argv, capsys)
                assert status == 2 or name.suffix != ".parquet", f"{' '.join(argv[:2])}, {name}, {how}: used"


def test_three_hundred_files_were_damaged() -> None:
    if not damaged:
        pytest.skip("the tests above did not run")
    assert len(damaged) >= 300


# --- fuzzed inputs ---------------------------------------------------------------------------------------------------


def inputs(rng: random.Random) -> dict[str, bytes]:
    """A good file of each form, eight records each."""
    items = [(f"id{n}", "".join(rng.choices("ACGT", k=rng.randint(5, 40))), "ab"[n % 2]) for n in range(8)]
    table = [("id", "sequence", "label"), *items]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [i for i, _, _ in items], "sequence": [s for _, s, _ in items]}), sink)
    midi = mido.MidiFile()
    track = mido.MidiTrack()
    midi.tracks.append(track)
    for pitch in range(40, 80):
        track.append(mido.Message("note_on", note=pitch, velocity=64, time=10))
        track.append(mido.Message("note_off", note=pitch, velocity=0, time=60))
    return {
        ".fasta": "".join(f">{i} {label}\n{s}\n" for i, s, label in items).encode(),
        ".csv": "\n".join(",".join(row) for row in table).encode() + b"\n",
        ".tsv": "\n".join("\t".join(row) for row in table).encode() + b"\n",
        ".jsonl": "".join(json.dumps({"id": i, "sequence": s}) + "\n" for i, s, _ in items).encode(),
        ".parquet": sink.getvalue().to_pybytes(),
        ".mid": midi_bytes(midi),
    }


def midi_bytes(midi: mido.MidiFile) -> bytes:
    sink = io.BytesIO()
    midi.save(file=sink)
    return sink.getvalue()


def mutated(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            out[at:at] = rng.choice(
                [b'"', b"'", b"\n", b"\r", b",", b"\t", b">", b"\x00", b"{", b"NA", b"\xef\xbb\xbf"]
            )
        elif kind == 2:
            del out[at : at + rng.randint(1, 8)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randint(1, 60)]
        else:
            del out[at:]
        if not out:
            break
    return bytes(out)


def expected_records(text: str, ending: str) -> int | None:
    """How many records the text has, counted in the plainest way; None where that says nothing."""
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if ending == ".fasta":
        return sum(line.strip().startswith(">") for line in lines)
    blank = "," if ending == ".csv" else "\t"
    lines = [line for line in lines if line.strip(blank + " ")]
    return {".csv": len(lines) - 1, ".tsv": len(lines) - 1, ".jsonl": len(lines)}.get(ending)


def fuzzed() -> Iterator[tuple[str, bytes]]:
    rng = random.Random(SEED)
    for _ in range(FUZZED):
        good = inputs(rng)
        ending = rng.choice(list(good))
        yield ending, mutated(good[ending], rng)


def test_fuzzed_inputs_are_read_as_they_stand_or_refused(tmp_path: Path) -> None:
    refused = 0
    for number, (ending, content) in enumerate(fuzzed()):
        path = tmp_path / f"input{ending}"
        path.write_bytes(content)
        try:
            records = list(read_input(path))
        except ValueError as error:
            refused += 1
            line = str(error)
            assert path.name in line, f"{number}: {line!r} does not name the file"
            assert "\n" not in line.strip(), f"{number}: {line!r}"
            continue
        if ending in (".parquet", ".mid"):
            continue
        text = content.decode("utf-8-sig")
        assert len(records) == expected_records(text, ending), f"{number}: {text!r} gives {records}"
        plain = "".join(text.split())
        for record in records:
            assert "".join(record.sequence.split()) in plain, f"{number}: {record} is not in the file"
    assert FUZZED // 10 < refused < FUZZED
