"""The shape of a small CNN over symbols."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class SymbolCNNConfig(PreTrainedConfig):
    """Configuration of [`SymbolCNNForSequenceClassification`].

    Args:
        vocab_size (`int`, defaults to 16): symbols and padding.
        max_length (`int`, defaults to 512): symbols of the longest sequence; each position has an embedding.
        hidden_size (`int`, defaults to 64): channels.
        kernel_size (`int`, defaults to 9): symbols that a convolution sees; odd.
        layers (`int`, defaults to 4): convolutions; behind each the sequence is halved, as long as two are left.
        dropout (`float`, defaults to 0.1): before the classifier.

    Raises:
        ValueError: an even kernel, or a size that is not positive.
    """

    model_type = "symbol_cnn"

    vocab_size: int = 16
    max_length: int = 512
    hidden_size: int = 64
    kernel_size: int = 9
    layers: int = 4
    dropout: float = 0.1
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "max_length", "hidden_size", "kernel_size", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: at least 1")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}; allowed: odd numbers")
