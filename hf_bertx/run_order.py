"""What a run was ordered to do, and where: its specification, the data's fingerprint, versions, machine."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import TrainingArguments

from . import __version__, run_files
from .run_arguments import RunSpec
from .task_data import TaskData

# What of TrainingArguments changes the numbers, and so belongs to a run's specification.
_HYPERPARAMETERS = (
    "learning_rate num_train_epochs max_steps lr_scheduler_type lr_scheduler_kwargs warmup_steps "
    "weight_decay max_grad_norm optim optim_args adam_beta1 adam_beta2 adam_epsilon "
    "label_smoothing_factor data_seed train_sampling_strategy neftune_noise_alpha dataloader_drop_last "
    "eval_strategy eval_steps"
).split()
_OF_OLDER_RUNS = {
    "tuning": "full",
    "variant": "",
    "standardize_targets": False,
}  # what runs were before there was a choice
_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "numpy")


def run_order(spec: RunSpec, args: TrainingArguments, data: TaskData) -> dict[str, Any]:
    """What was ordered, JSON-ready: the same order with the same data gives the same run."""
    hyperparameters = {name: getattr(args, name, None) for name in _HYPERPARAMETERS}
    plain = {k: getattr(v, "value", v) for k, v in hyperparameters.items()}
    plain |= {"learning_rate": spec.learning_rate, "optimizer": spec.optimizer}
    plain |= {"patience": spec.protocol.patience, "attention_dropout": spec.attention_dropout}
    plain |= {"global_batch_size": spec.global_batch_size, "stop_at_loss": spec.stop_at_loss}
    plain |= {"shortcuts": spec.shortcuts, "standardize_targets": spec.standardize_targets}
    return {
        "specification": {
            "task": spec.task.name,
            "backbone": spec.backbone.name,
            "backbone_revision": spec.backbone.revision,
            "arm": spec.arm.name,
            "start": spec.arm.start,
            "assignment": spec.assignment if spec.task.discipline != "text" else None,
            "shift": spec.arm.shift,
            "tuning": spec.arm.tuning,
            "protocol": spec.protocol.name,
            "split": spec.split,
            "seed": spec.seed,
            "fraction": spec.fraction,
            "max_eval_items": spec.max_eval_items,
            "variant": spec.variant,
            "precision": spec.precision,
            "hyperparameters": plain,
        },
        "task": asdict(spec.task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "data_revision": data.revision,
        "data_leaks": list(data.leaks),
        "backbone_origin": spec.backbone.origin,
    }


def check_same(
    folder: Path, order: dict[str, Any], otherwise: str = "another --output_dir, or pass --no_resume to replace it"
) -> None:
    found = run_files.read_json(folder / run_files.RUN)
    old, new = (_flat({k: o.get(k) for k in ("specification", "data_fingerprint")}) for o in (found, order))
    different = [
        f"{name} is {old.get(name)!r} there, {new[name]!r} asked"
        for name in new
        if old.get(name, _OF_OLDER_RUNS.get(name)) != new[name]
    ]
    if different:
        raise ValueError(f"{folder} holds a run of another specification: {'; '.join(different)}. Choose {otherwise}")


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, item in value.items():
        out |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return {name.removeprefix("specification.").removeprefix("hyperparameters."): item for name, item in out.items()}


def backbone_origin(spec: RunSpec) -> str:
    """The backbone as a Hub id with its commit; a folder by its last name, since paths are nobody else's business."""
    known, source = spec.backbone.backbone, spec.backbone.source
    if known is None and Path(source).is_dir():
        return Path(source).resolve().name
    revision = spec.backbone.revision or loaded_commit(source)
    name = known.hub_id if known is not None else source
    return f"{name}@{revision}" if revision else name


def loaded_commit(hub_id: str) -> str | None:
    """The commit of a Hub id without a revision that was loaded: the name of its folder in the cache."""
    cached = try_to_load_from_cache(hub_id, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else None


def versions() -> dict[str, str]:
    return {
        "hf_bertx": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def machine() -> dict[str, Any]:
    """What computed, without names of hosts or paths."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {"system": platform.system(), "processor": name, "cores": os.cpu_count(), "gpu": gpu}
