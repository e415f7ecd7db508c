"""Where a task's data is taken from: a folder, the package, the Hub, the original files; one line says which."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, HubUser
from hub_server import HubServer
from raw_files import histone, write

from dataset_scripts.build import build_dataset
from hf_bertx.data import data_copies
from hf_bertx.data.task_data import load_task_data
from hf_bertx.tasks import get_task

LOAD = """
import json, sys
from dataclasses import replace
from hf_bertx.data.task_data import load_task_data
from hf_bertx.tasks import get_task
for name, revision in json.loads(sys.argv[1]):
    try:
        data = load_task_data(replace(get_task(name), revision=revision))
        print(json.dumps([data.origin, data.revision, data.leaks, len(data.splits["train"]), data.fingerprint]))
    except OSError as error:
        print(json.dumps([str(error)]))
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_dataset("dna-h3", tmp_path / "dna-h3", raw_dir=write(tmp_path / "raw", {"H3.txt": histone(60)}))
    return tmp_path / "dna-h3"


def loaded(user: HubUser, *wanted: tuple[str, str | None], **settings: Any) -> list[list[Any]]:
    done = user.run(sys.executable, "-c", LOAD, json.dumps(wanted), PYTHONPATH=str(ROOT), token=None, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_the_hub_at_its_revision_and_then_from_the_cache(built: Path, hub: HubServer, user: HubUser) -> None:
    user.published("dataset", str(built), "--i-have-permission")
    revision = hub.repository("bertx/dna-h3", "dataset").tags["v1"]
    folder = load_task_data(get_task("dna-h3"), data_dir=str(built))
    (row,) = loaded(user, ("dna-h3", None))
    assert row[:2] == [f"the Hub: bertx/dna-h3 at revision {revision[:12]}", revision]
    assert tuple(row[2]) == folder.leaks
    assert len(folder.leaks) >= 2
    assert row[3:] == [len(folder.splits["train"]), folder.fingerprint]
    later = hub.repository("bertx/dna-h3", "dataset").add("main", "empty", {})
    assert loaded(user, ("dna-h3", revision))[0] == row
    hub.stop()
    cached, missing, other = loaded(user, ("dna-h3", None), ("dna-h4", None), ("dna-h3", later.id), HF_HUB_OFFLINE="1")
    assert cached == row
    assert missing[0].startswith(
        "task dna-h4: its data is not in the package and could not be loaded from bertx/dna-h4"
    )
    assert "offline" in missing[0].lower()
    assert "`bertx data build dna-h4 --split paper --output DIR`" in missing[0]
    assert "is what this name means" in other[0], other


def test_what_nobody_has_is_built_unless_offline(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def build(name: str, split: str) -> Path:
        asked.append((name, split))
        return built

    with pytest.raises(FileNotFoundError, match="its data is not in the package"):
        load_task_data(get_task("dna-h3"), build=build)
    assert asked == []
    monkeypatch.setattr(data_copies.constants, "HF_HUB_OFFLINE", False)
    data = load_task_data(get_task("dna-h3"), build=build)
    assert (data.origin, data.revision) == ("its original files, built here", None)
    assert asked == [("dna-h3", "paper")]

    def fails(name: str, split: str) -> Path:
        raise OSError("no answer from any address\nsecond line")

    with pytest.raises(
        FileNotFoundError, match=r"Nor could it be built .*: no answer from any address\. What to do: "
    ):
        load_task_data(get_task("dna-h3"), build=fails)
