"""Tunings: train everything, the head, the head and every LayerNorm, or low-rank adapters."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel

from ..arms import TUNINGS
from ..families import FAMILIES

_RANK = 8  # Hu et al. 2021, table 9: r_q = r_v = 8 for RoBERTa on GLUE
_ALPHA = 8  # the same table, RoBERTa large; base has the same scale alpha / r = 1
_NORMS = (torch.nn.LayerNorm,)


def head_names(model: PreTrainedModel) -> list[str]:
    """Names of the modules that make the head: what stands outside of the body, and BERT's pooler, which reads one
    position for the head alone (in siblings without a pooler the same matrix belongs to the head)."""
    outside = [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and next(child.parameters(), None) is not None
    ]
    pooler = getattr(model.base_model, "pooler", None)
    return outside if pooler is None else [*outside, f"{model.base_model_prefix}.pooler"]


def freeze_body(model: PreTrainedModel, norms: bool = False) -> None:
    """Freezes everything but the head.

    Args:
        norms: leave the weights and biases of every LayerNorm trainable as well (Lu et al. 2021, "Pretrained
            Transformers as Universal Computation Engines").
    """
    model.requires_grad_(False)
    for name in head_names(model):
        model.get_submodule(name).requires_grad_(True)
    if norms:
        for module in model.modules():
            if isinstance(module, _NORMS):
                module.requires_grad_(True)


def add_adapters(model: PreTrainedModel, base_model: str, revision: str | None) -> PeftModel:
    """Wraps a model with LoRA adapters of query and value; the head is trained whole.

    Args:
        base_model: what the adapter's config names as its base: a Hub id, never a path of this machine.

    Raises:
        ValueError: the architecture is not one of the families.
    """
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        raise ValueError(f"no LoRA for model_type {model_type!r}; supported: {', '.join(FAMILIES)}")
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=_RANK,
        lora_alpha=_ALPHA,
        lora_dropout=0.1,  # Hu et al. 2021 give none for RoBERTa; this is the backbones' own dropout
        target_modules=list(FAMILIES[model_type].query_and_value),
        modules_to_save=head_names(model),
        revision=revision,
    )
    adapted: Any = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base_model
    return adapted


def apply_tuning(model: PreTrainedModel, tuning: str, base_model: str, revision: str | None = None) -> Any:
    """The model with what the tuning trains left trainable: itself, or a `PeftModel` around it.

    Raises:
        ValueError: an unknown tuning, or an architecture without adapters.
    """
    if tuning not in TUNINGS:
        raise ValueError(f"unknown tuning {tuning!r}; allowed: {', '.join(TUNINGS)}")
    if tuning == "lora":
        return add_adapters(model, base_model, revision)
    if tuning != "full":
        freeze_body(model, norms=tuning == "frozen_norm")
    return model


def merged(model: Any) -> Any:
    """The plain model: adapters added into the weights they adapt. Any other model is given back as it is."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model
