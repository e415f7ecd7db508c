"""Settings of the whole process: threads, memory, messages, time limit; and what the processor does in hardware.

Imports no torch by itself. Only commands change the process; libraries leave it as it is.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import platform
import sys

DEADLINE = (
    "BERTX_DEADLINE"  # environment variable: seconds since the epoch; it reaches the processes of a study's runs
)
PRECISIONS = ("auto", "float32", "bfloat16")
# glibc's malloc.h: what is set, and to what
_ARENA_MAX, _MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -8, -4, -2, -1
_SETTINGS = (
    (_MMAP_MAX, 0),  # large blocks come from the heap too, whose blocks are found again
    (_TRIM_THRESHOLD, -1),  # the heap never shrinks
    (_TOP_PAD, 64 * 2**20),  # and grows by 64 MB
    (_ARENA_MAX, 1),  # threads share it: heaps of their own would shrink
)


class TimeLimitReached(Exception):
    """The time is over; a run that raises it goes on from its checkpoint when it is started again."""


def deadline() -> float:
    """When runs of this process save a checkpoint and stop, in seconds since the epoch; infinite without a limit."""
    return float(os.environ.get(DEADLINE, "inf"))


def use_processor(threads: int | None, use_cpu: bool = False) -> None:
    """Lets a process on a CPU compute on its share of the cores, and keep freed memory.

    `accelerate launch` alone sets OMP_NUM_THREADS=1.

    Args:
        threads: by default, on a CPU, this process's share of the cores.
        use_cpu: compute on the CPU, even if there is a GPU.
    """
    import torch

    on_gpu = torch.cuda.is_available() and not use_cpu
    if threads is not None or not on_gpu:
        torch.set_num_threads(threads or usable_cores())
    if threads is not None:  # of plain baselines too, which compute with scipy
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    if not on_gpu:
        keep_freed_memory()


def quiet_loading() -> None:
    """Silences progress bars and load reports of transformers and datasets.

    They report the missing head, which every run draws anew. A backbone that lacks more is refused anyway.
    """
    from transformers.utils import logging as messages

    messages.disable_progress_bar()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    else:  # not imported here: it takes half a second, and prediction does not need it
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    messages.get_logger("transformers.modeling_utils").addFilter(_not_of_the_head)


def _not_of_the_head(record: logging.LogRecord) -> bool:  # one function object, so that a logger adds it only once
    return not any(words in record.getMessage() for words in ("LOAD REPORT", "This checkpoint seem corrupted"))


def usable_cores() -> int:
    """This process's share of the cores that it may run on, at least 1. A container may be given a part of them."""
    from joblib import cpu_count

    return max(1, cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def keep_freed_memory() -> bool:
    """Tells malloc not to return freed memory to the system, for as long as this process lives.

    glibc takes every block above 32 MB from the system and returns it when it is freed. The tensors of a training step
    on a CPU are such blocks, and the system clears each of their pages in each step: more than a quarter of a step at
    500 tokens. The peak of memory stays about the same. It cannot be undone, so only a command does this, early.

    Returns:
        Whether malloc took the settings. Nothing changes with another C library, or if the environment has settings
        (any `MALLOC_*` variable, or `GLIBC_TUNABLES` for malloc).

    Source:
        mallopt(3).
    """
    has_settings = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    has_settings = has_settings or any(name.startswith("MALLOC_") for name in os.environ)
    if has_settings or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(name, value) for name, value in _SETTINGS]  # all settings, even if one fails
    return all(done)


def mkl_lacks_avx512() -> bool:
    """Whether torch's float32 products leave AVX-512 unused here: MKL has none for AMD's processors.

    This is a rule, not a measurement, so that repeated predictions give the same digits.
    """
    import torch

    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    amd = str(known.get("cpu_name", "")).startswith("AMD") and bool(known.get("avx512_f"))
    return amd and torch.backends.mkl.is_available()


def bfloat16_in_hardware() -> bool:
    """Whether the processor multiplies bfloat16 matrices (AMX, AVX-512 BF16). Others are faster in float32."""
    import torch

    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and check() for check in checks)


def fast_bfloat16(use_cpu: bool = False) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware; otherwise bfloat16 is slower than float32.

    Args:
        use_cpu: the processor is meant, whatever GPU there is.
    """
    import torch

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


def end_process_group() -> None:
    """Ends the process group of this process, if it is in one; the last thing that a finished command does.

    If a group is alive when Python exits, its threads may still hold tensors, and freeing one then aborts the process
    (SIGABRT, pytorch/pytorch#179291), so that a finished training sometimes counts as failed. Do not call it after an
    error: other processes may wait in a collective that never ends.

    The group ends with its last reference. Modules of torch that are imported after the group was made keep a
    reference as a default argument, so import `transformers.Trainer` before.
    """
    import torch.distributed
    from accelerate import PartialState

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # a wrapped model holds a reference to the group
        PartialState().destroy_process_group()
