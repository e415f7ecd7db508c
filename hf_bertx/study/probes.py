"""Probes in a study: a part whose protocol is `probe`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ..backbones import resolve_backbone
from ..protocols import PROBE
from ..runs.spec import RunSpec

ALL = "all"
_NOT_OF_PROBES = ("baselines", "checkpoints", "fractions", "grid", "overrides", "series")


def planned_probes(
    content: dict[str, Any], tasks: Iterable[str], arms: Iterable[str], backbones: list[str], seeds: list[int],
    kmers: list[int | None], where: str,
) -> Iterator[RunSpec]:  # fmt: skip
    """The probes of a part: every size of `items` for each task, backbone, arm, k and seed.

    Raises:
        ValueError: sizes that are not allowed, or a field that a probe would not use.
    """
    unused = next((name for name in _NOT_OF_PROBES if content.get(name)), None)
    if unused is not None:
        raise ValueError(f"{where}: protocol {PROBE} does not use {unused}; a probe has tasks, arms, seeds and items")
    sizes = content.get("items", [ALL])
    if not isinstance(sizes, list) or not sizes or not all(_is_size(size) for size in sizes):
        raise ValueError(f"{where}: items is {sizes!r}; give a list of numbers from 2 on or all, e.g. [100, all]")
    for backbone in backbones:
        resolve_backbone(backbone)
    split = content.get("split") or "paper"
    for seed, task, backbone, arm, kmer in itertools.product(seeds, tasks, backbones, arms, kmers):
        for size in sizes:  # one after the other, so that the features of an arm are computed once
            yield RunSpec(task, arm, backbone, PROBE, split, seed, 1.0, f"items={size}", {"items": size}, kmer=kmer)


def _is_size(size: Any) -> bool:
    return size == ALL or (isinstance(size, int) and size is not True and size >= 2)
