"""TAPE's LMDB files. Their values are pickles; here a pickle is read as data, and nothing of it is ever executed."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_VALUES = {
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG",
    "BINFLOAT", "FLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINSTRING", "BINSTRING",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()


class _Name(str):
    """The name of a function that the pickle would have called."""


class _Array:
    """A numpy array whose bytes come with a later opcode."""


def read_lmdb(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(record, where)` in numerical order of the keys.

    Raises:
        ValueError: lmdb is not installed, the file is no LMDB, or a value holds something other than plain data.
    """
    try:
        import lmdb
    except ImportError:
        raise ValueError(
            f"{path}: reading LMDB needs `pip install hf-bertx[tape]`; TAPE's JSON files need nothing"
        ) from None
    try:
        database = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
    except lmdb.Error as error:
        raise ValueError(f"{path}: not an LMDB file ({error})") from None
    with database, database.begin() as transaction:
        keys = sorted(int(key) for key in transaction.cursor().iternext(values=False) if bytes(key).isdigit())
        for key in keys:
            where = f"{path}, key {key}"
            value = read_data_pickle(bytes(transaction.get(str(key).encode()) or b""), where)
            if not isinstance(value, dict):
                raise ValueError(f"{where}: {type(value).__name__}; allowed: a record with names")
            yield value, where


def read_data_pickle(data: bytes, where: str) -> Any:
    """The plain data of a pickle: strings, numbers, lists, dictionaries and numpy arrays (as lists).

    The opcodes are interpreted here, so that a pickle which would call anything else is refused, not run.

    Raises:
        ValueError: such a pickle, or one that is not whole.
    """
    try:
        opcodes = list(pickletools.genops(data))
    except ValueError as error:
        raise ValueError(f"{where}: not a whole pickle ({error})") from None
    try:
        return _interpret(opcodes, where)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: not a whole pickle ({type(error).__name__}: {error})") from None


def _interpret(opcodes: list[Any], where: str) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in opcodes:
        name = opcode.name
        if name in _VALUES:
            stack.append(argument.encode("latin1") if name.endswith("BINSTRING") else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("TUPLE", "LIST", "APPENDS", "SETITEMS"):
            items = _since_mark(stack)
            _collect(stack, name, items)
        elif name in ("APPEND", "SETITEM"):
            n = 1 if name == "APPEND" else 2
            items = stack[-n:]
            del stack[-n:]
            _collect(stack, name + "S", items)
        elif name == "GLOBAL":
            stack.append(_Name(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_Name(f"{module} {attribute}"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_reduce(function, arguments, where))
        elif name == "BUILD":
            state, built = stack.pop(), stack.pop()
            stack.append(_build(built, state, where))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"{where}: pickle opcode {name}; allowed: plain data")
    raise ValueError(f"{where}: the pickle ends in the middle")


def _since_mark(stack: list[Any]) -> list[Any]:
    at = max(i for i, item in enumerate(stack) if item is _MARK)
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _collect(stack: list[Any], name: str, items: list[Any]) -> None:
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "LIST":
        stack.append(items)
    elif name == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _reduce(function: Any, arguments: tuple[Any, ...], where: str) -> Any:
    name = str(function).replace("numpy._core.", "numpy.core.")
    if name == "numpy dtype":
        return np.dtype(str(arguments[0]))
    if name == "numpy.core.multiarray _reconstruct":
        return _Array()
    if name == "numpy.core.multiarray scalar":
        return np.frombuffer(arguments[1], arguments[0])[0].item()
    if name == "_codecs encode":
        return str(arguments[0]).encode("latin1")
    raise ValueError(f"{where}: the pickle would call {function}; allowed: plain data and numpy arrays")


def _build(built: Any, state: Any, where: str) -> Any:
    if isinstance(built, np.dtype):
        return built.newbyteorder(state[1]) if state[1] in "<>" else built
    if isinstance(built, _Array):
        _, shape, dtype, _, data = state
        return np.frombuffer(data, dtype).reshape(shape).tolist()
    raise ValueError(f"{where}: the pickle would set the state of {type(built).__name__}; allowed: numpy arrays")
