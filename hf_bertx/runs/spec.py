"""A run as plain values: its settings, its folder, its cell. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from ..arms import BASELINE, get_arm
from ..backbones import weights_revision
from ..baselines.catalog import get_baseline
from ..protocols import PROBE, get_protocol
from ..tasks import get_task, task_name

# Defaults of `train.py` for settings that neither the protocol nor the spec has.
_DEFAULTS: dict[str, Any] = {
    "max_eval_items": None,
    "shortcuts": True,
    "label_smoothing_factor": 0.0,
    "data_seed": None,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "train_sampling_strategy": "random",
    "optimizer": None,
    "stop_at_loss": None,
    "max_steps": -1,
    "optim": "adamw_torch_fused",
    "optim_args": None,
    "lr_scheduler_kwargs": None,
    "neftune_noise_alpha": None,
    "dataloader_drop_last": False,
    "eval_delay": 0,
    "eval_on_start": False,
}
_EVALUATIONS_AN_EPOCH = 3
ALL = "all"  # of the training items
# What to do about a folder that holds another run.
OTHER_FOLDER = "another folder of runs (--output_dir of `bertx train`, else --runs), or remove that run's"
MAX_TEST_ITEMS = 3000  # of a probe; larger test sets are subsampled, to the same items for every probe
_OF_A_PROBE: dict[str, Any] = {
    "items": ALL,
    "layers": None,
    "permute_labels": False,
    "save_model": False,
    "max_eval_items": MAX_TEST_ITEMS,
    "class_weights": None,
    "calibrate": False,
}
# Hyperparameters that a run's record omits if they have these values.
LEFT_OUT: dict[str, Any] = {"class_weights": None, "restarts": 0, "optim_target_modules": None, "calibrate": False}


@dataclass(frozen=True)
class RunSpec:
    """One training: task x backbone x arm x seed x fraction of the data, by a protocol.

    Args:
        task: the name of a task, or a folder that `bertx data build` made.
        arm: the name of an arm, or `baseline`; then `backbone` names the baseline.
        backbone: a short name, a Hub id or a folder.
        protocol: the name of a protocol, which sets all hyperparameters that `overrides` does not.
        split: of the data; None for the protocol's.
        seed: of weights, batches and drawn items.
        fraction: share of the training data, more than 0 and at most 1.
        variant: a word for what differs from the protocol; it ends the name of the run's folder.
        overrides: options of `train.py` that differ from the protocol, by name, e.g. `{"learning_rate": 1e-4}`.
        plan: sha256 of the plan of the study that the run belongs to; recorded, changes nothing.
        kmer: cut sequences of letters into k-mers of so many; None: each letter is a token.
        window: read items of more symbols in windows of so many; None: cut them to what the model reads.
        overlap: symbols that two windows share; None for 0.
    """

    task: str = "dna-splice"
    arm: str = "bert"
    backbone: str = "minilm-l6"
    protocol: str = "recommended"
    split: str | None = None
    seed: int = 42
    fraction: float = 1.0
    variant: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    plan: str | None = None
    kmer: int | None = None
    window: int | None = None
    overlap: int | None = None

    @classmethod
    def of_baseline(
        cls,
        name: str,
        task: str = "dna-splice",
        split: str = "paper",
        seed: int = 0,
        fraction: float = 1.0,
        max_eval_items: int | None = None,
    ) -> RunSpec:
        """A baseline in place of an arm; it validates and tests on at most `max_eval_items` items."""
        limit = {} if max_eval_items is None else {"max_eval_items": max_eval_items}
        return cls(task, BASELINE, name, BASELINE, split, seed, fraction, overrides=limit)

    @classmethod
    def of_probe(
        cls,
        task: str = "dna-splice",
        arm: str = "bert",
        backbone: str = "minilm-l6",
        split: str = "paper",
        seed: int = 0,
        *,
        items: int | str = ALL,
        layers: Sequence[int] | None = None,
        permute_labels: bool = False,
        save_model: bool = False,
        max_eval_items: int = MAX_TEST_ITEMS,
        class_weights: str | None = None,
        calibrate: bool = False,
        **fields: Any,
    ) -> RunSpec:
        """A probe: frozen features of each layer and a closed-form head. The tuning of its arm is not used.

        Args:
            seed: of the start's random weights and assignment, and of the draw of the training set.
            items: how many of the training items are drawn, or `all`.
            layers: those that may be chosen, 0 for the embeddings; by default all.
            permute_labels: a check: the training items' labels are shuffled, so that scores have to be at chance.
            save_model: the head reads position 0 of a pooling layer (see [`add_pooling_layer`]), and the run holds a
                model that plain transformers loads, with the probe's logits.
            max_eval_items: larger test sets are drawn down to as many items, the same for every probe.
            class_weights: `balanced` lets each class weigh alike in the fit.
            calibrate: the saved model's head is divided by the temperature that fits validation.
            **fields: `plan`, `kmer`, `window` and `overlap`, as for a training.

        Raises:
            ValueError: `items` is neither `all` nor a number from 2 on.
        """
        if items != ALL and not (isinstance(items, int) and items >= 2):
            raise ValueError(f"items is {items!r}; allowed: a number from 2 on, or {ALL}")
        options = {
            "layers": None if layers is None else list(layers),
            "permute_labels": permute_labels,
            "save_model": save_model,
            "max_eval_items": max_eval_items,
            "class_weights": class_weights,
            "calibrate": calibrate,
        }
        chosen = {name: value for name, value in options.items() if value != _OF_A_PROBE[name]}
        variant = f"items={items}" + "-permuted" * permute_labels + "-model" * save_model + "-calibrated" * calibrate
        variant += f"-{class_weights}" if class_weights else ""
        variant += "" if layers is None else "-layers=" + "+".join(map(str, layers))
        return cls(task, arm, backbone, PROBE, split, seed, 1.0, variant, {"items": items, **chosen}, **fields)

    @property
    def data_split(self) -> str:
        """The split of the data, by name."""
        if self.split is not None:
            return self.split
        if self.arm == BASELINE or self.protocol == PROBE:
            return "paper"
        return get_protocol(self.protocol).split(get_task(self.task))

    def folder(self, root: Path = Path()) -> Path:
        """Where the run lies below the root of all runs:
        `protocol/task/backbone/arm/seed-N[-fraction-F][-split][-kmer-K][-window-N[-overlap-M]][-variant]`.
        """
        return root / self._folder

    @cached_property
    def _folder(self) -> Path:
        name = f"seed-{self.seed}"
        name += "" if self.fraction == 1 else f"-fraction-{self.fraction:g}"
        name += "" if self.data_split == "paper" else f"-{self.data_split}"
        name += f"-kmer-{self.kmer}" if self.kmer else ""
        if self.window is not None:
            name += f"-window-{self.window}" + (f"-overlap-{self.overlap}" if self.overlap else "")
        name += f"-{self.variant}" if self.variant else ""
        backbone = get_baseline(self.backbone).name if self.arm == BASELINE else self.backbone
        # `./model` is no hidden folder, which reports would skip
        backbone = backbone.strip("./").replace("/", "--") or "folder"
        return Path(self.protocol, task_name(self.task), backbone, self.arm, name)

    @property
    def label(self) -> str:
        """One line for listings."""
        share = "" if self.fraction == 1 else f", {100 * self.fraction:g}% of the data"
        varied = "" if self.data_split == "paper" else f", {self.data_split}"
        varied += f", {self.kmer}-mers" if self.kmer else ""
        varied += f", windows of {self.window}" if self.window else ""
        varied += f", {self.variant}" if self.variant else ""
        return f"{task_name(self.task)} {self.backbone} {self.arm} seed {self.seed}{share}{varied}"

    def arguments(self, root: Path, data_dir: str | Path | None = None) -> list[str]:
        """The command line of `train.py` for this run."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "overrides"}
        values |= {**self.overrides, "output_dir": root, "data_dir": data_dir}
        given = {name: value for name, value in values.items() if value not in (None, "", [])}
        return option_words(given)

    def hyperparameters(self) -> dict[str, Any]:
        """Hyperparameters as the run's record has them: defaults, then the protocol's, then the overrides. For a
        baseline, only the limit of its items.
        """
        if self.arm == BASELINE:
            return {"max_eval_items": self.overrides.get("max_eval_items")}
        if self.protocol == PROBE:
            return {**_OF_A_PROBE, **self.overrides}
        protocol, task = get_protocol(self.protocol), get_task(self.task)
        of_protocol: dict[str, Any] = {
            "global_batch_size": protocol.global_batch_size,
            "attention_dropout": protocol.attention_dropout,
            "learning_rate": protocol.learning_rate(get_arm(self.arm), task),
            "num_train_epochs": protocol.train_epochs(task),
            "standardize_targets": protocol.standardize_targets,
            "patience": protocol.patience,
            "protocol_version": protocol.version,
            "restarts": protocol.restarts,
        }
        if Path(self.backbone).expanduser().is_dir():
            of_protocol["backbone_revision"] = weights_revision(self.backbone, get_arm(self.arm).start)
        # the machine decides what `auto` is, and a run records that
        given = {name: value for name, value in self.overrides.items() if (name, value) != ("precision", "auto")}
        return {**_DEFAULTS, **LEFT_OUT, **protocol.training, **of_protocol, **given}

    def to_json(self) -> dict[str, Any]:
        """The fields, with the folder that the run writes to relative to the root of all runs."""
        return {
            **asdict(self),
            "task": task_name(self.task),
            "split": self.data_split,
            "folder": self.folder().as_posix(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunSpec:
        """A spec from what [`to_json`] gave, or from a run's specification; other values are left out.

        Raises:
            KeyError: the record does not say a field that has to be there.
        """
        needed = ("task", "backbone", "arm", "protocol", "split", "seed", "fraction")
        optional = {
            name: record[name]
            for name in ("variant", "overrides", "plan", "kmer", "window", "overlap")
            if name in record
        }
        return cls(**{name: record[name] for name in needed}, **optional)


def usual_eval_steps(rows: int, global_batch_size: int, logging_steps: float) -> int:
    """How many steps lie between two validations by default: about a third of an epoch, in whole `logging_steps`."""
    steps = math.ceil(rows / global_batch_size)
    logged = max(1, min(int(logging_steps), steps))
    return max(1, round(steps / _EVALUATIONS_AN_EPOCH / logged)) * logged


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options with their values as words of a command line; None is an option's absence."""
    words: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        of_value = _words(value)
        if len(of_value) == 1 and of_value[0].startswith("-"):  # argparse would read the value as an option
            words.append(f"--{name}={of_value[0]}")
        else:
            words += [f"--{name}", *of_value]
    return words


def _words(value: Any) -> list[str]:
    """A value of an option as words of a command line: JSON for named values, a word for each item of a list."""
    if isinstance(value, dict):
        return [json.dumps(value)]
    if isinstance(value, (list, tuple)):
        return [word for item in value for word in _words(item)]
    return [str(value.value if isinstance(value, Enum) else value)]
