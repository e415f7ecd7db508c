"""Cards: golden files compared whole, metadata that the Hub's library reads back, sentences for what was measured."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from file_damage import edit, respecify
from huggingface_hub import DatasetCard, ModelCard
from transformers import AutoTokenizer

from hf_bertx import DisciplineTokenizer, run_files
from hf_bertx.backbones import resolve_backbone
from hf_bertx.publishing import card_facts
from hf_bertx.publishing.cards import dataset_card, model_card
from hf_bertx.runs.run import Run
from hf_bertx.study.archive import read_archive
from hf_bertx.tasks import get_task

GOLDEN = ROOT / "model_cards" / "examples"
RUNS = {  # of results/verdict
    "dna": "recommended/dna-splice/minilm-l6/bert/seed-0",
    "music": "recommended/music-maestro-v1/minilm-l6/bert/seed-0",
    "text": "recommended/glue-stsb/minilm-l6/shift_1000/seed-0",
}


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real runs of results/, which keep no model, with the tokenizers that they had."""
    root, source, folders = tmp_path_factory.mktemp("archived"), resolve_backbone("minilm-l6").source, {}
    read_archive(ROOT / "results" / "verdict" / "runs.tar.xz", root)
    for discipline, run in RUNS.items():
        folder = folders[discipline] = root / run
        longest = Run.open_finished(folder).task.max_length
        if discipline == "text":
            tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=longest)
        else:
            tokenizer = DisciplineTokenizer.from_backbone(source, discipline, model_max_length=longest)
        tokenizer.save_pretrained(folder / run_files.MODEL)
    return folders


