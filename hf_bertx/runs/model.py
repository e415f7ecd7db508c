"""The tokenizer and the model of a run, made by its arm and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, set_seed

from .. import run_files
from ..backbones import load
from ..data.labels import label_fields
from ..disciplines import get_discipline
from ..families import usable_positions
from ..modeling_discipline import AutoModelForDisciplineClassification
from ..token_map import permutation_table, shift_table
from ..tokenization_discipline import DisciplineTokenizer
from .arguments import ResolvedRun
from .order import backbone_origin
from .regression_head import restore_output, standardize_output
from .trainer import RunTrainer
from .tuning import apply_tuning, merged

# Names of the attention dropout in stock configs.
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


def build_tokenizer(spec: ResolvedRun) -> Any:
    """The backbone's own tokenizer for text, a `DisciplineTokenizer` over its vocabulary for everything else.

    It cuts where the run cuts and adds the special tokens of the run, so that the saved model is served as it was
    trained.
    """
    text = load(spec.backbone, AutoTokenizer.from_pretrained)
    if "alphabet" in text.init_kwargs:
        return _discipline_tokenizer_of(spec)
    longest = min(spec.task.max_length, text.model_max_length)
    if spec.task.discipline == "text":
        text.model_max_length = longest
        return text
    random = spec.assignment == "random"
    made = DisciplineTokenizer.from_backbone(
        text,
        get_discipline(spec.task.discipline, spec.kmer),
        assignment=spec.assignment,
        seed=spec.seed if random else None,
        remap_special_tokens=random and spec.protocol.remap_special_tokens,
        model_max_length=longest,
        add_special_tokens=spec.special_tokens,
    )
    return _fitting(made, spec)


def _fitting(tokenizer: DisciplineTokenizer, spec: ResolvedRun) -> DisciplineTokenizer:
    """The tokenizer of a run whose windows, if it has some, are what the model reads.

    Raises:
        ValueError: a window is longer than what the backbone reads.
    """
    if spec.windows is not None:
        special = tokenizer.num_special_tokens_to_add()
        room = tokenizer.model_max_length - special
        if spec.windows.symbols > room:
            raise ValueError(
                f"window is {spec.windows.symbols}; backbone {spec.backbone.name} reads {room} symbols beside its "
                f"{special} special tokens; allowed: 1 to {room}"
            )
        tokenizer.model_max_length = spec.windows.symbols + special
    return tokenizer


def _discipline_tokenizer_of(spec: ResolvedRun) -> DisciplineTokenizer:
    """The tokenizer of a backbone that was itself fine-tuned on a discipline, which keeps its token map.

    Raises:
        ValueError: the task is of another discipline, or the arm asks for another token map.
    """
    tokenizer = load(spec.backbone, DisciplineTokenizer.from_pretrained)
    name, assignment = tokenizer.discipline.name, tokenizer.assignment.get("name")
    if name != spec.task.discipline:
        raise ValueError(
            f"backbone {spec.backbone.name!r} was fine-tuned on {name}, and task {spec.task.name} is "
            f"{spec.task.discipline}; name the text backbone that it started from"
        )
    if tokenizer.discipline.kmer != spec.kmer:
        raise ValueError(
            f"backbone {spec.backbone.name!r} was fine-tuned with kmer {tokenizer.discipline.kmer}, asked is "
            f"{spec.kmer}; name the text backbone that it started from"
        )
    if assignment != spec.assignment or tokenizer.assignment.get("remapped_special_tokens"):
        raise ValueError(
            f"backbone {spec.backbone.name!r} was fine-tuned with the assignment {assignment!r}, and arm "
            f"{spec.arm.name!r} by protocol {spec.protocol.name!r} asks for {spec.assignment!r}; name the text "
            "backbone that it started from"
        )
    positions = usable_positions(load(spec.backbone, AutoConfig.from_pretrained))
    tokenizer.model_max_length = min(spec.task.max_length, positions or spec.task.max_length)
    return _fitting(tokenizer, spec)


def build_model(spec: ResolvedRun, tokenizer: Any) -> Any:
    """The arm's model: started as the arm says, with a random head of the task's size."""
    config = load(spec.backbone, AutoConfig.from_pretrained)
    fields = {**label_fields(spec.task), "discipline": spec.task.discipline, "reads_pairs": spec.task.pair}
    fields |= {"started_from": backbone_origin(spec)}
    if spec.windows is not None:
        fields |= {"window_symbols": spec.windows.symbols, "window_overlap": spec.windows.overlap}
    if spec.attention_dropout is not None:
        fields |= {name: spec.attention_dropout for name in _ATTENTION_DROPOUTS if hasattr(config, name)}
    model = load(spec.backbone, AutoModelForDisciplineClassification.from_backbone, start=spec.arm.start, **fields)
    if spec.protocol.same_head:
        model.draw_head(spec.seed)
    if spec.arm.shift != "none":
        fixed = () if spec.arm.shift_special_tokens else tuple(tokenizer.all_special_ids)
        size = model.get_input_embeddings().num_embeddings
        if spec.arm.shift == "constant":
            table, record = shift_table(spec.arm.shift_offset, size, fixed), f"constant {spec.arm.shift_offset}"
        else:
            table, record = permutation_table(spec.seed, size, fixed), f"random permutation, seed {spec.seed}"
        model.shift_tokens(table, record + (", special tokens fixed" if fixed else ", special tokens included"))
    return model


def model_to_train(spec: ResolvedRun, tokenizer: Any, train_rows: Dataset, used_ids: Sequence[int] | None) -> Any:
    """The arm's model, ready to train: tuning and speed-ups applied. Every call gives the same weights."""
    set_seed(spec.seed)
    model = build_model(spec, tokenizer)
    if spec.standardize_targets and spec.task.labels is None:
        standardize_output(model, train_rows["label"][:])
    base, _, revision = backbone_origin(spec).partition("@")
    model = apply_tuning(model, spec.arm.tuning, base, revision or None)
    if spec.options.shortcuts:
        from ..performance import speed_up_training

        speed_up_training(model.get_base_model() if spec.arm.tuning == "lora" else model, used_ids)
    return model


def save_model(model: Any, trainer: RunTrainer, spec: ResolvedRun, folder: Path) -> tuple[int, int]:
    """Writes the model, plain in any case, and an adapter beside it where it fits the weights as they are published.

    Returns:
        How many parameters the model has, and how many of them were trained.
    """
    restore_output(model)
    # an adapter for randomly drawn or permuted weights would be useless
    if spec.arm.tuning == "lora" and spec.arm.start == "pretrained" and spec.arm.shift == "none":
        write_model(folder / run_files.ADAPTER, model, trainer.processing_class)
    # rows of unused ids count as trained in a full tuning
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    plain = merged(model)
    if spec.options.shortcuts:
        from ..performance import restore

        restore(plain)
    parameters = sum(p.numel() for p in plain.parameters())
    write_model(folder / run_files.MODEL, plain, trainer.processing_class)
    return parameters, parameters if spec.arm.tuning == "full" else trained


def write_model(path: Path, model: Any, tokenizer: Any) -> None:
    """A folder that `from_pretrained` loads, whole or not at all."""

    def save(temporary: Path) -> None:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)

    run_files.write_folder(path, save)
