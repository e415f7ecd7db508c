"""Mean pooling in a stock class: one more ordinary BERT layer whose position 0 reads the mean of all positions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from .heads import Head

# The pooler multiplies by so little that its tanh is the identity to 1e-6 of a feature of size 10.
_SMALL = 1e-4


def pooled(mean: np.ndarray, first: np.ndarray, eps: float) -> np.ndarray:
    """What position 0 holds after the pooling layer: LayerNorm(first + mean), without weights.

    Args:
        mean: the mean over positions of a layer's hidden states, shape `(items, hidden)`.
        first: those of position 0, of the same shape.
        eps: the backbone's `layer_norm_eps`.
    """
    states: np.ndarray = first.astype(np.float32) + mean.astype(np.float32)
    for _ in range(2):  # a layer has two LayerNorms; its feed-forward part between them adds zero
        states = states - states.mean(-1, keepdims=True)
        states = states / np.sqrt((states**2).mean(-1, keepdims=True) + np.float32(eps))
    return states


def check_poolable(model_type: str) -> None:
    """Raises a ValueError for a model that a pooling layer cannot be added to."""
    if model_type != "bert":
        raise ValueError(f"a pooling layer is added to BERT models; this is {model_type}")


@torch.no_grad()
def add_pooling_layer(model: Any, layers: int) -> Any:
    """A copy of a BERT classifier that is cut to its first layers, with a pooling layer on top.

    In the added layer every position attends to all positions alike (query and key are 0), values and the output are
    the identity, and the feed-forward part adds 0. Position 0 then holds `LayerNorm([CLS] + mean of all positions)`.
    The model is a stock `BertForSequenceClassification`.

    Args:
        model: a `BertForSequenceClassification`; it is not changed.
        layers: how many of its layers stay, from 0 on.
    """
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers + 1
    grown = type(model)(config).to(dtype=model.dtype)
    kept = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("bert.encoder.layer.") or int(name.split(".")[3]) < layers
    }
    grown.load_state_dict(kept, strict=False)
    added = grown.bert.encoder.layer[layers]
    for parameter in added.parameters():
        parameter.zero_()
    torch.nn.init.eye_(added.attention.self.value.weight)
    torch.nn.init.eye_(added.attention.output.dense.weight)
    for norm in (added.attention.output.LayerNorm, added.output.LayerNorm):
        norm.weight.fill_(1.0)
    return grown.eval()


@torch.no_grad()
def set_head(model: Any, head: Head) -> Any:
    """Writes a head on position 0 into a BERT classifier, in place: the pooler becomes a scaled identity, whose tanh
    changes nothing, and the classifier the head.

    Returns:
        The model; its logits are `head(position 0 of the last layer)`.
    """
    torch.nn.init.eye_(model.bert.pooler.dense.weight).mul_(_SMALL)
    model.bert.pooler.dense.bias.zero_()
    model.classifier.weight.copy_(torch.from_numpy(head.weight / _SMALL))
    model.classifier.bias.copy_(torch.from_numpy(head.bias))
    return model
