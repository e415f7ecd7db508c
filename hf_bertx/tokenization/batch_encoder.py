"""Sequences of a discipline to rows of codes, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from transformers.utils import logging

from ..disciplines import Discipline
from .batch_layout import Rows, cut, fill_template, target_lengths
from .subwords import Template, without_special_tokens
from .symbol_lookup import SymbolLookup

logger = logging.get_logger(__name__)

Column = tuple[np.ndarray, np.ndarray]  # codes of all sequences, and the number of symbols of each


@dataclass(frozen=True)
class Cut:
    """How rows are cut to `max_length` tokens.

    Args:
        strategy: a truncation strategy of transformers.
        keeps: `head`, `tail` or `head_tail`: the symbols that stay.
        verbose: warn of sequences that are cut.
    """

    max_length: int
    strategy: str
    keeps: str
    verbose: bool


class BatchEncoder:
    """Codes with the special tokens of a template around them.

    Codes number the ids that can occur in a sequence, symbols first.
    """

    def __init__(self, discipline: Discipline, symbol_ids: list[int], template: Template) -> None:
        specials = [item for items in template.values() for item, _ in items if not isinstance(item, str)]
        ids = list(dict.fromkeys([*symbol_ids, *specials]))
        codes = {i: code for code, i in enumerate(ids)}
        self.id_by_code: np.ndarray = np.array(ids, dtype=np.int64)
        self.symbols = SymbolLookup(discipline, np.min_scalar_type(len(ids)))
        self._template = {
            name: [[codes.get(item, item), kind] for item, kind in items] for name, items in template.items()
        }

    def rows(self, texts: list[list[str]], add_special_tokens: bool, to: Cut | None = None) -> Rows:
        """A batch of sequences, or of pairs of them, cut if `to` says so.

        Args:
            texts: the sequences; then the second ones of pairs.

        Raises:
            UnknownSymbolError: a sequence holds a symbol outside the alphabet.
        """
        columns = [self.symbols.codes(column) for column in texts]
        items = self._template["single" if len(texts) == 1 else "pair"]
        if not add_special_tokens:
            items = without_special_tokens(items)
        if to is not None:
            columns = _cut(columns, to.max_length - len(items) + len(columns), to)
        return fill_template(items, columns)


def _cut(columns: list[Column], room: int, to: Cut) -> list[Column]:
    lengths = [length for _, length in columns]
    total = np.sum(lengths, axis=0)
    if not (total > room).any():
        return columns
    if room < len(columns):
        raise ValueError(f"max_length leaves room for {room} symbols; it must leave at least {len(columns)}")
    targets = target_lengths(lengths, room, to.strategy)
    if to.verbose:
        logger.warning(
            f"cut {int((total > room).sum())} of {len(total)} sequences to {room} symbols, keeping the "
            f"{to.keeps.replace('_', ' and the ')}; the longest had {int(total.max())}"
        )
    return [(cut(ids, length, kept, to.keeps), kept) for (ids, length), kept in zip(columns, targets, strict=True)]


def as_columns(text: Any, text_pair: Any, split: bool, join: Callable[[Any], str]) -> tuple[list[list[str]], bool]:
    """A tokenizer's input as one list of strings, or two for pairs, and whether a single item was given.

    Args:
        split: the items are lists of symbols, which `join` makes strings of.

    Raises:
        TypeError: an item is no string, the second sequences of a list are one string, or a dictionary or table, whose
            items would be names.
        ValueError: not as many paired sequences as sequences.
    """
    if split:
        single = not (text and isinstance(text[0], (list, tuple)))
        columns = [[column] if single else column for column in (text, text_pair) if column is not None]
        return [[join(symbols) for symbols in column] for column in columns], single
    for given in (text, text_pair):
        if isinstance(given, Mapping) or hasattr(given, "columns"):
            raise TypeError(
                f"{type(given).__name__} has columns; allowed: one of them, a list of strings, or a string"
            )
    single = isinstance(text, str)
    if isinstance(text_pair, str) and not single:
        raise TypeError("text_pair is a string and text is not; give as many paired sequences as sequences")
    first = [text] if single else list(text)
    # an empty second sequence beside a single first one is none, as in AutoTokenizer
    second = text_pair if not single else [text_pair] if text_pair else None
    if second is None and first and isinstance(first[0], (list, tuple)):
        first, second = (list(column) for column in zip(*first, strict=True))
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} sequences and {len(second)} paired sequences: the counts must agree")
    for row, item in enumerate(chain(first, second or ())):
        if not isinstance(item, str):
            raise TypeError(f"sequence {row % len(first)} is {type(item).__name__}, not a string: {item!r:.60}")
    return [first] if second is None else [first, list(second)], single
