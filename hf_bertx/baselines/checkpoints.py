"""Torch checkpoints that others published, read without running anything of them."""

from __future__ import annotations

from pathlib import Path

import torch

from ..registry import first_line


def read_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds anything but tensors by name; it is refused, and nothing of it was run.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such file")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a class of a module that is not to be imported here
        raise ValueError(
            f"{checkpoint}: refused, since it is no file of tensors alone; nothing of it was run "
            f"({first_line(error):.120})"
        ) from None
    by_name = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not by_name or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{checkpoint}: holds {type(state).__name__}, not tensors by name")
    return state


def check_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], model: str, where: Path) -> None:
    """Holds names and shapes to those of a model.

    Raises:
        ValueError: one that differs; the message names it and what is expected.
    """
    unknown, missing = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    words = [f"lacks {missing[0]!r} ({len(missing)} in all)"] if missing else []
    words += [f"has {unknown[0]!r} ({len(unknown)} in all), which is not the model's"] if unknown else []
    if words:
        raise ValueError(f"{where}: other names than those of {model}: it {' and '.join(words)}")
    for name, value in expected.items():
        if value.shape != found[name].shape:
            raise ValueError(
                f"{where}: {name!r} has the shape {tuple(found[name].shape)}; that of {model} is {tuple(value.shape)}"
            )
