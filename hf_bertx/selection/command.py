"""`bertx train` and `train.py`: fast first, then fine; the model that is best on validation is kept."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..data.task_data import load_task_data
from ..launch import Prepared, prepare, train_plan
from ..runs.arguments import Options, ResolvedRun, read_options
from ..runs.calibration import check_calibration
from ..runs.run import Run
from ..runs.spec import ALL
from .candidates import FINE_TUNED, PROBE, Candidate, fit_baselines, fit_probe
from .comparison import compare_candidates, record, table
from .learning_rate import find_learning_rate

_PLAIN, _NONE = "plain", "none"
PrintLine = Callable[[str], None]


def train_command(argv: list[str], print_line: PrintLine = lambda line: print(line, flush=True)) -> Path:
    """Carries out a command line.

    With data of the user's own, or `--baselines plain`, or `--quick`: plain baselines and a probe first, each shown
    with its score on validation; then the runs, one an arm (`--quick` leaves them out); then one table. The model with
    the best score on validation is kept.

    Args:
        print_line: is given each line for the user, in the main process.

    Returns:
        The folder of the run whose model is kept; without anything to choose from, of the last run.

    Raises:
        ValueError, OSError: an order that cannot be carried out.
    """
    options = read_options(argv)
    items, baselines = _checked(options)
    if options.run.folds is not None:
        from .cross_validation import cross_validate

        return cross_validate(options, print_line)
    print_line = print_line if PartialState().is_main_process else lambda line: None
    prepared = prepare(options)
    plan = prepared.plans[0]
    if baselines is None:
        baselines = not plan.task.hosted
    look = baselines or options.run.quick or (not plan.task.hosted and items != 0)
    if look and plan.task.test_split == "validation":
        raise ValueError(f"{plan.task.name} is tested on its validation set, so that no model may be chosen on it")
    candidates = _first_look(plan, prepared.root, baselines, items, options.run.quick, print_line) if look else []
    trained = [] if options.run.quick else _train(prepared, options.run.find_learning_rate, print_line)
    PartialState().wait_for_everyone()
    if not PartialState().is_main_process:
        return trained[-1].run.folder if trained else prepared.root
    if not look:
        for candidate in trained:
            if prepared.push is not None:
                prepared.push(candidate.run.folder)
        return trained[-1].run.folder
    return _keep([*trained, *reversed(candidates)], prepared, print_line)


def _checked(options: Options) -> tuple[int | str, bool | None]:
    """The items of the probe, and whether baselines are fitted; None where the task decides.

    Raises:
        ValueError: a value that is not allowed.
    """
    items, baselines = options.run.probe_items, options.run.baselines
    if items != ALL and not (items.isdigit() and items != "1"):
        raise ValueError(f"--probe_items is {items!r}; allowed: a number from 2 on, {ALL}, or 0 for no probe")
    if baselines not in (None, _PLAIN, _NONE):
        raise ValueError(f"--baselines is {baselines!r}; allowed: {_PLAIN}, {_NONE}")
    arms = options.run.arm
    twice = next((arm for arm in arms if arms.count(arm) > 1), None)
    if twice is not None:  # its runs would be counted twice
        raise ValueError(f"--arm names {twice} twice; leave one out")
    if options.run.quick and items == "0":
        raise ValueError("--quick saves the probe, and --probe_items 0 leaves it out")
    if options.run.quick and len(arms) > 1:
        raise ValueError(
            f"--quick saves one probe; name one arm, or compare them with bertx probe --arm {' '.join(arms)}"
        )
    return items if items == ALL else int(items), None if baselines is None else baselines == _PLAIN


def _first_look(
    plan: ResolvedRun, root: Path, baselines: bool, items: int | str, quick: bool, print_line: PrintLine
) -> list[Candidate]:
    """Fits baselines and probe in the main process."""
    if not PartialState().is_main_process:
        return []
    data = load_task_data(plan.task, plan.split, plan.data_dir)
    if plan.options.calibrate:  # before fitting, which takes minutes
        check_calibration(plan.task, len(data.splits["validation"]))
    data.log_summary(print_line)
    print_line(f"First, what takes seconds to minutes ({plan.task.metric} on validation):")
    candidates: list[Candidate] = []
    started = time.perf_counter()

    def show(candidate: Candidate, about: str = "") -> None:
        nonlocal started
        seconds, started = time.perf_counter() - started, time.perf_counter()
        print_line(f"  {candidate.name:18} {candidate.validation:.3f}  {seconds:5.0f} s{about}")
        candidates.append(candidate)

    for candidate in fit_baselines(plan, root) if baselines else ():
        show(candidate)
    if items == 0:
        return candidates
    try:
        probe = fit_probe(plan, root, items)
    except ValueError as error:
        if quick:
            raise
        print_line(f"  {PROBE:18} left out: {error}")
        return candidates
    results = probe.run.results or {}
    show(
        probe,
        f"  frozen {plan.backbone.name}, a closed-form head on layer {results['chosen']['layer']}, "
        f"{results['train_items']} training items",
    )
    print_line(f"  a model already: {probe.run.model_dir}")
    return candidates


def _train(prepared: Prepared, find_rate: bool, print_line: PrintLine) -> list[Candidate]:
    candidates = []
    for plan in prepared.plans:
        more: dict[str, Any] = {}
        if find_rate:
            print_line("Looking for a learning rate:")
            plan, tried = find_learning_rate(prepared, plan, print_line)
            more = {"learning_rates_tried": tried}
        print_line(f"Now fine-tuning {plan.backbone.name} (arm {plan.arm.name}, learning rate {plan.learning_rate:g})")
        candidate = Candidate(
            FINE_TUNED,
            FINE_TUNED if len(prepared.plans) == 1 else f"{FINE_TUNED} {plan.arm.name}",
            Run.open_finished(train_plan(prepared, plan)),
        )
        if more and PartialState().is_main_process:
            record(candidate.run, more)
        print_line(f"wrote {candidate.run.folder}")
        candidates.append(candidate)
    return candidates


def _keep(candidates: list[Candidate], prepared: Prepared, print_line: PrintLine) -> Path:
    """Shows the table, records it in every model's results and card, and publishes the model that is kept."""
    compared = compare_candidates(candidates)
    for candidate in candidates:
        if candidate.run.model_dir.is_dir():
            record(candidate.run, {"comparison": compared})
    kept = next(candidate.run for candidate in candidates if candidate.name == compared["kept"])
    for line in table(compared):
        print_line(line)
    print_line(f"Kept, the best model on validation: {kept.model_dir} (its card: README.md)")
    print_line(f"To use it: bertx predict {shlex.quote(str(kept.folder))} NEW_SEQUENCES --output answers.csv")
    if prepared.push is not None:
        prepared.push(kept.folder)
    return kept.folder
