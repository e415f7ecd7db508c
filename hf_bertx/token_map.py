"""The paper's T: bijections of a text vocabulary, and injections of an alphabet into it. numpy only.

A table is an integer array of shape `(vocabulary size,)`; `table[i]` is the id that id `i` is mapped to.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ASSIGNMENTS = ("frequent", "random", "unused")
_UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>|madeupword\d{4}")
_PIECE_MARK = re.compile(r"^(##|▁|Ġ)|</w>$")
_AUTHORS_FIRST_SUBWORD = 1000  # "Shuffle ids 1000...V-1": the authors' tables never target an id below this


def shift_table(offset: int, size: int, fixed: Collection[int] = ()) -> np.ndarray:
    """T(i) = (i + offset) mod size, over all ids or over all but `fixed` ones (the special tokens).

    With `fixed` ids the remaining ones are shifted cyclically among themselves, so the result is a bijection too.
    Source: the paper, section 2.1 (`fixed=()`; the authors' code maps special tokens as well).
    """
    moving = _moving_ids(size, fixed)
    table = np.arange(size)
    table[moving] = np.roll(moving, -offset)
    return table


def permutation_table(seed: int, size: int, fixed: Collection[int] = ()) -> np.ndarray:
    """A random bijection, the same for the same seed on every platform: the paper's *random shift* (appendix B)."""
    moving = _moving_ids(size, fixed)
    table = np.arange(size)
    table[moving] = np.random.Generator(np.random.PCG64(seed)).permutation(moving)
    return table


def random_subword_table(seed: int, size: int) -> np.ndarray:
    """A bijection as the authors' code makes them: ids from 1000 on shuffled, ids 0 to 999 appended after them.

    So every id below `size - 1000` lands on a real subword, never on a special or unused one. Their shuffles came
    from an unseeded generator; these are seeded and repeatable, and not the tables the authors shipped.
    """
    if size <= _AUTHORS_FIRST_SUBWORD:
        raise ValueError(
            f"a random assignment needs more than {_AUTHORS_FIRST_SUBWORD} subwords; the vocabulary has {size}"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    shuffled = generator.permutation(np.arange(_AUTHORS_FIRST_SUBWORD, size))
    return np.concatenate([shuffled, np.arange(_AUTHORS_FIRST_SUBWORD)])


def _moving_ids(size: int, fixed: Collection[int]) -> np.ndarray:
    outside = [i for i in fixed if not 0 <= i < size]
    if outside:
        raise ValueError(f"fixed id {outside[0]} is outside the vocabulary: allowed are 0 to {size - 1}")
    return np.setdiff1d(np.arange(size), np.fromiter(fixed, dtype=int, count=len(fixed)))


def assign(
    n_symbols: int,
    vocabulary: Sequence[str],
    special_ids: Collection[int],
    assignment: str = "frequent",
    seed: int | None = None,
    counts_file: str | Path | None = None,
) -> tuple[list[int], dict[str, Any]]:
    """Chooses the subword id of each of `n_symbols` symbols.

    Args:
        vocabulary: the backbone's subwords; the position is the id. An id without a subword holds `""`.
        special_ids: ids that no symbol may get.
        assignment: `frequent` (paper: "the most frequent subword tokens in the text corpora"), `random` (the
            authors' code) or `unused` (the paper's ablation).
        seed: of the `random` assignment.
        counts_file: for `frequent`: a JSON object `{subword: count}`, or lines `subword<TAB>count`, counted over a
            corpus. Without one the vocabulary's own order ranks, which in WordPiece and Unigram vocabularies
            follows frequency.

    Returns:
        The ids, one a symbol and all different, and a JSON-ready record of how they were chosen.

    Raises:
        ValueError: an unknown assignment, a missing or superfluous seed, or too few subwords.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"unknown assignment {assignment!r}; allowed: {', '.join(ASSIGNMENTS)}")
    if (seed is not None) != (assignment == "random"):
        raise ValueError(f"assignment {assignment!r} {'takes no' if seed is not None else 'needs a'} seed")
    if counts_file is not None and assignment != "frequent":
        raise ValueError(f"a counts file ranks the `frequent` assignment; assignment is {assignment!r}")
    record: dict[str, Any] = {"name": assignment}
    if assignment == "random":
        assert seed is not None
        table = random_subword_table(seed, len(vocabulary))
        # 128 + index keeps clear of the base ids of special tokens (the authors' music code: "id = pitch + 128")
        candidates = [int(i) for i in table[128 : len(vocabulary) - _AUTHORS_FIRST_SUBWORD] if i not in special_ids]
        record["seed"] = seed
    elif assignment == "unused":
        candidates = [i for i, token in enumerate(vocabulary) if _UNUSED.fullmatch(token) and i not in special_ids]
    else:
        usable = [i for i, token in enumerate(vocabulary) if i not in special_ids and _is_ranked_subword(token)]
        candidates, record["ranked_by"] = _rank(usable, vocabulary, counts_file)
    if len(candidates) < n_symbols:
        raise ValueError(
            f"assignment {assignment!r} finds {len(candidates)} subwords in this vocabulary of {len(vocabulary)}, "
            f"and {n_symbols} symbols need one each"
        )
    return candidates[:n_symbols], record


def _is_ranked_subword(token: str) -> bool:
    """Left out: holes, unused entries, and entries of a single character once the piece mark is taken off."""
    return not _UNUSED.fullmatch(token) and len(_PIECE_MARK.sub("", token)) > 1


def _rank(usable: list[int], vocabulary: Sequence[str], counts_file: str | Path | None) -> tuple[list[int], str]:
    if counts_file is None:
        return usable, "vocabulary order"
    path = Path(counts_file)
    content = path.read_bytes()
    counts = _read_counts(content, path)
    ranked = sorted((i for i in usable if counts.get(vocabulary[i], 0) > 0), key=lambda i: (-counts[vocabulary[i]], i))
    return ranked, f"counts file {path.name}, sha256 {hashlib.sha256(content).hexdigest()}"


def _read_counts(content: bytes, path: Path) -> dict[str, int]:
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write a byte order mark
        if text.lstrip().startswith("{"):
            return {token: int(count) for token, count in json.loads(text).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: neither a JSON object of counts nor lines of text ({error})") from None
    counts = {}
    for number, line in enumerate(text.splitlines(), start=1):
        token, tab, count = line.partition("\t")
        if not tab or not count.strip().isdigit():
            raise ValueError(f"{path}, line {number}: {line!r} is not `subword<TAB>count`")
        counts[token] = int(count)
    return counts
