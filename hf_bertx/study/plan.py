"""Which runs a study has, and where each writes: a YAML file -> planned runs. Nothing is executed here."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arms import ARMS, BASELINE, get_arm
from ..backbones import resolve_backbone
from ..baselines import baselines_for, get_baseline
from ..data.text_files import read_yaml
from ..disciplines import get_discipline
from ..protocols import PROBE, get_protocol
from ..runs.spec import RunSpec
from ..runs.training_options import check_values
from ..tasks import TASKS, built_folder, get_task
from .probes import planned_probes
from .series import last_of, read_series, uncut_positions

NAMED = Path(__file__).parent.parent / "studies"
PLANS = "studies"  # folder below the runs: what was planned, a JSON file a study
FORMAT = 1
# What a study may change: arguments of train.py that stand in a run's record, or change no number.
OVERRIDES = (
    "adam_beta1 adam_beta2 adam_epsilon attention_dropout data_seed eval_steps frame_augmentation global_batch_size "
    "gradient_checkpointing label_smoothing_factor learning_rate logging_steps lr_scheduler_type max_eval_items "
    "max_grad_norm max_steps num_train_epochs optim optimizer per_device_eval_batch_size per_device_train_batch_size "
    "precision report_to rows_on_device shortcuts standardize_targets stop_at_loss train_sampling_strategy "
    "warmup_steps weight_decay"
).split()
_FIELDS = (
    "about plan protocol split tasks arms backbones series checkpoints baselines seeds fractions kmers items "
    "overrides grid choose_by parts"
).split()
_CHOOSE_BY = ("validation", "train_loss")
_CHECKPOINTS = ("all", "last")


@dataclass(frozen=True)
class Study:
    """A set of runs under a name.

    Args:
        choose_by: how the best of a grid is found: the `validation` score, or the `train_loss` at the end, where the
            paper tests on the validation set. Never the test set.
    """

    name: str
    about: str
    runs: tuple[RunSpec, ...]
    choose_by: str = "validation"


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
        known = [found.stem for found in NAMED.glob("*.yaml")]
        what = "no such file" if name.endswith((".yaml", ".yml")) else _unknown("study", name, known)
        raise ValueError(f"{name}: {what}" if what == "no such file" else f"{what}; or give a .yaml file")
    content = _read(path)
    where = path.name
    _check_names(content, _FIELDS, where, "field")
    content = _with_series(content, series, where)
    choose_by = content.get("choose_by", "validation")
    if choose_by not in _CHOOSE_BY:
        refused = "; what is tested on is not chosen by" if "test" in str(choose_by) else ""
        raise ValueError(f"{where}: choose_by is {choose_by!r}; allowed: {', '.join(_CHOOSE_BY)}{refused}")
    parts = content.get("parts") or [{}]
    shared = {name: value for name, value in content.items() if name != "parts"}
    runs: list[RunSpec] = []
    for number, part in enumerate(parts, 1):
        place = where if "parts" not in content else f"{where}, part {number}"
        if not isinstance(part, dict):
            raise ValueError(f"{place}: holds {type(part).__name__}, not a mapping of fields")
        _check_names(part, [field for field in _FIELDS if field != "series"], place, "field of a part")
        runs += _part({**shared, **part}, choose_by, place)
    runs.sort(key=lambda run: run.seed)  # stable: a table is complete for one seed before the next seed starts
    plan = _plan(content.get("plan"), where)
    if plan is not None:
        runs = [replace(run, plan=plan) for run in runs]
    return Study(path.stem, str(content.get("about", "")).strip(), _distinct(runs, where), choose_by)


def _plan(value: Any, where: str) -> str | None:
    """The sha256 of the plan that a study follows; its runs record it."""
    if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError(f"{where}: plan is {value!r}; give the sha256 of the plan's file, 64 hexadecimal digits")
    return value


def _with_series(content: dict[str, Any], told: str | None, where: str) -> dict[str, Any]:
    """The content with its series as a list of backbones; a study that is made for one has the field, if without a
    value."""
    if "series" not in content:
        if told is not None:
            raise ValueError(f"{where}: it has no field series, whose place --series {told} could take")
        return content
    if content["series"] is None and told is None:
        raise ValueError(
            f"{where}: it needs a series of checkpoints: pass --series with a folder that pretrain.py left"
        )
    return {**content, "series": read_series(content["series"] if told is None else told, where)}


def _backbones(content: dict[str, Any], where: str) -> list[str]:
    """A series, or its last checkpoint, before what else is named."""
    series, which = content.get("series", []), content.get("checkpoints", "all")
    if which not in _CHECKPOINTS or ("checkpoints" in content and not series):
        told = f"allowed: {', '.join(_CHECKPOINTS)}" if series else "there is no series that it could choose from"
        raise ValueError(f"{where}: checkpoints is {which!r}; {told}")
    named = [] if series and "backbones" not in content else _list(content, "backbones", ["minilm-l6"], str, where)
    return [*(last_of(series) if which == "last" else series), *named]


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, not a mapping of fields: {', '.join(_FIELDS)}")
    return content


def _unknown(what: str, name: Any, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{hint} Known: {', '.join(names)}"


def _check_names(found: Iterable[Any], known: Iterable[str], where: str, what: str) -> None:
    allowed = list(known)
    for name in found:
        if name not in allowed:
            raise ValueError(f"{where}: {_unknown(what, name, allowed)}")


def _part(content: dict[str, Any], choose_by: str, where: str) -> Iterator[RunSpec]:
    tasks = _with_overrides(content, "tasks", TASKS, where)
    arms = _with_overrides(content, "arms", ARMS, where)
    backbones = _backbones(content, where)
    seeds = _list(content, "seeds", [0, 1, 2], int, where)
    for arm, task in itertools.product(arms, tasks):
        misfit = get_arm(arm).misfit(task, get_task(task).discipline)
        if misfit is not None:
            raise ValueError(f"{where}: {misfit}")
    kmers = _list(content, "kmers", [None], (int, type(None)), where)
    for task, kmer in itertools.product(tasks, kmers):
        if kmer is not None:
            get_discipline(get_task(task).discipline, kmer)
    if content.get("protocol") == PROBE:
        yield from planned_probes(content, tasks, arms, backbones, seeds, kmers, where)
        return
    if "items" in content:
        raise ValueError(f"{where}: items belongs to protocol {PROBE}; a training has fractions")
    protocol = get_protocol(content.get("protocol", "recommended"))
    fractions = [float(value) for value in _list(content, "fractions", [1.0], (int, float), where)]
    shared = _overrides(content.get("overrides"), f"{where}, overrides")
    for backbone in backbones:
        resolve_backbone(backbone)
        _check_room(backbone, tasks, where)
    grid = _grid(content.get("grid"), where)
    if len(grid) > 1 and choose_by == "validation":
        for task in tasks:
            if get_task(task).test_split == "validation":
                raise ValueError(
                    f"{where}: {task} is tested on its validation set, so a grid must not be chosen by it; "
                    "set choose_by: train_loss (the paper took the F1 on the training set) or take another task"
                )
    yield from _baselines(content, tasks, seeds[0], fractions, shared, where)
    for seed, fraction, task, kmer, point in itertools.product(seeds, fractions, tasks, kmers, grid):
        split = content.get("split") or protocol.split(get_task(task))
        variant = "-".join(f"{name}={_short(value)}" for name, value in point.items())
        for backbone, arm in itertools.product(backbones, arms):
            told = {**shared, **tasks[task], **arms[arm], **point}
            _check_numbers({**told, "seed": seed, "fraction": fraction}, where)
            yield RunSpec(task, arm, backbone, protocol.name, split, seed, fraction, variant, told, kmer=kmer)


def _check_numbers(values: dict[str, Any], where: str) -> None:
    try:
        check_values(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _baselines(
    content: dict[str, Any], tasks: dict[str, dict], seed: int, fractions: list[float], shared: dict, where: str
) -> Iterator[RunSpec]:
    """Those that fit each task, with the study's first seed; `plain` names all that take no training of a network."""
    names = content.get("baselines", [])
    if names != "plain" and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{where}: baselines is {names!r}; give a list of names, or the word plain")
    for name in tasks:
        task, told = get_task(name), {**shared, **tasks[name]}
        fitting = [
            found
            for found in (baselines_for(task) if names == "plain" else names)
            if get_baseline(found).misfit(task) is None
        ]
        limit = {key: told[key] for key in ("max_eval_items",) if key in told}
        split = content.get("split") or "paper"
        for found, fraction in itertools.product(fitting, fractions):
            yield RunSpec(name, BASELINE, found, BASELINE, split, seed, fraction, overrides=limit)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_overrides(content: dict[str, Any], name: str, known: dict[str, Any], where: str) -> dict[str, dict]:
    """`tasks` and `arms` are lists of names, or mappings of names to what differs for them."""
    value = content.get(name)
    if not value or not isinstance(value, (list, dict)):
        raise ValueError(f"{where}: {name} is {value!r}; a study needs at least one, as a list or a mapping")
    built = [item for item in value if name == "tasks" and isinstance(item, str) and built_folder(item) is not None]
    _check_names(value, [*known, *built], where, name.removesuffix("s"))
    told = value if isinstance(value, dict) else dict.fromkeys(value)
    return {key: _overrides(item, f"{where}, {name}, {key}") for key, item in told.items()}


