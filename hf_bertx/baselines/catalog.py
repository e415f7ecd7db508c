"""The baselines as data: what each is, which tasks it fits, what is searched on validation.

To add a plain one: an entry here and its features or estimator in [`linear`].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ..disciplines import DISCIPLINES
from ..registry import unknown
from ..tasks import Task

Values = Mapping[str, tuple[Any, ...]]  # hyperparameter -> candidate values


@dataclass(frozen=True)
class Baseline:
    """A model without text pre-training that a study shows beside its arms.

    Args:
        disciplines: those it fits.
        about: one sentence for tables.
        outcomes: `classes`, `targets` (a regression), or both.
        searched: by discipline, the candidate values; `any` stands for disciplines that are not named. The candidate
            with the best validation score is tested; of several with the same score, the first.
        network: whether it is trained by gradient steps, on torch; the others are scikit-learn's.
        source: of a network that starts from weights: a folder, a Hub id, or an installed package.
    """

    name: str
    disciplines: tuple[str, ...]
    about: str
    outcomes: tuple[str, ...] = ("classes", "targets")
    searched: Mapping[str, Values] = field(default_factory=dict)
    network: bool = False
    source: str | None = None

    def misfit(self, task: Task) -> str | None:
        """Why the baseline cannot answer a task, as the end of a sentence; None if it can."""
        if task.discipline not in self.disciplines:
            return f"it reads {' and '.join(self.disciplines)}, and {task.name} is {task.discipline}"
        if self.network and task.multi_label:
            return f"it answers with one class, and {task.name} has several labels an item"
        outcome = "targets" if task.regression else "classes"
        if outcome not in self.outcomes:
            return f"it answers with {self.outcomes[0]}, and {task.name} asks for {outcome}"
        return None

    def values(self, task: Task) -> Values:
        """Candidate values for a task, by hyperparameter."""
        return self.searched.get(task.discipline, self.searched.get("any", {}))

    def candidates(self, task: Task) -> list[dict[str, Any]]:
        """Every combination of candidate values; the last hyperparameter varies fastest."""
        values = self.values(task)
        return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


_ALL_DISCIPLINES = ("text", *DISCIPLINES)
_SYMBOLS = tuple(name for name, discipline in DISCIPLINES.items() if not discipline.separator)
_KMERS: dict[str, Values] = {"dna": {"longest_kmer": (4, 5, 6, 7)}, "any": {"longest_kmer": (1, 2, 3)}}


def _regressions(
    name: str,
    disciplines: tuple[str, ...],
    columns: str,
    sizes: dict[str, Values],
    c: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1),  # of columns whose standard deviation is 1
    alpha: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0),
) -> tuple[Baseline, Baseline]:
    """A classifier and a regression on the same features, whose sizes are searched too."""
    classes = {discipline: {**size, "C": c} for discipline, size in sizes.items()}
    targets = {discipline: {**size, "alpha": alpha} for discipline, size in sizes.items()}
    return (
        Baseline(f"{name}-logistic", disciplines, f"Logistic regression on {columns}.", ("classes",), classes),
        Baseline(f"{name}-ridge", disciplines, f"Ridge regression on {columns}.", ("targets",), targets),
    )


_PLAIN = (
    Baseline(
        "majority",
        _ALL_DISCIPLINES,
        "The most common class of the training items for every item, or their mean target.",
    ),
    *_regressions("kmer", _SYMBOLS, "counts of all k-mers up to a length", _KMERS),
    *_regressions("onehot", _SYMBOLS, "the symbol at each position", {"any": {}}),
    *_regressions("dde", ("protein",), "the dipeptide deviation from the expected mean", {"any": {}}),
    *_regressions(
        "tfidf",
        ("text", "music"),
        "TF-IDF of n-grams of words, or of pitches",
        {"any": {"longest_ngram": (1, 2, 3)}},
        c=(1.0, 10.0, 100.0),  # of rows whose length is 1
        alpha=(0.1, 1.0, 10.0),
    ),
    Baseline(
        "nearest",
        _ALL_DISCIPLINES,
        "The labels of the training items with the most similar n-grams.",
        searched={
            "dna": {"longest_kmer": (6,), "neighbours": (1, 5, 20)},
            "any": {"longest_kmer": (3,), "neighbours": (1, 5, 20)},
            **{name: {"longest_ngram": (2,), "neighbours": (1, 5, 20)} for name in ("text", "music")},
        },
    ),
)


def _network(name: str, disciplines: tuple[str, ...], about: str, *rates: float) -> Baseline:
    return Baseline(name, disciplines, about, searched={"any": {"learning_rate": rates}}, network=True)


_HILBERT = "Hilbert-CNN (Yin et al. 2018) as its"
_NETWORKS = (  # rates: released code, twice; not from a paper; its fine-tuning configuration
    _network("hilbert-cnn", ("dna",), f"{_HILBERT} released code computes: no dropout, four blocks.", 3e-3),
    _network("hilbert-cnn-described", ("dna",), f"{_HILBERT} paper describes it: dropout 0.5, five blocks.", 3e-3),
    _network(
        "symbol-cnn", tuple(DISCIPLINES), "A small CNN on learned embeddings of symbols and positions.", 1e-3, 3e-3
    ),
    _network(
        "plus-tfm:scratch",
        ("protein",),
        "PLUS-TFM (Min et al. 2021) from scratch, since its published weights were not given.",
        5e-5,
    ),
)
# Started from weights: `plus-tfm:FOLDER` that `bertx convert plus-tfm` made, `encoder:SOURCE`.
_STARTED = {
    "plus-tfm": "PLUS-TFM (Min et al. 2021), from its published weights.",
    "encoder": "An encoder of the discipline, pre-trained on its sequences, by its own tokenizer.",
}
BASELINES: dict[str, Baseline] = {baseline.name: baseline for baseline in (*_PLAIN, *_NETWORKS)}


def get_baseline(name: str) -> Baseline:
    """The baseline of that name; `encoder:SOURCE` and `plus-tfm:FOLDER` start from what they name.

    The baseline of a folder is named by the folder's last name, so that no path of this machine is recorded.
    `plus-tfm` stands for `plus-tfm:scratch`.

    Raises:
        ValueError: no baseline has that name; the message lists them.
    """
    name = "plus-tfm:scratch" if name == "plus-tfm" else name
    kind, _, source = name.partition(":")
    if source and kind in _STARTED and name not in BASELINES:
        folder = Path(source).expanduser()  # no shell expands what stands behind a colon
        last, source = (folder.resolve().name, str(folder)) if folder.is_dir() else (source, source)
        fits = ("protein",) if kind == "plus-tfm" else _SYMBOLS
        searched = {"any": {"learning_rate": (5e-5,)}}
        return Baseline(f"{kind}:{last}", fits, _STARTED[kind], searched=searched, network=True, source=source)
    if name not in BASELINES:
        raise ValueError(unknown("baseline", name, [*BASELINES, "encoder:SOURCE"]))
    return BASELINES[name]


def baselines_for(task: Task) -> list[str]:
    """The names of the plain baselines that fit a task."""
    return [baseline.name for baseline in _PLAIN if baseline.misfit(task) is None]
