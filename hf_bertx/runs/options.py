"""The options of a run in addition to those of `transformers.TrainingArguments`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers.hf_argparser import HfArg

from ..arms import ARMS
from ..backbones import BACKBONES
from ..data.own_options import USER_DATA_OPTIONS
from ..data.task_data import SPLITS
from ..protocols import PROTOCOLS
from ..tasks import TASKS
from .optimizers import OPTIMIZERS

# Sections of `bertx train --help`: each begins with the field of this name and goes on to the next section.
SECTIONS = {
    "task": "Data",
    "arm": "Model and arm",
    "train_file": "Your own file, in place of a known task",
    "precision": "Training",
    "variant": "Output",
}
# Fields of `TrainingArguments` that most runs need: they are shown in these sections too.
COMMON = {
    "Training": {
        "seed": "Seed of weights, batches and drawn items.",
        "learning_rate": "The highest one. By default the protocol's for the arm.",
        "num_train_epochs": "Passes over the training data. By default the protocol's for the task.",
        "max_steps": "Train this many steps in place of epochs.",
        "warmup_steps": "Steps, or below 1 the share of all steps, in which the learning rate rises.",
        "weight_decay": "",
        "eval_steps": "Validate and save every N steps. By default three times an epoch.",
        "use_cpu": "Compute on the CPU, even if there is a GPU.",
    },
    "Output": {
        "output_dir": "Folder of all runs.",
        "logging_steps": "Log the loss every N steps; has to divide --eval_steps.",
        "report_to": "Trackers that receive the log, e.g. tensorboard, or none.",
        "push_to_hub": "Publish each finished run on the Hub, with its card.",
        "hub_model_id": "Repository to publish to, OWNER/NAME. By default a name made of the run's.",
        "hub_private_repo": "Make a new repository private.",
        "hub_token": "Token of the Hub. By default that of `hf auth login`, or HF_TOKEN.",
    },
}

EXAMPLES = """\
examples:
  bertx train --task dna-splice --arm bert re_emb rand --seed 1
  bertx train --train_file promoters.fasta --discipline dna --label_pattern 'class=(\\w+)'
  bertx train my.yaml --learning_rate 1e-4
  accelerate launch train.py --task dna-h3 --data_dir data/dna-h3      (several devices)
