r"""Where the label of a raw record stands: a column, a FASTA header, a labels file, or a MIDI file's folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .midi_files import MIDI_ENDINGS
from .record_values import label_of, name_of
from .sequence_files import no_column, read_rows

_KEY = r"[\w.-]+="
_NAMED = re.compile(r'(?:^|[\s|;])label=("[^"]*"|[^\s|;"]*)(.*)$')
# What ends a description: the organism, as UniProt and NCBI write it.
_DESCRIBED = re.compile(r"\sOS=|\s\[[^\]]+\]$")
# After a label may stand nothing, or another `KEY=`.
_AFTER = re.compile(rf"\s*[|;]?\s*(?:$|(?!label=){_KEY}(?!.*[\s|;]label=))")


@dataclass
class Labels:
    """Where labels are.

    Args:
        column: of a table or a labels file; by default `label`.
        pattern: of a FASTA header; its first group is the label.
        file: a table with the label of each record of a FASTA file (`id`), or of each MIDI file (`file`).
    """

    column: str | None = None
    pattern: str | None = None
    file: Path | None = None
    _rows: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    _used: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if self.pattern is None:
            return
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"--label_pattern {self.pattern!r} is no regular expression ({error})") from None
        if not groups:
            raise ValueError(f"--label_pattern {self.pattern!r} has no group; the label is what ( ) encloses")
        if self.file is not None:
            raise ValueError("--label_pattern and --labels_file both say where the labels are; give one of them")

    @property
    def name(self) -> str:
        return self.column or "label"

    def of_header(self, header: str, place: str) -> str:
        """The label in a FASTA header: what the pattern encloses, `label=...`, or the second word.

        Raises:
            ValueError: there is none, or it could be another one; the message names `--label_pattern`.
        """
        if self.pattern is not None:
            match = re.search(self.pattern, header)
            if match is None or match[1] is None:
                raise ValueError(f"{place}: header {header[:40]!r} holds no label; allowed: a match of {self.pattern}")
            return label_of(match[1], place)
        return label_of(_named_label(header, place), place)

    def of_name(self, name: str, names: Sequence[str], normal: bool = False) -> str | None:
        """The label of a record or MIDI file in the labels file; None where the file does not list it.

        Args:
            names: the columns that may hold names, the first one that is there is read.
            normal: names are paths, `./a//b.mid` is `a/b.mid`.
        """
        if not self._rows:
            self._read(names, normal)
        label, place = self._rows.get(name, ("", ""))
        if not place:
            return None
        self._used.add(name)
        return label_of(label, place)

    def _read(self, names: Sequence[str], normal: bool) -> None:
        assert self.file is not None
        if not self.file.exists():
            raise FileNotFoundError(f"--labels_file {self.file}: no such file")
        key = ""
        for row, place in read_rows(self.file, (self.name,), names):
            if not key:
                key = next((name for name in names if name in row), "")
                if not key:
                    raise ValueError(f"{self.file}: {no_column(names[0], row)}")
            name = name_of(row.get(key), key, place)
            if name is None:
                raise ValueError(f"{place}: {key!r} is empty; allowed: the name of a record or file")
            name = _normal(name, place) if normal else name
            if name in self._rows:
                raise ValueError(f"{place}: {name!r} occurs a second time, after {self._rows[name][1]}")
            self._rows[name] = (row[self.name], place)
        if not self._rows:
            raise ValueError(f"{self.file}: no record")

    def check_all_used(self, places: Iterable[Path], files: Iterable[str] = ()) -> None:
        """Checks that every listed name was found. Call it after reading all files.

        Args:
            places: the files or folders that were read.
            files: the MIDI files that there are, for the nearest name.

        Raises:
            ValueError: the labels file lists a record or a MIDI file that is not there.
        """
        for name, (_, place) in self._rows.items():
            if name not in self._used:
                near = difflib.get_close_matches(name, list(files), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                among = ", ".join(map(str, places))
                if Path(name).suffix.lower() in MIDI_ENDINGS:
                    raise ValueError(f"{place}: the piece's file {name} is not below {among}{hint}")
                raise ValueError(f"{place}: no record of {among} has the id {name!r}{hint}")


def _normal(name: str, place: str) -> str:
    """A path below a folder with slashes alone.

    Raises:
        ValueError: it points outside the folder.
    """
    path = os.path.normpath(name.replace("\\", "/"))
    if path.startswith(("/", "..")) or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"{place}: {name!r} points outside the folder of the pieces; allowed: a path below it")
    return path


def _named_label(header: str, place: str) -> str:
    def refuse(why: str) -> ValueError:
        keys = [key for key in re.findall(rf"(?:^|\s)({_KEY})", header) if key not in ("SET=", "label=")]
        pattern = "label=(.+)" if match else f"{keys[-1]}(\\S+)" if keys else r"^\S+ (.+)"
        return ValueError(
            f"{place}: header {header[:60]!r} {why}; say where the label is: --label_pattern '{pattern}'"
        )

    match = _NAMED.search(header)
    words = header.split()
    if not words or (match is None and len(words) < 2):
        raise ValueError(
            f"{place}: header {header[:40]!r} holds no label; allowed: >NAME LABEL, >NAME label=LABEL or --labels_file"
        )
    if match is not None:
        label = match[1].strip('"')
        if not label.strip() or not (_AFTER.match(match[2]) or (match[1][:1] == '"' and match[2][:1] in " \t|;")):
            raise refuse("has a label= that is empty, goes on after a blank, or holds several labels")
        return label
    rest = header.split(maxsplit=1)[1]
    if rest.startswith('"') and '"' in rest[1:]:
        return rest[1:].partition('"')[0]
    word = words[1]
    if _DESCRIBED.search(header):
        raise ValueError(
            f"{place}: header {header[:60]!r} is a description, as UniProt or NCBI write it; pass --labels_file, or "
            r"say where the label is: --label_pattern '^\S+ (\S+)'"
        )
    if re.match(rf"{_KEY}|.*:$|=", word) or (len(words) > 2 and words[2][0] in "=:"):
        raise refuse(f"has {word!r} as its second word, a name and no label")
    if re.search(r"[|;]", word) or word.startswith('"'):
        raise refuse(f"has {word!r} as its second word, which may be several labels")
    return word


def folder_labels(folder: Path, names: Sequence[str]) -> list[str]:
    """The name of the folder that each MIDI file lies in.

    Raises:
        ValueError: a file lies beside the folders, or two folders have one name.
    """
    parents = [Path(name).parent for name in names]
    stray = [name for name, parent in zip(names, parents, strict=True) if parent == Path()]
    if stray and len(stray) < len(names):
        raise ValueError(
            f"{folder / stray[0]}: lies beside the folders whose names are the labels; move it into one, or pass "
            "--labels_file"
        )
    known: dict[str, Path] = {}
    for parent in parents:
        other = known.setdefault(parent.name, parent)
        if other != parent:
            raise ValueError(
                f"{folder}: {other} and {parent} have one name, and a folder's name is the label of its files; pass "
                "--labels_file"
            )
    return [(folder / parent).name for parent in parents]
