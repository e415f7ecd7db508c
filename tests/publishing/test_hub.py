"""The Hub, both ways, over real HTTP: what one publishes, another loads without hf_bertx. The server is a double."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, HubUser
from datasets import load_dataset
from file_damage import edit, respecify
from hub_server import File, HubServer, Repository
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.data.data_copies import built_files

SPLICE = ROOT / "hf_bertx" / "data" / "dna-splice"
# what a stranger runs: nothing of ours, names of the Hub alone
LOAD = """
import importlib.util, json, sys
assert importlib.util.find_spec("hf_bertx") is None
import torch
from datasets import load_dataset
from huggingface_hub import hf_hub_download
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
answers = {}
for model_id, data_id, revision in json.loads(sys.argv[1]):
    rows = load_dataset(data_id, "paper", revision=revision)["test"]
    tokenizer = AutoTokenizer.from_pretrained(model_id, revision=revision)
    load = AutoModelForSequenceClassification.from_pretrained
    model, found = load(model_id, revision=revision, output_loading_info=True)
    assert not any(found.values()), found
    with torch.no_grad():
        logits = model(**tokenizer(rows["sequence"][:], padding=True, return_tensors="pt")).logits
    classify = pipeline("text-classification", model=model_id, revision=revision)
    first = classify(rows["sequence"][0], top_k=None, function_to_apply="none")
    card = open(hf_hub_download(model_id, "README.md", revision=revision)).read()
    code, names = card.split("```python\\n")[1].split("```")[0], {}
    exec(code, names)  # the three lines of the card
    assert names["classify"](rows["sequence"][0])[0]["label"] in ("EI", "IE", "N")
    answers[str(revision)] = {
        "ids": rows["id"][:], "labels": rows["label"][:], "logits": logits.tolist(),
        "first": [{a["label"]: a["score"] for a in first}[name] for name in ("EI", "IE", "N")],
    }
print(json.dumps(answers))
"""


def loaded(user: HubUser, python: str, *wanted: tuple[str, str, str | None], **settings: Any) -> dict[str, Any]:
    done = user.run(python, "-c", LOAD, json.dumps(wanted), **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def shorter(target: Path) -> Path:
    """The splice data with one test item less, as a later build might have it."""
    shutil.copytree(SPLICE, target)
    rows = pq.read_table(target / "paper" / "test.parquet")
    pq.write_table(rows.slice(1), target / "paper" / "test.parquet")
    record = json.loads((target / "builds" / "paper.json").read_text())
    record["counts"]["test"] -= 1
    record["files"] = built_files(target / "paper")
    (target / "builds" / "paper.json").write_text(json.dumps(record))
    return target


def other_weights(folder: Path, target: Path) -> Path:
    """A run whose model gives logits that are larger by 0.5, as if it had been trained again."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model" / "model.safetensors")
    weights["classifier.bias"] += 0.5
    save_file(weights, target / "model" / "model.safetensors", metadata={"format": "pt"})
    return recorded(target)


def recorded(run: Path) -> Path:
    """The run, whose results record its files as they are now."""
    results = run_files.read_json(run / run_files.RESULTS)
    files = run_files.file_digests(run, run_files.RECORDED)
    run_files.write_json(run / run_files.RESULTS, {**results, "files": files})
    return run


