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
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from .. import metrics, run_files
from ..callbacks import RunRecordCallback
from ..data.labels import label_fields
from ..data.row_checks import sequence_columns
from ..data.tokenized_data import tokenize, tokens_cut
from ..disciplines import get_discipline
from ..families import usable_positions
from ..modeling_discipline import draw_output, load_whole
from ..registry import first_line
from ..runs.model import write_model
from ..runs.trainer import use_one_gpu
from ..tasks import Task
from ..tokenization.plain_tokenizer import reads_letters_apart
from ..tokenization_discipline import DisciplineTokenizer
from .catalog import Baseline
from .features import longest_sequence, symbol_tokenizer
from .hilbert_cnn import HilbertCNNConfig, HilbertCNNForSequenceClassification
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
        tokenizer: letters to ids; it cuts to what an encoder beside it in the table reads.
        parameters: what the optimizer takes of a model; groups if some have weight decay.
        patience: passes without a better validation score that end the training.
    """

    build: Callable[[Task, str | None], PreTrainedModel]
    epochs: float
    batch_size: int
    tokenizer: Callable[[Task, str | None], Any]
    parameters: Callable[[PreTrainedModel], Iterable[Any]] = PreTrainedModel.parameters
    patience: int | None = None


def _symbols(task: Task, source: str | None) -> Any:
    return symbol_tokenizer(task)


def _hilbert(variant: str, task: Task, source: str | None) -> PreTrainedModel:
    config = HilbertCNNConfig(window_length=longest_sequence(task), variant=variant, **label_fields(task))
    return HilbertCNNForSequenceClassification(config)


def _hilbert_parameters(model: PreTrainedModel) -> list[dict[str, Any]]:
    # released code: half the squared sum of the kernels, times 5e-4, times 1.5; its gradient is 7.5e-4 times a kernel
    kernels = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 4]
    return [{"params": kernels, "weight_decay": 1.5 * 5e-4}, {"params": others, "weight_decay": 0.0}]


def _symbol_cnn(task: Task, source: str | None) -> PreTrainedModel:
    size = len(get_discipline(task.discipline).symbols) + 1
    return SymbolCNNForSequenceClassification(
        SymbolCNNConfig(vocab_size=size, max_length=longest_sequence(task), **label_fields(task))
    )


def _plus_tfm(task: Task, source: str | None) -> PreTrainedModel:
    if source is None:
        return PlusTFMForSequenceClassification(PlusTFMConfig(**label_fields(task)))
    return load_whole(PlusTFMForSequenceClassification, source, drawn="classifier.", **label_fields(task))


def _encoder(task: Task, source: str | None) -> PreTrainedModel:
    """A pre-trained encoder (ESM-2, ProtBert, ...) in float32. Its output layer is random, of a classifier too."""
    model = _loaded(
        partial(load_whole, AutoModelForSequenceClassification), source, dtype=torch.float32, **label_fields(task)
    )
    draw_output(model)
    return model


def _encoder_tokenizer(task: Task, source: str | None) -> Any:
    """The encoder's own tokenizer; it cuts to the task's length, or to what it or the model takes if that is less."""
    tokenizer = _loaded(AutoTokenizer.from_pretrained, source)
    positions = usable_positions(_loaded(AutoConfig.from_pretrained, source)) or task.max_length
    tokenizer.model_max_length = min(tokenizer.model_max_length, task.max_length, positions)
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
    names = sequence_columns(rows.column_names)

    def spaced(row: dict[str, Any]) -> dict[str, str]:
        return {name: " ".join(row[name]) for name in names}

    return rows.map(spaced, load_from_cache_file=False, desc="Spacing")


RECIPES: dict[str, Recipe] = {
    # released code: batches of 300; its main script has 15 `max_steps`, which are epochs
    "hilbert-cnn": Recipe(partial(_hilbert, "as_released"), 15, 300, _symbols, _hilbert_parameters),
    "hilbert-cnn-described": Recipe(partial(_hilbert, "as_described"), 15, 300, _symbols, _hilbert_parameters),
    "symbol-cnn": Recipe(_symbol_cnn, 20, 64, _symbols),
    # its fine-tuning configuration: Adam, batches of 32, up to 20 epochs, patience 3 (of the loss there)
    "plus-tfm": Recipe(_plus_tfm, 20, 32, lambda task, _: plus_tokenizer(task.max_length), patience=3),
    "encoder": Recipe(_encoder, 20, 32, _encoder_tokenizer),
}


def train_network(
    baseline: Baseline, task: Task, rows: dict[str, Dataset], seed: int, epochs: float | None, folder: Path
) -> Fitted:
    """Trains each candidate from the same seed, keeps the best epoch on validation, and saves the best one's model."""
    recipe, candidates = RECIPES[baseline.name.partition(":")[0]], baseline.candidates(task)
    passes = recipe.epochs if epochs is None else epochs
    tokenizer = recipe.tokenizer(task, baseline.source)
    rows = {part: as_written(items, tokenizer) for part, items in rows.items()}
    data = {part: tokenize(items, tokenizer, task) for part, items in rows.items()}
    groups = rows["validation"]["group"][:] if task.votes else None

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        return metrics.score(task, prediction.predictions, prediction.label_ids, groups)

    trainers: list[Trainer] = []
    seconds = []
    for candidate in candidates:
        set_seed(seed)
        model = recipe.build(task, baseline.source)
        trainer = Trainer(
            model=model,
            args=_arguments(recipe, passes, task, candidate, seed, folder),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=compute_metrics,
            callbacks=[RunRecordCallback(folder / run_files.LOG)],
            optimizers=(torch.optim.Adam(recipe.parameters(model), lr=candidate["learning_rate"]), None),
        )
        if recipe.patience is not None:
            trainer.add_callback(EarlyStoppingCallback(recipe.patience))
        seconds.append(round(trainer.train().metrics["train_runtime"], 1))
        trainers.append(trainer)
    scores = [trainer.state.best_metric for trainer in trainers]
    best = trainers[scores.index(max(scores))]
    shutil.rmtree(folder / run_files.CHECKPOINTS, ignore_errors=True)
    run_files.write_json(folder / run_files.LOG, best.state.log_history)
    best.compute_metrics = None  # it knows only the groups of the validation items
    logits = {part: best.predict(items).predictions for part, items in data.items() if part != "train"}
    model = best.model
    model.config.discipline, model.config.reads_pairs = task.discipline, task.pair
    write_model(folder / run_files.MODEL, model, tokenizer)
    more = {
        "cut": {part: _count_cut(items, data[part], tokenizer, task) for part, items in rows.items()},
        "steps": best.state.global_step,
        "max_steps": best.state.max_steps,
        "selected_step": best.state.best_global_step,
        "stopped": _stop_reason(best.state, recipe, passes),
        "seconds_a_candidate": seconds,
    }
    tried = [{**each, f"validation_{task.metric}": score} for each, score in zip(candidates, scores, strict=True)]
    count = sum(parameter.numel() for parameter in model.parameters())
    return Fitted(logits, candidates[scores.index(max(scores))], tried, count, more)


def _stop_reason(state: TrainerState, recipe: Recipe, passes: float) -> str:
    if state.global_step < state.max_steps:
        return f"no better validation score in {recipe.patience} passes over the training items"
    return f"the end of training, after {passes:g} passes over the training items"


def _count_cut(rows: Dataset, encoded: Dataset, tokenizer: Any, task: Task) -> int:
    """How many items are longer than what is read of them."""
    lengths = np.fromiter(map(len, encoded["input_ids"]), dtype=np.int64)
    return int((tokens_cut(rows, tokenizer, task, lengths) > 0).sum())


def _arguments(
    recipe: Recipe, epochs: float, task: Task, candidate: dict[str, Any], seed: int, folder: Path
) -> TrainingArguments:
    checkpoints = folder / run_files.CHECKPOINTS / "-".join(f"{key}-{value:g}" for key, value in candidate.items())
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=_EVAL_BATCH,
        lr_scheduler_type="constant",
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
    arguments.mixed_precision = "no"  # whatever accelerate's configuration says
    use_one_gpu(arguments)  # several would multiply the recipe's batch
    return arguments
