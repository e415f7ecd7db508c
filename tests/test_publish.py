"""What may not be hosted again is not sent; what the Hub does not take ends in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_scripts.build import build_dataset
from hf_bertx.cli import main


@pytest.fixture
def histone(tmp_path: Path) -> Path:
    (tmp_path / "H3.txt").write_text(
        "".join(f">iYAL{i:03d}C_1\nACGTACGTTGCA{'ACGT'[i % 4]}\n{i % 2}\n" for i in range(40))
    )
    build_dataset("dna-h3", tmp_path / "built", raw_dir=tmp_path)
    return tmp_path / "built"


def test_data_without_a_licence_is_refused(histone: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "publish", str(histone)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("bertx: error: dna-h3 is not published: no licence is stated")
    assert error.endswith("pass --i-have-permission")


def test_an_empty_folder_is_no_build(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "publish", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"bertx: error: {tmp_path}: no build; `bertx data build` makes one\n"


def test_with_permission_it_is_sent_and_a_hub_out_of_reach_is_one_line(histone: Path) -> None:
    command = [sys.executable, "-m", "hf_bertx.cli", "data", "publish", str(histone), "--i-have-permission"]
    away = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=away, timeout=120)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bertx: error: bertx/dna-h3 could not be published: ")
    assert "hf_secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
