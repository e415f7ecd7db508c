"""Masked-LM: the stock masking, seeded for each batch, and models that compute the masked positions alone.

The models have the names of the stock classes, which a saved config gives, and weights of the same names: each
loads the other's.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import (
    AlbertConfig,
    BertConfig,
    DataCollatorForLanguageModeling,
    PretrainedConfig,
    PreTrainedModel,
    default_data_collator,
)
from transformers.modeling_outputs import MaskedLMOutput

from ..tokenization_discipline import DisciplineTokenizer

HEAD_SIZE = 64  # of BERT and ALBERT of every published size


class SeededMasking(DataCollatorForLanguageModeling):
    """[`DataCollatorForLanguageModeling`] whose draws depend on the seed, the epoch and the blocks of the batch alone.

    So a resumed run has the same masks as an uninterrupted one, with any number of workers. With the tokenizer of a
    discipline, a random replacement is one of its symbols.

    Args:
        tokenizer: of the blocks.
        rate: share of the positions that are predicted, more than 0 and less than 1.
        whole_words: mask whole words. Each piece is replaced by [MASK].
        seed: of all draws.

    Raises:
        ValueError: a tokenizer without a mask token, or whole words with a vocabulary that does not mark continuations
            with `##`.
    """

    def __init__(self, tokenizer: Any, rate: float = 0.15, whole_words: bool = False, seed: int = 0) -> None:
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
        # a few short blocks may have no masked position, and then no loss: they are drawn again
        while not special.all() and (batch["labels"] == -100).all():
            batch["input_ids"], batch["labels"] = self.torch_mask_tokens(ids.clone(), special, offsets)
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


class BertForMaskedLM(transformers.BertForMaskedLM):
    """The stock class scores the whole vocabulary at every position, and the loss reads one in seven. That is more
    work than the layers of a small model, and most of the memory.
    """

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> MaskedLMOutput:
        masked = labels != -100
        scores = self.cls(self.bert(input_ids).last_hidden_state[masked])  # (masked, vocabulary)
        return MaskedLMOutput(self.loss_function(scores, labels[masked], self.config.vocab_size, **kwargs), scores)


class AlbertForMaskedLM(transformers.AlbertForMaskedLM):
    """As [`BertForMaskedLM`]."""

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> MaskedLMOutput:
        masked = labels != -100
        scores = self.predictions(self.albert(input_ids).last_hidden_state[masked])
        return MaskedLMOutput(self.loss_function(scores, labels[masked], self.config.vocab_size, **kwargs), scores)


class BertForPreTraining(transformers.BertForPreTraining):
    """As [`BertForMaskedLM`]; the loss is the sum of both objectives, as in BERT, each a mean over the batch."""

    accepts_loss_kwargs = False

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        token_type_ids: torch.Tensor,
        next_sentence_label: torch.Tensor,
    ) -> MaskedLMOutput:
        masked = labels != -100
        outputs = self.bert(input_ids, token_type_ids=token_type_ids)
        scores, related = self.cls(outputs.last_hidden_state[masked], outputs.pooler_output)
        loss = cross_entropy(scores.float(), labels[masked]) + cross_entropy(related.float(), next_sentence_label)
        return MaskedLMOutput(loss, scores)


def model_class(model_type: str, next_sentence: bool) -> Any:
    """The class for a `model_type`.

    Raises:
        ValueError: a type that is not trained here, or next-sentence prediction of ALBERT.
    """
    if model_type == "bert":
        return BertForPreTraining if next_sentence else BertForMaskedLM
    if model_type != "albert":
        raise ValueError(f"model type {model_type!r} is not pre-trained here; allowed: bert, albert")
    if next_sentence:
        raise ValueError("--next_sentence is BERT's objective; ALBERT has another, which is not built here")
    return AlbertForMaskedLM


def new_config(
    model_type: str, tokenizer: Any, layers: int, hidden_size: int, length: int, dropout: float
) -> PretrainedConfig:
    """A config of any size in BERT's proportions: heads of 64, feed-forward layers of four times the hidden size."""
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden_size // HEAD_SIZE,
        "intermediate_size": 4 * hidden_size,
        "max_position_embeddings": max(512, length),
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": 0.0,  # as in the protocol `recommended`: its mask is most of a step on a CPU
        "pad_token_id": tokenizer.pad_token_id,
    }
    if model_type == "bert":
        return BertConfig(**sizes)
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    return AlbertConfig(**sizes, **ends, embedding_size=min(128, hidden_size))


def save_stock(model: PreTrainedModel, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Saves the weights as those of the stock class, which `AutoModel` and any other program can load."""
    (model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)).save_pretrained(folder)
