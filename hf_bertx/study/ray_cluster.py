"""Trains the missing runs of a study on a Ray cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..processor import DEADLINE
from ..runs.spec import RunSpec
from .execution import Outcome, Report, StudyContext, execute_in_order

_TRIES = 3  # if a worker dies, another one resumes its run from the checkpoint


def execute_on_ray(
    runs: Iterable[RunSpec], context: StudyContext, report: Report, workers: int | None
) -> list[Outcome]:
    """Trains runs on the Ray cluster that `RAY_ADDRESS` names, or on a Ray of this machine.

    Every machine of the cluster has to see the root of the runs. Where there are GPUs a run takes a whole one. It
    takes `threads` cores, or all of the largest machine (with a GPU) if that has fewer. `workers` are runs at once; by
    default Ray starts as many as the cluster has room for.

    Raises:
        ValueError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise ValueError(
            "Ray is not installed: in a clone of hf_bertx, pip install '.[ray]'; or leave --executor out"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
        except (ConnectionError, TimeoutError) as error:
            raise ValueError(f"no Ray cluster at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}: {error}") from None
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # each without what it has none of
    gpus = int(any(machine.get("GPU", 0) >= 1 for machine in machines))
    largest = max(machine.get("CPU", 0) for machine in machines if machine.get("GPU", 0) >= gpus)
    cores = min(context.threads or 1, largest or math.inf)  # a run that asks for more would never start
    context = replace(context, root=context.root.resolve(), data=context.data and context.data.resolve())
    remote = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=_TRIES)(_execute_waiting)
    queue, outcomes = list(runs), []
    running: dict[Any, RunSpec] = {}
    room = workers or len(queue)
    while queue or running:
        while queue and len(running) < room:
            run = queue.pop(0)
            running[remote.remote(run, context, os.environ.get(DEADLINE, "inf"))] = run
        done, _ = ray.wait(list(running), num_returns=1)
        outcome = _gathered(ray, done[0], running.pop(done[0]))
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def _execute_waiting(run: RunSpec, context: StudyContext, until: str) -> Outcome:
    os.environ[DEADLINE] = until
    return execute_in_order([run], context, lambda outcome: None)[0]


def _gathered(ray: Any, reference: Any, run: RunSpec) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Outcome(run, "failed", error=f"Ray: {' '.join(str(error).split())[:500]}")
