"""Folders of runs as training leaves them, with answers drawn from a known skill: for the tests of what reports."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hf_bertx import metrics, run_files
from hf_bertx.arms import ARMS
from hf_bertx.report.cells import Cell
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.records import collect_runs
from hf_bertx.runs.writer import RunWriter
from hf_bertx.tasks import TASKS, Task

SKILLS = {"bert": 2.2, "re_emb": 1.7, "rand": 1.0, "unused": 1.4, "random_body": 1.2, "shift_1000": 2.0}


def write_rows(folder: Path, **columns: list[Any]) -> str:
    """The same rows as training, validation and test items."""
    folder.mkdir(parents=True)
    table = pa.table({"id": [f"item-{n}" for n in range(len(columns["label"]))], **columns})
    for part in ("train", "validation", "test"):
        pq.write_table(table, folder / f"{part}.parquet")
    return str(folder)


def recorded(rows: str, task: Task) -> str:
    """The folder above a folder of rows, with the record that lets it name a task."""
    folder = Path(rows).parent
    (folder / "builds").mkdir()
    run_files.write_json(folder / "builds" / "default.json", {"task": asdict(task)})
    return str(folder)


def make_items(task: Task, items: int) -> tuple[list[str], np.ndarray, list[str] | None]:
    """Ids, labels and pieces of the test items; the same from call to call."""
    generator = np.random.default_rng(len(task.name))
    groups = [f"piece-{i // 8}" for i in range(items)] if task.votes else None
    if task.labels is None:
        return [f"item-{i}" for i in range(items)], generator.normal(2, 1, items), groups
    share = 1 / np.arange(1, len(task.labels) + 1)
    labels = generator.choice(len(task.labels), size=items, p=share / share.sum())
    return [f"item-{i}" for i in range(items)], labels[np.arange(items) // 8 * 8] if task.votes else labels, groups


def make_logits(task: Task, labels: np.ndarray, skill: float, seed: int) -> np.ndarray:
    """Answers that are right the more often the higher the skill; the same items are hard for every run."""
    hardness = np.random.default_rng(0).normal(size=len(labels))
    generator = np.random.default_rng([seed, int(skill * 1000)])
    skill += generator.normal(scale=0.15)
    if task.labels is None:
        return ((labels - 2) * skill / 3 + hardness * 0.6 + generator.normal(scale=0.5, size=len(labels)))[:, None]
    logits = generator.normal(size=(len(labels), len(task.labels)))
    logits[np.arange(len(labels)), labels] += skill - 0.5 * hardness
    return logits * 1.5


def make_log(skill: float, seed: int, metric: str | None, final: float, steps: int = 120) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    log: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        loss = 0.15 + 0.9 / (1 + np.exp((step - 160 / max(skill, 0.2)) / 12)) + generator.normal(scale=0.02)
        log.append({"step": step, "epoch": step / 40, "loss": float(loss), "learning_rate": 1e-4})
        if metric and step % 30 == 0:
            log.append({"step": step, "epoch": step / 40, f"eval_{metric}": float(final * (0.4 + 0.6 * step / steps))})
    return log


def make_run(
    root: Path,
    task_name: str = "dna-splice",
    arm: str = "bert",
    seed: int = 0,
    *,
    backbone: str = "minilm-l6",
    protocol: str = "recommended",
    split: str = "paper",
    fraction: float = 1.0,
    skill: float | None = None,
    items: int = 160,
    collapsed: bool = False,
    fingerprint: str | None = None,
    finished: bool = True,
    specification: dict[str, Any] | None = None,
    hyperparameters: dict[str, Any] | None = None,
) -> Path:
    """Writes one run's folder as `training.run` leaves it, without a model; returns it."""
    task, known = TASKS[task_name], ARMS.get(arm)
    given = {
        "task": task_name, "backbone": backbone, "backbone_revision": None, "arm": arm,
        "start": None if known is None else known.start,
        "assignment": None if task.discipline == "text" else "frequent",
        "shift": "none" if known is None else known.shift,
        "protocol": protocol, "split": split, "seed": seed, "fraction": fraction, "precision": "float32",
        **(specification or {}),
        "hyperparameters": {
            "learning_rate": 1e-4, "num_train_epochs": 3.0, "max_steps": -1, "lr_scheduler_type": "linear",
            "global_batch_size": 32, "eval_strategy": "no" if task.test_split == "validation" else "steps",
            **(hyperparameters or {}),
        },
    }  # fmt: skip
    order = {
        "specification": given,
        "task": asdict(task),
        "data_fingerprint": fingerprint or f"{task_name}-{split}".encode().hex().ljust(64, "0"),
        "data_origin": "made for a test",
        "backbone_origin": "made for a test",
    }
    name = f"seed-{seed}" if fraction == 1 else f"seed-{seed}-fraction-{fraction:g}"
    name += "".join(f"-{key}-{value}" for key, value in (hyperparameters or {}).items())
    name += "" if split == "paper" else f"-{split}"
    folder = root / protocol / task_name / backbone.strip("/").replace("/", "--") / arm / name
    writer = RunWriter(folder)
    machine = {"system": "Linux", "processor": "a processor", "cores": 2, "gpu": None}
    writer.order(order, {"hf_bertx": "0.1.0", "python": "3.11.7"}, machine)
    ids, labels, groups = make_items(task, items)
    skill = (SKILLS.get(arm, 1.0) if skill is None else skill) * fraction**0.1
    logits = make_logits(task, labels, skill, seed)
    if collapsed:
        logits[:] = logits[:1]
    scores = metrics.score(task, logits, labels, groups)
    watched = None if task.test_split == "validation" else task.metric
    log = [] if arm == "baseline" else make_log(skill, seed, watched, scores[task.metric])
    if not finished:
        run_files.write_json(folder / run_files.LOG, log)
        return folder
    rows = {"id": ids, "label": labels} | ({} if groups is None else {"group": groups})
    writer.predictions(True, Dataset.from_dict(rows), logits)
    validation = {name: 0.97 * value for name, value in scores.items()}
    results = {
        "metrics": {"validation": validation, task.test_split: scores},
        "test_split": task.test_split,
        "counts": {"train": 2871, "validation": 159, task.test_split: items},
        "train_items": 2871,
        "test_duplicates": 0,
        "steps": 120,
        "train_seconds": 60.0 + seed,
    }
    writer.results(results, log)
    return folder


