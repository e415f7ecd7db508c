"""Text or sequences to blocks of ids, and the vocabulary that is trained on text."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_from_disk
from python_processes import run_python
from transformers import AutoTokenizer, BertTokenizer

from hf_bertx.pretraining.corpus import DOCUMENTS, Source, packed, read_rows
from hf_bertx.pretraining.vocabulary import UNUSED, train_vocabulary
from hf_bertx.tokenization_discipline import DisciplineTokenizer


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(source: Source) -> list[tuple[str, bool]]:
    return [(row["text"], row["begins"]) for row in read_rows(source)]


def pack(source: Source, tokenizer: Any, length: int, folder: Path, **pairs: Any) -> tuple[Dataset, dict[str, Any]]:
    with packed(source, tokenizer, length, folder, **pairs) as record:
        pass
    return load_from_disk(folder), record


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_backbone)


@pytest.mark.parametrize(
    ("documents", "begins"),
    [
        ("file", [True, False, False, True]),
        ("blank_line", [True, True, False, True]),
        ("line", [True, True, True, True]),
    ],
)
def test_where_a_document_ends(documents: str, begins: list[bool], tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", "\ufeffone\n\n\n two \r\nthree\n")
    second = write(tmp_path / "b.txt", "four")
    rows = read(Source((first, second), documents=documents))
    assert rows == list(zip(["one", "two", "three", "four"], begins, strict=True))


def test_a_long_line_is_cut_at_blanks(tmp_path: Path) -> None:
    text = "wörd " * 30_000 + "é" * 70_000 + " end\nnext"
    rows = read(Source((write(tmp_path / "a.txt", text),), documents="line"))
    assert max(len(row) for row, _ in rows) <= 2**16
    assert [row.split()[0] for row, begins in rows if begins] == ["wörd", "next"]
    assert "".join(row.replace(" ", "") for row, _ in rows) == text.replace(" ", "").replace("\n", "")
    assert " ".join(row for row, _ in rows).split().count("wörd") == 30_000


def test_a_data_set_of_several_configurations(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.jsonl", f'{{"text": "word {name}"}}\n')
    configurations = [f"  - config_name: {name}\n    data_files: {name}.jsonl\n" for name in ("one", "two")]
    write(tmp_path / "README.md", "---\nconfigs:\n" + "".join(configurations) + "---\n")
    assert read(Source(dataset=str(tmp_path), configuration="two")) == [("word two", True)]


def test_a_folder_stands_for_its_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.md", "word2")
    write(tmp_path / "a.TXT", "word1")
    write(tmp_path / "c.json", "{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path), "~"):  # as in a file of options, of which no shell expands it
        assert read(Source((name,))) == [("word1", True), ("word2", True)]


def test_sequences_of_a_discipline_are_documents(tmp_path: Path) -> None:
    fasta = write(tmp_path / "a.fasta", ">one x\nACGT\nAC\n>two\n" + "g" * 70_000)
    table = write(tmp_path / "b.csv", "name,dna\nq,TTT\n")
    rows = read(Source((fasta,), discipline="dna", column="sequence"))
    assert [(len(text), begins) for text, begins in rows] == [(6, True), (65536, True), (4464, False)]
    assert read(Source((table,), discipline="dna", column="dna")) == [("TTT", True)]


def test_ids_are_packed_with_a_separator_between(tmp_path: Path, tokenizer: Any) -> None:
    files = (write(tmp_path / "a.txt", "word1 word2\nword3"), write(tmp_path / "b.txt", "word4 never word5 word6"))
    blocks, record = pack(Source(files), tokenizer, 6, tmp_path / "blocks")
    words = [tokenizer.convert_ids_to_tokens(ids) for ids in blocks["input_ids"]]
    assert words == [
        ["[CLS]", "word1", "word2", "word3", "[SEP]", "[SEP]"],
        ["[CLS]", "word4", "[UNK]", "word5", "word6", "[SEP]"],
    ]
    assert blocks["block"][:] == [0, 1]
    assert {name: record[name] for name in ("tokens", "documents", "unknown_share")} == {
        "tokens": 8,
        "documents": 2,
        "unknown_share": 1 / 8,
    }


def test_blocks_run_on_from_batch_to_batch(tmp_path: Path, tokenizer: Any) -> None:
    words = [f"word{n % 600}" for n in range(2501)]
    blocks, _ = pack(Source((write(tmp_path / "a.txt", "\n".join(words)),)), tokenizer, 9, tmp_path / "blocks")
    ids = [i for row in blocks["input_ids"] for i in row[1:-1]]
    assert tokenizer.convert_ids_to_tokens(ids) == words[: 2501 // 7 * 7]


def test_a_second_call_reads_what_the_first_wrote(tmp_path: Path, tokenizer: Any) -> None:
    def made(length: int = 6) -> tuple[str, int]:
        _, record = pack(Source((str(tmp_path / "a.txt"),)), tokenizer, length, tmp_path / "blocks")
        return record["sha256"], (tmp_path / "blocks" / "corpus.json").stat().st_mtime_ns

    write(tmp_path / "a.txt", "word1 word2 word3 word4")
    first = made()
    assert made() == first
    write(tmp_path / "a.txt", "word1 word2 word3 word5")
    assert made()[0] != first[0]
    assert made(5)[1] != made(6)[1]
    (tmp_path / "blocks" / "corpus.json").unlink()
    with pytest.raises(ValueError, match="blocks: holds no blocks of a pre-training"):
        made()
    source = Source(dataset=str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    for words in ("word1 word2 word3 word4", "word1 word2 word3 word5"):
        write(tmp_path / "data" / "a.jsonl", json.dumps({"text": words}))
        _, record = pack(source, tokenizer, 6, tmp_path / "of_a_data_set")
    assert record["sha256"] != first[0]


def test_a_pair_follows_or_is_of_another_document(tmp_path: Path, tokenizer: Any) -> None:
    files = []
    for document in range(3):  # no word stands in two documents; the words of each follow each other
        words = [f"word{200 * document + n % 199}" for n in range(3000)]
        files.append(write(tmp_path / f"{document}.txt", " ".join(words)))
    blocks, _ = pack(Source(tuple(files)), tokenizer, 33, tmp_path / "blocks", next_sentence=True, seed=1)
    follows = 0
    for row in blocks:
        ids, cut = row["input_ids"], row["token_type_ids"].index(1)
        assert (len(ids), ids[0], ids[cut - 1], ids[-1]) == (33, 101, 102, 102)
        assert row["token_type_ids"] == [0] * cut + [1] * (33 - cut)
        a, b = ids[1 : cut - 1], ids[cut:-1]
        assert min(len(a), len(b)) >= 4
        if row["next_sentence_label"] == 0:
            follows += 1
        elif 102 not in (*a, *b):
            assert (a[0] - 1000) // 200 != (b[0] - 1000) // 200
    assert 0.4 < follows / len(blocks) < 0.6
    again, _ = pack(Source(tuple(files)), tokenizer, 33, tmp_path / "again", next_sentence=True, seed=1)
    assert again["input_ids"][:] == blocks["input_ids"][:]
    with pytest.raises(ValueError, match=r"at least two documents; \S+0.txt has one \(--documents"):
        pack(Source((files[0],)), tokenizer, 33, tmp_path / "one", next_sentence=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\ncaf\xe9 au lait\n", r"in.txt, line 2: not text in UTF-8"),
        ("", r"in.txt: the file is empty"),
        ("\n \n", "in.txt: the file holds nothing but blank lines"),
        (None, "in.txt: no such file"),
        ("word1 word2", "in.txt holds fewer than the 4 tokens of one block"),
    ],
)
def test_bad_text_is_named_with_its_place(content: Any, message: str, tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "in.txt"
    if content is not None:
        write(path, content)
    with pytest.raises(ValueError, match=message):
        pack(Source((str(path),)), tokenizer, 6, tmp_path / "blocks")
    assert not (tmp_path / "blocks").exists()


def test_a_bad_sequence_is_named_with_its_place(tmp_path: Path, tokenizer: Any) -> None:
    source = Source((write(tmp_path / "in.fasta", ">a\nACGT\n>b\nACJ\n"),), "sequence", discipline="dna")
    with pytest.raises(ValueError, match=r"in.fasta.*: symbol 'J' at position 3 is not in the dna alphabet"):
        pack(source, DisciplineTokenizer.from_backbone(tokenizer, "dna"), 6, tmp_path / "blocks")


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no \.txt or \.md file"):
        _ = Source((str(tmp_path),)).paths
    with pytest.raises(ValueError, match=f"documents is 'page'; allowed: {', '.join(DOCUMENTS)}"):
        Source(("a",), documents="page")
    write(tmp_path / "rows.jsonl", '{"text": "word1", "number": 3}\n')
    for column, message in (("body", "no column 'body'; it has 'text', 'number'"), ("number", "'number' is not text")):
        with pytest.raises(ValueError, match=rf"data set \S+, row 0: {message}"):
            read(Source(dataset=str(tmp_path), column=column))


PACK = """
import re, sys
from pathlib import Path
from transformers import AutoTokenizer
from hf_bertx.pretraining.corpus import Source, packed
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for name in sys.argv[2:]:
    with packed(Source((name,), documents="line"), tokenizer, 64, Path(name + ".packed")):
        pass
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read where Linux keeps it")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, tiny_backbone: Path) -> None:
    line = " ".join(f"word{n % 9}" for n in range(50)) + "\n"
    names = [write(tmp_path / f"{lines}.txt", line * lines) for lines in (1_000, 10_000)]  # 0.3 and 3 MB of text
    done = run_python("-c", PACK, tiny_backbone, *names)
    small, large = map(int, done.stdout.split())
    # 460 thousand ids and as many numbers of documents more: 33 MB as lists of numbers
    assert large - small < 16 * 1024


