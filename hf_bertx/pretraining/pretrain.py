"""Masked-LM pre-training: text in, a model folder at each of a list of steps, resumable."""

from __future__ import annotations

import logging as python_logging
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from filelock import FileLock, Timeout
from transformers import AutoConfig, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .. import run_checkpoints, run_files
from ..backbones import resolve_backbone, unavailable
from ..callbacks import LastStepCallback, RunRecordCallback, ThroughputCallback
from ..cpu_attention import use_cpu_attention
from ..drawn_dropout import draw_dropout_at_once
from ..modeling_discipline import load_whole
from ..run_order import machine, versions
from ..run_trainer import RunTrainer
from ..training import set_batch_size
from .arguments import DTYPES, PretrainingArguments, checkpoint_steps, sources
from .batches import Masking, PackedBlocks, ShuffledBlocks, masking
from .corpus import Corpus, Source, pack, read_lines, text_key
from .modeling import model_class, new_config, save_stock
from .vocabulary import build_tokenizer, train_vocabulary

RECORD = "pretraining.json"  # what was ordered: arguments, text, steps; written at the start
_HYPERPARAMETERS = (
    "max_steps learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps weight_decay adam_beta1 adam_beta2 "
    "adam_epsilon max_grad_norm optim seed data_seed"
).split()
_TOLD = (
    "model_type layers hidden_size dropout sequence_length mask_rate whole_words next_sentence global_batch_size "
    "documents vocabulary_from vocabulary_size initialize_from checkpoint_dtype"
).split()

_TEXTS = ("corpus", "validation")
_VOCABULARY = "trained_on.json"  # beside a vocabulary: how large it was to be, and the text

logger = python_logging.getLogger(__name__)


def step_folder(root: Path, step: int) -> Path:
    """Where the model of a step is kept; a study takes it as a backbone."""
    return root / f"step-{step}"


