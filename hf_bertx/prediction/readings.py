"""The form of a record, and its readings: in each frame of k-mers, and in windows where it is long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.input_records import InputRecord
from ..disciplines import Discipline, from_frame
from ..tokenization.windows import Windows


def check_form(chunk: Sequence[InputRecord], pairs: bool | None) -> None:
    """Refuses single sequences for a model of pairs, and the other way round.

    Args:
        pairs: whether the model reads pairs; None where nobody knows, then all records have the form of the first.
    """
    if pairs is None:
        pairs = chunk[0].second is not None
    for record in chunk:
        if (record.second is not None) != pairs:
            was, reads = ("a single sequence", "pairs") if pairs else ("a pair", "single sequences")
            raise ValueError(
                f"{record.where}: {was}, and the model reads {reads}; give second sequences (a table's "
                "--second_sequence_column, a pipeline's `text_pair`) to a model of pairs, and to no other"
            )


def all_readings(
    chunk: Sequence[InputRecord], frames: int, windows: Windows | None, discipline: Discipline | None
) -> tuple[list[InputRecord], np.ndarray]:
    """Each record in each of its frames and windows, and the record that each is of, shape `(readings,)`.

    Args:
        frames: how many there are; 1 reads each record from its first letter alone.
        windows: None reads each record in one piece.
        discipline: of the sequences; windows need it.
    """
    readings = [_in_frame(record, frame) for frame in range(frames) for record in chunk]
    owners = np.tile(np.arange(len(chunk)), frames)
    if windows is None or discipline is None:
        return readings, owners
    texts, of = windows.cut([record.sequence for record in readings], discipline)
    return [readings[i]._replace(sequence=text) for i, text in zip(of, texts, strict=True)], owners[of]


def _in_frame(record: InputRecord, frame: int) -> InputRecord:
    second = None if record.second is None else from_frame(record.second, frame)
    return record._replace(sequence=from_frame(record.sequence, frame), second=second)
