"""DNA: splice junctions and histone marks, from every form in which their files circulate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hf_bertx.data.data_copies import check_build
from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.sequence_files import read_fasta, read_parquet, read_table
from hf_bertx.data.text_files import open_text
from hf_bertx.tasks import get_task

from .builder import ALL, DisciplineBuilder, Form
from .records import checked_sequence
from .sources import HISTONE_NUMBERS
from .splits import TEST, TRAIN, VALIDATION

_SPLICE = get_task("dna-splice")
_MARKS = {"0": "negative", "1": "positive"}
# Systematic names of yeast: the letter after Y is the chromosome, A to P for 1 to 16; so is the one after a tRNA's
# anticodon. Intergenic windows have an i before the name. Source: Saccharomyces Genome Database, "Gene naming".
_CHROMOSOME = re.compile(r"(?:i|_)?Y([A-P])[LR][0-9CW]|it\w\([ACGTU]{3}\)([A-P])\d*")
_TELOMERE = re.compile(r"iTEL.*?Chr(\d+)", re.IGNORECASE)


def read_splice(path: Path) -> Iterator[InputRecord]:
    """The splice-junction file: UCI's `EI, ATRINS-DONOR-521, CCAGC...`, or KEEL's 60 letters and the class.

    Names repeat in the file (12 do), so ids number the records in alphabetical order of sequence and class, which is
    the same for both forms. The group of a record is its sequence.
    """
    rows = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            fields = [part.strip() for part in line.split(",")]
            if fields == [""]:
                continue
            if len(fields) == 61:
                label, sequence = fields[60], "".join(fields[:60])
            elif len(fields) == 3:
                label, sequence = fields[0], fields[2]
            else:
                raise ValueError(
                    f"{path}, line {number}: {len(fields)} fields; allowed: `CLASS, NAME, SEQUENCE` or 61"
                )
            place = f"{path}, line {number}"
            rows.append((checked_sequence(sequence, _SPLICE, place), label, number, place))
    rows.sort()
    number_of = {sequence: n for n, sequence in enumerate(sorted({row[0] for row in rows}))}
    for n, (sequence, label, _, place) in enumerate(rows):
        yield InputRecord(f"splice-{n:04d}", sequence, place, piece=f"sequence-{number_of[sequence]:04d}", label=label)


def read_package_copy(path: Path) -> Iterator[InputRecord]:
    """The records of a data set that `bertx data build` made, in the order of their ids.

    Args:
        path: `builds/CONFIG.json` in the data set's folder.
    """
    built = check_build(path.parent.parent, path.stem)
    if built["task"]["name"] != _SPLICE.name:
        raise ValueError(f"{path}: a build of {built['task']['name']}, not of {_SPLICE.name}")
    rows = []
    for name in built["files"]:
        for row, place in read_parquet(path.parent.parent / path.stem / name, ("id", "sequence", "label", "group")):
            label = built["task"]["labels"][row["label"]]
            rows.append(InputRecord(row["id"], row["sequence"], place, piece=row["group"], label=label))
    yield from sorted(rows)


def chromosome(name: str) -> str | None:
    """The chromosome of a window by the name of its place in the yeast genome: `iYAL067W-A_5085` is on `chr1`."""
    match = _CHROMOSOME.match(name)
    if match:
        return f"chr{ord(match[1] or match[2]) - ord('A') + 1}"
    match = _TELOMERE.match(name)
    return f"chr{match[1]}" if match else None


def read_three_lines(path: Path) -> Iterator[InputRecord]:
    """Hilbert-CNN's and the original histone files: `>id`, sequence, `0` or `1`. Not FASTA: the label has a line."""
    with open_text(path) as file:
        lines = ((number, line.strip()) for number, line in enumerate(file, start=1))
        for number, header in lines:
            if not header:
                continue
            if not header.startswith(">"):
                raise ValueError(
                    f"{path}, line {number}: {header[:20]!r}; allowed: >ID, then a line each for sequence and label"
                )
            name = header[1:].strip()
            _, sequence = next(lines, (0, ""))
            _, label = next(lines, (0, ""))
            yield InputRecord(name, sequence, f"{path}, line {number}", piece=chromosome(name), label=label)


def read_nucleotide_transformer(path: Path) -> Iterator[InputRecord]:
    """FASTA with the label after the last bar of the header: `>YAL001C_100|1`."""
    for number, (header, sequence, place) in enumerate(read_fasta(path)):
        name, bar, label = header.rpartition("|")
        if not bar:
            raise ValueError(f"{place}: header {header[:40]!r} holds no label; allowed: >NAME|LABEL")
        # names of another kind than the genome's repeat in these files, so the number is part of the id
        row_id = f"{path.stem}-{number:05d}-{name}"
        yield InputRecord(row_id, sequence, place, piece=chromosome(name), label=label)


def read_gue(path: Path) -> Iterator[InputRecord]:
    """GUE's CSV, `sequence,label`; it names no window, so ids are file and row."""
    for number, (row, place) in enumerate(read_table(path, ",", ("sequence", "label"), quoting=True)):
        yield InputRecord(f"{path.stem}-{number:05d}", row["sequence"], place, label=row["label"])


def _histone_forms(mark: str) -> tuple[Form, ...]:
    sizes = get_task(f"dna-{mark.lower()}").paper_sizes
    return (
        Form(
            "Hilbert-CNN",
            {ALL: (f"{mark}.txt", f"dataset{HISTONE_NUMBERS[mark]}.txt")},
            read_three_lines,
            _MARKS,
            sizes,
            has_groups=True,
        ),
        Form(
            "Nucleotide Transformer",
            {TRAIN: (f"{mark}/train.fna",), TEST: (f"{mark}/test.fna",)},
            read_nucleotide_transformer,
            _MARKS,
            has_groups=True,
        ),
        Form(
            "GUE",
            {TRAIN: (f"{mark}/train.csv",), VALIDATION: (f"{mark}/dev.csv",), TEST: (f"{mark}/test.csv",)},
            read_gue,
            _MARKS,
        ),
    )


class Dna(DisciplineBuilder):
    """Windows of DNA with their class; the group is the chromosome of a histone window, a splice window's sequence."""

    FORMS = {
        "dna-splice": (
            Form(
                "UCI or KEEL",
                {ALL: ("splice.data", "splice.txt", "splice.dat")},
                read_splice,
                published=_SPLICE.paper_sizes,
                has_groups=True,
            ),
            Form(
                "the package's",
                {ALL: ("builds/paper.json",)},
                read_package_copy,
                published=_SPLICE.paper_sizes,
                has_groups=True,
            ),
        ),
        **{f"dna-{mark.lower()}": _histone_forms(mark) for mark in HISTONE_NUMBERS},
    }
