"""Which probes depend on their seed. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..arms import get_arm
from ..protocols import PROBE
from ..runs.spec import ALL, RunSpec

POOL = 3000  # training items: smaller draws are part of one pool of this size, larger ones contain it
LEFT_OUT = "further seeds of probes in which nothing is drawn are left out: they would give the same numbers"


def depends_on_seed(spec: RunSpec) -> bool:
    """Whether a seed draws anything: of a probe its training items, weights, ids of symbols, or labels."""
    if spec.protocol != PROBE:
        return True
    arm, requested = get_arm(spec.arm), spec.hyperparameters()
    draws = arm.start != "pretrained" or arm.assignment == "random" or arm.shift == "random"
    return draws or requested["permute_labels"] or requested["items"] not in (ALL, POOL)


def without_repeats(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The first seed alone of probes that do not depend on it, and all other runs."""
    first: dict[str, int] = {}
    return [
        spec
        for spec in specs
        if depends_on_seed(spec) or first.setdefault(repr(replace(spec, seed=0)), spec.seed) == spec.seed
    ]
