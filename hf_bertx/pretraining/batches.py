"""Packed token ids -> blocks of full length -> what masked-LM pre-training is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from .corpus import Corpus

_MASKED, _RANDOM = 0.8, 0.1  # Devlin et al. 2019, section 3.1: 80% [MASK], 10% a random token, 10% unchanged
_GOLDEN = -0x61C8864680B583EB  # 2^64 over the golden ratio, as a signed number
_ROUNDS, _AT_ONCE = 4, 2**16  # of the network that shuffles; numbers that go through it at once
_TRIES = 8  # for a second segment from another document, before a neighbour is taken


class PackedBlocks(Dataset):
    """Blocks `[CLS] tokens [SEP]` of one length, without padding; a block runs over the end of a document.

    With `next_sentence`, blocks are `[CLS] A [SEP] B [SEP]`: A is 10 to 90% of the tokens; B is what follows A in the
    corpus in one half of the blocks and a stretch of another document in the other half, drawn anew in each epoch.

    Args:
        length: of a block, special tokens included.
        seed: of the pairs.
        name: of the text, for errors.

    Raises:
        ValueError: the corpus is shorter than one block, or pairs are asked of a single document.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Any,
        length: int,
        next_sentence: bool = False,
        seed: int = 0,
        name: str = "the text",
    ) -> None:
        self.corpus, self.length, self.next_sentence, self.seed = corpus, length, next_sentence, seed
        self.cls, self.sep, self.epoch = tokenizer.cls_token_id, tokenizer.sep_token_id, 0
        self.taken = length - (3 if next_sentence else 2)  # tokens of the corpus in a block
        if self.taken < 2 or len(corpus.tokens) < self.taken:
            raise ValueError(f"{name} holds {len(corpus.tokens)} tokens; a block of length {length} needs more")
        if next_sentence and len(corpus.starts) < 2:
            raise ValueError(
                f"next-sentence pairs need at least two documents; {name} has one (--documents says where they end)"
            )

    def set_epoch(self, epoch: int) -> None:
        """To be told at the start of each epoch, of one that is gone on with too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.corpus.tokens) // self.taken

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """A whole batch at once: `input_ids` of shape `(batch, length)`, `block` of shape `(batch,)`."""
        starts = np.asarray(indices, dtype=np.int64) * self.taken
        block = torch.tensor(indices)
        if self.next_sentence:
            return {**self._pairs(starts, block), "block": block}
        ids = torch.full((len(starts), self.length), self.sep)
        ids[:, 0] = self.cls
        ids[:, 1:-1] = torch.from_numpy(self.corpus.tokens[starts[:, None] + np.arange(self.taken)].astype(np.int64))
        return {"input_ids": ids, "block": block}

    def _pairs(self, starts: np.ndarray, block: torch.Tensor) -> dict[str, torch.Tensor]:
        length, draw = self.drawn(block)
        least = self.taken // 10 + 1
        cut: np.ndarray = least + (length * (self.taken - 2 * least + 1)).astype(np.int64)  # tokens of A
        follows = draw[:, 0] < 0.5
        second = np.where(follows, starts + cut, self._elsewhere(starts, draw[:, 1:]))
        place = np.arange(self.length)
        in_b = place > cut[:, None] + 1  # behind [CLS] A [SEP]
        source = np.where(in_b, second[:, None] + place - cut[:, None] - 2, starts[:, None] + place - 1)
        ids = self.corpus.tokens[source.clip(0, len(self.corpus.tokens) - 1)].astype(np.int64)
        ids[:, 0], ids[:, -1] = self.cls, self.sep
        ids[np.arange(len(starts)), cut + 1] = self.sep
        return {
            "input_ids": torch.from_numpy(ids),
            "token_type_ids": torch.from_numpy(in_b.astype(np.int64)),
            "next_sentence_label": torch.from_numpy((~follows).astype(np.int64)),  # BERT's: 0 says that B follows A
        }

    def drawn(self, block: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of each block: a number for the length of A, and the others, shape `(batch, 1 + tries)`."""
        found = uniform(block, _TRIES + 2, (self.seed << 20) + self.epoch).double().numpy()
        return found[:, 0], found[:, 1:]

    def _elsewhere(self, starts: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """For each block a place in a document other than the one that the block begins in."""
        last = len(self.corpus.tokens) - self.taken
        own = self._document(starts)
        places: np.ndarray = (draws * (last + 1)).astype(np.int64)
        fits = self._document(places) != own[:, None]
        found = places[np.arange(len(starts)), fits.argmax(1)]
        other = self.corpus.starts[(own + 1) % len(self.corpus.starts)]
        return np.where(fits.any(1), found, other.clip(0, last))

    def _document(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(np.searchsorted(self.corpus.starts, places, side="right")) - 1


class ShuffledBlocks(Sampler[int]):
    """Every block once an epoch, in an order that is computed as it is asked for: no list of all blocks is held.

    A Feistel network of four rounds over the numbers below a power of four permutes them; those that are no blocks
    go through it again until they are ("cycle walking").

    Source:
        Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 6 and 4.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """To be told at the start of each epoch, of one that is gone on with too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self.count, _AT_ONCE):
            places = self._permuted(torch.arange(start, min(start + _AT_ONCE, self.count)))
            while (outside := places >= self.count).any():
                places[outside] = self._permuted(places[outside])
            yield from places.tolist()

    def _permuted(self, places: torch.Tensor) -> torch.Tensor:
        half = max(1, (self.count.bit_length() + 1) // 2)
        left, right = places >> half, places & (2**half - 1)
        for n in range(_ROUNDS):
            key = _ROUNDS * ((self.seed << 20) + self.epoch) + n
            left, right = right, left ^ (_mixed(_mixed(right + _start(key))) & (2**half - 1))
        return left << half | right


@dataclass(frozen=True)
class Masking:
    """Which tokens are asked for, and what stands in their place.

    Exactly `round(rate * length)` positions of each block, as in BERT's own data, so that all shapes are fixed: the
    prediction head is computed at these positions alone, and nothing waits for a count from the GPU.

    Args:
        special_ids: never asked for.
        continues: shape `(vocabulary,)`, whether an entry continues a word; with it words are asked for as a whole
            (the last one may be cut where the count is full). None: single tokens.
        vocabulary_size: random replacements are drawn below it.
    """

    mask_id: int
    special_ids: tuple[int, ...]
    vocabulary_size: int
    rate: float = 0.15
    continues: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, blocks: torch.Tensor, key: int) -> dict[str, torch.Tensor]:
        """Chooses positions; the same block and key ask the same, in whatever batch, process or order.

        Args:
            input_ids: shape `(batch, length)`.
            blocks: shape `(batch,)`, the number of each block in the corpus.
            key: of the run and the step.

        Returns:
            `input_ids` with replacements; `masked_positions` and `masked_labels` of shape `(batch, asked)`, positions
            in increasing order.
        """
        count = max(1, round(self.rate * input_ids.shape[1]))
        chance = uniform(blocks, input_ids.shape[1], 3 * key)
        if self.continues is not None:
            # all pieces of a word share the draw of its first
            word = (~self.continues.to(input_ids.device)[input_ids]).cumsum(1) - 1
            chance = chance.gather(1, word.clamp(min=0))
        special = torch.isin(input_ids, torch.tensor(self.special_ids, device=input_ids.device))
        positions = chance.masked_fill(special, 2.0).topk(count, largest=False).indices.sort(1).values
        labels = input_ids.gather(1, positions)
        kind, other = uniform(blocks, count, 3 * key + 1), uniform(blocks, count, 3 * key + 2)
        random = (other * self.vocabulary_size).long()
        put = torch.where(kind < _MASKED, self.mask_id, torch.where(kind < _MASKED + _RANDOM, random, labels))
        return {
            "input_ids": input_ids.scatter(1, positions, put),
            "masked_positions": positions,
            # a block that is nearly all special tokens has fewer to ask for
            "masked_labels": labels.masked_fill(special.gather(1, positions), -100),
        }


def uniform(blocks: torch.Tensor, count: int, key: int) -> torch.Tensor:
    """Numbers in [0, 1) that depend on block, place and key alone: no generator whose state a resumed run must find.

    Args:
        blocks: shape `(batch,)`.

    Returns:
        float32 of shape `(batch, count)`.

    Source:
        SplitMix64: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 15.
    """
    places = torch.arange(1, count + 1, device=blocks.device)
    state = _mixed(_mixed(blocks + _start(key)).unsqueeze(1) + places * _GOLDEN)
    return ((state >> 40) & 0xFFFFFF) * 2.0**-24


def _start(key: int) -> int:
    return (key * _GOLDEN + 2**63) % 2**64 - 2**63  # as int64 would wrap around


def _mixed(state: torch.Tensor) -> torch.Tensor:
    # int64 wraps around as the source's unsigned numbers do; `>>` keeps the sign, so its copies are masked off
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return state ^ ((state >> 31) & 0x1FFFFFFFF)


def masking(tokenizer: Any, rate: float, whole_words: bool) -> Masking:
    """A tokenizer's [`Masking`].

    Raises:
        ValueError: a rate outside 0 to 1, a tokenizer without a mask token, or whole words of a vocabulary that does
            not mark continuations with `##`.
    """
    if not 0 < rate < 1:
        raise ValueError(f"--mask_rate is {rate}; allowed: more than 0, less than 1")
    if tokenizer.mask_token_id is None:
        raise ValueError("the tokenizer has no mask token; masked-LM pre-training needs one")
    size = len(tokenizer)
    continues = None
    if whole_words:
        marked = [token.startswith("##") for token in tokenizer.convert_ids_to_tokens(range(size))]
        if not any(marked):
            raise ValueError("--whole_words needs a WordPiece vocabulary, which marks continuations with ##")
        continues = torch.tensor(marked)
    specials = tuple(i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id)
    return Masking(tokenizer.mask_token_id, specials, size, rate, continues)
