"""Baselines that the `Trainer` trains by gradient steps; the best epoch on validation is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from .. import metrics, run_files
from ..callbacks import RunRecordCallback
from ..data.tokenized_data import tokenize, tokens_cut
from ..disciplines import get_discipline
from ..modeling_discipline import load_whole
from ..registry import first_line
from ..tasks import Task
from ..tokenization.plain_tokenizer import reads_letters_apart
from ..tokenization_discipline import DisciplineTokenizer
from .catalog import Baseline
from .conversion import save_model
from .features import longest_sequence, symbol_tokenizer
from .hilbert_cnn import HilbertCNNConfig, HilbertCNNForSequenceClassification, SameConv2d
from .linear import Fitted
from .plus_tfm import PlusTFMConfig, PlusTFMForSequenceClassification, plus_tokenizer
from .symbol_cnn import SymbolCNNConfig, SymbolCNNForSequenceClassification

_EVAL_BATCH = 256


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained.

    Args:
        build: a model for a task, with random weights unless a source is named.
        epochs: passes over the training items.
        batch_size: items an update.
        parameters: the groups of parameters of a model, with their weight decay.
        tokenizer: letters to ids; it cuts to what an encoder beside it in the table reads.
        patience: passes without a better validation score that end the training.
    """

    build: Callable[[Task, str | None], PreTrainedModel]
    epochs: float
    batch_size: int
    parameters: Callable[[PreTrainedModel], Iterable[dict[str, Any]]]
    tokenizer: Callable[[Task, str | None], Any]
    patience: int | None = None


def _labels(task: Task) -> dict[str, Any]:
    if task.labels is None:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(task.labels))
    return {"id2label": names, "label2id": {name: i for i, name in names.items()}}


def _symbols(task: Task, source: str | None) -> Any:
    return symbol_tokenizer(task.discipline, longest_sequence(task))


def _hilbert(variant: str) -> Callable[[Task, str | None], PreTrainedModel]:
    def build(task: Task, source: str | None) -> PreTrainedModel:
        config = HilbertCNNConfig(window_length=longest_sequence(task), variant=variant, **_labels(task))
        return HilbertCNNForSequenceClassification(config)

    return build


def _hilbert_parameters(model: PreTrainedModel) -> list[dict[str, Any]]:
    # released code: half the squared sum of the kernels, times 5e-4, times 1.5; its gradient is 7.5e-4 times a kernel
    kernels = [module.weight for module in model.modules() if isinstance(module, SameConv2d)]
    known = {id(kernel) for kernel in kernels}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": kernels, "weight_decay": 1.5 * 5e-4}, {"params": others, "weight_decay": 0.0}]


def _symbol_cnn(task: Task, source: str | None) -> PreTrainedModel:
    size = len(get_discipline(task.discipline).symbols) + 1
    return SymbolCNNForSequenceClassification(
        SymbolCNNConfig(vocab_size=size, max_length=longest_sequence(task), **_labels(task))
    )


def _plus_tfm(task: Task, source: str | None) -> PreTrainedModel:
    if source is None:
        return PlusTFMForSequenceClassification(PlusTFMConfig(**_labels(task)))
    return load_whole(PlusTFMForSequenceClassification, source, drawn="classifier.", **_labels(task))


def _encoder(task: Task, source: str | None) -> PreTrainedModel:
    """A pre-trained encoder (ESM-2, ProtBert, ...) in float32, with a random head."""
    return _loaded(
        partial(load_whole, AutoModelForSequenceClassification), source, dtype=torch.float32, **_labels(task)
    )


def _encoder_tokenizer(task: Task, source: str | None) -> Any:
    """The encoder's own tokenizer; it cuts to the task's length, or to its own limit if that is less."""
    tokenizer = _loaded(AutoTokenizer.from_pretrained, source)
    tokenizer.model_max_length = min(tokenizer.model_max_length, task.max_length)
    return tokenizer


def _loaded(load: Callable[..., Any], source: str | None, **fields: Any) -> Any:
    """What stock transformers loads; no code of a repository runs.

    Raises:
        OSError: it cannot be loaded, needs its own code, or lacks weights, which would be drawn at random.
    """
    try:
        return load(source, trust_remote_code=False, **fields)
    except (OSError, ValueError, KeyError) as error:
        raise OSError(
            f"encoder {source!r} could not be loaded by stock transformers: {first_line(error).rstrip('.')}. "
            "What to do: name a folder that `save_pretrained` wrote, or a Hub id that can be reached and needs no "
            "code of its own"
        ) from None


def as_written(rows: Dataset, tokenizer: Any) -> Dataset:
    """Rows with blanks between the letters, where the tokenizer knows a letter alone but not in a word."""
    if isinstance(tokenizer, DisciplineTokenizer) or not reads_letters_apart(tokenizer):
        return rows
    names = [name for name in ("sequence", "second_sequence") if name in rows.column_names]

    def spaced(row: dict[str, Any]) -> dict[str, str]:
        return {name: " ".join(row[name]) for name in names}

    return rows.map(spaced, load_from_cache_file=False, desc="Spacing")


