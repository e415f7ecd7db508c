"""Scripts of examples/ run, and print what stands at their end."""

import os
import re
from pathlib import Path

import pages
import pytest
from conftest import ROOT
from python_processes import run_python

TUTORIAL = "own_arm.py"  # trains two runs; it is run as the page that shows it, on a tiny model
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != TUTORIAL)


def code_and_output(name: str) -> tuple[str, str]:
    """A script, and what stands at its end that it prints."""
    code, _, shown = (ROOT / "examples" / name).read_text(encoding="utf-8").partition("\n# Prints:\n")
    assert len(code.splitlines()) <= 35
    return code, re.sub(r"^# ?", "", shown, flags=re.M)


def test_the_tutorial_shows_its_script_and_output() -> None:
    code, shown = code_and_output(TUTORIAL)
    text = (ROOT / "docs/tutorials/own-arm.md").read_text(encoding="utf-8")
    page = [block.code for block in pages.blocks(text)]
    assert page[:2] == [code.partition('"""\n\n')[2], shown]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_print_what_they_say(name: str, tmp_path: Path) -> None:
    script = ROOT / "examples" / name
    expected = code_and_output(name)[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFORMERS_VERBOSITY": "error"}
    done = run_python(script, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("{"))  # the Trainer's log
    assert pages.compare(expected, printed, tolerance=0.15) is None
