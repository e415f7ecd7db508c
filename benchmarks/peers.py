"""Training loops on the same rows from the same weights: ours, the example script's, the authors'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from cases import Case
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    get_linear_schedule_with_warmup,
    set_seed,
)
from turns import Loop

from hf_bertx.backbones import resolve_backbone
from hf_bertx.performance.memory import use_processor
from hf_bertx.run_arguments import parse_arguments
from hf_bertx.task_data import TaskData
from hf_bertx.tasks import get_task
from hf_bertx.training import build_trainer

# what the example script pads to, unless it is told otherwise
_SCRIPT_LENGTH = 128
_NEVER = 1_000_000  # steps: more than are measured, so that no loop comes to its end, to a validation or to saving


@dataclass
class Seen:
    """What a loop was given, and what it computed with; noted as its batches are made."""

    rows: int = 0
    tokens: int = 0
    widths: list[int] = field(default_factory=list)
    precision: str = ""
    config: Any = None

    def collator(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same collator, which notes how wide its batches are, and how much of them is no padding."""

        def noting(items: Any) -> Any:
            batch = collate(items)
            ids, mask = batch["input_ids"], batch.get("attention_mask")
            self.rows += ids.shape[0]
            self.widths.append(ids.shape[1])
            self.tokens += int(ids.numel() if mask is None else mask.sum())
            return batch

        return noting

    def watch(self, model: Any, compiled: bool = False) -> None:
        """Notes the model's config and, but for a compiled model, the precision that a linear map of it really gives.

        A hook that goes away would have a model compiled twice.
        """
        self.config = model.config
        if compiled:
            return
        layer = next(m for m in model.base_model.encoder.modules() if isinstance(m, torch.nn.Linear))

        def note(_: Any, __: Any, output: torch.Tensor) -> None:
            self.precision = str(output.dtype).removeprefix("torch.")
            hook.remove()

        hook = layer.register_forward_hook(note)


class StepDone(TrainerCallback):
    """Tells that a step is over."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.done = done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.done()


def our_trainer(
    case: Case, data: TaskData, backbone: str, device: str, folder: Path, more: tuple[str, ...] = ()
) -> Trainer:
    """What `train.py` builds under the protocol `recommended`.

    Args:
        more: further arguments of `train.py`.
    """
    argv = ["--task", case.task, "--backbone", backbone, "--output_dir", str(folder), "--seed", "0"]
    argv += ["--global_batch_size", str(case.batch), "--max_steps", str(_NEVER), "--eval_steps", str(_NEVER)]
    argv += ["--disable_tqdm", "true", *more]
    if device == "cpu":
        argv += ["--use_cpu", "--threads", str(torch.get_num_threads())]
    (spec,), args = parse_arguments(argv)
    use_processor(spec.threads, args.use_cpu)
    return build_trainer(spec, args, data, folder)


def ours(
    case: Case,
    data: TaskData,
    backbone: str,
    device: str,
    folder: Path,
    seen: Seen,
    more: tuple[str, ...] = (),
) -> Loop:
    """`train.py` under the protocol `recommended`."""
    trainer = our_trainer(case, data, backbone, device, folder, more)
    return _as_loop(trainer, seen)


def stock_trainer(case: Case, data: TaskData, backbone: str, device: str, folder: Path, length: int) -> Trainer:
    """The `Trainer` as the example script `run_classification.py` sets it up, with its defaults.

    Args:
        length: `--max_seq_length`, in tokens; `pad_to_max_length` is true there, so that every batch is as wide.
    """
    set_seed(0)
    model, tokenizer = _text_model(case, backbone)
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=case.batch,
        max_steps=_NEVER,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
    )
    return Trainer(
        model=model,
        args=args,
        train_dataset=_words(data.splits["train"], tokenizer, case, length),
        data_collator=default_data_collator,
        processing_class=tokenizer,
    )


def script_length(case: Case) -> int:
    """The script's own length; the task's where sequences would be cut."""
    return max(_SCRIPT_LENGTH, get_task(case.task).max_length)


def stock(case: Case, data: TaskData, backbone: str, device: str, folder: Path, seen: Seen) -> Loop:
    """The example script, told of a length only where its own would cut sequences."""
    return _as_loop(stock_trainer(case, data, backbone, device, folder, script_length(case)), seen)


def stock_told(case: Case, data: TaskData, backbone: str, device: str, folder: Path, seen: Seen) -> Loop:
    """The example script by a user who tells it the longest that the task's sequences are."""
    return _as_loop(stock_trainer(case, data, backbone, device, folder, get_task(case.task).max_length), seen)


