"""The 16 tasks of Kao and Lee 2021 and the scores they published, as data, and seven more of the same files.

To add one: `TASKS["my-task"] = Task("my-task", "dna", ("no", "yes"), "accuracy", ...)`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .registry import unknown

BUILDS = "builds"  # folder of a data set with a record of each configuration's build, as JSON
PAPER = "Kao and Lee 2021"
# Table 2's columns in the paper's order; Table 1 of the appendix for GLUE. Values x 100 as printed.
_TABLE_2 = f"{PAPER}, Table 2 (test)"
_TABLE_1 = f"{PAPER}, appendix, Table 1 (GLUE validation)"


@dataclass(frozen=True)
class PublishedScore:
    """A number somebody printed: `value` is x 100, of the task's own metric; `row` is the arm it belongs to."""

    row: str
    model: str
    value: float
    source: str
    fraction: float = 1.0


@dataclass(frozen=True)
class Task:
    """One data set with its splits, metric and published scores.

    Args:
        name: also the data set's name on the Hub, after `bertx/`.
        discipline: `text`, `dna`, `protein`, `music`.
        labels: names of the classes in the order of their numbers; None for a regression.
        metric: the one that is reported and selected on: `accuracy`, `f1`, `mcc`, `spearman`.
        paper_sizes: examples as the paper states them, by split (`all`: the split is a random 90/5/5).
        max_length: tokens, special tokens included; longer sequences are cut.
        description: one sentence.
        source: where the data is from; its citation.
        license: of the data; None where its publisher states none.
        pair: whether an item has two sequences (columns `sequence` and `second_sequence`).
        extra_metrics: reported beside `metric`.
        votes: whether validation and test items are segments whose majority answers for their `group`.
        test_split: the split that the paper tests on (GLUE keeps its test labels; the paper used validation).
        train_epochs: of the authors' code.
        multi_label: whether an item may have several labels; its column `label` then holds them divided by `;`.
        hosted: whether the data set has a place on the Hub, `bertx/` and the name; a user's own has none.
        revision: the commit of the data set there that this task means; None while none is published to be pinned.
        published: the scores that others printed.
    """

    name: str
    discipline: str
    labels: tuple[str, ...] | None
    metric: str
    paper_sizes: dict[str, int]
    max_length: int
    description: str
    source: str
    license: str | None
    pair: bool = False
    extra_metrics: tuple[str, ...] = ()
    votes: bool = False
    test_split: str = "test"
    train_epochs: int = 20  # authors' code: 20 epochs by default for DNA
    multi_label: bool = False
    hosted: bool = True
    revision: str | None = None
    published: tuple[PublishedScore, ...] = field(default=(), repr=False)

    @property
    def hub_id(self) -> str:
        return f"bertx/{self.name}"

    @property
    def regression(self) -> bool:
        return self.labels is None

    @property
    def one_label(self) -> bool:
        """Whether each item has one class."""
        return self.labels is not None and not self.multi_label

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric, *self.extra_metrics)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Task:
        """The task that `dataclasses.asdict` made a record of, also after a way through JSON."""
        published = tuple(PublishedScore(**score) for score in record["published"])
        labels = None if record["labels"] is None else tuple(record["labels"])
        extra = tuple(record["extra_metrics"])
        return cls(**{**record, "labels": labels, "extra_metrics": extra, "published": published})

    def published_score(self, row: str, model: str = "BERT", fraction: float = 1.0) -> PublishedScore | None:
        """The published number of an arm (`BERT`, `re-emb`, `rand`, ...), model and fraction of the data, if any."""
        asked = (row, model, fraction)
        return next((score for score in self.published if (score.row, score.model, score.fraction) == asked), None)


def _table_2(
    specific: float | None, model: str, bert: float, re_emb: float, rand: float
) -> tuple[PublishedScore, ...]:
    rows = [("BERT", bert), ("re-emb", re_emb), ("rand", rand)]
    scores = tuple(PublishedScore(row, "BERT", value, _TABLE_2) for row, value in rows)
    return scores if specific is None else (PublishedScore("specific", model, specific, _TABLE_2), *scores)


