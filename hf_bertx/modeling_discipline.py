"""BertForDisciplineClassification and its siblings: stock classifiers that know how they started.

Weights are saved under the names of the stock classes, so plain `AutoModelForSequenceClassification` loads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, BertForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import find_adapter_config_file

from .arms import STARTS
from .configuration_discipline import DISCIPLINE_CONFIGS, RECORDS, BertDisciplineConfig, as_discipline_config
from .families import FAMILIES

# Where `from_pretrained` looks for files: its config has to come from there too.
_OF_HUB = ("revision", "token", "subfolder", "cache_dir", "local_files_only", "force_download", "proxies")


def load_whole(cls: Any, source: str, drawn: str | None = None, **kwargs: Any) -> Any:
    """`cls.from_pretrained(source)` that refuses an incomplete encoder.

    The stock method draws missing weights at random after a warning. Only heads and poolers may be drawn: a masked-LM
    checkpoint has none for a classifier.

    Args:
        drawn: how the names of all weights begin that may be drawn, if not those of heads and poolers.

    Raises:
        ValueError: a weight of the encoder is missing, or has another shape than the config says.
    """
    safe = {"use_safetensors": True, "trust_remote_code": False}
    kwargs = {"output_loading_info": True, "ignore_mismatched_sizes": True, **kwargs, **safe}
    model, info = cls.from_pretrained(source, **kwargs)

    def needed(name: str) -> bool:
        if drawn is not None:
            return not name.startswith(drawn)
        return name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name

    for name, shape, expected in sorted(info["mismatched_keys"]):
        if needed(name):
            raise ValueError(f"{source}: {name} has the shape {tuple(shape)}; its config asks for {tuple(expected)}")
    missing = sorted(filter(needed, info["missing_keys"]))
    if missing:
        raise ValueError(
            f"{source}: not a checkpoint of {type(model.config).model_type}: it lacks {missing[0]}"
            + (f" and {len(missing) - 1} weights more" if missing[1:] else "")
        )
    return model


def last_linear(model: Any) -> Any:
    """The layer that gives the logits: `classifier` itself, or the last linear layer in it."""
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]


@torch.no_grad()
def draw_output(model: Any) -> None:
    """Draws the output layer of a classifier anew if it was trained, which its bias tells: a new layer's is zero."""
    layer = last_linear(model)
    if layer.bias is not None and layer.bias.any():
        layer.weight.normal_(std=model.config.initializer_range)
        layer.bias.zero_()


