"""Temperature scaling: one number, fitted on validation, that brings confidence close to accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import metrics
from ..data.task_data import TaskData
from ..modeling_discipline import last_linear
from ..tasks import Task
from .arguments import ResolvedRun
from .option_checks import check_has_classes
from .trainer import RunTrainer
from .windows import by_item, rows_of

FEWEST_ITEMS = 20  # of validation; with fewer the temperature is too noisy
_BOUNDS = (0.1, 10.0)


def check_calibration(task: Task, items: int) -> None:
    """Raises a ValueError for a task without classes, or with too few validation items to fit the temperature on."""
    check_has_classes("calibrate", task)
    if task.test_split == "validation":
        raise ValueError(f"--calibrate needs validation items, and task {task.name} is tested on them")
    if items < FEWEST_ITEMS:
        raise ValueError(f"--calibrate needs {FEWEST_ITEMS} validation items or more, and there are {items}")


def fit_temperature(logits: np.ndarray, labels: np.ndarray, owners: np.ndarray | None = None) -> float:
    """The temperature, between 0.1 and 10, with the lowest cross-entropy: logits are divided by it.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Args:
        logits: shape `(rows, classes)`.
        labels: class numbers of the items, shape `(items,)`.
        owners: the item that each row is a window of; None where each row is an item.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        answers = scaled if owners is None else metrics.mean_answers(scaled, owners, regression=False)
        return -float(log_softmax(answers, axis=1)[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(_BOUNDS)), method="bounded").x))


def calibrate(trainer: RunTrainer, spec: ResolvedRun, data: TaskData) -> dict[str, Any]:
    """Divides the head of a trained model by the temperature that fits validation; its config records it.

    So the model's own softmax is calibrated, in plain transformers too, and no code has to know of it.

    Returns:
        The `temperature`, and under `before` the expected calibration error of each split as the model was.
    """
    errors, temperature = {}, 1.0
    for name in dict.fromkeys(("validation", spec.task.test_split)):
        rows = rows_of(data.splits[name], trainer.processing_class, spec.task, trainer.rows_on, windows=spec.windows)
        output = trainer.predict(rows)
        answers, labels = by_item(rows, output.predictions, output.label_ids, spec.task)
        errors[name] = metrics.calibration(answers, labels).error
        if name == "validation":
            temperature = fit_temperature(output.predictions, labels, rows.owners)
    divide_head(trainer.accelerator.unwrap_model(trainer.model), temperature)
    return {"temperature": temperature, "before": errors}


@torch.no_grad()
def divide_head(model: Any, temperature: float) -> None:
    """Divides the output layer of a model by a temperature, in place; its config records it."""
    for parameter in last_linear(model).parameters():
        parameter.div_(temperature)
    model.config.calibration_temperature = round(temperature, 6)
