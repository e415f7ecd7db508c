"""The rows that a probe is fitted to, selected on and tested on."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from ..data.task_data import TaskData, evaluation_subset
from ..runs.spec import ALL
from ..tasks import Task

MAX_SELECTION_ITEMS = 1000
_POOL = 3000  # smaller draws come from one pool of this size, so that few features are computed
_POOL_SEED = 20210707


def parts(data: TaskData, task: Task, max_test_items: int) -> tuple[Dataset, Dataset, Dataset]:
    """The rows to draw from, to select on and to test on."""
    train, test = data.splits["train"], evaluation_subset(data.splits[task.test_split], max_test_items)
    if task.test_split != "validation":
        return train, evaluation_subset(data.splits["validation"], MAX_SELECTION_ITEMS), test
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(len(train))
    held = max(1, min(MAX_SELECTION_ITEMS, len(train) // 10))
    return train.select(sorted(order[held:].tolist())), train.select(sorted(order[:held].tolist())), test


def count(size: int | str, available: int, task: str) -> int:
    if size == ALL:
        return available
    if not isinstance(size, int) or size < 2:
        raise ValueError(f"items is {size!r}; allowed: a number from 2 on, or {ALL}")
    if size > available:
        raise ValueError(f"items is {size}, and {task} has {available} training items to draw from; or ask for {ALL}")
    return size


def draw(available: int, count: int, seed: int) -> list[int]:
    """Row numbers of a draw: up to `_POOL` of them are drawn by `seed` from one pool for all seeds."""
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(available)
    if count < _POOL < available:
        pool = order[:_POOL]
        order = pool[np.random.Generator(np.random.PCG64(seed)).permutation(_POOL)]
    elif count < available <= _POOL:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(available)
    return order[:count].tolist()
