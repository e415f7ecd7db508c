"""Command lines and files of arguments -> dataclasses; each error is one line."""

from __future__ import annotations

import argparse
import copy
import difflib
import textwrap
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from ..data.sequence_files import parse_json
from ..data.text_files import open_text, read_yaml

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
        *parsed, rest = self.parse_args_into_dataclasses(argv, look_for_args_file=False, return_remaining_strings=True)
        if rest:
            self.error(f"{rest[0]!r} belongs to no option: the one before it takes a single value")
        return tuple(parsed)


def _metavar(action: argparse.Action) -> str:
    if action.nargs == "?":
        return "BOOL"
    return {int: "N", float: "X"}.get(action.type, action.dest.rpartition("_")[2].upper())  # type: ignore[call-overload]


def read_arguments_file(argv: list[str], classes: tuple[type, ...], program: str) -> tuple[dict[str, Any], list[str]]:
    """The arguments of a YAML or JSON file that may come first, and the rest of the command line.

    Raises:
        ValueError: a file that is missing, or holds something other than arguments of these dataclasses.
    """
    if not argv or argv[0].startswith("-"):
        return {}, argv
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
    names = {f.name for cls in classes for f in fields(cls)}
    stray = sorted(str(name) for name in set(values) - names)
    if stray:
        near = difflib.get_close_matches(stray[0], names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise ValueError(f"{path}: unknown argument {stray[0]!r}{hint} `{program} --help` lists them")
    return _typed(values, classes, path, program), argv[1:]


def _read_mapping(path: Path) -> Any:
    if path.suffix != ".json":
        return read_yaml(path)
    with open_text(path) as file:
        return parse_json(file.read(), path, 1)


def _typed(values: dict[str, Any], classes: tuple[type, ...], path: Path, program: str) -> dict[str, Any]:
    """Values of a file, converted as on the command line: YAML reads `1e-5` as a string."""
    parser = OneLineParser(classes, prog=program)
    actions = {action.dest: action for action in reversed(parser._actions) if action.option_strings}
    out: dict[str, Any] = {}
    for name, value in values.items():
        action = actions[name]
        if isinstance(value, dict) and name.endswith(("_kwargs", "_config")):
            out[name] = value
            continue
        many = action.nargs == "+"
        items = value if many and isinstance(value, list) else [value]
        if not items or not all(isinstance(item, (str, int, float, bool)) for item in items):
            raise ValueError(f"{path}: {name} is {value!r}; give a value{' or a list' if many else ''}")
        try:
            kept = () if many or action.type in (int, float) else bool
            typed = [item if isinstance(item, kept) else parser._get_value(action, str(item)) for item in items]
            for item in typed if action.choices is not None else ():
                parser._check_value(action, item)
        except argparse.ArgumentError as error:
            raise ValueError(f"{path}: {name}: {error.message}") from None
        out[name] = typed if many else typed[0]
    return out
