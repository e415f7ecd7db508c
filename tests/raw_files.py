"""Files of raw data, made for a test."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pretty_midi
import pyarrow as pa
import pyarrow.parquet as pq


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Files by name, in the folder that is returned."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def parquet(**columns: Any) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()


def midi(*pitches: int, starts: list[float] | None = None) -> bytes:
    """A piece of half-second notes, one after the other or at the given seconds."""
    times = starts or [n * 0.5 for n in range(len(pitches))]
    return midi_of(pretty_midi.Note(80, pitch, at, at + 0.5) for pitch, at in zip(pitches, times, strict=True))


def midi_of(notes: Any) -> bytes:
    piece = pretty_midi.PrettyMIDI()
    piece.instruments.append(pretty_midi.Instrument(0))
    piece.instruments[0].notes = list(notes)
    written = io.BytesIO()
    piece.write(written)
    return written.getvalue()


def histone(items: int = 40, flipped: bool = False) -> str:
    """The text of H3.txt: `items` short sequences, each second one positive; or the others, if `flipped`."""
    return "".join(f">iYAL0{n:02d}W_{n}\nACGTAC{'ACGT'[n % 4]}\n{(n + flipped) % 2}\n" for n in range(items))


def zipped(files: dict[str, Any]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def tarred(files: dict[str, str]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    return written.getvalue()
