"""What is trained on in a benchmark: sequences of a task where they are at hand, else random ones of its lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertConfig, BertModel

from hf_bertx.backbones import resolve_backbone
from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.task_data import TaskData, features, load_task_data
from hf_bertx.tasks import Task, get_task

VALIDATION_ROWS = 64


@dataclass(frozen=True)
class Case:
    """A task, the backbone that is tuned on it, and how many symbols a random sequence of it has: least, most.

    `model` names a backbone, or is a number of layers and a width: then its weights are drawn.
    """

    name: str
    task: str
    symbols: tuple[int, int]
    batch: int = 32
    model: str | tuple[int, int] = "minilm-l6"

    @property
    def size(self) -> str:
        return self.model if isinstance(self.model, str) else f"{self.model[0]} x {self.model[1]}"


CASES = {
    case.name: case
    for case in (
        Case("splice", "dna-splice", (60, 60)),
        Case("maestro", "music-maestro-v1", (128, 128)),
        # a quarter of the training proteins of localization has fewer than 245 amino acids, half fewer than 417
        Case("proteins", "protein-localization", (40, 800)),
        Case("h3", "dna-h3", (500, 500)),
        Case("h3-base", "dna-h3", (500, 500), model=(12, 768)),
        # as small as a model can be: so that the benchmark itself can be tried
        Case("tiny", "dna-splice", (60, 60), batch=4, model=(2, 32)),
    )
}


def task_rows(case: Case, data_dir: Path | None, count: int) -> tuple[TaskData, str]:
    """`count` rows to train on and a few to validate on, and a sentence that says what they are.

    Args:
        data_dir: holds a folder for each task, named as it is; a task without one gets random sequences.
    """
    task = get_task(case.task)
    folder = None if data_dir is None else data_dir / case.task
    if case.task == "dna-splice" or (folder is not None and folder.is_dir()):
        data = load_task_data(task, "paper", None if case.task == "dna-splice" else str(folder))
        rows = data.splits["train"].shuffle(seed=0)
        train = rows.select([n % len(rows) for n in range(count)]).flatten_indices(keep_in_memory=True)
        rest = data.splits["validation"].select(range(min(VALIDATION_ROWS, len(data.splits["validation"]))))
        splits = {"train": train, "validation": rest, "test": rest}
        return TaskData(splits, data.origin, data.fingerprint, 0), f"real sequences of {case.task}"
    rows = random_rows(task, case.symbols, count + VALIDATION_ROWS)
    rest = rows.select(range(count, count + VALIDATION_ROWS))
    splits = {"train": rows.select(range(count)), "validation": rest, "test": rest}
    low, high = case.symbols
    lengths = f"{low} symbols" if low == high else f"{low} to {high} symbols, all lengths alike"
    return TaskData(splits, "drawn", "drawn with seed 0", 0), f"random sequences of {lengths}"


def random_rows(task: Task, symbols: tuple[int, int], count: int) -> Dataset:
    """Rows in the task's columns; the same ones every time."""
    draw = random.Random(0)
    alphabet = [str(n) for n in range(21, 109)] if task.discipline == "music" else _letters(task)
    between = " " if task.discipline == "music" else ""
    sequences = [between.join(draw.choices(alphabet, k=draw.randint(*symbols))) for _ in range(count)]
    labels = [draw.random() if task.labels is None else draw.randrange(len(task.labels)) for _ in range(count)]
    columns = {"id": [f"row-{n}" for n in range(count)], "sequence": sequences, "label": labels}
    if task.votes:
        columns["group"] = [f"piece-{n // 4}" for n in range(count)]
    return Dataset.from_dict(columns, features=features(task.labels, group=task.votes))


def _letters(task: Task) -> list[str]:
    return list("ACGT") if task.discipline == "dna" else list(DISCIPLINES[task.discipline].symbols[:20])


def backbone_of(case: Case, folder: Path) -> str:
    """The name of the case's backbone, or a folder with a model of its size whose weights were drawn with seed 0."""
    if isinstance(case.model, str):
        return case.model
    layers, width = case.model
    path = folder / f"bert-{layers}x{width}"
    if not (path / "config.json").is_file():
        torch.manual_seed(0)
        heads, inner = max(2, width // 64), 4 * width
        config = BertConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner
        )
        AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source).save_pretrained(path)
        BertModel(config).save_pretrained(path)
    return str(path)