def _overrides(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}: holds {value!r}, not a mapping of arguments to values")
    _check_names(value, OVERRIDES, where, "argument")
    return {name: _number(item) for name, item in value.items()}


def _number(value: Any) -> Any:
    """YAML reads `1e-5` as a word, since it has no point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _grid(value: Any, where: str) -> list[dict[str, Any]]:
    if value is None:
        return [{}]
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{where}: grid is {value!r}; give arguments with lists of values, or leave it out")
    _check_names(value, OVERRIDES, f"{where}, grid", "argument")
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}: grid, {name} is {values!r}; give a list of values")
    points = itertools.product(*([_number(item) for item in values] for values in value.values()))
    return [dict(zip(value, point, strict=True)) for point in points]


def _list(content: dict[str, Any], name: str, default: list, kind: Any, where: str) -> list:
    value = content.get(name, default)
    if not isinstance(value, list) or not value or not all(isinstance(v, kind) and v is not True for v in value):
        raise ValueError(f"{where}: {name} is {value!r}; give a list, e.g. {default}")
    return value


def _check_room(backbone: str, tasks: Iterable[str], where: str) -> None:
    room = uncut_positions(backbone)
    for name in tasks:
        if room is not None and room < get_task(name).max_length:
            raise ValueError(
                f"{where}: {backbone} takes {room} tokens (max_position_embeddings), its tokenizer lets more through, "
                f"and inputs of {name} have up to {get_task(name).max_length}; give the tokenizer model_max_length "
                f"{room} to have them cut, or leave that task out"
            )


def _distinct(runs: list[RunSpec], where: str) -> tuple[RunSpec, ...]:
    """Each run once; two orders for one folder are a mistake of the file."""
    found: dict[Path, RunSpec] = {}
    for run in runs:
        if found.setdefault(run.folder(), run) != run:
            raise ValueError(f"{where}: two different runs would write to {run.folder()}; give one of them a grid")
    return tuple(found.values())
