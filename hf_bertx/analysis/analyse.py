"""Two finished runs, or a run and its own start: how alike their layers, attention heads and gradients are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.optimize import linear_sum_assignment

from ..data.tokenized_data import tokenize
from ..runs.order import versions
from ..runs.run import Run
from ..runs.training_options import check_values
from . import similarity
from .activations import Positions, activations, aligned_lengths, draw_positions, gradient_products, progress
from .compared_runs import (
    Compared,
    check_comparable,
    data_of,
    finished_run,
    identity,
    labels_of,
    notes_on_start,
    rows_read,
    trained,
    untrained,
)
from .similarity import Basis

QUERIES = 500  # number of sampled positions at which attention is compared


def analyse(
    run_a: Path,
    run_b: Path | None = None,
    *,
    data_dir: str | None = None,
    split: str = "validation",
    items: int = 256,
    positions: int = 10_000,
    variance: float = 0.99,
    mini_batches: int = 16,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the models of two finished runs of one task, layer by layer and head by head, on the same items.

    Args:
        run_b: without it, `run_a` is compared with its own start.
        items, positions: items of `split`, and positions of theirs without padding, drawn with `seed`; all if fewer.
        variance: share of the variance of each layer whose directions PWCCA compares.
        mini_batches: of `run_a`'s training items, in its batch size, whose gradients are compared.

    Returns:
        What `analysis.json` holds: `layers`, `attention`, `gradients` and what they depend on.

    Raises:
        ValueError: a folder that holds no finished run, runs of different tasks or data, positions that do not align,
            or a number that is not allowed; the message names it.
        OSError: the data or the backbone cannot be had.
    """
    given = {"items": items, "positions": positions, "mini_batches": mini_batches}
    check_values({**given, "variance": variance, "seed": seed})
    runs = [finished_run(folder) for folder in (run_a, run_b) if folder is not None]
    first, last = runs[0], runs[-1]
    check_comparable(first, last)
    data = data_of(first, data_dir, split)
    labels = labels_of(runs)
    other = untrained(last, labels[1], data) if run_b is None else trained(last, labels[1])
    compared = [trained(first, labels[0]), other]
    generator = np.random.default_rng(seed)
    rows = _drawn(rows_read(first, data.splits[split]), items, generator)
    at, there, ((layers_a, maps_a), (layers_b, maps_b)) = _activations(compared, rows, first, positions, generator)
    batch = first.specification["hyperparameters"]["global_batch_size"]
    training = _drawn(rows_read(first, data.splits["train"]), mini_batches * batch, generator)
    return {
        "task": first.task.name,
        "data_fingerprint": data.fingerprint,
        "split": split,
        "items": len(rows),
        "positions": len(at.item),
        "positions_there": there,
        "seed": seed,
        "variance": variance,
        "versions": versions(),
        "a": identity(compared[0], first, finished=True),
        "b": identity(compared[1], last, finished=run_b is not None),
        "notes": notes_on_start(first) if run_b is None else [],
        "layers": _layers(layers_a, layers_b, at, variance, generator),
        "attention": _heads(maps_a, maps_b),
        "gradients": [_gradients(side, training, first, batch) for side in compared],
    }


def _drawn(rows: Dataset, count: int, generator: np.random.Generator) -> Dataset:
    """Draws so many rows in random order; all of them if there are fewer."""
    return rows.select(generator.permutation(len(rows))[:count].tolist())


def _activations(
    compared: list[Compared], rows: Dataset, run: Run, count: int, generator: np.random.Generator
) -> tuple[Positions, int, list[tuple[list[np.ndarray], np.ndarray]]]:
    """The compared positions, how many there are in all, and each model's activations there."""
    encoded = [_encoded(side, rows, run) for side in compared]
    lengths = aligned_lengths(compared, encoded, rows)
    at = draw_positions(lengths, count, generator)
    queries = np.sort(generator.choice(len(at.item), min(QUERIES, len(at.item)), replace=False))
    held = [activations(*pair, at, queries) for pair in zip(compared, encoded, strict=True)]
    return at, int(lengths.sum()), held


def _encoded(side: Compared, rows: Dataset, run: Run) -> Dataset:
    return tokenize(rows, side.tokenizer, run.task, side.special_tokens)


