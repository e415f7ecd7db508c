"""Peak memory of predicting 200,000 and 1,000,000 short sequences with a tiny model, each in a process of its own.

    python benchmarks/prediction_memory.py [--ending .parquet] [--allowed 32]

Exits with 1 when the larger file takes more than `--allowed` MB above the smaller one.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (200_000, 1_000_000)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux


def predict(count: int, ending: str, folder: Path) -> None:
    """Prints by how many MB predicting raised the peak."""
    import torch

    from hf_bertx import DisciplineTokenizer, SequenceClassifier, predict_file, resolve_backbone
    from hf_bertx.configuration_discipline import BertDisciplineConfig
    from hf_bertx.modeling_discipline import BertForDisciplineClassification
    from hf_bertx.performance.memory import keep_freed_memory

    keep_freed_memory()  # as `bertx predict` does
    draw = random.Random(0)
    path = folder / "in.txt"
    with path.open("w") as file:
        file.writelines("".join(draw.choices("ACGT", k=draw.randint(4, 12))) + "\n" for _ in range(count))
    torch.manual_seed(0)
    config = BertDisciplineConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
        problem_type="single_label_classification",
    )
    tokenizer = DisciplineTokenizer.from_backbone(resolve_backbone("minilm-l6").source, "dna")
    model = BertForDisciplineClassification(config)
    classifier = SequenceClassifier(model, tokenizer, threads=1, tokens_a_batch=16384)
    before = peak_mb()
    made = predict_file(classifier, path, folder / f"out{ending}")
    assert made.records == count
    print(f"{before:.0f} {peak_mb():.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ending", default=".parquet", choices=(".parquet", ".csv", ".jsonl"))
    parser.add_argument("--allowed", type=float, default=32.0, help="MB; %(default)s")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.count:
            predict(options.count, options.ending, Path(folder))
            return 0
    grown = {}
    for count in COUNTS:
        command = [sys.executable, __file__, "--ending", options.ending, "--count", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        before, peak = map(int, done.stdout.split())
        grown[count] = peak - before
        print(
            f"{count:>9,} sequences: {before} MB before, peak {peak} MB, {grown[count]} MB for predicting", flush=True
        )
    if options.output is not None:
        from hf_bertx.run_files import write_json
        from hf_bertx.run_order import machine, versions

        figures = {"grown_mb": {str(count): mb for count, mb in grown.items()}}
        figures |= {"more_mb": grown[COUNTS[1]] - grown[COUNTS[0]], "machine": machine(), "versions": versions()}
        write_json(options.output, figures)
    return int(grown[COUNTS[1]] - grown[COUNTS[0]] > options.allowed)


if __name__ == "__main__":
    sys.exit(main())
