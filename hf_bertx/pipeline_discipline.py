"""A pipeline of transformers for raw DNA, protein and pitch strings, FASTA and other files, MIDI files and folders.

Importing this module registers the task `discipline-classification`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .data.input_records import INPUT_ENDINGS, Columns, InputRecord, ending_of, is_music
from .metrics import names_of_pieces
from .prediction.inference import SequenceClassifier, check_finite
from .prediction.prediction_rows import has_votes, piece_answer

TASK = "discipline-classification"


class DisciplineClassificationPipeline(Pipeline):
    """Classifies raw sequences of a discipline, or predicts a value of them, many at a time and fast.

    Takes a sequence, a list or column of them, or a file: a `Path`, or a string that ends as a file of sequences does
    (`x.fasta`, `midi/piece.mid`). A model of text takes every string for text, so its files are `Path`s. An item of a
    model of pairs is `{"text": ..., "text_pair": ...}`, or a tuple of two in a list. Batches are made here, by length:
    `batch_size` only bounds them.

    Args:
        top_k: the best so many labels of an item, as a list, best first; `None` for all. By default the best one,
            as a dictionary.
        precision: `float32` (default), `bfloat16`, or `auto`.
        threads: batches computed at once on a CPU; by default one a core.

    Returns:
        For a sequence, a list or a column: a list of `{"label", "score"}`, or `{"value"}` for a regression, in the
        data's units. `cut` beside them says how many symbols, or tokens of a text, were not read, where there were too
        many; `windows`, of a model that was trained with them, in how many windows a long sequence was read. For a
        file the same with the `id` of each record; for MIDI files, and with a column of pieces, one entry a piece:
        what its segments voted, and the `segments`. For a generator or a torch `Dataset`: a generator, in memory that
        does not grow.

    Example:
        ```python
        >>> from transformers import pipeline
        >>> import hf_bertx.pipeline_discipline
        >>> run = "runs/recommended/dna-splice/minilm-l6/bert/seed-0"
        >>> classify = pipeline("discipline-classification", model=f"{run}/model")
        >>> classify("CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG")
        [{'label': 'EI', 'score': 0.998}]
        >>> classify("sequences.fasta")
        ```

    Raises:
        ValueError: a symbol outside the alphabet, an empty sequence, a file that is not what its ending says, a pair
            for a model of single sequences or the other way round, or a model that answers nan.
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False

    def __init__(self, model: Any, tokenizer: Any = None, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in ("precision", "threads") if name in kwargs}
        super().__init__(model=model, tokenizer=tokenizer, **kwargs)
        options.setdefault("precision", "float32")
        self.classifier = SequenceClassifier(self.model, tokenizer, batch_size=self._batch_size, **options)
        self.tokenizer = self.classifier.tokenizer

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        _, _, answer = self._sanitize_parameters(**kwargs)
        answer = {**self._postprocess_params, **answer}
        if isinstance(inputs, Path) or (isinstance(inputs, str) and self._names_a_file(inputs)):
            return list(self.read(inputs, **answer))
        if hasattr(inputs, "columns"):
            raise ValueError(f"{type(inputs).__name__} has columns; allowed: one of them, or a list of sequences")
        several = [inputs] if isinstance(inputs, (str, dict)) else inputs
        answers = (record for _, record in self._answers(_raw(iter(several)), **answer))
        return list(answers) if isinstance(several, Sized) and not isinstance(several, Dataset) else answers

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Saves model and tokenizer, which plain transformers loads. The stock method would save code, too."""
        for part in (self.model, self.tokenizer):
            part.save_pretrained(save_directory, **kwargs)

    def _names_a_file(self, text: str) -> bool:
        return self.classifier.discipline != "text" and ending_of(Path(text)) in INPUT_ENDINGS

    def read(self, path: str | Path, columns: Columns | None = None, top_k: int | str | None = "") -> Iterator[Any]:
        """Yields an entry for each record of a file, or each piece of MIDI files, while it is being read.

        With a column of pieces, whose rows may stand apart, all rows are read before the first piece is given. A row
        without a piece is a piece of its own.
        """
        path, columns = Path(path), columns or Columns()
        voting = has_votes(self.classifier, path, columns)
        answers = self._answers(self.classifier.read(path, columns), top_k=top_k)
        if is_music(path):  # the segments of a piece stand together
            for piece, segments in groupby(answers, key=lambda pair: pair[0].piece):
                yield self._piece(piece, list(segments))
        elif voting:
            rows = list(answers)
            pieces: dict[str, list[tuple[InputRecord, Any]]] = {}
            for name, row in zip(names_of_pieces([record.piece for record, _ in rows]), rows, strict=True):
                pieces.setdefault(name, []).append(row)
            for members in pieces.values():
                yield self._piece(members[0][0].piece or None, members)
        else:
            for record, answer in answers:
                yield {"id": record.id, **answer} if isinstance(answer, dict) else {"id": record.id, "labels": answer}

    def _piece(self, piece: str | None, segments: list[tuple[InputRecord, Any]]) -> dict[str, Any]:
        each = [answer if isinstance(answer, dict) else answer[0] for _, answer in segments]
        listed = [{"id": record.id, **best} for (record, _), best in zip(segments, each, strict=True)]
        if self.classifier.regression:
            found = piece_answer(self.classifier, np.array([best["value"] for best in each]))
            return {"piece": piece, "value": found["piece_value"], "segments": listed}
        found = piece_answer(self.classifier, np.array([self.classifier.number_of(best["label"]) for best in each]))
        return {"piece": piece, "label": found["piece_label"], "votes": found["votes"], "segments": listed}

    def _answers(self, records: Iterable[InputRecord], top_k: int | str | None = "") -> Iterator[tuple[Any, Any]]:
        for chunk in self.classifier.predict(records):
            columns = (chunk.records, chunk.logits, chunk.cut.tolist(), chunk.windows.tolist())
            for record, logits, cut, windows in zip(*columns, strict=True):
                answer = self.postprocess({"logits": logits}, top_k=top_k)
                noted = ({"cut": cut} if cut else {}) | ({"windows": windows} if windows > 1 else {})
                for each in answer if isinstance(answer, list) else [answer]:
                    each.update(noted)
                yield record, answer

    def _sanitize_parameters(self, top_k: int | str | None = "", **unknown: Any) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(f"unknown argument {min(unknown)!r}; allowed: top_k, and batch_size, precision, threads "
                             "when the pipeline is made")  # fmt: skip
        if top_k not in ("", None) and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k is {top_k!r}; allowed: at least 1, and None for all")
        return {}, {}, {} if top_k == "" else {"top_k": top_k}

    def preprocess(self, input_: Any, **parameters: Any) -> Any:
        """One sequence, or one pair, as tensors."""
        (record,) = _raw([input_])
        columns = [[record.sequence], *([] if record.second is None else [[record.second]])]
        return self.tokenizer(*columns, truncation=True, max_length=self.classifier.max_length, return_tensors="pt")

    def _forward(self, input_tensors: Any, **parameters: Any) -> Any:
        return {"logits": self.model(**input_tensors).logits[0].float()}

    def postprocess(self, model_outputs: Any, top_k: int | str | None = "", **parameters: Any) -> Any:
        """Logits of one item, shape `(classes,)`, as what a caller gets."""
        logits = np.asarray(model_outputs["logits"], dtype=np.float64)
        check_finite(logits, "the pipeline")
        if self.classifier.regression:
            return {"value": float(logits[0])}
        scores = self.classifier.probabilities(logits)
        order = np.argsort(-scores, kind="stable")
        answers = [{"label": self.classifier.labels[i], "score": float(scores[i])} for i in order]
        return answers[0] if top_k == "" else answers[:top_k] if isinstance(top_k, int) else answers


def _raw(sequences: Iterable[Any]) -> Iterator[InputRecord]:
    for number, sequence in enumerate(sequences):
        place = f"sequence {number}"
        if isinstance(sequence, dict):
            if not {"text"} <= set(sequence) <= {"text", "text_pair"}:
                raise ValueError(f"{place}: has {', '.join(map(str, sequence))}; allowed: text, and text_pair")
            sequence = (sequence["text"], *([] if sequence.get("text_pair") is None else [sequence["text_pair"]]))
        parts = (sequence,) if isinstance(sequence, str) else sequence
        if not isinstance(parts, tuple) or len(parts) > 2 or not all(isinstance(part, str) for part in parts):
            kind = type(sequence).__name__
            raise ValueError(f"{place}: {kind}; allowed: a string, a pair of strings, or a Path of one file")
        first, *second = (part.strip() for part in parts)
        if not first or "" in second:
            raise ValueError(f"{place}: the sequence is empty")
        yield InputRecord(str(number), first, place, *second)


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=DisciplineClassificationPipeline, pt_model=AutoModelForSequenceClassification, type="text"
)
