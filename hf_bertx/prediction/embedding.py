"""Raw sequences -> the encoder's hidden states, pooled: features for another tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import run_files
from ..data.input_records import Columns, InputRecord
from ..metrics import mean_answers
from .batches import in_chunks
from .inference import SequenceClassifier, check_finite
from .prediction_rows import write_tables

EMBEDDING_ENDINGS = (".parquet", ".npy")
POOLINGS = ("mean", "first")


def embed(
    classifier: SequenceClassifier,
    records: Iterable[InputRecord],
    layer: int | None = None,
    pooling: str = POOLINGS[0],
) -> Iterator[tuple[list[InputRecord], np.ndarray]]:
    """Embeds a stream of records, a chunk of them in memory at a time, in their order.

    Args:
        layer: 0 for the embeddings, or the number of a layer; by default the last one.
        pooling: `mean` of all positions, special tokens included, or the `first` one ([CLS]). Of a sequence that is
            read in several windows, the mean of its windows'.

    Returns:
        The records of a chunk and their embeddings, float32 of shape `(records, hidden)`.

    Raises:
        ValueError: an unknown pooling, a layer that the model does not have, or a symbol outside the alphabet.
    """
    from ..performance import restore, speed_up_prediction

    config = classifier.model.config
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if layers is None or hidden is None:
        raise ValueError(f"a model of type {config.model_type} has no layers of hidden states to embed with")
    if pooling not in POOLINGS:
        raise ValueError(f"pool is {pooling!r}; allowed: {', '.join(POOLINGS)}")
    if layer is not None and not 0 <= layer <= layers:
        raise ValueError(f"layer is {layer}; the model has 0 (the embeddings) to {layers}")
    encoder = speed_up_prediction(classifier.model.base_model)
    restore(encoder)  # undoes a last layer that computes position 0 alone
    encoder = speed_up_prediction(encoder)

    def pooled(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        states = encoder(**inputs, output_hidden_states=True).hidden_states[layers if layer is None else layer]
        if pooling == "first":
            return states[:, 0]
        if "attention_mask" not in inputs:
            return states.float().mean(dim=1)
        mask = inputs["attention_mask"][..., None]
        return (states.float() * mask).sum(dim=1) / mask.sum(dim=1)

    for chunk in in_chunks(records):
        classifier.count(chunk)  # so that an error names the position in the whole record
        readings, owners = classifier.readings(chunk)
        each = classifier.compute(readings, classifier.count(readings), pooled, hidden)
        mean = mean_answers(each, owners, regression=True)
        for record, values in zip(chunk, mean, strict=True):
            check_finite(values, record.place)
        yield chunk, mean


def embed_file(
    classifier: SequenceClassifier,
    path: Path,
    output: Path,
    columns: Columns | None = None,
    layer: int | None = None,
    pooling: str = POOLINGS[0],
) -> tuple[int, int]:
    """Embeds every record of a file, in order; the file is written whole or not at all.

    Args:
        output: `.parquet` with the columns `id` and `embedding`, written as it goes; or `.npy`, float32 of shape
            `(records, hidden)`, which is held in memory.

    Returns:
        Records, and the size of an embedding.

    Raises:
        ValueError: as [`embed`], or bad input.
    """
    embedded = embed(classifier, classifier.read(path, columns), layer, pooling)
    shape = [0, 0]

    def chunks() -> Iterator[tuple[list[InputRecord], np.ndarray]]:
        for records, values in embedded:
            shape[:] = shape[0] + len(values), values.shape[1]
            yield records, values

    def write(temporary: Path) -> None:
        if output.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, np.concatenate([values for _, values in chunks()]), allow_pickle=False)
        else:
            write_tables(temporary, (_table(*chunk) for chunk in chunks()))

    run_files.write_whole(output, write)
    return shape[0], shape[1]


def _table(records: list[InputRecord], values: np.ndarray) -> Any:
    import pyarrow as pa

    embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return pa.table({"id": [record.id for record in records], "embedding": embedding})
