"""Writes the tables of benchmarks/README.md from the JSON files in benchmarks/results.

    python benchmarks/table.py

They stand between two comments, `<!-- table NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from goals import CPU_GOALS, GPU_GOALS, RESULTS, lines, outcomes

from hf_bertx.run_files import read_json, write_text

PAGE = Path(__file__).parent / "README.md"
_PLACE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EMPTY = ["Not measured yet."]
_STEPS = [
    "| case | loop | precision | s a step | times ours (rounds) | tokens a second | of the peak | peak memory |",
    "|---|---|---|---:|---:|---:|---:|---:|",
]


def steps(results: dict[str, Any]) -> list[str]:
    """Every loop of every case of a fine-tuning file's content."""
    if not results:
        return _EMPTY
    rows, peaks = list(_STEPS), []
    for case, measured in results["cases"].items():
        rows += [_step(case, name, row, measured) for name, row in measured["loops"].items()]
        failed = measured.get("failed", {}).items()
        rows += [f"| {case} | {name} | | not measured: {why} | | | | |" for name, why in failed]
        known = measured["peak_operations_a_second"].items()
        peaks.append(f"{case} " + ", ".join(f"{v / 1e12:.3g} in {name}" for name, v in known if v))
    machine, made = results["machine"], results["versions"]
    on = machine["gpu"] if results.get("device") == "cuda" else f"{machine['processor']}, {results['threads']} threads"
    versions = f"{on}; torch {made['torch']}, transformers {made['transformers']}."
    sequences = "; ".join(f"{case}: {row['model']}, {row['data']}" for case, row in results["cases"].items())
    peak = f"Largest matrix product, 10^12 operations a second: {'; '.join(peaks)}."
    return [*rows, "", f"{versions} {peak}", "", f"{sequences}."]


def _step(case: str, name: str, row: dict[str, Any], measured: dict[str, Any]) -> str:
    ratio = measured["ratios"].get(name)
    times = ratio and f"{ratio['median']:.2f}, {ratio['lowest']:.2f} to {ratio['highest']:.2f} ({ratio['rounds']})"
    peak = measured["peak_operations_a_second"].get(row["precision"])
    share = f"{row['operations_a_second'] / peak:.0%}" if peak else ""
    seconds, tokens = f"{row['median_seconds']:.3g}", f"{row['tokens_a_second']:,}"
    cells = [case, name, row["precision"], seconds, times or "", tokens, share, f"{row['peak_memory_mb']:,.0f} MB"]
    return f"| {' | '.join(cells)} |"


def _content(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def filled(page: str, folder: Path = RESULTS) -> str:
    """The page with its tables made anew; ValueError where it asks for a table that there is not."""
    made = {
        "goals-cpu": lines(outcomes(CPU_GOALS, folder)),
        "goals-epyc": lines([each for each in outcomes(CPU_GOALS, folder / "epyc") if each[1] is not None]),
        "goals-gpu": lines(outcomes(GPU_GOALS, folder / "gpu")),
        "steps-cpu": steps(_content(folder / "finetuning.json")),
        "steps-gpu": steps(_content(folder / "gpu" / "finetuning.json")),
    }

    def put(match: re.Match[str]) -> str:
        if match[2] not in made:
            raise ValueError(f"{PAGE.name}: no table is called {match[2]!r}; there are {', '.join(made)}")
        return match[1] + "\n".join(made[match[2]]) + "\n" + match[3]

    return _PLACE.sub(put, page)


def main() -> None:
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
