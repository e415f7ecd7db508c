"""MIDI files -> segments of pitches, on all cores. Has few imports, because each worker process repeats them."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..processor import usable_cores
from .text_files import paths_below

MIDI_ENDINGS = (".mid", ".midi", ".rmi", ".kar")
NOTES = 128  # in a segment; authors' code
_PERCUSSION = 9  # channel 10 of General MIDI, counted from 0
# Data bytes after a status byte. Source: MIDI 1.0 Detailed Specification, Table 1.
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2, 0xF1: 1, 0xF2: 2, 0xF3: 1}


class Piece(NamedTuple):
    """A MIDI file as segments of pitches.

    Args:
        segments: `"60 64 67 ..."`, 128 notes each.
        repairs: what was repaired or left out, and how often.
        error: why the file could not be read, where such files are left out.
    """

    segments: list[str]
    repairs: Counter[str]
    error: str = ""


class _Note(NamedTuple):
    start: int  # ticks
    pitch: int
    instrument: tuple[int, int, int]  # program, channel, track


def read_segments(path: Path, as_authors: bool = False) -> Piece:
    """The pitches of a piece in order of onset, 128 a segment, the last one shorter.

    Notes that begin together stand from low to high. Only order and pitch are read, so key and time signatures, tempi,
    text and the unit of time do not matter. Other damage is repaired by these rules, and counted:

    - every note-on is a note, also one of no length, and one that never ends;
    - a controller's or a velocity's number above 127 is passed over; a pitch above 127 is an error;
    - tracks that the header counts and that are not there are passed over; a track that breaks off is an error;
    - percussion (channel 10) is left out; a RIFF wrapper (`.rmi`) is taken off.

    Args:
        as_authors: notes of the first instrument in the order of their ends, sorted by onset within each segment; a
            last segment is dropped, even a full one. Notes of no length or without an end are left out. Authors' code.

    Raises:
        ValueError: the file is not MIDI, breaks off, or holds no note; the message names it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    repairs: Counter[str] = Counter()
    started: list[_Note] = []
    ended: list[_Note] = []
    try:
        for track, (at, end) in enumerate(_tracks(data, repairs)):
            _read_track(data, at, end, track, started, ended, repairs)
    except ValueError as error:
        raise ValueError(f"{path}: not a whole MIDI file ({error})") from None
    except IndexError:
        raise ValueError(f"{path}: not a whole MIDI file (it breaks off)") from None
    if as_authors:
        notes = [note for note in ended if note.instrument == ended[0].instrument]
        chunks = [notes[i : i + NOTES] for i in range(0, len(notes) - NOTES, NOTES)]
        ordered = [sorted(chunk, key=lambda note: note.start) for chunk in chunks]
    else:
        notes = sorted(note for note in started if note.instrument[1] != _PERCUSSION)
        ordered = [notes[i : i + NOTES] for i in range(0, len(notes), NOTES)]
        repairs["percussion notes left out"] += len(started) - len(notes)
    if not notes:
        raise ValueError(f"{path}: no note{' but percussion, which is left out' if started else ''}")
    return Piece([" ".join(str(note.pitch) for note in chunk) for chunk in ordered], +repairs)


def _tracks(data: bytes, repairs: Counter[str]) -> Iterator[tuple[int, int]]:
    """Yields where the events of each track begin and end."""
    if not data:
        raise ValueError("the file is empty")
    at = data.find(b"MThd", 0, 256) if data[:4] == b"RIFF" and data[8:12] == b"RMID" else 0
    if data[at : at + 4] != b"MThd" or at < 0:
        raise ValueError("it does not begin with MThd")
    size = int.from_bytes(data[at + 4 : at + 8], "big")
    if size < 6 or at + 8 + size > len(data):
        raise ValueError("it breaks off")
    announced = int.from_bytes(data[at + 10 : at + 12], "big")
    at += 8 + size
    read = 0
    while read < announced and at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8
        if name == b"MTrk":
            if at + size > len(data):
                raise ValueError("it breaks off")
            yield at, at + size
            read += 1
        at += size
    repairs["announced tracks missing"] += announced - read


