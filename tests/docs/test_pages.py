"""Every code block of README and docs/ and every script of examples/ runs, on a tiny model; the site builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from conftest import ROOT
from python_processes import run_python

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [path for path in PAGES if pages.blocks(path.read_text(encoding="utf-8"))]
TUTORIAL = "own_arm.py"  # trains two runs; it is run as the page that shows it, on a tiny model
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != TUTORIAL)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run_and_print_what_is_shown(page: Path, reader: Path) -> None:
    """Numbers with a decimal point may be others."""
    assert pages.run_page(page.read_text(encoding="utf-8")) == []


def test_blocks_that_are_not_run_give_reasons() -> None:
    found = [block for page in WITH_CODE for block in pages.blocks(page.read_text(encoding="utf-8"))]
    left_out = [block for block in found if block.reason is not None]
    assert all(block.reason.strip() for block in left_out)
    assert len(left_out) < len(found) / 3


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


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    unreachable = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **unreachable})
    assert done.returncode == 0, done.stderr[-3000:]
    made = list(tmp_path.rglob("*.html"))
    assert len(made) > 40
    for page in made:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+href="(https?:[^"]+)"', text)
        assert not loaded, f"{page}: {loaded}"


def test_every_page_is_short_and_says_what_is_next() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        words = len(re.sub(r"```.*?```|^\|.*$", "", text, flags=re.S | re.M).split())
        assert words < 700, f"{page}: {words} words"
        if page.parent.name != "reference":
            assert "\nNext: " in text.rstrip()[-400:], page
