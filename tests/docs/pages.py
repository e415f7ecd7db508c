"""Code blocks of Markdown pages, run as a reader would run them, in one process and on a tiny text model.

A block of `bash` is run line by line, a block of `python` in the names of its page; a block of `text` is what the
block before it prints. A comment in front, `<!-- not run: REASON -->`, leaves a block out. Its commands are still
parsed.
"""

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_bertx.arms import ARMS
from hf_bertx.cli import build_parser, main
from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.tasks import TASKS

_BLOCK = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<reason>.+?) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^[ ]*```$",
    flags=re.M | re.S,
)
# with the model and the machine: layer, seconds, the label of an item, whether a baseline is beaten
_VARIES = re.compile(r"(layer )\d+|\d+( s)\b|'label': '\w+'|^The model \(probe\).*")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `reason` says why it is not run."""

    line: int
    language: str
    code: str
    reason: str | None


def blocks(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.M)
        line = text.count("\n", 0, match.start("code"))
        found.append(Block(line, match["language"], code, match["reason"]))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of a block as words, without comments and with continued lines joined."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_command(words: list[str]) -> None:
    """Runs `bertx ...`, `accelerate launch train.py ...`, `accelerate launch pretrain.py ...` in this process."""
    if words[:2] == ["accelerate", "launch"]:
        script = next(i for i, word in enumerate(words) if word.endswith(".py"))
        words = ["bertx", words[script].removesuffix(".py"), *words[script + 1 :]]
    if words[0] == "head":
        done = subprocess.run(shlex.join(words[: words.index(">")]), shell=True, capture_output=True, check=True)
        Path(words[-1]).write_bytes(done.stdout)
        return
    assert words[0] == "bertx", f"neither bertx nor accelerate launch: {words}"
    assert main(words[1:]) == 0, words


def check_command(words: list[str]) -> None:
    """That a command which is not run is at least understood."""
    if words[0] == "bertx" and words[1] not in ("train", "pretrain"):
        assert callable(build_parser().parse_args(words[1:]).act), words
    else:
        known = ("bertx", "accelerate", "make", "pip", "python", "tar", "hf", "git", "torchrun", "sbatch", "cd", "ray")
        assert words[0] in known or "=" in words[0], words


def run_page(text: str) -> list[str]:
    """Runs the blocks of a page in order; returns what differs from the outputs that it shows."""
    with contextlib.ExitStack() as stack:
        for known in (ARMS, TASKS, DISCIPLINES):  # a page may add to them
            stack.callback(known.update, dict(known))
            stack.callback(known.clear)
        return _run_page(text)


def _run_page(text: str) -> list[str]:
    names: dict[str, Any] = {"__name__": "__main__"}
    printed, differences = "", []
    for block in blocks(text):
        if block.language in ("bash", "python") and block.reason is None:
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                try:
                    if block.language == "python":
                        exec(compile(block.code, f"block at line {block.line}", "exec"), names)
                    else:
                        for words in commands(block):
                            run_command(words)
                except BaseException as error:
                    raise AssertionError(f"block at line {block.line}: {error!r}\n{stream.getvalue()}") from error
            lines = stream.getvalue().splitlines()
            printed = "\n".join(line for line in lines if not re.match(r"\{'(loss|eval_|train_)", line))  # its log
        elif block.language == "bash":
            for words in commands(block):
                check_command(words)
        elif block.language == "python":
            compile(block.code, f"block at line {block.line}", "exec")
        elif block.language == "yaml" and block.reason is None:
            name = re.match(r"# (\S+\.yaml)\n", block.code)
            if name:
                Path(name[1]).write_text(block.code, encoding="utf-8")
        elif block.language == "text" and block.reason is None:
            difference = compare(block.code, printed)
            if difference:
                differences.append(f"output at line {block.line}: {difference}")
    return differences


def compare(shown: str, printed: str, tolerance: float | None = None) -> str | None:
    """What differs, in words. Whole numbers have to be equal, others within the tolerance (None: anything).

    `...` on a line of its own stands for any lines.
    """
    lines, place = printed.rstrip().splitlines(), 0
    skipping = False
    for expected in shown.rstrip().splitlines():
        if expected.strip() == "...":
            skipping = True
            continue
        while skipping and place < len(lines) and not same_line(expected, lines[place], tolerance):
            place += 1
        if place == len(lines) or not same_line(expected, lines[place], tolerance):
            return f"shown {expected!r}, printed {lines[place] if place < len(lines) else '(nothing)'!r}"
        place, skipping = place + 1, False
    return None if skipping or place == len(lines) else f"printed further {lines[place]!r}"


def same_line(expected: str, printed: str, tolerance: float | None) -> bool:
    expected, printed = (_VARIES.sub(r"\1\2", line) for line in (expected, printed))
    if _NUMBER.sub("#", " ".join(expected.split())) != _NUMBER.sub("#", " ".join(printed.split())):
        return False
    for ours, theirs in zip(_NUMBER.findall(expected), _NUMBER.findall(printed), strict=True):
        if "." not in ours and "." not in theirs:
            if ours != theirs:
                return False
        elif tolerance is not None and abs(float(ours.replace(",", "")) - float(theirs.replace(",", ""))) > tolerance:
            return False
    return True
