"""A start of a backbone as a frozen encoder, and a task's rows with their features by it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed

from .. import metrics
from ..arms import get_arm
from ..backbones import resolve_backbone
from ..data.labels import label_array
from ..data.tokenized_data import encode, tokens_cut
from ..processor import fast_bfloat16, usable_cores
from ..protocols import PROBE, RECOMMENDED
from ..runs.arguments import ResolvedRun, windows_of
from ..runs.model import build_model, build_tokenizer
from ..runs.windows import in_windows
from ..tasks import Task, get_task
from .features import OF_A_MODEL, POOLINGS, FeatureCache, extract, item_keys, weights_digest
from .pooling_layer import pooled

VERSION = 1  # version of how features and heads are computed; a change that affects results increases it


def precision() -> str:
    """The precision of features: bfloat16 if the processor or GPU multiplies it in hardware."""
    return "bfloat16" if fast_bfloat16() else "float32"


class FrozenEncoder:
    """A start of a backbone that is not trained.

    Args:
        data, revision: fingerprint of the data and revision of the backbone, which tell [`frozen_encoder`] that a
            folder was built or trained anew under the same name.
        seed: of random weights and of a random assignment.
        cache: the folder of all features.
        window, overlap: of the windows that long items are read in.
    """

    def __init__(
        self,
        task: str,
        data: str,
        arm: str,
        backbone: str,
        revision: str | None,
        seed: int,
        cache: Path,
        kmer: int | None,
        window: int | None,
        overlap: int | None,
    ) -> None:
        self.task, self.windows = windows_of(get_task(task), window, overlap)
        protocol = replace(RECOMMENDED, name=PROBE, same_head=False)  # the head is not used
        named = (self.task, resolve_backbone(backbone), get_arm(arm), protocol)
        run = ResolvedRun(*named, seed, kmer=kmer, windows=self.windows)
        self.tokenizer = build_tokenizer(run)
        set_seed(seed)
        self.model = build_model(run, self.tokenizer).eval()  # a classifier in float32; its head is not used
        self.weights = weights_digest(self.model.base_model)
        depends_on = {"task": self.task.name, "weights": self.weights, "precision": precision(), "version": VERSION}
        self._cache = FeatureCache(cache, depends_on)

    @property
    def layers(self) -> int:
        return int(self.model.config.num_hidden_layers)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.base_model.parameters())

    @cached_property
    def _encoder(self) -> Any:
        """A copy that computes, in its own precision."""
        from ..performance import speed_up_prediction

        encoder = self.model.base_model
        if torch.cuda.is_available():
            encoder = copy.deepcopy(encoder).to("cuda")
        return speed_up_prediction(encoder, getattr(torch, precision()))

    def read(self, rows: Dataset) -> tuple[dict[str, list[list[int]]], np.ndarray, np.ndarray]:
        """Token ids of rows or of their windows, by input; which of them were cut; and the row that each is of."""
        owners: np.ndarray = np.arange(len(rows))
        if self.windows is not None:
            rows, owners = in_windows(rows, self.windows, self.tokenizer.discipline)
        encoded = encode(rows, self.tokenizer, self.task)
        read = [name for name in ("input_ids", "token_type_ids") if name in self.tokenizer.model_input_names]
        columns = {name: encoded[name] for name in read if name in encoded}
        lengths = np.fromiter(map(len, columns["input_ids"]), dtype=np.int64)
        return columns, tokens_cut(rows, self.tokenizer, self.task, lengths) > 0, owners

    def features(self, columns: dict[str, list[list[int]]], threads: int | None = None) -> np.ndarray:
        """Features of sequences, float16 of shape `(sequences, layers + 1, 2, hidden)`, see [`extract`].

        Args:
            columns: token ids, as [`read`] gives them.
            threads: batches that are computed at the same time on a CPU; by default one a core.
        """
        at_once = 1 if torch.cuda.is_available() else threads or usable_cores()

        def compute(places: list[int]) -> np.ndarray:
            chosen = {name: [ids[i] for i in places] for name, ids in columns.items()}
            return extract(self._encoder, chosen, self.tokenizer.pad_token_id, at_once)

        return self._cache.features(item_keys(columns), compute)


frozen_encoder = lru_cache(maxsize=1)(FrozenEncoder)  # the next run of a study mostly has the same encoder


@dataclass(frozen=True)
class EncodedRows:
    """Rows with the features of each, or of each of its windows.

    Args:
        features: of shape `(rows, layers + 1, 2, hidden)`; None where a saved model answers in their place.
        cut: which of them were cut.
        owners: the row that each of them is of, in ascending order.
    """

    rows: Dataset
    labels: np.ndarray
    features: np.ndarray | None
    cut: np.ndarray
    owners: np.ndarray

    @property
    def split(self) -> int:
        """How many rows were read in several windows."""
        return int((np.bincount(self.owners) > 1).sum())

    def take(self, places: list[int]) -> EncodedRows:
        """Some of the rows, in another order."""
        assert self.features is not None
        of_rows: list[np.ndarray] = np.split(np.arange(len(self.owners)), np.flatnonzero(np.diff(self.owners)) + 1)
        windows = [of_rows[place] for place in places]
        read = np.concatenate(windows)
        owners: np.ndarray = np.repeat(np.arange(len(places)), list(map(len, windows)))
        return EncodedRows(self.rows.select(places), self.labels[places], self.features[read], self.cut[read], owners)

    def states(self, layer: int, pooling: str, eps: float) -> np.ndarray:
        """The features of each window, of shape `(windows, hidden)`."""
        assert self.features is not None
        states = self.features[:, layer]
        if pooling == OF_A_MODEL:
            return pooled(states[:, 0], states[:, 1], eps)
        return states[:, POOLINGS.index(pooling)]

    def pooled(self, layer: int, pooling: str, eps: float) -> np.ndarray:
        """The features of each row, the mean of its windows', of shape `(rows, hidden)`."""
        states = self.states(layer, pooling, eps)
        if len(self.owners) == len(self.rows):
            return states
        return metrics.mean_answers(states, self.owners, regression=True)

    def score(self, task: Task, logits: np.ndarray) -> dict[str, float]:
        groups = self.rows["group"][:] if task.votes else None
        return metrics.score(task, logits, self.labels.tolist(), groups)


def encoded(
    encoder: FrozenEncoder, rows: Dataset, task: Task, threads: int | None, computed: bool = True
) -> EncodedRows:
    """Reads rows and computes their features, unless a saved model is to answer, which needs fewer layers."""
    columns, cut, owners = encoder.read(rows)
    features = encoder.features(columns, threads) if computed else None
    return EncodedRows(rows, label_array(rows["label"][:], task), features, cut, owners)
