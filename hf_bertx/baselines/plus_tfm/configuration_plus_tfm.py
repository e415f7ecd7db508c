"""The shape of a PLUS-TFM."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class PlusTFMConfig(PreTrainedConfig):
    """Configuration of [`PlusTFMForSequenceClassification`]; the defaults are those of the published model.

    Args:
        max_position_embeddings (`int`, defaults to 514): rows of the table of positions.
        masked_lm_weight (`float`, defaults to 0.3): of the masked-LM loss beside the task's, while training.
        mask_ratio (`float`, defaults to 0.15): share of the residues that are masked for it.
        started_from (`str`, *optional*): a record: the file that the weights were converted from.

    Source: Min et al. 2021, IEEE Access 9, arXiv:1912.05625.

    Raises:
        ValueError: heads that do not divide the hidden size, or a weight or ratio outside [0, 1).
    """

    model_type = "plus_tfm"

    vocab_size: int = 25
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    max_position_embeddings: int = 514
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02  # as BERT's; the published weights do not say
    masked_lm_weight: float = 0.3
    mask_ratio: float = 0.15
    pad_token_id: int | None = 0
    started_from: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}; allowed: multiples of num_attention_heads, "
                f"{self.num_attention_heads}"
            )
        for name in ("masked_lm_weight", "mask_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: at least 0, less than 1")
