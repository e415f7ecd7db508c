"""How a command that `accelerate launch` started in several processes ends."""

from __future__ import annotations

import gc

import torch.distributed
from accelerate import PartialState


def end_process_group() -> None:
    """Ends the process group of this process, if it is in one; the last thing that a finished command does.

    A group that lives on when Python ends has threads that may still hold tensors, and to free one then aborts the
    process (SIGABRT, pytorch/pytorch#179291): now and then a finished training would count as failed. A command
    that failed is not to call it: other processes may be waiting in a collective that never ends.

    The group ends with what holds it last. Modules of torch that are loaded after there is a group keep it for good,
    as a default of their functions, so that `transformers.Trainer` is to be imported before.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    gc.collect()  # a model that was wrapped for several processes holds the group
    PartialState().destroy_process_group()
