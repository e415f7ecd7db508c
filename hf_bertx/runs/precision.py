"""The precision of a run: float32, or bfloat16 if the hardware multiplies it."""

from __future__ import annotations

import torch

from ..processor import bfloat16_in_hardware

PRECISIONS = ("auto", "float32", "bfloat16")


def fast_bfloat16(use_cpu: bool = False) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware; otherwise bfloat16 is slower than float32.

    Args:
        use_cpu: the processor is meant, whatever GPU there is.
    """
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bfloat16_in_hardware()


def uses_bfloat16(precision: str, use_cpu: bool = False) -> bool:
    """Whether a precision means bfloat16 on this machine.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed: {', '.join(PRECISIONS)}")
    return precision == "bfloat16" or (precision == "auto" and fast_bfloat16(use_cpu))
