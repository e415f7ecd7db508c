"""Loops for the processes of the benchmarks, with nothing else to import."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any


def loop_that_notes(name: str, notes: Path, steps: int) -> Any:
    """Notes its steps in a file; the only one of a loop ends in an error."""

    def loop(done: Any) -> None:
        for n in range(steps):
            with notes.open("a") as file:
                file.write(f"{name}{n} ")
            done()
        if steps == 1:
            raise FloatingPointError("the loss is nan")

    def figures() -> dict[str, Any]:
        return {"process": os.getpid(), "begins others by": multiprocessing.get_start_method()}

    return loop, figures


def ended_by_the_system() -> Any:
    os._exit(9)


def loop_that_waits() -> Any:
    return lambda done: time.sleep(60), dict
