"""Reads the fields of a study file: lists, grids, and names with what differs for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from ..registry import unknown
from ..tasks import built_folder

# Arguments of train.py that a study may override: those that a run records, or that do not affect results.
OVERRIDES = (
    "adam_beta1 adam_beta2 adam_epsilon attention_dropout class_weights data_seed eval_steps "
    "global_batch_size gradient_checkpointing label_smoothing_factor learning_rate logging_steps lr_scheduler_type "
    "max_eval_items max_grad_norm max_steps num_train_epochs optim optimizer per_device_eval_batch_size "
    "per_device_train_batch_size precision report_to restarts rows_on_device shortcuts standardize_targets "
    "stop_at_loss train_sampling_strategy warmup_steps weight_decay"
).split()


def check_names(names: Iterable[Any], known: Iterable[str], what: str) -> None:
    allowed = list(known)
    for name in names:
        if name not in allowed:
            raise ValueError(unknown(what, name, allowed))


def named_overrides(content: dict[str, Any], name: str, known: dict[str, Any]) -> dict[str, dict]:
    """`tasks` and `arms` are lists of names, or mappings of names to what differs for them."""
    value = content.get(name)
    if name == "arms" and value == [] and content.get("baselines"):
        return {}
    if not value or not isinstance(value, (list, dict)):
        raise ValueError(f"{name} is {value!r}; a study needs at least one, as a list or a mapping")
    built = [item for item in value if name == "tasks" and isinstance(item, str) and built_folder(item) is not None]
    check_names(value, [*known, *built], name.removesuffix("s"))
    items = value if isinstance(value, dict) else dict.fromkeys(value)
    return {key: overrides_of(item, f"{name}, {key}") for key, item in items.items()}


def overrides_of(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{field}: holds {value!r}, not a mapping of arguments to values")
    check_names(value, OVERRIDES, "argument")
    return {name: number(name, item) for name, item in value.items()}


def number(name: str, value: Any) -> Any:
    """The value of an argument. Converts strings such as `1e-5`, which YAML does not read as a number."""
    if value is None:
        raise ValueError(f"{name} has no value; give one, or leave it out")
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def grid_points(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return [{}]
    if not isinstance(value, dict) or not value:
        raise ValueError(f"grid is {value!r}; give arguments with lists of values, or leave it out")
    check_names(value, OVERRIDES, "argument")
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid, {name} is {values!r}; give a list of values")
    points = itertools.product(*([number(name, item) for item in values] for name, values in value.items()))
    return [dict(zip(value, point, strict=True)) for point in points]


def list_of(content: dict[str, Any], name: str, default: list, kind: Any) -> list:
    value = content.get(name, default)
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
    ):
        raise ValueError(f"{name} is {value!r}; give a list, e.g. {default}")
    return value
