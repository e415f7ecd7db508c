"""What this project promises of its speed, as data, and the measured figures beside it. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_bertx.run_files import read_json, write_json

RESULTS = Path(__file__).parent / "results"
MET, MISSED, ABSENT = "met", "missed", "not measured"
NO_BFLOAT16 = "needs bfloat16 in hardware"
_PEAKS = "cases {} peak_operations_a_second bfloat16"


@dataclass(frozen=True)
class Goal:
    """One promise.

    Args:
        what: a phrase that ends with what is compared or counted.
        bound: what the figure has to reach, or where `at_most` is true must not exceed.
        figure: the JSON file in the folder of results, and a path of keys in it, or two whose quotient counts. Keys
            are separated by blanks, with `+` for a blank; `PRECISION` stands for that of `precision` in the file.
        bfloat16: the goal holds for a machine that multiplies bfloat16 in hardware.
        unit: after the figure.
    """

    what: str
    bound: float
    figure: tuple[str, ...]
    at_most: bool = False
    bfloat16: bool = False
    unit: str = ""


def _step(name: str, case: str, bound: float, bfloat16: bool = False) -> Goal:
    figure = ("finetuning", f"cases {case} ratios stock median")
    return Goal(f"a fine-tuning step of {name}, times the example script's speed", bound, figure, False, bfloat16,
                "times")  # fmt: skip


def _share(name: str, case: str, loop: str, bound: float) -> Goal:
    figure = ("finetuning", f"cases {case} loops {loop} operations_a_second", _PEAKS.format(case))
    return Goal(f"share of the bfloat16 matrix peak, a step of {name}", bound, figure, bfloat16=True)


def _predicted(case: str, precision: str) -> tuple[str, str]:
    return "prediction", f"cases {case} ratios {precision}"


def _apart(case: str, precision: str, bound: float) -> Goal:
    figure = ("prediction", f"cases {case} scores_apart {precision}")
    return Goal(f"scores of {case} in {precision}, apart", bound, figure, True, precision == "bfloat16")


_MEMORY = "cases h3 loops {} peak_memory_mb"
_TOKENIZED = "tokenization into {}, times symbol by symbol"
_STARTS = {"import hf_bertx": 0.2, "bertx --help": 0.6, "bertx tasks": 0.6, "first training step": 15.0}
_PREDICTED = "prediction of {} {}, times the pipeline's speed"
_BOTH = ("splice", "proteins")
CPU_GOALS = (
    _step("splice", "splice", 2, True),
    _step("MAESTRO segments", "maestro", 3, True),
    _step("H3", "h3", 6, True),
    _share("H3", "h3", "ours", 0.5),
    Goal("peak memory of a step of H3, of the example script's", 0.6,
         ("finetuning", _MEMORY.format("ours"), _MEMORY.format("stock")), at_most=True),
    *(Goal(_PREDICTED.format(c, "as it comes"), 4, _predicted(c, "PRECISION"), False, True, "times") for c in _BOTH),
    *(Goal(_PREDICTED.format(c, "in float32"), 4, _predicted(c, "float32"), False, True, "times") for c in _BOTH),
    *(_apart(case, "float32", 1e-4) for case in _BOTH),
    *(_apart(case, "bfloat16", 1e-2) for case in _BOTH),
    Goal(_TOKENIZED.format("lists"), 5, ("tokenization", "ratios lists symbol+by+symbol"), unit="times"),
    Goal(_TOKENIZED.format("flat arrays"), 20, ("tokenization", "ratios flat+arrays symbol+by+symbol"), unit="times"),
    *(
        Goal(name, bound, ("startup", f"median_seconds {name.replace(' ', '+')}"), at_most=True, unit="s")
        for name, bound in _STARTS.items()
    ),
    Goal("time to quality: original file to saved model", 480, ("quality", "ours seconds"), True, True, "s"),
    Goal("time to quality: accuracy on test", 0.83, ("quality", "ours accuracy test"), bfloat16=True),
    Goal("time to 0.80 on test, share of the example script's", 1 / 30, ("quality", "reached seconds", "peer seconds"),
         at_most=True, bfloat16=True),
    Goal("planning 10,000 runs", 5, ("startup", "median_seconds planning+10,000+runs"), at_most=True, unit="s"),
)  # fmt: skip
GPU_GOALS = (
    _step("H3", "h3", 3),
    _step("H3 (12 x 768)", "h3-base", 3),
    _share("12 x 768, as it comes", "h3-base", "ours", 0.45),
    _share("12 x 768, compiled", "h3-base", "compiled", 0.45),
)


def outcomes(goals: tuple[Goal, ...], folder: Path) -> list[tuple[Goal, float | None, str]]:
    """Every goal, its figure and a verdict: one of the four above."""
    return [(goal, *_outcome(goal, folder)) for goal in goals]


def _outcome(goal: Goal, folder: Path) -> tuple[float | None, str]:
    file, *paths = goal.figure
    path = folder / f"{file}.json"
    content = read_json(path) if path.is_file() else {}
    values = [_at(content, keys) for keys in paths]
    figure = None if None in values else values[0] if len(values) == 1 else values[0] / values[1]
    if figure is not None and (figure <= goal.bound if goal.at_most else figure >= goal.bound):
        return figure, MET
    if goal.bfloat16 and content.get("fast_bfloat16") is False:
        return figure, NO_BFLOAT16
    return figure, ABSENT if figure is None else MISSED


def _at(content: Any, keys: str) -> Any:
    """The number at a path of keys; None where the path ends before it."""
    precision = content.get("precision")
    for key in keys.split():
        content = content.get(precision if key == "PRECISION" else key.replace("+", " "))
        if content is None:
            return None
    return content


def lines(judged: list[tuple[Goal, float | None, str]]) -> list[str]:
    """The outcomes as a table of Markdown."""
    rows = ["| goal | stated | measured | |", "|---|---:|---:|---|"]
    for goal, figure, verdict in judged:
        stated = f"{'at most' if goal.at_most else 'at least'} {_number(goal.bound, goal.unit)}"
        measured = "" if figure is None else _number(figure, goal.unit)
        rows.append(f"| {goal.what} | {stated} | {measured} | {verdict} |")
    return rows


def _number(value: float, unit: str) -> str:
    return f"{f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'} {unit}".strip()


def benchmark(doc: str, measure: Callable[..., dict[str, Any]], argv: list[str] | None = None, **defaults: Any) -> int:
    """A command line that measures and writes the figures, with machine and versions, to a JSON file.

    `defaults` are those of the options that `measure` takes; where one is a list, only its values are allowed.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    for name, default in defaults.items():
        listed = isinstance(default, list)
        several: dict[str, Any] = {"nargs": "+", "choices": default, "metavar": "NAME"} if listed else {}
        kind = type(default[0] if listed else default)
        parser.add_argument(f"--{name}", type=kind, default=default, help="default: %(default)s", **several)
    options = parser.parse_args(argv)
    for name, value in vars(options).items():
        if isinstance(value, int) and value < 1:
            parser.error(f"--{name} {value} is not allowed: a whole number, 1 or more")
    figures = measure(options)
    if options.output is not None:
        from hf_bertx.runs.order import machine, versions

        write_json(options.output, {**figures, "machine": machine(), "versions": versions()})
    return 0
