"""Two finished runs, or a run and its own start: how alike their layers, attention heads and gradients are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..report.records import RunRecord
from ..run_order import versions
from ..tokenized_data import tokenize
from .activations import Positions, activations, aligned_lengths, draw_positions, gradient_products, progress
from .compared_runs import (
    Compared,
    check_comparable,
    data_of,
    finished_run,
    identity,
    labels_of,
    notes_on_start,
    trained,
    untrained,
)
from .similarity import (
    basis,
    gradient_confusion,
    head_divergences,
    linear_cka,
    match_heads,
    order_within,
    overlap,
    pair_cosines,
    pwcca,
)

QUERIES = 500  # attention is compared at this many of the sampled positions


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
        data_dir: where the task's data is, if not in the package or on the Hub.
        split: whose items the models read.
        items: how many of them, drawn with `seed`; all where there are fewer.
        positions: how many of their positions, padding excluded, drawn with `seed`.
        variance: share of the variance of each layer whose directions PWCCA compares.
        mini_batches: of the training items, of the size that `run_a` was trained with, whose gradients are compared.

    Returns:
        What `analysis.json` holds: `layers`, `attention`, `gradients` and what they depend on.

    Raises:
        ValueError: a folder that is no finished run, runs of different tasks or data, positions that do not align, a
            number that is not allowed; the message names it.
        OSError: the data or the backbone cannot be had.
    """
    _check_numbers(items=(items, 2), positions=(positions, 2), mini_batches=(mini_batches, 2))
    records = [finished_run(run_a)] + ([] if run_b is None else [finished_run(run_b)])
    if run_b is not None:
        check_comparable(*records)
    first = records[0]
    data = data_of(first, data_dir, split)
    labels = labels_of(records)
    compared = [trained(first, labels[0])]
    compared.append(trained(records[1], labels[1]) if run_b is not None else untrained(first, labels[1]))
    generator = np.random.default_rng(seed)
    rows = _drawn(data.splits[split], items, generator)
    encoded = [_encoded(side, rows, first) for side in compared]
    lengths = aligned_lengths(compared, encoded, rows)
    at = draw_positions(lengths, positions, generator)
    queries = np.sort(generator.choice(len(at.item), min(QUERIES, len(at.item)), replace=False))
    seen = [activations(*pair, at, queries) for pair in zip(compared, encoded, strict=True)]
    batch = first.specification["hyperparameters"]["global_batch_size"]
    training = _drawn(data.splits["train"], mini_batches * batch, generator)
    return {
        "task": first.task.name,
        "data_fingerprint": data.fingerprint,
        "split": split,
        "items": len(rows),
        "positions": len(at.item),
        "positions_there": int(lengths.sum()),
        "seed": seed,
        "variance": variance,
        "versions": versions(),
        "a": identity(compared[0], first, first.results),
        "b": identity(compared[1], records[-1], records[-1].results if run_b is not None else None),
        "notes": notes_on_start(first) if run_b is None else [],
        "layers": _layers(seen[0][0], seen[1][0], at, variance, generator),
        "attention": _heads(seen[0][1], seen[1][1]),
        "gradients": [_gradients(side, training, first, batch) for side in compared],
    }


