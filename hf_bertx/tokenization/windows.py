"""Cuts long sequences into windows that a model can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..disciplines import Discipline


@dataclass(frozen=True)
class Windows:
    """How long sequences are cut into windows, all of the same length; the last one ends with the sequence.

    Args:
        symbols: of a window: letters, k-mers or pitches, without special tokens.
        overlap: symbols that a window shares with the next one, at least.

    Raises:
        ValueError: a window without symbols, or an overlap as long as the window.
    """

    symbols: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.symbols < 1:
            raise ValueError(f"window is {self.symbols}; allowed: at least 1 symbol")
        if not 0 <= self.overlap < self.symbols:
            raise ValueError(f"overlap is {self.overlap}; allowed: 0 to {self.symbols - 1}, less than the window")

    def starts(self, symbols: int) -> list[int]:
        """Where the windows of a sequence of so many symbols begin."""
        last = max(0, symbols - self.symbols)
        return [*range(0, last, self.symbols - self.overlap), last]

    def cut(self, texts: Sequence[str], discipline: Discipline) -> tuple[list[str], np.ndarray]:
        """The windows of all texts, and the text that each is of, shape `(windows,)`.

        The symbols of a window are those of the text: a k-mer is never cut.

        Example:
            ```python
            >>> Windows(4, 1).cut(["ACGTACGTA", "AC"], DNA)
            (['ACGT', 'TACG', 'CGTA', 'AC'], array([0, 0, 0, 1]))
            ```
        """
        windowed, counts = [], []
        for text in texts:
            symbols = discipline.split(text.strip())
            starts = self.starts(len(symbols))
            counts.append(len(starts))
            windows = (symbols[start : start + self.symbols] for start in starts)
            windowed += [w if isinstance(w, str) else discipline.separator.join(w) for w in windows]
        return windowed, np.repeat(np.arange(len(texts)), counts)
