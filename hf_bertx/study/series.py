"""The checkpoints of a pre-training as the backbones of a study. A pickle is refused and never opened."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from ..backbones import pretraining_step, resolve_backbone
from ..run_files import PRETRAINING
from ..tasks import Task

_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Config fields that all checkpoints of a pre-training share, in BERT's and DistilBERT's names.
_SIZES = (
    "model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size embedding_size "
    "max_position_embeddings type_vocab_size dim n_layers n_heads hidden_dim"
).split()
_FORMS = (
    "give a folder that pretrain.py left, {multiberts_seed: 0, steps: [0k, 20k]}, or a list of two backbones or more "
    "whose names say their step"
)


def read_series(series: Any) -> list[str]:
    """The backbones of a series, from the first step to the last.

    Names, files and the sizes in each config are checked now. Weights are read, or downloaded, when a run loads them.

    Args:
        series: a folder with `pretraining.json`, a mapping of a MultiBERTs seed and its steps, or a list of backbones.

    Raises:
        ValueError: none of these; a step that is missing or half-written; a checkpoint of other sizes than the first
            of the series, or that is a pickle.
    """
    if series is None:
        raise ValueError("it needs a series of checkpoints: pass --series with a folder that pretrain.py left")
    if isinstance(series, str):
        names = _of_folder(series)
    elif isinstance(series, dict):
        names = _of_multiberts(series)
    else:
        names = series
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"series is {series!r}; {_FORMS}")
    _check_alike([Path(name).expanduser() for name in names if Path(name).expanduser().exists()])
    for name in names:
        resolve_backbone(name)
        if pretraining_step(name) is None:
            raise ValueError(f"series: {name!r} does not say its step of pre-training, as step-600 or step_20k")
    return sorted(names, key=lambda name: pretraining_step(name) or 0)


def last_of(series: list[str]) -> list[str]:
    """Those with the most steps: several, if a list holds several pre-trainings."""
    most = max(pretraining_step(name) or 0 for name in series)
    return [name for name in series if pretraining_step(name) == most]


def check_room(backbone: str, task: Task) -> None:
    """Raises ValueError if a backbone in a folder takes fewer tokens than its tokenizer lets through for a task."""
    folder = Path(backbone).expanduser()
    room = _named_values(folder / _CONFIG).get("max_position_embeddings") or math.inf
    cut = _named_values(folder / _TOKENIZER_CONFIG).get("model_max_length") or math.inf
    if room < min(cut, task.max_length):
        raise ValueError(
            f"{backbone} takes {room} tokens (max_position_embeddings), its tokenizer lets more through, and inputs "
            f"of {task.name} have up to {task.max_length}; give the tokenizer model_max_length {room} to have them "
            "cut, or leave that task out"
        )


def _of_folder(series: str) -> list[str]:
    _refuse_pickle(series)
    folder = Path(series).expanduser()
    if not (folder / PRETRAINING).is_file():
        what = f"it holds no {PRETRAINING}" if folder.is_dir() else "no such folder"
        raise ValueError(f"{series} is no series: {what}; {_FORMS}")
    steps = _named_values(folder / PRETRAINING).get("checkpoint_steps")
    if not isinstance(steps, list) or len(steps) < 2 or not all(type(step) is int and step >= 0 for step in steps):
        raise ValueError(f"{folder / PRETRAINING} gives no checkpoint_steps, a list of two steps or more")
    missing = [f"step-{step}" for step in sorted(steps) if not (folder / f"step-{step}").is_dir()]
    if missing:
        raise ValueError(
            f"{series} is not whole: {PRETRAINING} lists {len(steps)} checkpoints, {len(missing)} of them missing: "
            f"{', '.join(missing)}; let pretrain.py go on to its end, or list those that are there under `series:`"
        )
    return [(folder / f"step-{step}").as_posix() for step in sorted(set(steps))]


def _of_multiberts(series: dict[str, Any]) -> list[str]:
    seed, steps = series.get("multiberts_seed"), series.get("steps")
    right = set(series) == {"multiberts_seed", "steps"} and type(seed) is int and isinstance(steps, list)
    if not right or not all(re.fullmatch(r"\d+k", str(step)) for step in steps or ()):
        raise ValueError(f"series is {series!r}; {_FORMS}")
    return [f"multiberts-seed_{seed}-step_{step}" for step in steps or ()]


def _refuse_pickle(name: str) -> None:
    path = Path(name).expanduser()
    pickles = [path] if path.suffix in _PICKLES else []
    if path.is_dir() and not (path / _WEIGHTS).is_file():
        pickles += sorted(file for file in path.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise ValueError(
            f"{pickles[0]} is a pickle, which may run code when it is read: refused, and not opened. A "
            f"checkpoint is a folder with {_CONFIG}, {_WEIGHTS} and {_TOKENIZER}"
        )


def _check_alike(folders: list[Path]) -> None:
    """Checks that all local checkpoints are whole and have the sizes of the first."""
    configs = []
    for folder in folders:
        _refuse_pickle(str(folder))
        for name in (_CONFIG, _WEIGHTS, _TOKENIZER):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} is half-written: it lacks {name}")
        configs.append(_named_values(folder / _CONFIG))
        for name in _SIZES:
            ours, theirs = (config.get(name) for config in (configs[-1], configs[0]))
            if ours != theirs:
                raise ValueError(
                    f"{folder} is not of the series of {folders[0]}: its {name} is {ours!r}, that of the "
                    f"first is {theirs!r}"
                )


def _named_values(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if there is no such file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds {type(values).__name__}, not named values")
    return values