`bertx tasks` lists tasks, arms, backbones and protocols."""


def _of_own_data(name: str, more: str = "") -> Any:
    return HfArg(default=None, help=f"{USER_DATA_OPTIONS[name]} {more}".strip())


@dataclass
class RunArguments:
    """What `bertx train` takes beside every field of `transformers.TrainingArguments`."""

    task: str = HfArg(
        default="dna-splice", help=f"One of: {', '.join(TASKS)}; or a folder that `bertx data build` made."
    )
    data_dir: str | None = HfArg(
        default=None, help="Folder that `bertx data build` made, or of Parquet files with the task's columns."
    )
    split: str | None = HfArg(default=None, help=f"Split of the data: {', '.join(SPLITS)}. By default the protocol's.")
    fraction: float = HfArg(default=1.0, help="Share of the training data, more than 0 and at most 1.")
    max_eval_items: int | None = HfArg(
        default=None, help="Validate and test on at most N items, the same for every arm and seed. By default on all."
    )
    kmer: int | None = HfArg(
        default=None, help="Cut sequences of letters into k-mers of N, e.g. 3. By default each letter is a token."
    )
    window: int | None = HfArg(
        default=None,
        help="Read longer items in windows of N symbols (letters, k-mers, pitches). Each is trained with the "
        "item's label; the probabilities, or values, of an item's windows are averaged. By default an item is cut "
        "to what the model reads: 510 symbols for BERT.",
    )
    overlap: int | None = HfArg(default=None, help="Symbols that two windows share at least; by default 0.")
    calibrate: bool = HfArg(
        default=False,
        help="After training divide the head by the temperature that fits validation best, so that a score of "
        "0.9 means right in nine of ten cases. results.json has the calibration error before and after.",
    )
    arm: list[str] = field(
        default_factory=lambda: ["bert"],
        metadata={
            "help": f"One or more, trained one after the other: {', '.join(ARMS)}. `bertx tasks` says what each is."
        },
    )
    backbone: str = HfArg(
        default="minilm-l6",
        help=f"One of: {', '.join(BACKBONES)}, multiberts-seed_S[-step_Nk]; a Hub id, or a folder.",
    )
    protocol: str = HfArg(
        default="recommended", help=f"Defaults of all hyperparameters: {', '.join(PROTOCOLS)}. Each can be overridden."
    )
    attention_dropout: float | None = HfArg(default=None, help="Of the backbone. By default the protocol's.")
    standardize_targets: bool | None = HfArg(
        default=None, help="Start a regression at the targets' mean and scale. By default the protocol's choice."
    )
    train_file: str | None = _of_own_data("train_file", "--task names it.")
    validation_file: str | None = _of_own_data("validation_file")
    test_file: str | None = _of_own_data("test_file")
    discipline: str | None = _of_own_data("discipline")
    problem: str | None = _of_own_data("problem")
    sequence_column: str | None = _of_own_data("sequence_column")
    second_sequence_column: str | None = _of_own_data("second_sequence_column")
    label_column: str | None = _of_own_data("label_column")
    id_column: str | None = _of_own_data("id_column")
    group_column: str | None = _of_own_data("group_column")
    label_pattern: str | None = _of_own_data("label_pattern")
    labels_file: str | None = _of_own_data("labels_file")
    skip_unreadable: bool = HfArg(default=False, help=USER_DATA_OPTIONS["skip_unreadable"])
    metric: str | None = _of_own_data("metric")
    similarity_threshold: float | None = _of_own_data("similarity_threshold")
    license: str | None = _of_own_data("license")
    folds: int | None = HfArg(
        default=None,
        help="Cross-validation of your own data in N folds, stratified by class and by group: N runs, one "
        "table, and a prediction for each item from the run that did not train on it.",
    )
    baselines: str | None = HfArg(
        default=None,
        help="plain: fit the plain baselines and a probe first, and keep the best model on validation; or "
        "none. By default plain for your own data, none for a task of the paper.",
    )
    probe_items: str = HfArg(
        default="2000",
        help="Training items of the probe that comes first (frozen features and a closed-form head), or all; 0 "
        "leaves it out.",
    )
    quick: bool = HfArg(default=False, help="Stop after the baselines and the probe, and save the probe as a model.")
    find_learning_rate: bool = HfArg(
        default=False,
        help="Try a third of the learning rate, the rate and three times it for a tenth of the steps each, and "
        "train with the best on validation.",
    )
    precision: str = HfArg(
        default="auto", help="auto (bfloat16 where the processor or GPU does it fast), float32 or bfloat16."
    )
    global_batch_size: int | None = HfArg(
        default=None,
        help="Items in an update, over all processes and accumulation steps; by default the protocol's. "
        "--per_device_train_batch_size only bounds how many are in memory at once.",
    )
    optimizer: str | None = HfArg(
        default=None, help=f"Instead of --optim, one of those the paper searched: {', '.join(OPTIMIZERS)}."
    )
    class_weights: str | None = HfArg(
        default=None, help="balanced: all classes weigh the same in the loss, however many items each has."
    )
    restarts: int | None = HfArg(
        default=None,
        help="How often a run that ends at the constant answer starts again, each time with half the learning "
        "rate. By default the protocol's.",
    )
    stop_at_loss: float | None = HfArg(
        default=None, help="Stop once the mean of the last logged losses is at or below this."
    )
    shortcuts: bool = HfArg(
        default=True,
        help="Faster steps with the same result: skip positions of the last layer that no head reads and "
        "embeddings that no item uses. On a CPU, dropout draws other masks of the same distribution.",
    )
    rows_on_device: bool = HfArg(
        default=True,
        help="Keep all tokenized rows on the GPU, if they take at most a tenth of its free memory and "
        "--dataloader_num_workers is 0.",
    )
    threads: int | None = HfArg(default=None, help="CPU threads of this process. By default its share of all cores.")
    variant: str = HfArg(
        default="", help="A word for what differs from the protocol. It ends the name of the run's folder."
    )
    plan: str | None = HfArg(
        default=None, help="sha256 of the plan of the study that the run belongs to; it is recorded."
    )
    resume: bool = HfArg(
        default=True, help="Skip a finished run and go on with an interrupted one. --no_resume starts anew."
    )
