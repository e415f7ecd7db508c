"""Command lines and files of arguments -> dataclasses; each error is one line."""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import textwrap
from collections.abc import Collection
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.integrations import get_reporting_integration_callbacks
from transformers.utils import logging

from ..data.sequence_files import parse_json
from ..data.text_files import open_text, read_yaml
from ..processor import uses_bfloat16
from .spec import option_words

logger = logging.get_logger(__name__)

# The Trainer's own options, on and off -> the precision whose defaults do not contradict them.
_SWITCHES = {"bf16": ("bfloat16", "float32"), "fp16": ("float32", "auto")}
Sections = dict[str, dict[str, str]]  # title -> name of a field -> its help; an empty one: the parser's own


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Adds the default to a help text that does not mention it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        known = action.default in (None, [], "", False) or "default" in (action.help or "")
        return action.help if known else super()._get_help_string(action)


def sections_of(arguments: type, begin: dict[str, str], common: Sections, hidden: Collection[str]) -> Sections:
    """The sections of a help: the fields of a dataclass of ours, then those of `TrainingArguments`.

    Args:
        begin: first field of a section -> its title.
        common: fields of `TrainingArguments` that belong to a section too, by its title, with their help.
        hidden: fields of `TrainingArguments` that are refused.
    """
    sections: Sections = {}
    title = ""
    for f in fields(arguments):
        title = begin.get(f.name, title)
        sections.setdefault(title, {})[f.name] = ""
    for title, names in common.items():
        sections[title] |= names
    shown = {name for names in sections.values() for name in names}
    rest = dict.fromkeys((f.name for f in fields(TrainingArguments) if f.init and f.name not in {*shown, *hidden}), "")
    return {**sections, "Other arguments of transformers.TrainingArguments": rest}


class OneLineParser(HfArgumentParser):
    """An argument error is one line that names the allowed values. Names are not abbreviated.

    Args:
        sections: of the help. Fields that are in none are not shown.
    """

    def __init__(self, *classes: Any, sections: Sections | None = None, **settings: Any) -> None:
        super().__init__(*classes, allow_abbrev=False, **settings)
        self.sections = sections or {}

    def format_help(self) -> str:
        """The help by sections, each option once."""
        formatter = _HelpFormatter(self.prog, max_help_position=30)
        formatter.add_text(f"usage: {self.prog} [FILE.yaml] [--OPTION VALUE ...]")
        formatter.add_text(textwrap.fill(self.description or "", 100))
        actions = {action.dest: action for action in reversed(self._actions) if action.option_strings}
        for title, names in self.sections.items():
            formatter.start_section(title)
            for name, text in names.items():
                action = copy.copy(actions[name])
                action.option_strings = [option for option in action.option_strings if "-" not in option[2:]]
                action.metavar, action.help = _metavar(action), text or action.help
                formatter.add_argument(action)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def error(self, message: str) -> Any:
        raise ValueError(f"{message}. `{self.prog} --help` explains each argument")

    def given(self, argv: list[str]) -> set[str]:
        """The names of the fields that a command line sets.

        Raises:
            ValueError: an unknown option, with the nearest known one.
        """
        names = {option.lstrip("-"): action.dest for action in self._actions for option in action.option_strings}
        words = [word.partition("=")[0].lstrip("-") for word in argv if word.startswith("--")]
        stray = next((word for word in words if word not in names), None)
        if stray is not None:
            near = difflib.get_close_matches(stray, names, n=1)
            hint = f"; did you mean --{near[0]}?" if near else "."
            raise ValueError(f"unknown argument {stray!r}{hint} `{self.prog} --help` explains each argument")
        return {names[word] for word in words}

    def read(self, argv: list[str]) -> tuple[Any, ...]:
        """The dataclasses of a command line.

        Raises:
            ValueError: a value that is not allowed, or a word that belongs to no option.
        """
        try:
            *parsed, rest = self.parse_args_into_dataclasses(
                argv, look_for_args_file=False, return_remaining_strings=True
            )
        except json.JSONDecodeError as error:  # of an option that takes named values
            self.error(f"{error.doc!r} is not JSON ({error.msg})")
        except ValueError as error:
            if "requires an eval strategy" not in str(error):
                raise
            self.error("--lr_scheduler_type reduce_lr_on_plateau cannot be set: a rate depends on the step alone here")
        self._check_rest(rest)
        training = next(arguments for arguments in parsed if isinstance(arguments, TrainingArguments))
        _check_machine(training)
        if training.mixed_precision != "no" and not (training.fp16 or training.bf16):  # of accelerate's configuration
            logger.warning_once(
                f"accelerate's mixed_precision {training.mixed_precision} is not used: the precision is float32, see "
                "--precision"
            )
            training.mixed_precision = "no"
        return tuple(parsed)

    def _check_rest(self, rest: list[str]) -> None:
        if rest:
            self.error(f"{rest[0]!r} belongs to no option: the one before it takes a single value")

    def expand_file(self, argv: list[str]) -> list[str]:
        """A command line with the options of the YAML or JSON file that it may begin with, ahead of its own.

        Raises:
            ValueError: a file that is missing, or holds something other than these options and their values.
        """
        if not argv or argv[0].startswith("-"):
            return argv
        path = Path(argv[0])
        if path.suffix not in (".json", ".yaml", ".yml"):
            raise ValueError(
                f"{argv[0]!r}: arguments start with --, or come from a .yaml or .json file named first; a file of "
                "sequences is named by --train_file"
            )
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        values = _read_mapping(path)
        if not isinstance(values, dict):
            raise ValueError(f"{path}: holds {type(values).__name__}, not a mapping of argument names to values")
        for name, value in values.items():
            items = value if isinstance(value, list) else [value]
            if not all(isinstance(item, (str, int, float, bool, dict)) for item in items):
                raise ValueError(f"{path}: {name} is {value!r}; give a value or a list")
        words = option_words(values)
        try:
            self.given(words)
            self._check_rest(self.parse_known_args(words)[1])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return [*words, *argv[1:]]


