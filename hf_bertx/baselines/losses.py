"""The loss of a baseline network: cross-entropy for classes, mean squared error for one target."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput


def classification_output(config: Any, logits: torch.Tensor, labels: torch.Tensor | None) -> SequenceClassifierOutput:
    """Logits of shape `(batch, classes)` with their mean loss, where there are labels."""
    loss = None
    if labels is not None and config.num_labels == 1:
        loss = functional.mse_loss(logits.flatten(), labels.to(logits.dtype).flatten())
    elif labels is not None:
        loss = functional.cross_entropy(logits, labels)
    return SequenceClassifierOutput(loss=loss, logits=logits)
