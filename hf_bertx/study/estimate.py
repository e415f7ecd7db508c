"""Estimates how long a study takes, from finished runs or from a few steps that are timed now."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from .. import run_files
from ..arms import BASELINE, get_arm
from ..processor import use_processor, uses_bfloat16
from ..protocols import PROBE
from ..runs.run import Run
from ..runs.spec import RunSpec
from ..tasks import Task, get_task
from .execution import StudyContext

_TIMED_STEPS = 3
# A step is a forward pass and a backward pass that costs two; evaluation is a forward pass.
_EVALUATION = 1 / 3
_CUDA_CONTEXT = 600 * 2**20  # approximate GPU memory of a process besides its tensors, in bytes
_SHARE_OF_GPU = 0.9


def measured_seconds(runs: Iterable[RunSpec], *roots: Path) -> dict[tuple, float]:
    """Median seconds of finished runs, by everything but seed and learning rate.

    Runs of another machine or precision do not count, nor does a resumed run, whose evaluations before are not known.
    """
    from ..runs.order import machine

    this, seconds_of = machine(), defaultdict[tuple, list[float]](list)
    for run in runs:
        for root in roots:
            if (run.folder(root) / run_files.RESULTS).is_file():
                done = Run.open(run.folder(root))
                results, precision = done.results or {}, done.specification.get("precision")
                alike = (done.order.get("machine"), precision) == (this, _precision(run))
                if alike and results.get("resumed_from_step") is None and "total_seconds" in results:
                    seconds_of[_cost_key(run)].append(results["total_seconds"])
    return {key: statistics.median(values) for key, values in seconds_of.items()}


def _precision(run: RunSpec) -> str:
    """The precision that a run would have on this machine."""
    if run.arm == BASELINE:
        return "float32"
    return "bfloat16" if uses_bfloat16(run.hyperparameters().get("precision", "auto")) else "float32"


def _cost_key(run: RunSpec) -> tuple:
    tuning = BASELINE if run.arm == BASELINE else get_arm(run.arm).tuning
    return (
        run.task,
        run.backbone,
        tuning,
        run.protocol,
        run.data_split,
        run.fraction,
        run.kmer,
        repr(sorted((name, value) for name, value in run.overrides.items() if name != "learning_rate")),
    )


def estimate(planned: Iterable[RunSpec], measured: dict[tuple, float], context: StudyContext) -> list[float | None]:
    """Seconds of each planned run on this machine, one process at a time; None without a measurement.

    Args:
        measured: what [`measured_seconds`] gives. If no finished run is like a planned one, a few training steps of
            its size are timed once.
    """
    known: dict[tuple, float | None] = dict(measured)
    load_data = cache(partial(_data, context))
    seconds_per_step = cache(partial(_seconds_per_step, context.threads))
    seconds = []
    for run in planned:
        key = _cost_key(run)
        if key not in known:
            known[key] = _expected_seconds(run, load_data, seconds_per_step)
        seconds.append(known[key])
    return seconds


def _data(context: StudyContext, task: str, split: str) -> Any:
    from ..data.task_data import load_task_data

    return load_task_data(get_task(task), split, context.data_dir(task))


def _expected_seconds(
    run: RunSpec, load_data: Callable[[str, str], Any], seconds_per_step: Callable[..., float]
) -> float | None:
    if run.arm == BASELINE or run.protocol == PROBE:
        return None
    task, values = get_task(run.task), run.hyperparameters()
    batch = int(values["global_batch_size"])
    try:
        data = load_data(run.task, run.data_split)
        length = _usual_length(data.splits["train"], task, run.kmer)
        a_step = seconds_per_step(run.backbone, get_arm(run.arm).tuning, batch, length, _precision(run))
    except OSError:
        return None
    an_epoch = math.ceil(len(data.splits["train"]) * run.fraction / batch)
    steps = int(values["max_steps"]) if values["max_steps"] > 0 else math.ceil(an_epoch * values["num_train_epochs"])
    limit = values.get("max_eval_items") or math.inf
    items = {name: min(limit, len(data.splits[name])) for name in ("validation", task.test_split)}
    every = values.get("eval_steps") or max(1, an_epoch // 3)
    # a task that is tested on its validation set is not evaluated while it is trained
    evaluations = 0 if task.test_split == "validation" else math.ceil(steps / every)
    evaluated = evaluations * items["validation"] + sum(items.values())
    return a_step * (steps + _EVALUATION * evaluated / batch)


def _usual_length(rows: Any, task: Task, kmer: int | None) -> int:
    """Tokens of the median of a hundred items, special tokens included."""
    lengths = [
        len(item.split()) if task.discipline in ("text", "music") else len(item) for item in rows["sequence"][:100]
    ]
    scale = 1.3 if task.discipline == "text" else 1.0 / (kmer or 1)  # approximate number of subwords in a word
    return min(task.max_length, int(statistics.median(lengths) * scale) + 2)


def _seconds_per_step(
    threads: int | None, backbone: str, tuning: str, batch: int, length: int, precision: str
) -> float:
    """Times training steps of a model of this size on random ids.

    On a CPU it is this thread's time on the processor, which does not grow with what else the machine does.
    """
    import torch
    from transformers import AutoConfig

    from ..backbones import load, resolve_backbone
    from ..modeling_discipline import AutoModelForDisciplineClassification
    from ..performance import speed_up_training
    from ..runs.tuning import apply_tuning

    use_processor(threads)
    resolved = resolve_backbone(backbone)
    config = load(resolved, AutoConfig.from_pretrained, num_labels=2)
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    length = min(length, getattr(config, "max_position_embeddings", length))  # its tokenizer cuts there
    model: Any = AutoModelForDisciplineClassification.from_config(config)
    speed_up_training(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = time.perf_counter if device == "cuda" else time.thread_time
    model = apply_tuning(model, tuning, "measured").to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    ids = torch.randint(config.vocab_size, (batch, length), device=device)
    labels, times = torch.zeros(batch, dtype=torch.long, device=device), []
    for _ in range(_TIMED_STEPS):
        begun = clock()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - begun)
    return min(times)


def gpu_room() -> int | None:
    """How many runs like the largest that was timed fit on the GPU at once; None without a GPU or a timed step."""
    torch = sys.modules.get("torch")  # already imported if a step was timed
    if torch is None or not torch.cuda.is_available() or not torch.cuda.max_memory_reserved():
        return None
    return room(torch.cuda.get_device_properties(0).total_memory, torch.cuda.max_memory_reserved())


def room(memory: int, peak: int) -> int:
    """How many processes that hold `peak` bytes of tensors each fit in nine tenths of a GPU's memory; at least one."""
    return max(1, int(_SHARE_OF_GPU * memory // (peak + _CUDA_CONTEXT)))
