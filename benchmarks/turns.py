"""Work that takes turns: each loop runs in a process of its own and waits until it is called."""

from __future__ import annotations

import atexit
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from arithmetic import synchronise

# A loop is given what it has to call after each of its steps.
Loop = Callable[[Callable[[], None]], None]
_SHORT = 5.0  # seconds of a step
_ENDED = "the loop has ended: give it more steps than are measured"


class Turn:
    """A loop, one step at a time, in a new process with its own settings and its own peak memory.

    A step goes from the end of one to the end of the next: a training step includes data loading, logging and
    schedule. `make(*args)` runs in the process; it returns the loop, and a function that returns figures about it.
    """

    def __init__(self, make: Callable[..., tuple[Loop, Callable[[], Any]]], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, make, args))
        self._process.start()
        atexit.register(self.close)
        far_end.close()
        self._is_ready, self.last = False, 0.0

    def step(self, limit: float | None = None) -> float:
        """Lets the loop take a step and returns its seconds. The first one includes what the loop sets up.

        Args:
            limit: seconds after which the process is ended.

        Raises:
            TimeoutError: the step took longer than the limit.
            RuntimeError: the loop has no step left, or its process is gone. What the loop raises is raised here too.
        """
        self.last = self._ask("step", limit)
        return self.last

    def figures(self) -> Any:
        return self._ask("figures")

    def close(self) -> None:
        """Ends the loop and its process."""
        self._process.kill()
        self._process.join()

    def _ask(self, what: str, limit: float | None = None) -> Any:
        if not self._is_ready:  # several loops are made at the same time
            self._answer()
            self._is_ready = True
        if not self._process.is_alive():
            raise RuntimeError(_ENDED)
        self._pipe.send(what)
        return self._answer(limit)

    def _answer(self, limit: float | None = None) -> Any:
        try:
            if not self._pipe.poll(limit):
                self._process.kill()
                raise TimeoutError(f"a step took more than {limit:g} s")
            answer, error = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise RuntimeError(f"a loop's process is gone, exit status {self._process.exitcode}; -9: memory") from None
        if error is not None:
            self._process.join()
            raise error
        return answer


def _serve(pipe: Connection, make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The process of a loop. Each answer is a pair of what was asked for and an error, one of them None."""
    multiprocessing.set_start_method(None, force=True)  # loader processes begin as they do anywhere else
    begun = 0.0

    def wait() -> None:
        nonlocal begun
        while pipe.recv() == "figures":
            pipe.send((figures(), None))
        begun = time.perf_counter()

    def after_step() -> None:
        synchronise()
        pipe.send((time.perf_counter() - begun, None))
        wait()

    try:
        loop, figures = make(*args)
        pipe.send((None, None))
        wait()
        loop(after_step)
        pipe.send((None, RuntimeError(_ENDED)))
    except (EOFError, BrokenPipeError):  # the measuring process is gone
        pass
    except Exception as error:
        pipe.send((None, error))


def alternate(turns: dict[str, Turn], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each step, by loop: A B C A B C. A round before them is not counted.

    Short steps are taken twice, and the second one counts: in training a step comes after one of its own kind. No
    round begins after so many seconds but the first one.
    """
    taken: dict[str, list[float]] = {name: [] for name in turns}
    begun, left = 0.0, rounds + 1
    while left and (left >= rounds or time.perf_counter() - begun < seconds):
        begun = time.perf_counter() if left == rounds else begun
        for name, turn in turns.items():
            if turn.last < _SHORT:
                turn.step()
            taken[name].append(turn.step())
        left -= 1
    return {name: steps[1:] for name, steps in taken.items()}


def ratios(taken: dict[str, list[float]], ours: str, peer: str) -> dict[str, float]:
    """How many times as long a step of the peer takes: median of the rounds, and the lowest and the highest."""
    values = [theirs / mine for mine, theirs in zip(taken[ours], taken[peer], strict=True)]
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "rounds": len(values)}


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB. On Linux alone `ru_maxrss` begins with the parent's peak."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def be_quiet() -> None:
    """No bars and no advice between the figures."""
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    disable_progress_bars()
    set_verbosity_error()