def _plain_parameters(model: PreTrainedModel) -> list[dict[str, Any]]:
    return [{"params": list(model.parameters()), "weight_decay": 0.0}]


RECIPES: dict[str, Recipe] = {
    # released code: batches of 300; its main script has 15 `max_steps`, which are epochs
    "hilbert-cnn": Recipe(_hilbert("as_released"), 15, 300, _hilbert_parameters, _symbols),
    "hilbert-cnn-described": Recipe(_hilbert("as_described"), 15, 300, _hilbert_parameters, _symbols),
    "symbol-cnn": Recipe(_symbol_cnn, 20, 64, _plain_parameters, _symbols),
    # its fine-tuning configuration: Adam, batches of 32, up to 20 epochs, patience 3 (of the loss there)
    "plus-tfm": Recipe(_plus_tfm, 20, 32, _plain_parameters, lambda task, _: plus_tokenizer(task.max_length), 3),
    "encoder": Recipe(_encoder, 20, 32, _plain_parameters, _encoder_tokenizer),
}


def recipe_of(baseline: Baseline) -> Recipe:
    """How a network of the catalogue is trained."""
    return RECIPES[baseline.name.partition(":")[0]]


def train_network(
    baseline: Baseline,
    task: Task,
    rows: dict[str, Dataset],
    seed: int,
    epochs: float | None,
    folder: Path,
) -> Fitted:
    """Trains each candidate from the same draw, keeps the best epoch on validation, and saves the best one's model."""
    recipe, candidates = recipe_of(baseline), baseline.candidates(task)
    tokenizer = recipe.tokenizer(task, baseline.source)
    rows = {part: as_written(items, tokenizer) for part, items in rows.items()}
    data = {part: tokenize(items, tokenizer, task) for part, items in rows.items()}
    lengths = {part: np.fromiter(map(len, items["input_ids"]), dtype=np.int64) for part, items in data.items()}
    groups = rows["validation"]["group"][:] if task.votes else None
    tried: list[dict[str, Any]] = []
    seconds = []
    best: Trainer | None = None
    for candidate in candidates:
        set_seed(seed)
        model = recipe.build(task, baseline.source)
        trainer = _trainer(recipe, task, candidate, model, tokenizer, data, groups, seed, epochs, folder)
        seconds.append(round(trainer.train().metrics["train_runtime"], 1))
        score = trainer.state.best_metric
        tried.append({**candidate, f"validation_{task.metric}": score})
        if best is None or score > best.state.best_metric:
            best = trainer
    assert best is not None  # a network has at least one candidate
    shutil.rmtree(folder / run_files.CHECKPOINTS, ignore_errors=True)
    run_files.write_json(folder / run_files.LOG, best.state.log_history)
    best.compute_metrics = None  # it knows only the groups of the validation items
    logits = {part: best.predict(items).predictions for part, items in data.items() if part != "train"}
    model = best.model
    model.config.discipline, model.config.reads_pairs = task.discipline, task.pair
    save_model(model, tokenizer, folder / run_files.MODEL)
    scores = [entry[f"validation_{task.metric}"] for entry in tried]
    chosen = candidates[scores.index(best.state.best_metric)]
    count = sum(parameter.numel() for parameter in model.parameters())
    passes = recipe.epochs if epochs is None else epochs
    more = {
        "cut": {
            part: int((tokens_cut(items, tokenizer, task, lengths[part]) > 0).sum()) for part, items in rows.items()
        },
        "steps": best.state.global_step,
        "max_steps": best.state.global_step,
        "selected_step": best.state.best_global_step,
        "stopped": f"the end of training, after {passes:g} passes over the training items",
        "seconds_a_candidate": seconds,
    }
    return Fitted(logits, chosen, tried, count, more)


def _trainer(
    recipe: Recipe,
    task: Task,
    candidate: dict[str, Any],
    model: PreTrainedModel,
    tokenizer: Any,
    data: dict[str, Dataset],
    groups: Any,
    seed: int,
    epochs: float | None,
    folder: Path,
) -> Trainer:
    checkpoints = folder / run_files.CHECKPOINTS / "-".join(f"{key}-{value:g}" for key, value in candidate.items())
    args = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs if epochs is None else epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=_EVAL_BATCH,
        max_grad_norm=0.0,
        logging_steps=10,
        logging_nan_inf_filter=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{task.metric}",
        greater_is_better=True,
        report_to="none",
        seed=seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        return metrics.score(task, prediction.predictions, prediction.label_ids, groups)

    callbacks: list[TrainerCallback] = [RunRecordCallback(folder / run_files.LOG)]
    if recipe.patience is not None:
        callbacks.append(EarlyStoppingCallback(recipe.patience))
    optimizer = torch.optim.Adam(recipe.parameters(model), lr=candidate["learning_rate"])
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return Trainer(
        model=model,
        args=args,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
        callbacks=callbacks,
        optimizers=(optimizer, constant),
    )
