"""The runs of a study, planned from a YAML file. Nothing is executed here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arms import ARMS, get_arm
from ..backbones import resolve_backbone
from ..baselines.catalog import baselines_for, get_baseline
from ..data.text_files import read_yaml
from ..disciplines import get_discipline
from ..probing.seeds import without_repeats
from ..protocols import PROBE, PROTOCOLS, get_protocol
from ..registry import unknown
from ..runs.spec import RunSpec
from ..runs.training_options import check_values
from ..tasks import TASKS, get_task
from .fields import check_names, grid_points, list_of, named_overrides, overrides_of
from .series import check_room, last_of, read_series

NAMED = Path(__file__).parent.parent / "studies"
FORMAT = 1
_FIELDS = (
    "about plan protocol split tasks arms backbones series checkpoints baselines seeds fractions kmers items "
    "overrides grid choose_by parts"
).split()
_OF_ALL_PARTS = ("plan", "series", "choose_by", "parts")
_NOT_OF_PROBES = ("baselines", "checkpoints", "fractions", "grid", "overrides", "series")
_CHOOSE_BY = ("validation", "train_loss")
_CHECKPOINTS = ("all", "last")


@dataclass(frozen=True)
class Study:
    """A set of runs under a name.

    Args:
        choose_by: how the best of a grid is found: the `validation` score, or the `train_loss` at the end, where the
            paper tests on the validation set. Never the test set.
        left_out: further seeds of probes that do not depend on it; see [`without_repeats`].
    """

    name: str
    about: str
    runs: tuple[RunSpec, ...]
    choose_by: str = "validation"
    left_out: int = 0


def named_studies() -> dict[str, str]:
    """The studies that ship with the package: name -> what it is about."""
    return {path.stem: _read(path)["about"].strip() for path in sorted(NAMED.glob("*.yaml"))}


def load_study(name: str, series: str | None = None) -> Study:
    """A study by its name or its file.

    Args:
        series: a folder of checkpoints that takes the place of the file's `series`.

    Raises:
        ValueError: an unknown name, task, arm, backbone, protocol, field or override (with the nearest right one), an
            empty grid, an arm that does not fit a task, a choice that would look at the test set, or a series that is
            not whole; see [`series.read_series`].
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else NAMED / f"{name}.yaml"
    if not path.is_file():
        if path == Path(name):
            raise ValueError(f"{name}: no such file")
        raise ValueError(f"{unknown('study', name, (p.stem for p in NAMED.glob('*.yaml')))}; or give a .yaml file")
    content = _read(path)
    try:
        return _study(path.stem, content, series)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _study(name: str, content: dict[str, Any], series: str | None) -> Study:
    check_names(content, _FIELDS, "field")
    if "series" in content:
        content = {**content, "series": read_series(content["series"] if series is None else series)}
    elif series is not None:
        raise ValueError(f"it has no field series, whose place --series {series} could take")
    choose_by = content.get("choose_by", "validation")
    if choose_by not in _CHOOSE_BY:
        refused = "; what is tested on is not chosen by" if "test" in str(choose_by) else ""
        raise ValueError(f"choose_by is {choose_by!r}; allowed: {', '.join(_CHOOSE_BY)}{refused}")
    shared = {name: value for name, value in content.items() if name != "parts"}
    runs: list[RunSpec] = []
    parts = content.get("parts", [{}])
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"parts is {parts!r}; give a list of mappings of fields")
    for number, part in enumerate(parts, 1):
        try:
            if not isinstance(part, dict):
                raise ValueError(f"holds {type(part).__name__}, not a mapping of fields")
            check_names(part, [field for field in _FIELDS if field not in _OF_ALL_PARTS], "field of a part")
            runs += _part({**shared, **part}, choose_by)
        except (TypeError, ValueError) as error:
            raise ValueError(f"part {number}: {error}" if "parts" in content else str(error)) from None
    runs.sort(key=lambda run: run.seed)  # stable: a table is complete for one seed before the next seed starts
    plan = content.get("plan")
    if plan is not None:
        if not (isinstance(plan, str) and re.fullmatch("[0-9a-f]{64}", plan)):
            raise ValueError(f"plan is {plan!r}; give the sha256 of the plan's file, 64 hexadecimal digits")
        runs = [replace(run, plan=plan) for run in runs]
    kept = _distinct(without_repeats(runs))
    return Study(name, str(content.get("about", "")).strip(), kept, choose_by, len(_distinct(runs)) - len(kept))


def _backbones(content: dict[str, Any]) -> list[str]:
    """The checkpoints of a series, or its last one, before the other backbones."""
    series, which = content.get("series", []), content.get("checkpoints", "all")
    if which not in _CHECKPOINTS or ("checkpoints" in content and not series):
        allowed = f"allowed: {', '.join(_CHECKPOINTS)}" if series else "there is no series that it could choose from"
        raise ValueError(f"checkpoints is {which!r}; {allowed}")
    named = [] if series and "backbones" not in content else list_of(content, "backbones", ["minilm-l6"], str)
    return [*(last_of(series) if which == "last" else series), *named]


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, not a mapping of fields: {', '.join(_FIELDS)}")
    return content


