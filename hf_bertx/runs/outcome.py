"""Finishes a trained run: predictions, scores, the plain model, and `results.json` last."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .. import metrics
from ..callbacks import LossConvergedCallback
from ..data.labels import label_array
from ..data.task_data import TaskData, subset
from .arguments import ResolvedRun
from .calibration import calibrate
from .model import save_model
from .trainer import RunTrainer
from .windows import by_item, rows_of
from .writer import RunWriter


def finish(
    trainer: RunTrainer,
    spec: ResolvedRun,
    data: TaskData,
    folder: Path,
    times: tuple[float, float],
    checkpoint: Path | None,
    guarded: dict[str, Any],
) -> None:
    """Predictions, metrics and model of the selected weights; `results.json` last.

    Args:
        times: when this process began the run, and how many seconds it spent in training.
        guarded: `constant_loss`, `collapsed`, why the run ended at the constant answer or None, and its `restarts`.
    """
    begun, seconds = times
    trainer.compute_metrics = None  # it knows only the validation items
    calibrated = calibrate(trainer, spec, data) if spec.options.calibrate else None
    scores, cut, split = _test(trainer, spec, data, folder, calibrated)
    stop = next((c for c in trainer.callback_handler.callbacks if isinstance(c, LossConvergedCallback)), None)
    state, model = trainer.state, trainer.whole_model()
    if not trainer.is_world_process_zero():
        return
    parameters, trained = save_model(model, trainer, spec, folder)
    resumed = None if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
    earlier = seconds_until(resumed or 0, state.log_history)
    results = {
        "metrics": scores,
        "test_split": spec.task.test_split,
        "counts": {name: len(rows) for name, rows in data.splits.items()},
        "understood": data.understood(),
        "cut": cut,
        **({} if spec.windows is None else {"split": split, "train_rows": len(trainer.train_dataset)}),
        **({} if calibrated is None else {"calibration": calibrated}),
        "train_items": len(subset(data.splits["train"], spec.fraction, spec.seed)),
        **guarded,
        "test_duplicates": data.test_duplicates,
        "steps": state.global_step,
        "max_steps": state.max_steps,
        "selected_step": state.best_global_step if trainer.args.load_best_model_at_end else state.global_step,
        "stopped": _stop_reason(state, stop),
        "train_seconds": round(earlier + seconds, 1),
        "total_seconds": round(earlier + time.perf_counter() - begun, 1),
        "resumed_from_step": resumed,
        "tokens_seen": int(state.num_input_tokens_seen),
        "tokenizer": getattr(trainer.processing_class, "assignment", None),
        "parameters": parameters,
        "trained_parameters": trained,
    }
    RunWriter(folder).results(results, state.log_history)


def seconds_until(step: int, log: list[dict[str, float]]) -> float:
    """How long a run had been trained at a step, by the tokens and the speed that it logged."""
    seconds, tokens = 0.0, 0.0
    for row in log:
        if row["step"] <= step and row.get("tokens_per_second"):
            seconds += (row["num_input_tokens_seen"] - tokens) / row["tokens_per_second"]
            tokens = row["num_input_tokens_seen"]
    return seconds


def _test(
    trainer: RunTrainer, spec: ResolvedRun, data: TaskData, folder: Path, calibrated: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, int], dict[str, int]]:
    """Scores and predictions of validation and test: metrics, and the items that were cut and split."""
    scores, cut, split = {}, {"train": trainer.train_dataset.cut}, {"train": trainer.train_dataset.split}
    # the test split is used here for the first and only time
    for name in dict.fromkeys(("validation", spec.task.test_split)):
        rows = data.splits[name]
        encoded = rows_of(rows, trainer.processing_class, spec.task, trainer.rows_on, windows=spec.windows)
        output, cut[name], split[name] = trainer.predict(encoded), encoded.cut, encoded.split
        answers, _ = by_item(encoded, output.predictions, output.label_ids, spec.task)
        labels = label_array(rows["label"][:], spec.task)  # the model had targets in float32
        groups = rows["group"][:] if spec.task.votes else None
        scores[name] = metrics.score(spec.task, answers, labels, groups)
        if calibrated is not None:
            calibrated.setdefault("after", {})[name] = metrics.calibration(answers, labels).error
        if trainer.is_world_process_zero():
            RunWriter(folder).predictions(name == spec.task.test_split, rows, answers)
    return scores, cut, split


def _stop_reason(state: Any, stop: LossConvergedCallback | None) -> str:
    if stop is not None and stop.reason is not None:
        return stop.reason
    if state.global_step >= state.max_steps:
        return f"all {state.max_steps} steps were trained"
    return f"no better validation score for several evaluations, at step {state.global_step}"
