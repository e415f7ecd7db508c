# ruff: noqa: E501, RUF001  short rows of tables
"""What is read is what the file says, in training and in prediction alike; what was understood is said."""

import gzip
import json
import random
import re
import struct
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pretty_midi
import pyarrow as pa
import pytest
import raw_files
from raw_files import parquet
from saved_models import saved

from dataset_scripts.build import build_dataset
from dataset_scripts.records import checked_sequence
from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.data.input_records import Columns, InputRecord, read_input
from hf_bertx.data.midi_files import NOTES, files_below, read_segments
from hf_bertx.data.record_labels import Labels
from hf_bertx.data.targets import PROBLEMS, doubts, problem_of, sentence, understood
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.tasks import get_task

CSV = "id,sequence,label\n"


def write(folder: Path, name: str, content: Any) -> Path:
    return raw_files.write(folder, {name: parquet(**content) if isinstance(content, dict) else content}) / name


def read(path: Path, columns: Columns | None = None, labels: Labels | None = None) -> list[InputRecord]:
    return list(read_input(path, columns, labels))


# --- what is refused ---

REFUSED: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    # a table's quotation marks
    "a mark that nothing closes": ("x.csv", 'id,sequence,note\n1,AC,"oops\n2,AC,b\n', {}, "x.csv, line 2: a quotation"),
    "text after a closing mark": ("x.csv", 'id,sequence\n1,AC\n2,"A"C\n', {}, "x.csv, line 3: a quotation mark opens"),
    "a sequence on two lines": ("x.csv", 'id,sequence\n1,AC\n2,"A\nC"\n', {}, "x.csv, line 3: a quotation mark opens a"),
    "an id on two lines": ("x.csv", 'id,sequence\n"1\n2",AC\n', {}, "line 2: a quotation mark opens a field that spans"),
    "records in a note": ("x.csv", 'id,sequence,note\n1,AC,"a\n2,GG,b"\n', {}, "x.csv, line 2: a quotation mark opens"),
    "a tab too many": ("x.tsv", 'id\tsequence\n1\tA"C\tG\n', {}, "x.tsv, line 2: 3 fields; the header has 2"),
    "a comma too many": ("x.csv", "sequence,label\nA day,a\nSo, so,b\n", {}, "x.csv, line 3: 3 fields; the header has 2"),
    # names
    "a column twice": ("x.csv", "id,sequence,sequence\n1,AC,GG\n", {}, "x.csv: the column 'sequence' is there twice"),
    "another column twice": ("x.tsv", "id\tx\tsequence\tx\n1\ta\tAC\tb\n", {}, "x.tsv: the column 'x' is there twice"),
    "a name twice": ("x.jsonl", '{"sequence": "AC", "sequence": "GG"}', {}, "line 1: the name 'sequence' is there twice"),
    "a name twice within": ("x.json", '[{"sequence": "A", "n": {"a": 1, "a": 2}}]', {}, "the name 'a' is there twice"),
    "another case": ("x.csv", "ID,Sequence\n1,AC\n", {}, "no column 'sequence'; it has ID, Sequence; did you mean 'Seq"),
    "semicolons": ("x.csv", "id;sequence\n1;AC\n", {}, "its fields seem to be separated by ';'"),
    "an id column": ("x.csv", "Accession,sequence\nx,AC\n", {"id": "Accesion"}, "did you mean 'Accession'?"),
    "an id name": ("x.jsonl", '{"acc": 1, "sequence": "AC"}', {"id": "ac"}, "line 1: no 'ac'; it has acc, sequence"),
    # options that a form has no use for
    "columns of FASTA": ("x.fa", ">a\nAC\n", {"piece": "gene"}, "x.fa: --piece_column gene has no effect on FASTA"),
    "columns of lines": ("x.txt", "AC\n", {"id": "id"}, "x.txt: --id_column id has no effect on a .txt file"),
    "skipping in a table": ("x.csv", "sequence\nAC\n", {"skip_unreadable": True}, "--skip_unreadable has no effect on"),
    # values
    **{
        f"the word {word}": ("x.csv", f"id,sequence\n1,AC\n2,{word}\n", {}, f"x.csv, line 3: 'sequence' is {word!r}, a")
        for word in ("NA", "nan", "NaN", "None", "NULL", "null", "<NA>", "N/A", "#N/A", "NaT", "-nan", "\\N", "#DIV/0!")
    },
    "a word in FASTA": ("x.fa", ">a\nAC\n>b\nNA\n", {}, "x.fa, line 3: the sequence is 'NA', a missing value"),
    "NaN": ("x.jsonl", '{"sequence": NaN}', {}, "x.jsonl, line 1: 'sequence' is nan, a missing value"),
    "nothing": ("x.csv", "id,sequence\n1,AC\n2,\n", {}, "x.csv, line 3: the sequence is empty"),
    "null": ("x.jsonl", '{"sequence": null}', {}, "x.jsonl, line 1: the sequence is empty"),
    "null of a pair": ("x.jsonl", '{"sequence": "A", "b": null}', {"second_sequence": "b"}, "the sequence is empty"),
    "true": ("x.jsonl", '{"sequence": true}', {}, "'sequence' is a truth value, True; allowed: a string"),
    "a number": ("x.json", '[{"sequence": 60}]', {}, "x.json, record 0: 'sequence' is a number, 60; allowed: a string"),
    "a list": ("x.jsonl", '{"sequence": ["A"]}', {}, "'sequence' is a list, ['A']; allowed: a string"),
    "a list as id": ("x.jsonl", '{"id": [1], "sequence": "A"}', {}, "line 1: 'id' is a list, [1]; allowed: a string"),
    "bytes": ("x.parquet", {"sequence": [b"AC"]}, {}, "x.parquet, row 0: 'sequence' is bytes, b'AC'; allowed: a string"),
    "NaN in Parquet": ("x.parquet", {"sequence": pa.array(["A", None])}, {}, "x.parquet, row 1: the sequence is empty"),
    "a missing value in any case": ("x.csv", "id,sequence\na,none\n", {}, "line 2: 'sequence' is 'none', a missing"),
    "half a character": ("x.jsonl", r'{"sequence": "AC\ud800"}', {}, "x.jsonl, line 1: 'sequence' holds '\\ud800'"),
    # ids
    "ids in FASTA": ("x.fa", ">a|Chain A\nAC\n>b\nA\n>a|Chain B\nAC\n", {}, "line 5: id 'a|Chain' occurs a second time"),
    "ids in a table": ("x.csv", "id,sequence\na,A\nb,C\na,G\n", {}, "x.csv, line 4: id 'a' occurs a second time"),
    "an id like a number": ("x.csv", "id,sequence\nx-1,A\n,C\n", {}, "line 3: id 'x-1' occurs a second time"),
    # files
    "a folder": ("x.csv/y.mid/z", "AC\n", {}, "x.csv: no file that ends in .mid, .midi"),
    "an empty file": ("x.jsonl", "", {}, "x.jsonl: the file is empty"),
    "a mark alone": ("x.csv", "\ufeff", {}, "x.csv: the file is empty"),
    "blank lines": ("x.txt", "\n\n", {}, "x.txt: no record"),
    "a header alone": ("x.csv", "id,sequence\n", {}, "x.csv: no record"),
    "no header": ("x.fa", "\n\n", {}, "x.fa: no record; a FASTA file has lines that begin with >"),
    "text before a header": ("x.fa", "MKV\n>a\nMK\n", {}, "line 1: 'MKV' stands before any header; allowed: >ID LABEL"),
    "a list of numbers": ("x.json", "[1, 2]", {}, "x.json, record 0: '1'; allowed: an object with names"),
    "an empty list": ("x.json", "[]", {}, "x.json: no record"),
    "an object of lists": ("x.json", '{"data": []}', {}, "x.json, line 1: no 'sequence'; it has data"),
    "not JSON": ("x.jsonl", '{"sequence": "AC"}\n{"sequ\n', {}, "x.jsonl, line 2: not JSON"),
    "another ending": ("x.doc", "AC", {}, "x.doc: ending '.doc'; allowed: .fasta, .fa"),
    "deep JSON": ("x.jsonl", "[" * 100_000, {}, "x.jsonl, line 1: not JSON (nested too deep)"),
    "a long number": ("x.jsonl", '{"sequence": ' + "1" * 5000 + "}", {}, "x.jsonl, line 1: Exceeds the limit"),
    "Latin-1": ("x.csv", b"id,sequence\n1,A\n2,\xe9\n", {}, "x.csv, line 3: not text in UTF-8 ("),
    "UTF-16": ("x.csv", "id,sequence\n1,A\n".encode("utf-16"), {}, "x.csv: is text in UTF-16; save it as UTF-8"),
    "Excel": ("x.csv", b"PK\x03\x04ab\n", {}, "x.csv: is an Excel or zip file; export it as CSV"),
    "old Excel": ("x.tsv", b"\xd0\xcf\x11\xe0\xa1", {}, "x.tsv: is an Excel file; export it as CSV"),
    "gzip without its ending": ("x.fa", gzip.compress(b">a\nAC\n"), {}, "x.fa: is compressed; let its name end in .gz"),
    "no gzip": ("x.fa.GZ", ">a\nAC\n", {}, "x.fa.GZ: not a whole gzip file ("),
    "half a Parquet file": ("x.parquet", parquet(sequence=["A"] * 50)[:-20], {}, "x.parquet: not a Parquet file ("),
    "zeros in Parquet": (
        "x.parquet",
        (made := parquet(sequence=["ACGT" * 50 + str(n) for n in range(500)]))[:100] + bytes(64) + made[164:],
        {},
        "x.parquet, row 0 or after: a damaged Parquet file (",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_may_not_hold_is_one_line(tmp_path: Path, name: str) -> None:
    file, content, columns, message = REFUSED[name]
    write(tmp_path, file, content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(tmp_path / file.partition("/")[0], Columns(**columns))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


# --- what is read ---

TWO = [("a", "AC"), ("b", "GG")]
FASTA = ">a first\nA\nC\n>b\nGG\n"
TABLE = "id,sequence,note\na,AC,\nb,GG,x\n"
READ: dict[str, tuple[str, Any, list[tuple[str, str]]]] = {
    "CRLF": ("x.fa", FASTA.replace("\n", "\r\n"), TWO),
    "CR in FASTA": ("x.fa", FASTA.replace("\n", "\r"), TWO),
    "CR in CSV": ("x.csv", TABLE.replace("\n", "\r"), TWO),
    "a byte order mark": ("x.FASTA", "\ufeff" + FASTA, TWO),
    "a mark in JSON lines": ("x.jsonl", '\ufeff{"id": "a", "sequence": "AC"}\n{"id": "b", "sequence": "GG"}\n', TWO),
    "a mark before a list": ("x.JSON", '\ufeff\n [{"id": "a", "sequence": "AC"}, {"id": "b", "sequence": "GG"}]', TWO),
    "gzip": ("x.CSV.GZ", gzip.compress(TABLE.encode()), TWO),
    "gzip in pieces": ("x.Fa.Gz", gzip.compress(FASTA[:14].encode()) + gzip.compress(FASTA[14:].encode()), TWO),
    "marks in a TSV": ("x.tsv", 'id\tsequence\na\t"AC"\n"b"\tGG\n', TWO),
    "marks as text": ("x.tsv", 'id\tsequence\na\t"Yes", he said\nb\t"No"\n', [("a", '"Yes", he said'), ("b", '"No"')]),
    "a mark at the start": ("x.tsv", 'id\tsequence\na\t"good\nb\tbad"\n', [("a", '"good'), ("b", 'bad"')]),
    "a note on two lines": ("x.csv", 'id,sequence,note\na,AC,"one, two,\nthree"\nb,GG,\n', TWO),
    "marks within": ("x.csv", 'id,sequence\na,"say ""AC"""\n', [("a", 'say "AC"')]),
    "ids from 0": ("x.jsonl", '{"id": 0, "sequence": "AC"}\n{"id": 1, "sequence": "GG"}', [("0", "AC"), ("1", "GG")]),
    "ids from 0 in Parquet": ("x.parquet", {"id": [0, 1], "sequence": ["AC", "GG"]}, [("0", "AC"), ("1", "GG")]),
    "ids that are missing": ("x.csv", "id,sequence\nNA,AC\nb,GG\n", [("x-0", "AC"), ("b", "GG")]),
    "lines": ("x.txt", "AC\n\nGG\n", [("x-1", "AC"), ("x-3", "GG")]),
    "whole numbers of Snowflake": ("x.parquet", {"id": [Decimal(7)], "sequence": ["AC"]}, [("7", "AC")]),
    "a name that is missing": (
        "x.jsonl",
        '{"id": 7.0, "sequence": "AC"}\n{"id": null, "sequence": "GG"}',
        [("7", "AC"), ("x-1", "GG")],
    ),
    "surplus commas": ("x.csv", "id,sequence\na,AC,,\nb,GG,,\n", TWO),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_file_says_is_what_is_read(tmp_path: Path, name: str) -> None:
    file, content, expected = READ[name]
    assert [(r.id, r.sequence) for r in read(write(tmp_path, file, content))] == expected


@pytest.mark.parametrize("column", ["id", "group"])
def test_the_column_of_the_label_names_nothing_else(tmp_path: Path, column: str) -> None:
    path = write(tmp_path, "x.csv", f"{column},sequence\na,AC\na,GG\n")
    found = read(path, labels=Labels(column))
    assert [(r.id, r.label, r.piece) for r in found] == [("x-0", "a", None), ("x-1", "a", None)]


def test_the_split_of_a_header_is_counted_as_not_read(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    path = write(tmp_path, "x.fa", ">a label=x SET=train\nAC\n>b label=y SET=test\nGG\n")
    assert [record.label for record in read_input(path, labels=Labels(), counts=counts)] == ["x", "y"]
    assert counts == {"headers with SET=, which is not read (give each split a file of its own)": 2}


def test_missing_pieces_and_ids_are_counted(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    path = write(tmp_path, "x.jsonl", '{"sequence": "A", "id": "a"}\n{"sequence": "C", "group": "g"}')
    assert [record.piece for record in read_input(path, labels=None, counts=counts)] == [None, None]
    assert counts == {"records without 'id', which are numbered": 1}
    counts.clear()
    path = write(tmp_path, "x.csv", "gene,sequence\ng,AC\n,GG\nNA,TT\n")
    found = list(read_input(path, Columns(piece="gene"), counts=counts))
    assert [record.piece for record in found] == ["g", None, None]
    assert counts == {"records without 'gene', each of which is alone": 2}
    counts.clear()
    assert [record.id for record in read_input(write(tmp_path, "x.fa", ">\nAC\n>b\nGG\n"), counts=counts)] == [
        "x-0",
        "b",
    ]
    assert counts == {"records without 'id', which are numbered": 1}


@pytest.mark.parametrize(
    ("letters", "discipline", "stored"),
    [
        ("acgT", "dna-h3", "ACGT"),
        ("ß", "protein-stability", None),
        ("ı", "protein-stability", None),
        ("ﬁ", "protein-stability", None),
        ("ſ", "protein-stability", None),
        ("60  64\x1c67", "music-maestro-v1", "60 64 67"),
    ],
)
def test_letters_are_checked_as_they_stand(letters: str, discipline: str, stored: str | None) -> None:
    task = get_task(discipline)
    if stored is not None:
        assert checked_sequence(letters, task, "here") == stored
        return
    with pytest.raises(ValueError, match=f"^here: '{letters}' at position 2 of the sequence is not in the protein"):
        checked_sequence(f"M{letters}", task, "here")


# --- labels ---

HEADERS = {
    "id label=yes": "yes",
    "id label=yes organism=yeast": "yes",
    "id|label=yes|length=3": "yes",
    'id label="Cell membrane" x': "Cell membrane",
    "id yes and more": "yes",
    'id "Cell wall" x': "Cell wall",
    "id GO:0005": "GO:0005",
}
HEADERS_REFUSED = {
    "id label=Cell membrane": "--label_pattern 'label=(.+)'",
    "id label=": "--label_pattern 'label=(.+)'",
    "id label=a|b": "several labels",
    "id label=GO:1;GO:2": "several labels",
    "id label=a label=b": "several labels",
    "id a|b": "several labels",
    "id SET=train TARGET=Glob": r"--label_pattern 'TARGET=(\S+)'",
    "id TARGET=Glob SET=test": r"--label_pattern 'TARGET=(\S+)'",
    "id len=20 Label=x": r"--label_pattern 'Label=(\S+)'",
    "id class: x": "'class:' as its second word",
    "id label = x": "'label' as its second word",
    "sp|P1|X_HUMAN Protein kinase OS=Homo sapiens OX=9606 SV=2": "is a description, as UniProt or NCBI write it",
    "NP_1.1 DNA gyrase [Escherichia coli]": r"--label_pattern '^\S+ (\S+)'",
    "id NA": "the label is 'NA', a missing value",
    "id": "holds no label",
    "": "holds no label",
}


@pytest.mark.parametrize("header", HEADERS)
def test_the_label_of_a_header_is_read(header: str) -> None:
    assert Labels().of_header(header, "here") == HEADERS[header]


@pytest.mark.parametrize("header", HEADERS_REFUSED)
def test_a_header_without_one_clear_label_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=re.escape(HEADERS_REFUSED[header])) as caught:
        Labels().of_header(header, "x.fasta, line 1")
    assert str(caught.value).startswith("x.fasta, line 1: ")


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ([0, 1], "line 1: the label is a list, [0, 1]; write several labels as one text, a;b"),
        ({"name": "a"}, "line 1: the label is an object, {'name': 'a'}; allowed: a string"),
        (None, "line 1: the record has no label"),
        (float("nan"), "line 1: the label is nan, a missing value"),
        (float("inf"), "line 1: the label is inf; allowed: a finite number"),
        (True, "True"),
        (1.0, "1.0"),
    ],
)
def test_a_label_in_json_is_one_value(tmp_path: Path, label: Any, found: str) -> None:
    path = write(tmp_path, "x.jsonl", json.dumps({"sequence": "AC", "label": label}))
    if not found.startswith("line"):
        assert read(path, labels=Labels())[0].label == found
        return
    with pytest.raises(ValueError, match=re.escape(found)):
        read(path, labels=Labels())


def labelled(data: Path, columns: Columns, labels: Labels) -> str:
    """The name and the label of each record or piece."""
    records = read(data, columns, labels)
    labels.check_all_used([data])
    return " ".join(f"{(record.piece or record.id).removesuffix('.mid')}={record.label}" for record in records)


PAIR = ">p Putative x\nAC\n>q Probable y\nGG\n>r Probable z\nTT\n"


@pytest.mark.parametrize(
    ("table", "text", "fields", "expected"),
    [
        ("l.csv", "id,label\np,a\nq,b\nr,a\n", {}, "p=a q=b r=a"),
        ("l.tsv", "acc\tkind\np\ta\nq\tb\nr\ta\n", {"id": "acc", "column": "kind"}, "p=a q=b r=a"),
        ("l.jsonl", '{"file": "q", "label": 1}', {}, "q=1"),
        ("l.csv", "id,label\np,a\ns,b\n", {}, "l.csv, line 3: no record of x.fa has the id"),
        ("l.csv", "id,label\np,a\np,b\n", {}, "line 3: 'p' occurs a second time, after"),
        ("l.csv", "id,class\np,a\n", {}, "l.csv: no column 'label'; it has id, class"),
        ("l.csv", "name,label\np,a\n", {}, "l.csv: no column 'id'; it has name, label"),
        ("l.csv", "id,label\np,NA\n", {}, "l.csv, line 2: the label is 'NA', a missing"),
        ("l.csv", None, {}, "--labels_file l.csv: no such file"),
        ("l.csv", "id,label\n", {"pattern": "(.)"}, "both say where the labels are"),
    ],
)
def test_a_labels_file_is_used_or_refused(
    tmp_path: Path,
    table: str,
    text: str | None,
    fields: dict[str, Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Path(write(tmp_path, "x.fa", PAIR).name)
    if text is not None:
        write(tmp_path, table, text)
    options = dict(fields)
    columns = Columns(id=options.pop("id", None))
    if "=" in expected:
        assert labelled(data, columns, Labels(file=Path(table), **options)) == expected
        return
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(expected)):
        labelled(data, columns, Labels(file=Path(table), **options))


@pytest.mark.parametrize(
    ("labels", "asked", "expected"),
    [
        ("1.5 2", None, "regression"),
        ("-1 +2 3", None, "classification"),
        ("1_1 1_2 10_3", None, "classification"),
        ("1E2 2E2 3E1", None, "classification"),
        ("1.1.1.1 2.7.1.1 1.10.3.4", None, "classification"),
        ("a|b c", None, "classification"),
        ("a|b b", "classification", "classification"),
        ("a|b b", None, "the label 'a|b' holds the label 'b'; pass --problem multi_label if items have several"),
        ("a;b b;c a", None, "the label 'a;b' holds the label 'a'"),
        ("none mild", None, "classification"),
        ("1.1 1.10 2.7", "classification", "classification"),
        ("37 38 1e-5", "regression", "regression"),
        ("37,5 38,1", None, "'37,5' is not a number, and most others are"),
        ("37,5 38,1", "regression", "write the fraction after a point"),
        ("1,100.5 1,101.5", None, "no thousands separator"),
        ("0.5% 1.5%", None, "leave the percent sign out"),
        ("0.5 \u22120.5 \u22121.5", None, "write the minus sign as -"),
        ("0.1 0.2 <0.1", None, "'<0.1' is not a number"),
        ("3.5kcal 4.1kcal", None, "a target has to be finite, in plain decimal form; leave the unit out"),
        ("a|b b", "multi_label", "f.csv: no label holds a ;, and 'a|b' may be several; allowed: a;b"),
        ("a;b b|c", "multi_label", "multi_label"),
        ("a b a/b", None, "the label 'a/b' holds the label 'a'; pass --problem multi_label"),
        ("A A+ B", None, "classification"),
        ("['a'] ['b']", None, "pass --problem multi_label if items have several"),
        ("0.1 0.2 inf", None, "'inf' is not a number"),
        ("0.1 0.2 1e-5", None, "'1e-5' has an exponent; pass --problem regression"),
        ("1_0 2", "regression", "leave the underscore out"),
        ("nan 2", "regression", "the target is 'nan'"),
        ("\u0661 \u0662", "regression", "the target is '\u0661'"),
        ("a", None, "every record has the label 'a'"),
        ("1 2", "regresion", "--problem is 'regresion'; allowed: classification, regression"),
    ],
)
def test_classes_and_numbers_are_told_apart(labels: str, asked: str | None, expected: str) -> None:
    counted = Counter(labels.split() * 2)
    if expected in PROBLEMS:
        assert problem_of(counted, asked, "f.csv") == expected
        return
    with pytest.raises(ValueError, match=re.escape(expected)):
        problem_of(counted, asked, "f.csv")


def test_as_many_classes_as_records_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^f.csv: 40 classes for 40 records, .* pass --problem regression"):
        problem_of(Counter(str(n) for n in range(40)), None, "f.csv")


@pytest.mark.parametrize(
    ("labels", "problem", "doubt"),
    [
        (["1.1", "1.10", "2.7"] * 9, "regression", "'1.1' and '1.10' are one target"),
        (["0.0", "1.0"] * 9, "regression", "18 records have 2 distinct targets: --problem classification"),
        (["16777216.5", "16777217.0"], "regression", "'16777216.5' and '16777217.0' are one number in 32 bits"),
        ([str(n % 41) for n in range(80)], "classification", "read as names of 41 classes: --problem regression"),
        ([f"c{n % 41}" for n in range(80)], "classification", "there are 41 classes for 80 records"),
        (["Pos", "pos", "neg"], "classification", "classes 'Pos' and 'pos' look alike"),
        (["caf\u00e9", "cafe\u0301"], "classification", r"classes 'cafe\u0301' and 'caf\xe9' look alike"),
        (["b", "\u200bb"], "classification", r"classes 'b' and '\u200bb' look alike"),
        (["+1", "1"], "classification", "classes '+1' and '1' look alike"),
        (["a;b", "b;c"], "classification", "several classes hold 'b': --problem multi_label if items have several"),
    ],
)
def test_what_may_be_misunderstood_is_said(labels: list[str], problem: str, doubt: str) -> None:
    assert any(doubt in found for found in doubts(Counter(labels), problem, None))


def test_what_was_understood_is_one_line() -> None:
    items, splice, stability = {"train": 40, "test": 5}, get_task("dna-splice"), get_task("protein-stability")
    classes = understood(items, {"train": {"a": 18, "b": 18, "NA": 4}, "test": {"a": 2, "b": 0, "NA": 3}}, splice)
    assert sentence(classes) == "3 classes: a (20), b (18), NA (7); 40 train, 5 test; no test item of class 'b'"
    targets = {"train": {"mean": 57.5, "min": 11.0, "max": 90.0}, "test": {"mean": 53.0, "min": 12.0, "max": 103.0}}
    assert sentence(understood(items, targets, stability)) == "regression, 11 to 103, mean 57; 40 train, 5 test"
    many = understood({"train": 30, "test": 1}, {"train": {f"c{n}": 1 for n in range(30)}, "test": {"c0": 1} | {
        f"c{n}": 0 for n in range(1, 30)}}, splice)  # fmt: skip
    assert "c19 (1) and 10 more; 30 train" in sentence(many)
    assert sentence(many).endswith("; no test item of the classes 'c1', 'c2', 'c3', 'c4', 'c5' and 24 more")
    same = {"train": {"mean": 1.5, "min": 1.5, "max": 1.5}, "test": {"mean": 2.0, "min": 2.0, "max": 2.0}}
    assert understood({"train": 9, "test": 1}, same, stability)["doubts"] == ["all training targets are 1.5"]


@pytest.mark.parametrize(
    ("discipline", "lines", "joined"),
    [("dna", "AC\nGT", "ACGT"), ("text", "hello world\nagain", "hello world again"), ("music", "1\n2 3", "1 2 3")],
)
def test_lines_of_a_sequence_are_joined_as_its_symbols_are(
    tmp_path: Path, tiny_backbone: Path, discipline: str, lines: str, joined: str
) -> None:
    path = write(tmp_path, "x.fasta", "".join(f">s{n} {'ab'[n % 2]}\n{lines}\n" for n in range(40)))
    build(tmp_path, train_file=str(path), discipline=discipline)
    assert set(datasets.load_dataset(str(tmp_path / "out"), split="train")["sequence"]) == {joined}
    if discipline != "text":
        model = SequenceClassifier.from_pretrained(saved(tiny_backbone, tmp_path / "model", discipline))
        assert {record.sequence for record in model.read(path)} == {joined}


# --- builds ---


def build(tmp_path: Path, seed: int = 100, **options: Any) -> dict[str, Any]:
    build_dataset("mine", tmp_path / "out", seed=seed, builder_options={"discipline": "dna", **options})
    return run_files.read_json(tmp_path / "out" / "builds" / "default.json")


def rows(n: int, label: Any, more: str = "") -> str:
    return "".join(f"s{i},{'ACGT'[i % 4] * (i % 9 + 1)},{label(i)}{more}\n" for i in range(n))


def test_the_record_and_the_command_say_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Any
) -> None:
    path = write(tmp_path, "x.csv", CSV + rows(60, lambda i: "ab"[i % 3 == 0]))
    order = ["data", "build", "mine", "--from", str(path), "--discipline", "dna", "--output", str(tmp_path / "o")]
    assert main(order) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path / 'o' / 'default'}: 2 classes: a (40), b (20); 42 train, 9 validation, 9 test\n"
        "6 of 9 test items (66.7%) occur letter for letter among the training items.\n"
        f'load_dataset("{tmp_path / "o"}", "default")\n'
    )
    record = run_files.read_json(tmp_path / "o" / "builds" / "default.json")
    assert record["understood"] == {
        "problem": "classification",
        "items": {"train": 42, "validation": 9, "test": 9},
        "classes": {"a": 40, "b": 20},
    }
    assert "--raw_dir is of the tasks of the paper" in refusal(main, *order, "--raw_dir", "x")


