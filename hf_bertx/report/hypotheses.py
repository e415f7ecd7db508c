"""The paper's hypotheses -> a verdict each, from comparisons of arms and from the steps on the plateau."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import LITTLE, Cell
from .comparisons import FEWEST_RUNS, ArmComparison
from .formatting import bracketed, grouped, markdown_table, percent, share_of_data, short_name
from .plateau import FEWEST_RUNS as FEWEST_ON_PLATEAU
from .plateau import PlateauTest
from .statistics import SIGNIFICANT

MARGIN = 0.02  # of a score: differences within it count as none
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"


@dataclass(frozen=True)
class Hypothesis:
    """A claim about two arms.

    Args:
        test: `better` (the first arm scores higher), `equal` (within `MARGIN` of the second), or `sooner` (it leaves
            the plateau in fewer steps).
        little_data: only runs on 1% of the training data, and probes of 100 items.
        of_probes: the pairs of arms in probes, if they differ: a random start is the same with and without a shift.
    """

    name: str
    claim: str
    pairs: tuple[tuple[str, str], ...]
    test: str = "better"
    little_data: bool = False
    of_probes: tuple[tuple[str, str], ...] = ()

    def concerns(self, first: Cell, second: Cell) -> bool:
        """Whether a comparison of these arms is about the claim."""
        pairs = self.of_probes if first.is_probe and self.of_probes else self.pairs
        little = first.fraction <= LITTLE or first.specification.get("items") == 100
        return (first.name, second.name) in pairs and (little or not self.little_data)


_PRETRAINED = (("bert", "rand"),)
_SHIFTED = (("shift_1000", "shift_1000_rand"), ("random_shift", "random_shift_rand"))
_SHIFTED_PROBES = (("shift_1000", "rand"), ("random_shift", "rand"))
HYPOTHESES = (
    Hypothesis("H1", "Pre-trained weights beat random ones.", _PRETRAINED),
    Hypothesis("H2a", "Random embeddings on a pre-trained body lose something.", (("bert", "re_emb"),)),
    Hypothesis("H2b", "They still beat random weights.", (("re_emb", "rand"),)),
    Hypothesis("H3", "Symbols on unused entries are no better than random weights.", (("unused", "rand"),), "equal"),
    Hypothesis("H4", "Pre-trained weights leave the loss plateau sooner.", _PRETRAINED, "sooner"),
    Hypothesis("H5", "The advantage survives a shift of all token ids.", _SHIFTED, of_probes=_SHIFTED_PROBES),
    Hypothesis("H6", "It survives with 1% of the data (probes: 100 items).", _SHIFTED, "better", True, _PRETRAINED),
    Hypothesis("H7", "Most of the gain comes early in pre-training.", ()),  # needs a series of checkpoints
    Hypothesis("structure", "The structure of the weights counts, not their statistics.", (("bert", "shuffled"),)),
)


@dataclass(frozen=True)
class Finding:
    """What one comparison says: `sign` is 1 where it agrees with the claim, -1 where it contradicts it, else 0."""

    cell: Cell
    pair: str
    sign: int
    text: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Judgement:
    """The verdict on a hypothesis over the tasks of one setup (backbone, protocol, split, training size)."""

    hypothesis: Hypothesis
    where: str
    findings: tuple[Finding, ...]

    @property
    def cell(self) -> Cell:
        return self.findings[0].cell

    def counts(self, finding: Finding) -> bool:
        """Whether both arms have enough runs for a verdict; other comparisons are shown alone."""
        fewest = FEWEST_ON_PLATEAU if self.hypothesis.test == "sooner" else FEWEST_RUNS
        return min(finding.row["first_runs"], finding.row["second_runs"]) >= fewest

    @property
    def signs(self) -> list[int]:
        """Of the comparisons that count."""
        return [finding.sign for finding in self.findings if self.counts(finding)]

    @property
    def short(self) -> str:
        """`holds: 8 of 16, 0 against`."""
        signs = self.signs
        if not signs:
            return f"{self.verdict}: too few runs"
        return f"{self.verdict}: {signs.count(1)} of {len(signs)}, {signs.count(-1)} against"

    @property
    def verdict(self) -> str:
        """By the rule that [`NOTE`] tells the reader."""
        agree, against, half = self.signs.count(1), self.signs.count(-1), len(self.signs) / 2
        equal = self.hypothesis.test == "equal"
        if agree > half and (equal or not against):
            return HOLDS
        fails = against > half if equal else against >= max(agree, 1)
        return FAILS if fails else OPEN


def judge(tests: Sequence[ArmComparison], plateau: Sequence[PlateauTest]) -> list[Judgement]:
    """A judgement for each hypothesis and setup that has comparisons for it."""
    judgements = []
    for hypothesis in HYPOTHESES:
        if hypothesis.test == "sooner":
            findings = [_sooner(test) for test in plateau if hypothesis.concerns(*test.cells)]
        else:
            findings = [_scored(test, hypothesis.test) for test in tests if hypothesis.concerns(*test.cells)]
        for where, members in grouped(findings, lambda finding: _where(finding.cell)).items():
            judgements.append(Judgement(hypothesis, where, tuple(members)))
    return judgements


def _where(cell: Cell) -> str:
    return cell.column.setup + ("" if cell.share == 1 else f", {100 * cell.share:g}% of the data")


def _scored(test: ArmComparison, claim: str) -> Finding:
    c = test.comparison
    higher = 0 if not test.significant else 1 if c.difference > 0 else -1
    if claim == "better":
        sign = higher
    elif c.low >= -MARGIN and c.high <= MARGIN:
        sign = 1
    else:
        sign = -1 if higher == 1 else 0
    row = {"difference": c.difference, "low": c.low, "high": c.high, "p_holm": test.p_holm, "tasks": test.tasks,
           "first_runs": c.seeds[0], "second_runs": c.seeds[1]}  # fmt: skip
    text = f"{percent(c.difference, '+')}{bracketed(c, '+')}, p {test.p_holm:.2g}"
    return Finding(test.first, f"{test.first.name} - {test.second.name}", sign, text, row)


def _sooner(test: PlateauTest) -> Finding:
    first, second = test.first, test.second
    # above 0: more of the first arm left than were expected
    sign = 0 if not test.significant else 1 if (test.statistic or 0) > 0 else -1
    row = {"first_median": first.median, "second_median": second.median, "p_holm": test.p_holm, "tasks": test.tasks,
           "first_runs": len(first.left), "second_runs": len(second.left)}  # fmt: skip
    medians = ["never" if each.median is None else f"{each.median:g}" for each in (first, second)]
    text = f"step {medians[0]} against {medians[1]}, {test.p_text}"
    return Finding(first.cell, f"{first.cell.name} - {second.cell.name}", sign, text, row)


def hypothesis_rows(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    """A row a comparison, with the verdict that it is part of."""
    return [
        {"hypothesis": each.hypothesis.name, "where": each.where, "verdict": each.verdict,
         "task": finding.cell.task.name, "arms": finding.pair, "sign": finding.sign,
         "counted": each.counts(finding), **finding.row}
        for each in judgements
        for finding in each.findings
    ]  # fmt: skip


def hypotheses_markdown(judgements: Sequence[Judgement]) -> str:
    """The verdicts at a glance, a row a hypothesis and a column a method, and a table of what each task says."""
    rows = [
        [each.hypothesis.name, each.where, short_name(finding.cell.task) + finding.cell.part, finding.pair,
         finding.text, {1: "agrees", -1: "against", 0: ""}[finding.sign] if each.counts(finding) else "not counted",
         f"{finding.row['first_runs']}, {finding.row['second_runs']}"]
        for each in judgements
        for finding in each.findings
    ]  # fmt: skip
    tasks = ["", "where", "task", "arms", "difference x 100 [95%], corrected p", "", "runs"]
    parts = ["## Hypotheses", ""]
    for title, members in grouped(judgements, lambda each: each.cell.column.title).items():
        parts += [f"{title}:", "", _at_a_glance(members), ""]
    return "\n".join([*parts, NOTE, "", markdown_table(tasks, rows), ""])


def _at_a_glance(judgements: Sequence[Judgement]) -> str:
    def place(judgement: Judgement) -> tuple[bool, float]:
        probed, size = judgement.cell.column.place
        return not probed, size

    def method(judgement: Judgement) -> str:
        return judgement.cell.column.method + share_of_data(judgement.cell.share)

    methods = grouped(sorted(judgements, key=place), method)
    by_method = {name: {each.hypothesis.name: each for each in members} for name, members in methods.items()}
    rows = []
    for hypothesis in HYPOTHESES:
        row = [judged.get(hypothesis.name) for judged in by_method.values()]
        rows.append([hypothesis.name, hypothesis.claim, *("-" if each is None else each.short for each in row)])
    return markdown_table(["", "claim", *by_method], rows)


NOTE = (
    "`8 of 16, 0 against`: 8 of 16 comparisons agree and none is against the claim. Agree, against: the test "
    f"corrected over tasks (Holm) is significant at {SIGNIFICANT} in that direction. H3 agrees "
    f"where the 95% interval lies within {100 * MARGIN:g} points. A hypothesis {HOLDS} if more than half of the "
    f"comparisons agree and none is against it (H3: if more than half agree). It {FAILS} if at least as many are "
    "against it as agree (H3: more than half are against it). Else it cannot be told. Comparisons of fewer than "
    f"{FEWEST_RUNS} runs an arm (H4: {FEWEST_ON_PLATEAU}) are shown, not counted, and not corrected with the others."
)