class DisciplineClassificationMixin:
    """Adds an arm's start to a stock sequence classifier: `class X(DisciplineClassificationMixin, StockClass)`."""

    config: Any
    # The stock forward takes **kwargs, from which the Trainer concludes that the loss is already divided by the number
    # of accumulation steps. A classifier's is not: 16 x 2 would train with twice the gradient of 32 x 1.
    accepts_loss_kwargs = False

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(as_discipline_config(config), *args, **kwargs)  # type: ignore[call-arg]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The stock `from_pretrained`. If the config sets `reinit_embeddings`, the word embeddings are then drawn
        anew, once, and this is recorded.

        Example:
            ```python
            >>> model = BertForDisciplineClassification.from_pretrained("bert-base-uncased", reinit_embeddings=True)
            >>> model.config.reinit_embeddings, model.config.started_as
            (False, 're_emb')
            ```
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)  # type: ignore[misc]
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.config.reinit_embeddings:
            model.reinit_word_embeddings()
            model.config.reinit_embeddings = False
            model.config.started_as = "re_emb"
        elif model.config.started_as is None:
            model.config.started_as = "pretrained"
        return loaded

    @classmethod
    def from_backbone(cls, source: Any, start: str = "pretrained", revision: str | None = None, **kwargs: Any) -> Any:
        """A model to fine-tune, started from a text backbone.

        Args:
            source: a Hub id or a folder.
            start: `pretrained` (every weight is kept), `re_emb` (the word embeddings are drawn anew), `random`
                (everything is), `random_body` (everything but the embedding block is), `shuffled` (the entries of
                each matrix are permuted; vectors, such as those of LayerNorms, are kept).
            revision: of the Hub id.
            **kwargs: fields of the config: `num_labels`, `id2label`, `problem_type`, ...; and what the stock
                `from_pretrained` takes of the Hub: `token`, `cache_dir`, ...

        Returns:
            The model in float32. Its output layer is drawn in any case, other layers of the head where the backbone
            lacks them: a trained pooler is kept. Draws come from torch's generator. The config records this start
            alone, not what the backbone's says of an earlier training.

        Raises:
            ValueError: an unknown start, a dtype, or weights that are missing or have other shapes than the config
                says.
        """
        source = str(source)
        if start not in STARTS:
            raise ValueError(f"unknown start {start!r}; allowed: {', '.join(STARTS)}")
        for name in {"dtype", "torch_dtype"} & set(kwargs):
            raise ValueError(f"{name} is {kwargs[name]}; a start is float32, and `.to(dtype)` of the model changes it")
        kwargs.pop("trust_remote_code", None)  # never
        started_from = f"{source}@{revision}" if revision else source
        kwargs = {**RECORDS, "started_from": started_from, **kwargs, "reinit_embeddings": start == "re_emb"}
        kwargs["revision"] = revision or "main"
        if start in ("pretrained", "re_emb", "shuffled"):
            model = load_whole(cls, source, dtype=torch.float32, **kwargs)
            draw_output(model)
            if start == "shuffled":
                model.shuffle_weights()
            return model
        config, unknown = cls.config_class.from_pretrained(source, return_unused_kwargs=True, **kwargs)  # type: ignore[attr-defined]
        config.dtype = torch.float32
        config.started_as = start
        model = cls(config, **unknown)  # an unknown field is an error, as of the stock class
        if start == "random_body":
            kept = load_whole(cls, source, dtype=torch.float32, **kwargs)
            model.base_model.embeddings.load_state_dict(kept.base_model.embeddings.state_dict())  # type: ignore[attr-defined]
        return model

    @torch.no_grad()
    def reinit_word_embeddings(self) -> None:
        """Draws the word embeddings from a normal distribution of the config's `initializer_range`, padding row zero.

        Position and token-type embeddings stay. `model._init_weights(embedding)` would silently skip a loaded table,
        because loaded tensors are marked as initialised.

        Raises:
            ValueError: the table is not in memory as a whole, where drawing would change nothing.
        """
        self.name_or_path = ""  # so that an adapter never names weights that were replaced
        embedding = self.get_input_embeddings()  # type: ignore[attr-defined]
        if embedding.weight.is_meta or not embedding.weight.numel():
            raise ValueError("the word embeddings are offloaded, or in parts as of DeepSpeed ZeRO-3; load them whole")
        torch.nn.init.normal_(embedding.weight, mean=0.0, std=self.config.initializer_range)
        if embedding.padding_idx is not None:
            embedding.weight[embedding.padding_idx].zero_()

    @torch.no_grad()
    def draw_head(self, seed: int) -> None:
        """Draws the layers of the head that were never trained, from a seed: the same ones whatever the start was.

        The head is every linear layer outside the encoder, and the encoder's pooler. A layer whose bias is zero
        throughout was never trained: it starts so, and one training step moves it.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = [module for name, module in self.named_children() if name != self.base_model_prefix]  # type: ignore[attr-defined]
        pooler = getattr(self.base_model, "pooler", None)  # type: ignore[attr-defined]
        for part in [*parts, *([pooler] if isinstance(pooler, torch.nn.Module) else [])]:
            for module in part.modules():
                if isinstance(module, torch.nn.Linear) and (module.bias is None or not module.bias.any()):
                    module.weight.normal_(std=self.config.initializer_range, generator=generator)

    @torch.no_grad()
    def shuffle_weights(self) -> None:
        """Permutes the entries of each matrix of the encoder: its distribution stays, its structure goes."""
        self.name_or_path = ""
        for parameter in self.base_model.parameters():  # type: ignore[attr-defined]
            if parameter.ndim == 2:
                flat = parameter.view(-1)
                flat.copy_(flat[torch.randperm(len(flat))])
        self.config.started_as = "shuffled"

    @torch.no_grad()
    def shift_tokens(self, table: np.ndarray, record: str) -> None:
        """Permutes the rows of the word embeddings, so that id `i` is read as id `table[i]` was.

        Gives the logits that mapping the ids by `table` would give, and leaves the standard tokenizer valid. Mapped
        ids would put a real word on the padding row, whose gradient is zero.

        Args:
            table: integers of shape `(vocab_size,)`; see [`token_map.shift_table`].
            record: what was done, for the config.

        Raises:
            ValueError: the table has another length than the embedding table.
        """
        embedding = self.get_input_embeddings()  # type: ignore[attr-defined]
        if len(table) != embedding.num_embeddings:
            raise ValueError(f"the table maps {len(table)} ids; the model has {embedding.num_embeddings}")
        self.name_or_path = ""
        embedding.weight.copy_(embedding.weight[torch.as_tensor(table)])
        self.config.shifted_by = record


class BertForDisciplineClassification(DisciplineClassificationMixin, BertForSequenceClassification):
    """[`BertForSequenceClassification`] with an arm's start; see [`DisciplineClassificationMixin`].

    Example:
        ```python
        >>> model = BertForDisciplineClassification.from_backbone("google-bert/bert-base-uncased", num_labels=3)
        >>> model.config.started_as
        'pretrained'
        ```
    """

    config_class = BertDisciplineConfig


def _sibling(name: str, model_type: str) -> type[PreTrainedModel]:
    """`RobertaForDisciplineClassification` for the family `Roberta`, and so on, as the class above."""
    stock = f"{name}ForSequenceClassification"
    about = {
        "__module__": __name__,
        "__doc__": f"[`{stock}`] with an arm's start; see [`DisciplineClassificationMixin`].",
        "config_class": DISCIPLINE_CONFIGS[model_type],
    }
    bases = (DisciplineClassificationMixin, getattr(transformers, stock))
    return type(f"{name}ForDisciplineClassification", bases, about)


DISCIPLINE_MODELS: dict[str, Any] = {
    model_type: BertForDisciplineClassification if model_type == "bert" else _sibling(family.name, model_type)
    for model_type, family in FAMILIES.items()
}
globals().update({model.__name__: model for model in DISCIPLINE_MODELS.values()})
for _model in DISCIPLINE_MODELS.values():  # stock pipelines take them, and stock `from_config` takes their configs
    transformers.AutoModelForSequenceClassification.register(_model.config_class, _model)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


class AutoModelForDisciplineClassification:
    """Picks the class by the checkpoint's `model_type`, as `AutoModelForSequenceClassification` does."""

    def __init__(self) -> None:
        raise OSError("use AutoModelForDisciplineClassification.from_pretrained, .from_backbone or .from_config")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> PreTrainedModel:
        """See [`DisciplineClassificationMixin.from_pretrained`]."""
        model_class = cls._class_of(pretrained_model_name_or_path, kwargs)
        return model_class.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def from_backbone(cls, source: Any, start: str = "pretrained", revision: str | None = None, **kwargs: Any) -> Any:
        """See [`DisciplineClassificationMixin.from_backbone`]."""
        return cls._class_of(source, {**kwargs, "revision": revision}).from_backbone(source, start, revision, **kwargs)

    @classmethod
    def from_config(cls, config: Any, **kwargs: Any) -> PreTrainedModel:
        """A model with random weights, in the shape of a discipline config or a stock one; `kwargs` as the stock
        `from_config` takes them."""
        cls._class_of(None, {"config": config})
        model = transformers.AutoModelForSequenceClassification.from_config(as_discipline_config(config), **kwargs)
        if not isinstance(config, model.config_class):
            model.config.started_as = "random"
        return model

    @classmethod
    def _class_of(cls, source: Any, settings: dict[str, Any]) -> Any:
        config = settings.get("config")
        if not isinstance(config, PreTrainedConfig):
            of_hub = {name: settings[name] for name in _OF_HUB if settings.get(name) is not None}
            try:
                config = AutoConfig.from_pretrained(config or source, trust_remote_code=False, **of_hub)
            except (OSError, ValueError):
                adapter = find_adapter_config_file(source, **of_hub)
                if adapter is None:
                    raise
                base = json.loads(Path(adapter).read_text(encoding="utf-8"))["base_model_name_or_path"]
                return cls._class_of(base, {**settings, "revision": None, "subfolder": None})
        if config.model_type not in DISCIPLINE_MODELS:
            raise ValueError(
                f"no discipline model for model_type {config.model_type!r}; supported: {', '.join(DISCIPLINE_MODELS)}"
            )
        return DISCIPLINE_MODELS[config.model_type]
