"""Both sides of prediction, each in a process of its own, and the sequences that they are asked of."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

import hf_bertx
from hf_bertx.backbones import resolve_backbone
from hf_bertx.disciplines import PROTEIN
from hf_bertx.input_records import InputRecord, read_input
from hf_bertx.performance.memory import keep_freed_memory
from hf_bertx.prediction import inference
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.tokenization_discipline import DisciplineTokenizer

FREED = "freed memory given back"
PRECISIONS = ("float32", "bfloat16")


def splice(n: int) -> list[str]:
    """Different splice sequences: the package's 3,190, then some of them with three letters changed."""
    folder = Path(hf_bertx.__file__).parent / "data" / "dna-splice" / "paper"
    real = [row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part)["sequence"].to_pylist()]
    draw, found = random.Random(0), dict.fromkeys(real)
    while len(found) < n:
        letters = list(draw.choice(real))
        for at in draw.sample(range(len(letters)), 3):
            letters[at] = draw.choice("ACGT")
        found["".join(letters)] = None
    return list(found)[:n]


def proteins(path: Path, n: int) -> list[str]:
    """Different proteins of a FASTA file, in random order."""
    letters = set(PROTEIN.symbols)
    rows = list(dict.fromkeys(r.sequence.upper() for r in read_input(path) if set(r.sequence.upper()) <= letters))
    return random.Random(0).sample(rows, min(n, len(rows)))


def drawn_proteins(n: int) -> list[str]:
    """Random proteins of 40 to 800 amino acids, all lengths alike, where no file is at hand."""
    draw = random.Random(0)
    return ["".join(draw.choices(PROTEIN.symbols[:20], k=draw.randint(40, 800))) for _ in range(n)]


def spread_by_length(rows: list[str], n: int, draw: random.Random) -> list[str]:
    """So many of the rows that their lengths are spread as those of all, in random order.

    Two samples of a hundred proteins each, drawn freely, differ by some hundredths in how long they are.
    """
    n = min(n, len(rows))
    by_length = sorted(rows, key=len)
    some = [by_length[int((i + draw.random()) * len(rows) / n)] for i in range(n)]
    return draw.sample(some, n)


def model_for(discipline: str, backbone: str, folder: Path) -> Path:
    """A classifier of the backbone's size with a random head: what it answers does not matter for how fast."""
    source = resolve_backbone(backbone).source
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=3, problem_type="single_label_classification"
    ).save_pretrained(folder)
    DisciplineTokenizer.from_backbone(AutoTokenizer.from_pretrained(source), discipline).save_pretrained(folder)
    return folder


def on_cpu(
    model: Path, options: argparse.Namespace, kind: type[SequenceClassifier] = SequenceClassifier, **told: Any
) -> SequenceClassifier:
    """Ours on the processor, where the peer is, whatever GPU there is."""
    told = {"precision": options.precision, "threads": options.threads, **told}
    loaded = AutoModelForSequenceClassification.from_pretrained(model)
    return kind(loaded, AutoTokenizer.from_pretrained(model), **told)


def rate(work: Callable[[list[str]], Any], rows: list[str]) -> float:
    started = time.perf_counter()
    work(rows)
    return len(rows) / (time.perf_counter() - started)


def ours(classifier: SequenceClassifier, rows: list[str]) -> np.ndarray:
    """Scores of the classes, shape `(items, classes)`."""
    records = (InputRecord(str(i), row, f"row {i}") for i, row in enumerate(rows))
    return np.concatenate([softmax(window.logits, axis=1) for window in classifier.windows(records)])


def theirs(classify: Any, rows: list[str]) -> np.ndarray:
    answers = classify(rows, top_k=None, truncation=True)
    names = [classify.model.config.id2label[i] for i in range(classify.model.config.num_labels)]
    return np.array([[{a["label"]: a["score"] for a in answer}[name] for name in names] for answer in answers])


def precisions(options: argparse.Namespace) -> list[str]:
    """What ours computes in, as it comes first; where that is not float32, float32 too."""
    fast = "bfloat16" if inference.fast_bfloat16(use_cpu=True) else "float32"
    return list(dict.fromkeys((fast, "float32"))) if options.precision == "auto" else [options.precision]


# what scores rows in a process that was begun for it
_score: Callable[[list[str]], np.ndarray] | None = None


def _begin(side: str, model: Path, options: argparse.Namespace) -> None:
    """In a process of its own, since what `bertx predict` tells its process is not told to the peer's."""
    global _score
    threading.Thread(target=_end_with_parent, daemon=True).start()
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(options.threads)
    if side == "peer":
        _score = partial(theirs, pipeline("text-classification", model=str(model), device="cpu"))
        return
    if side != FREED:
        keep_freed_memory()
    _score = partial(ours, on_cpu(model, options, **({"precision": side} if side in PRECISIONS else {})))


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work, or go on with it, beside the next one to measure."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def scores_here(rows: list[str]) -> np.ndarray:
    assert _score is not None
    return _score(rows)


def rate_here(rows: list[str]) -> float:
    return rate(scores_here, rows)


def warm_here(rows: list[str], seconds: float) -> float:
    """Scores the first rows, then as many as take `seconds`: memory that is kept is at hand then.

    Returns:
        How many of them it can score a second.
    """
    few = rows[: len(rows) // 8 + 1]
    speed = rate_here(few)
    return rate_here(rows[: max(len(few), int(speed * seconds))])


@contextmanager
def processes(model: Path, options: argparse.Namespace, *sides: str) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each, begun: `peer`, ours in a precision, `ours` as the options say, `FREED`."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        made = {
            side: stack.enter_context(
                ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(side, model, options))
            )
            for side in sides
        }
        for asked in [process.submit(scores_here, ["A" * 20]) for process in made.values()]:
            asked.result()
        yield made
