"""A batch of sequences as flat arrays: templates, cuts and padding without a loop over symbols. numpy only."""

from __future__ import annotations

import gc
from functools import lru_cache
from typing import Any

import numpy as np

_MANY = 4096  # entries from which sharing integers is worth a table of them
_MANY_LISTS = 256  # from which collecting early is worth it


class Rows:
    """Filled templates of a batch, flat: `ids` and `types` of shape `(tokens,)`, `lengths` of shape `(batch,)`.

    `types` is 0 where every token's type is; `specials` holds the indices of special tokens.
    """

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.starts = np.cumsum(lengths) - lengths
        self.ids: np.ndarray = np.empty(int(lengths.sum()), dtype=np.int64)
        self.types: np.ndarray | int = 0
        self.specials: list[np.ndarray] = []

    def special(self) -> np.ndarray:
        """1 for special tokens, 0 for symbols, shape `(tokens,)`."""
        marks = np.zeros_like(self.ids)
        for where in self.specials:
            marks[where] = 1
        return marks


def fill_template(items: list[list[Any]], columns: list[tuple[np.ndarray, np.ndarray]]) -> Rows:
    """Puts one or two columns of `(ids, lengths)` into a template of ids and `"A"`/`"B"`, each with its token type."""
    parts = {"A": columns[0], "B": columns[-1]}
    lengths = [parts[item][1] if isinstance(item, str) else np.ones_like(columns[0][1]) for item, _ in items]
    rows = Rows(np.sum(lengths, axis=0))
    if any(kind for _, kind in items):
        rows.types = np.zeros_like(rows.ids)
    at = rows.starts.copy()
    free: np.ndarray = np.ones(len(rows.ids), dtype=bool)
    parts_at = []
    for (item, kind), length in zip(items, lengths, strict=True):
        if isinstance(item, str):
            parts_at.append((item, kind, at.copy(), length))
        else:
            rows.ids[at], free[at] = item, False
            rows.specials.append(at.copy())
            if isinstance(rows.types, np.ndarray):
                rows.types[at] = kind
        at += length
    for item, kind, start, length in parts_at:
        # one sequence takes all that no special token takes: a mask is an eighth of the memory of indices
        where = free if len(parts_at) == 1 else _spans(start, length)
        rows.ids[where] = parts[item][0]
        if kind and isinstance(rows.types, np.ndarray):
            rows.types[where] = kind
    return rows


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of the concatenation of `range(start, start + length)` over all rows."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def cut(ids: np.ndarray, lengths: np.ndarray, targets: np.ndarray, keeps: str) -> np.ndarray:
    """Keeps `targets` symbols of each sequence: its `head`, its `tail`, or both ends (`head_tail`)."""
    starts = np.cumsum(lengths) - lengths
    if keeps == "head":
        return ids[_spans(starts, targets)]
    tail = targets if keeps == "tail" else targets // 2
    head = targets - tail
    both = np.stack([starts, starts + lengths - tail], axis=1).ravel()
    return ids[_spans(both, np.stack([head, tail], axis=1).ravel())]


def target_lengths(lengths: list[np.ndarray], room: int, strategy: str) -> list[np.ndarray]:
    """How many symbols each part keeps. Pairs are cut as `tokenizers` cuts them, so that both give the same ids."""
    if len(lengths) == 1:
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


def padded_width(lengths: np.ndarray, padding: str, max_length: int | None, multiple: int | None) -> int | None:
    """Columns of the padded batch; None where rows keep their own lengths."""
    if padding == "do_not_pad" or not len(lengths):
        return None
    longest = int(lengths.max())
    width = max(longest, max_length or 0) if padding == "max_length" else longest
    return width if not multiple else -(-width // multiple) * multiple


def layout(flat: np.ndarray | int, lengths: np.ndarray, width: int | None, pad: int, side: str, as_array: bool) -> Any:
    """Flat tokens as rows: a padded array or list of lists of shape `(batch, width)`, or lists of own lengths.

    A number stands for as many tokens of that value.
    """
    if width is None:
        rows = _empty_lists(len(lengths))
        if isinstance(flat, int):
            for row, length in zip(rows, lengths.tolist(), strict=True):
                row.append(flat)
                row *= length
            return rows
        take, start = _as_python(flat), 0
        for row, end in zip(rows, np.cumsum(lengths).tolist(), strict=True):
            row[:], start = take[start:end].tolist(), end
        return rows
    if (lengths == width).all():
        out = np.full((len(lengths), width), flat) if isinstance(flat, int) else flat.reshape(len(lengths), width)
    else:
        out = np.full((len(lengths), width), pad, dtype=np.int64)
        columns = np.arange(width)
        kept = columns < lengths[:, None] if side == "right" else columns >= width - lengths[:, None]
        out[kept] = flat
    if as_array:
        return out
    rows = _empty_lists(len(lengths))
    for row, values in zip(rows, _as_python(out), strict=True):
        row[:] = values.tolist()
    return rows


def _empty_lists(count: int) -> list[list[Any]]:
    """Lists to fill; many of them are shown to the cyclic garbage collector while they are empty.

    It collects after some hundred new containers in any case, and would then look at each of their entries.
    """
    enabled = count >= _MANY_LISTS and gc.isenabled()
    if enabled:
        gc.disable()
    lists: list[list[Any]] = [[] for _ in range(count)]
    if enabled:
        gc.collect(0)
        gc.enable()
    return lists


def _as_python(ids: np.ndarray) -> np.ndarray:
    """Ids as references to few Python integers, so that a list of a large batch makes no new object an entry."""
    if ids.size < _MANY or ids.min() < 0:
        return ids
    return _python_integers(int(ids.max()) // _MANY * _MANY + _MANY)[ids]


@lru_cache(maxsize=4)
def _python_integers(size: int) -> np.ndarray:
    return np.arange(size).astype(object)
