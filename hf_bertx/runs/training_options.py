"""Which fields of `TrainingArguments` a run accepts, and which it refuses because it sets them itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

# Fields that do what transformers' documentation says.
HONOURED = frozenset(
    """
    activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon
    bf16 data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers
    dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers
    ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout debug disable_tqdm
    eval_accumulation_steps eval_delay eval_on_start eval_steps fp16 fsdp fsdp_config full_determinism
    gradient_checkpointing gradient_checkpointing_kwargs hub_model_id hub_private_repo hub_revision hub_strategy
    hub_token label_smoothing_factor learning_rate local_rank log_level log_level_replica log_on_each_node
    logging_first_step logging_steps lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps neftune_noise_alpha
    num_train_epochs optim optim_args optim_target_modules output_dir per_device_eval_batch_size
    per_device_train_batch_size project push_to_hub report_to run_name save_on_each_node save_total_limit seed
    skip_memory_metrics tf32 torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps
    trackio_bucket_id trackio_space_id trackio_static_space_id train_sampling_strategy use_cpu warmup_steps
    weight_decay
    """.split()
)

_SELECTS = "a run evaluates every --eval_steps, and keeps the weights that score best by the task's metric"
_LOGS = "a run logs every --logging_steps and at the end of each epoch"
_SAVES = "a run saves a whole checkpoint after each evaluation, so that it can go on from it"
_RESUMES = "a run goes on from its own last checkpoint; --no_resume starts it anew"
_SCORES = "a run scores all items of validation and test by the task's metrics"
_BATCHES = "a run splits --global_batch_size into batches of at most --per_device_train_batch_size"
_TABLES = "a run makes its own batches of token ids and labels"
_SHARDS = "--fsdp shards a model over GPUs"
_PARTS = "a run always trains, validates and tests"
_NOTHING = "it has no effect on these encoders"
# Fields that are refused, and why: the run sets them, or they would break a guarantee.
REFUSED: dict[str, str] = {
    "accelerator_config": _BATCHES,
    "auto_find_batch_size": _BATCHES,
    "average_tokens_across_devices": "the loss is a mean over items, not over tokens",
    "batch_eval_metrics": _SCORES,
    "bf16_full_eval": "--precision holds for training and evaluation alike",
    "deepspeed": _SHARDS,
    "do_eval": _PARTS,
    "do_predict": _PARTS,
    "do_train": _PARTS,
    "enable_jit_checkpoint": _SAVES,
    "eval_do_concat_batches": _SCORES,
    "eval_strategy": _SELECTS,
    "eval_use_gather_object": _SCORES,
    "fp16_full_eval": "--precision holds for training and evaluation alike",
    "gradient_accumulation_steps": _BATCHES,
    "greater_is_better": _SELECTS,
    "hub_always_push": "--push_to_hub publishes the finished run, once",
    "ignore_data_skip": _RESUMES,
    "include_for_metrics": _SCORES,
    "include_num_input_tokens_seen": "a run always counts tokens, without padding",
    "label_names": _TABLES,
    "length_column_name": _TABLES,
    "liger_kernel_config": _NOTHING,
    "load_best_model_at_end": _SELECTS,
    "logging_nan_inf_filter": "a loss that is not a number ends a run",
    "logging_strategy": _LOGS,
    "metric_for_best_model": _SELECTS,
    "parallelism_config": _SHARDS,
    "prediction_loss_only": _SCORES,
    "remove_unused_columns": _TABLES,
    "restore_callback_states_from_checkpoint": _RESUMES,
    "resume_from_checkpoint": _RESUMES,
    "save_only_model": _SAVES,
    "save_steps": _SAVES,
    "save_strategy": _SAVES,
    "use_cache": _NOTHING,
    "use_liger_kernel": _NOTHING,
}

_OF_THE_HUB = ("hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token")
# Fields that pre-training refuses; it saves every --save_steps, and publishes nothing.
REFUSED_IN_PRETRAINING = dict.fromkeys(
    (*(REFUSED.keys() - {"save_steps"}), *_OF_THE_HUB, "push_to_hub"),
    "pre-training sets it itself, or has no use for it",
)

# Options that need another one.
_NEEDS = dict.fromkeys(_OF_THE_HUB, "push_to_hub")
_NEEDS |= {"gradient_checkpointing_kwargs": "gradient_checkpointing", "fsdp_config": "fsdp"}
_NEEDS |= {"activation_checkpointing_kwargs": "activation_checkpointing"}
_NEEDS |= {"torch_compile_backend": "torch_compile", "torch_compile_mode": "torch_compile"}
# Options that cannot be given together.
_EITHER = dict.fromkeys(("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon"), "optimizer")
_EITHER |= {"bf16": "precision", "fp16": "precision", "find_learning_rate": "learning_rate", "folds": "test_file"}

# (smallest, largest, whether the smallest itself is allowed)
_RANGES: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0, math.inf, False),
    "num_train_epochs": (0, math.inf, False),
    "warmup_steps": (0, math.inf, True),
    "weight_decay": (0, math.inf, True),
    "max_grad_norm": (0, math.inf, True),
    "adam_beta1": (0, 1, True),
    "adam_beta2": (0, 1, True),
    "adam_epsilon": (0, math.inf, True),
    "label_smoothing_factor": (0, 1, True),
    "neftune_noise_alpha": (0, math.inf, False),
    "eval_delay": (0, math.inf, True),
    "dataloader_num_workers": (0, math.inf, True),
    "torch_empty_cache_steps": (0, math.inf, False),
    "attention_dropout": (0, 1, True),
    "stop_at_loss": (0, math.inf, False),
    "fraction": (0, math.nextafter(1, 2), False),
    "similarity_threshold": (0, math.nextafter(1, 2), False),
    "mask_rate": (0, 1, False),
    "dropout": (0, 1, True),
}
_COUNTS = (
    "eval_steps logging_steps max_steps per_device_eval_batch_size per_device_train_batch_size save_total_limit "
    "threads max_eval_items global_batch_size eval_accumulation_steps dataloader_prefetch_factor"
).split()


def check_given(given: Collection[str], refused: Mapping[str, str] = REFUSED) -> None:
    """Refuses options that were given and would not be used.

    Args:
        given: names of the fields that the command line or a file of arguments sets.
        refused: fields that cannot be set, and why.

    Raises:
        ValueError: an option that is refused, that needs another one, or that another one replaces.
    """
    for name in sorted(given):
        if name in refused:
            raise ValueError(f"--{name} cannot be set: {refused[name]}")
        if name in _NEEDS and _NEEDS[name] not in given:
            raise ValueError(f"--{name} has no effect without --{_NEEDS[name]}")
        if name in _EITHER and _EITHER[name] in given:
            raise ValueError(f"--{name} and --{_EITHER[name]} are both given; leave one out")


def check_values(values: Mapping[str, Any]) -> None:
    """Refuses numbers that make no sense.

    Args:
        values: options that were given, by name; None is any option's absence.

    Raises:
        ValueError: a number out of its range; the message names the range.
    """
    for name, value in values.items():
        if value is None:
            continue
        if name in (*_RANGES, *_COUNTS) and not isinstance(value, (int, float)):
            raise ValueError(f"--{name} is {value!r}; allowed: a number")
        if name in _RANGES:
            low, high, closed = _RANGES[name]
            number = float(value)
            if not math.isfinite(number) or number >= high or number < low or (number == low and not closed):
                least = "at least" if closed else "more than"
                most = (
                    ""
                    if high == math.inf
                    else ", at most 1"
                    if high == math.nextafter(1, 2)
                    else f", less than {high:g}"
                )
                raise ValueError(f"--{name} is {value}; allowed: {least} {low:g}{most}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; allowed: a finite number")
        if name in _COUNTS and (name, value) != ("max_steps", -1) and (value < 1 or value != int(value)):
            raise ValueError(f"--{name} is {value}; allowed: a whole number of at least 1")
    folds = values.get("folds")
    if folds is not None and folds < 2:
        raise ValueError(f"--folds is {folds}; allowed: 2 or more")
    restarts = values.get("restarts")
    if restarts is not None and restarts < 0:
        raise ValueError(f"--restarts is {restarts}; allowed: 0 or more")
    seed = values.get("seed")
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"--seed is {seed}; allowed: 0 to {2**32 - 1}")
    log, evaluate = values.get("logging_steps"), values.get("eval_steps")
    if log is not None and evaluate is not None and evaluate % log:
        raise ValueError(
            f"--logging_steps is {log:g} and --eval_steps {evaluate:g}; --logging_steps has to divide --eval_steps, "
            "so that a run that goes on logs the same losses"
        )
