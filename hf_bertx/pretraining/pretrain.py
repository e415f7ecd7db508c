"""Masked-LM pre-training: text or sequences in, a model folder at each of a list of steps, resumable."""

from __future__ import annotations

import logging as python_logging
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, load_from_disk
from transformers import AutoConfig, AutoTokenizer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .. import run_files
from ..backbones import load, resolve_backbone
from ..callbacks import LastStepCallback, RunRecordCallback, ThroughputCallback
from ..disciplines import get_discipline
from ..modeling_discipline import load_whole
from ..runs.order import HYPERPARAMETERS, machine, versions
from ..runs.schedule import set_batch_size
from ..runs.trainer import RunTrainer
from ..tokenization.subwords import PRETRAINED_ON
from ..tokenization_discipline import DisciplineTokenizer
from .arguments import DTYPES, PretrainingArguments, checkpoint_steps, sources
from .corpus import RECORD as BLOCKS_RECORD
from .corpus import Source, packed
from .masked_lm import SeededMasking, model_class, new_config, save_stock
from .vocabulary import TRAINED_ON, trained_tokenizer

_HYPERPARAMETERS = ["seed", *(name for name in HYPERPARAMETERS if not name.startswith("eval_"))]
_NO_IDENTITY = (  # arguments that do not affect results, or are recorded in another form
    "train_files validation_files dataset dataset_config dataset_split text_column checkpoint_steps precision threads "
    "resume"
).split()
_BLOCKS = ("blocks", "validation_blocks")

logger = python_logging.getLogger(__name__)


class _Series(TrainerCallback):
    """Keeps a model folder at each step of a list, and gives the collator its epoch, in a resumed run too."""

    trainer: _MaskedLMTrainer

    def __init__(self, root: Path, steps: list[int], tokenizer: Any, dtype: torch.dtype) -> None:
        self.root, self.steps, self.tokenizer, self.dtype = root, set(steps), tokenizer, dtype

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.data_collator.epoch = int((state.epoch or 0) + 1e-6)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self.steps and state.is_world_process_zero:
            run_files.write_folder(self.root / f"step-{state.global_step}", self._write)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log |= control.should_save  # so that a run that goes on logs the same losses
        self.on_train_begin(args, state, control)

    def _write(self, path: Path) -> None:
        save_stock(self.trainer.accelerator.unwrap_model(self.trainer.model), path, self.dtype)
        self.tokenizer.save_pretrained(path)


class _MaskedLMTrainer(RunTrainer):
    """A `Trainer` that uses the same masks in every validation."""

    data_collator: SeededMasking
    eval_masking: SeededMasking

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        masking, self.data_collator = self.data_collator, self.eval_masking
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = masking


def pretrain(options: PretrainingArguments, args: TrainingArguments) -> Path:
    """Pre-trains a model, or does what is left of it.

    Args:
        args: `output_dir` is the folder of this pre-training. It receives a model folder `step-N` at each step of the
            list, `pretraining.json`, `log_history.json` and, once finished, `results.json`.

    Returns:
        The model folder of the last step, a backbone of `train.py`.

    Raises:
        ValueError: arguments that do not fit the text, the tokenizer or what the folder holds.
        LockedRunError: another process writes to the folder.
        BackboneUnavailableError: a backbone that cannot be loaded.
    """
    root, state = Path(args.output_dir or "runs/pretraining"), PartialState()
    with run_files.locked(root) if state.is_main_process else nullcontext():
        if state.is_main_process:
            run_files.sweep(root, ".*.tmp")  # not below, where there may be other runs
        return _pretrain(options, args, root, state)


def _pretrain(options: PretrainingArguments, args: TrainingArguments, root: Path, state: PartialState) -> Path:
    steps, texts = checkpoint_steps(options.checkpoint_steps, args.max_steps), sources(options)
    folders = [root / name for name in _BLOCKS]
    set_batch_size(args, options.global_batch_size)
    order = _order(options, args, steps)
    if options.resume:
        _check_order(root, order)
    saved = model = None
    if options.vocabulary_size is None:
        name = options.backbone or options.vocabulary_from or "minilm-l6"
        saved = load(resolve_backbone(name), AutoTokenizer.from_pretrained)
        if not (options.resume and (root / run_files.RESULTS).is_file()):
            model = _model(options, saved, args.seed)
    # vocabulary and blocks are saved at the end: all of them, or none where a text is refused
    with state.main_process_first(), ExitStack() as saving:
        if saved is None:
            size, longest = options.vocabulary_size or 0, max(512, options.sequence_length)
            compared = options.resume and (root / run_files.PRETRAINING).is_file()
            training = trained_tokenizer(texts[0], size, longest, root / "tokenizer", compared)
            saved = saving.enter_context(training)
        used = saved
        if options.discipline is not None:
            used = DisciplineTokenizer.from_backbone(
                saved, get_discipline(options.discipline, options.kmer), options.assignment
            )
            made = {"discipline": options.discipline, "assignment": options.assignment, "kmer": options.kmer}
            saved.init_kwargs[PRETRAINED_ON] = made
        masks = [SeededMasking(used, options.mask_rate, options.whole_words, args.seed) for _ in texts]
        order["vocabulary_entries"] = len(used)
        for name, folder, text in zip(("text", "validation_text"), folders, texts, strict=True):
            shape = (options.sequence_length, folder, options.next_sentence, args.seed)
            order[name] = None if text is None else saving.enter_context(packed(text, used, *shape))
        if options.resume:
            _check_order(root, order)
    state.wait_for_everyone()
    last = root / f"step-{args.max_steps}"
    if options.resume and (root / run_files.RESULTS).is_file():
        logger.warning(f"skipped: {root} holds this pre-training, finished")
        return last
    series = _Series(root, steps, saved, DTYPES[options.checkpoint_dtype])
    model = _model(options, saved, args.seed) if model is None else model
    blocks = [None if text is None else load_from_disk(folder) for text, folder in zip(texts, folders, strict=True)]
    trainer = _trainer(args, model, masks, blocks, series)
    trainer.get_optimizer_cls_and_kwargs(args, model)  # nothing is refused from here on
    if state.is_main_process:
        if not options.resume:
            _clear(root, options, texts)
        run_files.write_json(root / run_files.PRETRAINING, {**order, "versions": versions(), "machine": machine()})
    begun = time.perf_counter()
    checkpoint, _ = trainer.go_on()
    if state.is_main_process:
        _finish(trainer, root, time.perf_counter() - begun, checkpoint)
    return last


