"""A small CNN over symbols as a `PreTrainedModel`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class SymbolCNNConfig(PreTrainedConfig):
    """Configuration of [`SymbolCNNForSequenceClassification`].

    Args:
        vocab_size (`int`, defaults to 16): symbols and padding.
        max_length (`int`, defaults to 512): symbols of the longest sequence; each position has an embedding.
        hidden_size (`int`, defaults to 64): channels.
        kernel_size (`int`, defaults to 9): symbols that a convolution sees; odd.
        layers (`int`, defaults to 4): convolutions; behind each the sequence is halved, down to one position.
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


class ConvolutionLayer(nn.Module):
    """Layer norm, convolution, GELU, added to the input; positions of padding stay zero."""

    def __init__(self, config: SymbolCNNConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.conv = nn.Conv1d(
            config.hidden_size, config.hidden_size, config.kernel_size, padding=config.kernel_size // 2
        )

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`states` `(batch, positions, channels)`, `mask` `(batch, positions, 1)`, 0 on padding."""
        inner = self.conv((self.norm(states) * mask).transpose(1, 2)).transpose(1, 2)
        return states + functional.gelu(inner) * mask


class SymbolCNNForSequenceClassification(PreTrainedModel):
    """Embeddings of symbols and positions, convolutions, highest and mean value of each channel, a linear layer.

    Example:
        ```python
        >>> model = SymbolCNNForSequenceClassification(SymbolCNNConfig(num_labels=3))
        >>> model(torch.randint(1, 5, (8, 60))).logits.shape
        torch.Size([8, 3])
        ```
    """

    config_class = SymbolCNNConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch
    config: SymbolCNNConfig

    def __init__(self, config: SymbolCNNConfig) -> None:
        super().__init__(config)
        self.symbols = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_length, config.hidden_size)
        self.layers = nn.ModuleList(ConvolutionLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """`input_ids` of shape `(batch, symbols)`, 0 on padding; the mask is not needed.

        Raises:
            ValueError: sequences longer than the model's `max_length`.
        """
        width = input_ids.shape[1]
        if width > self.config.max_length:
            raise ValueError(f"sequences have {width} symbols; the model takes {self.config.max_length}: cut them")
        mask = (input_ids != self.config.pad_token_id).unsqueeze(-1).to(self.symbols.weight.dtype)
        places = torch.arange(width, device=input_ids.device)
        states = (self.symbols(input_ids) + self.positions(places)) * mask
        for layer in self.layers:
            states, mask = _halved(layer(states, mask), mask)
        states = self.norm(states)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        highest = states.masked_fill(mask == 0, torch.finfo(states.dtype).min).amax(1)
        pooled = torch.cat([highest, mean], dim=-1)
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss, logits)


def _halved(states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two positions become one: the mean of those that are not padding, `(batch, ceil(positions / 2), channels)`."""
    if states.shape[1] % 2:
        states, mask = functional.pad(states, (0, 0, 0, 1)), functional.pad(mask, (0, 0, 0, 1))
    pairs, kept = states.unflatten(1, (-1, 2)), mask.unflatten(1, (-1, 2))
    count = kept.sum(2)
    return (pairs * kept).sum(2) / count.clamp(min=1), (count > 0).to(mask.dtype)


AutoConfig.register(SymbolCNNConfig.model_type, SymbolCNNConfig, exist_ok=True)
AutoModelForSequenceClassification.register(SymbolCNNConfig, SymbolCNNForSequenceClassification, exist_ok=True)