def _table_1(*values: float) -> tuple[PublishedScore, ...]:
    """A column of the appendix's Table 1, from top to bottom."""
    rows = [(row, model, 1.0) for model in ("BERT", "ALBERT") for row in ("shift 1000", "shift 1000 (rand)")]
    rows += [("random shift", "BERT", 1.0), ("random shift (rand)", "BERT", 1.0)]
    rows += [("shift 1000", "BERT", 0.01), ("shift 1000 (rand)", "BERT", 0.01), ("re-emb", "BERT", 1.0)]
    return tuple(
        PublishedScore(row, model, value, _TABLE_1, fraction)
        for (row, model, fraction), value in zip(rows, values, strict=True)
    )


_HISTONE = (
    "Pokholok et al. 2005, Cell 122(4):517-527; windows of 500 nucleotides of Nguyen et al. 2016, as Hilbert-CNN "
    "(Yin et al. 2018) gives them"
)
_COMPARTMENTS = (
    "Cell.membrane Cytoplasm Endoplasmic.reticulum Extracellular Golgi.apparatus Lysosome/Vacuole Mitochondrion "
    "Nucleus Peroxisome Plastid"
)
_COMPOSERS = (
    "Alban Berg;Alexander Scriabin;Antonio Soler;Carl Maria von Weber;Charles Gounod / Franz Liszt;Claude Debussy;"
    "César Franck;Domenico Scarlatti;Edvard Grieg;Felix Mendelssohn;Felix Mendelssohn / Sergei Rachmaninoff;"
    "Franz Liszt;Franz Liszt / Camille Saint-Saëns;Franz Liszt / Vladimir Horowitz;Franz Schubert;"
    "Franz Schubert / Franz Liszt;Franz Schubert / Leopold Godowsky;Fritz Kreisler / Sergei Rachmaninoff;"
    "Frédéric Chopin;George Enescu;George Frideric Handel;Georges Bizet / Ferruccio Busoni;"
    "Georges Bizet / Moritz Moszkowski;Georges Bizet / Vladimir Horowitz;Giuseppe Verdi / Franz Liszt;Henry Purcell;"
    "Isaac Albéniz;Isaac Albéniz / Leopold Godowsky;Jean-Philippe Rameau;"
    "Johann Christian Fischer / Wolfgang Amadeus Mozart;Johann Pachelbel;Johann Sebastian Bach;"
    "Johann Sebastian Bach / Egon Petri;Johann Sebastian Bach / Ferruccio Busoni;Johann Sebastian Bach / Franz Liszt;"
    "Johann Sebastian Bach / Myra Hess;Johann Strauss / Alfred Grünfeld;Johannes Brahms;Joseph Haydn;Leoš Janáček;"
    "Ludwig van Beethoven;Mikhail Glinka / Mily Balakirev;Mily Balakirev;Modest Mussorgsky;Muzio Clementi;"
    "Niccolò Paganini / Franz Liszt;Nikolai Medtner;Nikolai Rimsky-Korsakov / Sergei Rachmaninoff;"
    "Pyotr Ilyich Tchaikovsky;Pyotr Ilyich Tchaikovsky / Mikhail Pletnev;"
    "Pyotr Ilyich Tchaikovsky / Sergei Rachmaninoff;"
    "Richard Wagner / Franz Liszt;Robert Schumann;Robert Schumann / Franz Liszt;Sergei Rachmaninoff;"
    "Sergei Rachmaninoff / György Cziffra;Sergei Rachmaninoff / Vyacheslav Gryaznov;Wolfgang Amadeus Mozart"
)


def _task(name: str, labels: str | None, metrics: str, **fields: Any) -> Task:
    """A task whose labels and metrics are words; the first metric is the one that is reported."""
    metric, *extra = metrics.split()
    kind = name.partition("-")[0]
    words = None if labels is None else tuple(labels.split(";" if ";" in labels else None))
    fields = {"paper_sizes": {}, "license": None, **fields}
    return Task(name, "text" if kind == "glue" else kind, words, metric, extra_metrics=tuple(extra), **fields)


