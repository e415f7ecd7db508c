"""Music: the composers of MAESTRO's piano pieces, from its folder or zip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.midi_files import read_all
from hf_bertx.data.sequence_files import read_table

from .builder import ALL, DisciplineBuilder, Form
from .records import checked
from .splits import TEST, TRAIN, VALIDATION

_COLUMNS = ("canonical_composer", "canonical_title", "split", "midi_filename")


class Piece(NamedTuple):
    """A line of the metadata file."""

    name: str
    path: Path
    composer: str
    work: str
    part: str
    place: str


def read_pieces(path: Path) -> list[Piece]:
    """The pieces of MAESTRO's CSV, whose MIDI files lie below its folder.

    Raises:
        ValueError: a column is missing, a split is none, a piece occurs twice or has no file, or its path leaves the
            folder.
    """
    pieces: dict[str, Piece] = {}
    root = path.parent.resolve()
    for row, place in read_table(path, ",", _COLUMNS, quoting=True):
        file = root / row["midi_filename"]
        name = PurePosixPath(row["midi_filename"]).stem
        if row["split"] not in (TRAIN, VALIDATION, TEST):
            raise ValueError(f"{place}: split {row['split']!r}; allowed: {TRAIN}, {VALIDATION}, {TEST}")
        if not file.resolve().is_relative_to(root):
            raise ValueError(f"{place}: {row['midi_filename']!r} points outside the folder of the CSV")
        if not file.is_file():
            raise ValueError(f"{place}: the piece's file {row['midi_filename']} is not below {path.parent}")
        if name in pieces:
            raise ValueError(f"{place}: {name!r} occurs a second time, after {pieces[name].place}")
        work = f"{row['canonical_composer']}: {' '.join(row['canonical_title'].casefold().split())}"
        pieces[name] = Piece(name, file, row["canonical_composer"], work, row["split"], place)
    if not pieces:
        raise ValueError(f"{path}: no piece")
    return list(pieces.values())


def segments(pieces: Sequence[Piece], as_authors: bool) -> Iterator[InputRecord]:
    """The segments of each piece, numbered within it; the group is the piece, whose segments vote together."""
    for piece, notes in zip(pieces, read_all([piece.path for piece in pieces], as_authors), strict=True):
        for number, sequence in enumerate(notes.segments):
            name = f"{piece.name}#{number:03d}"
            yield InputRecord(name, sequence, piece.place, piece=piece.name, label=piece.composer, part=piece.part)


class Music(DisciplineBuilder):
    """Segments of 128 notes with their composer.

    MAESTRO's own division holds no work in two parts, so `grouped` is the same unless a file says otherwise: then the
    whole work is for training.
    """

    FORMS = {
        "music-maestro-v1": (
            Form(
                "MAESTRO",
                {ALL: ("maestro-v[123].0.0.csv",)},
                read_pieces,
                groups_hold=True,
                has_groups=True,
            ),
        )
    }
    pieces: dict[str, list[Piece]]

    def choose(self) -> dict[str, Sequence[str]]:
        """The split of each piece, from the metadata alone, because reading MIDI files takes long."""
        pieces = [piece for path in self.files[ALL] for piece in self.form.read(path)]
        parts: dict[str, set[str]] = {}
        for piece in pieces:
            parts.setdefault(piece.work, set()).add(piece.part)
        if self.config.split == "grouped":
            shared = {work for work, splits in parts.items() if len(splits) > 1}
            if shared:
                self.note(f"{len(shared)} works stand in more than one part; all of each is for training here")
            pieces = [piece._replace(part=TRAIN) if piece.work in shared else piece for piece in pieces]
        self.pieces = {part: [piece for piece in pieces if piece.part == part] for part in (TRAIN, VALIDATION, TEST)}
        self.compare_counts(
            {part: len(of_part) for part, of_part in self.pieces.items()}, self.task.paper_sizes, "pieces"
        )
        return {part: [part] * len(of_part) for part, of_part in self.pieces.items()}

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        records = segments(self.pieces[part], as_authors=self.config.split == "authors")
        return checked(records, self.task, self.form.names)

    def _generate_examples(self, part: str, chosen: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in self.rows(part):
            yield row["id"], {column: row[column] for column in self.info.features}
