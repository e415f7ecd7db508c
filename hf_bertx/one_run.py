"""What `train.py` does, and a study for each of its runs: parse, build, train, test, save, write the card.

What is needed after training, or for a push alone, is imported then, so that the first step comes sooner.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from accelerate import PartialState
from transformers import TrainingArguments
from transformers.utils import logging

from . import run_files
from .processes import end_process_group
from .registry import run_command
from .run_arguments import BuildOwn, parse_arguments
from .training import run

# takes the root of the runs, a task's name and the split; gives the folder of the data set that it built
BuildPublished = Callable[[Path, str, str], Path]


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


def train(
    argv: list[str],
    build_own: BuildOwn | None = None,
    build_task: BuildPublished | None = None,
    tell: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Trains the runs of a command line, one an arm, and publishes them if they are to be pushed.

    Args:
        build_own: builds a user's own data, where a `--train_file` is named.
        build_task: builds a task's data from its original files, where there is no copy of it.
        tell: is given the folder of each run as soon as it is finished, in the main process.

    Raises:
        ValueError, OSError: an order that cannot be carried out.
    """
    from .performance.memory import use_processor

    logging.disable_progress_bar()  # of reading and writing files; the training's own bars stay
    specs, args = parse_arguments(argv, build_own)
    use_processor(specs[0].threads, args.use_cpu)
    root = Path(args.output_dir or "runs")
    push = _push_to_hub(args) if args.push_to_hub else None
    # the finished run is pushed, without the Trainer's pickle, and no checkpoint holds the token
    args.push_to_hub, args.hub_token = False, None
    for spec in specs:
        folder = run(spec, args, build_task=None if build_task is None else partial(build_task, root))
        if PartialState().is_main_process:
            from .publishing.cards import write_model_card

            write_model_card(folder)
            tell(folder)
            if push is not None:
                push(folder)


def main(argv: list[str], build_own: BuildOwn | None = None, build_task: BuildPublished | None = None) -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why; see `run_command`."""

    def act() -> None:
        train(argv, build_own, build_task, tell=lambda folder: print(f"wrote {folder}"))
        end_process_group()

    return run_command("train.py", act)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
