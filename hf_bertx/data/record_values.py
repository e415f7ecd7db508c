"""Checks of record fields, one function for each kind of field, shared by all file formats."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

# How R, pandas, SQL and spreadsheets write that a value is missing or could not be computed.
MISSING = frozenset(
    r"""
    NA N/A n/a N.A. #N/A #NA <NA> nan NaN NAN -nan -NaN NaT None NULL Null null (null) \N #NULL! #DIV/0! #VALUE! #REF!
    #NAME? #NUM! 1.#IND -1.#IND 1.#QNAN -1.#QNAN
    """.split()
)
_MISSING_SEQUENCES = frozenset(map(str.casefold, MISSING))


def sequence_of(value: Any, name: str, place: str) -> str:
    """The text of a sequence, without the blanks around it.

    Raises:
        ValueError: it is empty, a missing value, or not a string.
    """
    if _blank(value):
        raise ValueError(f"{place}: the sequence is empty")
    # `none` may be the name of a class, but is hardly a sequence
    if _missing(value) or (isinstance(value, str) and value.strip().casefold() in _MISSING_SEQUENCES):
        raise ValueError(f"{place}: {name} is {value!r}, a missing value; allowed: a sequence")
    if not isinstance(value, str):
        raise ValueError(f"{place}: {name} is {_shown(value)}; allowed: a string")
    return _whole(value, name, place)


def label_of(value: Any, place: str) -> str:
    """A label as text: a class, or a target, a number of a file in plain decimal form.

    Raises:
        ValueError: it is empty, a missing value, a list, or no text, number or truth value.
    """
    if _blank(value):
        raise ValueError(f"{place}: the record has no label")
    if _missing(value):
        raise ValueError(
            f"{place}: the label is {value!r}, a missing value; leave the record out, or give the class another name"
        )
    if isinstance(value, (list, tuple, set)):
        raise ValueError(f"{place}: the label is {_shown(value)}; write several labels as one text, a;b")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{place}: the label is {value}; allowed: a finite number")
    if isinstance(value, (float, Decimal)):
        return format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    if not isinstance(value, (str, int)):
        raise ValueError(f"{place}: the label is {_shown(value)}; allowed: a string, a number, true or false")
    return _whole(str(value), "the label", place)


def name_of(value: Any, name: str, place: str) -> str | None:
    """An id, a group or a piece as text; None where there is none.

    Raises:
        ValueError: it is neither a string nor a number.
    """
    if _blank(value) or _missing(value):
        return None
    if isinstance(value, (float, Decimal)) and value == value // 1:
        value = int(value)  # a missing value makes a column of whole numbers one of floats
    if not isinstance(value, (str, int, float, Decimal)):
        raise ValueError(f"{place}: {name} is {_shown(value)}; allowed: a string or a number")
    return _whole(str(value), name, place)


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in MISSING
    return isinstance(value, (float, Decimal)) and math.isnan(value)


def _whole(text: str, name: str, place: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: {name} holds {text[error.start]!r}, half a character of UTF-16; allowed: text"
        ) from None
    return text.strip()


def _shown(value: Any) -> str:
    kinds = {"dict": "an object", "list": "a list", "bool": "a truth value", "int": "a number", "float": "a number"}
    kind = kinds.get(type(value).__name__, type(value).__name__)
    return f"{kind}, {str(value)[:40]}"
