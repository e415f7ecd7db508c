"""The end of a command that `accelerate launch` started in several processes."""

from __future__ import annotations

import gc

import torch.distributed
from accelerate import PartialState


def end_process_group() -> None:
    """Ends the process group of this process, if it is in one; the last thing that a finished command does.

    If a group is alive when Python exits, its threads may still hold tensors, and freeing one then aborts the process
    (SIGABRT, pytorch/pytorch#179291), so that a finished training sometimes counts as failed. Do not call it after an
    error: other processes may wait in a collective that never ends.

    The group ends with its last reference. Modules of torch that are imported after the group was made keep a
    reference as a default argument, so import `transformers.Trainer` before.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    gc.collect()  # a wrapped model holds a reference to the group
    PartialState().destroy_process_group()
