"""Rows of a task as a model reads them: ids of subwords in place of symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import AutoTokenizer

from ..backbones import load, resolve_backbone
from ..disciplines import get_discipline
from ..tasks import Task
from ..tokenization_discipline import DisciplineTokenizer
from .device_rows import flattened
from .labels import label_array
from .row_checks import sequence_columns

_BATCH = 1000  # rows in memory at a time, where rows are streamed


def encode(
    rows: Dataset | Mapping[str, list[str]], tokenizer: Any, task: Task, add_special_tokens: bool = True
) -> dict[str, list[list[int]]]:
    """`input_ids` and what else the model reads of rows or of a batch of them, cut to the task's `max_length`."""
    length = min(task.max_length, tokenizer.model_max_length)
    special: dict[str, Any] = {"add_special_tokens": add_special_tokens, "verbose": False}
    return dict(tokenizer(*_texts(rows), truncation=True, max_length=length, **special))


def encode_flat(
    rows: Dataset, tokenizer: Any, task: Task
) -> tuple[dict[str, np.ndarray | int], np.ndarray, np.ndarray]:
    """What [`encode`] gives as flat arrays, the number of tokens of each row, and labels; for [`DeviceRows`]."""
    labels = label_array(rows["label"][:], task)
    if not isinstance(tokenizer, DisciplineTokenizer):
        return *flattened(encode(rows, tokenizer, task)), labels
    texts, length = _texts(rows), min(task.max_length, tokenizer.model_max_length)
    pair = texts[1] if texts[1:] else None
    return *tokenizer.encode_flat(texts[0], pair, truncation=True, max_length=length, verbose=False), labels


def tokenize(rows: Dataset, tokenizer: Any, task: Task, add_special_tokens: bool = True) -> Dataset:
    """[`encode`] as a data set, the labels as its column `labels`."""
    labels = label_array(rows["label"][:], task).tolist()
    return Dataset.from_dict({**encode(rows, tokenizer, task, add_special_tokens), "labels": labels})


def _texts(rows: Dataset | Mapping[str, list[str]]) -> list[list[str]]:
    names = rows.column_names if isinstance(rows, Dataset) else rows
    return [rows[name][:] for name in sequence_columns(names)]


def tokens_cut(rows: Dataset, tokenizer: Any, task: Task, lengths: np.ndarray) -> np.ndarray:
    """How many tokens of each row were cut off, of shape `(rows,)`.

    Args:
        lengths: tokens of each row after cutting, with special tokens, of shape `(rows,)`.
    """
    length = min(task.max_length, tokenizer.model_max_length)
    cut, full = np.zeros_like(lengths), np.flatnonzero(lengths == length)
    if len(full):
        texts = ([column[row] for row in full] for column in _texts(rows))
        ids = tokenizer(*texts, verbose=False)["input_ids"]
        cut[full] = np.fromiter(map(len, ids), dtype=np.int64) - length
    return cut


def tokenizer_for(task: Task, backbone: str, assignment: str, seed: int) -> Any:
    """The tokenizer of a task: a `DisciplineTokenizer` over the backbone's vocabulary, or for text its own.

    Raises:
        ValueError: an unknown backbone or assignment. BackboneUnavailableError: it cannot be had.
    """
    text = load(resolve_backbone(backbone), AutoTokenizer.from_pretrained)
    if task.discipline == "text":
        return text
    seeded = seed if assignment == "random" else None
    return DisciplineTokenizer.from_backbone(text, get_discipline(task.discipline), assignment, seeded)


def tokenized_rows(rows: Dataset, tokenizer: Any, task: Task) -> Dataset:
    """`input_ids` and `labels` alone, as a plain `Trainer` takes them; `token_type_ids` too where pairs have them."""
    names = ["input_ids"]
    if task.pair and "token_type_ids" in tokenizer.model_input_names:
        names.append("token_type_ids")
    label = Value("float32") if task.labels is None else ClassLabel(names=list(task.labels))
    label = List(Value("float32")) if task.multi_label else label
    ids = {name: List(Value("int32")) for name in names}

    def encoded_batch(batch: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = encode(batch, tokenizer, task)
        return {**{name: encoded[name] for name in names}, "labels": label_array(batch["label"], task).tolist()}

    return rows.map(
        encoded_batch,
        batched=True,
        batch_size=_BATCH,
        remove_columns=rows.column_names,
        features=Features({**ids, "labels": label}),
        load_from_cache_file=False,
        desc="Tokenizing",
    )
