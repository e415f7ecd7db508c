"""What a run is told: the command line, a JSON or YAML file, a protocol's defaults."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.trainer_utils import HubStrategy

from . import run_files
from .arms import ARMS, Arm, get_arm
from .backbones import BACKBONES, ResolvedBackbone, resolve_backbone
from .optimizers import OPTIMIZERS
from .protocols import PROTOCOLS, Protocol, get_protocol
from .task_data import OWN_ARGUMENTS, OWN_FLAGS, SPLITS
from .tasks import TASKS, Task, get_task

PRECISIONS = ("auto", "float32", "bfloat16")
_BY_ARM = -1.0  # as a learning rate: what the protocol gives the arm
_VARIANT = re.compile(r"[\w.+=-]*")


@dataclass
class RunArguments:
    """What `train.py` takes beside every field of `transformers.TrainingArguments`."""

    task: str = field(default="dna-splice", metadata={"help": f"One of: {', '.join(TASKS)}."})
    arm: list[str] = field(
        default_factory=lambda: ["bert"],
        metadata={
            "help": f"One or more, trained one after the other: {', '.join(ARMS)}. `bertx tasks` says what each is."
        },
    )
    backbone: str = field(
        default="minilm-l6",
        metadata={"help": f"One of: {', '.join(BACKBONES)}, multiberts-seed_S[-step_Nk]; a Hub id, or a folder."},
    )
    protocol: str = field(
        default="recommended",
        metadata={"help": f"Defaults of all hyperparameters: {', '.join(PROTOCOLS)}. Each can be overridden."},
    )
    split: str | None = field(
        default=None, metadata={"help": f"Of the data: {' or '.join(SPLITS)}. By default what the protocol says."}
    )
    fraction: float = field(default=1.0, metadata={"help": "Share of the training data, more than 0 and at most 1."})
    max_eval_items: int | None = field(
        default=None,
        metadata={
            "help": "Validate and test on at most so many items, drawn once and the same for every arm and seed; "
            "whole pieces where segments vote. By default on all."
        },
    )
    variant: str = field(
        default="",
        metadata={"help": "A word for what differs from the protocol; it ends the name of the run's folder."},
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder that `bertx data build` made, or of Parquet files with the task's columns."},
    )
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "Your own data instead of a known task: .fasta, .csv, .tsv, .jsonl, .parquet, or a folder of MIDI "
            "files. --task then names it. Parts without a file are drawn from this one."
        },
    )
    validation_file: str | None = field(default=None, metadata={"help": "Of your own data."})
    test_file: str | None = field(default=None, metadata={"help": "Of your own data."})
    discipline: str | None = field(default=None, metadata={"help": "Of your own data: dna, protein, music or text."})
    problem: str | None = field(
        default=None,
        metadata={
            "help": "Of your own data: classification or regression. By default labels with a point are numbers."
        },
    )
    sequence_column: str | None = field(
        default=None, metadata={"help": "Of your own data, as all columns; by default sequence."}
    )
    second_sequence_column: str | None = field(default=None, metadata={"help": "Of your own data, for pairs."})
    label_column: str | None = field(default=None, metadata={"help": "By default label."})
    id_column: str | None = field(default=None, metadata={"help": "By default id, where there is one."})
    group_column: str | None = field(
        default=None,
        metadata={"help": "Items of one group stay on one side of a split. By default group, where there is one."},
    )
    label_pattern: str | None = field(
        default=None, metadata={"help": "Regular expression for FASTA headers; its ( ) encloses the label."}
    )
    labels_file: str | None = field(
        default=None,
        metadata={
            "help": "Table with the label of each MIDI file (columns file and label) or FASTA record (id and label)."
        },
    )
    skip_unreadable: bool = field(default=False, metadata={"help": "Leave out MIDI files that cannot be read."})
    precision: str = field(
        default="auto",
        metadata={"help": "auto (bfloat16 where the processor or GPU does it fast), float32 or bfloat16."},
    )
    global_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Examples an update, over all processes and accumulation steps; by default the protocol's. "
            "--per_device_train_batch_size only bounds how many are in memory at once."
        },
    )
    optimizer: str | None = field(
        default=None,
        metadata={"help": f"Instead of --optim, one of those the paper searched: {', '.join(OPTIMIZERS)}."},
    )
    attention_dropout: float | None = field(default=None, metadata={"help": "By default what the protocol says."})
    standardize_targets: bool | None = field(
        default=None,
        metadata={"help": "Start a regression at the targets' mean and scale. By default what the protocol says."},
    )
    stop_at_loss: float | None = field(
        default=None, metadata={"help": "Stop once the mean of the last logged training losses is at or below this."}
    )
    shortcuts: bool = field(
        default=True,
        metadata={
            "help": "Leave out of a step what changes nothing: positions of the last layer that no head reads, rows "
            "of the embedding table that no item uses. On a CPU also draws the masks of dropout in hidden layers four "
            "elements at a time."
        },
    )
    rows_on_device: bool = field(
        default=True,
        metadata={
            "help": "Keep all tokenized rows on the GPU where they take a tenth of its free memory at most, and no "
            "--dataloader_num_workers are asked for."
        },
    )
    threads: int | None = field(
        default=None,
        metadata={
            "help": "CPU threads of this process. By default all cores, shared among the processes of the machine; "
            "accelerate launch alone would leave one."
        },
    )
    resume: bool = field(
        default=True,
        metadata={"help": "Skip a finished run, go on with an interrupted one. --no_resume starts anew."},
    )


@dataclass(frozen=True)
class RunSpec:
    """One training: task x backbone x arm x seed x fraction of the data, by a protocol."""

    task: Task
    backbone: ResolvedBackbone
    arm: Arm
    protocol: Protocol
    seed: int
    fraction: float
    split: str
    max_eval_items: int | None
    variant: str
    data_dir: str | None
    precision: str
    learning_rate: float
    optimizer: str | None
    global_batch_size: int
    attention_dropout: float | None
    standardize_targets: bool
    stop_at_loss: float | None
    shortcuts: bool
    resume: bool
    rows_on_device: bool = True
    threads: int | None = None

    @property
    def assignment(self) -> str:
        """Which subwords the symbols get; a protocol may replace `frequent` by `random`."""
        return (
            "random" if self.protocol.random_assignment and self.arm.assignment == "frequent" else self.arm.assignment
        )

    def folder(self, root: Path) -> Path:
        """Where the run writes; see [`run_files.run_folder`]."""
        names = (self.protocol.name, self.task.name, self.backbone.name, self.arm.name)
        return root / run_files.run_folder(*names, self.seed, self.fraction, self.split, self.variant)


class OneLineParser(HfArgumentParser):
    """An argument error is one line that names the allowed values, without 200 lines of usage before it."""

    def error(self, message: str) -> Any:
        raise ValueError(f"{message}. `{self.prog} --help` explains each argument")


def fast_bfloat16(use_cpu: bool = False) -> bool:
    """Whether what is computed on multiplies bfloat16 matrices in hardware; elsewhere it is slower than float32.

    Args:
        use_cpu: the processor is meant, whatever GPU there is.
    """
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    from .performance.linear import bfloat16_in_hardware

    return bfloat16_in_hardware()


def add_use_cpu(parser: argparse.ArgumentParser, given: dict[str, Any]) -> None:
    """`--use_cpu` as `TrainingArguments` reads it, for a first look at what the defaults of others depend on."""
    asked = given.get("use_cpu", False)
    parser.add_argument("--use_cpu", "--use-cpu", nargs="?", const=True, type=string_to_bool, default=asked)


def precision_defaults(precision: str, use_cpu: bool = False) -> dict[str, Any]:
    """What `TrainingArguments` is told of a precision. It has to know when it is made, and takes bfloat16 on a CPU
    only if it is told to stay there.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed: {', '.join(PRECISIONS)}")
    bfloat16 = precision == "bfloat16" or (precision == "auto" and fast_bfloat16(use_cpu))
    return {"bf16": True, "use_cpu": use_cpu or not torch.accelerator.is_available()} if bfloat16 else {"bf16": False}


