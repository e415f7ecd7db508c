"""The options of a run beside those of `transformers.TrainingArguments`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..arms import ARMS
from ..backbones import BACKBONES
from ..data.task_data import SPLITS
from ..protocols import PROTOCOLS
from ..tasks import TASKS
from .optimizers import OPTIMIZERS


@dataclass
class RunArguments:
    """What `train.py` takes beside every field of `transformers.TrainingArguments`."""

    task: str = field(
        default="dna-splice",
        metadata={"help": f"One of: {', '.join(TASKS)}; or a folder that `bertx data build` made."},
    )
    arm: list[str] = field(
        default_factory=lambda: ["bert"],
        metadata={
            "help": f"One or more, trained one after the other: {', '.join(ARMS)}. `bertx tasks` says what each is."
        },
    )
    backbone: str = field(
        default="minilm-l6",
        metadata={"help": f"One of: {', '.join(BACKBONES)}, multiberts-seed_S[-step_Nk]; a Hub id, or a folder."},
    )
    protocol: str = field(
        default="recommended",
        metadata={"help": f"Defaults of all hyperparameters: {', '.join(PROTOCOLS)}. Each can be overridden."},
    )
    split: str | None = field(
        default=None, metadata={"help": f"Of the data: {' or '.join(SPLITS)}. By default what the protocol says."}
    )
    fraction: float = field(default=1.0, metadata={"help": "Share of the training data, more than 0 and at most 1."})
    max_eval_items: int | None = field(
        default=None,
        metadata={
            "help": "Validate and test on at most so many items, drawn once and the same for every arm and seed; "
            "whole pieces where segments vote. By default on all."
        },
    )
    kmer: int | None = field(
        default=None,
        metadata={
            "help": "Cut sequences of letters into k-mers of so many, e.g. 3. By default each letter is a token."
        },
    )
    window: int | None = field(
        default=None,
        metadata={
            "help": "Read items of more than so many symbols (letters, k-mers, pitches) in windows of so many, each "
            "trained with the item's label; their probabilities, or values, are averaged. By default an item is cut "
            "to what the model reads: 510 symbols for BERT."
        },
    )
    overlap: int | None = field(
        default=None, metadata={"help": "Symbols that two windows share at least; by default 0."}
    )
    frame_augmentation: bool = field(
        default=False, metadata={"help": "Read each item in a frame that is drawn anew in each epoch; with --kmer."}
    )
    variant: str = field(
        default="",
        metadata={"help": "A word for what differs from the protocol; it ends the name of the run's folder."},
    )
    plan: str | None = field(
        default=None, metadata={"help": "sha256 of the plan of the study that the run belongs to; it is recorded."}
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder that `bertx data build` made, or of Parquet files with the task's columns."},
    )
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "Your own data instead of a known task: .fasta, .csv, .tsv, .jsonl, .parquet, or a folder of MIDI "
            "files. --task then names it. Parts without a file are drawn from this one."
        },
    )
    validation_file: str | None = field(default=None, metadata={"help": "Of your own data."})
    test_file: str | None = field(default=None, metadata={"help": "Of your own data."})
    discipline: str | None = field(default=None, metadata={"help": "Of your own data: dna, protein, music or text."})
    problem: str | None = field(
        default=None,
        metadata={
            "help": "Of your own data: classification or regression. By default labels with a point are numbers."
        },
    )
    sequence_column: str | None = field(
        default=None, metadata={"help": "Of your own data, as all columns; by default sequence."}
    )
    second_sequence_column: str | None = field(default=None, metadata={"help": "Of your own data, for pairs."})
    label_column: str | None = field(default=None, metadata={"help": "By default label."})
    id_column: str | None = field(default=None, metadata={"help": "By default id, where there is one."})
    group_column: str | None = field(
        default=None,
        metadata={"help": "Items of one group stay on one side of a split. By default group, where there is one."},
    )
    label_pattern: str | None = field(
        default=None, metadata={"help": "Regular expression for FASTA headers; its ( ) encloses the label."}
    )
    labels_file: str | None = field(
        default=None,
        metadata={
            "help": "Table with the label of each MIDI file (columns file and label) or FASTA record (id and label)."
        },
    )
    skip_unreadable: bool = field(default=False, metadata={"help": "Leave out MIDI files that cannot be read."})
    metric: str | None = field(
        default=None,
        metadata={
            "help": "Of your own data, what the best weights are chosen by: accuracy (the default), "
            "balanced_accuracy, mcc or macro_f1; of numbers spearman (the default) or pearson. All are reported."
        },
    )
    precision: str = field(
        default="auto",
        metadata={"help": "auto (bfloat16 where the processor or GPU does it fast), float32 or bfloat16."},
    )
    global_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Examples an update, over all processes and accumulation steps; by default the protocol's. "
            "--per_device_train_batch_size only bounds how many are in memory at once."
        },
    )
    optimizer: str | None = field(
        default=None,
        metadata={"help": f"Instead of --optim, one of those the paper searched: {', '.join(OPTIMIZERS)}."},
    )
    attention_dropout: float | None = field(default=None, metadata={"help": "By default what the protocol says."})
    standardize_targets: bool | None = field(
        default=None,
        metadata={"help": "Start a regression at the targets' mean and scale. By default what the protocol says."},
    )
    stop_at_loss: float | None = field(
        default=None, metadata={"help": "Stop once the mean of the last logged training losses is at or below this."}
    )
    shortcuts: bool = field(
        default=True,
        metadata={
            "help": "Leave out of a step what changes nothing: positions of the last layer that no head reads, rows "
            "of the embedding table that no item uses. On a CPU also draws the masks of dropout in hidden layers four "
            "elements at a time."
        },
    )
    rows_on_device: bool = field(
        default=True,
        metadata={
            "help": "Keep all tokenized rows on the GPU where they take a tenth of its free memory at most, and no "
            "--dataloader_num_workers are asked for."
        },
    )
    threads: int | None = field(
        default=None,
        metadata={
            "help": "CPU threads of this process. By default all cores, shared among the processes of the machine; "
            "accelerate launch alone would leave one."
        },
    )
    resume: bool = field(
        default=True,
        metadata={"help": "Skip a finished run, go on with an interrupted one. --no_resume starts anew."},
    )
