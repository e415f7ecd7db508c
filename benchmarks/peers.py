"""Training loops on the same rows from the same weights: ours, and the example script's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from cases import Case
from datasets import Dataset
from turns import Loop

from hf_bertx.backbones import resolve_backbone
from hf_bertx.data.task_data import TaskData
from hf_bertx.processor import use_processor
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.training import build_trainer
from hf_bertx.tasks import get_task

_SCRIPT_LENGTH = 128  # what the example script pads to, unless it is given another length
_NEVER = 1_000_000  # steps: more than are measured, so that no loop comes to its end, to a validation or to saving

# Arguments of `bertx train` beside those of the protocol `recommended`, by the name of the loop.
OURS = {
    "ours": (),
    "compiled": ("--torch_compile", "true"),
    "graphs": ("--torch_compile", "true", "--torch_compile_mode", "reduce-overhead"),
}


@dataclass
class Seen:
    """What a loop was given, and what it computes with."""

    config: Any
    precision: str
    rows: int = 0
    tokens: Any = 0
    widths: list[int] = field(default_factory=list)

    def collator(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same collator, which notes how wide its batches are, and how much of them is no padding."""

        def noting(items: Any) -> Any:
            batch = collate(items)
            ids, mask = batch["input_ids"], batch.get("attention_mask")
            self.rows += ids.shape[0]
            self.widths.append(ids.shape[1])
            # the sum of a mask stays on its device: reading it would wait for the GPU at each step
            self.tokens = self.tokens + (ids.numel() if mask is None else mask.sum())
            return batch

        return noting


class _StepDone(transformers.TrainerCallback):
    def __init__(self, done: Callable[[], None]) -> None:
        self.done = done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.done()


def our_trainer(case: Case, data: TaskData, backbone: str, device: str, folder: Path, more: tuple[str, ...]) -> Any:
    """What `bertx train` builds under the protocol `recommended`, with `more` arguments."""
    argv = ["--task", case.task, "--backbone", backbone, "--output_dir", str(folder), "--seed", "0"]
    argv += ["--global_batch_size", str(case.batch), "--max_steps", str(_NEVER), "--eval_steps", str(_NEVER)]
    argv += ["--disable_tqdm", "true", *more]
    if device == "cpu":
        argv += ["--use_cpu", "--threads", str(torch.get_num_threads())]
    (spec,), args = parse_arguments(argv)
    use_processor(spec.options.threads, args.use_cpu)
    return build_trainer(spec, args, data, folder)


def stock_trainer(case: Case, data: TaskData, backbone: str, device: str, folder: Path) -> transformers.Trainer:
    """The `Trainer` as the example script `run_classification.py` sets it up, with its defaults."""
    transformers.set_seed(0)
    task, source = get_task(case.task), resolve_backbone(backbone).source
    labels = 1 if task.labels is None else len(task.labels)
    kind = "regression" if task.labels is None else "single_label_classification"
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=case.batch,
        max_steps=_NEVER,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
    )
    return transformers.Trainer(
        model=transformers.AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=labels, problem_type=kind
        ),
        args=args,
        train_dataset=words(data.splits["train"], tokenizer, case),
        data_collator=transformers.default_data_collator,
        processing_class=tokenizer,
    )


def loop_of(name: str, case: Case, data: TaskData, backbone: str, device: str, folder: Path) -> tuple[Loop, Seen]:
    """The loop `stock`, or one of [`OURS`], and what it sees as it runs."""
    more = OURS.get(name)
    given = (case, data, backbone, device, folder)
    trainer = stock_trainer(*given) if more is None else our_trainer(*given, more)
    trainer.remove_callback(transformers.PrinterCallback)  # it prints between the figures where there is no bar
    seen = Seen(trainer.model.config, "bfloat16" if trainer.args.bf16 else "float32")
    trainer.data_collator = seen.collator(trainer.data_collator)

    def loop(done: Callable[[], None]) -> None:
        trainer.add_callback(_StepDone(done))
        trainer.train()

    return loop, seen


def script_length(case: Case) -> int:
    """The example script's own length in tokens; the task's where sequences would be cut."""
    return max(_SCRIPT_LENGTH, get_task(case.task).max_length)


def words(rows: Dataset, tokenizer: Any, case: Case) -> Dataset:
    """Symbols as words between blanks, tokenized as text and padded to the script's length."""
    between = "" if get_task(case.task).discipline == "music" else " "

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [between.join(sequence) for sequence in batch["sequence"]]
        encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=script_length(case))
        return {**encoded, "labels": batch["label"]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True)
