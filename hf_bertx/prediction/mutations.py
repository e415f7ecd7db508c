"""Scores of every single substitution and deletion of a sequence, as a table and a heat map.

The scores describe the model, not biology.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import run_files
from ..data.input_records import InputRecord
from ..data.text_files import spreadsheet_safe
from ..disciplines import fold
from ..tokenization_discipline import DisciplineTokenizer
from .inference import SequenceClassifier

DELETION = "-"
TABLE, _HEAT_MAPS = "mutations.csv", "heat-map-*.png"
MOST_MUTANTS = 200_000  # of a sequence: 10,000 residues
_A_LINE = 80  # positions of a heat map


@dataclass(frozen=True)
class Mutations:
    """The scores of a sequence's mutants.

    Args:
        sequence: as the model reads it.
        rows: what each position was replaced by: letters, and `-` for a deletion.
        scores: probabilities of the class, or values, shape `(rows, positions)`. Where a letter would replace itself,
            the sequence's own; nan where nothing would be left.
        score: of the sequence itself.
        target: the class's name; `value` for a regression.
    """

    record: InputRecord
    sequence: str
    rows: tuple[str, ...]
    scores: np.ndarray
    score: float
    target: str

    def table(self) -> Iterator[dict[str, Any]]:
        """A row a mutant: `id`, `position` (from 1), `from`, `to`, `target`, `score` and its `change`."""
        for place, letter in enumerate(self.sequence):
            for row, other in enumerate(self.rows):
                score = float(self.scores[row, place])
                if other != letter and not np.isnan(score):
                    yield {
                        "id": self.record.id,
                        "position": place + 1,
                        "from": letter,
                        "to": other,
                        "target": self.target,
                        "score": float(f"{score:.6g}"),
                        "change": float(f"{score - self.score:.6g}"),
                    }


def mutate(
    classifier: SequenceClassifier,
    records: Iterable[InputRecord],
    target: str | None = None,
    letters: str | None = None,
    deletions: bool = True,
) -> Iterator[Mutations]:
    """Scores every single substitution, and every deletion, of each sequence.

    Args:
        target: the class whose probability is the score; by default the one that is predicted for the sequence.
        letters: what each position is replaced by; by default the four bases, the 20 residues, or all letters of a
            declared discipline.

    Raises:
        ValueError: a model of text, of pairs or of symbols that are no letters; an unknown class; a letter outside the
            alphabet; a sequence that is longer than the model reads, or has too many mutants.
    """
    tokenizer = classifier.tokenizer
    if not isinstance(tokenizer, DisciplineTokenizer) or tokenizer.discipline.separator:
        raise ValueError(f"a model of {classifier.discipline} reads no letters that could be replaced")
    discipline = tokenizer.discipline
    if letters == "":
        raise ValueError("--letters is empty; allowed: letters, as ACGT, or leave the option out")
    for letter in letters or "":
        if letter not in discipline.letters:
            raise ValueError(f"letter {letter!r} is not in the {discipline.name} alphabet: {discipline.alphabet()}")
    if target is not None:
        classifier.number_of(target)
    rows = (*dict.fromkeys(letters or discipline.usual_letters), *([DELETION] if deletions else []))
    for record in records:
        sequence = record.sequence.strip()
        sequence = fold(sequence) if discipline.ignore_case else sequence
        _check(classifier, record, len(sequence) * len(rows))
        yield _scored(classifier, record, sequence, rows, target)


def _check(classifier: SequenceClassifier, record: InputRecord, mutants: int) -> None:
    symbols, room = int(classifier.count([record])[0]), classifier.room([record])
    if symbols > room and classifier.windows is None:
        raise ValueError(
            f"{record.place}: {symbols} symbols, and the model reads {room}; a mutation of what comes after changes "
            "nothing: cut the sequence to the part that matters"
        )
    if mutants > MOST_MUTANTS:
        raise ValueError(f"{record.place}: {mutants:,} mutants; allowed: {MOST_MUTANTS:,} of a sequence")


def _scored(
    classifier: SequenceClassifier, record: InputRecord, sequence: str, rows: tuple[str, ...], target: str | None
) -> Mutations:
    mutants = [
        sequence[:place] + ("" if other == DELETION else other) + sequence[place + 1 :]
        for other in rows
        for place in range(len(sequence))
    ]
    # equal mutants are scored once; deleting the only letter leaves no sequence
    distinct = list(dict.fromkeys([sequence, *(mutant for mutant in mutants if mutant)]))
    asked = (record._replace(sequence=text) for text in distinct)
    logits = np.concatenate([chunk.logits for chunk in classifier.predict(asked)])
    if classifier.regression:
        answers, name = logits[:, 0].astype(np.float64), "value"
    else:
        number = int(logits[0].argmax()) if target is None else classifier.number_of(target)
        answers, name = classifier.probabilities(logits)[:, number], classifier.labels[number]
    score_of = dict(zip(distinct, answers.tolist(), strict=True))
    scores = np.array([score_of.get(mutant, np.nan) for mutant in mutants]).reshape(len(rows), len(sequence))
    return Mutations(record, sequence, rows, scores, score_of[sequence], name)


def draw(mutations: Mutations, path: Path | BinaryIO, a_line: int = _A_LINE) -> None:
    """Draws a heat map: each position (column) replaced by each letter (row), and how the score changes.

    A dot marks the sequence's own letter.

    Args:
        a_line: how many positions stand side by side.
    """
    from matplotlib.figure import Figure

    changes = mutations.scores - mutations.score
    lines = [range(at, min(at + a_line, len(mutations.sequence))) for at in range(0, len(mutations.sequence), a_line)]
    width, height = 1.6 + 0.16 * len(lines[0]), 0.9 + len(lines) * (0.55 + 0.16 * len(mutations.rows))
    figure = Figure(figsize=(max(width, 5), height), layout="constrained")
    axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    largest = float(np.nanmax(np.abs(changes))) or 1.0
    for axis, places in zip(axes, lines, strict=True):
        shown: np.ndarray = np.full((len(mutations.rows), len(lines[0])), np.nan)
        shown[:, : len(places)] = changes[:, list(places)]
        image = axis.imshow(shown, cmap="RdBu", vmin=-largest, vmax=largest, aspect="equal", interpolation="nearest")
        dots = [
            (x, mutations.rows.index(letter))
            for x, p in enumerate(places)
            if (letter := mutations.sequence[p]) in mutations.rows
        ]
        axis.scatter([x for x, _ in dots], [y for _, y in dots], s=4, color="0.35", linewidths=0)
        axis.set_yticks(range(len(mutations.rows)), mutations.rows, fontsize=7, family="monospace")
        axis.set_xticks(range(len(places)), [mutations.sequence[p] for p in places], fontsize=7, family="monospace")
        axis.tick_params(length=0, pad=2)
        axis.spines[:].set_visible(False)
        numbered = [x for x, p in enumerate(places) if (p + 1) % 10 == 0 or p == places[0]]
        above = axis.secondary_xaxis("top")
        above.set_xticks(numbered, [str(places[x] + 1) for x in numbered], fontsize=7)
        above.tick_params(length=0, pad=1)
        above.spines[:].set_visible(False)
    what = "value" if mutations.target == "value" else f"probability of {mutations.target}"
    figure.colorbar(image, ax=list(axes), shrink=min(1.0, 2.2 / height), aspect=12, pad=0.01).ax.tick_params(
        labelsize=7
    )
    figure.suptitle(f"{mutations.record.id}: change of the {what} ({mutations.score:.3g})", fontsize=9)
    figure.savefig(path, format="png", dpi=150)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Checks that [`write_mutations`] would replace nothing but what it wrote itself.

    Raises:
        ValueError: the folder is there, and may not be replaced, or holds something else.
    """
    if not folder.exists():
        return
    if not (folder / TABLE).is_file():
        raise ValueError(f"{folder}: is there already; allowed: a new folder")
    if not overwrite:
        raise ValueError(f"{folder}: is there already; --overwrite replaces it")
    others = [path for path in folder.iterdir() if path.name != TABLE and not fnmatch(path.name, _HEAT_MAPS)]
    if others:
        raise ValueError(f"{min(others)}: is no result of `bertx mutate`, and would be lost; name another --output")