@pytest.mark.parametrize(("seed", "notes"), [(0, []), (7, ["no training item of class 'rare'"])])
def test_a_class_without_a_training_item_is_a_warning(tmp_path: Path, seed: int, notes: list[str]) -> None:
    held = write(tmp_path, "held.csv", CSV + rows(6, lambda i: "ab"[i % 2]))
    train = write(tmp_path, "x.csv", CSV + rows(60, lambda i: "rare" if i == 3 else "ab"[i % 2]))
    record = build(tmp_path, seed, train_file=str(train), validation_file=str(held))
    assert (record["balance"]["train"]["rare"] == 0) == bool(notes)
    assert [note for note in record["notes"] if "no training item" in note] == notes


def test_a_label_that_a_split_lacks_is_said(tmp_path: Path) -> None:
    train = write(tmp_path, "x.csv", CSV + rows(60, lambda i: "a;b" if i % 2 else "b"))
    test = write(tmp_path, "t.csv", CSV + rows(6, lambda i: "b"))
    record = build(tmp_path, train_file=str(train), test_file=str(test), problem="multi_label")
    assert record["balance"]["test"] == {"a": 0, "b": 6}
    assert "no test item of class 'a'" in record["notes"]


def test_unequal_classes_are_said_where_accuracy_is_measured(tmp_path: Path) -> None:
    train = write(tmp_path, "x.csv", CSV + rows(60, lambda i: "usual" if i % 6 else "rare"))
    said = "x.csv: 83% of the records are 'usual', so that accuracy says little; see --metric balanced_accuracy and"
    assert any(said in note for note in build(tmp_path, train_file=str(train))["notes"])
    assert not any("says little" in note for note in build(tmp_path, train_file=str(train), metric="mcc")["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": ""}, "--label_column is empty; allowed: the name of a column"),
        ({"test_file": ""}, "--test_file is empty; allowed: a path, or leave the option out"),
        ({"validation_file": "x.csv"}, "one file is given for two of train, validation; each needs its own"),
        ({"group_column": "famliy"}, "no column 'famliy'; it has id, sequence, label, family; did you mean 'family'?"),
        ({"label_column": "sequence"}, "the column 'sequence' is named for two purposes; allowed: one"),
        ({"group_column": "label"}, "the column 'label' is named for two purposes; allowed: one"),
        ({"label_pattern": "(.)"}, "--label_pattern (.) has no effect on a .csv file"),
        ({"labels_file": "none.csv"}, "--labels_file none.csv has no effect on a .csv file"),
        ({"label_pattern": "("}, "--label_pattern '(' is no regular expression"),
        ({"problem": "regression"}, "the target is 'a'; allowed: a finite number"),
        ({"metric": "auc"}, "--metric is 'auc'; allowed for classification: accuracy"),
        ({"license": "CC BY 4.0"}, "--license is 'CC BY 4.0'; allowed: the Hub's name of a license, as cc-by-4.0"),
        (
            {"similarity_threshold": 0.5, "validation_file": "y.csv", "test_file": "z.csv"},
            "--similarity_threshold is 0.5, and with --validation_file and --test_file nothing is drawn; leave one out",
        ),
        (
            {"similarity_threshold": 0.5, "second_sequence_column": "family"},
            "--similarity_threshold is 0.5, and pairs are not compared; name a --group_column",
        ),
        (
            {"similarity_threshold": 0.5, "group_column": "family"},
            "x.csv: its records have groups; leave --similarity_threshold out",
        ),
    ],
)
def test_an_option_of_own_data_is_used_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = "id,sequence,label,family\n" + rows(60, lambda i: "ab"[i % 2], ",f")
    for name in ("y.csv", "z.csv"):
        write(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(message)):
        build(tmp_path, train_file=str(write(tmp_path, "x.csv", content)), **options)