def test_published_models_and_data_load_without_hf_bertx(
    run_folder: Path, hub: HubServer, user: HubUser, python_without_hf_bertx: str, tmp_path: Path
) -> None:
    names = ("bertx/tiny-dna-splice", "bertx/dna-splice")
    assert user.published("model", str(run_folder), names[0]).endswith("tagged v1")
    assert user.published("dataset", str(SPLICE)).endswith("tagged v1")
    expected = pq.read_table(run_folder / run_files.TEST_PREDICTIONS).to_pydict()

    # a second version: the first one stays what it was
    second = other_weights(run_folder, tmp_path / "second")
    assert user.published("model", str(second), names[0]).endswith("tagged v2")
    assert user.published("dataset", str(shorter(tmp_path / "data")), names[1]).endswith("tagged v2")
    # nobody is logged in, and nothing is cached
    answers = loaded(user, python_without_hf_bertx, (*names, "v1"), (*names, None), token=None, home="stranger")
    answer = answers["v1"]
    assert answer["ids"] == expected["id"]
    assert answer["labels"] == expected["label"]
    assert len(answer["logits"]) == 160
    assert torch.allclose(torch.tensor(answer["logits"]), torch.tensor(expected["logits"]), atol=1e-5)
    assert answer["first"] == pytest.approx(expected["logits"][0], abs=1e-5)
    assert answers["None"]["ids"] == expected["id"][1:]
    found = torch.tensor(answers["None"]["logits"])
    assert torch.allclose(found, torch.tensor(expected["logits"][1:]) + 0.5, atol=1e-5)


ADAPTER = """
import importlib.util, json, sys
assert importlib.util.find_spec("hf_bertx") is None
from huggingface_hub import hf_hub_download
card = open(hf_hub_download("bertx/adapter", "README.md")).read()
names = {}
exec(card.split("```python\\n")[1].split("```")[0], names)
merged = names["pipeline"]("text-classification", model="bertx/merged")
settings = {"top_k": None, "function_to_apply": "none"}
print(json.dumps([classify(sys.argv[1], **settings) for classify in (names["classify"], merged)]))
"""