class _StepFolders(TrainerCallback):
    """Keeps a model folder at each step of a list."""

    def __init__(self, root: Path, steps: list[int], tokenizer: Any, dtype: torch.dtype) -> None:
        self.root, self.steps, self.tokenizer, self.dtype = root, set(steps), tokenizer, dtype
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._keep(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._keep(state)

    def _keep(self, state: Any) -> None:
        if state.global_step in self.steps and state.is_world_process_zero:
            run_files.write_folder(step_folder(self.root, state.global_step), self._write)

    def _write(self, path: Path) -> None:
        save_stock(self.trainer.accelerator.unwrap_model(self.trainer.model), path, self.dtype)
        self.tokenizer.save_pretrained(path)


class _Epochs(TrainerCallback):
    """Tells blocks and sampler which epoch it is: accelerate does not, in one that is gone on with or shared out."""

    def __init__(self, *told: PackedBlocks | ShuffledBlocks) -> None:
        self.told = told

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for each in self.told:
            each.set_epoch(int((state.epoch or 0) + 1e-6))


class MaskedLMTrainer(RunTrainer):
    """A `Trainer` that masks a batch on the device that computes it.

    What is asked depends on the run's seed, the step and the block: the same after an interruption, whatever was
    prefetched, and with any number of processes. In validation the same is asked every time.
    """

    def __init__(self, *args: Any, masking: Masking, sampler: ShuffledBlocks, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.masking, self.sampler = masking, sampler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(train_dataset)
        return self.sampler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = dict(super()._prepare_inputs(inputs))
        key = (self.args.seed << 32) + self.state.global_step + 1 if self.model.training else 0
        asked = self.masking(inputs.pop("input_ids"), inputs.pop("block"), key)
        return {**inputs, **asked}

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


def _collate(batch: dict[str, Any]) -> dict[str, Any]:
    return batch  # `PackedBlocks` makes whole batches


def pretrain(told: PretrainingArguments, args: TrainingArguments) -> Path:
    """Pre-trains a model, or does what is left of it.

    Args:
        args: `output_dir` is the folder of this pre-training.

    Returns:
        The folder: `step-N/` a checkpoint, `pretraining.json`, `log_history.json`, and `results.json` once finished.

    Raises:
        ValueError: an order that does not fit the text, the tokenizer or what stands in the folder; a folder that
            another process writes to.
        BackboneUnavailableError: a backbone that cannot be had.
    """
    root, state = Path(args.output_dir or "runs/pretraining"), PartialState()
    if not state.is_main_process:
        return _pretrain(told, args, root, state)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".lock", timeout=0):  # the system takes it from a process that died
            return _pretrain(told, args, root, state)
    except Timeout:
        raise ValueError(f"{root}: another process is pre-training there; choose another --output_dir") from None


def _pretrain(told: PretrainingArguments, args: TrainingArguments, root: Path, state: PartialState) -> Path:
    set_seed(args.seed)
    steps = checkpoint_steps(told.checkpoint_steps, args.max_steps)
    train_source, validation_source = sources(told)
    for source in (train_source, validation_source):
        if source is not None:
            _ = source.paths  # a file that is missing is told before anything is replaced
    name = told.initialize_from or told.vocabulary_from or "minilm-l6"
    tokenizer = None if told.vocabulary_size is not None else _load(name, AutoTokenizer.from_pretrained)
    if not told.resume and state.is_main_process:
        _clear(root)
    with state.main_process_first():
        if tokenizer is None:
            tokenizer = _trained_tokenizer(told, train_source, root / "tokenizer")
        corpus = pack(train_source, tokenizer, root / _TEXTS[0])
        held_out = None if validation_source is None else pack(validation_source, tokenizer, root / _TEXTS[1])
    order = _order(told, args, tokenizer, (corpus, held_out), steps)
    _check_order(root, order)
    state.wait_for_everyone()
    if (root / run_files.RESULTS).is_file():
        logger.warning(f"skipped: {root} holds this pre-training, finished")
        return root
    trainer = build_trainer(told, args, (tokenizer, corpus, held_out), root, steps)
    if state.is_main_process:
        run_files.write_json(root / RECORD, {**order, "versions": versions(), "machine": machine()})
    checkpoint = run_checkpoints.last_complete_checkpoint(root / run_files.CHECKPOINTS, logger.warning)
    if checkpoint is not None:
        logger.warning(f"going on from {checkpoint.name}")
    begun = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if state.is_main_process:
        _finish(trainer, root, time.perf_counter() - begun, checkpoint)
    return root


def build_trainer(
    told: PretrainingArguments,
    args: TrainingArguments,
    text: tuple[Any, Corpus, Corpus | None],
    root: Path,
    steps: list[int],
) -> MaskedLMTrainer:
    """A trainer that is ready to train.

    Args:
        text: the tokenizer, the corpus, and the corpus to validate on if there is one.
        root: checkpoints to resume from go below it.
        steps: at which a model folder is kept.
    """
    tokenizer, corpus, held_out = text
    model = _model(told, tokenizer)
    use_cpu_attention(model)
    draw_dropout_at_once(model)
    args.output_dir = str(root / run_files.CHECKPOINTS)
    set_batch_size(args, told.global_batch_size)
    args.save_strategy = SaveStrategy.STEPS
    args.eval_strategy = IntervalStrategy.NO if held_out is None else IntervalStrategy.STEPS
    if args.eval_steps is None:
        args.eval_steps = max(1, args.max_steps // 20)
    folders = _StepFolders(root, steps, tokenizer, DTYPES[told.checkpoint_dtype])
    shape = (tokenizer, told.sequence_length, told.next_sentence, args.seed)
    blocks = PackedBlocks(corpus, *shape, "the text to train on")
    validation = None if held_out is None else PackedBlocks(held_out, *shape, "the text to validate on")
    sampler = ShuffledBlocks(len(blocks), args.seed if args.data_seed is None else args.data_seed)
    kept = (ThroughputCallback(), RunRecordCallback(root / run_files.LOG), folders)
    trainer = MaskedLMTrainer(
        model=model,
        args=args,
        train_dataset=blocks,
        eval_dataset=validation,
        data_collator=_collate,
        masking=masking(tokenizer, told.mask_rate, told.whole_words),
        sampler=sampler,
        callbacks=[LastStepCallback(), _Epochs(blocks, sampler), *kept],
    )
    folders.trainer = trainer
    return trainer


def _clear(root: Path) -> None:
    """Takes away what a pre-training left in a folder, and nothing else that lies there."""
    if not (root / RECORD).is_file():
        return
    for folder in (*root.glob("step-*"), *(root / name for name in (run_files.CHECKPOINTS, *_TEXTS, "tokenizer"))):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (run_files.RESULTS, run_files.LOG, RECORD):
        (root / name).unlink(missing_ok=True)


def _trained_tokenizer(told: PretrainingArguments, source: Source, folder: Path) -> Any:
    """One that is trained on the text and kept beside the checkpoints; trained anew for another size or text."""
    assert told.vocabulary_size is not None
    asked = {"size": told.vocabulary_size, "text": text_key(source)}
    found = folder / _VOCABULARY
    pretrained = (folder.parent / RECORD).is_file()  # then the order is compared, and nothing overwritten before
    if not folder.is_dir() or (not pretrained and (not found.is_file() or run_files.read_json(found) != asked)):
        logger.warning(f"training a vocabulary of {told.vocabulary_size} entries")
        vocabulary = train_vocabulary(lambda: (text for text, _ in read_lines(source)), told.vocabulary_size)
        tokenizer = build_tokenizer(vocabulary, max(512, told.sequence_length))

        def save(path: Path) -> None:
            tokenizer.save_pretrained(path)
            run_files.write_json(path / _VOCABULARY, asked)

        shutil.rmtree(folder, ignore_errors=True)
        run_files.write_folder(folder, save)
    return AutoTokenizer.from_pretrained(folder)


def _model(told: PretrainingArguments, tokenizer: Any) -> Any:
    if told.initialize_from is None:
        size = (told.layers, told.hidden_size, told.sequence_length, told.dropout)
        return model_class(told.model_type, told.next_sentence)(new_config(told.model_type, tokenizer, *size))
    config = _load(told.initialize_from, AutoConfig.from_pretrained)
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise ValueError(
            f"--initialize_from {told.initialize_from}: its vocabulary is not its tokenizer's: the model has "
            f"{config.vocab_size} entries, the tokenizer's ids go up to {largest}"
        )
    if told.sequence_length > config.max_position_embeddings:
        raise ValueError(
            f"--sequence_length is {told.sequence_length}; {told.initialize_from} has positions for "
            f"{config.max_position_embeddings} tokens"
        )
    found = model_class(config.model_type, told.next_sentence)
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = told.dropout, 0.0
    return _load(told.initialize_from, partial(load_whole, found), config=config, dtype=torch.float32)


def _load(name: str, load: Any, **kwargs: Any) -> Any:
    backbone = resolve_backbone(name)
    try:
        return load(backbone.source, revision=backbone.revision or "main", **kwargs)
    except OSError as error:
        raise unavailable(backbone, error) from None


def _order(
    told: PretrainingArguments,
    args: TrainingArguments,
    tokenizer: Any,
    text: tuple[Corpus, Corpus | None],
    steps: list[int],
) -> dict[str, Any]:
    arguments: dict[str, Any] = {name: getattr(told, name) for name in _TOLD}
    plain = {name: getattr(args, name) for name in _HYPERPARAMETERS}
    arguments |= {name: getattr(value, "value", value) for name, value in plain.items()}
    arguments["precision"] = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    return {
        "steps": args.max_steps,
        "checkpoint_steps": steps,
        "arguments": arguments,
        "vocabulary_entries": len(tokenizer),
        "text": text[0].record,
        "validation_text": None if text[1] is None else text[1].record,
    }


def _check_order(root: Path, order: dict[str, Any]) -> None:
    if not (root / RECORD).is_file():
        return
    found = run_files.read_json(root / RECORD)
    new, old = ({**o["arguments"], **{k: o[k] for k in order if k in o and k != "arguments"}} for o in (order, found))
    different = [
        f"{name} is {old[name]!r} there, {value!r} asked"
        for name, value in new.items()
        if name in old and old[name] != value
    ]
    if different:
        raise ValueError(
            f"{root} holds another pre-training: {'; '.join(different)}. Choose another --output_dir, or pass "
            "--no_resume to replace it"
        )


def _finish(trainer: Trainer, root: Path, seconds: float, checkpoint: Path | None) -> None:
    state = trainer.state
    losses = {name: [log[name] for log in state.log_history if name in log] for name in ("loss", "eval_loss")}
    parameters = trainer.accelerator.unwrap_model(trainer.model).num_parameters()
    results = {
        "steps": state.global_step,
        "tokens_seen": int(state.num_input_tokens_seen),
        "train_loss": losses["loss"][-1],
        "validation_loss": losses["eval_loss"][-1] if losses["eval_loss"] else None,
        "parameters": parameters,
        "train_seconds": round(seconds, 1),
        "resumed_from_step": None if checkpoint is None else int(checkpoint.name.rpartition("-")[2]),
    }
    run_files.write_json(root / run_files.RESULTS, results)
    shutil.rmtree(root / run_files.CHECKPOINTS, ignore_errors=True)