def _as_loop(trainer: Trainer, seen: Seen) -> Loop:
    trainer.remove_callback(PrinterCallback)  # which prints between the figures where there is no bar
    trainer.data_collator = seen.collator(trainer.data_collator)
    seen.watch(trainer.model, trainer.args.torch_compile)

    def loop(done: Callable[[], None]) -> None:
        trainer.add_callback(StepDone(done))
        trainer.train()

    return loop


def authors(case: Case, data: TaskData, backbone: str, device: str, folder: Path, seen: Seen) -> Loop:
    """The loop of the authors' code: float32, eager attention, Adam tensor by tensor, padded to the task's length.

    A batch is 16 sequences, two of them an update (music: all at once, without a mask); the gradient is clipped at
    1e6, which clips nothing; the rate decays linearly; incomplete batches are dropped.
    """
    set_seed(0)
    # transformers 3.1, which they used, had no fused attention
    model, tokenizer = _text_model(case, backbone, attn_implementation="eager")
    music = get_task(case.task).discipline == "music"
    accumulated = 1 if music or case.batch % 2 else 2
    rows = _words(data.splits["train"], tokenizer, case, get_task(case.task).max_length)
    if music:
        rows = rows.remove_columns("attention_mask")
    loader: torch.utils.data.DataLoader = torch.utils.data.DataLoader(
        rows.with_format("torch"),  # type: ignore[arg-type]
        batch_size=case.batch // accumulated,
        shuffle=True,
        drop_last=True,
        collate_fn=seen.collator(default_data_collator),
    )
    seen.watch(model)

    def loop(done: Callable[[], None]) -> None:
        model.to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, foreach=False, fused=False)
        schedule = get_linear_schedule_with_warmup(optimizer, 0, _NEVER)
        for n, batch in enumerate(_endless(loader)):
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss / accumulated
            loss.backward()
            if (n + 1) % accumulated == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                done()

    return loop


PEERS: dict[str, Callable[..., Loop]] = {
    "ours": ours,
    "stock": stock,
    "stock, told the length": stock_told,
    "authors": authors,
}


def peers_of(case: Case) -> list[str]:
    """Without a loop that would be another one's double."""
    longer = get_task(case.task).max_length >= _SCRIPT_LENGTH
    return [name for name in PEERS if not (longer and name == "stock, told the length")]


def _endless(loader: Any) -> Any:
    while True:
        yield from loader


def _text_model(case: Case, backbone: str, **kwargs: Any) -> tuple[Any, Any]:
    """The backbone with a head of the task's size, and its tokenizer, as the example script loads them."""
    task, source = get_task(case.task), resolve_backbone(backbone).source
    labels = 1 if task.labels is None else len(task.labels)
    kind = "regression" if task.labels is None else "single_label_classification"
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=labels, problem_type=kind, **kwargs)
    return model, AutoTokenizer.from_pretrained(source)


def _words(rows: Dataset, tokenizer: Any, case: Case, length: int) -> Dataset:
    """Symbols as words between blanks, tokenized as text and padded to so many tokens."""
    task = get_task(case.task)
    between = "" if task.discipline == "music" else " "

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [between.join(sequence) for sequence in batch["sequence"]]
        encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=length)
        return {**encoded, "labels": batch["label"]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True)
