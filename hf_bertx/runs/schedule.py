"""How many rows a run reads, how large a batch is in memory, and when a run logs, evaluates and saves."""

from __future__ import annotations

import math

from datasets import Dataset
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.utils import logging

from ..disciplines import get_discipline
from .arguments import ResolvedRun
from .spec import usual_eval_steps
from .trainer import use_one_gpu

logger = logging.get_logger(__name__)


def count_rows(items: Dataset, spec: ResolvedRun) -> int:
    """How many rows a run makes from items: one each, or one for each window."""
    if spec.windows is None:
        return len(items)
    return len(spec.windows.cut(items["sequence"][:], get_discipline(spec.task.discipline, spec.kmer))[1])


def set_batch_size(args: TrainingArguments, global_batch_size: int) -> None:
    """Sets batch size a device and accumulation steps so that an update sees `global_batch_size` examples.

    A given `per_device_train_batch_size` bounds how many examples are in memory at once. A process uses one GPU. With
    several, the Trainer would use `DataParallel`, which multiplies the batch.

    Raises:
        ValueError: the global batch size cannot be divided among the processes.
    """
    if args.n_gpu > 1:
        logger.warning(f"one of {args.n_gpu} GPUs is used; accelerate launch gives each a process of its own")
        use_one_gpu(args)
    share, rest = divmod(global_batch_size, args.world_size)
    if rest or not share:
        raise ValueError(f"a global batch of {global_batch_size} cannot be divided among {args.world_size} processes")
    largest = min(args.per_device_train_batch_size or share, share)
    steps = next(n for n in range(math.ceil(share / largest), share + 1) if share % n == 0)
    args.per_device_train_batch_size = share // steps
    args.gradient_accumulation_steps = steps


def set_schedule(args: TrainingArguments, spec: ResolvedRun, train_size: int) -> None:
    """When to log, evaluate and save. Evaluation and saving fall on logged steps, so that a resumed log has no gap."""
    select = spec.task.test_split != "validation"  # no selection on a validation set that is the test set
    steps = math.ceil(train_size / spec.global_batch_size)
    args.logging_steps = max(1, min(int(args.logging_steps), steps))
    if args.eval_steps is None:
        args.eval_steps = usual_eval_steps(train_size, spec.global_batch_size, args.logging_steps)
    every, log = int(args.eval_steps), int(args.logging_steps)
    if every % log:
        args.logging_steps = min((n for n in range(1, every + 1) if every % n == 0), key=lambda n: abs(n - log))
    args.eval_strategy = IntervalStrategy.STEPS if select else IntervalStrategy.NO
    args.save_strategy = SaveStrategy.STEPS
    args.save_steps = args.eval_steps
    args.load_best_model_at_end = select
    args.metric_for_best_model = f"eval_{spec.task.metric}" if select else None
    args.greater_is_better = True if select else None
