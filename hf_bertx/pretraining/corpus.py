"""Text for pre-training: files or a data set -> lines -> token ids packed in one file, in flat memory."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from .. import run_files

Item = TypeVar("Item")
DOCUMENTS = ("file", "blank_line", "line")
_TOKENS, _STARTS, _RECORD = "tokens.bin", "documents.bin", "corpus.json"
_BATCH, _LETTERS = 1000, 2**22  # lines that are tokenized at once, and letters of them
_LONGEST_LINE = 2**20  # bytes; a longer one is read in pieces


@dataclass(frozen=True)
class Source:
    """Where text comes from.

    Args:
        files: UTF-8 text files; a folder stands for the `.txt` and `.md` files below it.
        dataset: a data set of `datasets` in their place: a Hub id, or a format such as `json` with `files`.
        split: of the data set.
        column: of the data set that holds the text.
        documents: where a document ends: with its `file`, at a `blank_line`, or with each `line`. A row of a data
            set is a document of its own.
        configuration: of the data set, where it has several.
    """

    files: tuple[str, ...] = ()
    dataset: str | None = None
    split: str = "train"
    column: str = "text"
    documents: str = "file"
    configuration: str | None = None

    def __post_init__(self) -> None:
        if self.documents not in DOCUMENTS:
            raise ValueError(f"documents is {self.documents!r}; allowed: {', '.join(DOCUMENTS)}")
        if not self.files and self.dataset is None:
            raise ValueError("no text: give files, or a data set")

    @property
    def paths(self) -> list[Path]:
        """The text files, in the order in which they are read.

        Raises:
            ValueError: a file or folder that is missing, is empty or holds no text file.
        """
        found: list[Path] = []
        for name in self.files:
            path = Path(name)
            inside = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".md")) if path.is_dir() else [path]
            if not inside:
                raise ValueError(f"{path}: holds no .txt or .md file")
            found += inside
        for path in found:
            if not path.is_file():
                raise ValueError(f"{path}: no such file")
            if not path.stat().st_size:
                raise ValueError(f"{path}: the file is empty")
        return found


def read_lines(source: Source) -> Iterator[tuple[str, bool]]:
    """Every line that is not blank, with whether it begins a document. One line is in memory at a time.

    A line of more than a megabyte comes in pieces that end at a blank.

    Raises:
        ValueError: a file that is empty or not UTF-8 (with the byte offset), a column that is not there.
    """
    if source.dataset is not None:
        yield from _read_rows(source)
        return
    for path in source.paths:
        begins, blank = True, True
        for line, goes_on in _decoded(path):
            text = line.strip()
            if text:
                yield text, begins or (source.documents == "line" and not goes_on)
                begins = blank = False
            elif source.documents == "blank_line" and not goes_on:
                begins = True
        if blank:
            raise ValueError(f"{path}: the file holds nothing but blank lines")


def _decoded(path: Path) -> Iterator[tuple[str, bool]]:
    """Lines, or pieces of long ones, each with whether it goes on with the line before."""
    offset, rest, goes_on = 0, b"", False
    with path.open("rb") as file:
        while line := rest + file.readline(_LONGEST_LINE):
            rest = b""
            if len(line) >= _LONGEST_LINE and not line.endswith(b"\n"):
                end = line.rfind(b" ") + 1 or _whole_letters(line)
                line, rest = line[:end], line[end:]
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: not UTF-8 at byte {offset + error.start}: 0x{line[error.start]:02x}; "
                    "convert the file (iconv -f latin1 -t utf-8) or leave it out"
                ) from None
            yield text if offset else text.removeprefix("\ufeff"), goes_on  # a byte order mark
            goes_on = not line.endswith(b"\n")
            offset += len(line)


def _whole_letters(piece: bytes) -> int:
    """Bytes of a piece of UTF-8 without a letter that is cut at its end."""
    end = len(piece)
    while end > len(piece) - 4 and piece[end - 1] & 0xC0 == 0x80:  # bytes that go on with a letter
        end -= 1
    return end - 1 if piece[end - 1] & 0x80 else len(piece)


def _read_rows(source: Source) -> Iterator[tuple[str, bool]]:
    from datasets import load_dataset

    files = {"data_files": {source.split: list(source.files)}} if source.files else {}
    rows = load_dataset(source.dataset, source.configuration, split=source.split, streaming=True, **files)
    for number, row in enumerate(rows):
        if source.column not in row:
            raise ValueError(
                f"data set {source.dataset}: no column {source.column!r}; it has {', '.join(map(repr, row))}"
            )
        if not isinstance(row[source.column], str):
            raise ValueError(f"data set {source.dataset}, row {number}: {source.column!r} is not text")
        begins = True
        for line in row[source.column].splitlines():
            if line.strip():
                yield line.strip(), begins
                begins = False


@dataclass(frozen=True)
class Corpus:
    """Token ids of a whole corpus in one file that is mapped, not read.

    Attributes:
        tokens: shape `(n_tokens,)`, documents one after the other, each ended by the separator's id.
        starts: shape `(n_documents,)`: where each document begins in `tokens`.
        fingerprint: sha256 of the ids.
    """

    tokens: np.ndarray
    starts: np.ndarray
    fingerprint: str
    unknown: float

    @property
    def record(self) -> dict[str, Any]:
        return {
            "tokens": len(self.tokens),
            "documents": len(self.starts),
            "unknown_share": self.unknown,
            "sha256": self.fingerprint,
        }


def pack(source: Source, tokenizer: Any, folder: Path, about: str = "tokenizing") -> Corpus:
    """Tokenizes a corpus once into `folder`; a second call with the same text and tokenizer maps what is there.

    Args:
        tokenizer: with `sep_token_id`, called on lists of lines.

    Raises:
        ValueError: text that cannot be read, or that is shorter than two tokens.
    """
    key = _key(source, tokenizer)
    if (folder / _RECORD).is_file() and run_files.read_json(folder / _RECORD)["key"] == key:
        return load_corpus(folder)
    width = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _RECORD).unlink(missing_ok=True)  # written last: a folder that has it is whole
    digest, count, unknown = hashlib.sha256(), 0, 0
    with (folder / _TOKENS).open("wb") as file, (folder / _STARTS).open("wb") as starts:
        for ids, begins in _tokenized(source, tokenizer, about):
            if begins:
                starts.write(count.to_bytes(8, sys.byteorder))
            part = np.asarray(ids, dtype=width)
            file.write(part.tobytes())
            digest.update(part.astype("<u4").tobytes())
            count += len(part)
            unknown += int((part == tokenizer.unk_token_id).sum())
    if count < 2:
        raise ValueError(f"the text holds {count} tokens; a block needs more")
    record = {"key": key, "width": np.dtype(width).name, "sha256": digest.hexdigest(), "unknown": unknown / count}
    run_files.write_json(folder / _RECORD, record)
    return load_corpus(folder)


def load_corpus(folder: Path) -> Corpus:
    """What [`pack`] left in a folder."""
    record = run_files.read_json(folder / _RECORD)
    tokens = np.memmap(folder / _TOKENS, dtype=record["width"], mode="r")
    starts: np.ndarray = np.memmap(folder / _STARTS, dtype=np.int64, mode="r")
    return Corpus(tokens, starts, record["sha256"], record["unknown"])


def _tokenized(source: Source, tokenizer: Any, about: str) -> Iterator[tuple[list[int], bool]]:
    """Ids of each line; the separator goes before the line that begins the next document, and at the very end."""
    bar = tqdm(desc=about, unit=" lines", unit_scale=True, mininterval=1)
    first = True
    for lines in batches(read_lines(source), lambda line: len(line[0])):
        batch = tokenizer([text for text, _ in lines], add_special_tokens=False, return_attention_mask=False)
        for ids, (_, begins) in zip(batch["input_ids"], lines, strict=True):
            if begins and not first:
                yield [tokenizer.sep_token_id], False
            first = False
            yield ids, begins
        bar.update(len(lines))
    yield [tokenizer.sep_token_id], False
    bar.close()


def batches(lines: Iterable[Item], letters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """As many lines as are tokenized at once: 1000, or fewer where they are long."""
    batch: list[Item] = []
    count = 0
    for line in lines:
        batch.append(line)
        count += letters(line)
        if len(batch) == _BATCH or count >= _LETTERS:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _key(source: Source, tokenizer: Any) -> dict[str, Any]:
    """What the packed ids depend on: the files' names, sizes and times of change, and the tokenizer's vocabulary."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    return {**text_key(source), "vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest()}


def text_key(source: Source) -> dict[str, Any]:
    """By what a text is known again: its source, and its files' names, sizes and times of change."""
    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in source.paths]
    return json.loads(json.dumps({**asdict(source), "files": files}))
