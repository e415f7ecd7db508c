"""Time to quality: how long from the original file of H3 to a saved model that is right on 80 of 100 test items.

    python benchmarks/quality.py --raw_dir DIR [--goal 0.8] [--options "--kmer 3"] [--peer_minutes 60]

Ours is `bertx data build dna-h3` and `bertx train --quick` until the model is saved: as it comes, and with as few
training items as the goal needs and no plain baselines. The peer is the `Trainer` of the example script on the same
letters, its training steps alone, tested every 50 steps until it reaches the goal or its minutes are over.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import CASES
from goals import benchmark
from peers import stock_trainer, words
from transformers import TrainerCallback
from turns import be_quiet

from hf_bertx.data.task_data import load_task_data
from hf_bertx.processor import fast_bfloat16, usable_cores, use_processor
from hf_bertx.runs.run import Run
from hf_bertx.tasks import get_task

_CASE = CASES["h3"]
_EVERY = 50  # steps of the peer between two tests
_FEW = "--probe_items 1000 --baselines none"  # of four draws in results/verdict all are above 0.81 on test


def ours(raw_dir: str, options: str, folder: Path) -> dict[str, Any]:
    """Seconds from the original file to the saved model and to the end of both commands, and the model's scores."""
    build = ["data", "build", _CASE.task, "--raw_dir", raw_dir, "--output", str(folder / "data")]
    train = ["train", "--task", _CASE.task, "--data_dir", str(folder / "data"), "--quick", "--baselines", "plain"]
    started = time.time()
    for order in (build, [*train, "--output_dir", str(folder / "runs"), *shlex.split(options)]):
        subprocess.run([sys.executable, "-m", "hf_bertx.cli", *order], check=True)
    run = Run.open_finished(next((folder / "runs" / "probe").rglob("run.json")).parent)
    saved = max(path.stat().st_mtime for path in run.model_dir.glob("*.*") if path.name != "README.md")  # a later card
    accuracy = {name: found["accuracy"] for name, found in run.scores.items()}
    return {"seconds": round(saved - started, 1), "of_commands": round(time.time() - started, 1), "accuracy": accuracy}


class _Until(TrainerCallback):
    """Stops a training when its test score, or the time of its steps, is there."""

    def __init__(self, trainer: Any, test: Any, goal: float, seconds: float) -> None:
        self.trainer, self.test, self.goal, self.limit = trainer, test, goal, seconds
        self.seconds, self.begun = 0.0, 0.0
        self.accuracy: dict[int, float] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.begun
        over = self.seconds > self.limit
        if over or state.global_step % _EVERY == 0:
            found = self.trainer.predict(self.test)
            right = float((found.predictions.argmax(-1) == found.label_ids).mean())
            self.accuracy[state.global_step] = round(right, 4)
            print(f"  peer, step {state.global_step}, {self.seconds:.0f} s: {right:.3f}", flush=True)
            control.should_training_stop = over or right >= self.goal


def peer(data_dir: Path, goal: float, minutes: float, folder: Path) -> dict[str, Any]:
    """Seconds of the training steps of the example script until its weights reach the goal on test."""
    data = load_task_data(get_task(_CASE.task), "paper", str(data_dir))
    trainer = stock_trainer(_CASE, data, str(_CASE.model), "cpu", folder)
    until = _Until(trainer, words(data.splits["test"], trainer.processing_class, _CASE), goal, 60 * minutes)
    trainer.add_callback(until)
    trainer.train()
    return {"seconds": round(until.seconds, 1), "accuracy": until.accuracy}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        folder, ways = Path(name), {"few_items": _FEW, "ours": ""}
        timed = {way: ours(options.raw_dir, f"{options.options} {more}", folder / way) for way, more in ways.items()}
        figures = {**timed, "goal": options.goal, "options": options.options, "fast_bfloat16": fast_bfloat16(True)}
        reached = (each for each in timed.values() if each["accuracy"]["test"] >= options.goal)
        figures["reached"] = next(reached, None)
        if options.peer_minutes:
            use_processor(usable_cores(), use_cpu=True)
            figures["peer"] = peer(folder / "ours" / "data", options.goal, options.peer_minutes, folder / "peer")
    return figures


def main(argv: list[str] | None = None) -> int:
    return benchmark(__doc__ or "", measure, argv, raw_dir=".", goal=0.8, options="", peer_minutes=0.0)


if __name__ == "__main__":
    sys.exit(main())
