"""The order of a run: specification, data fingerprint, versions and machine."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import logging

from .. import __version__, run_files
from ..backbones import weights_revision
from ..data.own_options import USER_DATA_OPTIONS
from ..data.task_data import TaskData
from .arguments import ResolvedRun
from .options import RunArguments
from .run import OF_TASK
from .spec import LEFT_OUT, OTHER_FOLDER
from .writer import RunWriter

logger = logging.get_logger(__name__)

# TrainingArguments fields that affect results; they are part of a run's identity.
HYPERPARAMETERS = (
    "learning_rate num_train_epochs max_steps lr_scheduler_type lr_scheduler_kwargs warmup_steps "
    "weight_decay max_grad_norm optim optim_args adam_beta1 adam_beta2 adam_epsilon "
    "label_smoothing_factor data_seed train_sampling_strategy neftune_noise_alpha dataloader_drop_last "
    "eval_strategy eval_steps eval_delay eval_on_start"
).split()
# Options that a specification stores in another form, or that do not affect results. All others are stored if given.
_ELSEWHERE = frozenset(
    """
    task data_dir split fraction max_eval_items kmer window overlap arm backbone protocol
    attention_dropout standardize_targets precision global_batch_size optimizer stop_at_loss shortcuts rows_on_device
    threads variant plan resume class_weights restarts baselines probe_items quick find_learning_rate folds
    """.split()
) | {*USER_DATA_OPTIONS}
_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "numpy")


def run_order(spec: ResolvedRun, args: TrainingArguments, data: TaskData) -> dict[str, Any]:
    """The order, JSON-ready. The same order with the same data gives the same run."""
    options = spec.options
    of_trainer = {name: getattr(args, name) for name in HYPERPARAMETERS}
    hyperparameters = {
        **{name: getattr(value, "value", value) for name, value in of_trainer.items()},
        "learning_rate": spec.learning_rate,
        "optimizer": options.optimizer,
        "patience": spec.protocol.patience,
        "attention_dropout": spec.attention_dropout,
        "global_batch_size": spec.global_batch_size,
        "stop_at_loss": options.stop_at_loss,
        "shortcuts": options.shortcuts,
        "standardize_targets": spec.standardize_targets,
    }
    rare = {"class_weights": options.class_weights, "restarts": spec.restarts}
    rare |= {"optim_target_modules": args.optim_target_modules}
    hyperparameters |= {name: value for name, value in rare.items() if value != LEFT_OUT[name]}
    cut: dict[str, Any] = {} if spec.kmer is None else {"kmer": spec.kmer}
    cut |= _other_options(options)
    if spec.windows is not None:
        cut |= {"window": spec.windows.symbols, "overlap": spec.windows.overlap}
    return {
        "specification": {
            "task": spec.task.name,
            "backbone": spec.backbone.name,
            "backbone_revision": spec.backbone.revision or weights_revision(spec.backbone.source, spec.arm.start),
            "arm": spec.arm.name,
            "start": spec.arm.start,
            "assignment": spec.assignment if spec.task.discipline != "text" else None,
            "shift": spec.arm.shift,
            "tuning": spec.arm.tuning,
            "special_tokens": spec.special_tokens,
            "protocol": spec.protocol.name,
            "protocol_version": spec.protocol.version,
            "split": spec.split,
            "seed": spec.seed,
            "fraction": spec.fraction,
            "max_eval_items": options.max_eval_items,
            "variant": spec.variant,
            **cut,
            "precision": spec.precision,
            "hyperparameters": hyperparameters,
        },
        "task": asdict(spec.task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "data_revision": data.revision,
        "data_leaks": list(data.leaks),
        "backbone_origin": spec.backbone.origin,
        **({} if options.plan is None else {"plan": options.plan}),
    }


def _other_options(options: RunArguments) -> dict[str, Any]:
    """Given options that are not in [`_ELSEWHERE`], so that a new option becomes part of a run's identity."""
    usual = {f.name: f.default for f in fields(options) if f.name not in _ELSEWHERE}
    return {name: getattr(options, name) for name, value in usual.items() if getattr(options, name) != value}


OF_A_TRAINING = "another --output_dir or --variant, or pass --no_resume to replace it"


def skip_finished(folder: Path, order: dict[str, Any], otherwise: str = OTHER_FOLDER) -> bool:
    """Whether the folder holds this run, finished and whole. Then that is logged, and a licence that was stated since
    is recorded.

    Raises:
        ValueError: it holds a run of another specification, or a file of it is not what was written.
    """
    if not (folder / run_files.RUN).is_file():
        return False
    check_same(folder, order, otherwise)
    if not (folder / run_files.RESULTS).is_file():
        return False
    run_files.check_run(folder)
    RunWriter(folder).state_license(order["task"]["license"])
    logger.warning(f"skipped: {folder} holds this run, finished")
    return True


def check_same(folder: Path, order: dict[str, Any], otherwise: str = OF_A_TRAINING) -> None:
    """Compares an order with the one that a run's folder holds.

    A backbone of the Hub whose commit is not known before it is loaded is not compared.

    Raises:
        ValueError: they differ in something that the result depends on; the message names it.
    """
    recorded = run_files.read_json(folder / run_files.RUN)
    try:
        old, new = (_identity(each) for each in (recorded, json.loads(json.dumps(order))))
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder / run_files.RUN}: damaged; remove {folder} to run again") from None
    unknown = {"backbone_revision"} if new.get("backbone_revision") is None else set()
    usual = {f.name: f.default for f in fields(RunArguments)}
    different = [
        f"{name} is {old.get(name, usual.get(name))!r} there, {new.get(name, usual.get(name))!r} asked"
        for name in {**new, **old}
        if old.get(name) != new.get(name) and name not in unknown
    ]
    if different:
        raise ValueError(f"{folder} holds a run of another specification: {'; '.join(different)}. Choose {otherwise}")


def _identity(order: dict[str, Any]) -> dict[str, Any]:
    """Everything that a run's results depend on, by name; None counts as absent."""
    specification = {**order["specification"]}
    hyperparameters = specification.pop("hyperparameters", {})
    task = {f"task.{name}": order["task"][name] for name in OF_TASK}
    every = {**LEFT_OUT, **specification, **hyperparameters, "data_fingerprint": order["data_fingerprint"], **task}
    return {name: value for name, value in every.items() if value is not None}


def backbone_origin(spec: ResolvedRun) -> str:
    """The backbone as a Hub id with its commit; for a folder its last name, because paths are private."""
    known, source = spec.backbone.backbone, spec.backbone.source
    if known is None and Path(source).is_dir():
        return Path(source).resolve().name
    revision = spec.backbone.revision or weights_revision(source)
    name = known.hub_id if known is not None else source
    return f"{name}@{revision}" if revision else name


def versions() -> dict[str, str]:
    return {
        "hf_bertx": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def machine() -> dict[str, Any]:
    """Hardware and system, without host names or paths."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {"system": platform.system(), "processor": name, "cores": os.cpu_count(), "gpu": gpu}
