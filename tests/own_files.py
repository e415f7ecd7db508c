"""Tables of a user's own, and short trainings on them in this process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_bertx import run_files
from hf_bertx.launch import main
from hf_bertx.runs.run import Run

SHORT = "--max_steps 2 --eval_steps 2 --logging_steps 1 --precision float32 --threads 1 --disable_tqdm 1".split()


def own_table(path: Path, items: Iterable[tuple[str, Any]]) -> Path:
    """A table of sequences and their labels; the ids are s0, s1, ..."""
    rows = (f"s{i},{sequence},{label}\n" for i, (sequence, label) in enumerate(items))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id,sequence,label\n" + "".join(rows))
    return path


def dna_table(path: Path, labels: str, items: int = 40) -> Path:
    """A table of short sequences of DNA; the labels take turns."""
    words = labels.split()
    sequences = (f"{'ACGT'[i % 4] * 5}{'AC'[i % 2] * (i % 7 + 1)}" for i in range(items))
    return own_table(path, ((sequence, words[i % len(words)]) for i, sequence in enumerate(sequences)))


def own_order(backbone: Path, root: Path, file: Path, *more: str) -> list[str]:
    """The arguments of a training of two steps, of DNA unless `more` says otherwise."""
    argv = ["--backbone", str(backbone), "--output_dir", str(root), "--train_file", str(file), "--discipline", "dna"]
    return [*argv, *SHORT, *more]


def train_own(backbone: Path, root: Path, file: Path, *more: str) -> Run:
    """The first finished run below `root`, after a training on a file."""
    assert main(own_order(backbone, root, file, *more)) == 0
    return Run.open_finished(next(root.rglob(run_files.RESULTS)).parent)
