"""Studies: what a file plans, what is skipped, shared, retried and taken over; a real local Ray."""

import json
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import torch
import yaml
from python_processes import run_python
from small_studies import SMALL, environment, small, start, write

from hf_bertx import run_files
from hf_bertx.arms import BASELINE
from hf_bertx.cli import main
from hf_bertx.data.task_data import load_task_data
from hf_bertx.runs.spec import RunSpec
from hf_bertx.study.archive import read_archive
from hf_bertx.study.choice import choose
from hf_bertx.study.estimate import _seconds_per_step as seconds_per_step
from hf_bertx.study.estimate import estimate, measured_seconds
from hf_bertx.study.execution import StudyContext, is_finished, missing, write_plan
from hf_bertx.study.plan import NAMED, load_study, named_studies
from hf_bertx.tasks import TASKS

PROBES: dict[str, Any] = {"protocol": "probe", "overrides": {}}


def test_every_named_study_loads_and_says_what_it_is() -> None:
    studies = {name: load_study(name).runs for name in named_studies() if name != "figure3-small"}
    sizes = {name: len(runs) for name, runs in studies.items()}
    wanted = "table2-base learning-rates-base table1 table2 table2-small figure2 figure3 one-percent grid-search smoke"
    assert set(wanted.split()) <= set(sizes)
    assert sizes["table1"] == (5 + 2 + 2) * 8 * 3
    assert sum(run.arm != BASELINE for run in studies["table2-small"]) == 6 * 4 * 3 + 3 * 3
    assert {run.backbone for run in studies["table2-small"]} > {"majority", "minilm-l6"}
    assert sizes["grid-search"] == 9 * 5 * 3
    assert sizes["figure3"] == 9 * (8 + 1) * 3
    assert all(yaml.safe_load(path.read_text())["about"] for path in NAMED.glob("*.yaml"))


def test_a_file_is_the_product_of_its_lists(tmp_path: Path) -> None:
    content = {
        "tasks": {"dna-splice": {"max_steps": 9}, "dna-h3": None},
        "arms": {"bert": None, "frozen": {"learning_rate": "1e-3"}},
        "fractions": [1.0, 0.1],
        "seeds": [3, 4],
        "overrides": {"max_steps": 7},
    }
    runs = load_study(write(tmp_path, content)).runs
    assert len(runs) == 2 * 2 * 2 * 2
    assert [run.seed for run in runs] == [3] * 8 + [4] * 8  # a table is complete for one seed first
    splice = [run for run in runs if run.task == "dna-splice"]
    assert {run.overrides["max_steps"] for run in splice} == {9}
    assert {run.overrides["max_steps"] for run in runs if run.task == "dna-h3"} == {7}
    # YAML takes 1e-3 for a word
    assert {run.overrides.get("learning_rate") for run in runs if run.arm == "frozen"} == {0.001}
    assert runs[-1].folder() == Path("recommended/dna-h3/minilm-l6/frozen/seed-4-fraction-0.1")
    (alone,) = load_study(write(tmp_path, {**SMALL, "arms": [], "baselines": ["majority"]})).runs
    assert (alone.arm, alone.backbone) == ("baseline", "majority")


