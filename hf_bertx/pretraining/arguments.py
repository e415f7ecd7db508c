"""The arguments of a pre-training: the command line, or a JSON or YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg

from ..disciplines import DISCIPLINES, get_discipline
from ..runs.argument_parser import OneLineParser, precision_defaults, sections_of
from ..runs.training_options import REFUSED_IN_PRETRAINING, check_given, check_values
from .corpus import DOCUMENTS, Source
from .masked_lm import HEAD_SIZE, model_class

DTYPES = {"float32": torch.float32, "float16": torch.float16}
_STARTS, _ASSIGNMENTS = ("pretrained", "random"), ("frequent", "unused")
_CHECKPOINTS = ("0", "2%", "20%", "50%", "100%")  # of the steps: the paper's Figure 3 has 0, 20K, ..., 1M


@dataclass
class PretrainingArguments:
    """The arguments of `bertx pretrain` beside every field of `transformers.TrainingArguments`."""

    train_files: list[str] = field(
        default_factory=list,
        metadata={"help": "Text, or folders of .txt and .md; with --discipline FASTA, tables, JSON, Parquet or MIDI."},
    )
    validation_files: list[str] = field(default_factory=list, metadata={"help": "Files whose loss is logged, if any."})
    discipline: str | None = HfArg(default=None, help=f"Train on sequences, not on text: {', '.join(DISCIPLINES)}.")
    assignment: str = HfArg(default="frequent", help=f"Subwords of the symbols: {', '.join(_ASSIGNMENTS)}.")
    kmer: int | None = HfArg(default=None, help="Cut sequences of letters into k-mers of N, e.g. 3.")
    dataset: str | None = HfArg(default=None, help="A data set of the Hub, read as a stream, in place of files.")
    dataset_config: str | None = HfArg(default=None, help="Configuration of --dataset, e.g. 20231101.en.")
    dataset_split: str = HfArg(default="train", help="Split of --dataset.")
    text_column: str | None = HfArg(default=None, help="(default: text; with --discipline: sequence)")
    documents: str = HfArg(default="file", help=f"Where a document of text files ends: {', '.join(DOCUMENTS)}.")
    backbone: str | None = HfArg(
        default=None,
        aliases=["--initialize_from"],
        help="Go on from a backbone, with its shape and tokenizer: a name, a Hub id or a folder.",
    )
    start: str = HfArg(default="pretrained", help="Weights of --backbone: pretrained, or random (drawn anew).")
    vocabulary_from: str | None = HfArg(
        default=None, help="A new model with the tokenizer of this backbone. By default minilm-l6's."
    )
    vocabulary_size: int | None = HfArg(default=None, help="A new model with a WordPiece vocabulary of the text.")
    model_type: str = HfArg(default="bert", help="Architecture of a new model: bert or albert.")
    layers: int = HfArg(default=4, help="Layers of a new model.")
    hidden_size: int = HfArg(default=256, help="Hidden size of a new model, a multiple of 64.")
    dropout: float = HfArg(default=0.1, help="Dropout of the hidden states. Attention weights have none.")
    sequence_length: int = HfArg(default=128, help="Tokens in a block. Every block is full.")
    mask_rate: float = HfArg(default=0.15, help="Share of the positions that are predicted.")
    whole_words: bool = HfArg(default=False, help="Mask whole words. Each masked piece becomes [MASK].")
    next_sentence: bool = HfArg(default=False, help="BERT's second objective, on pairs of segments.")
    global_batch_size: int = HfArg(default=256, help="Blocks in an update, over all processes and accumulation steps.")
    checkpoint_steps: list[str] = field(
        default_factory=lambda: list(_CHECKPOINTS),
        metadata={"help": "Keep a model folder step-N at these steps (20000) or shares of the run (2%%)."},
    )
    checkpoint_dtype: str = HfArg(
        default="float32", help=f"Type of the weights in these folders: {', '.join(DTYPES)}."
    )
    precision: str = HfArg(default="auto", help="auto (bfloat16 where it is fast), float32 or bfloat16.")
    threads: int | None = HfArg(default=None, help="CPU threads of this process. By default all cores.")
    resume: bool = HfArg(default=True, help="Go on from the last whole checkpoint. --no_resume starts anew.")

    def check(self) -> None:
        """Raises ValueError for a value that is not allowed and for options that exclude each other."""
        of_discipline, with_backbone = self.discipline is not None, self.backbone is not None
        if of_discipline:
            get_discipline(self.discipline or "", self.kmer)
        for name, allowed in (("checkpoint_dtype", DTYPES), ("start", _STARTS), ("assignment", _ASSIGNMENTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"--{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if not with_backbone:
            model_class(self.model_type, self.next_sentence)
        if self.hidden_size % HEAD_SIZE or self.hidden_size < HEAD_SIZE or self.layers < 1:
            raise ValueError(
                f"{self.layers} layers of hidden size {self.hidden_size}; allowed: at least one layer, a multiple of "
                f"{HEAD_SIZE}"
            )
        if self.sequence_length < 8:
            raise ValueError(f"--sequence_length is {self.sequence_length}; allowed: at least 8")
        if sum(value is not None for value in (self.vocabulary_from, self.vocabulary_size, self.backbone)) > 1:
            raise ValueError("give one of --vocabulary_from, --vocabulary_size and --backbone (--initialize_from)")
        of_dataset, defaults = self.dataset is not None, PretrainingArguments()
        for names, applies, condition in (
            ("start", with_backbone, "with --backbone"),
            ("model_type layers hidden_size", not with_backbone, "for a new model, without --backbone"),
            ("assignment kmer", of_discipline, "with --discipline"),
            ("vocabulary_size whole_words documents", not of_discipline, "for text, without --discipline"),
            ("dataset_config dataset_split", of_dataset, "with --dataset"),
            ("text_column", of_dataset or of_discipline, "with --dataset or --discipline"),
        ):
            for name in names.split():
                value = getattr(self, name)
                if value != getattr(defaults, name) and not applies:
                    raise ValueError(f"--{name} is {value!r}; allowed: only {condition}")


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

# The first option of each section of --help.
_SECTIONS = {"train_files": "Data", "backbone": "Model", "sequence_length": "Training", "checkpoint_steps": "Output"}
_COMMON = {
    "Training": {
        "max_steps": "Number of updates.",
        "learning_rate": "The highest one.",
        "warmup_steps": "Steps, or below 1 the share of all steps, in which the learning rate rises.",
        "weight_decay": "",
        "seed": "Seed of weights, masks and the order of blocks.",
        "eval_steps": "Log the loss of --validation_files every N steps. By default 20 times.",
        "use_cpu": "Compute on the CPU, even if there is a GPU.",
    },
    "Output": {
        "output_dir": "The folder of this pre-training.",
        "logging_steps": "Log the loss every N steps.",
        "save_steps": "Every N steps, save a checkpoint that an interrupted run goes on from.",
        "report_to": "Trackers that receive the log, e.g. tensorboard, or none.",
    },
}
_EXAMPLES = """\
examples:
  bertx pretrain --train_files books --layers 4 --hidden_size 256 --max_steps 20000
  bertx pretrain --train_files genome.fasta --discipline dna --backbone minilm-l6 --output_dir runs/dna-minilm"""


def parse_pretraining(argv: list[str]) -> tuple[PretrainingArguments, TrainingArguments]:
    """Reads the command line: defaults, under a file (`.yaml` or `.json`, first), under options.

    Raises:
        ValueError: a value that is not allowed; the message names it and the allowed ones.
    """
    program = "bertx pretrain"
    parser = OneLineParser(
        (PretrainingArguments, TrainingArguments),
        prog=program,
        description="Masked-LM pre-training of BERT or ALBERT on text or sequences. Keeps a model folder at each of a "
        "list of steps: a backbone of `bertx train`, or a series of `bertx study figure3-small --series OUTPUT`. The "
        "same command resumes an interrupted run.",
        epilog=_EXAMPLES,
        sections=sections_of(PretrainingArguments, _SECTIONS, _COMMON, REFUSED_IN_PRETRAINING),
    )
    argv = parser.expand_file(argv)
    parser.set_defaults(**_DEFAULTS, **precision_defaults(argv, program))
    named = parser.given(argv)
    check_given(named, REFUSED_IN_PRETRAINING)
    options, training = parser.read(argv)
    values = {**vars(training), **vars(options)}
    check_values({name: values[name] for name in named - {"max_steps"}})
    training.include_num_input_tokens_seen = "all"  # the parser reads this field as a boolean only
    if training.max_steps < 1:
        raise ValueError(f"--max_steps is {training.max_steps}; allowed: at least 1. A pre-training counts in steps")
    options.check()
    return options, training


def sources(options: PretrainingArguments) -> tuple[Source, Source | None]:
    """The text to train on, and the text to validate on if there is any.

    Raises:
        ValueError: neither files nor a data set, or both.
    """
    if bool(options.train_files) == (options.dataset is not None):
        raise ValueError("give --train_files, or --dataset in their place")
    column = options.text_column or ("text" if options.discipline is None else "sequence")
    of_dataset = (options.dataset, options.dataset_config, options.dataset_split)
    rest = (column, options.documents, options.discipline)
    files = tuple(options.validation_files)
    return Source(tuple(options.train_files), *rest, *of_dataset), Source(files, *rest) if files else None


def checkpoint_steps(values: Sequence[str], max_steps: int) -> list[int]:
    """Steps to keep a model folder at: `20000` is a step, `2%` a share of the run. The last step is kept in any case.

    Raises:
        ValueError: neither, or a step behind the end.
    """
    steps = {max_steps}
    for value in values:
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", value)
        if not match:
            raise ValueError(f"--checkpoint_steps has {value!r}; give steps (20000) or shares of the run (2%)")
        step = int(match[1]) if match[1] else round(float(match[2]) / 100 * max_steps)
        if step > max_steps:
            raise ValueError(f"--checkpoint_steps has {value!r}, which is step {step} of {max_steps}")
        steps.add(step)
    return sorted(steps)
