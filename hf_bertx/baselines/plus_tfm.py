"""PLUS-TFM (Min et al. 2021): config, tokenizer and model. Modules have the names of the published checkpoint."""

from __future__ import annotations

import math
from typing import Any

import torch
from tokenizers import normalizers
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from ..disciplines import Discipline
from ..tokenization.plain_tokenizer import plain_tokenizer

# ids 1 to 21 in this order; X (21) stands for any residue
ALPHABET = Discipline("plus-protein", tuple("ARNDCQEGHILKMFPSTWYVX"), ignore_case=True)
PAD, MASK, CLS, SEP = 0, 22, 23, 24
VOCABULARY_SIZE = 25
# Other letters of FASTA files and the residue whose id they share.
_READ_AS = {"O": "K", "U": "C", "B": "X", "Z": "X", "J": "X", "*": "X"}
_MASKED = -10_000.0
_RESIDUES = 20  # ids 1 to 20 are known residues
_IGNORED = -100


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

    vocab_size: int = VOCABULARY_SIZE
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


def plus_tokenizer(longest: int) -> PreTrainedTokenizerFast:
    """Proteins as `[CLS] residues [SEP]`; pyrrolysine is read as lysine, selenocysteine as cysteine, B Z J * as X.

    Args:
        longest: tokens, [CLS] and [SEP] among them.
    """
    special = {"[PAD]": PAD, "[MASK]": MASK, "[CLS]": CLS, "[SEP]": SEP}
    template: dict[str, list[list[Any]]] = {
        "single": [[CLS, 0], ["A", 0], [SEP, 0]],
        "pair": [[CLS, 0], ["A", 0], [SEP, 0], ["B", 1], [SEP, 1]],
    }
    ids = {symbol: i + 1 for i, symbol in enumerate(ALPHABET.symbols)} | special
    inner = plain_tokenizer(ALPHABET, ids, special, template)
    replaced = [normalizers.Replace(letter.lower(), letter) for letter in _READ_AS if letter.isalpha()]
    replaced += [normalizers.Replace(letter, residue) for letter, residue in _READ_AS.items()]
    inner.normalizer = normalizers.Sequence([inner.normalizer, *replaced])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        mask_token="[MASK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=longest,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def sinusoidal_positions(count: int, size: int) -> torch.Tensor:
    """Sines in even columns and cosines in odd ones, of shape `(count, size)`."""
    angles = torch.arange(count).unsqueeze(1) * torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]


class PlusLayerNorm(nn.Module):
    """Divides by the square root of the unbiased standard deviation, where layer norm divides by the deviation.

    The published weights were trained with it: in a standard `LayerNorm` they give other activations.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        centred = states - states.mean(-1, keepdim=True)
        deviation = states.std(-1, keepdim=True, unbiased=True)
        return self.weight * centred / torch.sqrt(deviation + self.eps) + self.bias


class PlusEmbeddings(nn.Module):
    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__()
        self.tok_embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.seg_embed = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.pos_embed = nn.Module()
        positions = sinusoidal_positions(config.max_position_embeddings, config.hidden_size)
        self.pos_embed.register_buffer("pe", positions)
        self.norm = PlusLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        positions = self.pos_embed.pe[: input_ids.shape[1]]
        return self.dropout(self.norm(self.tok_embed(input_ids) + self.seg_embed(token_type_ids) + positions))


class PlusAttention(nn.Module):
    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.proj_q, self.proj_k, self.proj_v = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3))
        self.dropout = config.dropout

    def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`bias` is added to the scores: `(batch, 1, 1, length)`, -10000 on padding."""
        q, k, v = (
            layer(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.proj_q, self.proj_k, self.proj_v)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


class PlusFeedForward(nn.Module):
    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(states)))