def _check_machine(training: TrainingArguments) -> None:
    """Checks what the Trainer would refuse when data and model are loaded, and what accelerate would ignore.

    Raises:
        ValueError: a tracker that is unknown or not installed, or an option that needs a GPU.
    """
    if training.use_cpu or not torch.accelerator.is_available():
        for name, instead in (("fsdp", "trains unsharded replicas"), ("fp16", "computes in float32")):
            if getattr(training, name):
                raise ValueError(f"--{name} needs a GPU: on a CPU accelerate {instead}, without a word")
    try:
        for callback in get_reporting_integration_callbacks(training.report_to):
            callback()
    except (ValueError, RuntimeError, ImportError) as error:
        raise ValueError(f"--report_to: {error}") from None


def _metavar(action: argparse.Action) -> str:
    if action.nargs == "?":
        return "BOOL"
    return {int: "N", float: "X"}.get(action.type, action.dest.rpartition("_")[2].upper())  # type: ignore[call-overload]


def _read_mapping(path: Path) -> Any:
    if path.suffix != ".json":
        return read_yaml(path)
    with open_text(path) as file:
        return parse_json(file.read(), path, 1)


def precision_defaults(argv: list[str], program: str) -> dict[str, Any]:
    """Fields of `TrainingArguments` that follow from `--precision`, `--bf16`, `--fp16` and `--use_cpu`.

    They have to be set at construction. On a CPU, bfloat16 also needs `use_cpu`.

    Raises:
        ValueError: an unknown precision.
    """
    parser = OneLineParser((), prog=program, add_help=False)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--use_cpu", "--use-cpu", nargs="?", const=True, type=string_to_bool, default=False)
    for name in _SWITCHES:
        stored: dict[str, Any] = {"dest": "precision", "type": partial(_precision, name), "default": argparse.SUPPRESS}
        parser.add_argument(f"--{name}", nargs="?", const="true", **stored)
    known, _ = parser.parse_known_args(argv)
    bfloat16 = uses_bfloat16(known.precision, known.use_cpu)
    defaults = {"bf16": bfloat16, "dataloader_pin_memory": torch.cuda.is_available() and not known.use_cpu}
    if bfloat16:
        defaults["use_cpu"] = known.use_cpu or not torch.accelerator.is_available()
    return defaults


def _precision(switch: str, value: str) -> str:
    on, off = _SWITCHES[switch]
    return on if string_to_bool(value) else off
