"""The entrance: faster training, faster prediction, and the way back to a plain model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch

from .attention import NAME, use_cpu_attention
from .dropout import FastDropout, use_fast_dropout
from .last_layer import FirstPosition, compute_first_position_only
from .linear import use_onednn_linear
from .used_rows import restore_all_embeddings, train_used_embeddings_only


def speed_up_training(model: Any, used_ids: Iterable[int] | None = None) -> None:
    """Makes training steps of a model faster, in place. [`restore`] undoes it and keeps what was learned.

    The loss and its gradients stay the same to rounding. Dropout keeps its distribution and draws other masks. Until
    [`restore`], the last layer may give hidden states of position 0 alone, and no attentions.

    Args:
        model: a model of transformers, before it is wrapped for several processes.
        used_ids: the ids that training items hold, padding included: the embeddings of these ids alone are trained.
            Exact for optimizers that leave a row with zero gradient untouched, which needs a weight decay of 0. Until
            [`restore`], what is saved holds these rows alone, and `from_pretrained` refuses it.
    """
    compute_first_position_only(model)
    use_cpu_attention(model)
    use_fast_dropout(model)
    # a table that is the output layer too, as of a masked-LM model, is trained as a whole
    weight = model.get_input_embeddings().weight
    owners = sum(weight is each for module in model.modules() for each in module.parameters(recurse=False))
    if used_ids is not None and weight.requires_grad and owners == 1:
        train_used_embeddings_only(model, used_ids)


def speed_up_prediction(model: Any, dtype: torch.dtype | None = None) -> Any:
    """Returns a faster copy of a model, in evaluation mode. The model itself stays as it is.

    The copy reads the model's own weights, so it needs no memory for weights of the same type and device. Its last
    layer may give hidden states of position 0 alone, and no attentions.

    Args:
        dtype: the type that the copy computes in; by default the model's own. The layer of the logits keeps its own:
            values of a regression near 57 would be 0.25 apart in bfloat16.
    """
    faster = _copy_with_shared_weights(model).eval()
    if dtype is not None:
        faster = _in_type(faster, dtype)
    compute_first_position_only(faster)
    use_cpu_attention(faster)
    if faster.device.type == "cpu":
        use_onednn_linear(faster)
    return faster


def restore(model: Any) -> None:
    """Makes a plain model of transformers out of one that [`speed_up_training`] changed. Trained weights stay."""
    for module in model.modules():
        if type(module) is FastDropout:
            module.__class__ = torch.nn.Dropout
        elif isinstance(module, FirstPosition):
            module.__class__ = type(module).__bases__[1]
    if model.config._attn_implementation == NAME:
        model.set_attn_implementation("sdpa")
    restore_all_embeddings(model)


class _LinearOfItsType(torch.nn.Linear):
    """A linear layer that takes inputs of another type than its weights'."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))


def _in_type(model: Any, dtype: torch.dtype) -> Any:
    """The model in another type, all but the layer of the logits; an encoder alone has none.

    Where the last encoder layer averages all positions, as a probe's does, it keeps its type too, and so does the
    pooler: the means of two items differ by less than bfloat16 can tell.
    """
    linear = [module for module in model.modules() if type(module) is torch.nn.Linear]
    parts = [linear[-1]] if linear and linear[-1].out_features == model.config.num_labels else []
    if parts and _averages_positions(model):
        parts += [model.base_model.encoder.layer[-1], model.base_model.pooler]
    kept = [
        (module, name, torch.nn.Parameter(weight.detach(), weight.requires_grad))
        for part in parts
        for module in part.modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.dtype != dtype
    ]
    model = model.to(dtype)
    for module, name, weight in kept:
        setattr(module, name, weight)
        if type(module) is torch.nn.Linear:
            module.__class__ = _LinearOfItsType
    return model


def _averages_positions(model: Any) -> bool:
    """Whether the last layer of a BERT model has queries of zero, so that a position attends to all alike."""
    if model.config.model_type != "bert" or getattr(model.base_model, "pooler", None) is None:
        return False
    return not model.base_model.encoder.layer[-1].attention.self.query.weight.any()


def _copy_with_shared_weights(model: Any) -> Any:
    """A deep copy in which each parameter and buffer is a tensor of its own that shares memory with the original.

    `copy.to(dtype)` then gives the copy other memory and leaves the original alone.
    """
    shared: dict[int, Any] = {id(buffer): buffer.detach() for buffer in model.buffers()}
    for weight in model.parameters():
        plain = type(weight) is torch.nn.Parameter
        shared[id(weight)] = torch.nn.Parameter(weight.detach(), weight.requires_grad) if plain else weight
    return copy.deepcopy(model, shared)
