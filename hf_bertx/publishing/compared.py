"""A part of a card: the candidates that a model was chosen from."""

from __future__ import annotations

from ..runs.run import Run


def drawn_items(items: int, groups: int | None) -> str:
    """`340 items`, or `12 groups of 340 items`: what an interval is over."""
    return f"{items} items" if groups is None else f"{groups} groups of {items} items"


def compared_lines(run: Run) -> list[str]:
    """A table of the candidates and the sentence on the best baseline, as Markdown; empty where none was compared."""
    compared = (run.results or {}).get("comparison")
    if compared is None:
        return []
    metric, over = compared["metric"], drawn_items(compared["test_items"], compared.get("test_groups"))
    lines = [f"| | validation {metric} | test {metric} [95% over {over}] |", "|---|---|---|"]
    for row in compared["candidates"]:
        name = f"**{row['name']}**" if row["name"] == compared["kept"] else row["name"]
        interval = f"{row['test']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        lines.append(f"| {name} | {row['validation']:.3f} | {interval} |")
    sentences = [compared["sentence"]] if "sentence" in compared else []
    return [*lines, "", " ".join([*sentences, "Bold is the model that validation chose."])]
