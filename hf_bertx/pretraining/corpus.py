"""Text or sequences for pre-training, packed into blocks of token ids of one length."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from .. import run_files
from ..data.input_records import Columns, read_input
from ..data.text_files import open_text, paths_below
from ..tokenization_discipline import UnknownSymbolError

DOCUMENTS = ("file", "blank_line", "line")
RECORD = "corpus.json"  # record in a folder of blocks: what they depend on, and how much text they hold
_LONGEST = 2**16  # letters of a row; a longer line or sequence becomes several
_IDS_ALONE = dict.fromkeys(("add_special_tokens", "return_attention_mask", "return_token_type_ids", "verbose"), False)
_DRAWS = 64  # for a segment of another document


@dataclass(frozen=True)
class Source:
    """Where text comes from.

    Args:
        files: text files in UTF-8, gzipped or not; a folder stands for the `.txt` and `.md` files below it. With a
            discipline: FASTA, tables, JSON lines, Parquet, MIDI files or folders of them.
        column: of a data set or a table that holds the text or the sequence.
        documents: where a document of text files ends: with its `file`, at a `blank_line`, or with each `line`. A row
            of a data set and a sequence are a document each.
        discipline: whose sequences are read; None for text.
        dataset: what `load_dataset` takes, in place of files.
        configuration: of the data set, where it has several.
        split: of the data set.
    """

    files: tuple[str, ...] = ()
    column: str = "text"
    documents: str = "file"
    discipline: str | None = None
    dataset: str | None = None
    configuration: str | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        if self.documents not in DOCUMENTS:
            raise ValueError(f"documents is {self.documents!r}; allowed: {', '.join(DOCUMENTS)}")

    @property
    def name(self) -> str:
        return self.dataset or ", ".join(self.files)

    @property
    def paths(self) -> list[Path]:
        """The files in the order in which they are read.

        Raises:
            ValueError: a file that is missing, a folder that holds no text file.
        """
        files: list[Path] = []
        for path in (Path(name).expanduser() for name in self.files):
            texts = path.is_dir() and self.discipline is None
            inside = [p for p in paths_below(path) if p.suffix.lower() in (".txt", ".md")] if texts else [path]
            if not inside:
                raise ValueError(f"{path}: holds no .txt or .md file")
            files += inside
        for path in files:
            if not path.exists():
                raise ValueError(f"{path}: no such file")
        return files

    def key(self) -> dict[str, Any]:
        """Identifies the text: this source, and names, sizes and modification times of its files."""
        folder = Path(self.dataset or "")  # a data set may be one
        read = [folder] if self.dataset and folder.is_dir() else self.paths
        inside = [p for path in read for p in (paths_below(path) if path.is_dir() else [path])]
        files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in inside]
        return json.loads(json.dumps({**asdict(self), "files": files}))


def read_rows(source: Source) -> Iterator[dict[str, Any]]:
    """Yields `text`, whether it `begins` a document, and the `place` it was read at, one line or sequence at a time.

    Raises:
        ValueError: a file that holds no text or cannot be read, a column that is missing.
    """
    if source.dataset is not None:
        lines = _dataset_lines(source)
    elif source.discipline is not None:
        columns = Columns(sequence=None if source.column == "sequence" else source.column)  # FASTA has no columns
        records = (r for path in source.paths for r in read_input(path, columns, discipline=source.discipline))
        lines = ((r.sequence, True, r.place) for r in records)
    else:
        lines = _text_lines(source)
    for text, begins, place in lines:
        start = 0
        while start < len(text):  # cut at blanks, where it is long and has some
            end = start + _LONGEST
            end = end if end >= len(text) else text.rfind(" ", start, end) + 1 or end
            yield {"text": text[start:end].strip(), "begins": begins and start == 0, "place": place}
            start = end


def _text_lines(source: Source) -> Iterator[tuple[str, bool, str]]:
    for path in source.paths:
        begins, blank = True, True
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if text := line.strip():
                    yield text, begins or source.documents == "line", f"{path}, line {number}"
                    begins = blank = False
                elif source.documents == "blank_line":
                    begins = True
        if blank:
            raise ValueError(f"{path}: the file holds nothing but blank lines")


def _dataset_lines(source: Source) -> Iterator[tuple[str, bool, str]]:
    from datasets import load_dataset

    rows = load_dataset(source.dataset, source.configuration, split=source.split, streaming=True)
    for number, row in enumerate(rows):
        place = f"data set {source.dataset}, row {number}"
        if source.column not in row:
            raise ValueError(f"{place}: no column {source.column!r}; it has {', '.join(map(repr, row))}")
        if not isinstance(row[source.column], str):
            raise ValueError(f"{place}: {source.column!r} is not text")
        lines = [line.strip() for line in row[source.column].splitlines() if line.strip()]
        yield from ((line, n == 0, place) for n, line in enumerate(lines))


class _Blocks:
    """Concatenates the ids of all rows and cuts them into blocks `[CLS] tokens [SEP]`; for [`Dataset.map`].

    The separator stands between two documents. What is left of a batch of rows goes on in the next.
    """

    def __init__(self, tokenizer: Any, block_size: int) -> None:
        self.tokenizer, self.block_size = tokenizer, block_size
        self.tokens: list[int] = []
        self.owners: list[int] = []  # the number of each token's document
        self.documents = self.blocks = 0

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        try:
            ids = self.tokenizer(rows["text"], **_IDS_ALONE)["input_ids"]
        except UnknownSymbolError as error:
            raise ValueError(f"{rows['place'][error.row or 0]}: {error.reason}") from None
        cls, sep = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        for row, begins in zip(ids, rows["begins"], strict=True):
            new = [sep, *row] if begins and self.documents else row
            self.documents += begins
            self.tokens += new
            self.owners += [self.documents - 1] * len(new)
        end = len(self.tokens) // self.block_size * self.block_size
        starts = range(0, end, self.block_size)
        made: dict[str, list[Any]] = {
            "input_ids": [[cls, *self.tokens[start : start + self.block_size], sep] for start in starts],
            "document": self.owners[: end : self.block_size],
            "block": list(range(self.blocks, self.blocks + len(starts))),
        }
        self.tokens, self.owners, self.blocks = self.tokens[end:], self.owners[end:], self.blocks + len(starts)
        return made


@contextmanager
def packed(
    source: Source, tokenizer: Any, length: int, folder: Path, next_sentence: bool = False, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Tokenizes text into blocks, which are saved to `folder` at the end of the context, unless it ends by an error.

    Blocks that are there by the same arguments stay. They have `input_ids`, shape `(length,)`, and the number of the
    `block`; pairs also have `token_type_ids` and `next_sentence_label`.

    Args:
        length: tokens of a block, special tokens included. Every block is full.
        next_sentence: blocks are pairs `[CLS] A [SEP] B [SEP]`, drawn once: B follows A, or is of another document.

    Yields:
        A record of the blocks: tokens, documents, share of unknown tokens, sha256 of the ids.

    Raises:
        ValueError: text that cannot be read or is shorter than a block, pairs of a single document.
    """
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    key = {**source.key(), "length": length, "pairs": seed if next_sentence else None}
    key["vocabulary"] = hashlib.sha256(vocabulary.encode()).hexdigest()
    if (folder / RECORD).is_file():
        saved = run_files.read_json(folder / RECORD)
        if saved.pop("key") == key:
            yield saved
            return
    elif folder.exists():
        raise ValueError(f"{folder}: holds no blocks of a pre-training, which would replace it; move it away")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".blocks-", suffix=".tmp", dir=folder.parent) as scratch:
        blocks, record = _blocks(source, tokenizer, length - (3 if next_sentence else 2), scratch)
        if next_sentence:
            blocks = _pairs(blocks, tokenizer, seed, scratch, source.name)
        yield record
        run_files.write_folder(folder, partial(_save, blocks, {**record, "key": key}))
        del blocks  # it maps files of the scratch folder


