"""Prediction with hf_bertx beside `pipeline("text-classification")` with its defaults, in one run, alternately.

    python benchmarks/inference.py [--model MODEL] [--items 10000] [--peer_items 300] [--rounds 3] [--goal 4]

Cases: splice sequences (those of the package's data set, and some of them with three letters changed, all different),
and proteins of mixed length, those of `--proteins FASTA` or random ones. The peer is what a user writes by the stock
documentation: batch size 1, the model's own tokenizer and precision, `truncation=True` (without it a protein longer
than the model reads is an error). Ours is `bertx predict` as it comes, in bfloat16 where the processor has that; there
it is measured in float32 as well. A round is A B C: the peer on a random sample of the items (rates are
compared, not times), then each of ours on all of them, or on as many as `--seconds` allow. Then scores of the same
items are asked of all. Each has a process of its own.
`--levers` switches each lever off, one at a time. Exits with 1 when the median ratio of a case as it comes is below
the goal, or scores differ more than their precision makes them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from arithmetic import forward_flops, matrix_peak
from counts import at_least_one
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

import hf_bertx
from hf_bertx.backbones import resolve_backbone
from hf_bertx.disciplines import PROTEIN
from hf_bertx.freed_memory import keep_freed_memory
from hf_bertx.input_records import InputRecord, read_input
from hf_bertx.prediction import inference
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions
from hf_bertx.tokenization_discipline import DisciplineTokenizer

CASES = ("splice", "proteins")
FREED = "freed memory given back"
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}  # of a score


def splice(n: int) -> list[str]:
    """Different splice sequences: the package's 3,190, then some of them with three letters changed."""
    folder = Path(hf_bertx.__file__).parent / "data" / "dna-splice" / "paper"
    real = [row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part)["sequence"].to_pylist()]
    draw, found = random.Random(0), dict.fromkeys(real)
    while len(found) < n:
        letters = list(draw.choice(real))
        for at in draw.sample(range(len(letters)), 3):
            letters[at] = draw.choice("ACGT")
        found["".join(letters)] = None
    return list(found)[:n]


def proteins(path: Path, n: int) -> list[str]:
    """Different proteins of a FASTA file, in random order."""
    letters = set(PROTEIN.symbols)
    rows = list(dict.fromkeys(r.sequence.upper() for r in read_input(path) if set(r.sequence.upper()) <= letters))
    return random.Random(0).sample(rows, min(n, len(rows)))


def drawn_proteins(n: int) -> list[str]:
    """Random proteins of 40 to 800 amino acids, all lengths alike, where no file is at hand."""
    draw = random.Random(0)
    return ["".join(draw.choices(PROTEIN.symbols[:20], k=draw.randint(40, 800))) for _ in range(n)]


def model_for(discipline: str, backbone: str, folder: Path) -> Path:
    """A classifier of the backbone's size with a random head: what it answers does not matter for how fast."""
    source = resolve_backbone(backbone).source
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=3, problem_type="single_label_classification"
    ).save_pretrained(folder)
    DisciplineTokenizer.from_backbone(AutoTokenizer.from_pretrained(source), discipline).save_pretrained(folder)
    return folder


def on_cpu(
    model: Path, options: argparse.Namespace, kind: type[SequenceClassifier] = SequenceClassifier, **told: Any
) -> SequenceClassifier:
    """Ours on the processor, where the peer is, whatever GPU there is."""
    told = {"precision": options.precision, "threads": options.threads, **told}
    loaded = AutoModelForSequenceClassification.from_pretrained(model)
    return kind(loaded, AutoTokenizer.from_pretrained(model), **told)


def rate(work: Callable[[list[str]], Any], rows: list[str]) -> float:
    started = time.perf_counter()
    work(rows)
    return len(rows) / (time.perf_counter() - started)


def ours(classifier: SequenceClassifier, rows: list[str]) -> np.ndarray:
    """Scores of the classes, shape `(items, classes)`."""
    records = (InputRecord(str(i), row, f"row {i}") for i, row in enumerate(rows))
    return np.concatenate([softmax(window.logits, axis=1) for window in classifier.windows(records)])


def theirs(classify: Any, rows: list[str]) -> np.ndarray:
    answers = classify(rows, top_k=None, truncation=True)
    names = [classify.model.config.id2label[i] for i in range(classify.model.config.num_labels)]
    return np.array([[{a["label"]: a["score"] for a in answer}[name] for name in names] for answer in answers])


def precisions(options: argparse.Namespace) -> list[str]:
    """What ours computes in, as it comes first; where that is not float32, float32 too."""
    fast = "bfloat16" if inference.fast_bfloat16(use_cpu=True) else "float32"
    return list(dict.fromkeys((fast, "float32"))) if options.precision == "auto" else [options.precision]


# what scores rows in a process that was begun for it
_score: Callable[[list[str]], np.ndarray] | None = None