def test_options_of_own_data_without_a_file_are_refused(refusal: Any) -> None:
    error = refusal(main, "train", "--label_column", "kind")
    assert "--label_column describes data of your own: name its file with --train_file" in error


# --- MIDI ---

PITCHES = [60 + i * 7 % 12 for i in range(20)]
END = b"\x00\xff\x2f\x00"
ON = b"".join(bytes([80, 0x90, p, 80, 0x60, 0x80, p, 0]) for p in PITCHES)


def smf(*tracks: bytes, form: int = 1, division: int = 480, announced: int | None = None) -> bytes:
    head = b"MThd" + struct.pack(">IHHH", 6, form, len(tracks) if announced is None else announced, division)
    return head + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


MIDI: dict[str, tuple[bytes, dict[str, int]]] = {
    "type 0": (smf(ON + END, form=0), {}),
    "type 2": (smf(ON + END, form=2), {}),
    "18 flats": (smf(b"\x00\xff\x59\x02\xee\x01" + ON + END), {}),
    "an odd mode": (smf(b"\x00\xff\x59\x02\x00\xff" + ON + END), {}),
    "a meter of 0": (smf(b"\x00\xff\x58\x04\x00\x00\x18\x08" + ON + END), {}),
    "a tempo of 0": (smf(b"\x00\xff\x51\x03\x00\x00\x00" + ON + END), {}),
    "no text in UTF-8": (smf(b"\x00\xff\x03\x04\xff\xfe\xe9\xe8" + ON + END), {}),
    "a volume of 255": (smf(b"\x00\xb0\x07\xff" + ON + END), {"numbers above 127": 1}),
    "no end of track": (smf(ON), {}),
    "bytes behind": (smf(ON + END) + bytes(6), {}),
    "RIFF": (b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + smf(ON + END), {}),
    "SMPTE": (smf(ON + END, form=0, division=0xE728), {}),
    "no division": (smf(ON + END, division=0), {}),
    "a late tick": (smf(b"\x85\xdc\xd7\x00\xb0\x40\x00" + ON + END), {}),
    "three tracks announced": (smf(ON + END, announced=3), {"announced tracks missing": 2}),
    "another chunk": (smf(ON + END)[:14] + b"XFIH\0\0\0\x02ab" + smf(ON + END)[14:], {}),
    "no length": (smf(b"".join(bytes([96, 0x90, p, 80, 0, 0x80, p, 0]) for p in PITCHES) + END),
                  {"notes of no length": 20}),
    "no note-off": (smf(b"".join(bytes([96, 0x90, p, 80]) for p in PITCHES) + END), {"notes without an end": 20}),
    "percussion": (smf(ON + END, b"\x00\x99\x24\x50\x20\x89\x24\x00" + END), {"percussion notes left out": 1}),
    "running status": (smf(b"\x00\x90" + b"".join(bytes([p, 80, 96, p, 0, 0]) for p in PITCHES)[:-1] + END), {}),
    "exclusive data": (smf(b"\x00\xf0\x03\x01\x02\xf7" + ON + END), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MIDI)
def test_what_other_programs_play_is_read(tmp_path: Path, name: str) -> None:
    content, repairs = MIDI[name]
    piece = read_segments(write(tmp_path, "x.mid", content))
    assert piece.segments == [" ".join(map(str, PITCHES))]
    assert piece.repairs == repairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>", "it does not begin with MThd"),
        (smf(ON + END)[:-9], "it breaks off"),
        (smf(ON + END)[:10], "it breaks off"),
        (smf(b"\x00\x90\x40"), "it breaks off"),
        (smf(b"\x00\x40\x40\x40" + END), "an event has no status byte"),
        (smf(b"\x00\x90\xc8\x40" + END), "a pitch is 200"),
        (smf(b"\x00\x99\x24\x50\x20\x89\x24\x00" + END), "no note but percussion, which is left out"),
        (smf(END), "no note"),
    ],
)
def test_a_midi_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, "x.mid", content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        read_segments(path)


