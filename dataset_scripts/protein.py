"""Proteins: localization, stability and fluorescence, from every form in which their files circulate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.sequence_files import read_fasta, read_json_lines, read_table

from .builder import ALL, DisciplineBuilder, Form
from .splits import TEST, TRAIN, VALIDATION

_TAPE_PARTS = {TRAIN: "train", VALIDATION: "valid", TEST: "test"}
# 14,004 proteins less the 146 of Cytoplasm-Nucleus. Source: DeepLoc 1.0, table 1, by PLUS's and PEER's counts.
_DEEPLOC_SIZE = 13858
# Source: TAPE, table of tasks.
_TAPE_SIZES = {
    "protein-fluorescence": {TRAIN: 21446, VALIDATION: 5362, TEST: 27217},
    "protein-stability": {TRAIN: 53571, VALIDATION: 2512, TEST: 12851},
}
# avGFP as TAPE's data has it: without the first methionine, so that position 0 of a mutation is its S.
# Source: Sarkisyan et al. 2016; equal to the record `WT` of the published data.
_AVGFP = (
    "SKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLVTTLSYGVQCFSRYPDHMKQHDFFKSAMPEGYVQERTIFFKDDGNYKTRAEVKFEG"
    "DTLVNRIELKGIDFKEDGNILGHKLEYNYNSHNVYIMADKQKNGIKVNFKIRHNIEDGSVQLADHYQQNTPIGDGPVLLPDNHYLSTQSALSKDPNEKRDHMVLLEFVTAAGITHG"
    "MDELYK"
)
_MUTATION = re.compile(r"S([A-Z*])(\d+)([A-Z*])")


def read_labelled_fasta(path: Path, compartments: bool = False) -> Iterator[InputRecord]:
    """PLUS's `>name label`, and DeepLoc's `>ACC Label-M test`, which marks its test set.

    Args:
        compartments: the label is a compartment and, after a hyphen, M, S or U for membrane-bound, soluble, unknown;
            proteins of both cytoplasm and nucleus are left out.
    """
    for header, sequence, place in read_fasta(path):
        fields = header.split()
        if len(fields) < 2:
            raise ValueError(f"{place}: header {header[:40]!r} holds no label; allowed: >NAME LABEL")
        label = re.sub(r"-[MSU]$", "", fields[1]) if compartments else fields[1]
        if compartments and label == "Cytoplasm-Nucleus":
            continue
        part = (TEST if fields[-1] == "test" else TRAIN) if compartments else None
        yield InputRecord(fields[0], sequence, place, label=label, part=part)


def read_tape_json(path: Path, target: str) -> Iterator[InputRecord]:
    """TAPE's JSON: `primary` is the sequence, `log_fluorescence` or `stability_score` the target, in a list."""
    for number, (row, place) in enumerate(read_json_lines(path, ("primary", target))):
        value = row[target]
        if isinstance(value, list):
            value = value[0] if value else ""
        label = "" if value is None else str(value)
        yield InputRecord(f"{path.stem}-{number:05d}", str(row["primary"]), place, label=label)


def read_sarkisyan(path: Path) -> Iterator[InputRecord]:
    """Sarkisyan's `amino_acid_genotypes_to_brightness.tsv`: mutations of avGFP and their median brightness."""
    columns = ("aaMutations", "medianBrightness")
    for number, (row, place) in enumerate(read_table(path, "\t", columns, quoting=False)):
        letters = list(_AVGFP)
        mutations = [mutation for mutation in row["aaMutations"].split(":") if mutation]
        for mutation in mutations:
            match = _MUTATION.fullmatch(mutation)
            if match is None or int(match[2]) >= len(letters) or letters[int(match[2])] != match[1]:
                raise ValueError(f"{place}: mutation {mutation!r} is none of avGFP; allowed: S, the letter, 0 to "
                                 f"{len(letters) - 1}, the new letter")  # fmt: skip
            letters[int(match[2])] = match[3]
        # TAPE's split: "train on up to three mutations, test on four and more"
        part, label = TRAIN if len(mutations) <= 3 else TEST, row["medianBrightness"]
        yield InputRecord(f"avgfp-{number:05d}", "".join(letters), place, label=label, part=part)


def read_rocklin(path: Path) -> Iterator[InputRecord]:
    """Rocklin's tables of designs: tab-separated, `name`, `sequence`, `stabilityscore`."""
    for row, place in read_table(path, "\t", ("name", "sequence", "stabilityscore"), quoting=False):
        yield InputRecord(f"{path.stem}-{row['name']}", row["sequence"], place, label=row["stabilityscore"])


def _plus(folder: str, compartments: bool = False, published: Mapping[str, int] | None = None) -> Form:
    parts = {TRAIN: "train", VALIDATION: "dev", TEST: "test"}
    return Form(
        "PLUS",
        {part: (f"{folder}_{name}.fa",) for part, name in parts.items()},
        partial(read_labelled_fasta, compartments=compartments),
        published=published or {},
        groups_hold=True,
    )


def _tape_forms(name: str, target: str) -> tuple[Form, ...]:
    sizes = _TAPE_SIZES[f"protein-{name}"]
    files = {part: (f"{name}_{word}.json",) for part, word in _TAPE_PARTS.items()}
    tape = Form("TAPE's JSON", files, partial(read_tape_json, target=target), published=sizes, groups_hold=True)
    return (_plus(name, published=sizes), tape)


class Protein(DisciplineBuilder):
    """Proteins with their class or target.

    The published parts are homology or mutation-distance splits, so `grouped` keeps them as they are: DeepLoc's test
    set shares no protein family with the rest, TAPE's fluorescence tests on more mutations than it trains on, its
    stability on other designs.
    """

    FORMS = {
        "protein-localization": (
            _plus("localization", compartments=True, published={ALL: _DEEPLOC_SIZE, TEST: 2768}),
            Form(
                "DeepLoc",
                {ALL: ("deeploc_data.fasta",)},
                partial(read_labelled_fasta, compartments=True),
                published={ALL: _DEEPLOC_SIZE},
                groups_hold=True,
            ),
            Form(
                "Light Attention's parts of DeepLoc",
                {
                    TRAIN: ("deeploc_our_train_set.fasta",),
                    VALIDATION: ("deeploc_our_val_set.fasta",),
                    TEST: ("deeploc_test_set.fasta",),
                },
                partial(read_labelled_fasta, compartments=True),
                published={TEST: 2768},
                groups_hold=True,
            ),
        ),
        "protein-stability": (
            *_tape_forms("stability", "stability_score"),
            Form("Rocklin's tables", {ALL: ("*stability_scores", "*stability_scores.t*", "rd?_*.tsv")}, read_rocklin),
        ),
        "protein-fluorescence": (
            *_tape_forms("fluorescence", "log_fluorescence"),
            Form(
                "Sarkisyan's table",
                {ALL: ("amino_acid_genotypes_to_brightness.tsv",)},
                read_sarkisyan,
                published={ALL: 54025, TEST: 27217},
                groups_hold=True,
            ),
        ),
    }