def test_an_adapter_names_its_base_and_merges_on_request(
    run_folder: Path, tiny_backbone: Path, hub: HubServer, user: HubUser, python_without_hf_bertx: str, refusal: Any
) -> None:
    run = with_adapter(run_folder, tiny_backbone, user.folder / "run")
    line = refusal(main, "publish", "model", run, "bertx/adapter")
    assert "belongs to a backbone that is a folder of this machine" in line
    assert line.endswith("--merge publishes the whole model")
    hub.repositories["model", "bertx/base"] = Repository("model", "bertx/base")
    base = {path.name: File(path.read_bytes(), path.suffix == ".safetensors") for path in tiny_backbone.iterdir()}
    hub.repository("bertx/base").add("main", "the backbone", base)
    respecify(run, backbone="bertx/base")
    edit(run / run_files.RUN, backbone_origin="the Hub: bertx/base")
    user.published("model", str(run), "bertx/adapter")
    user.published("model", str(run), "bertx/merged", "--merge")
    files = hub.files("bertx/adapter")
    assert {"adapter_model.safetensors", "adapter_config.json"} <= set(files)
    assert not {"model.safetensors", "config.json"} & set(files)
    assert len(files["adapter_model.safetensors"]) < len(hub.files("bertx/merged")["model.safetensors"]) / 5
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "bertx/base"
    card = ModelCard(files["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", "bertx/base")
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert not [name for name, content in files.items() if str(user.folder).encode() in content]
    sequence = "CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG"
    done = user.run(python_without_hf_bertx, "-c", ADAPTER, sequence, token=None, home="stranger")
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [{a["label"]: a["score"] for a in found} for found in json.loads(done.stdout.splitlines()[-1])]
    assert set(answers[0]) == {"EI", "IE", "N"}
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def with_adapter(run: Path, backbone: Path, target: Path) -> Path:
    """A run as LoRA leaves it: the adapter that peft saved, and the plain model that it was merged into."""
    shutil.copytree(run, target)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(run / run_files.MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(backbone, config=config)
    settings = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"], modules_to_save=["classifier"])
    adapted = get_peft_model(model, settings)
    for name, values in adapted.named_parameters():
        if "lora_B" in name:  # zero before training: then an adapter would change nothing
            torch.nn.init.normal_(values)
    adapted.save_pretrained(target / "adapter")
    AutoTokenizer.from_pretrained(run / run_files.MODEL).save_pretrained(target / "adapter")
    adapted.merge_and_unload().save_pretrained(target / run_files.MODEL)
    return recorded(target)


def test_the_model_in_onnx_gives_the_same_logits(run_folder: Path, hub: HubServer, user: HubUser) -> None:
    run = Path(shutil.copytree(run_folder, user.folder / "run"))
    user.published("model", str(run), "bertx/tiny", "--onnx")
    files = hub.files("bertx/tiny")
    assert b"/site-packages/" not in files["onnx/model.onnx"]  # the exporter keeps where each node came from
    assert str(user.folder).encode() not in files["onnx/model.onnx"]
    record = json.loads(files["onnx/export.json"])
    assert record["largest_difference"] <= record["tolerance"] == 1e-4
    assert f"at most {record['largest_difference']:.1e} (tolerance 1e-04)" in files["README.md"].decode()
    expected = pq.read_table(run / run_files.TEST_PREDICTIONS).to_pydict()
    sequences = load_dataset(str(SPLICE), "paper")["test"]["sequence"][:]
    given = AutoTokenizer.from_pretrained(run / run_files.MODEL)(sequences, return_tensors="np", padding=True)
    (logits,) = onnxruntime.InferenceSession(files["onnx/model.onnx"]).run(["logits"], dict(given))
    assert len(logits) == 160
    assert torch.allclose(torch.from_numpy(logits), torch.tensor(expected["logits"]), atol=1e-4)


def test_train_pushes_our_card_and_no_pickle(tiny_backbone: Path, hub: HubServer, user: HubUser) -> None:
    argv = [sys.executable, str(ROOT / "train.py"), "--backbone", str(tiny_backbone), "--max_steps", "4"]
    argv += ["--eval_steps", "2", "--output_dir", str(user.folder / "runs"), "--push_to_hub"]
    done = user.run(*argv, "--hub_model_id", "owner/mine", "--hub_private_repo", "true", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "published " in done.stdout.splitlines()[-1]
    files = hub.files("owner/mine")
    assert hub.repository("owner/mine").private
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json", "results.json"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    card = files["README.md"].decode()
    assert "# mine\n" in card
    assert 'model="owner/mine"' in card
    assert "generated from the information" not in card  # what the Trainer's card says of itself
    (folder,) = (path.parent for path in (user.folder / "runs").rglob("results.json"))
    assert files["model.safetensors"] == (folder / "model" / "model.safetensors").read_bytes()
    for name, content in files.items():
        assert str(user.folder).encode() not in content, name
        assert str(tiny_backbone).encode() not in content, name

    again = user.run(*argv, PYTHONPATH=str(ROOT))  # finished already, and no name given
    assert again.returncode == 0, again.stderr[-3000:]
    assert hub.files("owner/tiny-bert0-dna-splice")["model.safetensors"] == files["model.safetensors"]
    wrong = user.run(*argv, "--seed", "9", token="hf_wrong", PYTHONPATH=str(ROOT))
    assert wrong.returncode == 2
    assert "does not take the token" in wrong.stderr.splitlines()[-1]
    assert not list((user.folder / "runs").rglob("seed-9"))  # it was told so before anything was trained


PUSH = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from stock_trainers import make_trainer
from hf_bertx.callbacks import ModelCardCallback
settings = {"push_to_hub": True, "hub_model_id": "owner/theirs", "max_steps": 2}
trainer = make_trainer(Path(sys.argv[1]), [], **settings)
ModelCardCallback(lambda: "---\\ntags:\\n- ours\\n---\\n# Ours\\n").attach(trainer)
trainer.train()
trainer.push_to_hub()
"""


def test_anybodys_trainer_pushes_the_card_of_the_plugin(hub: HubServer, user: HubUser) -> None:
    argv = [sys.executable, "-c", PUSH, str(user.folder / "out"), str(ROOT), str(ROOT / "tests")]
    done = user.run(*argv)
    assert done.returncode == 0, done.stderr[-3000:]
    titles = [commit.title for commit in hub.repository("owner/theirs").commits.values()]
    assert titles == ["initial commit", "End of training"]
    assert hub.files("owner/theirs")["README.md"].decode().endswith("# Ours\n")
