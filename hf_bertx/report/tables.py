"""Records -> a table of runs, as JSON and as Markdown: one row a run, with what its numbers depend on below it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ..arms import ARMS
from ..tasks import Task
from .records import RunRecord


def tables(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """One table for each protocol, task, backbone, split, fraction, state of the data and choice of hyperparameters; a
    row for each run. The learning rate is an arm's own, and stands in its row."""
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        s = record.specification
        key = tuple(str(s.get(name)) for name in ("task", "protocol", "backbone", "split", "fraction", "precision"))
        shared = {name: value for name, value in (s.get("hyperparameters") or {}).items() if name != "learning_rate"}
        identity = (*key, str(record.order.get("data_fingerprint")), json.dumps(shared, sort_keys=True))
        groups[identity].append(record)
    return [_table(group) for _, group in sorted(groups.items(), key=lambda item: item[0])]


def _table(group: list[RunRecord]) -> dict[str, Any]:
    first, task = group[0], group[0].task
    rows = []
    rand_best = [_best(r, task) for r in group if r.specification.get("start") == "random" and r.results is not None]
    bar = max((value for value in rand_best if value is not None), default=None)
    for record in group:
        s, results = record.specification, record.results or {}
        arm = ARMS.get(s["arm"])
        paper = task.published_score(arm.paper_row, fraction=s["fraction"]) if arm and arm.paper_row else None
        rows.append(
            {
                "arm": s["arm"],
                "seed": s["seed"],
                "state": record.state,
                "finished": record.results is not None,
                "learning_rate": (s.get("hyperparameters") or {}).get("learning_rate"),
                "test": {name: record.score(task.test_split, name) for name in task.metrics},
                "best_validation": _best(record, task),
                "steps_to_rand_best": None if bar is None else record.first_step_at(task.metric, bar),
                "epoch_losses": [round(loss, 4) for loss in record.epoch_losses()],
                "steps": results.get("steps"),
                "train_seconds": results.get("train_seconds"),
                "paper": None if paper is None else paper.value,
                "folder": record.folder.as_posix(),
            }
        )
    done = next((r.results for r in group if r.results is not None), None)
    names = ("task", "protocol", "backbone", "backbone_revision", "split", "fraction", "precision")
    return {
        **{name: first.specification.get(name) for name in names},
        "metrics": list(task.metrics),
        "hyperparameters": first.specification.get("hyperparameters"),
        "data_fingerprint": first.order.get("data_fingerprint"),
        "versions": first.order.get("versions", {}),
        "machine": first.order.get("machine"),
        "counts": None if done is None else done.get("counts"),
        "test_split": task.test_split,
        "test_duplicates": None if done is None else done.get("test_duplicates"),
        "rows": rows,
    }


def _best(record: RunRecord, task: Task) -> float | None:
    return max((value for _, value in record.curve(f"eval_{task.metric}")), default=None)


def markdown(table: dict[str, Any]) -> str:
    """One table as Markdown, with what its numbers depend on below it."""
    epochs = max((len(row["epoch_losses"]) for row in table["rows"]), default=0)
    head = ["arm", "seed", "learning rate", *(f"test {name}" for name in table["metrics"])]
    head += [f"loss, epoch {n + 1}" for n in range(epochs)]
    head += ["best validation", "steps to rand's best", "minutes", "paper (BERT-base)"]
    lines = [f"## {table['task']}, {table['backbone']}, protocol `{table['protocol']}`", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table["rows"]:
        losses = [*row["epoch_losses"], *[None] * (epochs - len(row["epoch_losses"]))]
        minutes = None if row["train_seconds"] is None else f"{row['train_seconds'] / 60:.1f}"
        cells = [f"`{row['arm']}`" + ("" if row["finished"] else f" ({row['state']})"), str(row["seed"])]
        cells.append("" if row["learning_rate"] is None else f"{row['learning_rate']:g}")
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
    m = table["machine"]
    lines = [_training(table)]
    if table["counts"] is not None:
        counts = ", ".join(f"{count} {name}" for name, count in table["counts"].items())
        copies = table["test_duplicates"]
        lines.append(
            f"- Items: {counts}"
            + ("." if copies is None else f"; {copies} test items occur in the training data, letter for letter.")
        )
    data = "" if table["data_fingerprint"] is None else f"Data sha256 {table['data_fingerprint'][:16]}; "
    where = "" if m is None else f"{m['processor']}, {m['cores']} cores, GPU {m['gpu'] or 'none'}; "
    versions = ", ".join(f"{name} {number}" for name, number in table["versions"].items())
    return [
        *lines,
        f"- {data}{where}{versions}.",
        "- The paper's column is x 100, of BERT-base (12 x 768) by its own protocol: to be read for the order of the "
        "arms, not against the numbers here.",
    ]


def _training(table: dict[str, Any]) -> str:
    h = table["hyperparameters"] or {}
    if "max_steps" not in h:  # a baseline
        tried = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in h.get("searched", {}).items())
        return (
            f"- A baseline, split `{table['split']}`, {_share(table)}. Tried, by the score on items that are not "
            f"tested: {tried or 'nothing'}."
        )
    schedule = f"{h['num_train_epochs']:g} epochs" if h["max_steps"] <= 0 else f"{h['max_steps']} steps"
    if table["test_split"] == "validation":
        return (
            f"- Training: batch {h['global_batch_size']}, {schedule}; the last "
            "weights were tested on the validation set, as the paper does, and nothing was selected on it."
        )
    return (
        f"- Training: {h['lr_scheduler_type']} schedule, batch {h['global_batch_size']}, {schedule}, "
        f"{table['precision']}, split `{table['split']}`, "
        f"{_share(table)}. The weights with the best validation score were tested, once."
    )


def _share(table: dict[str, Any]) -> str:
    return f"{100 * table['fraction']:g}% of the training data"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