def test_pitches_are_those_of_pretty_midi(tmp_path: Path) -> None:
    draw = random.Random(3)
    for case in range(6):
        midi = pretty_midi.PrettyMIDI()
        for program, drums in ((0, False), (40, False), (0, True)):
            instrument = pretty_midi.Instrument(program, is_drum=drums)
            starts = [draw.randrange(200) / 8 for _ in range(150)]
            instrument.notes = [
                pretty_midi.Note(80, draw.randrange(128), start, start + draw.randrange(1, 9) / 8) for start in starts
            ]
            midi.instruments.append(instrument)
        path = tmp_path / f"{case}.mid"
        midi.write(str(path))
        midi = pretty_midi.PrettyMIDI(str(path))
        notes = sorted((note.start, note.pitch) for i in midi.instruments if not i.is_drum for note in i.notes)
        assert " ".join(read_segments(path).segments) == " ".join(str(pitch) for _, pitch in notes)
        first = midi.instruments[0].notes
        chunks = [
            sorted(first[i : i + NOTES], key=lambda note: note.start) for i in range(0, len(first) - NOTES, NOTES)
        ]
        expected = [" ".join(str(note.pitch) for note in chunk) for chunk in chunks]
        assert read_segments(path, as_authors=True).segments == expected


def test_one_bad_piece_is_left_out_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(24):
        write(tmp_path, f"midi/{'left' if n % 2 else 'right'}/{n}.mid", MIDI["no length" if n == 3 else "type 0"][0])
    write(tmp_path, "midi/left/bad.mid", "RIFF")
    write(tmp_path, "midi/left/._0.mid", "hidden")
    write(tmp_path, "midi/__MACOSX/left/0.mid", "hidden")
    order = {"discipline": "music", "train_file": str(tmp_path / "midi")}
    with pytest.raises(ValueError, match=r"midi/left/bad.mid: not a whole MIDI file \(it does not begin with MThd\)"):
        build(tmp_path, **order)
    record = build(tmp_path, skip_unreadable=True, **order)
    assert "midi: notes of no length: 20, unreadable files left out: 1" in record["notes"]
    assert record["understood"]["classes"] == {"left": 12, "right": 12}
    assert "bad.mid" in caplog.text
    columns = Columns(skip_unreadable=True)
    assert len(read(tmp_path / "midi", columns)) == 24 == len(files_below(tmp_path / "midi")) - 1