def make_runs(
    root: Path,
    arms: Iterable[str] | Mapping[str, float] = ("bert", "rand"),
    task_name: str = "dna-splice",
    seeds: Iterable[int] = (0,),
    **own: Any,
) -> None:
    """A run of each arm and seed; `arms` may name the skill of each."""
    skills = arms if isinstance(arms, Mapping) else {}
    for arm, seed in itertools.product(arms, seeds):
        make_run(root, task_name, arm, seed, **({"skill": skills[arm]} if arm in skills else {}), **own)


def cells_of(root: Path, resamples: int = 20) -> list[Cell]:
    """The cells of all runs below a folder."""
    return make_cells(collect_runs(root), resamples)


def make_failure(folder: Path, error: str = "RuntimeError: out of memory", attempts: int = 2) -> None:
    run_files.write_json(
        folder / run_files.FAILURE, {"error": error, "attempts": attempts, "time": "2026-11-23T02:00:00+00:00"}
    )


def make_study(root: Path, name: str, runs: list[dict[str, Any]]) -> None:
    base = {"backbone": "minilm-l6", "protocol": "recommended", "split": "paper", "fraction": 1.0, "overrides": {}}
    planned = []
    for run in runs:
        folder = f"recommended/{run['task']}/minilm-l6/{run['arm']}/seed-{run['seed']}"
        planned.append({**base, **run, "folder": folder})
    run_files.write_json(root / "studies" / f"{name}.json", {"format": 1, "study": name, "runs": planned})


def make_study_runs(root: Path, seeds: int = 3, items: int = 200) -> None:
    """Several tasks of each discipline, arms, seeds, fractions, steps of pre-training, baselines; one run collapsed,
    one failed, one unfinished, two not begun."""
    every: dict[str, Any] = {"seeds": range(seeds), "items": items}
    for task in ("dna-splice", "dna-h3", "protein-localization", "protein-fluorescence", "music-maestro-v1"):
        make_runs(root, ("bert", "re_emb", "rand", "unused"), task, **every)
    make_run(root, "dna-h3", "rand", 2, items=items, collapsed=True)
    for task in ("glue-stsb", "glue-mrpc", "glue-rte"):
        make_runs(root, ("shift_1000", "shift_1000_rand", "re_emb"), task, **every)
    for task in ("glue-stsb", "glue-mrpc"):
        make_runs(root, {"shift_1000": 1.0, "shift_1000_rand": 0.5}, task, fraction=0.01, **every)
    for fraction in (0.01, 0.1, 0.3):
        make_runs(root, {arm: SKILLS[arm] * (0.5 + fraction) for arm in ("bert", "rand")}, fraction=fraction, **every)
    for step in (0, 20, 200, 500, 1000):
        for pretraining_seed in range(2):
            name = f"multiberts-seed_{pretraining_seed}-step_{step}k"
            skill = 0.9 + step**0.3 / 6
            make_run(root, "dna-h3", backbone=name, protocol="paper", items=items, skill=skill)
    of_baseline: dict[str, Any] = {"arm": "baseline", "protocol": "baseline", "items": items}
    make_run(root, backbone="majority", skill=0.0, collapsed=True, **of_baseline)
    make_run(root, backbone="kmer-logistic", skill=1.9, **of_baseline)
    for rate, skill in ((1e-5, 0.6), (3e-4, 1.6)):
        own: dict[str, Any] = {"hyperparameters": {"learning_rate": rate}, "skill": skill}
        make_run(root, "protein-fluorescence", "rand", items=items, **own)
    make_failure(make_run(root, "dna-h3", "unused", 3, items=items, finished=False))
    make_run(root, "dna-h3", "bert", 3, items=items, finished=False)
    lost = root / "recommended/dna-h4/minilm-l6/bert/seed-0"
    make_failure(lost, "FileNotFoundError: dna-h4: its data is not in the package")
    planned = [{"task": task, "arm": "bert", "seed": seed} for task in ("dna-h3", "dna-h4") for seed in range(2)]
    planned += [{"task": "protein-stability", "arm": arm, "seed": 0} for arm in ("bert", "rand")]
    make_study(root, "table2-small", planned)
