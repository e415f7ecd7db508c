"""Scripts of examples/ run, and print what stands at their end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from conftest import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_print_what_they_say(name: str, tmp_path: Path) -> None:
    script = ROOT / "examples" / name
    code, _, shown = script.read_text(encoding="utf-8").partition("\n# Prints:\n")
    assert len(code.splitlines()) <= 35
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("{"))  # the Trainer's log
    expected = re.sub(r"^# ?", "", shown, flags=re.M)
    assert pages.compare(expected, printed, tolerance=0.15) is None
