"""Every code block of README and docs/ runs, on a tiny model; what is not run says why."""

from pathlib import Path

import pages
import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [path for path in PAGES if pages.blocks(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run_and_print_what_is_shown(page: Path, reader: Path) -> None:
    """Numbers with a decimal point may be others."""
    assert pages.run_page(page.read_text(encoding="utf-8")) == []


def test_blocks_that_are_not_run_give_reasons() -> None:
    found = [block for page in WITH_CODE for block in pages.blocks(page.read_text(encoding="utf-8"))]
    left_out = [block for block in found if block.reason is not None]
    assert all(block.reason.strip() for block in left_out)
    assert len(left_out) < len(found) / 3