@dataclass(frozen=True)
class OwnData:
    """A user's own data set, built: the task it is, and the folder of its Parquet files."""

    task: Task
    folder: Path


# takes the name, the folder of all built data, and the arguments of `OWN_ARGUMENTS` that were given
BuildOwn = Callable[[str, Path, dict[str, str]], OwnData]


def parse_arguments(argv: list[str], build_own: BuildOwn | None = None) -> tuple[list[RunSpec], TrainingArguments]:
    """Reads the command line: the protocol's defaults, under a file (`.yaml` or `.json`, first), under options.

    Args:
        build_own: builds a user's own data, where a `--train_file` is named.

    Returns:
        One specification an arm, and the `TrainingArguments` they share; `output_dir` is the root of the runs.

    Raises:
        ValueError: a value that is not allowed; the message names it and the allowed ones.
    """
    given, argv = read_arguments_file(argv, (RunArguments, TrainingArguments), "train.py")
    first = OneLineParser(prog="train.py", add_help=False)
    add_use_cpu(first, given)
    defaults = {"protocol": "recommended", "precision": "auto", "task": None, "output_dir": "runs"}
    for name in (*defaults, *OWN_ARGUMENTS):
        flag: dict[str, Any] = {"nargs": "?", "const": True, "type": string_to_bool} if name in OWN_FLAGS else {}
        first.add_argument(f"--{name}", default=given.get(name, defaults.get(name)), **flag)
    known, _ = first.parse_known_args(argv)
    computed_in = precision_defaults(known.precision, known.use_cpu)
    protocol = get_protocol(known.protocol)
    own = None
    told = {name: getattr(known, name) for name in OWN_ARGUMENTS if getattr(known, name) not in (None, False)}
    if told and known.train_file is None:
        raise ValueError(f"--{next(iter(told))} describes data of your own: name its file with --train_file FILE")
    if known.train_file is not None and build_own is not None:
        name = known.task or Path(known.train_file).name.partition(".")[0]
        own = build_own(name, Path(known.output_dir) / "data", told)
    task = own.task if own is not None else get_task(known.task or "dna-splice")

    parser = OneLineParser(
        (RunArguments, TrainingArguments),
        prog="train.py",
        description="Fine-tunes a text-pretrained encoder on a task, by an arm. Without any argument: the arm `bert` "
        "of dna-splice. A YAML or JSON file of arguments may come first: train.py my.yaml --seed 1",
    )
    parser.set_defaults(
        output_dir="runs",
        num_train_epochs=protocol.train_epochs(task),
        **computed_in,
        per_device_train_batch_size=0,  # 0: as many as the global batch size asks for
        dataloader_pin_memory=torch.cuda.is_available() and not known.use_cpu,
        restore_callback_states_from_checkpoint=True,
        save_total_limit=2,
        hub_strategy="end",
    )
    parser.set_defaults(**{**protocol.training, "num_train_epochs": protocol.train_epochs(task)})
    parser.set_defaults(learning_rate=_BY_ARM)
    parser.set_defaults(**given)
    run, training = parser.parse_args_into_dataclasses(argv)
    _check_push(run, training)
    if training.fsdp and (training.use_cpu or not torch.accelerator.is_available()):
        raise ValueError("--fsdp needs a GPU: on a CPU accelerate trains unsharded replicas, without a word")
    if own is not None:
        run.data_dir = str(own.folder)
    training.include_num_input_tokens_seen = "non_padding"  # the parser knows this field as a truth value only
    return [_specify(run, training, task, protocol, get_arm(name)) for name in run.arm], training