def _save(blocks: Dataset, record: dict[str, Any], path: Path) -> None:
    blocks.remove_columns("document").save_to_disk(path)
    run_files.write_json(path / RECORD, record)


def _blocks(source: Source, tokenizer: Any, block_size: int, scratch: str) -> tuple[Dataset, dict[str, Any]]:
    try:
        rows = Dataset.from_generator(read_rows, gen_kwargs={"source": source}, cache_dir=scratch)
    except DatasetGenerationError as error:
        raise (error.__cause__ or error) from None
    blocks = rows.map(
        _Blocks(tokenizer, block_size),
        batched=True,
        remove_columns=rows.column_names,
        features=Features({"input_ids": List(Value("int32")), "document": Value("int64"), "block": Value("int64")}),
        cache_file_name=f"{scratch}/blocks.arrow",
        new_fingerprint="blocks",
        desc="tokenizing",
    )
    if not len(blocks):
        raise ValueError(f"{source.name} holds fewer than the {block_size} tokens of one block")
    digest, unknown = hashlib.sha256(), 0
    for batch in blocks.with_format("numpy", columns=["input_ids"]).iter(1000):
        ids = np.stack(batch["input_ids"])[:, 1:-1]
        digest.update(ids.astype("<u4").tobytes())
        unknown += int((ids == tokenizer.unk_token_id).sum())
    tokens = len(blocks) * block_size
    record = {"tokens": tokens, "documents": blocks[-1]["document"] + 1, "unknown_share": unknown / tokens}
    return blocks, {**record, "sha256": digest.hexdigest()}


def _pairs(blocks: Dataset, tokenizer: Any, seed: int, scratch: str, name: str) -> Dataset:
    """`[CLS] tokens [SEP]` -> `[CLS] A [SEP] B [SEP]`; A is 10 to 90% of the tokens.

    B follows A in one half of the pairs and comes from a block of another document in the other half.
    """
    documents = np.asarray(blocks["document"])
    if documents[0] == documents[-1]:
        raise ValueError(
            f"next-sentence pairs need at least two documents; {name} has one (--documents says where they end)"
        )
    sep = tokenizer.sep_token_id

    def pair(row: dict[str, Any]) -> dict[str, Any]:
        draw = np.random.default_rng((seed, row["block"]))
        tokens = row["input_ids"][1:-1]
        least = len(tokens) // 10 + 1
        cut = int(draw.integers(least, len(tokens) - least + 1))
        follows = bool(draw.random() < 0.5)
        if not follows:
            others = draw.integers(len(blocks), size=_DRAWS)
            others = others[documents[others] != row["document"]]
            other = others[0] if len(others) else np.argmax(documents != row["document"])
            tokens = tokens[:cut] + blocks[int(other)]["input_ids"][1 + cut : -1]
        return {
            "input_ids": [row["input_ids"][0], *tokens[:cut], sep, *tokens[cut:], sep],
            "token_type_ids": [0] * (cut + 2) + [1] * (len(tokens) - cut + 1),
            "next_sentence_label": int(not follows),  # BERT's: 0 says that B follows A
        }

    return blocks.map(pair, cache_file_name=f"{scratch}/pairs.arrow", new_fingerprint="pairs", desc="pairing")
