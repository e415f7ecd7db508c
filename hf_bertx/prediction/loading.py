"""A run's folder, a model's folder, an adapter or a Hub id -> model and tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from .. import run_files
from ..backbones import BACKBONES, resolve_backbone
from ..baselines import hilbert_cnn as _hilbert_cnn  # noqa: F401  makes itself known to AutoModel
from ..baselines import plus_tfm as _plus_tfm  # noqa: F401
from ..baselines import symbol_cnn as _symbol_cnn  # noqa: F401
from ..data.labels import label_fields
from ..hub_answers import advice
from ..modeling_discipline import load_whole
from ..registry import one_line
from ..tasks import Task
from ..tokenization_discipline import DisciplineTokenizer

_CONFIG, _ADAPTER_CONFIG = "config.json", "adapter_config.json"
_OF_DISCIPLINE = ("alphabet", "symbol_ids", "special_ids", "template", "backbone_vocab_size")
_ALLOWED = "allowed: a run's folder, a model's or an adapter's folder, or a Hub id owner/name"


def load_classifier(source: str | Path) -> tuple[Any, Any]:
    """Model and tokenizer of a run's folder, a model's or an adapter's folder, or a Hub id (`owner/name[@revision]`).

    No code of a repository is run, and no pickle is read.

    Raises:
        ValueError: there is no model, or it is not a sequence classifier; one line that says why.
        OSError: the Hub does not have it or cannot be reached, or a file is damaged.
    """
    name, revision = find_model(source)
    check_model_files(Path(name))
    if _file(name, revision, _CONFIG) is None and _file(name, revision, _ADAPTER_CONFIG) is not None:
        return _load_adapter(name, revision), load_tokenizer(name, revision)
    config = load(AutoConfig, name, revision)
    architecture = (config.architectures or ["no architecture"])[0]
    if not architecture.endswith("ForSequenceClassification"):
        raise ValueError(f"{source}: not a sequence classifier ({architecture}); a run of train.py saves one")
    model, info = load(
        AutoModelForSequenceClassification, name, revision, output_loading_info=True, use_safetensors=True
    )
    if info["missing_keys"]:
        raise ValueError(f"{source}: not a whole sequence classifier, {min(info['missing_keys'])} is missing")
    tokenizer = load_tokenizer(name, revision)
    of_text = getattr(config, "discipline", None) in (None, "text") or getattr(config, "started_as", None) is None
    if not of_text and not isinstance(tokenizer, DisciplineTokenizer):
        raise ValueError(f"{source}: tokenizer_config.json is damaged, it has no symbol_ids of {config.discipline}")
    return model, tokenizer


def check_model_files(folder: Path) -> None:
    """Compares the files of a run's `model` or `adapter` folder with what the run recorded of them.

    Folders outside a run pass, and so do runs of a version that recorded no files.

    Raises:
        ValueError: a file is not what the run wrote; the message names it.
    """
    run = folder.resolve().parent
    if folder.name in (run_files.MODEL, run_files.ADAPTER) and (run / run_files.RESULTS).is_file():
        results = run_files.read_json(run / run_files.RESULTS)
        if not isinstance(results, dict) or "metrics" not in results or "files" in results:
            run_files.check_run(run, f"{folder.name}/")


def find_model(source: str | Path) -> tuple[str, str | None]:
    """The folder or Hub id that `from_pretrained` takes, and the revision of the latter.

    Raises:
        ValueError: a folder without a model, or a name that is no Hub id.
    """
    folder = Path(source).expanduser()
    if (folder / run_files.MODEL / _CONFIG).is_file():
        folder = folder / run_files.MODEL
    if (folder / _CONFIG).is_file() or (folder / _ADAPTER_CONFIG).is_file():
        return str(folder), None
    if (folder / run_files.RESULTS).is_file():
        if f"{run_files.MODEL}/{_CONFIG}" not in run_files.read_json(folder / run_files.RESULTS).get("files", ()):
            raise ValueError(f"{source}: a run that keeps no model; a training does, and `bertx probe --save_model`")
        raise ValueError(f"{source}: the run is finished, but its model/{_CONFIG} is gone; train the run again")
    if (folder / run_files.RUN).is_file():
        raise ValueError(f"{source}: the run is not finished, it holds no model; train.py goes on with it")
    if folder.exists():
        raise ValueError(f"{source}: holds no model; {_ALLOWED}")
    name, _, revision = str(source).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"{source}: no such folder, and not a Hub id; a Hub id is owner/name[@revision]")
    return name, revision or None


def _file(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a folder, or of a repository of the Hub; None where it has none of that name."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:  # offline, it is unknown whether the file exists
            return None
        raise _failed(name, error) from None
    except EntryNotFoundError:
        return None
    except Exception as error:
        raise _failed(name, error) from None


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The tokenizer of a folder or a Hub id: a `DisciplineTokenizer` if its config describes one.

    Raises:
        OSError: it cannot be had, or a file is damaged.
    """
    try:
        described = "symbol_ids" in get_tokenizer_config(name, revision=revision)
    except Exception as error:
        raise _failed(name, error) from None
    return load(DisciplineTokenizer if described else AutoTokenizer, name, revision)


