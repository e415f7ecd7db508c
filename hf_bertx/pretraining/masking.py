"""The stock masking of masked-LM, with a seed for each batch."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from transformers import DataCollatorForLanguageModeling, default_data_collator

from ..tokenization_discipline import DisciplineTokenizer


class SeededMasking(DataCollatorForLanguageModeling):
    """[`DataCollatorForLanguageModeling`] whose draws depend on the seed, the epoch and the blocks of the batch alone.

    So a resumed run has the same masks as an uninterrupted one, with any number of workers. With the tokenizer of a
    discipline, a random replacement is one of its symbols.

    Args:
        tokenizer: of the blocks.
        rate: share of the positions that are predicted.
        whole_words: mask whole words. Each piece is replaced by [MASK].
        seed: of all draws.

    Raises:
        ValueError: a rate outside 0 to 1, a tokenizer without a mask token, or whole words with a vocabulary that does
            not mark continuations with `##`.
    """

    def __init__(self, tokenizer: Any, rate: float = 0.15, whole_words: bool = False, seed: int = 0) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"--mask_rate is {rate}; allowed: more than 0, less than 1")
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token; masked-LM pre-training needs one")
        replaced = {"mask_replace_prob": 1.0, "random_replace_prob": 0.0} if whole_words else {}
        super().__init__(tokenizer, mlm_probability=rate, whole_word_mask=whole_words, seed=seed, **replaced)
        self.epoch = 0
        self.special_ids = torch.tensor([i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id])
        symbols = tokenizer.symbol_ids if isinstance(tokenizer, DisciplineTokenizer) else None
        self.symbol_ids = None if symbols is None else torch.tensor(symbols)
        if whole_words:
            tokens = [] if symbols else tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
            self.continues = torch.tensor([token.startswith("##") for token in tokens])
            if not self.continues.any():
                raise ValueError("--whole_words needs a WordPiece vocabulary, which marks continuations with ##")

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """`input_ids` with replacements and `labels`, both of shape `(batch, length)`, and the other columns."""
        batch = default_data_collator(examples)
        drawn_for = f"{self.seed} {self.epoch} {batch.pop('block').tolist()}"
        seed = int.from_bytes(hashlib.sha256(drawn_for.encode()).digest()[:8], "big") >> 1
        self.generator = torch.Generator().manual_seed(seed)
        if "next_sentence_label" in batch:
            batch["next_sentence_label"] = batch["next_sentence_label"].view(-1)
        ids = batch["input_ids"].clone()
        offsets = self._offsets(ids) if self.whole_word_mask else None
        special = torch.isin(ids, self.special_ids)
        batch["input_ids"], batch["labels"] = self.torch_mask_tokens(batch["input_ids"], special, offsets)
        if self.symbol_ids is not None:
            replaced = (batch["input_ids"] != ids) & (batch["input_ids"] != self.tokenizer.mask_token_id)
            drawn = torch.randint(len(self.symbol_ids), (int(replaced.sum()),), generator=self.generator)
            batch["input_ids"][replaced] = self.symbol_ids[drawn]
        return batch

    def _offsets(self, ids: torch.Tensor) -> torch.Tensor:
        """Offsets by which the stock collator sees what is one word: a piece begins where the one before ends."""
        ends = 2 * torch.arange(ids.shape[1]).expand_as(ids) + 2
        starts = torch.where(self.continues[ids], ends - 2, ends - 1)
        return torch.stack([starts, ends], dim=-1)
