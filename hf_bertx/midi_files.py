"""MIDI files -> segments of pitches, on all cores. Imports no more than it must: each process imports it anew."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

MIDI_ENDINGS = (".mid", ".midi")
NOTES = 128  # in a segment; authors' code


def read_segments(path: Path, as_authors: bool = False) -> list[str]:
    """The pitches of a piece in order of onset, 128 a segment, the last one shorter: `"60 64 67 ..."`.

    Notes that begin together stand from low to high. Percussion is left out.

    Args:
        as_authors: notes of the first instrument in the order of their ends, sorted by onset within each segment; a
            last segment is dropped, even a full one. Authors' code.

    Raises:
        ValueError: the file is not MIDI, breaks off, or holds no note; the message names it.
    """
    import pretty_midi

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tempo changes in later tracks: order and pitch do not depend on them
            midi = pretty_midi.PrettyMIDI(str(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # mido raises whatever the bytes at hand lead it to
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a whole MIDI file ({reason})") from None
    if as_authors:
        notes = midi.instruments[0].notes if midi.instruments else []
        chunks = [notes[i : i + NOTES] for i in range(0, len(notes) - NOTES, NOTES)]
        ordered = [sorted(chunk, key=lambda note: note.start) for chunk in chunks]
    else:
        notes = [note for instrument in midi.instruments if not instrument.is_drum for note in instrument.notes]
        notes.sort(key=lambda note: (note.start, note.pitch))
        ordered = [notes[i : i + NOTES] for i in range(0, len(notes), NOTES)]
    if not notes:
        raise ValueError(f"{path}: no note")
    return [" ".join(str(note.pitch) for note in chunk) for chunk in ordered]


def files_below(folder: Path) -> list[Path]:
    """The MIDI files below a folder, sorted.

    Raises:
        ValueError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_ENDINGS and path.is_file())
    if not files:
        raise ValueError(f"{folder}: no file that ends in .mid or .midi")
    return files


def read_all(paths: Sequence[Path], as_authors: bool = False) -> Iterator[list[str]]:
    """[`read_segments`] of every file, in order. pretty_midi takes a sixth of a second a piece, so all cores read."""
    read = partial(read_segments, as_authors=as_authors)
    workers = min(os.cpu_count() or 1, len(paths))
    if len(paths) < 8 or workers == 1:  # starting processes costs more than it saves
        yield from map(read, paths)
        return
    # spawned, not forked: a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(read, paths, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)
