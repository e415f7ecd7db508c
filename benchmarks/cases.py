"""What is trained on in a benchmark: sequences of a task where they are at hand, else random ones of its lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import ClassLabel, Dataset
from transformers import AutoTokenizer, BertConfig, BertModel

from hf_bertx.backbones import resolve_backbone
from hf_bertx.data.task_data import TaskData, load_task_data
from hf_bertx.tasks import get_task

VALIDATION_ROWS = 64


@dataclass(frozen=True)
class Case:
    """A task, the symbols of a random sequence of it, and a backbone: a name, or layers and width of a random one."""

    name: str
    task: str
    symbols: int
    batch: int = 32
    model: str | tuple[int, int] = "minilm-l6"

    @property
    def size(self) -> str:
        return self.model if isinstance(self.model, str) else f"{self.model[0]} x {self.model[1]}"


CASES = {
    case.name: case
    for case in (
        Case("splice", "dna-splice", 60),
        Case("maestro", "music-maestro-v1", 128),
        Case("h3", "dna-h3", 500),
        Case("h3-base", "dna-h3", 500, model=(12, 768)),
        # next to no model: its steps are what the Trainer itself takes
        Case("tiny", "dna-splice", 60, batch=4, model=(2, 32)),
    )
}


def task_rows(case: Case, data_dir: str, count: int) -> tuple[TaskData, str]:
    """`count` rows to train on and a few to validate on, and a sentence that says what they are.

    Args:
        data_dir: holds a folder for each task, named as it is; a task without one gets random sequences.
    """
    task = get_task(case.task)
    folder = Path(data_dir) / case.task if data_dir else None
    if case.task == "dna-splice" or (folder is not None and folder.is_dir()):
        data = load_task_data(task, "paper", None if case.task == "dna-splice" else str(folder))
        rows = data.splits["train"].shuffle(seed=0)
        train = rows.select([n % len(rows) for n in range(count)]).flatten_indices(keep_in_memory=True)
        rest = data.splits["validation"].select(range(min(VALIDATION_ROWS, len(data.splits["validation"]))))
        splits = {"train": train, "validation": rest, "test": rest}
        return TaskData(task, splits, data.origin, data.fingerprint, 0), f"real sequences of {case.task}"
    rows = _random_rows(case, count + VALIDATION_ROWS)
    rest = rows.select(range(count, count + VALIDATION_ROWS))
    splits = {"train": rows.select(range(count)), "validation": rest, "test": rest}
    return TaskData(task, splits, "drawn", "drawn with seed 0", 0), f"random sequences of {case.symbols} symbols"


def _random_rows(case: Case, count: int) -> Dataset:
    """Rows in the task's columns; the same ones every time."""
    task, draw = get_task(case.task), random.Random(0)
    music = task.discipline == "music"
    alphabet, between = ([str(n) for n in range(21, 109)], " ") if music else (list("ACGT"), "")
    sequences = [between.join(draw.choices(alphabet, k=case.symbols)) for _ in range(count)]
    labels = [draw.randrange(len(task.labels or ())) for _ in range(count)]
    columns = {"id": [f"row-{n}" for n in range(count)], "sequence": sequences, "label": labels}
    if task.votes:
        columns["group"] = [f"piece-{n // 4}" for n in range(count)]
    return Dataset.from_dict(columns).cast_column("label", ClassLabel(names=list(task.labels or ())))


def backbone_of(case: Case, folder: Path, tokenizer: str | None = None) -> str:
    """The name of the case's backbone, or a folder with a model of its size whose weights were drawn with seed 0."""
    if isinstance(case.model, str):
        return case.model
    layers, width = case.model
    path = folder / f"bert-{layers}x{width}"
    if not (path / "config.json").is_file():
        torch.manual_seed(0)
        size = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width}
        AutoTokenizer.from_pretrained(tokenizer or resolve_backbone("minilm-l6").source).save_pretrained(path)
        BertModel(BertConfig(num_attention_heads=max(2, width // 64), **size)).save_pretrained(path)
    return str(path)