def write_mutations(scored: Iterable[Mutations], folder: Path) -> tuple[int, int]:
    """Writes `mutations.csv` and a heat map a sequence, `heat-map-1-ID.png`, into a folder, whole or not at all.

    Returns:
        How many sequences there were, and how many mutants.
    """
    counts = [0, 0]

    def write(temporary: Path) -> None:
        with (temporary / TABLE).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            for number, mutations in enumerate(scored, start=1):
                safe = {"id": spreadsheet_safe(mutations.record.id), "target": spreadsheet_safe(mutations.target)}
                rows = [{**row, **safe} for row in mutations.table()]
                if rows and not counts[1]:
                    table.writerow(rows[0])
                table.writerows(row.values() for row in rows)
                draw(mutations, temporary / heat_map_name(number, mutations.record.id))
                counts[:] = number, counts[1] + len(rows)

    run_files.write_folder(folder, write)
    return counts[0], counts[1]


def heat_map_name(number: int, record_id: str) -> str:
    """The file of a sequence's heat map: its number, and of its id what any file system takes."""
    return f"heat-map-{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', record_id)[:60]}.png"


def effects(mutations: Mutations, most: int = 5) -> Sequence[str]:
    """The substitutions that change the score most, in words: `G31A -0.82`."""
    rows = sorted(mutations.table(), key=lambda row: -abs(row["change"]))
    return [f"{row['from']}{row['position']}{row['to']} {row['change']:+.3f}" for row in rows[:most]]
