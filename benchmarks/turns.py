"""Training loops that take turns: each runs in a thread of its own and waits after every step until it is called."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

# a loop is given what it has to call after each of its steps
Loop = Callable[[Callable[[], None]], None]


class _Closed(BaseException):
    """Ends a loop from inside; no `except Exception` of a library holds it up."""


class Turn:
    """A training loop, a step at a time.

    The loop itself is left as it is: its own data loader, logging and schedule are in the time of a step, which goes
    from one end of a step to the next. Clocks are read once the device is done.

    Args:
        loop: trains, and calls its argument after each step.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._closing = self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def step(self) -> float:
        """Lets the loop train one step. The first one includes its set-up.

        Returns:
            Seconds.

        Raises:
            RuntimeError: the loop has no step left. What the loop raises is raised here.
        """
        synchronise()
        started = time.perf_counter()
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error
        if self._ended:
            raise RuntimeError("the training loop has ended: give it more steps than are measured")
        return time.perf_counter() - started

    def close(self) -> None:
        """Ends the loop, so that what it held is free."""
        self._closing = True
        if self._thread.ident is not None:
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop(self._after_step)
        except _Closed:
            pass
        except BaseException as error:
            self._error = error
        self._ended = True
        self._done.release()

    def _after_step(self) -> None:
        synchronise()
        self._done.release()
        self._go.acquire()
        if self._closing:
            raise _Closed


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(turns: dict[str, Turn], rounds: int, seconds: float, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each step, by loop: A B C A B C.

    Args:
        warm: rounds before them that are not counted.
        seconds: no round is begun after so many; one is measured in any case.
    """
    for _ in range(warm):
        for turn in turns.values():
            turn.step()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.perf_counter()
    while len(next(iter(taken.values()))) < rounds:
        for name, turn in turns.items():
            taken[name].append(turn.step())
        if time.perf_counter() - begun > seconds:
            break
    return taken


def ratios(taken: dict[str, list[float]], ours: str, peer: str) -> dict[str, float]:
    """How many times as long a step of the peer takes: median of the rounds, and the lowest and the highest."""
    values = [theirs / mine for mine, theirs in zip(taken[ours], taken[peer], strict=True)]
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "rounds": len(values)}


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # `ru_maxrss` of a child begins with its parent's peak, this does not
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
