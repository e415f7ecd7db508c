"""A batch of sequences as flat arrays: templates, cuts and padding without a loop over symbols. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np


class Rows:
    """Filled templates of a batch, flat: `codes` and `types` of shape `(tokens,)`, `lengths` of shape `(batch,)`.

    `types` is 0 where every token's type is; `specials` holds the indices of special tokens.
    """

    def __init__(self, lengths: np.ndarray, dtype: np.dtype) -> None:
        self.lengths = lengths
        self.starts = np.cumsum(lengths) - lengths
        self.codes: np.ndarray = np.empty(int(lengths.sum()), dtype=dtype)
        self.types: np.ndarray | int = 0
        self.specials: list[np.ndarray] = []

    def special(self) -> np.ndarray:
        """1 for special tokens, 0 for symbols, shape `(tokens,)`."""
        marks: np.ndarray = np.zeros(len(self.codes), dtype=np.int64)
        for place in self.specials:
            marks[place] = 1
        return marks


def fill_template(items: list[list[Any]], columns: list[tuple[np.ndarray, np.ndarray]]) -> Rows:
    """Puts columns of `(codes, lengths)` into a template: codes, and `"A"` and `"B"` for them, each with its type."""
    parts = {"A": columns[0], "B": columns[-1]}
    lengths = [parts[item][1] if isinstance(item, str) else np.ones_like(columns[0][1]) for item, _ in items]
    rows = Rows(np.sum(lengths, axis=0), columns[0][0].dtype)
    if any(kind for _, kind in items):
        rows.types = np.zeros(len(rows.codes), dtype=np.int64)
    at = rows.starts.copy()
    free: np.ndarray = np.ones(len(rows.codes), dtype=bool)
    parts_at = []
    for (item, kind), length in zip(items, lengths, strict=True):
        if isinstance(item, str):
            parts_at.append((item, kind, at.copy(), length))
        else:
            rows.codes[at], free[at] = item, False
            rows.specials.append(at.copy())
            if isinstance(rows.types, np.ndarray):
                rows.types[at] = kind
        at += length
    for item, kind, start, length in parts_at:
        # one sequence takes all that no special token takes: a mask is an eighth of the memory of indices
        place = free if len(parts_at) == 1 else spans(start, length)
        rows.codes[place] = parts[item][0]
        if kind and isinstance(rows.types, np.ndarray):
            rows.types[place] = kind
    return rows


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of the concatenation of `range(start, start + length)` over all rows."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def cut(codes: np.ndarray, lengths: np.ndarray, targets: np.ndarray, keeps: str) -> np.ndarray:
    """Keeps `targets` symbols of each sequence: its `head`, its `tail`, or both ends (`head_tail`)."""
    starts = np.cumsum(lengths) - lengths
    if keeps == "head":
        return codes[spans(starts, targets)]
    tail = targets if keeps == "tail" else targets // 2
    head = targets - tail
    both = np.stack([starts, starts + lengths - tail], axis=1).ravel()
    return codes[spans(both, np.stack([head, tail], axis=1).ravel())]


def target_lengths(lengths: list[np.ndarray], room: int, strategy: str) -> list[np.ndarray]:
    """How many symbols each part keeps. Pairs are cut as `tokenizers` cuts them, so that both give the same ids."""
    if len(lengths) == 1:
        if strategy == "only_second":
            raise ValueError("only_second: there is no second sequence to cut")
        return [np.minimum(lengths[0], room)]
    a, b = lengths
    if strategy in ("only_first", "only_second"):
        keep, cut = (b, a) if strategy == "only_first" else (a, b)
        if (keep >= room).any():
            raise ValueError(f"{strategy}: the part that is not cut leaves no room in {room} symbols")
        cut = np.minimum(cut, room - keep)
        return [cut, keep] if strategy == "only_first" else [keep, cut]
    short, long = np.minimum(a, b), np.maximum(a, b)
    cut_long = np.maximum(short, room - short)
    halve = short + cut_long > room
    short_kept = np.where(halve, room // 2, short)
    long_kept = np.where(halve, room // 2 + room % 2, np.minimum(long, cut_long))
    return [np.where(a > b, long_kept, short_kept), np.where(a > b, short_kept, long_kept)]


def padded_width(
    lengths: np.ndarray, padding: str, max_length: int | None, multiple: int | None, as_array: bool
) -> int | None:
    """Columns that rows are padded to, by `max_length` whatever is longer; None where rows keep their own lengths.

    An array of rows of one length needs no padding.
    """
    if padding == "do_not_pad" or not len(lengths):
        return int(lengths[0]) if as_array and len(set(lengths.tolist())) == 1 else None
    width = max_length or 0 if padding == "max_length" else int(lengths.max())
    return width if not multiple else -(-width // multiple) * multiple


def layout(flat: np.ndarray | int, lengths: np.ndarray, width: int | None, pad: int, side: str, as_array: bool) -> Any:
    """Flat tokens as rows: a padded array or list of lists of shape `(batch, width)`, or lists of own lengths.

    Args:
        flat: a number for each token, or one number for all of them.

    Raises:
        ValueError: an array is asked for and a row is longer than `width`.
    """
    if as_array and width is not None and lengths.max(initial=0) > width:
        raise ValueError(f"a sequence of {lengths.max()} tokens is longer than {width}; tensors need truncation=True")
    if not as_array or width is None:
        return _lists(flat, lengths, width, pad, side)
    if (lengths == width).all():
        return np.full((len(lengths), width), flat) if isinstance(flat, int) else flat.reshape(len(lengths), width)
    out: np.ndarray = np.full((len(lengths), width), pad, dtype=np.int64)
    columns = np.arange(width)
    out[columns < lengths[:, None] if side == "right" else columns >= width - lengths[:, None]] = flat
    return out


def _lists(flat: np.ndarray | int, lengths: np.ndarray, width: int | None, pad: int, side: str) -> list[list[int]]:
    if isinstance(flat, int):
        rows = [[flat] * length for length in lengths.tolist()]
    else:
        ends = np.cumsum(lengths).tolist()
        rows = [flat[end - n : end].tolist() for end, n in zip(ends, lengths.tolist(), strict=True)]
    for row, missing in [] if width is None else zip(rows, (width - lengths).tolist(), strict=True):
        at = len(row) if side == "right" else 0
        row[at:at] = [pad] * missing
    return rows