def _layers(
    a: list[np.ndarray], b: list[np.ndarray], at: Positions, variance: float, generator: np.random.Generator
) -> dict[str, Any]:
    """CKA and PWCCA of every layer of A with every layer of B, and of A with rows of B that do not belong to it."""
    bases_a, bases_b = ([similarity.basis(layer) for layer in layers] for layers in (a, b))
    orders = {
        "same_position_of_another_item": similarity.order_within(at.position, generator),
        "any_position": generator.permutation(len(at.position)),
    }
    rows = []
    for x in progress(bases_a, "layers"):  # a comprehension would leave the bar open after an error
        rows.append([_alike(x, y, variance) for y in bases_b])
    pairs = np.array(rows)
    partners = list(range(len(a))) if len(a) == len(b) else pairs[:, :, 0].argmax(axis=1).tolist()
    floors = {
        name: np.array([_alike(x, bases_b[j].reordered(order), variance)
                        for x, j in zip(bases_a, partners, strict=True)])
        for name, order in orders.items()
    }  # fmt: skip
    return {
        "cka": _rounded(pairs[:, :, 0]),
        "pwcca": _rounded(pairs[:, :, 1]),
        "partners": partners,
        "floors": {name: {"cka": _rounded(v[:, 0]), "pwcca": _rounded(v[:, 1])} for name, v in floors.items()},
        "directions_a": [base.kept(variance) for base in bases_a],
        "directions_b": [base.kept(variance) for base in bases_b],
    }


def _alike(a: Basis, b: Basis, variance: float) -> tuple[float, float]:
    return similarity.linear_cka(a, b), similarity.pwcca(a, b, variance)


def _heads(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Matches each head of A with the head of B whose attention is most alike, over all layers."""
    flat_a, flat_b = (maps.reshape(-1, *maps.shape[2:]) for maps in (a, b))
    rows = [similarity.head_divergences(flat_a[[i]], flat_b) for i in progress(range(len(flat_a)), "heads")]
    divergences = np.concatenate(rows)
    heads_a, heads_b = linear_sum_assignment(divergences)  # the least sum; of unequal numbers of heads some stay alone
    matched = divergences[heads_a, heads_b]
    # layer and head, each from 1
    place_a, place_b = (
        np.array(divmod(heads, maps.shape[1])).T + 1 for heads, maps in ((heads_a, a), (heads_b, b))
    )  # fmt: skip
    same = place_a == place_b
    return {
        "queries": a.shape[2],
        "layers_and_heads_a": list(a.shape[:2]),
        "layers_and_heads_b": list(b.shape[:2]),
        "divergence": _rounded(divergences),
        "pairs": [
            {"a": x.tolist(), "b": y.tolist(), "divergence": _rounded(value)}
            for x, y, value in zip(place_a, place_b, matched, strict=True)
        ],
        "matched_mean": _rounded(matched.mean()),
        "all_pairs_mean": _rounded(divergences.mean()),
        "same_number_mean": _rounded(np.diag(divergences).mean()) if a.shape[:2] == b.shape[:2] else None,
        "same_layer_share": _rounded(same[:, 0].mean()),
        "same_number_share": _rounded(same.all(axis=1).mean()),
    }


def _gradients(side: Compared, rows: Dataset, run: Run, batch: int) -> dict[str, Any]:
    """How far gradients of different mini-batches of training items agree; dropout is off."""
    encoded = _encoded(side, rows, run)
    batches = [encoded.select(range(at, at + batch)) for at in range(0, len(encoded) - batch + 1, batch)]
    if len(batches) < 2:
        raise ValueError(f"{len(rows)} training items make {len(batches)} mini-batches of {batch}; two are needed")
    inner = gradient_products(side, batches)
    cosines = similarity.pair_cosines(inner)
    return {
        "label": side.label,
        "mini_batches": len(batches),
        "batch_size": batch,
        "mean_length": _rounded(np.sqrt(np.diag(inner)).mean()),
        **{name: _rounded(value) for name, value in similarity.gradient_confusion(cosines).items()},
        "cosines": _rounded(cosines),
    }


def _rounded(value: Any) -> Any:
    return np.round(np.asarray(value, dtype=float), 6).tolist()
