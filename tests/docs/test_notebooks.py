"""Notebooks run from their first cell to their last, and are stored with outputs that name no path of a machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "results").symlink_to(ROOT / "results")
    notebook = nbformat.read(path, 4)
    stored = data_lines(notebook)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:  # a command in a cell fails without an error of the cell
        if "!bertx" in cell.source:
            assert any(output.get("text", "").strip() for output in cell.outputs), cell.source
    assert data_lines(notebook) == stored


def written(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """What cells say and print, without pictures."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "") + output.get("data", {}).get("text/plain", "")


def data_lines(notebook: nbformat.NotebookNode) -> list[str]:
    """What cells print of their data: the same in each run."""
    return [line for text in written(notebook) for line in text.splitlines() if " train, " in line]


def test_notebooks_hold_outputs_and_no_path_of_a_machine() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert (
            re.findall(r"(?:^|[\s'\"(=])(/\w[\w.-]*/\S*)", "\n".join(written(nbformat.read(path, 4))), flags=re.M)
            == []
        )
        assert "site-packages" not in text
        assert '"outputs": [' in text
        assert "two cores" in nbformat.read(path, 4).cells[0].source  # how long it takes
