"""A ready Trainer for one run, and the run itself: train, select on validation, test once, save."""

from __future__ import annotations

import copy
import math
import shutil
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback, TrainingArguments
from transformers.utils import logging

from .. import metrics, run_files
from ..callbacks import LastStepCallback, LossConvergedCallback, RunRecordCallback, ThroughputCallback
from ..data.data_copies import BuildTask
from ..data.device_rows import device_for_rows, identity_collator
from ..data.labels import label_array
from ..data.task_data import TaskData, count_duplicates, evaluation_subset, load_task_data, subset
from .arguments import ResolvedRun
from .calibration import check_calibration
from .collapse import CollapseGuardCallback
from .model import build_tokenizer, model_to_train
from .optimizers import optimizer
from .order import OF_A_TRAINING, check_same, machine, run_order, skip_finished, versions
from .outcome import finish
from .schedule import count_rows, set_batch_size, set_schedule
from .trainer import RunTrainer, item_loss
from .windows import by_item, log_lengths, rows_of
from .writer import RunWriter

logger = logging.get_logger(__name__)

# Values of --optim that leave a row with zero gradient untouched when weight decay is 0, as all of --optimizer do.
_BY_ROW = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad")


def build_trainer(
    spec: ResolvedRun, args: TrainingArguments, data: TaskData, folder: Path, restart: int = 0
) -> RunTrainer:
    """A `Trainer` with model, tokenizer, tokenized data, metrics and callbacks, ready to train.

    Args:
        args: as parsed; it is completed here (batch sizes, evaluation steps, output folder), in place.
        folder: the run's; checkpoints go below it.
        restart: how often the run was started again; each start has a folder of checkpoints of its own.
    """
    tokenizer = build_tokenizer(spec)
    train_rows = subset(data.splits["train"], spec.fraction, spec.seed)
    args.learning_rate = spec.learning_rate
    validation = data.splits["validation"]
    groups = validation["group"][:] if spec.task.votes else None
    args.output_dir = str(folder / run_files.CHECKPOINTS / (f"restart-{restart}" if restart else ""))
    set_batch_size(args, spec.global_batch_size)
    rows_on = place_rows(spec, args, data)
    learned = rows_of(train_rows, tokenizer, spec.task, rows_on, spec.windows)
    evaluated = rows_of(validation, tokenizer, spec.task, rows_on, spec.windows)
    by_row = args.weight_decay == 0 and (spec.options.optimizer is not None or args.optim in _BY_ROW)
    make_model = partial(model_to_train, spec, tokenizer, train_rows, learned.ids() if by_row else None)
    set_schedule(args, spec, len(learned))

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        answers, labels = by_item(evaluated, prediction.predictions, prediction.label_ids, spec.task)
        return metrics.score(spec.task, answers, labels, groups)

    labels, balanced = label_array(train_rows["label"][:], spec.task), spec.options.class_weights == "balanced"
    if learned.owners is not None:  # the loss is a mean over windows
        labels = labels[learned.owners]
    classes, smoothing = len(spec.task.labels or ()), args.label_smoothing_factor
    weights = metrics.balanced_weights(labels, classes) if balanced else None
    # of a regression the model's: the Trainer counts no item whose label is -100, as a target may be
    custom_loss = balanced or (args.gradient_accumulation_steps > 1 and not spec.task.regression)
    constant_loss = metrics.constant_answer_loss(labels, spec.task.regression, balanced, smoothing, classes)
    guard = CollapseGuardCallback(constant_loss)
    name = spec.options.optimizer
    chosen = None if name is None else optimizer(name, spec.learning_rate, args.weight_decay)
    trainer = RunTrainer(
        model=make_model(),
        optimizer_cls_and_kwargs=chosen,
        args=args,
        train_dataset=learned,
        eval_dataset=evaluated,
        data_collator=identity_collator,
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        compute_loss_func=item_loss(smoothing, weights) if custom_loss else None,
        callbacks=[guard, *_callbacks(spec, args, folder, len(learned))],
    )
    for callback in trainer.callback_handler.callbacks:
        if getattr(callback, "logging_dir", "") is None:  # else they are deleted with the checkpoints
            callback.logging_dir = str(folder / run_files.TRACKER)
    trainer.make_model, trainer.rows_on = make_model, rows_on
    return trainer


def _callbacks(spec: ResolvedRun, args: TrainingArguments, folder: Path, train_size: int) -> list[TrainerCallback]:
    callbacks = [LastStepCallback(), ThroughputCallback(), RunRecordCallback(folder / run_files.LOG)]
    if args.load_best_model_at_end and spec.protocol.patience is not None:
        steps = spec.protocol.patience * math.ceil(train_size / spec.global_batch_size)
        # the Trainer's callback counts validations
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=math.ceil(steps / (args.eval_steps or 1))))
    if spec.options.stop_at_loss is not None:
        callbacks.append(LossConvergedCallback(threshold=spec.options.stop_at_loss))
    return callbacks


def place_rows(spec: ResolvedRun, args: TrainingArguments, data: TaskData) -> torch.device:
    """The device for a run's rows. If it is a GPU, pinned memory is switched off in `args`."""
    most = spec.task.max_length * sum(count_rows(rows, spec) for rows in data.splits.values())
    wanted = spec.options.rows_on_device and not args.dataloader_num_workers
    place = device_for_rows(args.device, most) if wanted else torch.device("cpu")
    args.dataloader_pin_memory = args.dataloader_pin_memory and place.type == "cpu"
    return place


