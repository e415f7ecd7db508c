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
_A_LINE, _A_PICTURE = 80, 2000  # positions of a line and of a picture of a heat map
_CELL = 0.16  # inches


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


def draw(mutations: Mutations, path: Path | BinaryIO, a_line: int = _A_LINE, places: range | None = None) -> None:
    """Draws a heat map: each position (column) replaced by each letter (row), and how the score changes.

    A dot marks the sequence's own letter. One axis has all lines, and each letter is one collection of marks: a text
    or an axis of matplotlib takes milliseconds, and a protein has thousands of letters.

    Args:
        a_line: how many positions stand side by side.
        places: the positions that are drawn, from 0; by default all. Colors are those of all.
    """
    from matplotlib.figure import Figure

    rows, changes = mutations.rows, mutations.scores - mutations.score
    places = places or range(len(mutations.sequence))
    lines = [places[at : at + a_line] for at in range(0, len(places), a_line)]
    pitch, across = len(rows) + 3, len(lines[0])  # all lengths are in cells; numbers and letters stand between lines
    grid: np.ndarray = np.full((pitch * len(lines), across), np.nan)
    marks: dict[str, list[tuple[int, int]]] = {}
    left, top, width, height = -2, -4, max(across + 8, 32), 4 + len(grid)
    figure = Figure(figsize=(_CELL * width, _CELL * height))
    axis = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    for first, line in zip(range(0, len(grid), pitch), lines, strict=True):
        grid[first : first + len(rows), : len(line)] = changes[:, line.start : line.stop]
        for y, letter in enumerate(rows, start=first):
            marks.setdefault(letter, []).append((-1, y))
        for x, place in enumerate(line):
            letter = mutations.sequence[place]
            marks.setdefault(letter, []).append((x, first + len(rows)))
            if letter in rows:
                marks.setdefault("", []).append((x, first + rows.index(letter)))
            if x == 0 or (place + 1) % 10 == 0:
                axis.text(x, first - 1, str(place + 1), fontsize=7, ha="center", va="center")
    largest = float(np.nanmax(np.abs(changes))) or 1.0
    image = axis.pcolormesh(range(across), range(len(grid)), grid, cmap="RdBu", vmin=-largest, vmax=largest)
    for letter, at in marks.items():
        axis.add_collection(_marks(letter, at, axis.transData), autolim=False)
    axis.set(xlim=(left - 0.5, left + width - 0.5), ylim=(top + height - 0.5, top - 0.5))
    bar = figure.add_axes(
        ((across - left + 0.5) / width, 1 - (len(rows) - top) / height, 1 / width, len(rows) / height)
    )
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
    what = "value" if mutations.target == "value" else f"probability of {mutations.target}"
    title = f"{mutations.record.id}: change of the {what} ({mutations.score:.3g})"
    axis.text(left + width / 2, top + 0.5, title, fontsize=9, ha="center", va="center", parse_math=False)
    figure.savefig(path, format="png", dpi=150)


def _marks(letter: str, at: Sequence[tuple[int, int]], cells: Any) -> Any:
    """A letter, or without one a dot, at many cells."""
    from matplotlib.collections import PathCollection
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import IdentityTransform

    outline: Any = Outline.circle()
    if letter:
        outline = TextPath((0, 0), letter, size=7, prop=FontProperties(family="monospace"))
        outline = Outline(outline.vertices - (2.1, 2.6), outline.codes)  # centred: a letter is 4.2 points wide
    color = "black" if letter else "0.35"
    size = [1]  # the outline's lengths are points
    marks = PathCollection([outline], size, offsets=at, offset_transform=cells, facecolors=color, linewidths=0)
    marks.set_transform(IdentityTransform())
    marks.set_snap(False)
    return marks


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

    A sequence of more than 2,000 letters has several, `heat-map-1-ID-2001-4000.png`, in the same colors.

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
                everything = range(len(mutations.sequence))
                for first in everything[::_A_PICTURE]:
                    places = everything[first : first + _A_PICTURE]
                    part = "" if places == everything else f"-{first + 1}-{places.stop}"
                    draw(mutations, temporary / heat_map_name(number, mutations.record.id, part), places=places)
                counts[:] = number, counts[1] + len(rows)

    run_files.write_folder(folder, write)
    return counts[0], counts[1]


def heat_map_name(number: int, record_id: str, part: str = "") -> str:
    """The file of a sequence's heat map: its number, of its id what any file system takes, and its positions."""
    return f"heat-map-{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', record_id)[:60]}{part}.png"


def effects(mutations: Mutations, most: int = 5) -> Sequence[str]:
    """The substitutions that change the score most, in words: `G31A -0.82`."""
    rows = sorted(mutations.table(), key=lambda row: -abs(row["change"]))
    return [f"{row['from']}{row['position']}{row['to']} {row['change']:+.3f}" for row in rows[:most]]
