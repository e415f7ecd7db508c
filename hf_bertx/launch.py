"""Data first, then the runs, then their cards: what `bertx train` and studies train with.

Besides `bertx data`, this is the only module that knows how data sets are built. Modules for after the training are
imported late, so that the first step starts sooner.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainingArguments

from . import run_files
from .arms import BASELINE
from .callbacks import TimeLimitCallback
from .data.text_files import paths_below
from .processor import deadline, end_process_group, quiet_loading, use_processor
from .protocols import PROBE
from .registry import beside, run_command
from .runs.arguments import Options, ResolvedRun, read_options, resolve
from .runs.run import Run
from .runs.spec import RunSpec, option_words
from .runs.training import run

# What fits the specs that no gradient trains, by protocol.
_FITTED_BY = {BASELINE: "hf_bertx.baselines.runs.run_baseline", PROBE: "hf_bertx.probing.runs.run_probes"}
OF_THE_COMMAND = ("baselines", "probe_items", "quick", "find_learning_rate", "folds")  # see [`selection`]


def train(spec: RunSpec, output_dir: str | Path = "runs", data_dir: str | Path | None = None, **options: Any) -> Run:
    """Trains a run, tests it once and saves it; a finished run is read, an interrupted one goes on.

    Args:
        spec: what is trained.
        output_dir: the root of all runs.
        data_dir: a folder of the task's data; by default the copy in the package, on the Hub, or built.
        **options: of `train.py` that change no number, e.g. `threads=2`, `disable_tqdm=True`.

    Returns:
        The finished run: `run.scores["test"]`, `run.predictions("test")`, `run.model_dir`.

    Raises:
        ValueError: a name, a value or an option that is not allowed, a baseline or a probe, or a folder that holds
            another run.
        OSError: the backbone or the data cannot be loaded.

    Example:
        ```python
        >>> from hf_bertx import RunSpec, train
        >>> run = train(RunSpec(task="dna-splice", arm="bert", seed=0), output_dir="runs")
        >>> run.scores["test"]["accuracy"]
        ```
    """
    if spec.protocol in _FITTED_BY:
        raise ValueError(f"a {spec.protocol} is fitted, not trained; call {_FITTED_BY[spec.protocol]}")
    argv = spec.arguments(Path(output_dir), None if data_dir is None else Path(data_dir))
    (folder,) = train_all([*argv, *option_words(options)])
    return Run.open_finished(folder)


@dataclass(frozen=True)
class Prepared:
    """Runs that are ready to be trained.

    Args:
        plans: one an arm.
        args: of all of them; `output_dir` is the root of the runs.
        push: publishes the folder of a finished run; None where nothing is pushed.
    """

    plans: list[ResolvedRun]
    args: TrainingArguments
    push: Callable[[Path], None] | None

    @property
    def root(self) -> Path:
        return Path(self.args.output_dir or "runs")


def prepare(options: Options) -> Prepared:
    """Builds a user's own data, looks up all names, and sets up the processor.

    Raises:
        ValueError, OSError: the runs cannot be started.
    """
    quiet_loading()
    plans, args = resolve(options, build_user_data)
    use_processor(plans[0].options.threads, args.use_cpu)
    push = _push_to_hub(args) if args.push_to_hub else None
    # only the finished run is pushed: no pickle of the Trainer, no token in a checkpoint
    args.push_to_hub, args.hub_token = False, None
    return Prepared(plans, args, push)


def train_plan(prepared: Prepared, plan: ResolvedRun) -> Path:
    """Trains one run and writes its card; returns its folder."""
    limit = (TimeLimitCallback(deadline()),) if deadline() < float("inf") else ()
    folder = run(plan, prepared.args, limit, partial(_build_task, prepared.root))
    if PartialState().is_main_process:
        from .publishing.cards import write_model_card

        write_model_card(folder)
    PartialState().wait_for_everyone()  # all processes see the main process's files
    return folder


def train_all(argv: list[str]) -> list[Path]:
    """Trains the runs of a command line, one an arm, and publishes them if they are to be pushed.

    Returns:
        The folders of the runs.

    Raises:
        ValueError, OSError: the runs cannot be started.
    """
    options = read_options(argv)
    stray = next((name for name in OF_THE_COMMAND if name in options.given), None)
    if stray is not None:
        raise ValueError(f"--{stray} is an option of `bertx train`; runs alone are trained here")
    prepared = prepare(options)
    folders = []
    for plan in prepared.plans:
        folders.append(train_plan(prepared, plan))
        if prepared.push is not None and PartialState().is_main_process:
            prepared.push(folders[-1])
    return folders


def main(argv: list[str] | None = None) -> int:
    """Trains the runs of a command line. Returns 2 after an error, which it prints as one line."""

    def act() -> None:
        folders = train_all(sys.argv[1:] if argv is None else argv)
        if PartialState().is_main_process:
            print(*(f"wrote {folder}" for folder in folders), sep="\n")
        end_process_group()

    return run_command("train.py", act)


def build_user_data(options: Options) -> str:
    """Builds a user's own data below the runs. Its folder, which is returned, is named by the content, so that two
    files of the same name never share one."""
    build_dataset = import_module(f"{beside('dataset_scripts')}.build").build_dataset

    run, given = options.run, options.user_data
    given |= {} if run.folds is None else {"folds": run.folds}
    name = run.task if "task" in options.given else Path(run.train_file or "").name.partition(".")[0]
    built = Path(options.training.output_dir or "runs") / "data" / f"{name}-{_content(given)[:12]}"
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            for fold in range(1, run.folds + 1) if run.folds else (None,):
                build_dataset(name, built, builder_options={**given, "fold": fold})
    return str(built)


def _content(options: dict[str, Any]) -> str:
    """A sha256 over the options of a user's own data and over the files that they name."""
    digest = hashlib.sha256()
    for option, value in sorted(options.items()):
        digest.update(f"{option}={value}\n".encode())
        if not option.endswith("_file"):
            continue
        path = Path(str(value)).expanduser()
        for file in paths_below(path) if path.is_dir() else [path] if path.is_file() else []:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            digest.update(f"{name} {run_files.sha256(file)}\n".encode())
    return digest.hexdigest()


def _build_task(root: Path, name: str, split: str) -> Path:
    """Builds a data set of the paper from its original files, which are fetched, unless an earlier run did."""
    build_dataset = import_module(f"{beside('dataset_scripts')}.build").build_dataset

    folder = root / "data" / name
    if not (folder / split).is_dir():
        build_dataset(name, folder, split=split)
    return folder


def _push_to_hub(args: TrainingArguments) -> Callable[[Path], None]:
    """What publishes a finished run where the `Trainer` would have pushed it to.

    Raises:
        OSError: the token is not taken, which is better known before training than after.
    """
    from .publishing.card_facts import run_name
    from .publishing.publish import Upload, publish_model, signed_in

    upload = Upload(bool(args.hub_private_repo), args.hub_revision, token=args.hub_token)
    account = signed_in(args.hub_model_id or "the model", upload)

    def push(folder: Path) -> None:
        name = args.hub_model_id or run_name(run_files.read_json(folder / run_files.RUN))
        print(publish_model(folder, name if "/" in name else f"{account}/{name}", upload))

    return push


if __name__ == "__main__":
    sys.exit(main())
