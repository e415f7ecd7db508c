"""The readings of a record: in each frame of k-mers, and in windows where it is longer than the model reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.input_records import InputRecord
from ..disciplines import Discipline, from_frame
from ..tokenization.windows import Windows


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
