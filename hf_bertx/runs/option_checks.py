"""Checks of options that depend on each other."""

from __future__ import annotations

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from ..data.own_options import USER_DATA_OPTIONS
from ..tasks import Task
from .options import RunArguments


def check_user_data(run: RunArguments, given: set[str]) -> None:
    """Checks the options of a user's own data against each other.

    Raises:
        ValueError: one of them without --train_file, or beside an option that chooses other data.
    """
    if run.train_file is None:
        stray = next((name for name in USER_DATA_OPTIONS if name in given), None)
        if stray is not None:
            raise ValueError(f"--{stray} describes data of your own: name its file with --train_file FILE")
        return
    for name, why in {"data_dir": "it names data that is built already", "split": "your data has one split"}.items():
        if name in given:
            raise ValueError(f"--{name} and --train_file are both given; leave one out: {why}")


# Options that `--quick` uses. It fits baselines and a probe, and trains nothing.
_QUICK = frozenset(
    """
    task data_dir split fraction max_eval_items kmer window overlap class_weights calibrate arm backbone protocol
    baselines probe_items quick threads plan output_dir seed use_cpu disable_tqdm log_level push_to_hub hub_model_id
    hub_private_repo hub_revision hub_strategy hub_token
    """.split()
) | {*USER_DATA_OPTIONS}


def check_quick(run: RunArguments, given: set[str]) -> None:
    """Refuses training options together with --quick.

    Raises:
        ValueError: one of them beside --quick.
    """
    idle = sorted(given - _QUICK) if run.quick else []
    if idle:
        raise ValueError(f"--{idle[0]} has no effect with --quick, which trains nothing; leave one out")


def check_push(run: RunArguments, training: TrainingArguments) -> None:
    """A finished run is pushed by [`publishing.publish`]: the Trainer would send a pickle along."""
    if not training.push_to_hub:
        return
    if training.hub_strategy != HubStrategy.END:
        raise ValueError(
            f"--hub_strategy is {training.hub_strategy.value}; allowed: end. During training the Trainer would send "
            "training_args.bin, a pickle that holds paths of this machine"
        )
    if training.hub_model_id is not None and len(run.arm) > 1:
        raise ValueError(
            f"--hub_model_id {training.hub_model_id} names one repository, and {len(run.arm)} arms are trained: leave "
            "it out, and each gets a name of its own"
        )


def check_class_weights(weights: str | None, task: Task) -> None:
    """Raises a ValueError for weights that are not allowed, or a task without classes."""
    if weights not in (None, "balanced"):
        raise ValueError(f"--class_weights is {weights!r}; allowed: balanced")
    if weights is not None:
        check_has_classes("class_weights", task)


def check_has_classes(option: str, task: Task) -> None:
    """Raises a ValueError for an option of classifiers and a task whose items do not have one class each."""
    if task.labels is None or task.multi_label:
        other = "has several labels an item" if task.multi_label else "is a regression"
        raise ValueError(f"--{option} needs classes, and task {task.name} {other}")
