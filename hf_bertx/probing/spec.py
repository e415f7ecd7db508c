"""What a probe is ordered to do, where its run lies, and what the run records of the order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import run_files
from ..arms import Arm
from ..backbones import resolve_backbone, weights_revision
from ..data.task_data import TaskData
from ..protocols import PROBE
from ..tasks import Task, task_name
from .encoder import VERSION, precision
from .features import POOLINGS
from .heads import ALPHAS

MAX_TEST_ITEMS = 3000
OF_A_MODEL = "layer"  # the pooling of a probe that is saved as a model


@dataclass(frozen=True)
class ProbeSpec:
    """What a probe depends on, but for the size of the training set.

    Args:
        task: the task's name.
        arm: what of the backbone is kept, and which subwords or ids the items get; its tuning is not used.
        seed: of the start's random weights and assignment, and of the draw of the training set.
        layers: the layers that may be chosen, 0 for the embeddings; by default all.
        permute_labels: a check: the labels of the training items are shuffled, so that scores have to be at chance.
        max_test_items: larger test sets are drawn down to as many items, the same for every probe.
        plan: sha256 of the plan that a study follows.
        save_model: the head reads position 0 of a pooling layer (see [`add_pooling_layer`]), and the run holds a model
            that plain transformers loads, with the probe's logits.
        kmer: cut sequences of letters into k-mers of so many; None: each letter is a token.
    """

    task: str
    arm: str = "bert"
    backbone: str = "minilm-l6"
    split: str = "paper"
    seed: int = 0
    layers: tuple[int, ...] | None = None
    permute_labels: bool = False
    max_test_items: int = MAX_TEST_ITEMS
    plan: str | None = None
    save_model: bool = False
    kmer: int | None = None

    @property
    def poolings(self) -> tuple[str, ...]:
        return (OF_A_MODEL,) if self.save_model else POOLINGS

    def variant(self, size: int | str) -> str:
        return f"items={size}" + ("-permuted" if self.permute_labels else "") + ("-model" if self.save_model else "")

    def folder(self, root: Path, size: int | str) -> Path:
        """Where the run of a training size lies."""
        layers = "" if self.layers is None else "-layers=" + "+".join(map(str, self.layers))
        names = (PROBE, task_name(self.task), self.backbone, self.arm)
        return root / run_files.run_folder(*names, self.seed, 1.0, self.split, self.variant(size) + layers, self.kmer)


def probe_order(spec: ProbeSpec, task: Task, arm: Arm, data: TaskData, size: int | str, number: int) -> dict[str, Any]:
    """What `run.json` says of a probe with a training size, `number` items."""
    head = {"name": "ridge", "alphas": list(ALPHAS), "poolings": list(spec.poolings), "version": VERSION}
    chosen = {
        "train_items": number,
        "layers": spec.layers and list(spec.layers),
        "permute_labels": spec.permute_labels,
    }
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
            "split": spec.split,
            "seed": spec.seed,
            "fraction": 1.0,
            "items": size,
            "max_eval_items": spec.max_test_items,
            "variant": spec.variant(size),
            **({} if spec.kmer is None else {"kmer": spec.kmer}),
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