def _begin(side: str, model: Path, options: argparse.Namespace) -> None:
    """In a process of its own, since what `bertx predict` tells its process is not told to the peer's."""
    global _score
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(options.threads)
    if side == "peer":
        _score = partial(theirs, pipeline("text-classification", model=str(model), device="cpu"))
        return
    if side != FREED:
        keep_freed_memory()
    _score = partial(ours, on_cpu(model, options, **({"precision": side} if side in TOLERANCE else {})))


def _scores(rows: list[str]) -> np.ndarray:
    assert _score is not None
    return _score(rows)


def _rate(rows: list[str]) -> float:
    return rate(_scores, rows)


@contextmanager
def processes(model: Path, options: argparse.Namespace, *sides: str) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each: `peer`, ours in a precision, `ours` as the options say, `FREED` (ours but for that)."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        yield {
            side: stack.enter_context(
                ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(side, model, options))
            )
            for side in sides
        }


def measure(name: str, model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One case: rates of all by round, ratios to the peer's, and how far scores lie apart."""
    draw = random.Random(1)
    sides = precisions(options)
    with processes(model, options, "peer", *sides) as made:
        made["peer"].submit(_rate, rows[:5]).result()
        some = {}
        for side in sides:
            made[side].submit(_rate, rows[:64]).result()
            speed = made[side].submit(_rate, rows[:256]).result()
            some[side] = rows[: max(256, int(min(len(rows), speed * options.seconds)))]
        rates: dict[str, list[float]] = {"peer": [], **{side: [] for side in sides}}
        for _ in range(options.rounds):
            sample = draw.sample(rows, min(len(rows), options.peer_items))
            for side, taken in rates.items():
                taken.append(made[side].submit(_rate, some.get(side, sample)).result())
        check = draw.sample(rows, 64)
        scores = {side: made[side].submit(_scores, check).result() for side in rates}
    apart = {side: float(np.abs(scores[side] - scores["peer"]).max()) for side in sides}
    rounds = {side: [a / b for a, b in zip(rates[side], rates["peer"], strict=True)] for side in sides}
    ratios = {side: statistics.median(rounds[side]) for side in sides}
    lengths = [len(row) for row in rows]
    for side in sides:
        by_round = ", ".join(f"{ratio:.2f}" for ratio in rounds[side])
        print(
            f"{name}, {side}: {statistics.median(rates[side]):.1f} items a second, the peer "
            f"{statistics.median(rates['peer']):.1f}; {ratios[side]:.2f} times (rounds: {by_round}); scores apart by "
            f"at most {apart[side]:.1e}",
            flush=True,
        )
    return {
        "items": len(rows),
        "symbols": {"shortest": min(lengths), "median": statistics.median(lengths), "longest": max(lengths)},
        "items_ours": {side: len(some[side]) for side in sides},
        "items_peer": min(len(rows), options.peer_items),
        "items_a_second": rates,
        "ratios": ratios,
        "operations_an_item": operations(on_cpu(model, options), rows),
        "scores_apart": apart,
        "levers": levers(model, rows, options) if options.levers else None,
    }


def operations(classifier: SequenceClassifier, rows: list[str]) -> float:
    """Floating-point operations that an item takes on average, without padding."""
    special = classifier.tokenizer.num_special_tokens_to_add()
    widths = (min(len(row) + special, classifier.max_length) for row in rows)
    return statistics.fmean(forward_flops(classifier.model.config, width, pruned=True) for width in widths)


def levers(model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, float]:
    """How many times as fast each lever makes it: with it beside without it, alternately, median of rounds."""
    rows = random.Random(2).sample(rows, min(len(rows), options.lever_items))
    with processes(model, options, "ours", FREED) as made:
        for process in made.values():
            process.submit(_rate, rows).result()
        rates = [[made[side].submit(_rate, rows).result() for side in ("ours", FREED)] for _ in range(options.rounds)]
        found = {"freed memory kept": statistics.median(kept / returned for kept, returned in rates)}
        found |= made["ours"].submit(_levers_here, model, rows, options).result()
    for name, value in found.items():
        print(f"  {name}: {value:.2f} times")
    return found


def _levers_here(model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, float]:
    makes: dict[str, Callable[[], SequenceClassifier]] = {
        "all": lambda: on_cpu(model, options),
        "one batch a core": lambda: on_cpu(model, options, _Undivided, threads=1),
        "sorted by length": lambda: on_cpu(model, options, _Unsorted),
        "last layer at position 0 alone": lambda: _unpruned(model, options),
        "batches": lambda: on_cpu(model, options, batch_size=1),
        "attention by products": lambda: _with_sdpa(model, options),
    }
    for tokens in (512, 1024, 4096, 8192, 16384):
        makes[f"2048 tokens a batch, not {tokens}"] = lambda tokens=tokens: on_cpu(
            model, options, tokens_a_batch=tokens
        )
    other = "float32" if inference.fast_bfloat16(use_cpu=True) else "bfloat16"
    makes[f"not {other}"] = lambda: on_cpu(model, options, precision=other)
    makes["not compiled"] = lambda: _compiled(model, options)
    made = {name: make() for name, make in makes.items()}
    ours(made["not compiled"], rows)  # compiles
    ratios: dict[str, list[float]] = {name: [] for name in made if name != "all"}
    for _ in range(options.rounds):
        for name in ratios:
            torch.set_num_threads(options.threads)
            few = rows[:64] if name == "not bfloat16" else rows
            without = rate(lambda some, name=name: ours(made[name], some), few)
            ratios[name].append(rate(lambda some: ours(made["all"], some), few) / without)
    return {name: statistics.median(values) for name, values in ratios.items()}


class _Unsorted(SequenceClassifier):
    def _logits(self, window: Any, lengths: np.ndarray) -> np.ndarray:
        return super()._logits(window, np.full_like(lengths, int(lengths.max())))


class _Undivided(SequenceClassifier):
    """One batch after the other, each operation on all cores: torch's own way."""

    def _logits(self, window: Any, lengths: np.ndarray) -> np.ndarray:
        columns = inference._columns(window)
        out = np.empty((len(window), self.model.config.num_labels), dtype=np.float32)
        for batch in inference.length_batches(lengths, self.tokens_a_batch, self.batch_size):
            out[batch] = self._forward([[column[i] for i in batch] for column in columns])
        return out


def _unpruned(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(classifier.model.dtype)
    return classifier


def _with_sdpa(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model.set_attn_implementation("sdpa")
    return classifier


def _compiled(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model.compile(dynamic=True)  # batches have many shapes
    return classifier


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="of splice; by default the backbone with a random head")
    parser.add_argument("--backbone", default="minilm-l6")
    parser.add_argument("--proteins", type=Path, help="FASTA file; without it proteins are drawn")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--peer_items", type=int, default=300, help="of a round")
    parser.add_argument("--lever_items", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of a round of ours; rates are compared")
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--precision", default="auto", choices=inference.PRECISIONS, help="of ours; %(default)s")
    parser.add_argument("--threads", type=int, default=inference.usable_cores(), help="of both; %(default)s")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="by default %(default)s")
    parser.add_argument("--goal", type=float, default=4.0, help="times the peer's rate; %(default)s")
    parser.add_argument("--levers", action="store_true", help="also measure each lever by itself")
    parser.add_argument("--work_dir", type=Path, default=Path("runs") / "bench", help="for models; %(default)s")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args(argv)
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(options.threads)
    sides = precisions(options)
    peaks = {side: matrix_peak(getattr(torch, side), torch.device("cpu")) for side in sides}
    cases = {}
    if "splice" in options.cases:
        model = options.model or model_for("dna", options.backbone, options.work_dir / "dna")
        cases["splice"] = measure("splice", model, splice(options.items), options)
    if "proteins" in options.cases:
        rows = drawn_proteins(options.items) if options.proteins is None else proteins(options.proteins, options.items)
        model = model_for("protein", options.backbone, options.work_dir / "protein")
        cases["proteins"] = measure("proteins", model, rows, options)
    torch.set_num_threads(options.threads)
    peaks = {side: max(peak, matrix_peak(getattr(torch, side), torch.device("cpu"))) for side, peak in peaks.items()}
    for name, case in cases.items():
        case["of_the_peak"] = {}
        for side, peak in peaks.items():
            share = case["operations_an_item"] * statistics.median(case["items_a_second"][side]) / peak
            case["of_the_peak"][side] = share
            print(f"{name}: {share:.0%} of the largest matrix product in {side}")
    missed = [name for name, case in cases.items() if case["ratios"][sides[0]] < options.goal]
    apart = [(name, side) for name in cases for side in sides if cases[name]["scores_apart"][side] > TOLERANCE[side]]
    if options.output is not None:
        told = {"goal": options.goal, "threads": options.threads, "precision": sides[0]}
        told["fast_bfloat16"] = inference.fast_bfloat16(use_cpu=True)
        told["peak_operations_a_second"] = peaks
        told["proteins"] = "drawn" if options.proteins is None else options.proteins.name
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        write_json(
            options.output, {**told, "load": load, "machine": machine(), "versions": versions(), "cases": cases}
        )
    for name in missed:
        print(f"below the goal of {options.goal:g} times: {name}, {cases[name]['ratios'][sides[0]]:.2f}")
    for name, side in apart:
        print(f"scores differ: {name}, {side}, by {cases[name]['scores_apart'][side]:.1e}; allowed {TOLERANCE[side]}")
    return int(bool(missed or apart))


if __name__ == "__main__":
    sys.exit(main())