def _read_track(
    data: bytes, at: int, end: int, track: int, started: list[_Note], ended: list[_Note], repairs: Counter[str]
) -> None:
    """Appends the notes of a track in the order of their starts, and those that end in the order of their ends."""
    programs = [0] * 16
    sounding: dict[tuple[int, int], list[int]] = {}  # channel and pitch -> ticks at which it was struck
    for tick, status, first, second in _events(data, at, end, repairs):
        kind, channel = status & 0xF0, status & 0x0F
        if kind == 0xC0:
            programs[channel] = first & 0x7F
        elif kind == 0x90 and second:
            started.append(_Note(tick, first, (programs[channel], channel, track)))
            sounding.setdefault((channel, first), []).append(tick)
        elif kind in (0x80, 0x90):  # ends earlier notes of this pitch, not those that start at the same tick
            struck = sounding.pop((channel, first), [])
            before = [start for start in struck if start != tick]
            ended += [_Note(start, first, (programs[channel], channel, track)) for start in before]
            if before and len(struck) > len(before):
                sounding[channel, first] = struck[len(before) :]
            elif channel != _PERCUSSION:
                repairs["notes of no length"] += len(struck) - len(before)
    endless = (len(struck) for (channel, _), struck in sounding.items() if channel != _PERCUSSION)
    repairs["notes without an end"] += sum(endless)


def _events(data: bytes, at: int, end: int, repairs: Counter[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yields `(tick, status, first data byte, second one)` of each note and program change of a track."""
    tick = status = 0
    while at < end:
        delta, at = _variable_length(data, at)
        tick += delta
        byte = data[at]
        if byte >= 0xF0 and byte not in _DATA_BYTES:
            at += 1
            if byte == 0xFF:
                at += 1
                if data[at - 1] == 0x2F:  # end of track
                    return
            if byte in (0xF0, 0xF7, 0xFF):  # system exclusive and meta events say how long they are
                length, at = _variable_length(data, at)
                at += length
        else:
            if byte >= 0x80:
                at += 1
            full = byte if byte >= 0x80 else status  # a missing status byte means: the one before
            if not full:
                raise ValueError("an event has no status byte")
            if full < 0xF0:
                status = full
            kind = full if full >= 0xF0 else full & 0xF0
            first, second = data[at], data[at + 1] if _DATA_BYTES[kind] == 2 else 0
            at += _DATA_BYTES[kind]
            if at > end:
                break
            if first > 127 and kind in (0x80, 0x90):
                raise ValueError(f"a pitch is {first}; allowed: 0 to 127")
            if first > 127 or second > 127:
                repairs["numbers above 127"] += 1
            if kind in (0x80, 0x90, 0xC0):
                yield tick, full, first, second
    if at > end:
        raise ValueError("a track breaks off")


def _variable_length(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = value << 7 | data[at] & 0x7F
    return value, at + 1


def files_below(folder: Path) -> list[Path]:
    """The MIDI files below a folder, sorted; hidden ones and those of a Mac's archive (`__MACOSX`) are passed over.

    Raises:
        ValueError: there is none.
    """
    files = [
        path
        for path in paths_below(folder)
        if path.suffix.lower() in MIDI_ENDINGS
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise ValueError(f"{folder}: no file that ends in {', '.join(MIDI_ENDINGS)}")
    return files


def read_all(paths: Sequence[Path], as_authors: bool = False, skip_unreadable: bool = False) -> Iterator[Piece]:
    """[`read_segments`] of every file, in order, on all cores.

    Args:
        skip_unreadable: a file that cannot be read is a piece without segments that says why, not an error.
    """
    read = partial(_read, as_authors=as_authors, skip_unreadable=skip_unreadable)
    workers = min(usable_cores(), len(paths))
    if len(paths) < 32 or workers == 1:  # for few files, starting processes takes longer than reading
        yield from map(read, paths)
        return
    # spawned, not forked: a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(read, paths, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _read(path: Path, as_authors: bool, skip_unreadable: bool) -> Piece:
    try:
        return read_segments(path, as_authors)
    except ValueError as error:
        if not skip_unreadable:
            raise
        return Piece([], Counter(), str(error))
