"""A stream of records -> chunks in memory together -> batches of like lengths."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ..data.input_records import InputRecord

CHUNK_RECORDS, CHUNK_SYMBOLS = 1024, 2**21  # of one chunk, which is sorted and held in memory as a whole


def in_chunks(records: Iterable[InputRecord]) -> Iterator[list[InputRecord]]:
    """Consecutive records, a thousand at a time, fewer if they are long. Chunks depend on the records alone."""
    chunk: list[InputRecord] = []
    symbols = 0
    for record in records:
        chunk.append(record)
        symbols += len(record.sequence) + len(record.second or "")
        if len(chunk) == CHUNK_RECORDS or symbols >= CHUNK_SYMBOLS:
            yield chunk
            chunk, symbols = [], 0
    if chunk:
        yield chunk


def length_batches(lengths: np.ndarray, tokens: int, batch_size: int | None = None) -> list[np.ndarray]:
    """Indices of batches of like lengths, longest first, as few as are needed and about equally large.

    A small last batch would leave the other cores idle.

    Args:
        lengths: tokens of each item, shape `(items,)`.
        tokens: at most so many a batch, with its padding. A batch has one item in any case.
        batch_size: at most so many items, where given.
    """
    order = np.argsort(-lengths, kind="stable")
    longest_first = lengths[order].tolist()
    needed = len(_batch_sizes(longest_first, tokens, batch_size))
    # the fewest tokens that need no more batches
    tokens = bisect_left(
        range(tokens), True, key=lambda few: len(_batch_sizes(longest_first, few, batch_size)) <= needed
    )
    ends = np.cumsum(_batch_sizes(longest_first, tokens, batch_size))
    return np.split(order, ends[:-1]) if len(order) else []


def _batch_sizes(longest_first: list[int], tokens: int, batch_size: int | None) -> list[int]:
    sizes: list[int] = []
    at = 0
    while at < len(longest_first):
        size = min(max(1, tokens // max(1, longest_first[at])), batch_size or len(longest_first))
        sizes.append(min(size, len(longest_first) - at))
        at += size
    return sizes


def for_each_batch(
    compute: Callable[[np.ndarray], None],
    lengths: np.ndarray,
    tokens: int,
    threads: int,
    batch_size: int | None = None,
) -> None:
    """Calls `compute` with the indices of each of the [`length_batches`], several at a time, each by one thread.

    Torch uses one thread for each operation meanwhile, so that each core computes a batch of its own.
    """
    batches = length_batches(lengths, tokens, batch_size)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1 or len(batches) == 1:
            for batch in batches:
                compute(batch)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(compute, batches))
    finally:
        torch.set_num_threads(before)
