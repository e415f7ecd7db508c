"""Raw sequences -> logits, fast: sorted by length, batched by tokens, one batch a core."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from transformers.utils import logging

from ..data.input_records import Columns, InputRecord, read_input
from ..families import usable_positions
from ..metrics import mean_answers
from ..processor import usable_cores, uses_bfloat16
from ..tokenization.plain_tokenizer import reads_letters_apart
from ..tokenization.windows import Windows
from ..tokenization_discipline import DisciplineTokenizer, UnknownSymbolError
from .batches import for_each_batch, in_chunks
from .input_checks import NO_RESIDUE, check_form, unlikely
from .loading import as_discipline_tokenizer, load_classifier

logger = logging.get_logger(__name__)

# Padding included: few enough for a core's cache, enough for efficient matrix products.
TOKENS_A_BATCH = 2048
_GPU_TOKENS_A_BATCH = 65536
_SURE = 10  # letters; a shorter sequence may look like another discipline's by chance
MOST_LETTERS = 10_000_000  # a longer record would fill the memory, and a model reads hundreds of letters


@dataclass(frozen=True)
class Chunk:
    """Records that were predicted together.

    Args:
        logits: float32 of shape `(records, classes)`, or `(records, 1)` for a regression.
        cut: how many symbols of each record the model could not read, shape `(records,)`.
        windows: in how many windows each record was read, shape `(records,)`.
    """

    records: list[InputRecord]
    logits: np.ndarray
    cut: np.ndarray
    windows: np.ndarray


class SequenceClassifier:
    """A saved classifier or regression that takes raw sequences.

    A model that was trained with windows reads longer sequences in windows, and gives the mean of their probabilities
    or values. Every batch is computed by one thread, so logits do not depend on the number of threads.

    Args:
        model: a sequence classifier of transformers. It stays as it is: `classifier.model` is a faster copy that
            shares its weights.
        tokenizer: its tokenizer; one that [`DisciplineTokenizer`] saved is read as such.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the model's device multiplies it in hardware.
        threads: batches computed at once on a CPU; by default one a core.
        batch_size: at most so many sequences a batch; by default as many as `tokens_a_batch` allows.
        tokens_a_batch: at most so many tokens a batch, padding included.

    Example:
        ```python
        >>> classifier = SequenceClassifier.from_pretrained("runs/recommended/dna-splice/minilm-l6/bert/seed-0")
        >>> predict_file(classifier, Path("sequences.fasta"), Path("labels.csv"))
        ```

    Raises:
        ValueError: an argument is not allowed.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        precision: str = "auto",
        threads: int | None = None,
        batch_size: int | None = None,
        tokens_a_batch: int | None = None,
    ) -> None:
        from ..performance import speed_up_prediction

        for name, value in (("threads", threads), ("batch_size", batch_size), ("tokens_a_batch", tokens_a_batch)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; allowed: at least 1")
        on_gpu = model.device.type != "cpu"
        self.precision = "bfloat16" if uses_bfloat16(precision, use_cpu=not on_gpu) else "float32"
        self.model = speed_up_prediction(model, torch.bfloat16 if self.precision == "bfloat16" else torch.float32)
        self.tokenizer = as_discipline_tokenizer(tokenizer)
        of_discipline = isinstance(self.tokenizer, DisciplineTokenizer)
        symbols, overlap = (getattr(model.config, f"window_{name}", None) for name in ("symbols", "overlap"))
        self.windows = Windows(symbols, overlap or 0) if of_discipline and symbols is not None else None
        self._letters_apart = not of_discipline and self.discipline != "text" and reads_letters_apart(self.tokenizer)
        self.threads = 1 if on_gpu else threads or usable_cores()
        self.batch_size = batch_size
        self.tokens_a_batch = tokens_a_batch or (_GPU_TOKENS_A_BATCH if on_gpu else TOKENS_A_BATCH)
        # a tokenizer without a limit of its own says 10^30
        self.max_length = min(self.tokenizer.model_max_length, usable_positions(model.config) or MOST_LETTERS)

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> SequenceClassifier:
        """The classifier of a run's folder, a model's or an adapter's folder, or a Hub id (`owner/name[@revision]`).

        Raises:
            ValueError: there is no model, or it is not a sequence classifier; one line that says why.
            OSError: the Hub does not have it or cannot be reached, or a file is damaged.
        """
        model, tokenizer = load_classifier(source)
        return cls(model.to("cuda") if torch.cuda.is_available() else model, tokenizer, **options)

    @property
    def regression(self) -> bool:
        return self.model.config.num_labels == 1

    @property
    def multi_label(self) -> bool:
        """Whether an item may be given several labels."""
        return self.model.config.problem_type == "multi_label_classification"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The score of each class, or of each label on its own, of the shape of the logits."""
        logits = logits.astype(np.float64)
        return expit(logits) if self.multi_label else softmax(logits, axis=-1)

    @property
    def labels(self) -> list[str]:
        """Names of the classes in the order of the logits; empty for a regression."""
        return [] if self.regression else [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    def number_of(self, target: str) -> int:
        """The number of a class.

        Raises:
            ValueError: the model has no class of that name.
        """
        if target not in self.labels:
            raise ValueError(f"unknown class {target!r}; the model has {', '.join(self.labels) or 'values alone'}")
        return self.labels.index(target)

    @property
    def discipline(self) -> str:
        """dna, protein, music, text, or what the user declared."""
        if isinstance(self.tokenizer, DisciplineTokenizer):
            return self.tokenizer.discipline.name
        return getattr(self.model.config, "discipline", None) or "text"

    def read(self, path: Path, columns: Columns | None = None, **options: Any) -> Iterator[InputRecord]:
        """The records of a file of the model's discipline; see [`read_input`]."""
        return read_input(path, columns, discipline=getattr(self.tokenizer, "discipline", self.discipline), **options)

    def fingerprint(self) -> str:
        """sha256 over everything that predictions depend on: weights, labels, token map, precision."""
        digest, windows = hashlib.sha256(), None if self.windows is None else astuple(self.windows)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        digest.update(json.dumps([self.labels, self.max_length, self.precision, windows]).encode())
        digest.update(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode())
        return digest.hexdigest()

    def predict(self, records: Iterable[InputRecord]) -> Iterator[Chunk]:
        """Predicts a stream of records, a chunk of them in memory at a time, in their order.

        Raises:
            ValueError: a symbol outside the alphabet, with the record it is in.
        """
        warned = False
        for chunk in in_chunks(records):
            counts, room = self.count(chunk), self.room(chunk)
            warned = warned or self._warn(chunk)
            readings, owners = self.readings(chunk)
            lengths = counts if self.windows is None else self.count(readings)
            logits = self.compute(readings, lengths, self._classify, self.model.config.num_labels)
            if self.windows is not None:
                logits = mean_answers(logits, owners, self.regression, self.multi_label)
                room = max(room, int(counts.max()))  # all is read
            for record, answer in zip(chunk, logits, strict=True):
                check_finite(answer, record.place)
            yield Chunk(chunk, logits, np.maximum(counts - room, 0), np.bincount(owners))

    def readings(self, chunk: Sequence[InputRecord]) -> tuple[list[InputRecord], np.ndarray]:
        """Each record in each of its windows, and the record that each is of, shape `(readings,)`."""
        if self.windows is None:
            return list(chunk), np.arange(len(chunk))
        texts, owners = self.windows.cut([record.sequence for record in chunk], self.tokenizer.discipline)
        return [chunk[i]._replace(sequence=text) for i, text in zip(owners, texts, strict=True)], owners

    def _warn(self, chunk: Sequence[InputRecord]) -> bool:
        """Warns of sequences that are unlikely to be of the model's discipline."""
        doubts = [(record, doubt) for record in chunk if (doubt := unlikely(self.discipline, record.sequence))]
        # a short peptide may consist of the letters A, C, G and T; many of them, or a stop codon, are no proteins
        all_doubtful = len(doubts) == len(chunk)
        sure = [pair for pair in doubts if all_doubtful or len(pair[0].sequence) >= _SURE or pair[1] == NO_RESIDUE]
        if sure:
            (record, doubt), count = sure[0], len(sure)
            logger.warning(f"{count} of {len(chunk)} records are unlikely {self.discipline}: {doubt} ({record.place})")
        return bool(sure)

    def room(self, chunk: Sequence[InputRecord]) -> int:
        """How many symbols, or tokens of a text, of an item the model reads."""
        return self.max_length - self.tokenizer.num_special_tokens_to_add(pair=chunk[0].second is not None)

    def count(self, chunk: Sequence[InputRecord]) -> np.ndarray:
        """Symbols of each record, or tokens of a text, both sequences of a pair together, shape `(records,)`.

        Raises:
            ValueError: a symbol outside the alphabet; the message names record, symbol, position and alphabet. Or a
                pair for a model of single sequences, or the other way round.
        """
        check_form(chunk, getattr(self.model.config, "reads_pairs", None))
        for record in chunk:
            if (letters := len(record.sequence) + len(record.second or "")) > MOST_LETTERS:
                raise ValueError(f"{record.place}: {letters:,} letters; a record may have {MOST_LETTERS:,}")
        columns = self._columns(chunk)
        if not isinstance(self.tokenizer, DisciplineTokenizer):
            encoded = self.tokenizer(*columns, add_special_tokens=False, verbose=False).input_ids
            return np.fromiter(map(len, encoded), dtype=np.int64, count=len(chunk))
        try:
            return np.sum([self.tokenizer.count_symbols(column) for column in columns], axis=0)
        except UnknownSymbolError as error:
            record = chunk[error.row or 0]
            name = "" if not record.id or record.place.endswith(f" {record.id}") else f", id {record.id!r}"
            raise ValueError(f"{record.place}{name}: {error.reason}") from None

    def _classify(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**inputs).logits

    def compute(
        self,
        chunk: Sequence[InputRecord],
        counts: np.ndarray,
        forward: Callable[[dict[str, torch.Tensor]], torch.Tensor],
        width: int,
    ) -> np.ndarray:
        """What a model gives of each record, batches of like lengths at a time, float32 of shape `(records, width)`.

        Args:
            counts: symbols of each record; see [`count`].
            forward: takes a model's inputs of a batch, and returns a tensor of shape `(batch, width)`.
        """
        columns, room = self._columns(chunk), self.room(chunk)
        lengths = np.minimum(counts, room) + self.max_length - room
        out: np.ndarray = np.empty((len(chunk), width), dtype=np.float32)

        def predict(batch: np.ndarray) -> None:
            inputs = self._inputs([[column[i] for i in batch] for column in columns])
            with torch.inference_mode():
                out[batch] = forward(inputs).float().cpu().numpy()

        for_each_batch(predict, lengths, self.tokens_a_batch, self.threads, self.batch_size)
        return out

    def _columns(self, chunk: Sequence[InputRecord]) -> list[list[str]]:
        columns = [[record.sequence for record in chunk]]
        if chunk[0].second is not None:
            columns.append([record.second or "" for record in chunk])
        return [[" ".join(row) for row in column] for column in columns] if self._letters_apart else columns

    def _inputs(self, columns: list[list[str]]) -> dict[str, torch.Tensor]:
        encoded = self.tokenizer(
            *columns, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt", verbose=False
        )
        inputs = {name: ids.to(self.model.device) for name, ids in encoded.items()}
        if bool(encoded["attention_mask"].all()):
            del inputs["attention_mask"]
        return inputs


def check_finite(logits: np.ndarray, place: str) -> None:
    """Raises:
    ValueError: a logit is nan or infinite.
    """
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{place}: the model answers {', '.join(f'{logit:g}' for logit in logits.tolist())}; its weights are "
            "damaged, or too large for this precision"
        )