def run(
    spec: ResolvedRun,
    args: TrainingArguments,
    callbacks: tuple[TrainerCallback, ...] = (),
    build_task: BuildTask | None = None,
) -> Path:
    """Trains one run, or what is left of it, tests it once and saves it; a finished run is skipped.

    Args:
        args: `output_dir` is the root of all runs; not changed.
        build_task: builds a data set that is neither in the package nor on the Hub; see [`load_task_data`].

    Returns:
        The run's folder.

    Raises:
        ValueError: the folder holds a run of another specification; the message names the difference.
        BackboneUnavailableError, FileNotFoundError: the backbone or the data cannot be loaded.
    """
    begun = time.perf_counter()
    args = copy.deepcopy(args)
    args.hub_token, args.push_to_hub = None, False  # because checkpoints hold the arguments
    folder = spec.folder(Path(args.output_dir or "runs"))
    state = PartialState()
    with state.main_process_first():
        data = _limited(load_task_data(spec.task, spec.split, spec.data_dir, build_task), spec.options.max_eval_items)
    if spec.options.calibrate:
        check_calibration(spec.task, len(data.splits["validation"]))
    set_schedule(args, spec, count_rows(subset(data.splits["train"], spec.fraction, spec.seed), spec))
    if spec.options.resume and skip_finished(folder, run_order(spec, args, data), OF_A_TRAINING):
        with suppress(OSError), run_files.locked(folder):  # locked by another process, or a read-only disk
            run_files.sweep(folder)
        return folder
    with run_files.locked(folder) if state.is_main_process else nullcontext():
        _train(spec, args, data, folder, callbacks, begun)
    return folder


def _train(
    spec: ResolvedRun,
    args: TrainingArguments,
    data: TaskData,
    folder: Path,
    callbacks: tuple[TrainerCallback, ...],
    begun: float,
) -> None:
    """Trains what is left of a run, whose folder this process has locked."""
    state = PartialState()
    if state.is_main_process and spec.options.resume:
        run_files.sweep(folder)
    state.wait_for_everyone()
    data.log_summary()
    logger.warning(
        f"run: {spec.arm.name} on {spec.task.name}, backbone from {spec.backbone.origin}, data from {data.origin}"
    )
    restarts = RunWriter(folder).restarts() if spec.options.resume else []
    started = 0.0
    while True:
        tried = replace(spec, learning_rate=spec.learning_rate / 2 ** len(restarts))
        trainer = build_trainer(tried, copy.deepcopy(args), data, folder, len(restarts))
        if not restarts:
            if state.is_main_process and not spec.options.resume:  # not before the model and its Trainer are made
                shutil.rmtree(folder, ignore_errors=True)
            state.wait_for_everyone()
            rows: Any = trainer.train_dataset
            items = len(rows) if rows.owners is None else int(rows.owners.max()) + 1
            long = (items, len(rows), rows.cut if spec.windows is None else rows.split)
            log_lengths(spec.task, trainer.processing_class, spec.windows, *long)
        # the order names the commit of a Hub backbone, which is known once it has been loaded
        begins = _write_order(run_order(spec, args, data), folder)
        for callback in callbacks:
            trainer.add_callback(callback)
        started = started or time.perf_counter()  # of the first start: all of them are time of the run
        try:
            checkpoint, guard = _fit(trainer)
        except Exception:
            if begins and state.is_main_process and not trainer.state.global_step:  # no checkpoint to resume from
                (folder / run_files.RUN).unlink(missing_ok=True)
            raise
        reason = guard.reason
        if reason is None or len(restarts) == spec.restarts:
            break
        step = trainer.state.global_step
        restarts = [*restarts, {"learning_rate": tried.learning_rate, "steps": step, "reason": reason}]
        if state.is_main_process:
            RunWriter(folder).write_restarts(restarts)
        logger.warning(
            f"collapsed with learning rate {tried.learning_rate:g}: {reason}. Starts again with half of it "
            f"({len(restarts)} of {spec.restarts} restarts)"
        )
        state.wait_for_everyone()
    if reason is not None:
        logger.warning(f"collapsed: {reason}. Try --find_learning_rate, or another --learning_rate")
    seconds = time.perf_counter() - started
    guarded = {"constant_loss": guard.constant_loss, "collapsed": reason, "restarts": restarts}
    finish(trainer, spec, data, folder, (begun, seconds), checkpoint, guarded)


def _write_order(order: dict[str, Any], folder: Path) -> bool:
    """Records the order, or compares it with the recorded one. Returns whether the run begins now."""
    begins = not (folder / run_files.RUN).is_file()
    if PartialState().is_main_process:
        if begins:
            RunWriter(folder).order(order, versions(), machine())
        else:
            check_same(folder, order)
    return begins


def _fit(trainer: RunTrainer) -> tuple[Path | None, CollapseGuardCallback]:
    """Trains what is left; returns the checkpoint that it went on from, and the guard, which has judged the run."""
    checkpoint, was_over = trainer.go_on()
    guard = next(c for c in trainer.callback_handler.callbacks if isinstance(c, CollapseGuardCallback))
    if not was_over:
        return checkpoint, guard
    select = trainer.args.load_best_model_at_end
    loader = trainer.get_eval_dataloader() if select else trainer.get_train_dataloader()
    guard.judge(trainer.model, loader, trainer.state)
    return checkpoint, guard


def _limited(data: TaskData, max_eval_items: int | None) -> TaskData:
    """The data with fewer items to validate and test on; its fingerprint stays that of all rows."""
    if max_eval_items is None:
        return data
    splits = {
        name: rows if name == "train" else evaluation_subset(rows, max_eval_items)
        for name, rows in data.splits.items()
    }
    duplicates = count_duplicates(splits["train"], splits[data.task.test_split])
    return replace(data, splits=splits, test_duplicates=duplicates)
