"""What was promised of this project's speed, as data, and whether figures that were measured keep it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_bertx.run_files import read_json

RESULTS = Path(__file__).parent / "results"
ANOTHER_CLASS = RESULTS / "no-bfloat16"  # figures of processors that have no bfloat16 in hardware
MET, MISSED, ABSENT = "met", "missed", "not measured"
NO_BFLOAT16 = "not for this machine: its processor has no bfloat16"
AT_MOST = "; in float32, at its matrix peak, {:.1f} times would be the most"
BEYOND = "not for this machine: at its matrix peak, {:.1f} times would be the most"


@dataclass(frozen=True)
class Goal:
    """One promise.

    Args:
        what: a phrase that ends with what is compared or counted.
        bound: what the figure has to reach, or where `at_most` is true must not exceed.
        file: of the figures, below `benchmarks/results`.
        figure: takes the file's content; None where it holds no such figure.
        bfloat16: set for a machine that multiplies bfloat16 in hardware; on one of another class it is measured all
            the same, and not counted as missed.
        ceiling: of the figure on the same machine (in float32 where the goal is one of bfloat16), were all of our
            products done at the measured peak and nothing else; a goal beyond it is not counted as missed.
        unit: after the figure.
    """

    what: str
    bound: float
    file: str
    figure: Callable[[dict[str, Any]], float | None]
    at_most: bool = False
    bfloat16: bool = False
    ceiling: Callable[[dict[str, Any]], float | None] | None = None
    unit: str = "times"


@dataclass(frozen=True)
class Outcome:
    """A goal beside its figure; `verdict` is one of met, missed, not measured, or says why it does not apply."""

    goal: Goal
    figure: float | None
    verdict: str


def _at(*path: str) -> Callable[[dict[str, Any]], float | None]:
    """The number at a path of names; None where the path ends before it."""

    def find(content: dict[str, Any]) -> float | None:
        found: Any = content
        for name in path:
            if not isinstance(found, dict) or name not in found:
                return None
            found = found[name]
        return None if found is None else float(found)

    return find


def _quotient(over: Callable[[dict[str, Any]], float | None], under: Callable[[dict[str, Any]], float | None]) -> Any:
    def find(content: dict[str, Any]) -> float | None:
        a, b = over(content), under(content)
        return None if a is None or not b else a / b

    return find


def _ratio(case: str) -> Any:
    return _at("cases", case, "ratios", "stock", "median")


def _ceiling(case: str) -> Any:
    """How many times the example script's speed a step would have if it were nothing but products at their peak."""
    ideal = _quotient(_loop(case, "ours", "operations_a_step"), _at("peak_operations_a_second", "float32"))
    return _quotient(_loop(case, "stock", "median_seconds"), ideal)


def _prediction(case: str, precision: str | None) -> Any:
    """How many times the pipeline's rate items came at; in the precision that is taken as it comes for None."""
    return lambda content: _at("cases", case, "ratios", precision or content.get("precision", ""))(content)


def _prediction_ceiling(case: str, precision: str | None) -> Any:
    """How many times the pipeline's rate items would come at if they took nothing but products at their peak.

    Those of attention at the peak of such products, where that was measured.
    """

    def find(content: dict[str, Any]) -> float | None:
        side = precision or content.get("precision", "")
        operations = _at("cases", case, "operations_an_item")(content)
        peak = _at("peak_operations_a_second", side)(content)
        if operations is None or peak is None:
            return None
        of_attention = _at("cases", case, "attention_operations_an_item")(content) or 0.0
        attention_peak = _at("attention_peak_operations_a_second", side)(content) or peak
        seconds = (operations - of_attention) / peak + of_attention / attention_peak
        return 1 / seconds / statistics.median(content["cases"][case]["items_a_second"]["peer"])

    return find


def _loop(case: str, loop: str, figure: str) -> Any:
    return _at("cases", case, "loops", loop, figure)


def _of_bfloat16_peak(case: str, loop: str = "ours") -> Any:
    """In bfloat16 only: a step in another precision is measured beside another peak."""
    share = _quotient(
        _loop(case, loop, "operations_a_second"), _at("cases", case, "peak_operations_a_second", "bfloat16")
    )

    def find(content: dict[str, Any]) -> float | None:
        loops = content.get("cases", {}).get(case, {}).get("loops", {})
        return share(content) if loops.get(loop, {}).get("precision") == "bfloat16" else None

    return find


_CPU, _GPU, _PREDICTION = "finetuning-cpu.json", "finetuning-gpu.json", "inference.json"
_MEMORY = _quotient(_loop("h3", "ours", "peak_memory_mb"), _loop("h3", "stock", "peak_memory_mb"))
_STEP = "a fine-tuning step of {}, times the example script's speed"

_PEER = "symbol by symbol"

