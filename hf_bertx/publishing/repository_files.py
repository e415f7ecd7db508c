"""The files of a Hub repository for a run, a data set or an app, by their paths there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import RepoCard

from .. import run_files
from ..data.data_copies import BUILDS, check_build, configurations
from ..registry import first_line
from ..report.figures import save_figures
from ..report.make_cells import make_cells
from ..report.panels import curve_panels
from ..runs.run import Run
from . import card_facts
from .cards import dataset_card, model_card

Files = dict[str, "Path | bytes"]
CARD, PICTURE = "README.md", "loss_curve.png"
ONNX = "onnx"  # folder of a run, and of its repository
ONNX_RECORD = "export.json"  # in it: what was measured of the exported file
# Files of weights, configs and tokenizers. Pickles (`training_args.bin`, `optimizer.pt`) are left out.
_MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
_OF_A_MODEL = (
    f"*.safetensors *.safetensors.index.json adapter_config.json config.json tokenizer*.json vocab.* merges.txt "
    f"spiece.model special_tokens_map.json added_tokens.json {PICTURE} {ONNX}/*".split()
)


def of_an_upload(kind: str, name: str, present: Sequence[str]) -> bool:
    """Whether a file of a repository comes from an upload of this kind, so that the next one without it deletes it.

    Args:
        present: all files of the repository.
    """
    folder, _, file = name.rpartition("/")
    if kind == "model":
        return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in _OF_A_MODEL)
    if kind == "dataset":
        built = file.endswith(".parquet") and f"{BUILDS}/{folder}.json" in present
        return built or (folder == BUILDS and file.endswith(".json"))
    return False


def weights_of(run: Path, merge: bool = False) -> tuple[Path, bool]:
    """The folder that a run publishes, its adapter or its whole model, and whether it holds weights."""
    folder = run / (run_files.ADAPTER if (run / run_files.ADAPTER).is_dir() and not merge else run_files.MODEL)
    return folder, any(folder.glob("*.safetensors"))


def model_files(folder: Path, repo_id: str, merge: bool = False) -> Files:
    """Weights, tokenizer, card, order, results, log and loss curve of a finished run.

    Args:
        merge: of a LoRA run, the whole model in place of the adapter.

    Raises:
        ValueError: the run is not finished, its weights are gone or not what the run wrote, or its adapter belongs to
            a folder of this machine. OSError: the model or its tokenizer does not load.
    """
    run = Run.open_finished(folder)
    weights, held = weights_of(folder, merge)
    if not held:
        raise ValueError(f"{folder}: the folder {weights.name} holds no weights; train the run again to publish it")
    adapter = weights.name == run_files.ADAPTER
    _check_loads(folder, weights, card_facts.examples(run.task))
    files: Files = {path.name: path for path in sorted(weights.iterdir()) if _is_published(path.name)}
    if adapter:
        files |= _adapter_config(folder, card_facts.base_model(run.order))
    onnx = None
    if (folder / ONNX / ONNX_RECORD).is_file() and not adapter:
        onnx = run_files.read_json(folder / ONNX / ONNX_RECORD)
        files |= {f"{ONNX}/{path.name}": path for path in sorted((folder / ONNX).iterdir())}
    files[run_files.RUN] = _json(_public(run.order))
    files |= {name: folder / name for name in (run_files.RESULTS, run_files.LOG)}
    if run.curve("loss"):  # a run of a few steps may have logged nothing
        files[PICTURE] = _loss_curve(run)
    files[CARD] = model_card(folder, repo_id, adapter, onnx, PICTURE in files).encode()
    return dict(sorted(files.items()))


def _check_loads(folder: Path, weights: Path, example: list[str]) -> None:
    """Compares the files with the run's record, and loads them as people do who have transformers alone.

    Args:
        example: an item of the run's task, whose ids both tokenizers have to agree about.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoTokenizer

    from ..prediction.loading import check_model_files, load, load_classifier, load_tokenizer

    check_model_files(weights)
    run_files.check_run(folder, run_files.LOG)
    for path in weights.glob("*.safetensors"):
        try:
            with safe_open(path, "np") as tensors:
                tensors.keys()
        except SafetensorError as error:
            raise OSError(f"{path}: the weights cannot be read ({error})") from None
    ours = load_tokenizer(str(weights), None) if weights.name == run_files.ADAPTER else load_classifier(weights)[1]
    plain = load(AutoTokenizer, str(weights), None)
    if plain(*example, verbose=False).input_ids != ours(*example, verbose=False).input_ids:
        raise ValueError(f"{weights}: AutoTokenizer gives other ids than the run's tokenizer; train the run again")


def _is_published(name: str) -> bool:
    return name != CARD and not name.startswith(".") and any(fnmatch(name, pattern) for pattern in _MODEL_FILES)


def _adapter_config(folder: Path, base: str | None) -> Files:
    """The adapter's config, which names its base by its Hub id."""
    config = run_files.read_json(folder / run_files.ADAPTER / "adapter_config.json")
    if base is None:
        raise ValueError(
            f"{folder}: the adapter belongs to a backbone that is a folder of this machine, so nobody else could load "
            "it. What to do: --merge publishes the whole model"
        )
    return {"adapter_config.json": _json({**config, "base_model_name_or_path": base})}


def _public(order: dict[str, Any]) -> dict[str, Any]:
    """A run's order with the backbone's folder by its last name."""
    name, origin = card_facts.backbone_name(order), order["backbone_origin"]
    origin = f"the folder {name}" if card_facts.is_folder(order) else origin
    return {**order, "specification": {**order["specification"], "backbone": name}, "backbone_origin": origin}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _loss_curve(run: Run) -> bytes:
    """The loss curve of a log, as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        return save_figures(curve_panels(make_cells([run], resamples=1)), Path(folder))[0].read_bytes()


def dataset_files(folder: Path, repo_id: str) -> Files:
    """What `bertx data build` made: the Parquet files of every configuration, the records of the builds, the card.

    Raises:
        ValueError: the folder holds no build, or a file is not what was built.
    """
    records = {config: check_build(folder, config) for config in configurations(folder)}
    files: Files = {CARD: dataset_card(folder, repo_id).encode()}
    for config, record in records.items():
        names = [f"{BUILDS}/{config}.json", *(f"{config}/{name}" for name in record["files"])]
        files |= {name: folder / name for name in names}
    return files


def space_files(folder: Path) -> tuple[Files, str]:
    """The files of an app, and its kit (`gradio`), as its README.md says.

    Raises:
        ValueError: no such folder, or a README.md that does not say `sdk:` in its front matter.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    card = folder / CARD
    try:
        sdk = RepoCard.load(card).data.to_dict().get("sdk") if card.is_file() else None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{card}: its front matter cannot be read ({first_line(error)})") from None
    if sdk is None:
        raise ValueError(f"{folder}: a Space needs a {CARD} whose front matter says `sdk: gradio`")
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    hidden = [name for name in paths if any(part.startswith(".") or part == "__pycache__" for part in name.parts)]
    return {name.as_posix(): path for name, path in paths.items() if name not in hidden}, str(sdk)


def size(content: Path | bytes) -> int:
    """In bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def listing(files: Files) -> str:
    """One line a file with its size, and the sum."""
    lines = [f"  {readable(size(content)):>9}  {name}" for name, content in files.items()]
    return "\n".join([*lines, f"  {readable(sum(map(size, files.values()))):>9}  in {len(files)} files"])


def readable(count: float) -> str:
    """`90.9 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
