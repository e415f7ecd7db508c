"""A step of training finds its memory again, and computes what it did without."""

import json
import os
import platform
import statistics
import subprocess
import sys

import pytest
import torch

from hf_bertx import processor

# activations of 36 MB, above what glibc keeps by itself
STEPS = """
import json, resource, sys, torch
from hf_bertx.processor import use_processor
if sys.argv[1] == "kept":
    use_processor(1, use_cpu=True)
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 1152), torch.nn.GELU(), torch.nn.Linear(1152, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
inputs, labels = torch.randn(8192, 64), torch.randint(2, (8192,))
losses, faults = [], []
for _ in range(int(sys.argv[2])):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps({"losses": losses, "faults": faults}))
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")


def python(code: str, *argv: str, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, env={**plain, **environment}
    )
    return done.stdout.strip().splitlines()[-1]


@GLIBC
def test_steps_reuse_memory_with_the_same_losses() -> None:
    kept, returned = (json.loads(python(STEPS, way, steps)) for way, steps in (("kept", "20"), ("returned", "6")))
    assert kept["losses"][:6] == returned["losses"]
    assert min(returned["faults"]) > 10_000, "else there is nothing to be kept"
    # a heap finds its size over some steps, now and then a late one: its blocks do not always fit where others were
    assert statistics.median(kept["faults"][8:]) < 500


@GLIBC
@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "1000000", "False"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000000", "False"),
        ("GLIBC_TUNABLES", "glibc.pthread.rseq=1", "True"),
    ],
)
def test_malloc_settings_of_the_environment_are_kept(name: str, value: str, found: str) -> None:
    code = "from hf_bertx.processor import keep_freed_memory; print(keep_freed_memory())"
    assert python(code, **{name: value}) == found


def test_threads_bound_every_library_that_computes() -> None:
    code = (
        "import scipy.linalg, torch\nfrom threadpoolctl import threadpool_info\n"
        "from hf_bertx.processor import use_processor\n"
        "used = lambda: sorted({(pool['user_api'], pool['num_threads']) for pool in threadpool_info()})\n"
        "before = used(); use_processor(1, use_cpu=True); print(before, used())"
    )
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    before, after = python(code, **two).split("] [")
    assert "('openmp', 2)" in before  # OpenBLAS starts no more threads than there are cores
    assert after == "('blas', 1), ('openmp', 1)]"


def test_a_process_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(processor, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    try:
        for processes, told, share in (("1", None, 8), ("4", None, 2), ("3", None, 2), ("16", None, 1), ("4", 3, 3)):
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
            processor.use_processor(told, use_cpu=True)
            assert torch.get_num_threads() == share
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")  # as a container with a quota, which joblib reads too
        monkeypatch.delenv("LOCAL_WORLD_SIZE")
        assert processor.usable_cores() == 2
    finally:
        torch.set_num_threads(threads)
