"""A small CNN over symbols as a `PreTrainedModel`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ..losses import classification_output
from .configuration_symbol_cnn import SymbolCNNConfig


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
            states = layer(states, mask)
            if states.shape[1] > 2:
                states, mask = _halved(states, mask)
        states = self.norm(states)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        highest = states.masked_fill(mask == 0, torch.finfo(states.dtype).min).amax(1)
        pooled = torch.cat([highest, mean], dim=-1)
        return classification_output(self.config, self.classifier(self.dropout(pooled)), labels)


def _halved(states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two positions become one: the mean of those that are not padding, `(batch, ceil(positions / 2), channels)`."""
    if states.shape[1] % 2:
        states, mask = functional.pad(states, (0, 0, 0, 1)), functional.pad(mask, (0, 0, 0, 1))
    pairs, kept = states.unflatten(1, (-1, 2)), mask.unflatten(1, (-1, 2))
    count = kept.sum(2)
    return (pairs * kept).sum(2) / count.clamp(min=1), (count > 0).to(mask.dtype)


AutoConfig.register(SymbolCNNConfig.model_type, SymbolCNNConfig, exist_ok=True)
AutoModelForSequenceClassification.register(SymbolCNNConfig, SymbolCNNForSequenceClassification, exist_ok=True)
