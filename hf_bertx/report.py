"""Run folders -> a table, a picture, JSON. Everything is computed from the files that the runs left."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import run_files
from .arms import ARMS
from .tasks import TASKS, Task

TABLE, TABLE_JSON, PICTURE = "table.md", "table.json", "loss_curves.png"


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says: its order, its log and, once it is finished, its results."""

    folder: Path
    order: dict[str, Any]
    log: list[dict[str, float]]
    results: dict[str, Any] | None

    @property
    def specification(self) -> dict[str, Any]:
        return self.order["specification"]

    @property
    def task(self) -> Task:
        record = self.order.get("task")  # runs of older versions name a known task alone
        return TASKS[self.specification["task"]] if record is None else Task.from_dict(record)

    def score(self, split: str, metric: str) -> float | None:
        """A metric of a finished run, as a fraction; None where there is none."""
        if self.results is None or metric not in self.results["metrics"].get(split, {}):
            return None
        return self.results["metrics"][split][metric]

    def curve(self, name: str) -> list[tuple[int, float]]:
        """`(step, value)` of what the log calls `name`: `loss`, `eval_accuracy`, ..."""
        return [(int(entry["step"]), entry[name]) for entry in self.log if name in entry]

    def epoch_losses(self) -> list[float]:
        """Mean training loss of each epoch, exact: a logged loss is the mean over the steps since the last one."""
        sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        last = 0
        for entry in self.log:
            if "loss" in entry:
                steps = int(entry["step"]) - last
                last = int(entry["step"])
                sums[math.ceil(round(entry["epoch"], 6))][0] += entry["loss"] * steps
                sums[math.ceil(round(entry["epoch"], 6))][1] += steps
        return [total / steps for _, (total, steps) in sorted(sums.items()) if steps]

    def first_step_at(self, metric: str, value: float) -> int | None:
        """The first evaluated step whose validation score is at least `value`; None if there is none."""
        return next((step for step, found in self.curve(f"eval_{metric}") if found >= value), None)