class PlusBlock(nn.Module):
    """Attention and feed-forward, each added to its input and then normalised."""

    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__()
        self.attn, self.pwff = PlusAttention(config), PlusFeedForward(config)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm1, self.norm2 = (PlusLayerNorm(config.hidden_size, config.layer_norm_eps) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        states = self.norm1(states + self.dropout(self.proj(self.attn(states, bias))))
        return self.norm2(states + self.dropout(self.pwff(states)))


class PlusTransformer(nn.Module):
    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__()
        self.embed = PlusEmbeddings(config)
        self.blocks = nn.ModuleList(PlusBlock(config) for _ in range(config.num_hidden_layers))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """The last block's states, `(batch, length, hidden)`."""
        states = self.embed(input_ids, token_type_ids)
        bias = (1 - attention_mask.to(states.dtype))[:, None, None, :] * _MASKED
        for block in self.blocks:
            states = block(states, bias)
        return states


class PlusTFMForSequenceClassification(PreTrainedModel):
    """PLUS-TFM with a linear classifier on the first position, after dropout.

    While it is trained with labels, a share of the residues is masked (80% [MASK], 10% another residue, 10% kept; X
    never), and the loss is 0.7 times the task's plus 0.3 times the masked LM's, both from one pass. In evaluation
    nothing is masked and the loss is the task's.

    Source: the description of PLUS's fine-tuning; that both losses are of one pass is not in it.

    Raises:
        ValueError: sequences longer than the table of positions.
    """

    config_class = PlusTFMConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch
    config: PlusTFMConfig

    def __init__(self, config: PlusTFMConfig) -> None:
        super().__init__(config)
        self.transformer = PlusTransformer(config)
        self.fc_lm = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm_lm = PlusLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        elif isinstance(module, PlusLayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def residue_logits(self, states: torch.Tensor) -> torch.Tensor:
        """The masked LM's answer, `(batch, length, vocab_size)`; its decoder is the embedding table."""
        inner = self.norm_lm(functional.gelu(self.fc_lm(states)))
        return functional.linear(inner, self.transformer.embed.tok_embed.weight, self.decoder_bias)

    def mask_residues(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids with a share masked, and what stood there, `(batch, length)`, -100 where nothing was masked."""
        known = (input_ids >= 1) & (input_ids <= _RESIDUES)
        chosen = known & (torch.rand(input_ids.shape, device=input_ids.device) < self.config.mask_ratio)
        how = torch.rand(input_ids.shape, device=input_ids.device)
        other = torch.randint(1, _RESIDUES + 1, input_ids.shape, device=input_ids.device)
        masked = torch.where(chosen & (how < 0.8), torch.full_like(input_ids, MASK), input_ids)
        masked = torch.where(chosen & (how >= 0.9), other, masked)
        return masked, input_ids.masked_fill(~chosen, _IGNORED)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """All of shape `(batch, length)`; without a mask, id 0 is padding."""
        longest = self.config.max_position_embeddings
        if input_ids.shape[1] > longest:
            raise ValueError(f"sequences have {input_ids.shape[1]} tokens; the model takes {longest}: cut them")
        mask = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask
        kinds = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        weight = self.config.masked_lm_weight
        learns = self.training and labels is not None and weight > 0
        read, targets = self.mask_residues(input_ids) if learns else (input_ids, None)
        states = self.transformer(read, mask, kinds)
        logits = self.classifier(self.dropout(states[:, 0]))
        output = SequenceClassifierOutput(None, logits)
        if labels is not None:
            output.loss = self.loss_function(labels, logits, self.config)
        if targets is not None and (targets != _IGNORED).any():
            lm = functional.cross_entropy(self.residue_logits(states).flatten(0, 1), targets.flatten())
            output.loss = (1 - weight) * output.loss + weight * lm
        return output


AutoConfig.register(PlusTFMConfig.model_type, PlusTFMConfig, exist_ok=True)
AutoModelForSequenceClassification.register(PlusTFMConfig, PlusTFMForSequenceClassification, exist_ok=True)
