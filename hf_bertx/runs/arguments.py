"""Options of a run: the command line, a JSON or YAML file, a protocol's defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..arms import Arm, get_arm
from ..backbones import ResolvedBackbone, resolve_backbone
from ..data.own_options import USER_DATA_OPTIONS
from ..data.task_data import check_split
from ..disciplines import get_discipline
from ..protocols import Protocol, get_protocol
from ..registry import unknown
from ..tasks import Task, get_task, rows_folder
from ..tokenization.windows import Windows
from .argument_parser import OneLineParser, precision_defaults, sections_of
from .optimizers import OPTIMIZERS
from .option_checks import check_class_weights, check_has_classes, check_push, check_quick, check_user_data
from .options import COMMON, EXAMPLES, SECTIONS, RunArguments
from .spec import RunSpec
from .training_options import REFUSED, check_given, check_values

_PROGRAM = "bertx train"
_DEFAULTS: dict[str, Any] = {
    "output_dir": "runs",
    "per_device_train_batch_size": 0,  # 0: as many as the global batch size asks for
    "restore_callback_states_from_checkpoint": True,
    "save_total_limit": 2,
    "hub_strategy": "end",
}
_VARIANT = re.compile(r"[\w.+=-]*")


@dataclass(frozen=True)
class ResolvedRun:
    """A [`RunSpec`] with its names looked up and every option resolved: what `training` works on."""

    task: Task
    backbone: ResolvedBackbone
    arm: Arm
    protocol: Protocol
    seed: int
    split: str = "paper"
    fraction: float = 1.0
    variant: str = ""
    data_dir: str | None = None
    precision: str = "float32"
    learning_rate: float = 0.0
    global_batch_size: int = 32
    attention_dropout: float | None = None
    standardize_targets: bool = False
    kmer: int | None = None
    windows: Windows | None = None
    restarts: int = 0
    options: RunArguments = field(default_factory=RunArguments, compare=False)  # as they were given

    @property
    def assignment(self) -> str:
        """Which subwords the symbols get; a protocol may replace `frequent` by `random`."""
        return (
            "random" if self.protocol.random_assignment and self.arm.assignment == "frequent" else self.arm.assignment
        )

    @property
    def special_tokens(self) -> bool:
        """Whether [CLS], [SEP] and the like stand around the symbols."""
        # authors' code: music has neither [CLS] nor [SEP]
        return not (self.protocol.name == "authors" and self.task.discipline == "music")

    def folder(self, root: Path) -> Path:
        """Where the run writes; see [`RunSpec.folder`]."""
        names = (self.options.task, self.arm.name, self.backbone.name, self.protocol.name)
        window, overlap = (None, None) if self.windows is None else astuple(self.windows)
        more = {"kmer": self.kmer, "window": window, "overlap": overlap}
        return RunSpec(*names, self.split, self.seed, self.fraction, self.variant, **more).folder(root)


@dataclass(frozen=True)
class Options:
    """A command line, read and checked; nothing is built or looked for yet.

    Args:
        given: names of the options that the command line or a file sets.
        protocol: gives the defaults of all others.
    """

    run: RunArguments
    training: TrainingArguments
    given: frozenset[str]
    protocol: Protocol

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        """The given ones of these options, by name."""
        every = {**vars(self.training), **vars(self.run)}
        return {name: every[name] for name in names if name in self.given}

    @property
    def user_data(self) -> dict[str, Any]:
        """The given options of a user's own data. Without a switch that is off, so that the data has one folder."""
        return {name: value for name, value in self.values(USER_DATA_OPTIONS).items() if value is not False}


def parse_arguments(argv: list[str]) -> tuple[list[ResolvedRun], TrainingArguments]:
    """[`resolve`] of [`read_options`]; it builds no data."""
    return resolve(read_options(argv))


def read_options(argv: list[str]) -> Options:
    """Reads a command line: the protocol's defaults, under a file (`.yaml` or `.json`, first), under options.

    Raises:
        ValueError: a value that is not allowed, or an option that would not be used; the message names it.
    """
    parser = OneLineParser(
        (RunArguments, TrainingArguments),
        prog=_PROGRAM,
        description="Fine-tunes a text-pretrained encoder on a task, tests it once and saves it. Without any option: "
        "the arm `bert` of dna-splice. Options may come from a YAML or JSON file, named first.",
        epilog=EXAMPLES,
        sections=sections_of(RunArguments, SECTIONS, COMMON, REFUSED),
    )
    argv = parser.expand_file(argv)
    protocol = _protocol_of(argv)
    parser.set_defaults(**_DEFAULTS, **precision_defaults(argv, _PROGRAM), **protocol.training)
    given = parser.given(argv)
    check_given(given)
    run, training = parser.read(argv)
    values = {**vars(training), **vars(run)}
    check_values({name: values[name] for name in given})
    check_user_data(run, given)
    check_quick(run, given)
    check_push(run, training)
    return Options(run, training, frozenset(given), protocol)


