"""The families of backbones, a line each. What depends on a family is decided by this table alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """An architecture of transformers that can be fine-tuned.

    Args:
        name: what its classes begin with: `Bert` for `BertConfig` and `BertForSequenceClassification`.
        model_type: its name in `config.json`.
        query_and_value: the linear layers that LoRA adapts.
        reads_first_position: place and class of the head, if the head reads position 0 of the last layer alone and the
            layers follow BERT's layout. Only then can the last layer compute that position alone.
        positions_follow_padding: whether positions are counted from the padding token's id on. The rows of the
            position table up to that id are never used.
    """

    name: str
    model_type: str
    query_and_value: tuple[str, ...] = ("query", "value")
    reads_first_position: tuple[str, str] | None = None
    positions_follow_padding: bool = False


# LoRA: peft's defaults for BERT adapt query and value, which Hu et al. 2021, section 7.1, found best at one rank.
# ModernBERT has one matrix for query, key and value.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family("Albert", "albert"),
        Family("Bert", "bert", reads_first_position=("bert.pooler", "BertPooler")),
        Family("DebertaV2", "deberta-v2", ("query_proj", "value_proj")),
        Family("DistilBert", "distilbert", ("q_lin", "v_lin")),
        Family("Electra", "electra", reads_first_position=("classifier", "ElectraClassificationHead")),
        Family("ModernBert", "modernbert", ("Wqkv",)),
        Family("MPNet", "mpnet", ("attn.q", "attn.v"), positions_follow_padding=True),
        Family("Roberta", "roberta", ("query", "value"), ("classifier", "RobertaClassificationHead"), True),
    )
}


def usable_positions(config: Any) -> int | None:
    """How many tokens a model has positions for; None if its config sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    family = FAMILIES.get(config.model_type)
    if not positions or family is None or not family.positions_follow_padding:
        return positions or None
    return positions - (config.pad_token_id + 1)
