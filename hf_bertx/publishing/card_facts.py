"""What a model card says of a run: computed from its folder, and from the folders of the same cell's other seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from .. import run_files
from ..arms import ARMS, BASELINE
from ..backbones import Backbone, known_backbone
from ..data.targets import sentence
from ..disciplines import DISCIPLINES
from ..protocols import PAPER, get_protocol
from ..report.statistics import seed_interval
from ..runs.run import Run
from ..tasks import Task

METRIC_TYPES = {"mcc": "matthews_correlation", "spearman": "spearmanr", "pearson": "pearsonr", "macro_f1": "f1"}
METRIC_TYPES |= {"segment_accuracy": "accuracy", "auprc": "average_precision"}
_SHOWN_SYMBOLS = 32
# Inputs to try: a donor site of the splice data (UCI, ATRINS-DONOR-521), the beginning of the green fluorescent
# protein (UniProt P42212), the first bar of Bach's prelude in C.
_EXAMPLES = {
    "dna": "CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG",
    "protein": "MSKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICT",
    "music": "60 64 67 72 76 67 72 76",
    "text": "A man is playing a guitar.",
}
_SECOND_EXAMPLE = "Somebody makes music."
# What the paper's protocol sets, and how a card says that a run had it otherwise.
_COMPARED = {
    "learning_rate": "learning rate {ours:g} in place of {paper:g}",
    "max_grad_norm": "gradients clipped at {ours:g}, where the paper clips none",
    "lr_scheduler_type": "a {ours} schedule of the learning rate in place of {paper}",
}


def backbone_name(order: dict[str, Any]) -> str:
    """The backbone as it was named, a folder by its last name alone: paths are nobody else's business."""
    name = order["specification"]["backbone"]
    return Path(name).name if order["backbone_origin"].startswith("the folder ") else name


def base_model(order: dict[str, Any]) -> str | None:
    """The Hub id of the backbone, or of the encoder that a baseline started from; None for a folder, and for none."""
    if order["specification"]["arm"] == BASELINE:
        encoder = encoder_of(order["specification"])
        return encoder if encoder is not None and "/" in encoder else None
    known, name = known_backbone(order["specification"]["backbone"]), order["specification"]["backbone"]
    if known is not None:
        return known.hub_id
    return None if order["backbone_origin"].startswith("the folder ") else name.partition("@")[0]


def encoder_of(specification: dict[str, Any]) -> str | None:
    """What a baseline started from that stock transformers loads: a Hub id, or a folder's name."""
    kind, _, source = specification["backbone"].partition(":")
    return source if kind == "encoder" else None


def run_name(order: dict[str, Any]) -> str:
    """A stable name for the runs of a cell, fit for a repository: `minilm-l6-dna-splice`, `...-re_emb-grouped`."""
    s = order["specification"]
    parts = [backbone_name(order).partition("@")[0].rpartition("/")[2], s["task"]]
    usual = {"split": "paper", "variant": ""}
    if s["arm"] != BASELINE:
        usual = {"arm": "bert", "protocol": "recommended", **usual}
    parts += [str(s[name]) for name, value in usual.items() if s.get(name) not in (None, value)]
    parts += [f"{s['kmer']}-mers"] if s.get("kmer") else []
    parts += [] if s["fraction"] == 1 else [f"fraction-{s['fraction']:g}"]
    # the Hub takes letters, digits, _, - and ., and neither -- nor ..
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w.-]|\.{2,}", "-", "-".join(parts), flags=re.ASCII)).strip("-.")


def license_of(task: Task, backbone: Backbone | None) -> str | None:
    """A model made from data that is shared alike carries the data's licence."""
    if task.license is not None and "-sa-" in task.license:
        return task.license
    return None if backbone is None else backbone.license


