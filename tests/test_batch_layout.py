"""Templates of a batch, filled without a loop over symbols: what comes out is written down."""

from typing import Any

import numpy as np
import pytest

from hf_bertx.tokenization.batch_layout import fill_template

CLS, SEP = [101, 0], [102, 0]


def column(*rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids, lengths = [i for row in rows for i in row], [len(row) for row in rows]
    return np.array(ids, dtype=np.int64), np.array(lengths, dtype=np.int64)


@pytest.mark.parametrize(
    ("items", "columns", "ids", "types", "special"),
    [
        ([CLS, ["A", 0], SEP], [column([7, 8], [])], [[101, 7, 8, 102], [101, 102]], 0, "100111"),
        ([["A", 0]], [column([7, 8], [9])], [[7, 8], [9]], 0, "000"),
        ([CLS, ["A", 0], SEP], [column()], [], 0, ""),
        # a special token with a type of its own, as XLNet's [CLS] at the end
        ([["A", 0], SEP, [3, 2]], [column([7], [8])], [[7, 102, 3], [8, 102, 3]], [0, 0, 2, 0, 0, 2], "011011"),
        (
            [CLS, ["A", 0], SEP, ["B", 1], [102, 1]],
            [column([7, 8], []), column([], [9])],
            [[101, 7, 8, 102, 102], [101, 102, 9, 102]],
            [0, 0, 0, 0, 1, 0, 0, 1, 1],
            "100111101",
        ),
        # RoBERTa's: two separators between, one type
        (
            [[0, 0], ["A", 0], [2, 0], [2, 0], ["B", 0], [2, 0]],
            [column([7], [8]), column([9, 9], [6])],
            [[0, 7, 2, 2, 9, 9, 2], [0, 8, 2, 2, 6, 2]],
            0,
            "1011001101101",
        ),
        ([["A", 0], ["B", 1]], [column([7], []), column([8], [9])], [[7, 8], [9]], [0, 1, 1], "000"),
        ([CLS, ["A", 0], ["B", 1]], [column(), column()], [], [], ""),
    ],
)
def test_a_template_is_filled_row_by_row(
    items: list[list[Any]], columns: list[Any], ids: list[list[int]], types: Any, special: str
) -> None:
    rows = fill_template(items, columns)
    assert rows.codes.tolist() == [i for row in ids for i in row]
    assert rows.lengths.tolist() == [len(row) for row in ids]
    assert (rows.types if isinstance(rows.types, int) else rows.types.tolist()) == types
    assert "".join(map(str, rows.special().tolist())) == special