@pytest.fixture
def golden(archived: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    folders = {name: Path(shutil.copytree(folder, tmp_path / name / "seed-0")) for name, folder in archived.items()}
    build = json.loads((ROOT / "hf_bertx" / "data" / "dna-splice" / "builds" / "paper.json").read_text())
    edit(folders["dna"] / run_files.RUN, data_leaks=build["leak_sentences"], data_revision="0" * 40)
    return folders


@pytest.mark.parametrize("name", RUNS)
def test_the_whole_card(name: str, golden: dict[str, Path]) -> None:
    """To change them on purpose: write what `model_card` gives into model_cards/examples, and read it."""
    card = model_card(golden[name], f"bertx/{card_facts.run_name(Run.open_finished(golden[name]).order)}")
    assert card == (GOLDEN / f"model_card_{name}.md").read_text(encoding="utf-8")


def test_a_card_counts_what_was_cut(golden: dict[str, Path]) -> None:
    edit(golden["dna"] / run_files.RESULTS, cut={"train": 3, "validation": 0, "test": 1})
    assert "Items longer than 62 tokens were cut: 3 train, 1 test." in model_card(golden["dna"])


@pytest.mark.parametrize("name", RUNS)
def test_the_metadata_is_what_the_hub_reads(name: str, golden: dict[str, Path]) -> None:
    record = Run.open_finished(golden[name])
    card = ModelCard((GOLDEN / f"model_card_{name}.md").read_text(encoding="utf-8"))
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    assert card.data.eval_results == card_facts.metadata(record, card.data.model_name, False).eval_results
    found = {result.metric_name: result.metric_value for result in card.data.eval_results or ()}
    assert found == {name: round(value, 4) for name, value in record.scores[record.task.test_split].items()}
    for empty in (" None,", "None)", "[]()", "Undefined", "More information needed", "# \n"):
        assert empty not in str(card), empty


def test_the_dataset_card_too() -> None:
    text = dataset_card(ROOT / "hf_bertx" / "data" / "dna-splice", "owner/splice")
    data = DatasetCard(text).data
    assert data.license == "cc-by-4.0"
    default = {config["config_name"]: config.get("default") for config in data.configs}  # type: ignore[attr-defined]
    assert default == {"paper": True, "grouped": None}
    assert 'load_dataset("owner/splice"' in text


def test_a_card_says_what_was_kept_of_the_text_model(golden: dict[str, Path]) -> None:
    respecify(golden["dna"], arm="shuffled")
    assert "A text model with the entries of each weight matrix permuted, fine-tuned on" in model_card(golden["dna"])


def test_an_adapter_names_what_its_files_do_not(golden: dict[str, Path]) -> None:
    assert 'from_pretrained(".", num_labels=1, problem_type="regression")' in model_card(golden["text"], adapter=True)
    assert "from_pretrained(\".\", id2label={0: 'EI', 1: 'IE', 2: 'N'})" in model_card(golden["dna"], adapter=True)


def test_several_seeds_have_an_interval_and_one_has_none(golden: dict[str, Path]) -> None:
    assert "no interval can be given" in model_card(golden["dna"])
    root = golden["dna"].parent
    for seed, accuracy in ((1, 0.9), (2, 0.93)):
        other = Path(shutil.copytree(golden["dna"], root / f"seed-{seed}"))
        respecify(other, seed=seed)
        edit(other / run_files.RESULTS, lambda found, value=accuracy: found["metrics"]["test"].update(accuracy=value))
    stranger = Path(shutil.copytree(golden["dna"], root / "seed-3"))  # another data set: no seed of this cell
    edit(stranger / run_files.RUN, data_fingerprint="other")
    text = model_card(golden["dna"])
    assert "no interval can be given" not in text
    # mean of .95625, .9, .93 is .92875, its standard error .016250; t of 97.5% with 2 degrees is 4.30265
    assert "| test | 160 | mean of 3 seeds | 0.929 [0.859, 0.999] |" in text
    assert "Seeds 0, 1, 2; in brackets" in text
    assert card_facts.mean_and_interval([0.5, 0.5]) == "0.500 (all alike)"
    with pytest.raises(ValueError, match="an interval needs a value of every seed"):
        card_facts.mean_and_interval([0.5, None])


def test_the_papers_number_stands_beside_what_was_done_otherwise(golden: dict[str, Path]) -> None:
    same = {"learning_rate": 1e-5, "attention_dropout": None, "patience": 3, "warmup_steps": 0, "max_grad_norm": 0.0}
    respecify(golden["dna"], backbone="bert-base-uncased", hyperparameters=same)
    record = Run.open_finished(golden["dna"])
    draw = "another draw of the random 90/5/5 split, since the paper's is not known"
    assert card_facts.differences_from_paper(record) == [draw]
    respecify(golden["dna"], split="grouped", fraction=0.01)
    record = Run.open_finished(golden["dna"])
    assert card_facts.differences_from_paper(record) == ["the split `grouped`", "1% of the training data"]
    respecify(golden["dna"], arm="random_body", start="random_body")
    assert "The paper reports" not in model_card(golden["dna"])  # it has no such row


@pytest.mark.parametrize(
    ("backbone", "values", "name"),
    [
        ("minilm-l6", {}, "minilm-l6-dna-splice"),
        ("minilm-l6", {"arm": "re_emb", "protocol": "paper"}, "minilm-l6-dna-splice-re_emb-paper"),
        ("minilm-l6", {"window": 40, "overlap": 8}, "minilm-l6-dna-splice-window-40-overlap-8"),
        ("google/bert_a@abc", {"split": "grouped", "fraction": 0.01}, "bert_a-dna-splice-grouped-fraction-0.01"),
        ("/home/me/my model--2", {}, "my-model-2-dna-splice"),
    ],
)
def test_names_are_fit_for_the_hub(backbone: str, values: dict[str, Any], name: str) -> None:
    usual = {"task": "dna-splice", "arm": "bert", "protocol": "recommended", "split": "paper", "fraction": 1.0}
    origin = f"the folder {backbone}" if backbone.startswith("/") else "the Hub"
    order = {"specification": {**usual, "backbone": backbone, **values}, "backbone_origin": origin}
    assert card_facts.run_name(order) == name
    assert "/home" not in card_facts.backbone_name(order)


def test_the_lines_of_the_card_run(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = run_folder / run_files.MODEL
    (block,) = (part.split("```")[0] for part in (model / "README.md").read_text().split("```python\n")[1:])
    assert len([line for line in block.splitlines() if line]) == 3
    monkeypatch.chdir(model)
    names: dict[str, Any] = {}
    *lines, last = block.splitlines()
    exec("\n".join([*lines, f"answers = {last}"]), names)
    assert names["answers"][0]["label"] in ("EI", "IE", "N")


def test_a_task_can_name_the_revision_of_its_data() -> None:
    task = get_task("dna-h3")
    assert type(task).from_dict(json.loads(json.dumps({**asdict(task), "revision": "a" * 40}))).revision == "a" * 40
