"""DNA data sets from their original files. Knows raw files and no model.

python -m dataset_scripts.dna --raw_file splice.data --output hf_bertx/data/dna-splice
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from hf_bertx import run_files
from hf_bertx.disciplines import DNA
from hf_bertx.task_data import features
from hf_bertx.tasks import get_task

SPLICE = get_task("dna-splice")
_SHARES = (("train", 0.90), ("validation", 0.05), ("test", 0.05))  # "randomly chosen 90% ... 5% ... 5%" (appendix G.3)
_SEED = 100  # authors' code: shuffle with seed 100, then contiguous 90/5/5


def read_splice(path: Path) -> Iterator[tuple[str, str]]:
    """Yields `(sequence, class)` from either form of the splice-junction file.

    UCI: `EI, ATRINS-DONOR-521, CCAGC...`. KEEL: 60 letters and the class, divided by commas.

    Raises:
        ValueError: a line of another form, a class or letter that is not allowed; with file and line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            fields = [part.strip() for part in line.split(",")]
            if fields == [""]:
                continue
            if len(fields) == 61:
                label, sequence = fields[60], "".join(fields[:60])
            elif len(fields) == 3:
                label, sequence = fields[0], fields[2]
            else:
                raise ValueError(
                    f"{path}, line {number}: {len(fields)} fields; allowed: `CLASS, NAME, SEQUENCE` or 61"
                )
            sequence = sequence.upper()
            if label not in (SPLICE.labels or ()):
                raise ValueError(f"{path}, line {number}: class {label!r}; allowed: {', '.join(SPLICE.labels or ())}")
            foreign = set(sequence) - set(DNA.symbols)
            if foreign or not sequence:
                what = (
                    f"letter {min(foreign)!r} is not in the alphabet {DNA.alphabet()}" if foreign else "empty sequence"
                )
                raise ValueError(f"{path}, line {number}: {what}")
            yield sequence, label


def split_groups(groups: list[str], grouped: bool) -> dict[str, list[int]]:
    """Row numbers of the random 90/5/5 split; with `grouped`, rows of one group never part."""
    units: list[list[int]] = [[row] for row in range(len(groups))]
    if grouped:
        by_group: dict[str, list[int]] = {}
        for row, group in enumerate(groups):
            by_group.setdefault(group, []).append(row)
        units = list(by_group.values())
    random.Random(_SEED).shuffle(units)
    order = [row for unit in units for row in unit]
    counts = [int(share * len(order)) for _, share in _SHARES[:-1]]
    ends = [counts[0], sum(counts), len(order)]
    if grouped:  # a border inside a group moves to the group's end
        borders = set()
        at = 0
        for unit in units:
            at += len(unit)
            borders.add(at)
        ends = [min(border for border in borders if border >= end) for end in ends]
    starts = [0, *ends[:-1]]
    return {name: order[a:b] for (name, _), a, b in zip(_SHARES, starts, ends, strict=True)}


class SpliceConfig(datasets.BuilderConfig):
    """A split of the splice data: `paper` (random) or `grouped` (equal sequences stay together)."""


class Splice(datasets.GeneratorBasedBuilder):
    """`dna-splice`: 3,190 windows of 60 nucleotides in three classes."""

    BUILDER_CONFIGS = [SpliceConfig(name="paper"), SpliceConfig(name="grouped")]
    DEFAULT_CONFIG_NAME = "paper"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=SPLICE.description, features=features(SPLICE.labels))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        path = Path(self.config.data_files["train"][0])
        # sorted, so that ids and splits do not depend on the order of the file at hand
        rows = sorted(read_splice(path))
        published = SPLICE.paper_sizes["all"]
        if len(rows) != published:
            raise ValueError(f"{path}: {len(rows)} records; published are {published}")
        group_of = {sequence: f"sequence-{n:04d}" for n, sequence in enumerate(sorted({s for s, _ in rows}))}
        groups = [group_of[sequence] for sequence, _ in rows]
        chosen = split_groups(groups, grouped=self.config.name == "grouped")
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"rows": rows, "groups": groups, "chosen": sorted(indices)})
            for name, indices in chosen.items()
        ]

    def _generate_examples(
        self, rows: list[tuple[str, str]], groups: list[str], chosen: list[int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in chosen:
            sequence, label = rows[row]
            row_id = f"splice-{row:04d}"
            yield row_id, {"id": row_id, "sequence": sequence, "label": label, "group": groups[row]}


def build_splice(raw_file: Path, output: Path) -> dict[str, dict[str, int]]:
    """Writes `output/{paper,grouped}/{train,validation,test}.parquet`; returns the counts."""
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as cache:  # a cache that outlives the build would serve old rows to new code
        for config in ("paper", "grouped"):
            builder = Splice(config_name=config, data_files={"train": str(raw_file)}, cache_dir=cache)
            builder.download_and_prepare()
            built = builder.as_dataset()
            for name, rows in built.items():
                run_files.write_whole(output / config / f"{name}.parquet", rows.to_parquet)
            counts[config] = {name: len(rows) for name, rows in built.items()}
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds dna-splice from the UCI file, or from KEEL's form of it.")
    parser.add_argument("--raw_file", type=Path, required=True, help="splice.data (UCI) or splice.dat (KEEL)")
    parser.add_argument("--output", type=Path, required=True, help="folder for paper/ and grouped/")
    arguments = parser.parse_args()
    for config, counts in build_splice(arguments.raw_file, arguments.output).items():
        print(config, counts)
    print("classes", Counter(label for _, label in read_splice(arguments.raw_file)))


if __name__ == "__main__":
    main()
