"""The benchmarks measure what they say: operations, turns, ratios, goals, tables. Tiny models, real loops."""

import importlib.metadata
import json
import multiprocessing
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, small_config
from noting_loops import ended_by_the_system, loop_that_notes, loop_that_waits
from python_processes import run_python
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.performance.last_layer import compute_first_position_only

sys.path.append(str(ROOT / "benchmarks"))

import finetuning
import goals
import run
import startup
import table
from arithmetic import step_flops
from peers import script_length
from turns import Turn, alternate, ratios


@pytest.mark.parametrize("pruned", [False, True])
def test_operations_of_a_step_are_those_that_torch_counts(pruned: bool) -> None:
    config = small_config("bert")
    config.num_hidden_layers, config._attn_implementation = 3, "eager"
    model = BertForDisciplineClassification(config).train()
    if pruned:
        assert compute_first_position_only(model)
    ids = torch.randint(1, 100, (4, 40))
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        model(input_ids=ids, labels=torch.zeros(4, dtype=torch.long)).loss.backward()
    assert step_flops(config, 4, 40, pruned) == pytest.approx(counted.get_total_flops(), rel=1e-3)
    assert step_flops(config, 4, 40, not pruned) != pytest.approx(counted.get_total_flops(), rel=0.05)


def test_loops_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    turns = {name: Turn(loop_that_notes, name, notes, 7) for name in "ab"}
    taken = alternate(turns, rounds=2, seconds=60)
    # short steps are taken twice; the first round is not counted
    assert notes.read_text().split() == [f"{name}{n}" for r in (0, 2, 4) for name in "ab" for n in (r, r + 1)]
    assert [len(seconds) for seconds in taken.values()] == [2, 2]
    a, b = (turn.figures() for turn in turns.values())
    assert len({a["process"], b["process"], os.getpid()}) == 3
    assert a["begins others by"] == multiprocessing.get_start_method()  # loader processes, as anywhere else
    turns["a"].step()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="give it more steps than are measured"):
            turns["a"].step()
    turns["b"].close()
    assert "b6" not in notes.read_text()


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops begin with torch and transformers imported, which takes each of them seconds."""
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)


@pytest.mark.usefixtures("forked")
def test_errors_of_a_loop_reach_the_measuring_process(tmp_path: Path) -> None:
    turn = Turn(loop_that_notes, "a", tmp_path / "notes", 1)
    turn.step()
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        turn.step()
    with pytest.raises(RuntimeError, match="is gone, exit status 9"):
        Turn(ended_by_the_system).step()
    with pytest.raises(TimeoutError, match=r"a step took more than 0\.5 s"):
        Turn(loop_that_waits).step(0.5)


def test_a_ratio_is_one_of_the_same_round() -> None:
    found = ratios({"ours": [1.0, 2.0, 4.0], "stock": [3.0, 4.0, 20.0]}, "ours", "stock")
    assert found == {"median": 3.0, "lowest": 2.0, "highest": 5.0, "rounds": 3}


@pytest.mark.usefixtures("forked")
def test_fine_tuning_is_measured_beside_the_example_script(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "finetuning.json"
    argv = ["--cases", "tiny", "--loops", "stock", "compiled", "--compile_limit", "0.01", "--rounds", "2"]
    assert finetuning.main([*argv, "--threads", "1", "--output", str(file)]) == 0
    case = json.loads(file.read_text())["cases"]["tiny"]
    assert case["data"] == "real sequences of dna-splice"
    assert {name: len(loop["seconds_a_step"]) for name, loop in case["loops"].items()} == {"ours": 2, "stock": 2}
    assert case["failed"] == {"compiled": "TimeoutError: a step took more than 0.01 s"}
    mine, theirs = case["loops"]["ours"], case["loops"]["stock"]
    rounds = [b / a for a, b in zip(mine["seconds_a_step"], theirs["seconds_a_step"], strict=True)]
    assert case["ratios"]["stock"]["median"] == pytest.approx(sum(rounds) / 2, rel=2e-2)
    assert (mine["width"], theirs["width"]) == (62, 128)  # the example script pads to 128
    assert theirs["precision"] == "float32"
    assert all(100 < loop["peak_memory_mb"] < 100_000 for loop in case["loops"].values())
    assert mine["operations_a_step"] < theirs["operations_a_step"]  # the last layer is pruned
    assert mine["tokens_a_second"] == pytest.approx(4 * 62 / mine["median_seconds"], rel=0.01)
    printed = capsys.readouterr().out
    assert "| tiny | stock | float32 |" in printed
    assert "| tiny | compiled | | not measured: TimeoutError" in printed


def test_the_example_script_reads_whole_sequences() -> None:
    assert {name: script_length(case) for name, case in finetuning.CASES.items()} == {
        "splice": 128, "maestro": 130, "h3": 502, "h3-base": 502, "tiny": 128
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "goal"),
    [
        (
            "prediction",
            "--rounds 1 --items 8 --peer_items 4 --cases splice --threads 1 --backbone {}",
            "prediction of splice in float32, times the pipeline's speed",
        ),
        (
            "tokenization",
            "--rounds 1 --sequences 20 --peer_sequences 5 --length 30",
            "tokenization into flat arrays, times symbol by symbol",
        ),
        ("startup", "--rounds 1 --cases 'bertx tasks'", "bertx tasks"),
    ],
)
def test_a_benchmark_writes_the_figures_of_its_goals(
    name: str, options: str, goal: str, tmp_path: Path, tiny_backbone: Path
) -> None:
    output = tmp_path / f"{name}.json"
    argv = shlex.split(options.format(tiny_backbone))
    done = run_python(ROOT / "benchmarks" / f"{name}.py", *argv, "--output", output)
    assert done.returncode == 0, done.stderr
    assert goal in {each.what for each, figure, _ in goals.outcomes(goals.CPU_GOALS, tmp_path) if figure is not None}
    assert json.loads(output.read_text())["versions"]["torch"] == importlib.metadata.version("torch")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rounds", "0"], "--rounds 0 is not allowed: a whole number, 1 or more"),
        (["--device", "cuda"], "--device cuda: torch sees no GPU here; leave it out to measure the CPU"),
    ],
)
def test_what_cannot_be_measured_is_an_error_of_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    if "cuda" in argv and torch.cuda.is_available():
        pytest.skip("there is a GPU, so nothing is wrong")
    with pytest.raises(SystemExit) as ended:
        finetuning.main(argv)
    assert f"{ended.value.code}{capsys.readouterr().err}".strip().endswith(message)


def figures(folder: Path, ratio: float, fast_bfloat16: bool = True, case: str = "h3", **more: Any) -> None:
    precision = "bfloat16" if fast_bfloat16 else "float32"
    loops = {
        name: {
            "median_seconds": seconds,
            "tokens_a_second": 10,
            "operations_a_second": 4e11,
            "precision": precision if name != "stock" else "float32",
            "peak_memory_mb": 1000.0 * seconds,
        }
        for name, seconds in (("ours", 1.0), ("stock", ratio))
    }
    loops |= {name: {**loops["ours"], "operations_a_second": rate} for name, rate in more.items()}
    found = {"median": ratio, "lowest": ratio, "highest": ratio, "rounds": 1}
    peaks = {"float32": 5e11, "bfloat16": 8e11 if fast_bfloat16 else None}
    measured = {"model": "m", "data": "d", "loops": loops, "ratios": {"stock": found}}
    content = {
        "fast_bfloat16": fast_bfloat16,
        "cases": {case: {**measured, "peak_operations_a_second": peaks}},
        "machine": {"processor": "p", "gpu": None},
        "versions": {"torch": "t", "transformers": "f"},
        "threads": 2,
    }
    folder.mkdir(exist_ok=True)
    (folder / "finetuning.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("ratio", "fast_bfloat16", "verdicts"),
    [
        (7.0, True, ["met", "met", "met"]),
        (5.0, True, ["missed", "met", "met"]),
        (5.0, False, [goals.NO_BFLOAT16, goals.NO_BFLOAT16, "met"]),
        (1.5, True, ["missed", "met", "missed"]),
    ],
)
def test_goals_are_met_missed_or_not_for_this_machine(
    tmp_path: Path, ratio: float, fast_bfloat16: bool, verdicts: list[str]
) -> None:
    figures(tmp_path, ratio, fast_bfloat16)
    found = {goal.what: verdict for goal, _, verdict in goals.outcomes(goals.CPU_GOALS, tmp_path)}
    assert [verdict for what, verdict in found.items() if "H3" in what] == verdicts
    assert found["bertx --help"] == "not measured"


def test_on_a_gpu_steps_are_judged_as_they_come_and_compiled(tmp_path: Path) -> None:
    figures(tmp_path, 7.0, case="h3-base", compiled=2e11)
    found = goals.outcomes(goals.GPU_GOALS, tmp_path)
    assert [(figure, verdict) for goal, figure, verdict in found if "peak" in goal.what] == [
        (0.5, "met"),
        (0.25, "missed"),
    ]


def test_a_goal_that_was_missed_or_not_measured_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    figures(tmp_path, 7.0)
    assert run.main(["--only", "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "| bertx tasks | at most 0.6 s |  | not measured |" in printed
    assert "example script's speed | at least 6 times | 7 times | met |" in printed


def test_the_tables_of_the_page_are_what_the_results_give(tmp_path: Path) -> None:
    page = table.PAGE.read_text()
    assert table.filled(page) == page, "run benchmarks/table.py"
    figures(tmp_path / "gpu", 7.0)
    other = table.filled(page, tmp_path)
    assert "| h3 | stock | float32 | 7 | 7.00, 7.00 to 7.00 (1) | 10 | 80% | 7,000 MB |" in other
    with pytest.raises(ValueError, match="no table is called 'nothing'"):
        table.filled("<!-- table nothing -->\n<!-- end -->")


def test_planning_a_study_is_timed() -> None:
    assert 0 < startup.planning_seconds(runs=40) < 5


def test_benchmarks_stay_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "benchmarks").glob("*.py")) <= 1320
