"""Options that a run refuses: fields of `TrainingArguments` that it sets itself, and values that make no sense."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

# Why fields are refused: the run sets them, or they would break a guarantee.
_REASONS = {
    "a run splits --global_batch_size into batches of at most --per_device_train_batch_size": (
        "accelerator_config auto_find_batch_size gradient_accumulation_steps"
    ),
    "a run scores all items of validation and test by the task's metrics": (
        "batch_eval_metrics eval_do_concat_batches eval_use_gather_object include_for_metrics prediction_loss_only"
    ),
    "a run evaluates every --eval_steps, and keeps the weights that score best by the task's metric": (
        "eval_strategy greater_is_better load_best_model_at_end metric_for_best_model"
    ),
    "a run saves a whole checkpoint after each evaluation, so that it can go on from it": (
        "enable_jit_checkpoint save_only_model save_steps save_strategy"
    ),
    "a run goes on from its own last checkpoint; --no_resume starts it anew": (
        "ignore_data_skip restore_callback_states_from_checkpoint resume_from_checkpoint"
    ),
    "a run makes its own batches of token ids and labels": "label_names length_column_name remove_unused_columns",
    "a run always trains, validates and tests": "do_eval do_predict do_train",
    "a run always counts tokens, without padding": "include_num_input_tokens_seen",
    "a run logs every --logging_steps and at the end of each epoch": "logging_strategy",
    "a loss that is not a number ends a run": "logging_nan_inf_filter",
    "the loss is a mean over items, not over tokens": "average_tokens_across_devices",
    "it has no effect on these encoders": "liger_kernel_config use_cache use_liger_kernel",
    "--precision holds for training and evaluation alike": "bf16_full_eval fp16_full_eval",
    "--fsdp shards a model over GPUs": "deepspeed parallelism_config",
    "--push_to_hub publishes the finished run, once": "hub_always_push",
}
REFUSED = {name: why for why, names in _REASONS.items() for name in names.split()}

_OF_THE_HUB = ("hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token")
# Fields that pre-training refuses; it saves every --save_steps, and publishes nothing.
REFUSED_IN_PRETRAINING = dict.fromkeys(
    (
        *(REFUSED.keys() - {"save_steps"}),
        *(*_OF_THE_HUB, "push_to_hub", "dataloader_persistent_workers", "label_smoothing_factor"),
    ),
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

# Allowed numbers, in words and as a test.
_POSITIVE = "more than 0", lambda number: 0 < number < math.inf
_NOT_NEGATIVE = "at least 0", lambda number: 0 <= number < math.inf
_BELOW_ONE = "at least 0, less than 1", lambda number: 0 <= number < 1
_SHARE = "more than 0, at most 1", lambda number: 0 < number <= 1
_SEVERAL = "2 or more", lambda number: number >= 2
_COUNT = "a whole number of at least 1", lambda number: number >= 1 and number.is_integer()
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "mask_rate": ("more than 0, less than 1", lambda number: 0 < number < 1),
    "restarts": ("0 or more", lambda number: number >= 0),
    "seed": (f"0 to {2**32 - 1}", lambda number: 0 <= number < 2**32),
}
for _range, _names in (
    (_POSITIVE, "learning_rate num_train_epochs neftune_noise_alpha torch_empty_cache_steps stop_at_loss"),
    (_NOT_NEGATIVE, "warmup_steps weight_decay max_grad_norm adam_epsilon eval_delay dataloader_num_workers"),
    (_BELOW_ONE, "adam_beta1 adam_beta2 label_smoothing_factor attention_dropout dropout"),
    (_SHARE, "fraction similarity_threshold variance"),
    (_SEVERAL, "folds items positions mini_batches"),
    (_COUNT, "eval_steps logging_steps max_steps save_total_limit threads workers global_batch_size"),
    (_COUNT, "per_device_eval_batch_size per_device_train_batch_size eval_accumulation_steps"),
    (_COUNT, "dataloader_prefetch_factor max_eval_items max_test_items"),
):
    _RANGES |= dict.fromkeys(_names.split(), _range)


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
        if value is None or (name, value) == ("max_steps", -1):
            continue
        if name in _RANGES:
            allowed, fits = _RANGES[name]
            if not isinstance(value, (int, float)):
                raise ValueError(f"--{name} is {value!r}; allowed: a number")
            if not fits(float(value)):
                raise ValueError(f"--{name} is {value}; allowed: {allowed}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; allowed: a finite number")
    log, evaluate = values.get("logging_steps"), values.get("eval_steps")
    if log is not None and evaluate is not None and evaluate % log:
        raise ValueError(
            f"--logging_steps is {log:g} and --eval_steps {evaluate:g}; --logging_steps has to divide --eval_steps, "
            "so that a run that goes on logs the same losses"
        )