def collect_runs(root: Path) -> list[RunRecord]:
    """Every run below a folder, in the order of arms and seeds.

    Raises:
        ValueError: no such folder, no run in it, or a file of a run that cannot be read; the message names it.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    records = []
    for path in sorted(root.rglob(run_files.RUN)):
        folder = path.parent
        order = run_files.read_json(path)
        if "task" not in order and order.get("specification", {}).get("task") not in TASKS:
            raise ValueError(f"{path}: its task is not one of {', '.join(TASKS)}")
        log = run_files.read_json(folder / run_files.LOG) if (folder / run_files.LOG).is_file() else []
        done = (folder / run_files.RESULTS).is_file()
        records.append(
            RunRecord(folder, order, log, run_files.read_json(folder / run_files.RESULTS) if done else None)
        )
    if not records:
        raise ValueError(f"{root}: holds no run; a run's folder has a {run_files.RUN}")
    rank = {name: i for i, name in enumerate(ARMS)}
    return sorted(records, key=lambda r: (rank.get(r.specification["arm"], len(rank)), r.specification["seed"]))


def tables(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """One table for each protocol, task, backbone, split, fraction and state of the data; a row for each run."""
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        s = record.specification
        key = tuple(s[name] for name in ("task", "protocol", "backbone", "split", "fraction", "precision"))
        identity = (*key, record.order["data_fingerprint"])
        groups[identity].append(record)
    return [_table(group) for _, group in sorted(groups.items(), key=lambda item: item[0])]


def _table(group: list[RunRecord]) -> dict[str, Any]:
    first, task = group[0], group[0].task
    rows = []
    rand_best = [_best(r, task) for r in group if r.specification["start"] == "random" and r.results is not None]
    bar = max((value for value in rand_best if value is not None), default=None)
    for record in group:
        s = record.specification
        arm = ARMS.get(s["arm"])
        paper = task.published_score(arm.paper_row) if arm is not None and arm.paper_row else None
        rows.append(
            {
                "arm": s["arm"],
                "seed": s["seed"],
                "finished": record.results is not None,
                "test": {name: record.score(task.test_split, name) for name in task.metrics},
                "best_validation": _best(record, task),
                "steps_to_rand_best": None if bar is None else record.first_step_at(task.metric, bar),
                "epoch_losses": [round(loss, 4) for loss in record.epoch_losses()],
                "steps": None if record.results is None else record.results["steps"],
                "train_seconds": None if record.results is None else record.results["train_seconds"],
                "paper": None if paper is None else paper.value,
                "folder": record.folder.as_posix(),
            }
        )
    done = next((r.results for r in group if r.results is not None), None)
    names = ("task", "protocol", "backbone", "backbone_revision", "split", "fraction", "precision")
    return {
        **{name: first.specification[name] for name in names},
        "metrics": list(task.metrics),
        "hyperparameters": first.specification["hyperparameters"],
        "data_fingerprint": first.order["data_fingerprint"],
        "versions": first.order["versions"],
        "machine": first.order["machine"],
        "counts": None if done is None else done["counts"],
        "test_split": task.test_split,
        "test_duplicates": None if done is None else done["test_duplicates"],
        "rows": rows,
    }


def _best(record: RunRecord, task: Task) -> float | None:
    return max((value for _, value in record.curve(f"eval_{task.metric}")), default=None)


def markdown(table: dict[str, Any]) -> str:
    """One table as Markdown, with what its numbers depend on below it."""
    epochs = max((len(row["epoch_losses"]) for row in table["rows"]), default=0)
    head = ["arm", "seed", *(f"test {name}" for name in table["metrics"])]
    head += [f"loss, epoch {n + 1}" for n in range(epochs)]
    head += ["best validation", "steps to rand's best", "minutes", "paper (BERT-base)"]
    lines = [f"## {table['task']}, {table['backbone']}, protocol `{table['protocol']}`", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table["rows"]:
        losses = [*row["epoch_losses"], *[None] * (epochs - len(row["epoch_losses"]))]
        minutes = None if row["train_seconds"] is None else f"{row['train_seconds'] / 60:.1f}"
        cells = [f"`{row['arm']}`" + ("" if row["finished"] else " (unfinished)"), str(row["seed"])]
        cells += [_number(row["test"][name], 3) for name in table["metrics"]]
        cells += [_number(loss, 3) for loss in losses]
        cells += [
            _number(row["best_validation"], 3),
            _text(row["steps_to_rand_best"]),
            _text(minutes),
            _text(row["paper"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_footnotes(table), ""])


def _footnotes(table: dict[str, Any]) -> list[str]:
    v, m = table["versions"], table["machine"]
    lines = [
        _how_trained(table),
        f"- Data sha256 {table['data_fingerprint'][:16]}; {m['processor']}, {m['cores']} cores, "
        f"GPU {m['gpu'] or 'none'}; " + ", ".join(f"{name} {number}" for name, number in v.items()) + ".",
        "- The paper's column is x 100, of BERT-base (12 x 768) by its own protocol: to be read for the order of the "
        "arms, not against the numbers here.",
    ]
    if table["counts"] is not None:
        counts = ", ".join(f"{count} {name}" for name, count in table["counts"].items())
        lines.insert(
            1,
            f"- Items: {counts}; {table['test_duplicates']} test items occur in the training data, letter for letter.",
        )
    return lines


def _how_trained(table: dict[str, Any]) -> str:
    h = table["hyperparameters"]
    if "searched" in h:  # a baseline
        tried = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in h["searched"].items())
        return (
            f"- A baseline, split `{table['split']}`, {100 * table['fraction']:g}% of the training data. Tried, "
            f"by the score on items that are not tested: {tried or 'nothing'}."
        )
    schedule = f"{h['num_train_epochs']:g} epochs" if h["max_steps"] <= 0 else f"{h['max_steps']} steps"
    if table["test_split"] == "validation":
        return (
            f"- Training: learning rate {h['learning_rate']:g}, batch {h['global_batch_size']}, {schedule}; the last "
            "weights were tested on the validation set, as the paper does, and nothing was selected on it."
        )
    return (
        f"- Training: learning rate {h['learning_rate']:g} ({h['lr_scheduler_type']}), "
        f"batch {h['global_batch_size']}, {schedule}, {table['precision']}, split `{table['split']}`, "
        f"{100 * table['fraction']:g}% of the training data. "
        "The weights with the best validation score were tested, once."
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def picture(records: list[RunRecord], path: Path) -> None:
    """Training loss and validation score by step, one line a run, of the first task among the records."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    task = records[0].task
    shown = [record for record in records if record.task == task]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    names = ((axes[0], "loss", "training loss"), (axes[1], f"eval_{task.metric}", f"validation {task.metric}"))
    colors = {arm: f"C{i}" for i, arm in enumerate(dict.fromkeys(r.specification["arm"] for r in shown))}
    for axis, name, label in names:
        for record in shown:
            curve = record.curve(name)
            arm, seed = record.specification["arm"], record.specification["seed"]
            if curve:
                axis.plot(
                    *zip(*curve, strict=True), label=f"{arm}, seed {seed}", color=colors[arm], marker="o", ms=3, lw=1.5
                )
        axis.set(xlabel="step", ylabel=label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(frameon=False)
    backbone = shown[0].specification["backbone"]
    figure.suptitle(f"{task.name}, {backbone}, protocol {shown[0].specification['protocol']}")
    run_files.write_whole(path, lambda temporary: figure.savefig(temporary, dpi=130, format="png"))
    plt.close(figure)


def write_report(root: Path, output: Path) -> list[Path]:
    """Writes `table.md`, `table.json` and `loss_curves.png` of all runs below a folder; returns their paths."""
    records = collect_runs(root)
    found = tables(records)
    run_files.write_text(output / TABLE, "\n".join(markdown(table) for table in found))
    run_files.write_json(output / TABLE_JSON, found)
    picture(records, output / PICTURE)
    return [output / TABLE, output / TABLE_JSON, output / PICTURE]