def read_arguments_file(argv: list[str], classes: tuple[type, ...], program: str) -> tuple[dict[str, Any], list[str]]:
    """The arguments of a YAML or JSON file that may come first, and the rest of the command line.

    Raises:
        ValueError: a file that is missing, or holds something other than arguments of these dataclasses.
    """
    if not argv or argv[0].startswith("-"):
        return {}, argv
    path = Path(argv[0])
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"{argv[0]!r}: arguments start with --, or come from a .yaml or .json file named first")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    text = path.read_text(encoding="utf-8")
    values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds {type(values).__name__}, not a mapping of argument names to values")
    names = {f.name for cls in classes for f in fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{path}: unknown argument {unknown[0]!r}; `{program} --help` lists them")
    if isinstance(values.get("arm"), str):
        values["arm"] = [values["arm"]]
    return values, argv[1:]


def _check_push(run: RunArguments, training: TrainingArguments) -> None:
    """A finished run is pushed by [`publishing.publish`]: the Trainer would send a pickle along."""
    if training.push_to_hub and training.hub_strategy != HubStrategy.END:
        raise ValueError(
            f"--hub_strategy is {training.hub_strategy.value}; allowed: end. During training the Trainer would send "
            "training_args.bin, a pickle that holds paths of this machine"
        )
    if training.push_to_hub and training.hub_model_id is not None and len(run.arm) > 1:
        raise ValueError(
            f"--hub_model_id {training.hub_model_id} names one repository, and {len(run.arm)} arms are trained: leave "
            "it out, and each gets a name of its own"
        )


def _specify(run: RunArguments, training: TrainingArguments, task: Task, protocol: Protocol, arm: Arm) -> RunSpec:
    split = run.split or protocol.split(task)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    if not 0 < run.fraction <= 1:
        raise ValueError(f"--fraction is {run.fraction}; allowed: more than 0, at most 1")
    if arm.shift != "none" and task.discipline != "text":
        raise ValueError(f"arm {arm.name!r} shifts the ids of text, and task {task.name} is {task.discipline}")
    if arm.assignment != "frequent" and task.discipline == "text":
        raise ValueError(f"arm {arm.name!r} assigns subwords to symbols, and task {task.name} is text")
    if run.max_eval_items is not None and run.max_eval_items < 1:
        raise ValueError(f"--max_eval_items is {run.max_eval_items}; allowed: at least 1")
    if not _VARIANT.fullmatch(run.variant):
        raise ValueError(f"--variant is {run.variant!r}; allowed: letters, digits and . _ + = -")
    if run.optimizer is not None and run.optimizer not in OPTIMIZERS:
        near = difflib.get_close_matches(run.optimizer, OPTIMIZERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown optimizer {run.optimizer!r}{hint} Known: {', '.join(OPTIMIZERS)}")
    batch = run.global_batch_size or protocol.global_batch_size
    if batch < 1:
        raise ValueError(f"--global_batch_size is {batch}; allowed: at least 1")
    return RunSpec(
        task=task,
        backbone=resolve_backbone(run.backbone),
        arm=arm,
        protocol=protocol,
        seed=training.seed,
        fraction=run.fraction,
        split=split,
        max_eval_items=run.max_eval_items,
        variant=run.variant,
        data_dir=run.data_dir,
        precision="bfloat16" if training.bf16 else "float16" if training.fp16 else "float32",
        learning_rate=protocol.learning_rate(arm) if training.learning_rate == _BY_ARM else training.learning_rate,
        optimizer=run.optimizer,
        global_batch_size=batch,
        attention_dropout=protocol.attention_dropout if run.attention_dropout is None else run.attention_dropout,
        standardize_targets=(
            protocol.standardize_targets if run.standardize_targets is None else run.standardize_targets
        ),
        stop_at_loss=run.stop_at_loss,
        shortcuts=run.shortcuts,
        resume=run.resume,
        rows_on_device=run.rows_on_device,
        threads=run.threads,
    )
