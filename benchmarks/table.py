"""Writes the tables of benchmarks/README.md from the JSON files in benchmarks/results.

    python benchmarks/table.py [--check]

They stand between two comments, `<!-- table NAME -->` and `<!-- end -->`. With `--check` nothing is written, and the
exit status is 1 where the page is not what would be written.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from goals import ANOTHER_CLASS, CPU_GOALS, GPU_GOALS, RESULTS, lines, outcomes, repaid

from hf_bertx.run_files import read_json, write_text

PAGE = Path(__file__).parent / "README.md"
_PLACE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EMPTY = "Not measured yet."


def _steps(folder: Path, file: str) -> list[str]:
    """Every loop of every case of a fine-tuning file."""
    path = folder / file
    if not path.is_file():
        return [_EMPTY]
    results = read_json(path)
    rows = [
        "| case | loop | precision | s a step | times ours (rounds) | tokens a second | of the peak | peak memory |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for case, found in results["cases"].items():
        rows += [_step(case, name, row, found, results) for name, row in found["loops"].items()]
        rows += [
            f"| {case} | {name} | | not measured: {why} | | | | |" for name, why in found.get("failed", {}).items()
        ]
    return [*rows, "", _where(results), "", *_sequences(results), *_compiling(results)]


def _step(case: str, name: str, row: dict[str, Any], found: dict[str, Any], results: dict[str, Any]) -> str:
    ratio = found["ratios"].get(name)
    times = (
        f"{ratio['median']:.2f}, {ratio['lowest']:.2f} to {ratio['highest']:.2f} ({ratio['rounds']})" if ratio else ""
    )
    # of a case; of the whole run where an older file has no other
    peak = found.get("peak_operations_a_second", results["peak_operations_a_second"]).get(row["precision"])
    share = f"{row['operations_a_second'] / peak:.0%}" if peak else ""
    memory = f"{row['peak_memory_mb']:,.0f} MB" if row["peak_memory_mb"] is not None else ""
    seconds, tokens = f"{row['median_seconds']:.3g}", f"{row['tokens_a_second']:,}"
    cells = [case, name, row["precision"], seconds, times, tokens, share, memory]
    return f"| {' | '.join(cells)} |"


def _where(results: dict[str, Any]) -> str:
    where, made = results["machine"], results["versions"]
    on = where["gpu"] if results.get("device") == "cuda" else f"{where['processor']}, {results['threads']} threads"
    peaks = ", ".join(
        f"{value / 1e12:.3g} x 10^12 operations a second in {name}"
        for name, value in results["peak_operations_a_second"].items()
        if value
    )
    return f"{on}; torch {made['torch']}, transformers {made['transformers']}. Largest matrix product: {peaks}."


def _sequences(results: dict[str, Any]) -> list[str]:
    return ["; ".join(f"{case}: {found['model']}, {found['data']}" for case, found in results["cases"].items()) + "."]


def _compiling(results: dict[str, Any]) -> list[str]:
    """After how many steps torch.compile has saved what it took, case by case, where that was measured."""
    said = [f"{name} {repaid(case)}" for name, case in results["cases"].items() if "compiled" in case["loops"]]
    return ["", f"Compiling is repaid: {'; '.join(said)}."] if said else []


def tables(folder: Path) -> dict[str, list[str]]:
    """Lines of each table, by its name in the page."""
    return {
        "goals-cpu": lines(outcomes(CPU_GOALS, folder)),
        "goals-cpu-no-bfloat16": lines(outcomes(CPU_GOALS, folder / ANOTHER_CLASS.name)),
        "goals-gpu": lines(outcomes(GPU_GOALS, folder)),
        "steps-cpu": _steps(folder, "finetuning-cpu.json"),
        "steps-cpu-no-bfloat16": _steps(folder / ANOTHER_CLASS.name, "finetuning-cpu.json"),
        "steps-gpu": _steps(folder, "finetuning-gpu.json"),
        "tokenization": _tokenization(folder / "tokenization.json"),
        "data-building": _building(folder / "data_building.json"),
    }


def _tokenization(path: Path) -> list[str]:
    """Rates of ours and of the peers."""
    if not path.is_file():
        return [_EMPTY]
    found = read_json(path)
    rows = [
        f"| way | sequences of {found['length']} letters a second, median (lowest to highest) |",
        "|---|---:|",
    ]
    rows += [
        f"| {name} | {found['medians'][name]:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) |"
        for name, rates in found["rates"].items()
    ]
    return [*rows, "", f"{found['machine']['processor']}; python {found['versions']['python']}."]


def _building(path: Path) -> list[str]:
    """Both ways from a file to tokenized rows, and the build alone."""
    if not path.is_file():
        return [_EMPTY]
    found = read_json(path)
    rows = [f"| way | sequences of {found['length']} letters a second, median (lowest to highest) |", "|---|---:|"]
    rows += [
        f"| {name} | {found['medians'][name]:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) |"
        for name, rates in found["rates"].items()
    ]
    return [
        *rows,
        "",
        f"{found['ratio']:.2f} times the example script's way, median of {len(found['rates']['ours'])}.",
    ]


def filled(page: str, folder: Path = RESULTS) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: the page asks for a table that there is not.
    """
    made = tables(folder)

    def put(match: re.Match[str]) -> str:
        if match[2] not in made:
            raise ValueError(f"{PAGE.name}: no table is called {match[2]!r}; there are {', '.join(made)}")
        return match[1] + "\n".join(made[match[2]]) + "\n" + match[3]

    return _PLACE.sub(put, page)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, tell whether the page is up to date")
    options = parser.parse_args(argv)
    page = PAGE.read_text(encoding="utf-8")
    made = filled(page)
    if options.check:
        print("up to date" if made == page else f"{PAGE.name} is not what its results give: run benchmarks/table.py")
        return int(made != page)
    write_text(PAGE, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
