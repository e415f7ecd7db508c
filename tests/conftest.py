"""Small real models and tokenizers, made once a test session. No network: the Hub address leads nowhere."""

import os

os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import atexit
import gc
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from file_server import FileServer
from hub_server import HubServer
from python_processes import run_python
from safetensors.torch import load_file, save_file
from saved_models import classes, saved
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerFast

from hf_bertx.backbones import resolve_backbone
from hf_bertx.configuration_discipline import DISCIPLINE_CONFIGS
from hf_bertx.protocols import RECOMMENDED

# a core for each process of tests: threads that wait for a core that somebody else holds are slower than one thread
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER.startswith("gw") and hasattr(os, "sched_setaffinity"):
    _CORES = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_CORES[int(_WORKER[2:]) % len(_CORES)]})

# Numbers are compared in float32 on every processor: here none has bfloat16 in hardware; tests of it ask for it.
for _check in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
    if hasattr(torch.cpu, _check):
        setattr(torch.cpu, _check, lambda: False)

# Each training collects garbage; what was imported is none, and looking through it takes 0.3 s.
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)

ROOT = Path(__file__).resolve().parent.parent
WORDS = 600


def small_config(model_type: str) -> Any:
    """The config of a family, in miniature."""
    sizes = {"hidden_size": 32, "embedding_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    config = DISCIPLINE_CONFIGS[model_type](vocab_size=120, num_labels=3, **sizes)
    large_ids = {name: value for name, value in special.items() if (getattr(config, name, 0) or 0) >= 120}
    for name, value in {"intermediate_size": 16, "hidden_dim": 16, **large_ids}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


@pytest.fixture(scope="session")
def wordpiece_vocabulary() -> list[str]:
    """Laid out as BERT's: specials and unused below 1000, then words."""
    tokens = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [f"[unused{n}]" for n in range(99, 968)]
    tokens += [chr(ord("a") + n) for n in range(26)] + ["!"]
    assert len(tokens) == 1000
    return tokens + [f"word{n}" for n in range(WORDS)]


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory, wordpiece_vocabulary: list[str]) -> Path:
    """A BERT of 2 layers x 32 with random weights that plays the pre-trained one."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"vocab_size": len(wordpiece_vocabulary), "max_position_embeddings": 128}
    BertModel(BertConfig(**sizes, initializer_range=0.05)).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(wordpiece_vocabulary)})
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's vocabulary, 2 layers x 32, with random weights."""
    folder = tmp_path_factory.mktemp("tiny") / "minilm-l6"
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def reader(tiny_minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader of README and docs/ runs what they show: `minilm-l6` is tiny there, and runs have two steps."""
    shutil.copytree(tiny_minilm, tmp_path / "minilm-l6")
    for name in ("examples", "hf_bertx", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for name in ("max_steps", "eval_steps"):
        monkeypatch.setitem(RECOMMENDED.training, name, 2)
    return tmp_path


def broken_backbone(whole: Path, folder: Path, how: str) -> Path:
    """A copy whose weights have `other names` or `other shapes` than its config says."""
    shutil.copytree(whole, folder)
    weights = load_file(folder / "model.safetensors")
    if how == "other names":
        weights = {name.replace("encoder.layer.1.", "encoder.block.1."): tensor for name, tensor in weights.items()}
    else:
        name = "encoder.layer.1.output.dense.weight"
        weights[name] = weights[name][:, :-1].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def fast_tokenizer(inner: Tokenizer, special: str, inputs: str, *ends: str) -> PreTrainedTokenizerFast:
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
    tokens = dict(zip(names, [*special.split(), *ends], strict=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=128, model_input_names=inputs.split(), **tokens
    )


@pytest.fixture(scope="session")
def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """As ALBERT's: a Unigram vocabulary, `[CLS] A [SEP] B [SEP]`, token types."""
    pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "a", *(f"▁word{n}" for n in range(300))]
    inner = Tokenizer(models.Unigram([(piece, -float(n)) for n, piece in enumerate(pieces)], unk_id=1))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return fast_tokenizer(inner, "<pad> <unk> [CLS] [SEP] [MASK]", "input_ids token_type_ids attention_mask")


@pytest.fixture(scope="session")
def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """As RoBERTa's: `<s> A </s></s> B </s>`, no token types, padding is id 1."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", *(f"Ġword{n}" for n in range(1300))]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return fast_tokenizer(inner, "<pad> <unk> <s> </s> <mask>", "input_ids attention_mask", "<s>", "</s>")


class HubUser:
    """Runs commands as their users do, in processes of their own, with the test double in the place of the Hub.

    Args:
        folder: holds the homes of the users; the one that is named `empty` by nobody else has an empty cache.
    """

    def __init__(self, hub: HubServer, folder: Path) -> None:
        self.hub, self.folder = hub, folder

    def run(
        self, *argv: str, token: str | None = "hf_owner", home: str = "home", **environment: str
    ) -> subprocess.CompletedProcess:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
        settings = {"HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(self.folder / home)}
        settings |= {} if token is None else {"HF_TOKEN": token}
        given: dict[str, Any] = {"cwd": self.folder, "env": {**plain, **settings, **environment}}
        if argv[0] == sys.executable:
            return run_python(*argv[1:], **given)
        return subprocess.run(argv, capture_output=True, text=True, timeout=300, **given)

    def published(self, *argv: str) -> str:
        """What `bertx publish` says when it has done what it was told."""
        done = self.run(sys.executable, "-m", "hf_bertx.cli", "publish", *argv, PYTHONPATH=str(ROOT))
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a command that has to end with status 2; returns the line that says why."""

    def refused(command: Callable[[list[str]], int], *argv: Any) -> str:
        assert command([str(word) for word in argv]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.match(r"[\w.]+: error: ", line), line
        return line

    return refused


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A hub on a free port; `hf_owner` may write to owner/ and bertx/, `hf_other` to other/."""
    server = HubServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def user(hub: HubServer, tmp_path: Path) -> HubUser:
    return HubUser(hub, tmp_path)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.02))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The download cache of `datasets`, for this test alone, and leave to reach this machine's own addresses."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    return tmp_path / "downloads"


@pytest.fixture(scope="session")
def python_without_hf_bertx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh virtual environment that sees the installed packages, but not hf_bertx.

    A line of a .pth file adds a folder without reading the .pth files in it, by which editable installs are found.
    """
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(folder / "bin" / "python")
    code = "import importlib.util as u; print(u.find_spec('transformers') is not None, u.find_spec('hf_bertx'))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.split() == ["True", "None"]
    return python


@pytest.fixture(scope="session")
def dna_model(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of three classes of DNA, with random weights. Not to be changed: copy it."""
    return saved(tiny_backbone, tmp_path_factory.mktemp("dna"), "dna", **classes("EI", "IE", "N"))


@pytest.fixture(scope="session")
def run_folder(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of dna-splice, of eight steps. Not to be changed: copy it."""
    root = tmp_path_factory.mktemp("short")
    return train_briefly(tiny_backbone, root, "--seed", "0")


def train_briefly(backbone: Path, root: Path, *more: str) -> Path:
    """The folder of a run that train.py made."""
    argv = ["--backbone", str(backbone), "--output_dir", str(root), "--max_steps", "8", "--eval_steps", "4"]
    argv += ["--logging_steps", "2", "--learning_rate", "1e-3", "--precision", "float32", *more]
    done = run_python(ROOT / "train.py", *argv)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.rpartition("wrote ")[2].splitlines()[0])
