"""BERT and ALBERT with pre-training heads that are computed at the masked positions alone.

Weights have the names of the stock classes, so that each loads the other's.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import MaskedLMOutput

HEAD_SIZE = 64  # of BERT and ALBERT of every published size


def _asked(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The states, shape `(batch, length, hidden)`, at positions of shape `(batch, asked)`."""
    return states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def _loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(scores.flatten(0, 1).float(), labels.flatten())


class BertForMaskedPositions(BertForMaskedLM):
    """[`BertForMaskedLM`] that takes positions and labels of shape `(batch, asked)`.

    The stock class computes a score of the whole vocabulary for every position, six in seven of which no loss reads:
    more work than the layers of a small model.
    """

    stock = BertForMaskedLM

    def forward(
        self, input_ids: torch.Tensor, masked_positions: torch.Tensor, masked_labels: torch.Tensor
    ) -> MaskedLMOutput:
        states = self.bert(input_ids).last_hidden_state
        scores = self.cls(_asked(states, masked_positions))
        return MaskedLMOutput(loss=_loss(scores, masked_labels), logits=scores)


class AlbertForMaskedPositions(AlbertForMaskedLM):
    """[`AlbertForMaskedLM`], as [`BertForMaskedPositions`]."""

    stock = AlbertForMaskedLM

    def forward(
        self, input_ids: torch.Tensor, masked_positions: torch.Tensor, masked_labels: torch.Tensor
    ) -> MaskedLMOutput:
        states = self.albert(input_ids).last_hidden_state
        scores = self.predictions(_asked(states, masked_positions))
        return MaskedLMOutput(loss=_loss(scores, masked_labels), logits=scores)


class BertForMaskedPositionsAndNextSentence(BertForPreTraining):
    """[`BertForPreTraining`], as [`BertForMaskedPositions`]; the loss is the sum of both, as in BERT."""

    stock = BertForPreTraining

    def forward(
        self,
        input_ids: torch.Tensor,
        masked_positions: torch.Tensor,
        masked_labels: torch.Tensor,
        token_type_ids: torch.Tensor,
        next_sentence_label: torch.Tensor,
    ) -> MaskedLMOutput:
        outputs = self.bert(input_ids, token_type_ids=token_type_ids)
        scores, related = self.cls(_asked(outputs.last_hidden_state, masked_positions), outputs.pooler_output)
        loss = _loss(scores, masked_labels) + cross_entropy(related.float(), next_sentence_label)
        return MaskedLMOutput(loss=loss, logits=scores)


def model_class(model_type: str, next_sentence: bool) -> Any:
    """The class for a `model_type`.

    Raises:
        ValueError: a type that is not trained here, or next-sentence prediction of ALBERT.
    """
    if model_type == "bert":
        return BertForMaskedPositionsAndNextSentence if next_sentence else BertForMaskedPositions
    if model_type != "albert":
        raise ValueError(f"model type {model_type!r} is not pre-trained here; allowed: bert, albert")
    if next_sentence:
        raise ValueError("--next_sentence is BERT's objective; ALBERT has another, which is not built here")
    return AlbertForMaskedPositions


def new_config(
    model_type: str, tokenizer: Any, layers: int, hidden_size: int, length: int, dropout: float
) -> PretrainedConfig:
    """A config of any size in BERT's proportions: heads of 64, feed-forward layers of four times the hidden size.

    Raises:
        ValueError: a hidden size that heads of 64 do not divide.
    """
    if hidden_size % HEAD_SIZE or hidden_size < HEAD_SIZE or layers < 1:
        raise ValueError(
            f"{layers} layers of hidden size {hidden_size}; allowed: at least one layer, a multiple of {HEAD_SIZE}"
        )
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
    model_class(model_type, False)
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    return AlbertConfig(**sizes, **ends, embedding_size=min(128, hidden_size))


def save_stock(model: PreTrainedModel, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Saves the weights as the stock class of the model, which `AutoModel` and any other program can load."""
    stock = model.stock
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn for nothing, and training goes on from here
        plain = stock(copy.deepcopy(model.config))
    plain.load_state_dict(model.state_dict())
    plain.to(dtype).save_pretrained(folder)
