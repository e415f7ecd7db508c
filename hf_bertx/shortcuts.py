"""What a training step can leave out without changing what is learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

# Whose classification head reads position 0 of the last layer and nothing else, and whose layers are built alike.
_READS_FIRST_POSITION = ("bert", "electra", "roberta")
# Whose layers get a mask of shape (batch, 1, queries, keys), or none; flash and flex attention have others.
_MASK_OF_PAIRS = ("eager", "sdpa")


class _FirstPosition:
    """Comes before a layer's own class: the layer computes position 0 alone, of shape `(batch, 1, hidden)`."""

    def forward(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        attention, first = self.attention.self, hidden_states[:, :1]

        def heads(states: torch.Tensor) -> torch.Tensor:
            # (batch, heads, length, head size)
            return states.view(*states.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)

        mixed = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.query(first)),
            heads(attention.key(hidden_states)),
            heads(attention.value(hidden_states)),
            attn_mask=None if attention_mask is None else attention_mask[..., :1, :],
            dropout_p=attention.dropout.p if self.training else 0.0,
        )
        mixed = self.attention.output(mixed.transpose(1, 2).flatten(2), first)
        return self.output(self.intermediate(mixed), mixed)


def prune_unread_positions(model: PreTrainedModel) -> bool:
    """Lets the last layer of a classifier compute position 0 alone, since the head reads no other.

    Same function of the input and same weights, one sixth less work in a model of six layers; the draws of dropout
    fall differently. Keys and values are still computed for all positions. The hidden states of the last layer that
    `output_hidden_states` gives have shape `(batch, 1, hidden)` from then on. Saved weights are not touched.

    Returns:
        Whether the architecture and its attention allow it; if not, the model is left as it is.
    """
    if model.config.model_type not in _READS_FIRST_POSITION or model.config._attn_implementation not in _MASK_OF_PAIRS:
        return False
    layer: Any = model.base_model.encoder.layer[-1]
    if not isinstance(layer, _FirstPosition):
        # a class, not a function of this layer: copies of the model compute with their own weights
        layer.__class__ = type(type(layer).__name__, (_FirstPosition, type(layer)), {})
    return True


class _DrawnDropout(torch.autograd.Function):
    """Zeroes elements where 16 random bits fall below the rate; the others are scaled so that the mean stays."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, p: float) -> torch.Tensor:
        words = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.int16)[: states.numel()].view(states.shape)
        keep = drawn >= round(p * 2**16) - 2**15
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - p)
        return torch.where(keep, states * ctx.scale, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.where(keep, grads[0] * ctx.scale, 0.0), None


class DrawnDropout(torch.nn.Dropout):
    """`torch.nn.Dropout` that takes the randomness of four elements from one draw when it runs on a CPU.

    There one call of the generator an element is what dropout costs. The rate is exact to 1/65536; the generator is
    torch's, so that seeds and resumed runs hold. On other devices it is the stock dropout.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        return _DrawnDropout.apply(input, self.p)


def draw_dropout_at_once(model: torch.nn.Module) -> None:
    """Puts [`DrawnDropout`] in place of every `torch.nn.Dropout`: the same distribution, other draws.

    Where attention is a kernel's, its dropout is not called: the kernel is told the rate, and draws by itself.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(module, name, DrawnDropout(child.p))


class UsedRowsEmbedding(torch.nn.Module):
    """Stands in for a word embedding of which a run reads a few rows: a DNA run reads 18 of BERT's 30,522.

    Every other row's gradient is zero, and without weight decay Adam leaves such a row as it is; so only the used ones
    are parameters, with their own gradients and optimiser states. Checkpoints hold the used rows alone, under the
    same name. [`restore_all_rows`] puts them back into the table.

    Args:
        full: the embedding that is stood in for; it is kept as it is.
        ids: the ids that occur, padding included; another id is an `IndexError`.
    """

    def __init__(self, full: torch.nn.Embedding, ids: Iterable[int]) -> None:
        super().__init__()
        self._full = [full]  # in a list, so that its rows are no parameters of the model
        self.ids = torch.tensor(sorted(set(ids)))
        self.weight = torch.nn.Parameter(full.weight.detach()[self.ids].clone())
        index = torch.full((full.num_embeddings,), full.num_embeddings)
        index[self.ids] = torch.arange(len(self.ids))
        self.register_buffer("index", index, persistent=False)
        pad = full.padding_idx
        self.padding_idx = None if pad is None or pad not in self.ids else int(index[pad])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.embedding(self.index[input_ids], self.weight, self.padding_idx)

    @torch.no_grad()
    def restored(self) -> torch.nn.Embedding:
        """The full embedding with the used rows put back."""
        full = self._full[0].to(self.weight.device)
        full.weight[self.ids] = self.weight.to(full.weight.dtype)
        return full


def keep_used_rows(model: PreTrainedModel, ids: Iterable[int]) -> None:
    """Lets a model learn the rows of these ids only; see [`UsedRowsEmbedding`]. Exact without weight decay.

    An optimiser that looks across rows, as Adafactor does, would learn something else.
    """
    model.set_input_embeddings(UsedRowsEmbedding(model.get_input_embeddings(), ids))


def restore_all_rows(model: PreTrainedModel) -> None:
    """Undoes [`keep_used_rows`]; the rows that were learned stay learned."""
    embedding: Any = model.get_input_embeddings()
    if isinstance(embedding, UsedRowsEmbedding):
        model.set_input_embeddings(embedding.restored())
