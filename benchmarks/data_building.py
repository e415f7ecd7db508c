"""From a file of labelled sequences to rows that a `Trainer` takes: ours beside the example script's way, alternately.

    python benchmarks/data_building.py [--sequences 6000] [--length 500] [--rounds 3]

`ours` is `bertx data build` on a user's CSV (alphabet and labels checked, leaks between the parts looked for, Parquet
and a card written), then what `train.py` reads and tokenizes. `stock` is `load_dataset("csv")` and `map` with
`BertTokenizerFast` on letters between blanks, padded to the maximum length, as `run_classification.py` does; it checks
nothing. Each starts with empty caches, and both end with the same rows in the same order.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from counts import at_least_one
from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer

from dataset_scripts.build import build_dataset
from hf_bertx import DisciplineTokenizer, resolve_backbone
from hf_bertx.device_rows import DeviceRows
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions
from hf_bertx.task_data import load_task_data, own_task
from hf_bertx.tokenized_data import encode_flat

PARTS = {"train": 0.9, "validation": 0.05, "test": 0.05}


def write_files(folder: Path, count: int, length: int) -> dict[str, Path]:
    """A CSV of each part: random sequences, two classes."""
    draw = random.Random(0)
    files = {}
    for part, share in PARTS.items():
        files[part] = folder / f"{part}.csv"
        with files[part].open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["sequence", "label"])
            for _ in range(max(2, round(share * count))):
                rows.writerow(["".join(draw.choices("ACGT", k=length)), draw.choice(["no", "yes"])])
    return files


def ours(files: dict[str, Path], folder: Path, length: int, text: Any) -> dict[str, Any]:
    """Tokenized rows of each part, and how many seconds the build took of all."""
    started = time.perf_counter()
    own: dict[str, Any] = {f"{part}_file": str(path) for part, path in files.items()}
    build_dataset("own", folder / "built", builder_options={**own, "discipline": "dna"})
    built = time.perf_counter() - started
    task = own_task("own", "dna", {"no", "yes"}, length, pair=False, votes=False, where="drawn")
    data = load_task_data(task, "paper", str(folder / "built" / "default"))
    tokenizer = DisciplineTokenizer.from_backbone(text, "dna")
    rows = {part: DeviceRows(*encode_flat(rows, tokenizer, task), tokenizer) for part, rows in data.splits.items()}
    return {"rows": rows, "build_seconds": built}


def stock(files: dict[str, Path], folder: Path, length: int, text: Any) -> dict[str, Any]:
    """The same rows by the example script's way."""
    raw = load_dataset("csv", data_files={part: str(path) for part, path in files.items()}, cache_dir=str(folder))
    names = {"no": 0, "yes": 1}

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [" ".join(sequence) for sequence in batch["sequence"]]
        encoded = text(texts, padding="max_length", max_length=length + 2, truncation=True)
        return {**encoded, "labels": [names[label] for label in batch["label"]]}

    return {"rows": raw.map(encode, batched=True, remove_columns=["sequence", "label"])}


WAYS: dict[str, Callable[..., dict[str, Any]]] = {"ours": ours, "stock": stock}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=6000, help="in all three parts; %(default)s")
    parser.add_argument("--length", type=int, default=500, help="letters of each; %(default)s")
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args(argv)
    disable_progress_bars()
    text = AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source)
    seconds: dict[str, list[float]] = {name: [] for name in (*WAYS, "ours, the build alone")}
    with tempfile.TemporaryDirectory() as made:
        files = write_files(Path(made), options.sequences, options.length)
        for _ in range(options.rounds):
            found: dict[str, Any] = {}
            labels: dict[str, list[int]] = {}
            for name, way in WAYS.items():
                with tempfile.TemporaryDirectory(dir=made) as folder:
                    datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
                    started = time.perf_counter()
                    found[name] = way(files, Path(folder), options.length, text)
                    seconds[name].append(time.perf_counter() - started)
                    labels[name] = [int(row["labels"]) for part in PARTS for row in found[name]["rows"][part]]
            seconds["ours, the build alone"].append(found["ours"]["build_seconds"])
            assert labels["ours"] == labels["stock"], "the same rows in the same order"
    rates = {name: [options.sequences / s for s in values] for name, values in seconds.items()}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["stock"], strict=True))
    print(f"sequences of {options.length} letters a second, median of {options.rounds} rounds (lowest to highest)")
    for name, values in rates.items():
        print(f"  {name:<24}{medians[name]:>10,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    print(f"times the example script's way: {ratio:.2f}")
    if options.output is not None:
        figures = {"sequences": options.sequences, "length": options.length, "rates": rates, "medians": medians}
        write_json(options.output, {**figures, "ratio": ratio, "machine": machine(), "versions": versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
