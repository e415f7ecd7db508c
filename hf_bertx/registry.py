"""Unknown names with a "did you mean", exceptions in one line, and where the folders beside the package are."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

_EXPECTED = (ValueError, OSError, FloatingPointError, ImportError)  # their messages are sentences
_LONGEST = 1000  # letters of a message


def beside(package: str) -> str:
    """The name by which `dataset_scripts` or `model_cards` is imported: it stands beside `hf_bertx` in a checkout, and
    inside it in a wheel."""
    inside = f"{__package__}.{package}"
    return inside if find_spec(inside) is not None else package


def unknown(what: str, name: Any, known: Iterable[str]) -> str:
    """`unknown arm 're-emb'; did you mean 're_emb'? Known: ...`"""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{hint} Known: {', '.join(names)}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """An exception as one line. Unexpected types of exceptions are named."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: {error.filename}" if error.filename else "the disk is full"
    if isinstance(error, (NotADirectoryError, FileExistsError)) and error.filename:
        return f"{error.filename}: a file stands where a folder is needed"
    text = " ".join(str(error).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    expected = isinstance(error, _EXPECTED) and type(error) is not UnicodeDecodeError
    if text and (expected or type(error) is RuntimeError):
        return text
    return f"{type(error).__name__}: {text or 'no message'} (TRANSFORMERS_VERBOSITY=debug shows where)"


def run_command(program: str, act: Callable[[], int | None]) -> int:
    """Runs a command; whatever it raises becomes one line.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.

    Returns:
        What `act` returns, or 0 for None; 2 after an exception.
    """
    try:
        return act() or 0
    except Exception as error:
        if os.environ.get("TRANSFORMERS_VERBOSITY") == "debug":
            raise
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 2
