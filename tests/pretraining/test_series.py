"""A series of checkpoints as the backbones of a study: what is planned from it, and what is refused before it."""

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from file_damage import edit
from safetensors.torch import load_file, save_file

import hf_bertx
from hf_bertx import run_files
from hf_bertx.backbones import known_backbone, resolve_backbone
from hf_bertx.cli import main
from hf_bertx.study.plan import load_study
from hf_bertx.study.series import last_of, read_series

STEPS = [0, 2, 100]


@pytest.fixture
def series(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A folder as pretrain.py leaves it: three checkpoints of other weights, and the record."""
    folder = tmp_path / "small"
    for step in STEPS:
        shutil.copytree(tiny_backbone, folder / f"step-{step}")
        weights = load_file(folder / f"step-{step}/model.safetensors")
        weights["embeddings.position_embeddings.weight"] = torch.zeros(512, 32)  # room for every task
        edit(folder / f"step-{step}/config.json", max_position_embeddings=512)
        save_file({name: value + step for name, value in weights.items()}, folder / f"step-{step}/model.safetensors")
    run_files.write_json(folder / "pretraining.json", {"steps": 100, "checkpoint_steps": STEPS})
    return folder


def write(folder: Path, **content: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"about": "Mine.", "tasks": ["dna-splice"], "arms": ["bert"], **content}))
    return str(path)


def names(folder: Path) -> list[str]:
    return [f"{folder.as_posix()}/step-{step}" for step in STEPS]


def test_a_folder_is_a_series_of_backbones_by_step(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(series / "pretraining.json", checkpoint_steps=[100, 0, 2])
    assert read_series(str(series)) == names(series)
    monkeypatch.chdir(tmp_path)  # a relative folder stays one, so that runs can be moved with it
    assert read_series("small") == names(Path("small"))
    study = load_study(write(tmp_path, series="small", backbones=["minilm-l6"], seeds=[0]))
    assert [run.backbone for run in study.runs] == [*names(Path("small")), "minilm-l6"]
    assert study.runs[1].folder() == Path("recommended/dna-splice/small--step-2/bert/seed-0")


def test_multiberts_and_lists(series: Path, tmp_path: Path) -> None:
    of_one_seed = {"multiberts_seed": 3, "steps": ["200k", "0k"]}
    assert read_series(of_one_seed) == ["multiberts-seed_3-step_0k", "multiberts-seed_3-step_200k"]
    many = ["multiberts-seed_1-step_20k", "google/multiberts-seed_0-step_20k", "multiberts-seed_1-step_0k"]
    assert last_of(read_series(many)) == many[:2]
    assert read_series([names(series)[2], names(series)[0]]) == [names(series)[0], names(series)[2]]
    runs = load_study("figure3").runs
    assert [run.backbone for run in runs[:9]] == [
        *(f"multiberts-seed_2-step_{step}k" for step in (0, 20, 40, 180, 400, 1000, 1200, 2000)),
        "bert-base-uncased",
    ]
    assert all(re.fullmatch(r"[0-9a-f]{40}", resolve_backbone(run.backbone).revision or "") for run in runs)


def test_pinned_multiberts_are_multiberts() -> None:
    commits = run_files.read_json(Path(hf_bertx.__file__).with_name("multiberts_commits.json"))
    assert len(set(commits.values())) == len(commits) == 47
    for name, commit in commits.items():
        assert known_backbone(f"multiberts-{name}").revision == commit
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
    unpinned = known_backbone("multiberts-seed_0-step_20k").revision
    assert unpinned is None, "the commit that is loaded stands in the record of a run"


def test_a_folder_told_takes_the_place_of_the_files_series(series: Path) -> None:
    runs = load_study("figure3", str(series)).runs
    assert len(runs) == (3 + 1) * (8 + 1) * 3
    assert {run.backbone for run in runs} == {*names(series), "bert-base-uncased"}
    small = load_study("figure3-small", str(series)).runs
    assert len(small) == (3 + 1) * (2 + 1 + 1 + 1) * 3
    rates: dict[tuple[str, float], dict[str, set[float]]] = {}
    for run in small:
        starts = rates.setdefault((run.task, run.fraction), {})
        starts.setdefault(f"{run.backbone} {run.arm}", set()).add(run.overrides["learning_rate"])
    for (task, _), starts in rates.items():
        wanted = {3e-4, 1e-3} if task == "dna-splice" else {3e-4}
        assert list(starts.values()) == [wanted] * 4, "no start has a rate that another has not"
    random = [run for run in small if run.arm.endswith("rand")]
    assert {run.backbone for run in random} == {names(series)[-1]}
    assert {(run.task, run.arm, run.fraction) for run in random} == {
        ("dna-splice", "rand", 1.0),
        ("protein-fluorescence", "rand", 1.0),
        ("glue-sst2", "shift_1000_rand", 1.0),
        ("glue-sst2", "shift_1000_rand", 0.01),
    }
    little = [run for run in small if run.fraction == 0.01]
    assert {run.overrides["stop_at_loss"] for run in little} == {0.01}
    assert {run.overrides["max_eval_items"] for run in small} == {500}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f / "step-2"), "lists 3 checkpoints, 1 of them missing: step-2; let"),
        (lambda f: (f / "step-2/config.json").unlink(), r"step-2 is half-written: it lacks config.json"),
        (lambda f: (f / "step-100/model.safetensors").unlink(), "step-100 is half-written: it lacks model.saf"),
        (lambda f: (f / "step-2/tokenizer.json").unlink(), r"step-2 is half-written: it lacks tokenizer.json"),
        (lambda f: (f / "step-2/config.json").write_text("{"), r"step-2/config.json: not JSON \("),
        (lambda f: (f / "pretraining.json").unlink(), "small is no series: it holds no pretraining.json; g"),
        (lambda f: shutil.rmtree(f), r"small is no series: no such folder; give a folder that pretrain.py left"),
        (lambda f: (f / "pretraining.json").write_text("{"), r"pretraining.json: not JSON \("),
        (lambda f: edit(f / "pretraining.json", checkpoint_steps=[0]), r"a list of two steps or more"),
        (
            lambda f: edit(f / "step-2/config.json", num_attention_heads=4),
            r"step-2 is not of the series of .*step-0: its num_attention_heads is 4, that of the first is 2",
        ),
    ],
)  # fmt: skip
def test_a_series_that_is_not_whole_is_one_line(
    damage: Callable[[Path], None], message: str, series: Path, refusal: Any
) -> None:
    damage(series)
    error = refusal(main, "study", "figure3-small", "--series", series, "--runs", series / "runs")
    assert re.search(f"^bertx: error: figure3-small.yaml: .*{message}", error), error
    assert not (series / "runs").exists()


class _Trap:
    def __reduce__(self) -> tuple:
        return exec, ("raise SystemExit('the pickle was run')",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_refused_and_not_opened(name: str, series: Path, refusal: Any) -> None:
    (series / "step-2/model.safetensors").unlink()
    (series / "step-2" / name).write_bytes(pickle.dumps(_Trap()))
    alone = series / "step-2" / name
    for place in (series, alone):
        error = refusal(main, "study", "figure3-small", "--series", place, "--dry_run")
        assert f"{alone} is a pickle, which may run code when it is read: refused, and not opened" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"series": 3}, "series is 3; give a folder that pretrain.py left, {multiberts_seed: 0"),
        ({"series": []}, "series is []; give a folder"),
        ({"series": ["multiberts-seed_0-step_0k"]}, "or a list of two backbones or more"),
        ({"series": ["minilm-l6", "multiberts-seed_0-step_0k"]}, "'minilm-l6' does not say its step of pre-training"),
        ({"series": {"multiberts_seed": 0}}, "series is {'multiberts_seed': 0}; give"),
        ({"series": {"multiberts_seed": 0, "steps": [0, 20000]}}, "'steps': [0, 20000]}; give"),
        ({"series": {"multiberts_seed": 9, "steps": ["0k", "20k"]}}, "seeds are 0 to 24, and 0 to 4 with a step"),
        ({"series": {"multiberts_seed": 0, "steps": ["0k", "30k"]}}, "steps are 0k, 20k, 40k"),
        ({"series": None}, "it needs a series of checkpoints: pass --series with a folder that pretrain.py left"),
        ({"checkpoints": "last"}, "checkpoints is 'last'; there is no series that it could choose from"),
        (
            {"series": {"multiberts_seed": 0, "steps": ["0k", "20k"]}, "checkpoints": "first"},
            "checkpoints is 'first'; allowed: all, last",
        ),
        ({"parts": [{"series": "small"}]}, "mine.yaml: part 1: unknown field of a part 'series'"),
    ],
)
def test_a_wrong_series_of_a_file_is_one_line(
    content: dict[str, Any], message: str, tmp_path: Path, refusal: Any
) -> None:
    assert message in refusal(main, "study", write(tmp_path, **content), "--dry_run")


def test_a_backbone_without_room_for_a_task_is_one_line(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    folder = tmp_path / "short"
    shutil.copytree(tiny_backbone, folder)
    file = write(tmp_path, tasks=["dna-splice", "protein-fluorescence"], backbones=[str(folder)])
    assert len(load_study(file).runs) == 6  # its tokenizer cuts at 128, as many as the model takes
    edit(folder / "tokenizer_config.json", model_max_length=512)
    message = (
        "takes 128 tokens (max_position_embeddings), its tokenizer lets more through, and inputs of protein-fluor"
    )
    assert message in refusal(main, "study", file, "--dry_run")


def test_a_study_without_a_series_takes_none(series: Path, refusal: Any) -> None:
    error = refusal(main, "study", "table2", "--series", series, "--dry_run")
    assert "table2.yaml: it has no field series, whose place --series" in error
