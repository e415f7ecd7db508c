"""How many windows a second become a grid of 4-mers on the Hilbert curve, from letters, on one core.

    python benchmarks/hilbert_features.py [--windows 4000] [--length 500] [--rounds 5] [--goal 20000]

Counts processor time, so that other work on the machine does not count. Beside it, what a loop over letters gives
(a dictionary of 4-mers, one window at a time). Exits with 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from counts import at_least_one

from hf_bertx.baselines.features import symbol_tokenizer
from hf_bertx.baselines.hilbert_cnn.configuration_hilbert_cnn import KMER, HilbertCNNConfig
from hf_bertx.baselines.hilbert_cnn.modeling_hilbert_cnn import HilbertCNNForSequenceClassification, hilbert_curve
from hf_bertx.run_files import write_json


def by_letter(sequences: list[str], rows: int, columns: int) -> np.ndarray:
    """The same grids, 4-mer by 4-mer."""
    numbers = {"".join(letters): i + 1 for i, letters in enumerate(product("ACGT", repeat=KMER))}
    curve = hilbert_curve(columns)[:rows]
    places = {int(curve[row, column]): (row, column) for row in range(rows) for column in range(columns)}
    grids: np.ndarray = np.zeros((len(sequences), rows, columns), dtype=np.int16)
    for n, sequence in enumerate(sequences):
        for i in range(len(sequence) - KMER + 1):
            grids[(n, *places[i])] = numbers.get(sequence[i : i + KMER], 0)
    return grids


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--goal", type=float, default=20_000, help="windows a second")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = random.Random(0)
    sequences = [
        "".join(generator.choices("ACGTN", (9, 9, 9, 9, 1), k=options.length)) for _ in range(options.windows)
    ]
    model = HilbertCNNForSequenceClassification(HilbertCNNConfig(window_length=options.length))
    tokenizer = symbol_tokenizer("dna", options.length)

    def vectorised(texts: list[str]) -> np.ndarray:
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=options.length, return_tensors="np")
        return model.four_mer_grid(torch.from_numpy(ids.input_ids)).numpy()

    few = sequences[: max(1, options.windows // 20)]
    assert (vectorised(few) == by_letter(few, *model.config.grid)).all()
    cases: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "letters to grids": (lambda: vectorised(sequences), len(sequences)),
        "letter by letter": (lambda: by_letter(few, *model.config.grid), len(few)),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, (case, count) in cases.items():
            started = time.process_time()
            case()
            rates[name].append(count / (time.process_time() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"windows of {options.length} letters a second of one core, median of {options.rounds} (lowest to highest)")
    for name, values in rates.items():
        print(f"  {name:<20}{medians[name]:>10,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    if options.output is not None:
        machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
        write_json(options.output, {"medians": medians, "rates": rates, "machine": machine})
        print(json.dumps(medians))
    return int(medians["letters to grids"] < options.goal)


if __name__ == "__main__":
    sys.exit(main())