def _check_numbers(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if value < least:
            raise ValueError(f"--{name} is {value}; allowed: {least} or more")


def _drawn(rows: Dataset, count: int, generator: np.random.Generator) -> Dataset:
    """That many of the rows in a drawn order, or all of them."""
    return rows.select(generator.permutation(len(rows))[:count].tolist())


def _encoded(side: Compared, rows: Dataset, run: RunRecord) -> Dataset:
    return tokenize(rows, side.tokenizer, run.task, side.special_tokens)


def _layers(
    a: list[np.ndarray], b: list[np.ndarray], at: Positions, variance: float, generator: np.random.Generator
) -> dict[str, Any]:
    """CKA and PWCCA of every layer of A with every layer of B, and what they are where rows do not belong together."""
    bases_b = [basis(layer) for layer in b]
    names = ("cka", "pwcca")
    matrices = {name: np.zeros((len(a), len(b))) for name in names}
    orders = {
        "same_position_of_another_item": order_within(at.position, generator),
        "any_position": generator.permutation(len(at.position)),
    }
    floors: dict[str, dict[str, list[float]]] = {order: {name: [] for name in names} for order in orders}
    partners, kept = [], []
    for i, layer in enumerate(progress(a, "layers")):
        base = basis(layer)
        kept.append(base.kept(variance))
        for j, other in enumerate(bases_b):
            for name, value in zip(names, _alike(base, other, variance), strict=True):
                matrices[name][i, j] = value
        partners.append(i if len(a) == len(b) else int(matrices["cka"][i].argmax()))
        for order, rows in orders.items():
            values = _alike(base, bases_b[partners[-1]].reordered(rows), variance)
            for name, value in zip(names, values, strict=True):
                floors[order][name].append(_rounded(value))
    return {
        **{name: _rounded(matrix) for name, matrix in matrices.items()},
        "partners": partners,
        "floors": floors,
        "directions_a": kept,
        "directions_b": [base.kept(variance) for base in bases_b],
    }


def _alike(a: Any, b: Any, variance: float) -> tuple[float, float]:
    inner = overlap(a, b)
    return linear_cka(a, b, inner), pwcca(a, b, variance, inner)


def _heads(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Which head of B looks where a head of A looks: a matching over all heads of all layers."""
    flat_a, flat_b = (maps.reshape(-1, *maps.shape[2:]) for maps in (a, b))
    divergences = np.concatenate(
        [head_divergences(flat_a[[i]], flat_b) for i in progress(range(len(flat_a)), "heads")]
    )
    pairs = match_heads(divergences)
    matched = np.array([divergences[pair] for pair in pairs])
    heads = [maps.shape[1] for maps in (a, b)]
    named = [((i // heads[0] + 1, i % heads[0] + 1), (j // heads[1] + 1, j % heads[1] + 1)) for i, j in pairs]
    return {
        "queries": a.shape[2],
        "layers_and_heads_a": list(a.shape[:2]),
        "layers_and_heads_b": list(b.shape[:2]),
        "divergence": _rounded(divergences),
        "pairs": [
            {"a": list(of_a), "b": list(of_b), "divergence": _rounded(value)}
            for (of_a, of_b), value in zip(named, matched, strict=True)
        ],
        "matched_mean": _rounded(matched.mean()),
        "all_pairs_mean": _rounded(divergences.mean()),
        "same_number_mean": _rounded(np.diag(divergences).mean()) if a.shape[:2] == b.shape[:2] else None,
        "same_layer_share": _rounded(np.mean([of_a[0] == of_b[0] for of_a, of_b in named])),
        "same_number_share": _rounded(np.mean([of_a == of_b for of_a, of_b in named])),
    }


def _gradients(side: Compared, rows: Dataset, run: RunRecord, batch: int) -> dict[str, Any]:
    """How far gradients of different mini-batches of training items agree; dropout is off."""
    from ..performance.used_rows import train_used_embeddings_only

    encoded = _encoded(side, rows, run)
    batches = [encoded.select(range(at, at + batch)) for at in range(0, len(encoded) - batch + 1, batch)]
    if len(batches) < 2:
        raise ValueError(f"{len(rows)} training items make {len(batches)} mini-batches of {batch}; two are needed")
    used = {i for ids in encoded["input_ids"] for i in ids} | {side.tokenizer.pad_token_id}
    train_used_embeddings_only(side.model, used)
    side.model.to(side.model.device)
    inner = gradient_products(side, batches)
    cosines = pair_cosines(inner)
    return {
        "label": side.label,
        "mini_batches": len(batches),
        "batch_size": batch,
        "mean_length": _rounded(np.sqrt(np.diag(inner)).mean()),
        **{name: _rounded(value) for name, value in gradient_confusion(cosines).items()},
        "cosines": _rounded(cosines),
    }


def _rounded(value: Any) -> Any:
    return np.round(np.asarray(value, dtype=float), 6).tolist()
