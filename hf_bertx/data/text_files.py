"""Lists files; opens UTF-8 text, gzipped or not, with errors that name the place; reads YAML; escapes CSV fields."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

_MOST_EXPANDED = 200 * 10**6  # bytes that any compressed file may hold
_MOST_TIMES = 100  # times its size; sequences and tables usually compress to a third or a tenth
_FORMULA = re.compile(r"[=+\-@\t\r]")  # what makes a spreadsheet compute a field that begins with it
_NUMBERS = re.compile(r"([+-]?\d+(\.\d+)?(e[+-]?\d+)?( |$))+")
# How files begin that are often given by mistake.
_MAGIC = {
    b"\x1f\x8b": "is compressed; let its name end in .gz",
    b"PK\x03\x04": "is an Excel or zip file; export it as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel file; export it as CSV",
    b"PAR1": "is a Parquet file; let its name end in .parquet",
    b"\xff\xfe": "is text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "is text in UTF-16; save it as UTF-8",
}


def is_gzip(path: Path) -> bool:
    """Whether the name says that the file is compressed: `.gz`, in any case."""
    return path.suffix.lower() == ".gz"


def ending_of(path: Path) -> str:
    """The ending that tells the form: `.fasta` of `x.fasta.gz`, in lower case."""
    return (Path(path.stem).suffix if is_gzip(path) else path.suffix).lower()


def paths_below(folder: Path) -> list[Path]:
    """The files below a folder, sorted, also below links to other folders."""
    paths = []
    for top, folders, names in os.walk(folder, followlinks=True):
        paths += [path for name in names if (path := Path(top, name)).is_file()]
        # a link to a folder that holds it would have no end
        folders[:] = [name for name in folders if not Path(top).resolve().is_relative_to(Path(top, name).resolve())]
    return sorted(paths)


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[IO[str]]:
    r"""A text file in UTF-8, gzipped or not, with or without a byte order mark.

    Args:
        newline: what ends a line: a line feed alone, since GLUE's lines hold other separators; or `""` for any of
            `\n`, `\r\n` and `\r`.

    Raises:
        ValueError: the file is a folder, is empty, breaks off, or is not UTF-8; the message names the line.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; allowed: a file")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    if path.is_file() and not is_gzip(path):
        with path.open("rb") as file:
            begin = file.read(4)
        for magic, what in _MAGIC.items():
            if begin.startswith(magic):
                raise ValueError(f"{path}: {what}")
    opened: Any = _open_gzip if is_gzip(path) else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        message = f"{path}: not text in UTF-8 ({error.reason})"
        with suppress(EOFError, gzip.BadGzipFile, zlib.error):
            message = _not_utf8(path, opened) or message
        raise ValueError(message) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from None


class _Gzip(gzip.GzipFile):
    """A gzip file that stops where it has expanded too far."""

    def read1(self, size: int | None = -1) -> bytes:
        data = super().read1(-1 if size is None else size)
        check_expansion(Path(str(self.name)), self.tell())
        return data

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return super().read(size)
        return b"".join(iter(self.read1, b""))


def _open_gzip(path: Path, mode: str, encoding: str | None = None, newline: str | None = None) -> Any:
    file = _Gzip(path)
    return io.TextIOWrapper(file, encoding, newline=newline) if "t" in mode else file


def check_expansion(path: Path, expanded: int) -> None:
    """Stops the reading of a small compressed file that would fill the memory or the disk.

    Raises:
        ValueError: so many bytes are far more than sequences of the file's size are compressed from.
    """
    size = path.stat().st_size
    if expanded > max(_MOST_EXPANDED, _MOST_TIMES * size):
        raise ValueError(
            f"{path}: its {size:,} bytes expand to more than {max(_MOST_EXPANDED, _MOST_TIMES * size):,}; unpack it "
            "yourself if that is right"
        )


def _not_utf8(path: Path, opened: Any) -> str | None:
    """The line that is not UTF-8."""
    with opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                byte = found.object[found.start]
                return f"{path}, line {number}: not text in UTF-8 ({found.reason}: {byte:#x})"
    return None


def spreadsheet_safe(value: Any) -> Any:
    """A field of a CSV file: text that a spreadsheet would compute gets an apostrophe in front; numbers do not."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBERS.fullmatch(value):
        return f"'{value}"
    return value


class _EachOnce(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # ten times as fast
    """YAML in which a mapping names each key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for i, (key, _) in enumerate(node.value) if key.value in names[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice.value!r} is there twice, allowed: once", twice.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; no tag of it makes an object.

    Raises:
        ValueError: not YAML, not UTF-8, or a key is there twice; the message names the line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _EachOnce)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
