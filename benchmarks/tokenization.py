"""DisciplineTokenizer beside what users would otherwise write, alternately, on the same sequences.

    python benchmarks/tokenization.py [--sequences 100000] [--peer_sequences 1000] [--length 500] [--rounds 5]

Peers: a `PreTrainedTokenizer` subclass that splits symbol by symbol in `_tokenize`, and `BertTokenizer` (Rust, on all
cores unless TOKENIZERS_PARALLELISM says otherwise) on blank-separated letters. Ours takes all sequences in batches of
1000, as `datasets.map` hands them over; the peers take `--peer_sequences`. A ratio is one of rates of the same round.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from goals import benchmark
from transformers import AutoTokenizer, PreTrainedTokenizer

from hf_bertx import DisciplineTokenizer, resolve_backbone

_BATCH = 1000


class SymbolBySymbolTokenizer(PreTrainedTokenizer):
    """How tutorials write a DNA tokenizer; the ids are those of `DisciplineTokenizer`."""

    def __init__(self, vocabulary: dict[str, int], **kwargs: Any) -> None:
        self.vocabulary = vocabulary
        super().__init__(special_tokens_pattern="cls_sep", **kwargs)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocabulary[token]


def measure(options: Any) -> dict[str, Any]:
    draw = random.Random(0)
    sequences = ["".join(draw.choices("ACGT", k=options.length)) for _ in range(options.sequences)]
    few = sequences[: options.peer_sequences]
    spaced = [" ".join(sequence) for sequence in few]
    text = AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source)
    ours = DisciplineTokenizer.from_backbone(text, "dna")
    names = {name: ours.special_tokens_map[name] for name in ("cls_token", "sep_token", "pad_token")}
    by_symbol = SymbolBySymbolTokenizer(ours.get_vocab(), **names)
    assert by_symbol(sequences[:3]).input_ids == ours(sequences[:3]).input_ids
    batches = [sequences[start : start + _BATCH] for start in range(0, len(sequences), _BATCH)]
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "DisciplineTokenizer, lists": (len(sequences), lambda: [len(ours(batch).input_ids) for batch in batches]),
        "DisciplineTokenizer, flat arrays": (len(sequences), lambda: ours.encode_flat(sequences)),
        "symbol by symbol": (len(few), lambda: by_symbol(few)),
        "BertTokenizer, blanks": (len(few), lambda: text(spaced)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (count, way) in ways.items():
            started = time.perf_counter()
            way()
            rates[name].append(count / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:<34}{medians[name]:>10,.0f} sequences a second ({min(values):,.0f} to {max(values):,.0f})")
    ratios: dict[str, dict[str, float]] = {"lists": {}, "flat arrays": {}}
    for form, by_peer in ratios.items():
        for peer in list(ways)[2:]:
            pairs = zip(rates[f"DisciplineTokenizer, {form}"], rates[peer], strict=True)
            by_peer[peer] = statistics.median(a / b for a, b in pairs)
            print(f"as {form}: {by_peer[peer]:.1f} times {peer}")
    return {"rates": rates, "medians": medians, "ratios": ratios, "length": options.length}


if __name__ == "__main__":
    sys.exit(benchmark(__doc__, measure, rounds=5, sequences=100_000, peer_sequences=1000, length=500))
