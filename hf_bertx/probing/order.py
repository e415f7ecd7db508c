"""The order of a probe, as its record holds it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..arms import Arm
from ..backbones import resolve_backbone, weights_revision
from ..data.task_data import TaskData
from ..protocols import PROBE
from ..runs.spec import RunSpec
from ..tasks import Task
from .encoder import VERSION, precision
from .features import OF_A_MODEL, POOLINGS
from .heads import ALPHAS
from .seeds import POOL


def poolings(spec: RunSpec) -> tuple[str, ...]:
    """The poolings that a probe may choose from."""
    return (OF_A_MODEL,) if spec.overrides.get("save_model") else POOLINGS


def probe_order(spec: RunSpec, task: Task, arm: Arm, data: TaskData, number: int, available: int) -> dict[str, Any]:
    """The content of `run.json` for a probe of `number` of the `available` training items."""
    requested = spec.hyperparameters()
    chosen: dict[str, Any] = {
        "train_items": number,
        "layers": requested["layers"],
        "permute_labels": requested["permute_labels"],
    }
    if POOL < number < available:
        chosen["filled_by_seed"] = True  # older runs of these sizes drew the same items for every seed
    chosen |= {} if requested["class_weights"] is None else {"class_weights": requested["class_weights"]}
    chosen |= {"calibrate": True} if requested["calibrate"] else {}
    head = {"name": "ridge", "alphas": list(ALPHAS), "poolings": list(poolings(spec)), "version": VERSION}
    rare = {"kmer": spec.kmer, "window": spec.window, "overlap": spec.window and (spec.overlap or 0)}
    backbone = resolve_backbone(spec.backbone)
    order = {
        "specification": {
            "task": task.name,
            "backbone": spec.backbone,
            "backbone_revision": backbone.revision or weights_revision(backbone.source, arm.start),
            "arm": arm.name,
            "start": arm.start,
            "assignment": None if task.discipline == "text" else arm.assignment,
            "shift": arm.shift,
            "protocol": PROBE,
            "split": spec.data_split,
            "seed": spec.seed,
            "fraction": 1.0,
            "items": requested["items"],
            "max_eval_items": requested["max_eval_items"],
            "variant": spec.variant,
            **{name: value for name, value in rare.items() if value is not None},
            "precision": precision(),
            "tuning": "probe",
            "hyperparameters": {"head": head, **chosen},
        },
        "task": asdict(task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "data_revision": data.revision,
        "data_leaks": list(data.leaks),
        "backbone_origin": backbone.origin,
    }
    return order if spec.plan is None else {**order, "plan": spec.plan}