def _trainer(
    args: TrainingArguments,
    model: Any,
    masks: Sequence[SeededMasking],
    blocks: Sequence[Dataset | None],
    series: _Series,
) -> _MaskedLMTrainer:
    from ..performance import speed_up_training

    speed_up_training(model)
    args.output_dir = str(series.root / run_files.CHECKPOINTS)
    args.save_strategy = SaveStrategy.STEPS
    args.eval_strategy = IntervalStrategy.NO if blocks[1] is None else IntervalStrategy.STEPS
    args.eval_steps = args.eval_steps or max(1, args.max_steps // 20)
    record = series.root / run_files.LOG
    trainer = _MaskedLMTrainer(
        model=model,
        args=args,
        train_dataset=blocks[0],
        eval_dataset=blocks[1],
        data_collator=masks[0],
        callbacks=[LastStepCallback(), ThroughputCallback(), RunRecordCallback(record), series],
    )
    series.trainer, trainer.eval_masking = trainer, masks[1]
    return trainer


def _clear(root: Path, options: PretrainingArguments, texts: Sequence[Source | None]) -> None:
    """Removes the files of the pre-training before this one from a folder, and no others."""
    if not (root / run_files.PRETRAINING).is_file():
        return
    unused = [root / name / BLOCKS_RECORD for name, text in zip(_BLOCKS, texts, strict=True) if text is None]
    unused += [root / "tokenizer" / TRAINED_ON] if options.vocabulary_size is None else []
    made = [record.parent for record in unused if record.is_file()]
    (root / run_files.RESULTS).unlink(missing_ok=True)  # first, because what lacks a folder is not finished
    for folder in (*root.glob("step-*"), root / run_files.CHECKPOINTS, *made):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (run_files.LOG, run_files.PRETRAINING):
        (root / name).unlink(missing_ok=True)


def _model(options: PretrainingArguments, tokenizer: Any, seed: int) -> Any:
    set_seed(seed)
    if options.backbone is None:
        size = (options.layers, options.hidden_size, options.sequence_length, options.dropout)
        return model_class(options.model_type, options.next_sentence)(new_config(options.model_type, tokenizer, *size))
    config = load(resolve_backbone(options.backbone), AutoConfig.from_pretrained)
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise ValueError(
            f"--backbone {options.backbone}: its vocabulary is not its tokenizer's: the model has {config.vocab_size} "
            f"entries, the tokenizer's ids go up to {largest}"
        )
    if options.sequence_length > config.max_position_embeddings:
        raise ValueError(
            f"--sequence_length is {options.sequence_length}; {options.backbone} has positions for "
            f"{config.max_position_embeddings} tokens"
        )
    new_class = model_class(config.model_type, options.next_sentence)
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = options.dropout, 0.0
    if options.start == "random":
        return new_class(config)
    loading = {"config": config, "dtype": torch.float32, "use_safetensors": True}
    return load(resolve_backbone(options.backbone), partial(load_whole, new_class), **loading)


def _order(options: PretrainingArguments, args: TrainingArguments, steps: list[int]) -> dict[str, Any]:
    arguments = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _NO_IDENTITY}
    plain = {name: getattr(args, name) for name in _HYPERPARAMETERS}
    arguments |= {name: getattr(value, "value", value) for name, value in plain.items()}
    arguments["precision"] = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    return {"steps": args.max_steps, "checkpoint_steps": steps, "arguments": arguments}


def _check_order(root: Path, order: dict[str, Any]) -> None:
    if not (root / run_files.PRETRAINING).is_file():
        return
    new, old = ({**each["arguments"], **each} for each in (order, run_files.read_json(root / run_files.PRETRAINING)))
    different = [
        f"{name} is {old[name]!r} there, {new[name]!r} asked"
        for name in new
        if name in old and name != "arguments" and old[name] != new[name]
    ]
    if different:
        raise ValueError(
            f"{root} holds another pre-training: {'; '.join(different)}. Choose another --output_dir, or pass "
            "--no_resume to replace it"
        )


def _finish(trainer: _MaskedLMTrainer, root: Path, seconds: float, checkpoint: Path | None) -> None:
    state = trainer.state
    losses = {name: [log[name] for log in state.log_history if name in log] for name in ("loss", "eval_loss")}
    results = {
        "steps": state.global_step,
        "tokens_seen": int(state.num_input_tokens_seen),
        "train_loss": losses["loss"][-1],
        "validation_loss": losses["eval_loss"][-1] if losses["eval_loss"] else None,
        "parameters": trainer.accelerator.unwrap_model(trainer.model).num_parameters(),
        "train_seconds": round(seconds, 1),
        "resumed_from_step": None if checkpoint is None else int(checkpoint.name.rpartition("-")[2]),
    }
    run_files.write_json(root / run_files.RESULTS, results)
    shutil.rmtree(root / run_files.CHECKPOINTS, ignore_errors=True)