def _part(content: dict[str, Any], choose_by: str) -> Iterator[RunSpec]:
    tasks, arms = named_overrides(content, "tasks", TASKS), named_overrides(content, "arms", ARMS)
    backbones = _backbones(content)
    seeds, kmers = list_of(content, "seeds", [0, 1, 2], int), list_of(content, "kmers", [None], (int, type(None)))
    fractions = [float(value) for value in list_of(content, "fractions", [1.0], (int, float))]
    for name, values in {"seed": seeds, "fraction": fractions}.items():
        for value in values:
            check_values({name: value})
    _check_fit(content.get("split"), tasks, arms, backbones, kmers)
    protocol_name = content.get("protocol", "recommended")
    if protocol_name == PROBE:
        overridden = next((name for name, overrides in {**tasks, **arms}.items() if overrides), None)
        if overridden is not None:
            raise ValueError(f"protocol {PROBE} does not use what {overridden} overrides; a probe has none")
        yield from _probes(content, itertools.product(seeds, tasks, backbones, arms, kmers))
        return
    if "items" in content:
        raise ValueError(f"items belongs to protocol {PROBE}; a training has fractions")
    check_names([protocol_name], PROTOCOLS, "protocol")
    protocol = get_protocol(protocol_name)
    shared = overrides_of(content.get("overrides"), "overrides")
    for backbone, name in itertools.product(backbones, tasks):
        check_room(backbone, get_task(name))
    grid = grid_points(content.get("grid"))
    tested = [name for name in tasks if get_task(name).test_split == "validation"]
    if len(grid) > 1 and choose_by == "validation" and tested:
        raise ValueError(
            f"{tested[0]} is tested on its validation set, so a grid must not be chosen by it; set choose_by: "
            "train_loss (the paper took the F1 on the training set) or take another task"
        )
    yield from _baselines(content, tasks, seeds[0], fractions, shared)
    for seed, fraction, name, kmer, point in itertools.product(seeds, fractions, tasks, kmers, grid):
        split = content.get("split") or protocol.split(get_task(name))
        variant = "-".join(f"{option}={_short(value)}" for option, value in point.items())
        for backbone, arm in itertools.product(backbones, arms):
            # restarts with half the rate would blur the search
            alone = {"restarts": 0} if "learning_rate" in point else {}
            overrides = {**alone, **shared, **tasks[name], **arms[arm], **point}
            check_values(overrides)
            yield RunSpec(name, arm, backbone, protocol.name, split, seed, fraction, variant, overrides, kmer=kmer)


def _check_fit(
    split: Any, tasks: Iterable[str], arms: Iterable[str], backbones: Iterable[str], kmers: list[int | None]
) -> None:
    """Raises ValueError for names that are unknown, and for those that do not go together."""
    if split is not None:
        from ..data.task_data import check_split  # imports datasets

        check_split(split)
    for backbone in backbones:
        resolve_backbone(backbone)
    for task in map(get_task, tasks):
        for arm in arms:
            get_arm(arm).check_fits(task.name, task.discipline)
        for kmer in kmers:
            if kmer is not None:
                get_discipline(task.discipline, kmer)


def _probes(content: dict[str, Any], cells: Iterable[tuple]) -> Iterator[RunSpec]:
    """The probes of a part: every size of `items` for each seed, task, backbone, arm and k."""
    unused = next((name for name in _NOT_OF_PROBES if content.get(name)), None)
    if unused is not None:
        raise ValueError(f"protocol {PROBE} does not use {unused}; a probe has tasks, arms, seeds and items")
    sizes = list_of(content, "items", ["all"], (int, str))
    split = content.get("split") or "paper"
    for seed, task, backbone, arm, kmer in cells:
        for size in sizes:  # in this order features of an arm are computed once
            yield RunSpec.of_probe(task, arm, backbone, split, seed, items=size, kmer=kmer)


def _baselines(
    content: dict[str, Any], tasks: dict[str, dict], seed: int, fractions: list[float], shared: dict
) -> Iterator[RunSpec]:
    """The baselines that fit each task, with the study's first seed; `plain` names all but networks."""
    names = content.get("baselines", [])
    if names != "plain" and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"baselines is {names!r}; give a list of names, or the word plain")
    split = content.get("split") or "paper"
    for baseline in [] if names == "plain" else map(get_baseline, names):
        misfits = [baseline.misfit(get_task(name)) for name in tasks]
        if None not in misfits:
            raise ValueError(f"baseline {baseline.name!r} fits none of the tasks: {misfits[0]}")
    for name in tasks:
        task = get_task(name)
        asked = baselines_for(task) if names == "plain" else names
        fitting = [baseline for baseline in asked if get_baseline(baseline).misfit(task) is None]
        limit = {**shared, **tasks[name]}.get("max_eval_items")
        for baseline, fraction in itertools.product(fitting, fractions):
            yield RunSpec.of_baseline(baseline, name, split, seed, fraction, limit)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct(runs: list[RunSpec]) -> tuple[RunSpec, ...]:
    """Drops repeated runs. Two different runs for one folder are an error."""
    by_folder: dict[Path, RunSpec] = {}
    for run in runs:
        if by_folder.setdefault(run.folder(), run) != run:
            raise ValueError(f"two different runs would write to {run.folder()}; give one of them a grid")
    return tuple(by_folder.values())
