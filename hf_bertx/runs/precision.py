"""The precision of a run: float32, or bfloat16 if the hardware multiplies it."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from transformers.hf_argparser import string_to_bool

from ..processor import bfloat16_in_hardware

PRECISIONS = ("auto", "float32", "bfloat16")
# The Trainer's own options, on and off -> the precision whose defaults do not contradict them.
_SWITCHES = {"bf16": ("bfloat16", "float32"), "fp16": ("float32", "auto")}


def fast_bfloat16(use_cpu: bool = False) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware; otherwise bfloat16 is slower than float32.

    Args:
        use_cpu: the processor is meant, whatever GPU there is.
    """
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bfloat16_in_hardware()


def add_use_cpu(parser: argparse.ArgumentParser, given: dict[str, Any]) -> None:
    """Adds `--use_cpu`, `--bf16` and `--fp16` to a parser that has `--precision`: they are read before all other
    options because their defaults depend on them. The last two are stored as a precision.

    Args:
        given: options of a file, by name.
    """
    asked = given.get("use_cpu", False)
    parser.add_argument("--use_cpu", "--use-cpu", nargs="?", const=True, type=string_to_bool, default=asked)
    for name in (name for name in _SWITCHES if name in given):
        parser.set_defaults(precision=_precision(name, given[name]))
    for name in _SWITCHES:
        stored: dict[str, Any] = {"dest": "precision", "type": partial(_precision, name), "default": argparse.SUPPRESS}
        parser.add_argument(f"--{name}", nargs="?", const="true", **stored)


def _precision(switch: str, value: str | bool) -> str:
    on, off = _SWITCHES[switch]
    return on if string_to_bool(value) else off


def precision_defaults(precision: str, use_cpu: bool = False) -> dict[str, Any]:
    """Fields of `TrainingArguments` for a precision. They have to be set at construction. On a CPU, bfloat16 also
    needs `use_cpu`.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed: {', '.join(PRECISIONS)}")
    bfloat16 = precision == "bfloat16" or (precision == "auto" and fast_bfloat16(use_cpu))
    return {"bf16": True, "use_cpu": use_cpu or not torch.accelerator.is_available()} if bfloat16 else {"bf16": False}
