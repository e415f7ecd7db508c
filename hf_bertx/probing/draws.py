"""The rows that a probe is fitted to, selected on and tested on."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset

from ..data.task_data import TaskData, evaluation_subset
from ..runs.spec import ALL
from ..tasks import Task
from .seeds import POOL

MAX_SELECTION_ITEMS = 1000
_POOL_SEED = 20210707


def parts(data: TaskData, task: Task, max_test_items: int) -> tuple[Dataset, Dataset, Dataset]:
    """The rows to draw from, to select on and to test on."""
    train, test = data.splits["train"], evaluation_subset(data.splits[task.test_split], max_test_items)
    if task.test_split != "validation":
        return train, evaluation_subset(data.splits["validation"], MAX_SELECTION_ITEMS), test
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(len(train))
    held = max(1, min(MAX_SELECTION_ITEMS, len(train) // 10))
    return train.select(sorted(order[held:].tolist())), train.select(sorted(order[:held].tolist())), test


def count(size: Any, available: int, task: str) -> int:
    if size == ALL:
        return available
    if size > available:
        raise ValueError(f"items is {size}, and {task} has {available} training items to draw from; or ask for {ALL}")
    return size


def draw(available: int, count: int, seed: int) -> list[int]:
    """Row numbers of a draw, which contains the smaller draws of its seed.

    All seeds share a pool: smaller draws come from it, larger ones hold it and more rows; both are drawn by `seed`.
    """
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(available)
    by_seed = np.random.Generator(np.random.PCG64(seed))
    if count < POOL < available:
        order = order[:POOL][by_seed.permutation(POOL)]
    elif POOL < count < available:
        order = np.concatenate([order[:POOL], order[POOL:][by_seed.permutation(available - POOL)]])
    elif count < available <= POOL:
        order = by_seed.permutation(available)
    return order[:count].tolist()