def test_linked_folders_and_all_endings_of_midi_are_read(tmp_path: Path) -> None:
    for name in ("far/0.mid", "midi/a/1.RMI", "midi/a/2.kar"):
        write(tmp_path, name, MIDI["RIFF"][0])
    (tmp_path / "midi" / "b").symlink_to(tmp_path / "far")
    (tmp_path / "midi" / "a" / "loop").symlink_to(tmp_path / "midi")
    assert labelled(tmp_path / "midi", Columns(), Labels()) == "a/1.RMI=a a/2.kar=a b/0=b"


PIECES = {f"m/{'ab'[n % 2]}/{n}.mid": smf(ON + END) for n in range(4)}
LISTED: dict[str, tuple[dict[str, Any], str]] = {
    "paths in another form": ({"l.csv": "file,label\n./a/0.mid,x\nb//1.mid,y\nb\\3.mid,y\n"}, "a/0=x b/1=y b/3=y"),
    "a path outside": ({"l.csv": "file,label\n../own.mid,x\n"}, "line 2: '../own.mid' points outside the folder"),
    "a hidden way out": ({"l.csv": "file,label\na/../../own.mid,x\n"}, "points outside the folder"),
    "an absolute path": ({"l.csv": "file,label\n/etc/passwd,x\n"}, "points outside the folder"),
    "one file twice": ({"l.csv": "file,label\na/0.mid,x\na/./0.mid,y\n"}, "line 3: 'a/0.mid' occurs a second time"),
    "no such piece": ({"l.csv": "file,label\na/0.mid,x\na/9.mid,y\n"}, "3: the piece's file a/9.mid is not below"),
    "not a piece": ({"l.csv": "file,label\na/0.mid,x\nnotes.txt,y\n", "m/notes.txt": "x"}, "has the id 'notes.txt'"),
    "folders": ({}, "a/0=a a/2=a b/1=b b/3=b"),
    "a piece beside": ({"m/c.mid": smf(ON + END)}, "m/c.mid: lies beside the folders whose names are the labels"),
    "two of one name": ({"m/c/a/4.mid": smf(ON + END)}, "m: a and c/a have one name"),
}


@pytest.mark.parametrize("name", LISTED)
def test_labels_of_pieces_are_those_listed(tmp_path: Path, name: str) -> None:
    files, expected = LISTED[name]
    for file, content in {**PIECES, **files}.items():
        write(tmp_path, file, content)
    labels = Labels(file=tmp_path / "l.csv" if "l.csv" in files else None)
    if "=" in expected:
        assert labelled(tmp_path / "m", Columns(), labels) == expected
        return
    with pytest.raises(ValueError, match=re.escape(expected)):
        labelled(tmp_path / "m", Columns(), labels)
