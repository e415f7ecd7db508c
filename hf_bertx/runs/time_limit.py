"""Time limits of runs, passed to processes by an environment variable. Imports no torch."""

from __future__ import annotations

import os

DEADLINE = "BERTX_DEADLINE"  # environment variable: seconds since the epoch


class TimeLimitReached(Exception):
    """The time is over; a run that raises it goes on from its checkpoint when it is started again."""


def deadline() -> float:
    """When runs of this process save a checkpoint and stop, in seconds since the epoch; infinite without a limit."""
    return float(os.environ.get(DEADLINE, "inf"))