def resolve(
    options: Options, build_user_data: Callable[[Options], str] | None = None
) -> tuple[list[ResolvedRun], TrainingArguments]:
    """Looks up the names of a command line, and builds the user's own data.

    Args:
        build_user_data: builds a user's own data, where a `--train_file` is named, and returns its folder.

    Returns:
        One specification an arm, and the `TrainingArguments` they share; `output_dir` is the root of the runs.

    Raises:
        ValueError: an unknown name, or options that do not fit the task.
    """
    run, training = options.run, options.training
    arms = [get_arm(name) for name in run.arm]
    if run.train_file is not None:
        if build_user_data is None:
            raise ValueError("--train_file: this command does not build data; use train.py")
        run.task = build_user_data(options)
    task = get_task(run.task)
    run.data_dir = run.data_dir or rows_folder(run.task)
    if "num_train_epochs" not in options.given:
        training.num_train_epochs = options.protocol.train_epochs(task)
    training.include_num_input_tokens_seen = "non_padding"  # the parser reads this field as a boolean only
    return [_specify(options, task, arm) for arm in arms], training


def _protocol_of(argv: list[str]) -> Protocol:
    """The protocol of a command line; it is read first because defaults of other options depend on it."""
    parser = OneLineParser((), prog=_PROGRAM, add_help=False)
    parser.add_argument("--protocol", default="recommended")
    return get_protocol(parser.parse_known_args(argv)[0].protocol)


def _specify(options: Options, task: Task, arm: Arm) -> ResolvedRun:
    run, training, protocol = options.run, options.training, options.protocol
    split = run.split or protocol.split(task)
    check_split(split)
    arm.check_fits(task.name, task.discipline)
    if run.kmer is not None:
        get_discipline(task.discipline, run.kmer)
    given_rate = "learning_rate" in options.given
    task, windows = windows_of(task, run.window, run.overlap)
    if run.calibrate and training.fsdp:
        raise ValueError("--calibrate and --fsdp are both given; leave one out: no process holds the whole head")
    if training.label_smoothing_factor:
        check_has_classes("label_smoothing_factor", task)
    check_class_weights(run.class_weights, task)
    if not _VARIANT.fullmatch(run.variant):
        raise ValueError(f"--variant is {run.variant!r}; allowed: letters, digits and . _ + = -")
    if run.optimizer is not None and run.optimizer not in OPTIMIZERS:
        raise ValueError(unknown("optimizer", run.optimizer, OPTIMIZERS))
    return ResolvedRun(
        task=task,
        backbone=resolve_backbone(run.backbone),
        arm=arm,
        protocol=protocol,
        seed=training.seed,
        fraction=run.fraction,
        split=split,
        variant=run.variant,
        data_dir=run.data_dir,
        precision="bfloat16" if training.bf16 else "float16" if training.fp16 else "float32",
        learning_rate=training.learning_rate if given_rate else protocol.learning_rate(arm, task),
        global_batch_size=run.global_batch_size or protocol.global_batch_size,
        attention_dropout=protocol.attention_dropout if run.attention_dropout is None else run.attention_dropout,
        standardize_targets=(
            protocol.standardize_targets if run.standardize_targets is None else run.standardize_targets
        ),
        kmer=run.kmer,
        options=run,
        windows=windows,
        restarts=protocol.restarts if run.restarts is None else run.restarts,
    )


def windows_of(task: Task, window: int | None, overlap: int | None) -> tuple[Task, Windows | None]:
    """The windows that long items are read in, and the task of items as short as they are.

    Raises:
        ValueError: a number that is not allowed, or items that are not cut into windows.
    """
    if window is None:
        if overlap is not None:
            raise ValueError(f"--overlap is {overlap}, but --window is missing")
        return task, None
    why = "text has no symbols" if task.discipline == "text" else "its items are pairs" if task.pair else None
    why = "its items are segments of pieces already" if task.votes else why
    if why is not None:
        raise ValueError(f"--window cannot be used with task {task.name}: {why}")
    return replace(task, max_length=window + 3), Windows(window, overlap or 0)  # at most three special tokens
