"""That a command in several processes leaves no process group behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import importlib
import sys
import weakref

importlib.import_module(sys.argv[1])  # of modules that torch loads once there is a group, some keep it for good

import torch
from accelerate import PartialState
from torch.nn.parallel import DistributedDataParallel

from hf_bertx.processor import end_process_group

PartialState(cpu=True, backend="gloo")
group = weakref.ref(torch.distributed.group.WORLD)
model = DistributedDataParallel(torch.nn.Linear(2, 2))
model(torch.ones(1, 2)).sum().backward()
model.kept = [model]  # as a trainer is: freed by the collector only
del model
end_process_group()
assert not torch.distributed.is_initialized()
assert group() is None, "something still holds the group, and its threads live on"
end_process_group()  # nothing is left to end
print("ended")
"""


@pytest.mark.parametrize("module", ["hf_bertx.launch", "hf_bertx.pretraining.pretrain"])
def test_the_group_and_its_threads_are_gone_before_python_ends(module: str) -> None:
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    argv = [sys.executable, "-c", _SCRIPT, module]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **place}, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended\n"
