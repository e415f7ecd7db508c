"""The facts of a model card, computed from a run's folder and those of the cell's other seeds."""

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
# What an arm keeps of a text model, as a card says it.
_STARTED = {
    "pretrained": "",
    "random": " with random weights",
    "re_emb": " with random word embeddings",
    "random_body": " of which only the embeddings were kept",
    "shuffled": " with the entries of each weight matrix permuted",
}
# What a card says where the licence of the data is not known, by whether others host the data.
_NO_LICENSE = {
    True: "not stated by its publisher",
    False: "not stated (repeat `bertx train`, or `bertx data build` and the training, with `--license`; what is "
    "finished is not trained again)",
}
# Settings of the paper's protocol, and how a card describes a difference from each.
_COMPARED = {
    "learning_rate": "learning rate {ours:g} in place of {paper:g}",
    "max_grad_norm": "gradients clipped at {ours:g}, where the paper clips none",
    "lr_scheduler_type": "a {ours} schedule of the learning rate in place of {paper}",
}


def is_folder(order: dict[str, Any]) -> bool:
    """Whether the backbone was a local folder, whose path is private."""
    return order["backbone_origin"].startswith("the folder ")


def backbone_name(order: dict[str, Any]) -> str:
    """The backbone's name; for a folder, its last part."""
    name = order["specification"]["backbone"]
    return Path(name).name if is_folder(order) else name


def base_model(order: dict[str, Any]) -> str | None:
    """The Hub id of the backbone, or of the encoder that a baseline started from; None for a folder, and for none."""
    name = order["specification"]["backbone"]
    if order["specification"]["arm"] == BASELINE:
        encoder = encoder_of(order["specification"])
        return encoder if encoder is not None and "/" in encoder else None
    known = known_backbone(name)
    return known.hub_id if known is not None else None if is_folder(order) else name.partition("@")[0]


def encoder_of(specification: dict[str, Any]) -> str | None:
    """The pretrained encoder of a baseline, as stock transformers loads it: a Hub id or a folder's name."""
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
    parts += [f"{name}-{s[name]}" for name in ("window", "overlap") if s.get(name)]
    parts += [] if s["fraction"] == 1 else [f"fraction-{s['fraction']:g}"]
    # the Hub takes letters, digits, _, - and ., and neither -- nor ..
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w.-]|\.{2,}", "-", "-".join(parts), flags=re.ASCII)).strip("-.")


def license_of(task: Task, backbone: Backbone | None) -> str | None:
    """The licence of a model. Data under a share-alike licence passes its licence on to the model."""
    if task.license is not None and "-sa-" in task.license:
        return task.license
    return None if backbone is None else backbone.license


def score_rows(run: Run) -> list[list[str]]:
    """Lines of the results' table: split, items, runs, a value a metric; means where there are several seeds."""
    runs, metrics, lines = run.seeds(), run.task.metrics, []
    for split, scores in run.scores.items():
        items = str((run.results or {})["counts"][split])
        values = [f"{scores[name]:.3f}" for name in metrics]
        lines.append([split, items, f"seed {run.specification['seed']} (these weights)", *values])
        if len(runs) > 1:
            means = [mean_and_interval([each.score(split, name) for each in runs]) for name in metrics]
            lines.append([split, items, f"mean of {len(runs)} seeds", *means])
    return lines


def mean_and_interval(values: list[float | None]) -> str:
    """`0.950 [0.930, 0.970]`: mean and 95% interval by Student's t over seeds; `0.950 (all alike)` of equal scores.

    Raises:
        ValueError: fewer than two values, or a missing one.
    """
    numbers = [value for value in values if value is not None]
    if len(numbers) < max(len(values), 2):
        raise ValueError(f"an interval needs a value of every seed, of two or more; got {values}")
    interval = seed_interval(numbers) if len(set(numbers)) > 1 else None
    around = "(all alike)" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"
    return f"{sum(numbers) / len(numbers):.3f} {around}"


def _warm_up(steps: float) -> str:
    return f"warm-up over {100 * steps:g}% of the steps" if steps < 1 else f"warm-up over {steps:g} steps"


def optimization(run: Run) -> str:
    """The optimizer and its settings, as part of a sentence."""
    h = run.specification["hyperparameters"]
    clipping = f"gradients clipped at norm {h['max_grad_norm']:g}" if h["max_grad_norm"] else "no clipping"
    warm_up = _warm_up(h["warmup_steps"]) if h["warmup_steps"] else "no warm-up"
    standardized = run.task.labels is None and h["standardize_targets"]
    words = [f"learning rate {h['learning_rate']:g}", f"{h['lr_scheduler_type']}", warm_up, clipping]
    return ", ".join([*words, "targets standardized"] if standardized else words)


def differences_from_paper(run: Run) -> list[str]:
    """Differences between a run and the paper's protocol, as far as both are known."""
    s, task, h = run.specification, run.task, run.specification["hyperparameters"]
    dropout, batch = h["attention_dropout"], h["global_batch_size"]
    random_symbols = s["assignment"] == "random" and ARMS[s["arm"]].assignment == "frequent"
    differences = [
        (s["backbone"] != "bert-base-uncased", f"`{backbone_name(run.order)}` in place of BERT-base (12 x 768)"),
        *(
            (h[name] != PAPER.training[name], words.format(ours=h[name], paper=PAPER.training[name]))
            for name, words in _COMPARED.items()
        ),
        (h["warmup_steps"], f"{_warm_up(h['warmup_steps'])}, where the paper has none"),
        (batch != PAPER.global_batch_size, f"batches of {batch} in place of {PAPER.global_batch_size}"),
        (dropout is not None, f"attention dropout {dropout or 0:g} in place of the backbone's own"),
        (task.discipline != "text" and h["patience"] is None, "no early stopping"),
        (random_symbols, "symbols on random subwords, not on the most frequent ones"),
        (s.get("kmer"), f"{s.get('kmer')}-mers in place of letters"),
        (s.get("window"), f"windows of {s.get('window')} symbols in place of the beginning of a long item"),
        (s["split"] != "paper", f"the split `{s['split']}`"),
        (
            s["split"] == "paper" and "all" in task.paper_sizes,
            "another draw of the random 90/5/5 split, since the paper's is not known",
        ),
        (s["fraction"] != 1, f"{100 * s['fraction']:g}% of the training data"),
    ]
    return [words for differs, words in differences if differs]


