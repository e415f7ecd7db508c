"""The site builds, offline and strictly, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    unreachable = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **unreachable})
    assert done.returncode == 0, done.stderr[-3000:]
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
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