def score_rows(record: Run) -> list[list[str]]:
    """Lines of the results' table: split, items, runs, a value a metric; means where there are several seeds."""
    runs, lines = record.seeds(), []
    assert record.results is not None
    for split, scores in record.results["metrics"].items():
        items = str(record.results["counts"][split])
        metrics = record.task.metrics
        lines.append(
            [split, items, f"seed {record.specification['seed']} (these weights)"]
            + [f"{scores[name]:.3f}" for name in metrics]
        )
        if len(runs) > 1:
            values = [[r.score(split, name) for r in runs] for name in metrics]
            lines.append(
                [split, items, f"mean of {len(runs)} seeds", *(mean_and_interval(column) for column in values)]
            )
    return lines


def mean_and_interval(values: list[float | None]) -> str:
    """`0.950 [0.930, 0.970]`: mean and 95% interval by Student's t over seeds.

    Raises:
        ValueError: fewer than two values, or a missing one.
    """
    numbers = [value for value in values if value is not None]
    interval = seed_interval(numbers) if len(numbers) == len(values) else None
    if interval is None:
        raise ValueError(f"an interval needs a value of every seed, of two or more; got {values}")
    return f"{sum(numbers) / len(numbers):.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _warm_up(steps: float) -> str:
    return f"warm-up over {100 * steps:g}% of the steps" if steps < 1 else f"warm-up over {steps:g} steps"


def optimization(record: Run) -> str:
    """How the weights were moved, in a sentence's part."""
    h = record.specification["hyperparameters"]
    clipping = f"gradients clipped at norm {h['max_grad_norm']:g}" if h["max_grad_norm"] else "no clipping"
    warm_up = _warm_up(h["warmup_steps"]) if h["warmup_steps"] else "no warm-up"
    standardized = record.task.labels is None and h.get("standardize_targets", False)
    words = [f"learning rate {h['learning_rate']:g}", f"{h['lr_scheduler_type']}", warm_up, clipping]
    return ", ".join([*words, "targets standardized"] if standardized else words)


def differences_from_paper(record: Run) -> list[str]:
    """How a run was made otherwise than by the paper's protocol, where both are known."""
    s, task = record.specification, record.task
    h = s["hyperparameters"]
    found = (
        []
        if s["backbone"] == "bert-base-uncased"
        else [f"`{backbone_name(record.order)}` in place of BERT-base (12 x 768)"]
    )
    for name, words in _COMPARED.items():
        if h[name] != PAPER.training[name]:
            found.append(words.format(ours=h[name], paper=PAPER.training[name]))
    if h["warmup_steps"]:
        found.append(f"{_warm_up(h['warmup_steps'])}, where the paper has none")
    if h["global_batch_size"] != PAPER.global_batch_size:
        found.append(f"batches of {h['global_batch_size']} in place of {PAPER.global_batch_size}")
    if h["attention_dropout"] is not None:
        found.append(f"attention dropout {h['attention_dropout']:g} in place of the backbone's own")
    if task.discipline != "text" and h["patience"] is None:
        found.append("no early stopping")
    if s["assignment"] == "random" and ARMS[s["arm"]].assignment == "frequent":
        found.append("symbols on random subwords, not on the most frequent ones")
    if s.get("kmer"):
        drawn = ", in a frame that is drawn for each item and epoch" if s.get("frame_augmentation") else ""
        found.append(f"{s['kmer']}-mers in place of letters{drawn}")
    if s.get("window"):
        found.append(f"windows of {s['window']} symbols in place of the beginning of a long item")
    if s["split"] != "paper":
        found.append(f"the split `{s['split']}`")
    elif "all" in task.paper_sizes:
        found.append("another draw of the random 90/5/5 split, since the paper's is not known")
    if s["fraction"] != 1:
        found.append(f"{100 * s['fraction']:g}% of the training data")
    return found


def token_map(folder: Path, task: Task) -> list[str]:
    """`A 1996`, `C 1997`, ...: each symbol and its id in the backbone's vocabulary; of many symbols the first ones.

    Raises:
        ValueError: the tokenizer's file is missing.
    """
    if task.discipline == "text":
        return []
    saved = run_files.read_json(folder / run_files.MODEL / "tokenizer_config.json")
    pairs = list(zip(saved["alphabet"]["symbols"], saved["symbol_ids"], strict=True))
    shown = [f"`{symbol}` {number}" for symbol, number in pairs[:_SHOWN_SYMBOLS]]
    return shown if len(pairs) == len(shown) else [*shown, f"and {len(pairs) - len(shown)} more in `tokenizer.json`"]


