"""What a pre-training is told: the command line, or a JSON or YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from ..run_arguments import OneLineParser, add_use_cpu, precision_defaults, read_arguments_file, use_processor
from .corpus import DOCUMENTS, Source

DTYPES = {"float32": torch.float32, "float16": torch.float16}
_CHECKPOINTS = ("0", "2%", "20%", "50%", "100%")  # of the steps: the paper's Figure 3 has 0, 20K, ..., 1M


@dataclass
class PretrainingArguments:
    """What `pretrain.py` takes beside every field of `transformers.TrainingArguments`."""

    train_files: list[str] = field(
        default_factory=list,
        metadata={"help": "UTF-8 text files, or folders of .txt and .md files. Or give --dataset."},
    )
    validation_files: list[str] = field(
        default_factory=list, metadata={"help": "Text whose loss is logged; by default none is."}
    )
    dataset: str | None = field(
        default=None, metadata={"help": "A data set of the Hub with a text column, read as a stream."}
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Of --dataset: its configuration, 20231101.en of wikimedia/wikipedia."}
    )
    dataset_split: str = field(default="train", metadata={"help": "Of --dataset."})
    text_column: str = field(default="text", metadata={"help": "Of --dataset."})
    documents: str = field(
        default="file", metadata={"help": f"Where a document of the files ends: {', '.join(DOCUMENTS)}."}
    )
    vocabulary_from: str | None = field(
        default=None,
        metadata={"help": "A backbone whose tokenizer is used: a name, a Hub id or a folder. By default minilm-l6's."},
    )
    vocabulary_size: int | None = field(
        default=None, metadata={"help": "Train a WordPiece vocabulary of so many entries on the text instead."}
    )
    initialize_from: str | None = field(
        default=None, metadata={"help": "Go on from a backbone's weights, shape and tokenizer, instead of anew."}
    )
    model_type: str = field(default="bert", metadata={"help": "bert or albert."})
    layers: int = field(default=4, metadata={"help": "Of the model."})
    hidden_size: int = field(default=256, metadata={"help": "Of the model; a multiple of 64."})
    dropout: float = field(default=0.1, metadata={"help": "Of the hidden states. Attention weights have none."})
    sequence_length: int = field(default=128, metadata={"help": "Tokens of a block; every block is full."})
    mask_rate: float = field(default=0.15, metadata={"help": "Share of a block's positions that is asked for."})
    whole_words: bool = field(default=False, metadata={"help": "Ask for all pieces of a word, or none."})
    next_sentence: bool = field(default=False, metadata={"help": "BERT's second objective, on pairs of segments."})
    global_batch_size: int = field(
        default=256, metadata={"help": "Blocks an update, over all processes and accumulation steps."}
    )
    checkpoint_steps: list[str] = field(
        default_factory=lambda: list(_CHECKPOINTS),
        metadata={"help": "When a model folder step-N is kept beside the last: steps (20000), or shares of the run."},
    )
    checkpoint_dtype: str = field(
        default="float32", metadata={"help": f"Of the weights in these folders: {' or '.join(DTYPES)}."}
    )
    precision: str = field(
        default="auto",
        metadata={"help": "auto (bfloat16 where the processor or GPU does it fast), float32 or bfloat16."},
    )
    threads: int | None = field(default=None, metadata={"help": "CPU threads of this process. By default all cores."})
    resume: bool = field(
        default=True, metadata={"help": "Go on from the last whole checkpoint. --no_resume starts anew."}
    )


# Not BERT's (1e-4, 10,000 steps of warm-up, a million in all): those of short runs of small models, the rate that of
# results/pretraining.
_DEFAULTS: dict[str, Any] = {
    "output_dir": "runs/pretraining",
    "max_steps": 10_000,
    "learning_rate": 7e-4,
    "warmup_steps": 0.05,  # below 1: a share of all steps
    "lr_scheduler_type": "linear",
    "weight_decay": 0.01,  # Devlin et al. 2019, appendix A.2
    "adam_beta2": 0.98,
    "max_grad_norm": 1.0,
    "per_device_train_batch_size": 0,  # 0: as many as the global batch size asks for
    "per_device_eval_batch_size": 64,
    "logging_steps": 50,
    "logging_nan_inf_filter": False,
    "save_total_limit": 2,
    "report_to": "none",
    "remove_unused_columns": False,
    "prediction_loss_only": True,
    "restore_callback_states_from_checkpoint": True,
}


def parse_pretraining(argv: list[str]) -> tuple[PretrainingArguments, TrainingArguments]:
    """Reads the command line: defaults, under a file (`.yaml` or `.json`, first), under options.

    Raises:
        ValueError: a value that is not allowed; the message names it and the allowed ones.
    """
    given, argv = read_arguments_file(argv, (PretrainingArguments, TrainingArguments), "pretrain.py")
    parser = OneLineParser(
        (PretrainingArguments, TrainingArguments),
        prog="pretrain.py",
        description="Masked-LM pre-training of a BERT- or ALBERT-shaped model on text, with a model folder kept at "
        "each of a list of steps: backbones of a study (bertx study figure3-small --series OUTPUT). Interrupted, the "
        "same command goes on.",
    )
    first = OneLineParser(prog="pretrain.py", add_help=False)
    first.add_argument("--precision", default=given.get("precision", "auto"))
    add_use_cpu(first, given)
    known, _ = first.parse_known_args(argv)
    parser.set_defaults(**_DEFAULTS, dataloader_pin_memory=torch.cuda.is_available() and not known.use_cpu)
    parser.set_defaults(**{**precision_defaults(known.precision, known.use_cpu), **given})
    told, training = parser.parse_args_into_dataclasses(argv)
    use_processor(told.threads, training.use_cpu)
    training.include_num_input_tokens_seen = "all"  # the parser knows this field as a truth value only
    if training.max_steps < 1:
        raise ValueError(f"--max_steps is {training.max_steps}; allowed: at least 1. A pre-training counts in steps")
    if told.checkpoint_dtype not in DTYPES:
        raise ValueError(f"--checkpoint_dtype is {told.checkpoint_dtype!r}; allowed: {', '.join(DTYPES)}")
    if told.sequence_length < 8 or told.global_batch_size < 1:
        raise ValueError(
            f"--sequence_length is {told.sequence_length}, --global_batch_size {told.global_batch_size}; allowed: at "
            "least 8 and at least 1"
        )
    if sum(value is not None for value in (told.vocabulary_from, told.vocabulary_size, told.initialize_from)) > 1:
        raise ValueError("give one of --vocabulary_from, --vocabulary_size and --initialize_from")
    return told, training


def sources(told: PretrainingArguments) -> tuple[Source, Source | None]:
    """The text to train on, and the text to validate on if there is any.

    Raises:
        ValueError: neither files nor a data set, or both.
    """
    if bool(told.train_files) == (told.dataset is not None):
        raise ValueError("give --train_files, or --dataset in their place")
    of_dataset = (told.dataset, told.dataset_split, told.text_column)
    train = Source(tuple(told.train_files), *of_dataset, told.documents, told.dataset_config)
    files = tuple(told.validation_files)
    return train, Source(files, documents=told.documents) if files else None


def checkpoint_steps(told: Sequence[str], max_steps: int) -> list[int]:
    """Steps from what was told: `20000` is a step, `2%` a share of the run. The last step is kept in any case.

    Raises:
        ValueError: neither, or a step behind the end.
    """
    steps = {max_steps}
    for value in told:
        share = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
        if not share and not value.isdigit():
            raise ValueError(f"--checkpoint_steps has {value!r}; give steps (20000) or shares of the run (2%)")
        step = round(float(share[1]) / 100 * max_steps) if share else int(value)
        if step > max_steps:
            raise ValueError(f"--checkpoint_steps has {value!r}, which is step {step} of {max_steps}")
        steps.add(step)
    return sorted(steps)
