"""Records -> a table with one row for each run and its settings, as JSON and Markdown."""

from __future__ import annotations

import json
from typing import Any

from ..arms import ARMS
from ..protocols import PROBE
from ..runs.run import Run
from .cells import Column
from .comparisons import OF_AN_ARM
from .formatting import grouped, markdown_table, markdown_text
from .make_cells import flat_specification, made_of
from .records import RunsFolder

_EPOCHS_SHOWN = 6  # in a Markdown table: the first, the last and some between; table.json has all
_COLUMN = ("task", "protocol", "backbone", "split", "fraction", "precision")
_OTHERS = ("kmer", "window", "overlap")  # of a specification; few runs have them


def tables(runs: RunsFolder) -> list[dict[str, Any]]:
    """One table for each task, protocol, backbone, split, fraction, precision, data and choice of everything else that
    is not part of an arm; a row a run. The learning rate belongs to an arm, and stands in its row."""

    def identity(record: Run) -> tuple[str, ...]:
        shared = {name: value for name, value in flat_specification(record).items() if name not in OF_AN_ARM}
        columns = (str(record.specification.get(name)) for name in _COLUMN)
        return (*columns, str(made_of(record)), json.dumps(shared, sort_keys=True))

    return [_table(group, runs) for _, group in sorted(grouped(runs.records, identity).items())]


def _table(group: list[Run], runs: RunsFolder) -> dict[str, Any]:
    first, task = group[0], group[0].task
    random = [run for run in group if run.specification.get("start") == "random" and run.results is not None]
    bar = max((value for run in random if (value := _best(run)) is not None), default=None)
    done = next((run.results for run in group if run.results is not None), {})
    names = ("task", "protocol", "backbone", "backbone_revision", "split", "fraction", "precision", "items")
    rare = {name: value for name in _OTHERS if (value := first.specification.get(name)) is not None}
    return {
        **{name: first.specification.get(name) for name in (*names, "max_eval_items")},
        **rare,
        "metrics": list(task.metrics),
        "hyperparameters": first.specification.get("hyperparameters"),
        "data_fingerprint": first.order.get("data_fingerprint"),
        "versions": first.order.get("versions", {}),
        "machine": first.order.get("machine"),
        "counts": done.get("counts"),
        "test_split": task.test_split,
        "test_duplicates": done.get("test_duplicates"),
        "rows": [_row(run, bar) | {"folder": runs.below(run.folder)} for run in group],
    }


def _row(run: Run, bar: float | None) -> dict[str, Any]:
    """A run; `bar` is the best validation score of a random start."""
    s, results, task = run.specification, run.results or {}, run.task
    reached = None if bar is None else run.first_step_at(task.metric, bar)
    if reached is not None:  # the log is of the last start
        reached += sum(start["steps"] for start in results.get("restarts") or ())
    arm = ARMS.get(s["arm"])
    paper = task.published_score(arm.paper_row, fraction=s["fraction"]) if arm and arm.paper_row else None
    return {
        "arm": s["arm"],
        "seed": s["seed"],
        "state": run.state,
        "finished": run.results is not None,
        "learning_rate": (s.get("hyperparameters") or {}).get("learning_rate"),
        "test": {name: run.score(task.test_split, name) for name in task.metrics},
        "best_validation": _best(run),
        "steps_to_rand_best": reached,
        "epoch_losses": [round(loss, 4) for loss in run.epoch_losses()],
        "steps": results.get("steps"),
        "train_seconds": results.get("train_seconds"),
        "paper": None if paper is None else paper.value,
    }


def _best(run: Run) -> float | None:
    return max((value for _, value in run.curve(f"eval_{run.task.metric}")), default=None)


def markdown(table: dict[str, Any]) -> str:
    """One table as Markdown, with what its numbers depend on below it."""
    epochs = max((len(row["epoch_losses"]) for row in table["rows"]), default=0)
    head = ["arm", "seed", "learning rate", *(f"test {name}" for name in table["metrics"])]
    most = min(epochs, _EPOCHS_SHOWN)
    shown = sorted({round(n * (epochs - 1) / max(most - 1, 1)) for n in range(most)})
    head += [f"loss, epoch {n + 1}" for n in shown]
    head += ["best validation", "steps to rand's best", "minutes", "paper (BERT-base)"]
    rows = []
    for row in table["rows"]:
        losses = [*row["epoch_losses"], *[None] * (epochs - len(row["epoch_losses"]))]
        losses = [losses[n] for n in shown]
        numbers = [*(row["test"][name] for name in table["metrics"]), *losses, row["best_validation"]]
        rows.append([
            f"`{row['arm']}`" + ("" if row["finished"] else f" ({row['state']})"),
            row["seed"],
            None if row["learning_rate"] is None else f"{row['learning_rate']:g}",
            *(None if number is None else f"{number:.3f}" for number in numbers),
            row["steps_to_rand_best"],
            None if row["train_seconds"] is None else f"{row['train_seconds'] / 60:.1f}",
            row["paper"],
        ])  # fmt: skip
    title = f"## {markdown_text(table['task'])}, {markdown_text(table['backbone'])}, protocol `{table['protocol']}`"
    title += Column.of(table).limits_text
    title += "".join(f", {name} {table[name]}" for name in _OTHERS if name in table)
    return "\n".join([title, "", markdown_table(head, rows), "", *_footnotes(table), ""])


def _footnotes(table: dict[str, Any]) -> list[str]:
    lines, m = [_training(table)], table["machine"]
    if table["counts"] is not None:
        counts, copies = ", ".join(f"{n} {name}" for name, n in table["counts"].items()), table["test_duplicates"]
        leaks = "" if copies is None else f"; {copies} test items occur in the training data, letter for letter"
        lines.append(f"- Items: {counts}{leaks}.")
    data = "" if table["data_fingerprint"] is None else f"Data sha256 {table['data_fingerprint'][:16]}; "
    machine = "" if m is None else f"{m['processor']}, {m['cores']} cores, GPU {m['gpu'] or 'none'}; "
    versions = ", ".join(f"{name} {number}" for name, number in table["versions"].items())
    return [
        *lines,
        f"- {data}{machine}{versions}.",
        "- The paper's column is x 100, for BERT-base (12 x 768) by its own protocol. Compare the order of the arms, "
        "not the numbers.",
    ]


def _training(table: dict[str, Any]) -> str:
    h = table["hyperparameters"] or {}
    share = f"split `{table['split']}`, {100 * table['fraction']:g}% of the training data"
    if table["protocol"] == PROBE:
        selected = "held-out training items" if table["test_split"] == "validation" else "validation"
        return f"- A ridge head on frozen features, {share}. Layer and pooling were chosen on {selected}."
    if "max_steps" not in h:
        tried = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in h.get("searched", {}).items())
        return f"- A baseline, {share}. Hyperparameters tried on items that are not tested: {tried or 'nothing'}."
    schedule = f"{h['num_train_epochs']:g} epochs" if h["max_steps"] <= 0 else f"{h['max_steps']} steps"
    batch = f"batch {h['global_batch_size']}, {schedule}"
    if table["test_split"] == "validation":
        return (
            f"- Training: {batch}. The last weights were tested on the validation set, as in the paper; nothing was "
            "selected on it."
        )
    return (
        f"- Training: {h['lr_scheduler_type']} schedule, {batch}, {table['precision']}, {share}. The weights with the "
        "best validation score were tested, once."
    )