def _protein(
    name: str, labels: str | None, metrics: str, length: int, about: str, source: str, *scores: float
) -> Task:
    published = _table_2(scores[0], "PLUS-TFM", *scores[1:])
    text = {"description": about, "source": source}
    # no sizes: the paper's Table 4 has lost its numbers in the copy at hand
    return _task(f"protein-{name}", labels, metrics, max_length=length, published=published, **text)


def _histone(name: str, mark: str, size: int | None = None, scores: tuple[PublishedScore, ...] = ()) -> Task:
    return _task(
        f"dna-{name}",
        "negative positive",
        "accuracy mcc f1",
        paper_sizes={} if size is None else {"all": size},
        max_length=502,  # authors' code: padded to 502
        description=f"Whether a window of 500 nucleotides of yeast DNA carries {mark}.",
        source=_HISTONE,
        published=scores,
    )


def _glue(
    name: str, labels: str | None, metrics: str, train: int, validation: int, about: str, *scores: float
) -> Task:
    return _task(
        f"glue-{name}",
        labels,
        metrics,
        paper_sizes={"train": train, "validation": validation},
        max_length=128,  # authors' code: length 128
        description=about,
        source="GLUE, Wang et al. 2018, ICLR 2019",  # each has a license of its own; see the data set's card
        pair=name not in ("sst2", "cola"),
        test_split="validation",  # "The validation sets are used to test the models" (section 3.1)
        train_epochs=3,  # authors' code
        published=_table_1(*scores),
    )


