"""Small saved models, and input files for them."""

import random
from pathlib import Path
from typing import Any

import raw_files
import torch
from transformers import AutoTokenizer

from hf_bertx.cli import main
from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.tokenization_discipline import DisciplineTokenizer


def saved(backbone: Path, folder: Path, discipline: str, **fields: Any) -> Path:
    torch.manual_seed(1)
    model = BertForDisciplineClassification.from_backbone(str(backbone), **fields)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.get_input_embeddings().weight.data *= 20  # so that answers differ
    model.save_pretrained(folder)
    if discipline == "text":
        AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    else:
        DisciplineTokenizer.from_backbone(str(backbone), discipline).save_pretrained(folder)
    return folder


def classes(*names: str) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": "single_label_classification",
    }


def sequences(n: int, letters: str = "ACGT", longest: int = 90, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(letters, k=draw.randint(1, longest))) for _ in range(n)]


def fasta(path: Path, rows: list[str]) -> Path:
    path.write_text("".join(f">item{i} label=x\n{row}\n" for i, row in enumerate(rows)))
    return path


def midi(path: Path, notes: int, seed: int) -> Path:
    draw = random.Random(seed)
    raw_files.write(path.parent, {path.name: raw_files.midi(*(draw.randint(30, 90) for _ in range(notes)))})
    return path


def predict(*argv: Any) -> int:
    return main(["predict", *map(str, argv)])


def stop_after_a_chunk(done: int, total: int | None) -> None:
    """Progress of a prediction that is interrupted when its first chunk is on disk."""
    if done:
        raise KeyboardInterrupt