CPU_GOALS = (
    *(
        Goal(_STEP.format(name), bound, _CPU, _ratio(case), bfloat16=True, ceiling=_ceiling(case))
        for name, case, bound in (("splice", "splice", 2), ("MAESTRO segments", "maestro", 3), ("H3", "h3", 6))
    ),
    Goal(
        "share of the bfloat16 matrix peak, a step of H3", 0.5, _CPU, _of_bfloat16_peak("h3"), bfloat16=True, unit=""
    ),
    Goal("peak memory of a step of H3, of the example script's", 0.6, _CPU, _MEMORY, at_most=True, unit=""),
    *(
        Goal(
            f"prediction of {case} {how}, times the pipeline's speed",
            4,
            _PREDICTION,
            _prediction(case, precision),
            bfloat16=True,
            ceiling=_prediction_ceiling(case, precision),
        )
        for how, precision in (("as it comes", None), ("in float32", "float32"))
        for case in ("splice", "proteins")
    ),
    *(
        Goal(
            f"scores of {case} in {precision}, apart",
            bound,
            _PREDICTION,
            _at("cases", case, "scores_apart", precision),
            at_most=True,
            bfloat16=precision == "bfloat16",
            unit="",
        )
        for precision, bound in (("float32", 1e-4), ("bfloat16", 1e-2))
        for case in ("splice", "proteins")
    ),
    Goal(
        "memory of predicting 1,000,000 sequences above that of 200,000",
        32,
        "prediction_memory.json",
        _at("more_mb"),
        at_most=True,
        unit="MB",
    ),
    *(
        Goal(
            f"tokenization into {form}, times symbol by symbol", bound, "tokenization.json", _at("ratios", form, _PEER)
        )
        for form, bound in (("lists", 5), ("flat arrays", 20))
    ),
    *(
        Goal(name, bound, "startup.json", _at("median_seconds", name), at_most=True, unit="s")
        for name, bound in (
            ("import hf_bertx", 0.2),
            ("bertx --help", 0.6),
            ("bertx tasks", 0.6),
            ("first training step", 15),
            ("planning 10,000 runs", 5),
        )
    ),
)
GPU_GOALS = (
    Goal(_STEP.format("H3"), 3, _GPU, _ratio("h3")),
    Goal(_STEP.format("H3 (12 x 768)"), 3, _GPU, _ratio("h3-base")),
    *(
        Goal(
            f"share of the bfloat16 matrix peak, a step of 12 x 768, {how}",
            0.45,
            _GPU,
            _of_bfloat16_peak("h3-base", loop),
            unit="",
        )
        for how, loop in (("as it comes", "ours"), ("compiled", "compiled"))
    ),
)


def results_folder(device: str) -> Path:
    """Where the figures of this machine belong, by its class."""
    from hf_bertx.run_arguments import fast_bfloat16  # torch, which the tables need not wait for

    return ANOTHER_CLASS if device == "cpu" and not fast_bfloat16(use_cpu=True) else RESULTS


def repaid(case: dict[str, Any]) -> str:
    """After how many steps a compiled run of a case is done sooner than another, by the ratio of its rounds."""
    ours, compiled, ratio = case["loops"]["ours"], case["loops"]["compiled"], case["ratios"]["compiled"]
    if ratio["highest"] >= 1:
        return f"never, as far as {ratio['rounds']} rounds tell"
    compiling = max(0.0, compiled["first_step_seconds"] - ours["first_step_seconds"])
    return f"after {math.ceil(compiling / (ours['median_seconds'] * (1 - ratio['median']))):,} steps"


def outcomes(goals: tuple[Goal, ...], folder: Path = RESULTS) -> list[Outcome]:
    """Every goal beside the figure in the folder's files."""
    return [_outcome(goal, folder) for goal in goals]


def _outcome(goal: Goal, folder: Path) -> Outcome:
    path = folder / goal.file
    content = read_json(path) if path.is_file() else {}
    figure = goal.figure(content)
    if figure is not None and (figure <= goal.bound if goal.at_most else figure >= goal.bound):
        return Outcome(goal, figure, MET)
    most = None if goal.ceiling is None or not content else goal.ceiling(content)
    beyond = most is not None and most < goal.bound
    if goal.bfloat16 and content and not content["fast_bfloat16"]:
        return Outcome(goal, figure, NO_BFLOAT16 + ("" if most is None else AT_MOST.format(most)))
    if figure is not None and beyond and most is not None:
        return Outcome(goal, figure, BEYOND.format(most))
    return Outcome(goal, figure, ABSENT if figure is None else MISSED)


def lines(found: list[Outcome]) -> list[str]:
    """The outcomes as a table of Markdown."""
    rows = ["| goal | stated | measured | |", "|---|---:|---:|---|"]
    for outcome in found:
        goal = outcome.goal
        stated = f"{'at most' if goal.at_most else 'at least'} {_number(goal.bound, goal.unit)}"
        measured = "" if outcome.figure is None else _number(outcome.figure, goal.unit)
        rows.append(f"| {goal.what} | {stated} | {measured} | {outcome.verdict} |")
    return rows


def _number(value: float, unit: str) -> str:
    return f"{f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'} {unit}".strip()
