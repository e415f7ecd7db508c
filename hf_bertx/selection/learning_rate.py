"""A learning rate for a task: three short trials, judged on validation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

from ..launch import Prepared, train_plan
from ..runs.arguments import ResolvedRun
from ..runs.run import Run

_FACTORS = (1 / 3, 1.0, 3.0)
_SHARE = 0.1  # of the steps
TRIALS = ".trials"  # folder below the runs, which reports and uploads pass over


def find_learning_rate(
    prepared: Prepared, plan: ResolvedRun, print_line: Callable[[str], None]
) -> tuple[ResolvedRun, list[dict[str, float]]]:
    """Trains with a third of the rate, the rate, and three times it, for a tenth of the steps each.

    The trials are ordinary runs below `.trials/`; nothing of them depends on the test items.

    Returns:
        The run with the rate that scores best on validation, of equal ones the rate as it was, else the lowest; and
        each rate with its score.

    Raises:
        ValueError: the task is tested on its validation set.
    """
    if plan.task.test_split == "validation":
        raise ValueError(f"--find_learning_rate: {plan.task.name} is tested on its validation set")
    args = copy.deepcopy(prepared.args)
    args.output_dir = str(prepared.root / TRIALS)
    args.num_train_epochs *= _SHARE
    args.max_steps = max(1, round(args.max_steps * _SHARE)) if args.max_steps > 0 else -1
    short = replace(prepared, args=args)
    tried: list[dict[str, float]] = []
    for factor in _FACTORS:
        rate = plan.learning_rate if factor == 1 else float(f"{plan.learning_rate * factor:.1g}")
        trial = replace(plan, learning_rate=rate, restarts=0, variant=f"{plan.variant}rate={rate:g}")
        score = Run.open_finished(train_plan(short, trial)).score("validation", plan.task.metric)
        assert score is not None  # the run is finished
        tried.append({"learning_rate": rate, "validation": score})
        print_line(
            f"  learning rate {rate:g}: {plan.task.metric} {score:.3f} on validation, after a tenth of the steps"
        )
    return replace(plan, learning_rate=best_rate(tried, plan.learning_rate)), tried


def best_rate(tried: list[dict[str, float]], usual: float) -> float:
    """The rate with the best score; of equal ones the usual rate, else the lowest."""
    best = max(each["validation"] for each in tried)
    equal = [each["learning_rate"] for each in tried if each["validation"] == best]
    return usual if usual in equal else min(equal)
