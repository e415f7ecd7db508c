"""GLUE: eight tasks, from the published TSV files or the Hub's Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasets

from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.sequence_files import read_parquet, read_table
from hf_bertx.data.text_files import open_text
from hf_bertx.tasks import get_task

from .builder import DisciplineBuilder, Form
from .splits import TRAIN, VALIDATION

logger = datasets.utils.logging.get_logger(__name__)
# Of each task: the folder of its TSV files, the columns of sequence, second sequence and label, and the Hub's names.
_COLUMNS = {
    "glue-mnli": ("MNLI", ("sentence1", "sentence2", "gold_label"), ("premise", "hypothesis")),
    "glue-qqp": ("QQP", ("question1", "question2", "is_duplicate"), ("question1", "question2")),
    "glue-qnli": ("QNLI", ("question", "sentence", "label"), ("question", "sentence")),
    "glue-sst2": ("SST-2", ("sentence", "label"), ("sentence",)),
    "glue-cola": ("CoLA", (), ("sentence",)),
    "glue-stsb": ("STS-B", ("sentence1", "sentence2", "score"), ("sentence1", "sentence2")),
    "glue-mrpc": ("MRPC", ("#1 String", "#2 String", "Quality"), ("sentence1", "sentence2")),
    "glue-rte": ("RTE", ("sentence1", "sentence2", "label"), ("sentence1", "sentence2")),
}
# Names by which the official archives call a folder.
_FOLDERS = {"glue-qqp": ("QQP", "QQP-clean"), "glue-qnli": ("QNLI", "QNLIv2")}
_DEV_IDS = "mrpc_dev_ids.tsv"


def read_tsv(path: Path, columns: tuple[str, ...]) -> Iterator[InputRecord]:
    """A GLUE file with a header: tab-separated, quotation marks mean nothing. Ids are file and row.

    QQP's original holds a few rows without a question, or cut; they are left out and counted, as in the Hub's copy.
    """
    dropped = 0
    for number, (row, place) in enumerate(
        read_table(path, "\t", columns, quoting=False, short_rows="question1" in columns)
    ):
        texts = [row.get(column, "") for column in columns]
        if "question1" in columns and not all(text.strip() for text in texts):
            dropped += 1
            continue
        second = texts[1] if len(columns) == 3 else None
        yield InputRecord(f"{path.stem}-{number}", texts[0], place, second, label=texts[-1])
    if dropped:
        logger.warning(f"{path}: {dropped} rows without a question or label were left out")


def read_cola(path: Path) -> Iterator[InputRecord]:
    """CoLA's file has no header: source, label, the author's mark, sentence."""
    with open_text(path) as file:
        for number, line in enumerate(file):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != 4:
                raise ValueError(
                    f"{path}, line {number + 1}: {len(fields)} fields; allowed: source, label, mark, sentence"
                )
            yield InputRecord(f"{path.stem}-{number}", fields[3], f"{path}, line {number + 1}", label=fields[1])


def read_msr(path: Path) -> Iterator[InputRecord]:
    """The original MRPC training file; GLUE's validation items are those that `mrpc_dev_ids.tsv` lists beside it."""
    beside = path.parent / _DEV_IDS
    held_out = set()
    if beside.is_file():
        with open_text(beside) as file:
            held_out = {tuple(line.split()) for line in file}
    columns = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
    for row, place in read_table(path, "\t", columns, quoting=False):
        pair = (row["#1 ID"], row["#2 ID"])
        part, texts = VALIDATION if pair in held_out else TRAIN, (row["#1 String"], row["#2 String"])
        yield InputRecord("-".join(pair), texts[0], place, texts[1], label=row["Quality"], part=part)


def read_hub(path: Path, columns: tuple[str, ...]) -> Iterator[InputRecord]:
    """A Parquet file of the Hub's copy (`nyu-mll/glue`): labels are numbers in the task's own order."""
    stem = path.stem.removesuffix("-00000-of-00001")
    for number, (row, place) in enumerate(read_parquet(path, (*columns, "label"))):
        second = str(row[columns[1]]) if len(columns) == 2 else None
        yield InputRecord(f"{stem}-{number}", str(row[columns[0]]), place, second, label=str(row["label"]))


def _forms(name: str) -> tuple[Form, ...]:
    task = get_task(name)
    folder, tsv, hub = _COLUMNS[name]
    folders = _FOLDERS.get(name, (folder,))
    # MNLI's two validation sets are one here, as "9815+9832" in the paper; an id says which it is from
    dev = ("dev_matched", "dev_mismatched") if name == "glue-mnli" else ("dev",)
    validation = ("validation_matched", "validation_mismatched") if name == "glue-mnli" else ("validation",)
    numbers = None if task.labels is None else {str(n): label for n, label in enumerate(task.labels)}
    published = task.paper_sizes
    forms = [
        Form(
            "GLUE's TSV",
            {
                TRAIN: tuple(f"{f}/train.tsv" for f in folders),
                VALIDATION: tuple(f"{f}/{part}.tsv" for f in folders for part in dev),
            },
            read_cola if name == "glue-cola" else partial(read_tsv, columns=tsv),
            None if name in ("glue-mnli", "glue-qnli", "glue-rte") else numbers,
            published,
        ),
        Form(
            "the Hub's Parquet",
            {
                TRAIN: (f"{name[5:]}/train-*.parquet",),
                VALIDATION: tuple(f"{name[5:]}/{part}-*.parquet" for part in validation),
            },
            partial(read_hub, columns=hub),
            numbers,
            published,
        ),
    ]
    if name == "glue-mrpc":
        forms.append(Form("Microsoft's", {"all": ("msr_paraphrase_train.txt",)}, read_msr, numbers, published))
    return tuple(forms)


class Glue(DisciplineBuilder):
    """Sentences and pairs of them. Test labels are GLUE's secret, so that there are `train` and `validation` alone."""

    FORMS = {name: _forms(name) for name in _COLUMNS}
