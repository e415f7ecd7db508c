"""Parts of a card: facts of a probe, and the candidates that a model was chosen from."""

from __future__ import annotations

from typing import Any

from ..arms import ARMS
from ..backbones import known_backbone
from ..runs.run import Run
from . import card_facts


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


def probe_facts(run: Run) -> dict[str, Any]:
    """The values of a probe card's template."""
    backbone = known_backbone(run.specification["backbone"])
    return {
        **card_facts.shared_facts(run, backbone),
        "arm": ARMS[run.specification["arm"]],
        "backbone": backbone,
        "backbone_name": card_facts.backbone_name(run.order),
        "example": card_facts.examples(run.task),
        "leaks": run.order.get("data_leaks", []),
        "token_map": card_facts.token_map(run.folder, run.task),
        "compared": compared_lines(run),
    }
