"""Text to packed ids, and the vocabulary that is trained on it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from hf_bertx.pretraining import corpus as corpus_module
from hf_bertx.pretraining.corpus import DOCUMENTS, Source, pack, read_lines
from hf_bertx.pretraining.vocabulary import UNUSED, build_tokenizer, train_vocabulary


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_backbone)


def test_documents_end_where_they_are_said_to(tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", "\ufeffone\n\n\n two \r\nthree\n")
    second = write(tmp_path / "b.txt", "four")

    def read(documents: str) -> list[tuple[str, bool]]:
        return list(read_lines(Source((first, second), documents=documents)))

    assert read("file") == [("one", True), ("two", False), ("three", False), ("four", True)]
    assert read("blank_line") == [("one", True), ("two", True), ("three", False), ("four", True)]
    assert read("line") == [("one", True), ("two", True), ("three", True), ("four", True)]


def test_a_long_line_comes_in_pieces_that_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_LONGEST_LINE", 16)
    text = "wörd " * 9 + "é" * 40 + " end\nnext " + "a" * 15 + "\n\nlast"
    source = Source((write(tmp_path / "a.txt", text),), documents="line")
    pieces = list(read_lines(source))
    assert all(len(piece.encode()) <= 32 for piece, _ in pieces)
    begins = [i for i, (_, first) in enumerate(pieces) if first]
    assert [pieces[i][0].split()[0] for i in begins] == ["wörd", "next", "last"]
    assert "".join(piece.replace(" ", "") for piece, _ in pieces) == text.replace(" ", "").replace("\n", "")
    words = " ".join(piece for piece, _ in pieces).split()
    assert words.count("wörd") == 9, "no word is cut that has a blank beside it"
    broken = write(tmp_path / "b.txt", b"abcd " * 9 + b"\xff")
    with pytest.raises(ValueError, match=r"b\.txt: not UTF-8 at byte 45: 0xff"):
        list(read_lines(Source((broken,))))


def test_a_batch_is_no_longer_for_longer_lines() -> None:
    assert [len(batch) for batch in corpus_module.batches(["a"] * 2500, len)] == [1000, 1000, 500]
    assert [len(batch) for batch in corpus_module.batches(["a" * 2**20] * 9, len)] == [4, 4, 1]


def test_a_data_set_of_several_configurations(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.jsonl", f'{{"text": "word {name}"}}\n')
    told = [f"  - config_name: {name}\n    data_files: {name}.jsonl\n" for name in ("one", "two")]
    write(tmp_path / "README.md", "---\nconfigs:\n" + "".join(told) + "---\n")
    assert list(read_lines(Source(dataset=str(tmp_path), configuration="two"))) == [("word two", True)]


def test_a_folder_stands_for_its_text_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.md", "word2")
    write(tmp_path / "a.txt", "word1")
    write(tmp_path / "c.json", "{}")
    assert [text for text, _ in read_lines(Source((str(tmp_path),)))] == ["word1", "word2"]


def test_ids_are_packed_with_a_separator_behind_each_document(tmp_path: Path, tokenizer: Any) -> None:
    files = (write(tmp_path / "a.txt", "word1 word2\nword3"), write(tmp_path / "b.txt", "word4 never-seen"))
    corpus = pack(Source(files), tokenizer, tmp_path / "packed")
    words = tokenizer.convert_ids_to_tokens(corpus.tokens.tolist())
    assert words[:5] == ["word1", "word2", "word3", "[SEP]", "word4"]
    assert words[-1] == "[SEP]"
    assert corpus.starts.tolist() == [0, 4]
    assert corpus.tokens.dtype == np.uint16
    assert corpus.unknown == words.count("[UNK]") / len(words) > 0


def test_a_second_call_maps_what_is_there_and_a_changed_file_is_read_again(tmp_path: Path, tokenizer: Any) -> None:
    source = Source((write(tmp_path / "a.txt", "word1 word2"),))
    first = pack(source, tokenizer, tmp_path / "packed")
    made = (tmp_path / "packed" / "tokens.bin").stat().st_mtime_ns
    assert pack(source, tokenizer, tmp_path / "packed").fingerprint == first.fingerprint
    assert (tmp_path / "packed" / "tokens.bin").stat().st_mtime_ns == made
    write(tmp_path / "a.txt", "word1 word3")
    assert pack(source, tokenizer, tmp_path / "packed").fingerprint != first.fingerprint


def test_a_row_of_a_data_set_is_a_document(tmp_path: Path, tokenizer: Any) -> None:
    rows = write(tmp_path / "rows.json", '{"text": "word1\\n\\nword2"}\n{"text": "word3"}\n')
    corpus = pack(Source((rows,), dataset="json"), tokenizer, tmp_path / "packed")
    assert corpus.starts.tolist() == [0, 3]
    assert len(corpus.tokens) == 5
    with pytest.raises(ValueError, match="no column 'body'; it has 'text'"):
        pack(Source((rows,), dataset="json", column="body"), tokenizer, tmp_path / "other")


def test_bad_text_is_named_with_its_place(tmp_path: Path) -> None:
    latin = write(tmp_path / "latin.txt", b"fine\ncaf" + b"\xe9 au lait\n")
    empty, blank = write(tmp_path / "empty.txt", ""), write(tmp_path / "blank.txt", "\n \n")
    (tmp_path / "nothing").mkdir()
    marked = write(tmp_path / "marked.txt", b"\xef\xbb\xbfab\xff\n")
    for name, message in (
        (latin, r"latin.txt: not UTF-8 at byte 8: 0xe9"),
        (marked, r"marked.txt: not UTF-8 at byte 5: 0xff"),
        (empty, "empty.txt: the file is empty"),
        (blank, "blank.txt: the file holds nothing but blank lines"),
        (str(tmp_path / "absent.txt"), "absent.txt: no such file"),
        (str(tmp_path / "nothing"), "nothing: holds no .txt or .md file"),
    ):
        with pytest.raises(ValueError, match=message):
            list(read_lines(Source((name,))))
    for documents in DOCUMENTS:
        with pytest.raises(ValueError, match=r"blank.txt: the file holds nothing but blank lines"):
            list(read_lines(Source((blank,), documents=documents)))
    whole = write(tmp_path / "whole.txt", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert [text for text, _ in read_lines(Source((whole,)))] == ["one", "\ufefftwo"]
    with pytest.raises(ValueError, match="documents is 'page'; allowed: file, blank_line, line"):
        Source((latin,), documents="page")
    with pytest.raises(ValueError, match="no text"):
        Source()


PACK = """
import re, sys
from pathlib import Path
from transformers import AutoTokenizer
from hf_bertx.pretraining.corpus import Source, pack
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for name in sys.argv[2:]:
    pack(Source((name,), documents="line"), tokenizer, Path(name + ".packed"))
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read where Linux keeps it")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, tiny_backbone: Path) -> None:
    line = " ".join(f"word{n}" for n in range(5)) + "\n"
    names = [write(tmp_path / f"{lines}.txt", line * lines) for lines in (20_000, 200_000)]  # 0.6 and 6 MB of text
    done = subprocess.run(
        [sys.executable, "-c", PACK, str(tiny_backbone), *names], capture_output=True, text=True, check=True
    )
    small, large = map(int, done.stdout.split())
    # 0.9 million ids and 180 thousand documents more: 36 and 7 MB as lists of numbers
    assert large - small < 6 * 1024


def test_a_vocabulary_is_laid_out_as_berts() -> None:
    lines = ["the cat and the dog", "the dog ate the cat's dinner", "a dog and a cat and the rest"] * 20
    vocabulary = train_vocabulary(lambda: iter(lines), 2 * (UNUSED + 5))
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert pieces[5] == "[unused0]"
    assert pieces[4 + UNUSED] == f"[unused{UNUSED - 1}]"
    assert pieces[5 + UNUSED] == "the"  # the most frequent
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    tokenizer = build_tokenizer(vocabulary, 64)
    assert tokenizer.convert_ids_to_tokens(tokenizer("The cat")["input_ids"]) == ["[CLS]", "the", "cat", "[SEP]"]
    with pytest.raises(ValueError, match="too small; allowed: at least 266"):
        train_vocabulary(lambda: iter(lines), 200)
