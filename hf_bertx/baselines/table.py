"""Run folders of baselines -> one table: a row for each task, split and baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import run_files
from ..arms import BASELINE
from ..report.write import collect_runs
from ..runs.run import Run
from .catalog import BASELINES

TABLE, TABLE_JSON = "table.md", "table.json"


def baseline_rows(root: Path) -> list[dict[str, Any]]:
    """What each finished run of a baseline below a folder gave, by task, split and the order of `BASELINES`.

    Raises:
        ValueError: no such folder, no run of a baseline in it, or a file that cannot be read.
    """
    found = [r for r in collect_runs(root) if r.specification["arm"] == BASELINE and r.results is not None]
    if not found:
        raise ValueError(f"{root}: holds no finished run of a baseline; `bertx baseline` makes one")
    order = {name: i for i, name in enumerate(BASELINES)}
    rows = [_row(record) for record in found]
    return sorted(
        rows,
        key=lambda r: (
            r["task"],
            r["split"],
            r["fraction"],
            order.get(r["baseline"], len(order)),
            r["baseline"],
            r["seed"],
        ),
    )


def _row(record: Run) -> dict[str, Any]:
    s, results, task = record.specification, record.results, record.task
    assert results is not None
    names = ("train_items", "evaluated_items", "test_duplicates", "chosen", "tried", "parameters", "train_seconds")
    return {
        "baseline": s["backbone"],
        **{name: s[name] for name in ("task", "split", "seed", "fraction")},
        "epochs": s["hyperparameters"]["epochs"],
        "metric": task.metric,
        "test_split": results["test_split"],
        "metrics": results["metrics"],
        **{name: results[name] for name in names},
        "paper": {
            score.row: score.value for score in task.published if score.fraction == 1 and score.model != "ALBERT"
        },
        "data_fingerprint": record.order["data_fingerprint"],
        "machine": record.order["machine"],
        "versions": record.order["versions"],
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, one table for each task and split."""
    blocks = []
    for key in dict.fromkeys((row["task"], row["split"], row["fraction"]) for row in rows):
        blocks.append(_block([row for row in rows if (row["task"], row["split"], row["fraction"]) == key]))
    return "\n".join(blocks)


def _block(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    names = list(first["metrics"][first["test_split"]])
    share = "" if first["fraction"] == 1 else f", {100 * first['fraction']:g}% of the training data"
    lines = [f"## {first['task']}, split `{first['split']}`{share}", ""]
    head = [
        "baseline",
        "seed",
        *(f"{first['test_split']} {name}" for name in names),
        "chosen",
        "parameters",
        "seconds",
    ]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [f"{row['metrics'][row['test_split']][name]:.3f}" for name in names]
        chosen = ", ".join(f"{name} {value:g}" for name, value in row["chosen"].items())
        cut = "" if row["epochs"] is None else f" ({row['epochs']:g} pass{'' if row['epochs'] == 1 else 'es'})"
        cells = [f"`{row['baseline']}`{cut}", str(row["seed"]), *scores, chosen, f"{row['parameters']:,}"]
        lines.append("| " + " | ".join([*cells, f"{row['train_seconds']:.0f}"]) + " |")
    paper = ", ".join(f"{name} {value:g}" for name, value in first["paper"].items())
    items = first["evaluated_items"][first["test_split"]]
    lines += ["", f"- {first['train_items']} training and {items} test items, {first['test_duplicates']} of the test "]
    lines[-1] += f"items letter for letter among the training items; data sha256 {first['data_fingerprint'][:16]}."
    if paper:
        own = "by its own protocol, on its own copy of the data"
        lines.append(f"- The paper's table, x 100 of {first['metric']}: {paper}; {own}.")
    return "\n".join([*lines, ""])


def write_table(root: Path, output: Path) -> list[Path]:
    """Writes `table.md` and `table.json` of all baselines below a folder; returns their paths."""
    rows = baseline_rows(root)
    run_files.write_text(output / TABLE, markdown(rows))
    run_files.write_json(output / TABLE_JSON, rows)
    return [output / TABLE, output / TABLE_JSON]
