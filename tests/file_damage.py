"""Files changed on purpose: damaged ones, and JSON with other values."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_bertx import run_files

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :],
    "bit": lambda content: content[: (m := len(content) * 2 // 3)] + bytes([content[m] ^ 4]) + content[m + 1 :],
    "braces": lambda content: b"{}",
    "missing": lambda content: None,
    "tail": lambda content: content[:-1],
    "head": lambda content: content[1:],
    "twice": lambda content: content * 2,
    "noise": lambda content: random.Random(len(content)).randbytes(len(content)),
}


def damage(path: Path, how: str) -> None:
    content = DAMAGES[how](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def edit(path: Path, change: Callable[[Any], Any] | None = None, **values: Any) -> None:
    """Changes a JSON file: by a function of its content, or to the given values."""
    content = json.loads(path.read_text())
    if change is not None:
        change(content)
    else:
        content |= values
    path.write_text(json.dumps(content))


def respecify(run: Path, **values: Any) -> None:
    """Changes the specification in the order of a run, or the settings of its training by `hyperparameters`."""

    def change(order: dict[str, Any]) -> None:
        hyperparameters = order["specification"]["hyperparameters"] | values.pop("hyperparameters", {})
        order["specification"] |= {**values, "hyperparameters": hyperparameters}

    edit(run / run_files.RUN, change)