def examples(task: Task) -> list[str]:
    """An input to try: a sequence, or the two of a pair."""
    first = _EXAMPLES.get(task.discipline)
    if first is None:
        first = DISCIPLINES[task.discipline].separator.join(DISCIPLINES[task.discipline].symbols[:4])
    if not task.pair:
        return [first]
    return [first, _SECOND_EXAMPLE if task.discipline == "text" else first[::-1]]


def metadata(record: Run, name: str, adapter: bool) -> ModelCardData:
    """The front matter that the Hub reads."""
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    backbone, split = known_backbone(s["backbone"]), results["test_split"]
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name=task.description,
            dataset_type=task.hub_id if task.hosted else task.name,
            dataset_name=task.name,
            dataset_config=s["split"],
            dataset_split=split,
            dataset_revision=record.order.get("data_revision"),
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=metric,
            metric_value=round(value, 4),
        )
        for metric, value in results["metrics"][split].items()
    ]
    base = base_model(record.order) if s["start"] != "random" else None
    shown = examples(task)
    widget = {"text": shown[0]} | ({"text_pair": shown[1]} if task.pair else {})
    return ModelCardData(
        model_name=name,
        eval_results=evaluations,
        base_model=base,
        base_model_relation=None if base is None else "adapter" if adapter else "finetune",
        datasets=[task.hub_id] if task.hosted else None,
        license=license_of(task, backbone),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification",
        tags=[task.discipline, "hf_bertx", s["arm"]],
        widget=[{**widget, "example_title": task.name}],
    )


def facts(record: Run) -> dict[str, Any]:
    """What the template of a model card fills in."""
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    arm, backbone = ARMS[s["arm"]], known_backbone(s["backbone"])
    paper = task.published_score(arm.paper_row) if arm.paper_row else None
    ours = record.score(results["test_split"], task.metric)
    assert ours is not None
    return {
        "task": task,
        "arm": arm,
        "order": record.order,
        "specification": s,
        "results": results,
        "protocol": get_protocol(s["protocol"]),
        "backbone": backbone,
        "backbone_name": backbone_name(record.order),
        "discipline": DISCIPLINES.get(task.discipline),
        "paper": paper,
        "ours": round(100 * ours, 1),
        "differences": differences_from_paper(record),
        "optimization": optimization(record),
        "examples": examples(task),
        "rows": score_rows(record),
        "seeds": [r.specification["seed"] for r in record.seeds()],
        "epoch_losses": [round(loss, 3) for loss in record.epoch_losses()],
        "minutes": round(results["train_seconds"] / 60, 1),
        "license": license_of(task, backbone),
        "leaks": record.order.get("data_leaks", []),
        "token_map": token_map(record.folder, task),
        **_what_was_read(results),
        "split": [f"{n} {part}" for part, n in results.get("split", {}).items()],
        "calibration": results.get("calibration"),
    }


def baseline_facts(record: Run) -> dict[str, Any]:
    """What the template of a baseline's card fills in."""
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    return {
        "task": task,
        "order": record.order,
        "specification": s,
        "results": results,
        "discipline": DISCIPLINES.get(task.discipline),
        "example": examples(task)[0],
        "splits": results["metrics"],
        "minutes": round(results["train_seconds"] / 60, 1),
        "license": license_of(task, None),
        "encoder": encoder_of(s),
        **_what_was_read(results),
    }


def _what_was_read(results: dict[str, Any]) -> dict[str, Any]:
    return {
        "read_as": sentence(results["understood"]) if "understood" in results else None,
        "cut": [f"{n} {part}" for part, n in results.get("cut", {}).items() if n],
    }
