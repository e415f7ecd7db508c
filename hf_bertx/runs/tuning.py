"""Tunings: train everything, the head, the head and every LayerNorm, or low-rank adapters."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel

from ..families import FAMILIES

_RANK = 8  # Hu et al. 2021, table 9: r_q = r_v = 8 for RoBERTa on GLUE
_ALPHA = 8  # the same table, RoBERTa large; base has the same scale alpha / r = 1


def apply_tuning(model: PreTrainedModel, tuning: str, base_model: str, revision: str | None = None) -> Any:
    """The model with what the tuning trains left trainable: itself, or a `PeftModel` around it.

    Args:
        tuning: one of [`TUNINGS`]. `frozen_norm` leaves weights and biases of every LayerNorm trainable beside the
            head (Lu et al. 2021, "Pretrained Transformers as Universal Computation Engines").
        base_model: what an adapter's config names as its base: a Hub id, never a path of this machine.
    """
    if tuning == "lora":
        return _with_adapters(model, base_model, revision)
    if tuning == "full":
        return model
    model.requires_grad_(False)
    trained = [model.get_submodule(name) for name in _head_names(model)]
    if tuning == "frozen_norm":
        trained += [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    for module in trained:
        module.requires_grad_(True)
    return model


def _head_names(model: PreTrainedModel) -> list[str]:
    """Names of the modules that make the head: what stands outside of the body, and BERT's pooler, which reads one
    position for the head alone (in siblings without a pooler the same matrix belongs to the head)."""
    outside = [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and next(child.parameters(), None) is not None
    ]
    pooler = getattr(model.base_model, "pooler", None)
    return outside if pooler is None else [*outside, f"{model.base_model_prefix}.pooler"]


def _with_adapters(model: PreTrainedModel, base_model: str, revision: str | None) -> PeftModel:
    """LoRA adapters of query and value; the head is trained whole."""
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=_RANK,
        lora_alpha=_ALPHA,
        lora_dropout=0.1,  # Hu et al. 2021 give none for RoBERTa; this is the backbones' own dropout
        target_modules=list(FAMILIES[model.config.model_type].query_and_value),
        modules_to_save=_head_names(model),
        revision=revision,
    )
    adapted: Any = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base_model
    return adapted


def merged(model: Any) -> Any:
    """The plain model: adapters added into the weights they adapt. Any other model is given back as it is."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model