# fmt: off
_ALL = (
    # lengths: "we truncate the length of input sequences to 512" (appendix G.2); authors' code, twice
    _protein("localization", _COMPARTMENTS, "accuracy mcc macro_f1", 512,
             "In which of ten compartments of the cell a protein is found.",
             "DeepLoc 1.0, Almagro Armenteros et al. 2017, Bioinformatics 33(21):3387-3395; splits of PLUS",
             69.0, 64.8, 63.3, 58.6),
    _protein("stability", None, "spearman pearson", 50, "How stable a small designed protein is against proteases.",
             "Rocklin et al. 2017, Science 357(6347):168-175; splits of TAPE (Rao et al. 2019)",
             76.0, 74.5, 75.4, 65.8),
    _protein("fluorescence", None, "spearman pearson", 256,
             "Log fluorescence of a mutant of the green fluorescent protein.",
             "Sarkisyan et al. 2016, Nature 533(7603):397-401; splits of TAPE (Rao et al. 2019)",
             63.0, 63.7, 37.3, 27.5),
    _histone("h3", "histone H3", 14965, _table_2(87.3, "Hilbert-CNN", 83.0, 78.5, 75.6)),
    _histone("h4", "histone H4", 14601, _table_2(87.3, "Hilbert-CNN", 86.2, 83.7, 66.5)),
    _histone("h3k9ac", "acetylated H3K9", 27782, _table_2(79.1, "Hilbert-CNN", 78.3, 76.3, 72.8)),
    _task("dna-splice", "EI IE N", "accuracy mcc macro_f1", paper_sizes={"all": 3190}, license="cc-by-4.0",
          max_length=62,  # 60 nucleotides and two special tokens
          description="Whether 60 nucleotides of primate DNA hold an exon-intron or an intron-exon border, or none.",
          source="UCI Machine Learning Repository, Molecular Biology (Splice-junction Gene Sequences), "
                 "Noordewier, Towell and Shavlik 1991",
          published=_table_2(94.1, "Hilbert-CNN", 97.5, 95.6, 95.0)),
    _task("music-maestro-v1", _COMPOSERS, "accuracy mcc macro_f1", license="cc-by-nc-sa-4.0",
          paper_sizes={"train": 954, "validation": 105, "test": 125},
          max_length=130,  # segments of 128 notes and two special tokens
          votes=True,  # "we inference on all the segments and decide the final output by voting" (appendix G.4)
          description="Who composed a piano piece, from the pitches of its notes.",
          source="MAESTRO v1.0.0, Hawthorne et al. 2019, ICLR 2019",
          published=_table_2(None, "", 55.2, 55.2, 36.0)),
    _glue("mnli", "entailment neutral contradiction", "accuracy", 392702, 9815 + 9832,
          "Whether a sentence follows from another, contradicts it, or neither.",
          69.3, 61.8, 67.0, 58.9, 68.5, 61.8, 52.7, 39.2, 66.5),
    _glue("qqp", "not_duplicate duplicate", "f1 accuracy", 363849, 40430, "Whether two questions ask the same.",
          81.2, 69.3, 77.8, 66.9, 80.6, 69.0, 66.5, 54.0, 78.7),
    _glue("qnli", "entailment not_entailment", "accuracy", 104743, 5463, "Whether a sentence answers a question.",
          80.0, 61.1, 79.2, 60.3, 79.7, 61.5, 72.9, 54.7, 64.5),
    _glue("sst2", "negative positive", "accuracy", 67349, 872, "Whether a sentence of a film review is positive.",
          79.6, 81.0, 76.1, 78.6, 78.7, 79.6, 59.3, 65.3, 80.0),
    _glue("cola", "unacceptable acceptable", "mcc accuracy", 8551, 1043, "Whether a sentence is grammatical.",
          0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    _glue("stsb", None, "spearman pearson", 5749, 1500, "How similar two sentences are, from 0 to 5.",
          77.8, 8.3, 73.9, 7.2, 75.6, 8.3, 57.0, 4.3, 19.0),
    _glue("mrpc", "not_equivalent equivalent", "f1 accuracy", 3668, 408, "Whether two sentences say the same.",
          82.9, 81.3, 83.0, 81.2, 83.4, 81.3, 80.5, 76.2, 78.6),
    _glue("rte", "entailment not_entailment", "accuracy", 2490, 277, "Whether a sentence follows from a text.",
          60.2, 54.2, 56.0, 54.0, 58.5, 51.0, 51.5, 50.8, 49.0),
    # not in the paper: the other marks of the same files
    _histone("h3k14ac", "acetylated H3K14"),
    _histone("h4ac", "acetylated H4"),
    _histone("h3k4me1", "monomethylated H3K4"),
    _histone("h3k4me2", "dimethylated H3K4"),
    _histone("h3k4me3", "trimethylated H3K4"),
    _histone("h3k36me3", "trimethylated H3K36"),
    _histone("h3k79me3", "trimethylated H3K79"),
)
# fmt: on
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task of that name, or of a folder that `bertx data build` made.

    Raises:
        ValueError: no task has that name; the message lists them. The folder's record is damaged.
    """
    folder = built_folder(name)
    if folder is not None:
        path = sorted((folder / BUILDS).glob("*.json"))[0]
        try:
            return Task.from_dict(json.loads(path.read_text(encoding="utf-8"))["task"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}: it records no task; build the data set again") from None
    if name not in TASKS:
        raise ValueError(f"{unknown('task', name, TASKS)}; or give a folder that `bertx data build` made")
    return TASKS[name]


def built_folder(name: str) -> Path | None:
    """The folder of a built data set that stands for a task; None for the name of a task."""
    folder = Path(name).expanduser()
    return folder if name not in TASKS and any((folder / BUILDS).glob("*.json")) else None


def task_name(name: str) -> str:
    """The name of a task in tables and folders; of a built folder, the one in its record."""
    return name if built_folder(name) is None else get_task(name).name


def rows_folder(name: str) -> str | None:
    """The folder with the rows of a task that is a built folder, for `--data_dir`; None for the name of a task."""
    folder = built_folder(name)
    return None if folder is None else str(folder / "default" if (folder / "default").is_dir() else folder)
