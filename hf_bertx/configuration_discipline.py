"""The fields that a discipline model's config carries, added to the stock config of each architecture.

They are saved in `config.json` as a record. A plain `AutoConfig` keeps them as attributes and obeys none of them.
"""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import transformers
from transformers import BertConfig, PreTrainedConfig

from .arms import STARTS
from .families import FAMILIES


@dataclass(kw_only=True, repr=False)
class DisciplineConfigMixin:
    """What a discipline model knows of itself beyond its architecture.

    Args:
        reinit_embeddings (`bool`, defaults to `False`): an order, obeyed once by the model's `from_pretrained`: draw
            the word embeddings anew. The config says `False` again as soon as it is carried out, so that a saved
            model never gives the order on reload.
        started_as (`str`, *optional*): a record, in the past tense: `pretrained`, `re_emb`, `random`, `random_body`.
        started_from (`str`, *optional*): a record: the backbone, with its revision.
        discipline (`str`, *optional*): a record: whose sequences the model reads.
        reads_pairs (`bool`, *optional*): a record: whether an item is a pair of sequences.
        window_symbols (`int`, *optional*): a record: longer items were read in windows of so many symbols, and their
            answers averaged. hf_bertx's own prediction reads them alike.
        window_overlap (`int`, *optional*): a record: how many symbols two windows shared at least.
        calibration_temperature (`float`, *optional*): a record: after training the head was divided by it, so that
            confidence fitted accuracy on validation.
        shifted_by (`str`, *optional*): a record: how the rows of the word embeddings were permuted at the start.

    Raises:
        ValueError: a start that does not exist, or a keyword that is nearly one of these.
    """

    reinit_embeddings: bool = False
    started_as: str | None = None
    started_from: str | None = None
    discipline: str | None = None
    reads_pairs: bool | None = None
    window_symbols: int | None = None
    window_overlap: int | None = None
    calibration_temperature: float | None = None
    shifted_by: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for key in kwargs:  # configs accept unknown keywords silently, misspelt ones too
            near = difflib.get_close_matches(key, DisciplineConfigMixin.__dataclass_fields__, n=1, cutoff=0.8)
            if near:
                raise ValueError(f"unknown config field {key!r}; did you mean {near[0]!r}?")
        super().__post_init__(**kwargs)  # type: ignore[misc]
        if not isinstance(self.reinit_embeddings, bool):
            raise ValueError(f"reinit_embeddings is {self.reinit_embeddings!r}; allowed: True, False")
        if self.started_as is not None and self.started_as not in STARTS:
            raise ValueError(f"started_as is {self.started_as!r}; allowed: {', '.join(STARTS)}")

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Saves `config.json` with the stock class under `architectures`: that is what plain transformers loads."""
        ours, stock = "ForDisciplineClassification", "ForSequenceClassification"
        self.architectures = [name.replace(ours, stock) for name in getattr(self, "architectures", None) or []]
        super().save_pretrained(*args, **kwargs)  # type: ignore[misc]


# The fields of [`DisciplineConfigMixin`] as they are before anything is recorded.
RECORDS: dict[str, Any] = {f.name: f.default for f in fields(DisciplineConfigMixin)}


class BertDisciplineConfig(DisciplineConfigMixin, BertConfig):
    """[`BertConfig`] with the fields of [`DisciplineConfigMixin`]."""


def _sibling(name: str) -> type[PreTrainedConfig]:
    """`RobertaDisciplineConfig` for the family `Roberta`, and so on, as the class above."""
    about = {"__module__": __name__, "__doc__": f"[`{name}Config`] with the fields of [`DisciplineConfigMixin`]."}
    return type(f"{name}DisciplineConfig", (DisciplineConfigMixin, getattr(transformers, f"{name}Config")), about)


DISCIPLINE_CONFIGS: dict[str, type[PreTrainedConfig]] = {
    model_type: BertDisciplineConfig if model_type == "bert" else _sibling(family.name)
    for model_type, family in FAMILIES.items()
}
globals().update({config.__name__: config for config in DISCIPLINE_CONFIGS.values()})


def as_discipline_config(config: Any) -> Any:
    """A stock config as the discipline config of its architecture; a discipline config as it is."""
    if isinstance(config, DisciplineConfigMixin):
        return config
    converted = copy.deepcopy(config)
    # `to_dict` would lose what transformers keeps in private attributes, such as the attention implementation
    converted.__class__ = DISCIPLINE_CONFIGS[config.model_type]
    for name, default in RECORDS.items():  # a plain config has them, too, if a discipline model saved it
        setattr(converted, name, getattr(config, name, default))
    return converted


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