def test_a_grid_is_a_folder_a_point(tmp_path: Path) -> None:
    grid = {"learning_rate": ["1e-4", 0.00001], "optimizer": ["adam", "radam"]}
    runs = load_study(write(tmp_path, {**SMALL, "seeds": [0], "arms": ["rand"], "grid": grid})).runs
    points = [f"learning_rate={rate}-optimizer={name}" for rate in ("0.0001", "1e-05") for name in ("adam", "radam")]
    assert [run.variant for run in runs] == points
    arguments = runs[2].arguments(Path("out"), None)
    assert arguments[arguments.index("--learning_rate") + 1] == "1e-05"
    assert "--data_dir" not in arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["dna-splce"]}, "unknown task 'dna-splce'; did you mean 'dna-splice'?"),
        ({"arms": ["re-emb"]}, "unknown arm 're-emb'; did you mean 're_emb'?"),
        ({"arms": []}, "arms is []; a study needs at least one"),
        ({"backbones": ["minilm"]}, "unknown backbone 'minilm'; did you mean 'minilm-l6'?"),
        ({"protocol": "papers"}, "unknown protocol 'papers'; did you mean 'paper'?"),
        ({"seed": [1]}, "unknown field 'seed'; did you mean 'seeds'?"),
        ({"seeds": 3}, "seeds is 3; give a list, e.g. [0, 1, 2]"),
        ({"fractions": [0.0]}, "--fraction is 0.0; allowed: more than 0, at most 1"),
        ({"overrides": {"learning_rat": 1}}, "unknown argument 'learning_rat'; did you mean 'learning_rate'?"),
        ({"overrides": 3}, "overrides: holds 3, not a mapping"),
        ({"overrides": {"learning_rate": -1}}, "--learning_rate is -1; allowed: more than 0"),
        ({"overrides": {"max_steps": "many"}}, "mine.yaml: --max_steps is 'many'; allowed: a number"),
        ({"arms": {"bert": {"max_steps": [3]}}}, "mine.yaml: --max_steps is [3]; allowed: a number"),
        ({"seeds": [0, -1]}, "--seed is -1; allowed: 0 to"),
        ({"seeds": [-1], "arms": [], "baselines": ["majority"]}, "--seed is -1; allowed: 0 to"),
        ({"fractions": [2], "arms": [], "baselines": ["majority"]}, "--fraction is 2.0; allowed: more than 0"),
        ({**PROBES, "seeds": [-1]}, "--seed is -1; allowed: 0 to"),
        ({"overrides": {"learning_rate": None}}, "learning_rate has no value; give one, or leave it out"),
        ({"grid": {"learning_rate": [1e-3, None]}}, "learning_rate has no value; give one, or leave it out"),
        ({"grid": {}}, "grid is {}; give arguments with lists of values, or leave it out"),
        ({"grid": {"learning_rate": []}}, "grid, learning_rate is []; give a list of values"),
        ({"arms": ["shift_1000"]}, "arm 'shift_1000' shifts the ids of text, and task dna-splice is dna"),
        (
            {"tasks": ["glue-rte"], "arms": ["unused"]},
            "'unused' assigns subwords to symbols, and task glue-rte is text",
        ),
        ({"choose_by": "test"}, "choose_by is 'test'; allowed: validation, train_loss; what is tested on is not"),
        (
            {"tasks": ["glue-mrpc"], "grid": {"restarts": [0, 1]}},
            "glue-mrpc is tested on its validation set, so a grid",
        ),
        ({"parts": [{"arms": ["bert"]}, {"arms": ["bert"], "overrides": {"max_steps": 5}}]}, "two different runs"),
        ({"baselines": ["majorty"]}, "unknown baseline 'majorty'; did you mean 'majority'?"),
        ({"baselines": "all"}, "baselines is 'all'; give a list of names, or the word plain"),
        ({"parts": ["bert"]}, "part 1: holds str, not a mapping of fields"),
        ({"parts": 3}, "parts is 3; give a list of mappings of fields"),
        ({"parts": 0}, "parts is 0; give a list of mappings of fields"),
        ({"parts": []}, "parts is []; give a list of mappings of fields"),
        ({"protocol": ["paper"]}, "unknown protocol ['paper']; did you mean 'paper'?"),
        ({**PROBES, "split": "groupd"}, "unknown split 'groupd'; allowed: paper"),
        ({"split": ["paper"]}, "unknown split ['paper']; allowed: paper"),
        ({"seeds": [False]}, "seeds is [False]; give a list, e.g. [0, 1, 2]"),
        ({"parts": [{"choose_by": "train_loss"}]}, "part 1: unknown field of a part 'choose_by'"),
        ({"parts": [{"parts": [{}]}]}, "part 1: unknown field of a part 'parts'"),
        ({"baselines": ["majority", "tfidf-ridge"]}, "baseline 'tfidf-ridge' fits none of the tasks: it reads text"),
        ({**PROBES, "tasks": {"dna-splice": {"max_eval_items": 9}}}, "does not use what dna-splice overrides"),
        (
            {**PROBES, "arms": {"bert": None, "rand": {"restarts": 0}}},
            "protocol probe does not use what rand overrides",
        ),
    ],
)
def test_a_wrong_file_is_one_message(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine.yaml|unknown") as error:
        load_study(write(tmp_path, {**SMALL, **change}))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'?"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"class_weights": "equal"}, "--class_weights is 'equal'; allowed: balanced"),
        ({"max_eval_items": 10.0}, "invalid int value: '10.0'"),
        ({"lr_scheduler_type": "linea"}, "invalid choice: 'linea'"),
        ({"report_to": "wandbb"}, "--report_to: wandbb is not supported"),
    ],
)
def test_a_study_with_a_wrong_option_does_not_begin(
    overrides: dict[str, Any], message: str, tiny_backbone: Path, tmp_path: Path, refusal: Any
) -> None:
    file, root = small(tmp_path, tiny_backbone, overrides=overrides), tmp_path / "runs"
    for more in ([], ["--dry_run"]):
        line = refusal(main, "study", file, "--runs", str(root), *more)
        assert "dna-splice" in line
        assert message in line
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tabel2", None, "unknown study 'tabel2'; did you mean 'table2'?"),
        ("none.yaml", None, "no such file"),
        ("list.yaml", "- a\n- b\n", "holds list, not a mapping of fields"),
        ("half.yaml", "tasks: [dna-splice\narms:", "line 2: not YAML"),
        ("twice.yaml", "tasks: [a]\narms: [b]\ntasks: [c]", "line 3: not YAML ('tasks' is there twice"),
    ],
)
def test_what_is_not_a_study(name: str, content: str | None, message: str, tmp_path: Path, capsys: Any) -> None:
    given = name if content is None else write(tmp_path, content, name)
    assert main(["study", given, "--runs", str(tmp_path / "runs")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """A study that two processes made together, started on one folder at once."""
    folder = tmp_path_factory.mktemp("study")
    file, root = small(folder, tiny_backbone), folder / "runs"
    both = [start(file, "--runs", root) for _ in range(2)]
    done = [process.wait() for process in both]
    assert [process.returncode for process in done] == [0, 0], done
    return file, root, "".join(process.stdout for process in done)


def test_two_processes_share_a_study_and_never_a_run(finished: tuple[str, Path, str]) -> None:
    file, root, printed = finished
    study = load_study(file)
    assert all(is_finished(run, root) for run in study.runs)
    assert len(study.runs) == 4
    for run in study.runs:
        results = run_files.read_json(run.folder(root) / run_files.RESULTS)
        assert results["resumed_from_step"] is None
        steps = [entry["step"] for entry in run_files.read_json(run.folder(root) / run_files.LOG) if "loss" in entry]
        assert steps == [1, 2, 3, 4]  # one process wrote it
    assert "4 runs, 0 finished, 4 to do" in printed
    assert printed.count("] finished: ") == 4  # none is counted by both
    plan = run_files.read_json(root / "studies" / "mine.json")
    assert (plan["format"], len(plan["runs"])) == (1, 4)
    assert plan["runs"][0]["folder"] == study.runs[0].folder().as_posix()


def test_what_is_finished_is_skipped(finished: tuple[str, Path, str], capsys: pytest.CaptureFixture) -> None:
    file, root, _ = finished
    before = {path: path.stat().st_mtime_ns for path in root.rglob("results.json")}
    assert main(["study", file, "--runs", str(root)]) == 0
    assert "4 runs, 4 finished, 0 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in root.rglob("results.json")} == before


def test_another_order_or_other_data_in_the_folder_is_refused(
    finished: tuple[str, Path, str], tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, root, _ = finished
    other = small(tmp_path, tiny_backbone, overrides={**SMALL["overrides"], "learning_rate": 0.5})
    assert main(["study", other, "--runs", str(root)]) == 2
    assert "learning_rate is 0.0001 there, 0.5 asked. Choose another folder of runs" in capsys.readouterr().err
    run = load_study(small(tmp_path, tiny_backbone)).runs[0]
    with pytest.raises(ValueError, match=r"holds a run on other data: sha256 .* there, '000000000000' asked"):
        is_finished(run, root, "0" * 64)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"specification": ', "run.json, line 1: not JSON"),
        ("run.json", '{"task": 1}', "run.json: it has no specification; remove the folder"),
        ("studies/mine.json", '{"format": 7}', "format 7, this version writes 1; choose another --runs"),
    ],
)
def test_a_file_of_the_runs_that_cannot_be_read(
    name: str, content: str, message: str, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file, root = small(tmp_path, tiny_backbone), tmp_path / "runs"
    path = root / (name if "/" in name else load_study(file).runs[0].folder() / name)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert main(["study", file, "--runs", str(root)]) == 2
    assert message in capsys.readouterr().err


def test_a_failed_run_is_recorded_and_tried_again(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights, broken = "model.safetensors", tmp_path / "broken-bert"
    shutil.copytree(tiny_backbone, broken, ignore=shutil.ignore_patterns(weights))
    file, root = small(tmp_path, broken, seeds=[0]), tmp_path / "runs"
    argv = ["study", file, "--runs", str(root)]
    bert, rand = load_study(file).runs
    for attempt in (1, 2):
        assert main(argv) == 1
        assert "1 failed" in capsys.readouterr().out
        failure = run_files.read_json(bert.folder(root) / run_files.FAILURE)
        assert failure["attempts"] == attempt
        assert "could not be loaded" in failure["error"]
        assert is_finished(rand, root)  # the others were trained
    shutil.copy(tiny_backbone / weights, broken)
    assert main(argv) == 0
    assert is_finished(bert, root)
    assert not (bert.folder(root) / run_files.FAILURE).exists()


def test_a_killed_study_resumes_from_the_last_checkpoint(tiny_backbone: Path, tmp_path: Path) -> None:
    overrides = {"max_steps": 100, "eval_steps": 10, "logging_steps": 10, "max_eval_items": 30, "restarts": 0}
    file = small(tmp_path, tiny_backbone, arms=["rand"], seeds=[0], overrides=overrides)
    root = tmp_path / "runs"
    process = start(file, "--runs", root)
    while not list(root.rglob("checkpoint-30/complete.json")):
        assert process.poll() is None, "the study ended before its third checkpoint"
        time.sleep(0.01)
    process.kill()
    process.wait()
    (run,) = load_study(file).runs
    assert not is_finished(run, root)  # and nobody holds its lock
    done = start(file, "--runs", root).wait()
    assert done.returncode == 0, done.stderr[-2000:]
    results = run_files.read_json(run.folder(root) / run_files.RESULTS)
    assert results["resumed_from_step"] >= 30
    assert results["steps"] == 100


def test_several_workers_and_a_launcher(tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file, root = small(tmp_path, tiny_backbone, arms=["bert"], seeds=[0]), tmp_path / "runs"
    argv = ["study", file, "--runs", str(root), "--threads", "1", "--archive", str(tmp_path / "a.tar.xz")]
    assert main([*argv, "--workers", "2", "--launch", f"{sys.executable} -B"]) == 0
    assert capfd.readouterr().out.count("1 finished, 0 failed") == 1  # one summary, whatever the number of processes
    assert read_archive(tmp_path / "a.tar.xz", tmp_path / "copy") == 1
    assert main(argv) == 0
    assert "1 runs, 1 finished, 0 to do" in capfd.readouterr().out  # this process has not become a worker


def test_a_plan_says_how_long_it_takes(
    finished: tuple[str, Path, str], tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file, root, _ = finished
    runs = load_study(file).runs
    seconds = [run_files.read_json(run.folder(root) / run_files.RESULTS)["total_seconds"] for run in runs]
    measured = measured_seconds(runs, root)
    assert estimate(runs, measured, StudyContext(root)) == [sorted(seconds)[1] / 2 + sorted(seconds)[2] / 2] * 4
    assert measured_seconds(runs, tmp_path) == {}
    file = small(tmp_path, tiny_backbone, overrides={**SMALL["overrides"], "report_to": ["tensorboard"]})
    assert main(["study", file, "--runs", str(tmp_path / "new"), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert "4 runs, 0 finished, 4 to do" in printed
    assert "about" in printed
    assert "not measured" not in printed  # a few steps were timed
    assert not (tmp_path / "new").exists()
    unknown = RunSpec("dna-h4", "bert", str(tiny_backbone), "recommended", "paper", 0)
    assert estimate([unknown], {}, StudyContext(tmp_path)) == [None]  # its data is not at hand


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (run_files.RUN, {"machine": {"system": "Linux", "processor": "another", "cores": 16, "gpu": "NVIDIA H100"}}),
        (run_files.RESULTS, {"resumed_from_step": 4}),  # its seconds are those of the last part
    ],
)
def test_a_plan_measures_by_whole_runs_of_this_machine(
    finished: tuple[str, Path, str], tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    runs, root = load_study(finished[0]).runs, tmp_path / "runs"
    shutil.copytree(finished[1], root)
    assert measured_seconds(runs, root)
    for run in runs:
        path = run.folder(root) / file
        run_files.write_json(path, {**run_files.read_json(path), **change})
    assert measured_seconds(runs, root) == {}


def test_a_timed_step_leaves_out_waiting(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer: time.sleep(0.5))
    assert seconds_per_step(1, str(tiny_backbone), "full", 2, 8, "float32") < 0.5


def test_a_dry_run_does_not_wait_for_a_silent_hub(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for module in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    file = small(tmp_path, tiny_backbone, tasks=["dna-h3", "music-maestro-v1"])
    assert main(["study", file, "--runs", str(tmp_path / "runs"), "--dry_run"]) == 0
    *listed, cost, data = capsys.readouterr().out.splitlines()
    assert sum(line.endswith(": not measured") for line in listed) == 8
    assert cost == "8 runs without a measurement"
    assert data.startswith("no data of dna-h3, music-maestro-v1: a run has to fetch it, or build it with `bertx data")
    assert waits == []
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def write_finished(run: RunSpec, root: Path, fingerprint: str, metrics: dict, log: list | None = None) -> None:
    """The files that a study reads of a finished run."""
    settings = {name: run.hyperparameters()[name] for name in ("learning_rate", "restarts")}
    order = {"specification": {**run.to_json(), "hyperparameters": settings}, "data_fingerprint": fingerprint}
    order["task"] = asdict(TASKS[run.task])
    files = {run_files.RUN: order, run_files.LOG: log or [], run_files.RESULTS: {"metrics": metrics, "files": {}}}
    run.folder(root).mkdir(parents=True)
    for name, content in files.items():
        (run.folder(root) / name).write_text(json.dumps(content))


def test_thousands_of_runs_are_planned_in_seconds(tiny_backbone: Path, tmp_path: Path) -> None:
    file = small(tmp_path, tiny_backbone, seeds=list(range(1000)))
    study, root = load_study(file), tmp_path / "runs"
    assert len(study.runs) == 2_000
    fingerprint = load_task_data(TASKS["dna-splice"]).fingerprint
    for run in study.runs[:-10]:
        write_finished(run, root, fingerprint, {"test": {"accuracy": 0.5}})
    began = time.process_time()  # of this process: the machine may be busy
    left = missing(load_study(file), StudyContext(root))
    write_plan(study, root)
    assert time.process_time() - began < 2.5
    assert [run.seed for run in left] == [seed for seed in range(995, 1000) for _ in range(2)]


def test_the_best_point_of_a_grid_is_chosen_without_the_test_set(tiny_backbone: Path, tmp_path: Path) -> None:
    grid = {"learning_rate": [1e-4, 1e-3, 1e-2]}
    file = small(tmp_path, tiny_backbone, arms=["rand"], grid=grid)
    study, root = load_study(file), tmp_path / "runs"
    # validation, test and last loss point at three different rates
    made = {"learning_rate=0.0001": (0.6, 0.9, 0.5), "learning_rate=0.001": (0.8, 0.3, 0.4)}
    made["learning_rate=0.01"] = (0.7, 0.5, 0.1)
    for run in study.runs:
        validation, test, loss = made[run.variant]
        if run.seed == 1 and run.variant == "learning_rate=0.01":
            continue
        metrics = {"validation": {"accuracy": validation + 0.01 * run.seed}, "test": {"accuracy": test}}
        write_finished(run, root, "", metrics, [{"step": 1, "loss": 9.0}, {"step": 2, "loss": loss}])
    (choice,) = choose(study, root)
    assert (choice.by, choice.chosen, choice.complete) == ("validation accuracy", "learning_rate=0.001", False)
    assert choice.points["learning_rate=0.001"] == [0.8, 0.81]
    (by_loss,) = choose(replace(study, choose_by="train_loss"), root)
    assert by_loss.chosen == "learning_rate=0.01"
    assert choose(load_study(small(tmp_path, tiny_backbone)), root) == []


def test_a_grid_is_chosen_from_for_each_protocol_split_and_k(tiny_backbone: Path, tmp_path: Path) -> None:
    parts = [{}, {"protocol": "paper"}, {"split": "authors"}, {"kmers": [3]}]
    more = {"arms": ["rand"], "grid": {"learning_rate": [1e-4, 1e-3]}, "parts": parts}
    choices = choose(load_study(small(tmp_path, tiny_backbone, **more)), tmp_path)
    assert all(list(each.points) == ["learning_rate=0.0001", "learning_rate=0.001"] for each in choices)
    of = [("recommended", "paper", None), ("paper", "paper", None), ("recommended", "authors", None)]
    assert [(each.protocol, each.split, each.kmer) for each in choices] == [*of, ("recommended", "paper", 3)]
    assert "recommended, paper, 3-mers: None" in choices[-1].line()


_ON_RAY = """
import os, signal, sys, threading, time
from pathlib import Path
import psutil
import ray
from ray.cluster_utils import Cluster
from hf_bertx.cli import main
from hf_bertx.study.execution import StudyContext
from hf_bertx.study.plan import load_study
from hf_bertx.study.ray_cluster import execute_on_ray

root = Path(sys.argv[2])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)

def kill_one() -> None:
    # until two runs have a checkpoint each, so that whichever is killed has one to go on from
    while len({path.parents[2] for path in root.rglob("checkpoint-*/complete.json")}) < 2:
        time.sleep(0.02)
    begun = [p for p in psutil.Process().children(recursive=True) if "_execute_waiting" in " ".join(p.cmdline())]
    busy = [p.pid for p in begun]
    os.kill(busy[0], signal.SIGKILL)
    print("killed one of", len(busy), "workers", flush=True)

threading.Thread(target=kill_one, daemon=True).start()
status = main(["study", sys.argv[1], "--runs", sys.argv[2], "--executor", "ray", "--threads", "1"])
signal.alarm(60)  # more threads than any machine has cores: a run starts all the same
print(execute_on_ray(load_study(sys.argv[1]).runs[:1], StudyContext(root, threads=2), print, None)[0].state)
sys.exit(status)
"""


def test_a_study_on_ray_survives_the_death_of_a_worker(tiny_backbone: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed; Ray has no wheel for this Python")
    overrides = {"max_steps": 200, "eval_steps": 20, "logging_steps": 10, "max_eval_items": 30, "restarts": 0}
    file = small(tmp_path, tiny_backbone, overrides=overrides, arms=["bert"], seeds=[0, 1, 2])
    root = tmp_path / "runs"
    # by default workers have niceness 15: beside two busy processes they get a thirtieth of a core
    done = run_python("-c", _ON_RAY, file, root, env={**environment(), "RAY_worker_niceness": "0"})
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "killed one of 2 workers" in done.stdout
    assert "3 finished, 0 failed" in done.stdout
    assert done.stdout.strip().endswith("there")
    results = [run_files.read_json(run.folder(root) / run_files.RESULTS) for run in load_study(file).runs]
    assert [r["steps"] for r in results] == [200] * 3
    assert sum(r["resumed_from_step"] is not None for r in results) >= 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("acelerate launch", "--launch 'acelerate launch': there is no program 'acelerate'"),
        ("", "--launch '': there is no program ''"),
        ("accelerate 'launch", "No closing quotation"),
    ],
)
def test_a_mistyped_launch_starts_no_run(command: str, message: str, tmp_path: Path, refusal: Any) -> None:
    file = write(tmp_path, SMALL)
    assert message in refusal(main, "study", file, "--runs", tmp_path / "runs", "--launch", command)
    assert not (tmp_path / "runs").exists()
