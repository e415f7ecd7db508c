"""Training loops that take turns: each runs in a process of its own and waits after every step until it is called."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

# a loop is given what it has to call after each of its steps
Loop = Callable[[Callable[[], None]], None]


class Enough(BaseException):
    """Ends a loop from inside; no `except Exception` of a library holds it up."""


class Turn:
    """A training loop, a step at a time, in a new process: what it tells its process is not told to another's.

    The loop itself is left as it is: its own data loader, logging and schedule are in the time of a step, which goes
    from one end of a step to the next. Clocks are read once the device is done.

    Args:
        make: a function of a module. In the process it is given `args`, and gives the loop and what to ask about it
            afterwards.
        environment: of the process, beside this one's.
    """

    def __init__(
        self,
        make: Callable[..., tuple[Loop, Callable[[], Any]]],
        args: tuple[Any, ...],
        environment: dict[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, make, args))
        before = dict(os.environ)
        os.environ.update(environment or {})
        self._process.start()
        os.environ.clear()
        os.environ.update(before)
        far_end.close()
        self._is_ready = False

    def ready(self) -> None:
        """Waits until the loop is made, which begins by itself; several are made at once.

        Raises:
            Exception: what `make` raises.
        """
        if not self._is_ready:
            self._answer()
        self._is_ready = True

    def step(self) -> float:
        """Lets the loop train one step. The first one includes what it sets up.

        Returns:
            Seconds.

        Raises:
            RuntimeError: the loop has no step left, or its process is gone. What the loop raises is raised here, and
                what `make` raises.
        """
        return self._ask("step")

    def figures(self) -> Any:
        """What is to be known of the loop after its steps."""
        return self._ask("figures")

    def close(self) -> None:
        """Ends the loop and its process, so that what it held is free."""
        with contextlib.suppress(OSError):  # it has ended
            self._pipe.send("close")
        self._process.join()

    def _ask(self, what: str) -> Any:
        self.ready()
        if not self._process.is_alive():
            raise RuntimeError("the training loop has ended: give it more steps than are measured")
        self._pipe.send(what)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer, error = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"the process of a training loop is gone, exit status {code}; -9: memory") from None
        if error is not None:
            self._process.join()
            raise error
        return answer


def _serve(pipe: Connection, make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The process of a loop. Each answer is a pair of what was asked for and an error, one of them None."""
    multiprocessing.set_start_method(None, force=True)  # of loader processes: the default, not this process's own
    begun = 0.0

    def wait() -> None:
        nonlocal begun
        while (asked := pipe.recv()) == "figures":
            pipe.send((figures(), None))
        if asked == "close":
            raise Enough
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
        pipe.send((None, RuntimeError("the training loop has ended: give it more steps than are measured")))
    except (Enough, EOFError, BrokenPipeError):  # the latter two: who measured is gone
        pass
    except BaseException as error:
        pipe.send((None, error))


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(
    turns: dict[str, Turn],
    rounds: int,
    seconds: float,
    warm: int = 1,
    twice: Collection[str] = (),
    after_round: Callable[[], None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each step, by loop: A B C A B C.

    Args:
        warm: rounds before them that are not counted.
        seconds: no round is begun after so many; one is measured in any case.
        twice: loops that have two steps in a round, of which the second one counts: in training a step comes after
            one of its own kind.
    """
    for _ in range(warm):
        for turn in turns.values():
            turn.step()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.perf_counter()
    while len(next(iter(taken.values()))) < rounds:
        for name, turn in turns.items():
            if name in twice:
                turn.step()
            taken[name].append(turn.step())
        if after_round is not None:
            after_round()
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