def test_a_vocabulary_is_laid_out_as_berts() -> None:
    lines = ["the cat and the dog", "the dog ate the cat's dinner", "a dog and a cat and the rest"] * 20
    vocabulary = train_vocabulary(lambda: iter(lines), 2 * (UNUSED + 5))
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert pieces[5] == "[unused0]"
    assert pieces[4 + UNUSED] == f"[unused{UNUSED - 1}]"
    assert pieces[5 + UNUSED] == "the"  # the most frequent
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    tokenizer = BertTokenizer(vocab=vocabulary)
    assert tokenizer.convert_ids_to_tokens(tokenizer("The cat")["input_ids"]) == ["[CLS]", "the", "cat", "[SEP]"]
    with pytest.raises(ValueError, match="too small; allowed: at least 266"):
        train_vocabulary(lambda: iter(lines), 200)


TRAIN = """
import json, random
from hf_bertx.pretraining.vocabulary import train_vocabulary
draw = random.Random(0)
words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzé", k=draw.randint(2, 9))) for _ in range(4000)]
print(json.dumps(train_vocabulary(lambda: iter(words + words), 600)))
"""


def test_the_same_text_gives_the_same_vocabulary(capsys: pytest.CaptureFixture) -> None:
    # all words are equally frequent, so ties are many; hash tables differ from process to process
    done = run_python("-c", TRAIN)
    exec(TRAIN, {})
    assert len(json.loads(done.stdout)) == 600
    assert capsys.readouterr().out == done.stdout
