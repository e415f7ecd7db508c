"""The checkpoints of a pre-training -> names of backbones by their step, each looked at before a study begins.

Headers and vocabularies are read, no weights; a pickle is refused and never opened.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backbones import pretraining_step, resolve_backbone

RECORD = "pretraining.json"  # what pretrain.py leaves beside the folders step-0, step-600, ...
_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# What the checkpoints of one pre-training have in common, as BERT and as DistilBERT call it.
_SIZES = (
    "model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size embedding_size "
    "max_position_embeddings type_vocab_size dim n_layers n_heads hidden_dim"
).split()
_PADDED_TO = 128  # rows of an embedding table are padded to a multiple of at most this, for speed
_FORMS = (
    "give a folder that pretrain.py left, {multiberts_seed: 0, steps: [0k, 20k]}, or a list of two backbones or more "
    "whose names say their step"
)


@dataclass(frozen=True)
class _Checkpoint:
    folder: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    vocabulary: dict[str, int]


def read_series(told: Any, where: str) -> list[str]:
    """The backbones of a series, from the first step to the last. Nothing is downloaded: what lies on the Hub is
    looked at when it is loaded.

    Args:
        told: a folder with `pretraining.json`, a mapping of a MultiBERTs seed and its steps, or a list of backbones.
        where: what a message begins with.

    Raises:
        ValueError: none of these; a step that is missing or half-written; a checkpoint of other sizes, tensors or
            vocabulary than the first of the series, or that is a pickle.
    """
    if isinstance(told, str):
        names = _of_folder(told, where)
    elif isinstance(told, dict):
        names = _of_multiberts(told, where)
    else:
        names = told
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: series is {told!r}; {_FORMS}")
    folders = [Path(name).expanduser() for name in names if Path(name).expanduser().exists()]
    _check_alike(folders, where)
    for name in names:
        resolve_backbone(name)
        if pretraining_step(name) is None:
            raise ValueError(
                f"{where}: series: {name!r} does not say its step of pre-training, as step-600 or step_20k"
            )
    return sorted(names, key=lambda name: pretraining_step(name) or 0)


def last_of(series: list[str]) -> list[str]:
    """Those with the most steps: several where a list holds several pre-trainings."""
    most = max(pretraining_step(name) or 0 for name in series)
    return [name for name in series if pretraining_step(name) == most]


def uncut_positions(backbone: str) -> int | None:
    """How many tokens a backbone in a folder takes, where its tokenizer lets more through; else None.

    Raises:
        ValueError: a file of the folder that is not JSON.
    """
    found = []
    for name, key in ((_CONFIG, "max_position_embeddings"), (_TOKENIZER_CONFIG, "model_max_length")):
        path = Path(backbone).expanduser() / name
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")).get(key) if path.is_file() else None)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not named values in JSON ({error})") from None
    room, cut = found
    return room if room is not None and (cut is None or cut > room) else None


def _of_folder(told: str, where: str) -> list[str]:
    _refuse_pickle(told, where)
    folder = Path(told).expanduser()
    if not (folder / RECORD).is_file():
        what = f"it holds no {RECORD}" if folder.is_dir() else "no such folder"
        raise ValueError(f"{where}: {told} is no series: {what}; {_FORMS}")
    try:
        steps = json.loads((folder / RECORD).read_text(encoding="utf-8"))["checkpoint_steps"]
    except (ValueError, KeyError, TypeError):
        steps = None
    if not isinstance(steps, list) or len(steps) < 2 or not all(type(step) is int and step >= 0 for step in steps):
        raise ValueError(f"{where}: {folder / RECORD} gives no checkpoint_steps, a list of two steps or more")
    missing = [f"step-{step}" for step in sorted(steps) if not (folder / f"step-{step}").is_dir()]
    if missing:
        raise ValueError(
            f"{where}: {told} is not whole: {RECORD} lists {len(steps)} checkpoints, {len(missing)} of them missing: "
            f"{', '.join(missing)}; let pretrain.py go on to its end, or list those that are there under `series:`"
        )
    return [(folder / f"step-{step}").as_posix() for step in sorted(set(steps))]


def _of_multiberts(told: dict[str, Any], where: str) -> list[str]:
    seed, steps = told.get("multiberts_seed"), told.get("steps")
    right = set(told) == {"multiberts_seed", "steps"} and type(seed) is int and isinstance(steps, list)
    if not right or not all(re.fullmatch(r"\d+k", str(step)) for step in steps or ()):
        raise ValueError(f"{where}: series is {told!r}; {_FORMS}")
    return [f"multiberts-seed_{seed}-step_{step}" for step in steps or ()]


def _refuse_pickle(name: str, where: str) -> None:
    path = Path(name).expanduser()
    found = [path] if path.suffix in _PICKLES else []
    if path.is_dir() and not (path / _WEIGHTS).is_file():
        found += sorted(file for file in path.iterdir() if file.suffix in _PICKLES)
    if found:
        raise ValueError(
            f"{where}: {found[0]} is a pickle, which may run code when it is read: refused, and not opened. A "
            f"checkpoint is a folder with {_CONFIG}, {_WEIGHTS} and {_TOKENIZER}"
        )


def _read_checkpoint(folder: Path, where: str) -> _Checkpoint:
    _refuse_pickle(str(folder), where)
    for name in (_CONFIG, _WEIGHTS, _TOKENIZER):
        if not (folder / name).is_file():
            raise ValueError(f"{where}: {folder} is half-written: it lacks {name}")
    read = {_CONFIG: _read_config, _WEIGHTS: _read_shapes, _TOKENIZER: _read_vocabulary}
    found: list[Any] = []
    for name, reader in read.items():
        try:
            found.append(reader(folder / name))
        except Exception as error:  # tokenizers raises nothing narrower
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{where}: {folder / name} is damaged or half-written ({first_line:.120})") from None
    checkpoint = _Checkpoint(folder, *found)
    _check_own(checkpoint, where)
    return checkpoint


def _read_config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or type(config.get("vocab_size")) is not int:
        raise ValueError("it does not say vocab_size")
    return config


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the header alone; a file that is shorter than its header says is an error of safetensors."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _read_vocabulary(path: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)


def _check_own(checkpoint: _Checkpoint, where: str) -> None:
    """Holds a checkpoint's tensors and vocabulary to its own config."""
    folder, config, shapes = checkpoint.folder, checkpoint.config, checkpoint.shapes
    rows = config["vocab_size"]
    ids = max(checkpoint.vocabulary.values(), default=-1) + 1
    if not ids <= rows <= -(-ids // _PADDED_TO) * _PADDED_TO:
        raise ValueError(
            f"{where}: {folder}: its tokenizer has ids below {ids}, its {_CONFIG} says vocab_size {rows}: the "
            "vocabulary is not the tokenizer's"
        )
    tables = {name: shape for name, shape in shapes.items() if re.search(r"(word|tok)_embeddings\.weight$", name)}
    if not tables:
        raise ValueError(f"{where}: {folder / _WEIGHTS} has other names than an encoder's: no word_embeddings.weight")
    for name, shape in tables.items():
        if shape[0] != rows:
            raise ValueError(f"{where}: {folder / _WEIGHTS}: {name} has {shape[0]} rows, {_CONFIG} says {rows}")
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    numbers = {int(found[1]) for name in shapes if (found := re.search(r"(?:^|\.)layers?\.(\d+)\.", name))}
    if (
        numbers and isinstance(layers, int) and numbers != set(range(layers))
    ):  # ALBERT's layers share their tensors and have no numbers
        raise ValueError(
            f"{where}: {folder / _WEIGHTS} holds the layers {', '.join(map(str, sorted(numbers)))}, {_CONFIG} says "
            f"{layers} layers"
        )


def _check_alike(folders: list[Path], where: str) -> None:
    """Holds every checkpoint that lies here to the first one."""
    if not folders:
        return
    first = _read_checkpoint(folders[0], where)
    for folder in folders[1:]:
        other = _read_checkpoint(folder, where)
        told = f"{where}: {folder} is not of the series of {first.folder}:"
        for name in _SIZES:
            ours, theirs = other.config.get(name), first.config.get(name)
            if ours != theirs:
                raise ValueError(f"{told} its {name} is {ours!r}, that of the first is {theirs!r}")
        for name in sorted({*first.shapes, *other.shapes}):
            ours, theirs = other.shapes.get(name), first.shapes.get(name)
            if ours != theirs:
                shape, expected = ("none" if each is None else f"shape {each}" for each in (ours, theirs))
                raise ValueError(f"{told} of the tensor {name!r} it has {shape}, the first has {expected}")
        if other.vocabulary != first.vocabulary:
            raise ValueError(f"{told} its tokenizer has another vocabulary")