def token_map(folder: Path, task: Task) -> list[str]:
    """`A 1996`, `C 1997`, ...: each symbol and its id in the backbone's vocabulary; of many symbols the first ones.

    Raises:
        ValueError: the tokenizer's file is missing.
    """
    if task.discipline == "text":
        return []
    saved = _tokenizer_config(folder)
    pairs = list(zip(saved["alphabet"]["symbols"], saved["symbol_ids"], strict=True))
    more = len(pairs) - _SHOWN_SYMBOLS
    shown = [f"`{symbol}` {number}" for symbol, number in pairs[:_SHOWN_SYMBOLS]]
    return [*shown, f"and {more} more in `tokenizer.json`"] if more > 0 else shown


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    return run_files.read_json(folder / run_files.MODEL / "tokenizer_config.json")


def examples(task: Task) -> list[str]:
    """An input to try: a sequence, or the two of a pair."""
    first = _EXAMPLES.get(task.discipline)
    if first is None:
        first = DISCIPLINES[task.discipline].separator.join(DISCIPLINES[task.discipline].symbols[:4])
    if not task.pair:
        return [first]
    return [first, _SECOND_EXAMPLE if task.discipline == "text" else first[::-1]]


def metadata(run: Run, name: str, adapter: bool) -> ModelCardData:
    """The front matter of a card, for the Hub."""
    s, task, split = run.specification, run.task, run.task.test_split
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name=task.description,
            dataset_type=task.hub_id if task.hosted else task.name,
            dataset_name=task.name,
            dataset_config=s["split"] if task.hosted else None,
            dataset_split=split,
            dataset_revision=run.order.get("data_revision"),  # baselines have none
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=metric,
            metric_value=round(value, 4),
        )
        for metric, value in run.scores[split].items()
    ]
    base = base_model(run.order) if s["start"] != "random" else None
    example = dict(zip(("text", "text_pair"), examples(task), strict=False))
    return ModelCardData(
        model_name=name,
        eval_results=evaluations,
        base_model=base,
        base_model_relation=None if base is None else "adapter" if adapter else "finetune",
        datasets=[task.hub_id] if task.hosted else None,
        license=license_of(task, known_backbone(s["backbone"])),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification",
        tags=[task.discipline, "hf_bertx", s["arm"]],
        widget=[{**example, "example_title": task.name}],
    )


def facts(run: Run) -> dict[str, Any]:
    """The values of a model card's template."""
    s, task = run.specification, run.task
    arm = ARMS[s["arm"]]
    return {
        **encoder_facts(run),
        "protocol": get_protocol(s["protocol"]),
        "paper": task.published_score(arm.paper_row) if arm.paper_row else None,
        "ours": round(100 * run.scores[task.test_split][task.metric], 1),
        "differences": differences_from_paper(run),
        "optimization": optimization(run),
        "rows": score_rows(run),
        "seeds": [each.specification["seed"] for each in run.seeds()],
        "epoch_losses": [round(loss, 3) for loss in run.epoch_losses()],
    }


def encoder_facts(run: Run) -> dict[str, Any]:
    """Values that the templates of fine-tuned encoders and of probes share."""
    arm, backbone = ARMS[run.specification["arm"]], known_backbone(run.specification["backbone"])
    return {
        **shared_facts(run, backbone),
        "arm": arm,
        "started": _STARTED[arm.start],
        "backbone": backbone,
        "backbone_name": backbone_name(run.order),
        "examples": examples(run.task),
        "longest": _tokenizer_config(run.folder)["model_max_length"],
        "calibration": (run.results or {}).get("calibration"),
        "leaks": run.order["data_leaks"],
        "token_map": token_map(run.folder, run.task),
    }


def baseline_facts(run: Run) -> dict[str, Any]:
    """The values of a baseline card's template."""
    return {**shared_facts(run, None), "example": examples(run.task)[0], "encoder": encoder_of(run.specification)}


def shared_facts(run: Run, backbone: Backbone | None) -> dict[str, Any]:
    """Values that the templates of all cards share."""
    results, split = run.results or {}, run.specification["split"]
    return {
        "task": run.task,
        "order": run.order,
        "specification": run.specification,
        "results": run.results,
        "discipline": DISCIPLINES.get(run.task.discipline),
        "minutes": round(results["train_seconds"] / 60, 1),
        "license": license_of(run.task, backbone),
        "data_license": run.task.license or _NO_LICENSE[run.task.hosted],
        "data_split": f"split `{split}`, " if run.task.hosted or split != "paper" else "",
        "read_as": sentence(results["understood"]) if "understood" in results else None,
        "cut": [f"{count} {part}" for part, count in results.get("cut", {}).items() if count],
        "split": [f"{count} {part}" for part, count in results.get("split", {}).items()],
    }
