"""DisciplineTokenizer beside what users would otherwise write, in one run, alternately, on the same sequences.

    python benchmarks/tokenization.py [--sequences 100000] [--peer_sequences 1000] [--length 500] [--rounds 5]

Peers: a `PreTrainedTokenizer` subclass that splits symbol by symbol in `_tokenize`, and `BertTokenizer` (Rust, on all
cores unless TOKENIZERS_PARALLELISM says otherwise) on blank-separated letters. Ours takes all sequences in batches of
1000, as `datasets.map` hands them over; the peers take as many as they are given. A ratio is one of rates of the same
round. Exits with 1 when the ratio of lists is below the goal.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from counts import at_least_one
from transformers import AutoTokenizer, PreTrainedTokenizer

from hf_bertx import DisciplineTokenizer, resolve_backbone
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions

_BATCH = 1000


class SymbolBySymbolTokenizer(PreTrainedTokenizer):
    """How tutorials write a DNA tokenizer; the ids are those of `DisciplineTokenizer`."""

    def __init__(self, vocabulary: dict[str, int], **kwargs: Any) -> None:
        self.vocabulary = vocabulary
        self.symbols = {i: token for token, i in vocabulary.items()}
        super().__init__(special_tokens_pattern="cls_sep", **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocabulary[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self.symbols[index]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--peer_sequences", type=int, default=1000, help="that the peers take in a round")
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--goal", type=float, default=5.0, help="how many times the symbol-by-symbol class")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    generator = random.Random(0)
    sequences = ["".join(generator.choices("ACGT", k=options.length)) for _ in range(options.sequences)]
    few = sequences[: options.peer_sequences]
    spaced = [" ".join(sequence) for sequence in few]

    text = AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source)
    ours = DisciplineTokenizer.from_backbone(text, "dna")
    names = {name: ours.special_tokens_map[name] for name in ("cls_token", "sep_token", "pad_token")}
    by_symbol = SymbolBySymbolTokenizer(ours.get_vocab(), **names)
    assert by_symbol(sequences[:3]).input_ids == ours(sequences[:3]).input_ids

    def in_batches(**kwargs: Any) -> None:
        for start in range(0, len(sequences), _BATCH):
            ours(sequences[start : start + _BATCH], **kwargs)

    cases: dict[str, Callable[[], Any]] = {
        "DisciplineTokenizer, lists": in_batches,
        "DisciplineTokenizer, flat arrays": lambda: ours.encode_flat(sequences),
        "symbol by symbol": lambda: by_symbol(few),
        "BertTokenizer, blanks": lambda: text(spaced),
    }
    counts = {name: len(sequences) if name.startswith("Discipline") else len(few) for name in cases}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            rates[name].append(counts[name] / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"sequences of {options.length} letters a second, median of {options.rounds} rounds (lowest to highest)")
    for name, values in rates.items():
        print(f"  {name:<28}{medians[name]:>10,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    ratios = {
        form: {
            peer: statistics.median(
                a / b for a, b in zip(rates[f"DisciplineTokenizer, {form}"], rates[peer], strict=True)
            )
            for peer in ("symbol by symbol", "BertTokenizer, blanks")
        }
        for form in ("lists", "flat arrays")
    }
    for form, found in ratios.items():
        print(f"times as {form}: " + ", ".join(f"{value:.1f} {peer}" for peer, value in found.items()))
    if options.output is not None:
        figures = {"rates": rates, "medians": medians, "ratios": ratios, "length": options.length}
        write_json(options.output, {**figures, "machine": machine(), "versions": versions()})
    return int(ratios["lists"]["symbol by symbol"] < options.goal)


if __name__ == "__main__":
    sys.exit(main())
