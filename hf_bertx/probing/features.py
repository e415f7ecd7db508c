"""Hidden states of a frozen encoder, pooled by layer, and their cache on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers.utils import logging

from .. import run_files
from ..prediction.batches import for_each_batch

logger = logging.get_logger(__name__)

POOLINGS = ("mean", "first")
OF_A_MODEL = "layer"  # the pooling of a probe that is saved as a model
TOKENS_A_BATCH = 4096  # padding included
_CHUNK = 512  # items whose features are written at once; a killed run loses at most so many


def extract(
    model: Any, columns: Mapping[str, Sequence[Sequence[int]]], pad_token_id: int, threads: int = 1
) -> np.ndarray:
    """Pools the hidden states of each layer.

    Args:
        model: an encoder of transformers in evaluation mode.
        columns: `input_ids` and, where the model reads them, `token_type_ids`: lists of token ids, one a sequence.
        pad_token_id: stands in padded places, which are masked.
        threads: batches that are computed at the same time.

    Returns:
        float16 of shape `(sequences, layers + 1, 2, hidden)`: the embeddings, then each layer; the mean over all
        positions, special tokens included, then the first position ([CLS]).

    Raises:
        FloatingPointError: a feature is not a finite number in float16.
    """
    lengths = np.fromiter(map(len, columns["input_ids"]), dtype=np.int64)
    config = model.config
    shape = (len(lengths), config.num_hidden_layers + 1, len(POOLINGS), config.hidden_size)
    out = np.empty(shape, dtype=np.float16)

    def compute(batch: np.ndarray) -> None:
        inputs = {}
        for name, rows in columns.items():
            padding = pad_token_id if name == "input_ids" else 0
            padded = pad_sequence([torch.tensor(rows[row]) for row in batch], True, padding)
            inputs[name] = padded.to(model.device)
        count = torch.from_numpy(lengths[batch]).to(model.device)
        mask = torch.arange(int(count.max()), device=model.device) < count[:, None]  # (batch, length)
        if not bool(mask.all()):
            inputs["attention_mask"] = mask.long()
        with torch.inference_mode():
            for layer, states in enumerate(model(**inputs, output_hidden_states=True).hidden_states):
                summed = (states * mask[..., None]).sum(1, dtype=torch.float32)
                out[batch, layer, 0] = (summed / count[:, None]).cpu().numpy()
                out[batch, layer, 1] = states[:, 0].float().cpu().numpy()

    for_each_batch(compute, lengths, TOKENS_A_BATCH, threads)
    if not np.isfinite(out).all():
        raise FloatingPointError(
            f"a hidden state of {config.model_type} is not a finite number in float16; the weights are damaged, or "
            "their scale does not suit a probe"
        )
    return out


class FeatureCache:
    """A cache of single items' features on disk, keyed by the item and everything that features depend on.

    A cache is a folder. `chunk-NAME.npy` holds the features of some items, float16 of shape
    `(items, layers + 1, 2, hidden)`; `chunk-NAME.json` holds their keys and the sha256 of the other file. A chunk
    whose file has changed is not used; its items are computed again. A chunk is named by its items, so that processes
    may share a cache.

    Args:
        root: the folder of all caches.
        depends_on: what decides the features beside the items: the weights' sha256, precision, ...
    """

    def __init__(self, root: Path, depends_on: dict[str, Any]) -> None:
        identity = json.dumps(depends_on, sort_keys=True).encode()
        self.folder = Path(root) / hashlib.sha256(identity).hexdigest()[:24]
        run_files.write_json(self.folder / "depends_on.json", depends_on)

    def features(self, keys: Sequence[str], compute: Callable[[list[int]], np.ndarray]) -> np.ndarray:
        """The features of items, computed where the cache does not hold them.

        Args:
            keys: one an item; equal items have equal keys.
            compute: takes positions in `keys` and returns their features.

        Returns:
            float16 of shape `(len(keys), layers + 1, 2, hidden)`.
        """
        places: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(key, []).append(i)
        chunks = list(self._holding(places))
        held = {key for chunk_keys, _ in chunks for key in chunk_keys}
        missing = [same[0] for key, same in places.items() if key not in held]
        starts = range(0, len(missing), _CHUNK)
        for start in tqdm(starts, desc="Features", unit=f"x {_CHUNK} items", disable=None):
            part = missing[start : start + _CHUNK]
            part_keys = [keys[i] for i in part]
            chunks.append((part_keys, self._write(part_keys, compute(part))))
        out: np.ndarray | None = None
        for chunk_keys, path in chunks:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            if out is None:
                out = np.empty((len(keys), *stored.shape[1:]), dtype=np.float16)
            for row, key in enumerate(chunk_keys):
                if key in places:
                    out[places[key]] = stored[row]
        assert out is not None  # every key is held
        return out

    def _holding(self, places: dict[str, list[int]]) -> Iterator[tuple[list[str], Path]]:
        """The chunks that hold one of these keys and are as they were written."""
        for record in sorted(self.folder.glob("chunk-*.json")):
            path = record.with_suffix(".npy")
            try:
                held = run_files.read_json(record)
                items, digest = held["items"], held["sha256"]
            except (ValueError, KeyError, TypeError):
                if not record.exists():  # removed by another process
                    continue
                items, digest = [], None
            if digest is not None and not any(key in places for key in items):
                continue
            if path.is_file() and run_files.sha256(path) == digest:
                yield items, path
                continue
            logger.warning(f"{path}: it or its record is missing or damaged; its items are computed again")
            record.unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _write(self, keys: list[str], features: np.ndarray) -> Path:
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
        path = self.folder / f"chunk-{name}.npy"

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, features, allow_pickle=False)

        run_files.write_whole(path, save)
        run_files.write_json(path.with_suffix(".json"), {"sha256": run_files.sha256(path), "items": keys})
        return path


def item_keys(columns: Mapping[str, Sequence[Sequence[int]]]) -> list[str]:
    """Keys of items: a digest of the token ids of each."""
    names = sorted(columns)
    digests = []
    for row in zip(*(columns[name] for name in names), strict=True):
        digest = hashlib.sha256()
        for name, ids in zip(names, row, strict=True):
            digest.update(name.encode() + np.asarray(ids, dtype=np.int32).tobytes())
        digests.append(digest.hexdigest()[:24])
    return digests


def weights_digest(model: torch.nn.Module) -> str:
    """sha256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