def as_discipline_tokenizer(tokenizer: Any) -> Any:
    """The [`DisciplineTokenizer`] that saved a plain tokenizer; another tokenizer as it is."""
    record = getattr(tokenizer, "init_kwargs", {})
    if isinstance(tokenizer, DisciplineTokenizer) or "symbol_ids" not in record:
        return tokenizer
    named = {name: record[name] for name in (*_OF_DISCIPLINE, "truncation_keeps", "assignment") if name in record}
    for name in ("model_max_length", "padding_side", "truncation_side", "name_or_path"):
        named[name] = getattr(tokenizer, name)
    return DisciplineTokenizer(**named, **tokenizer.special_tokens_map)


def _load_adapter(name: str, revision: str | None) -> Any:
    """The backbone that an adapter belongs to, with the adapter merged into its weights.

    The run's `run.json`, beside the adapter's folder or in it, names the classes and the backbone's folder.
    """
    order_file = _file(name, revision, run_files.RUN)
    beside = Path(name).parent / run_files.RUN
    if order_file is None and Path(name).is_dir() and beside.is_file():
        order_file = beside
    if order_file is None:
        raise ValueError(f"{name}: an adapter needs the {run_files.RUN} of its run, which names the classes")
    order, config = run_files.read_json(order_file), load(PeftConfig, name, revision)
    try:
        task, specification = Task.from_dict(order["task"]), order["specification"]
        base = specification["backbone"] if order_file == beside else config.base_model_name_or_path
    except (KeyError, TypeError):
        raise ValueError(f"{order_file}: damaged, its task cannot be read; train the run again") from None
    known = next((b.name for b in BACKBONES.values() if b.hub_id == base), None)
    try:
        backbone = resolve_backbone(known or base)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: the adapter's backbone {base!r} is not at hand ({error})") from None
    try:
        model = load_whole(
            AutoModelForSequenceClassification,
            backbone.source,
            revision=backbone.revision or config.revision or "main",
            **label_fields(task),
        )
        adapted = PeftModel.from_pretrained(model, name, revision=revision).merge_and_unload()
    except Exception as error:
        raise _failed(name, error) from None
    adapted.config.window_symbols, adapted.config.window_overlap = map(specification.get, ("window", "overlap"))
    adapted.config.discipline, adapted.config.reads_pairs = task.discipline, task.pair
    return adapted


def load(loader: Any, name: str, revision: str | None, **kwargs: Any) -> Any:
    """`loader.from_pretrained`, which runs no code of a repository.

    Raises:
        OSError: it cannot be loaded, for whatever reason; one line that says what to do.
    """
    if loader is not PeftConfig:
        kwargs["trust_remote_code"] = False
    try:
        return loader.from_pretrained(name, revision=revision or "main", **kwargs)
    except Exception as error:  # json, tokenizers and safetensors raise errors of their own for damaged files
        raise _failed(name, error) from None


def _failed(name: str, error: Exception) -> OSError:
    return OSError(f"{name}: the model could not be loaded: {advice(error) or one_line(error)}")
