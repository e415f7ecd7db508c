"""The wheel, installed into an environment of its own: nothing of the checkout is needed."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uv = shutil.which("uv", path=ROOT / ".venv" / "bin") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    output = tmp_path_factory.mktemp("wheel")
    built = subprocess.run([uv, "build", "--wheel", "-o", output, ROOT], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (path,) = output.glob("*.whl")
    return path


def test_a_wheel_installs_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hf_bertx"}
    needed = ("py.typed", "dataset_scripts/build.py", "model_cards/model_card.md", "studies/verdict.yaml")
    assert [name for name in needed if f"hf_bertx/{name}" not in names] == []


COMMANDS = """
import sys
from pathlib import Path
site, backbone = sys.argv[1:]
sys.path.insert(0, site)
from hf_bertx.cli import main
assert main("data build mine --from mine.fasta --discipline dna --output data/mine".split()) == 0
assert main(["train", "--task", "data/mine", "--backbone", backbone, "--max_steps", "3"]) == 0
(model,) = Path("runs/recommended").rglob("model")
assert main(["predict", str(model.parent), "mine.fasta", "--output", "answers.csv"]) == 0
"""


def test_commands_work_without_the_checkout(
    wheel: Path, python_without_hf_bertx: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    records = "".join(
        f">r{n} {'ab'[n % 2]}\n{'ACGT' * 5}{'ACGT'[n % 4]}{'ACGT'[n // 4 % 4]}{n * 'A'}\n" for n in range(40)
    )
    (tmp_path / "mine.fasta").write_text(records)
    command = [python_without_hf_bertx, "-I", "-c", COMMANDS, str(tmp_path / "site"), str(tiny_backbone)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for card in (tmp_path / "data" / "mine" / "README.md", *(tmp_path / "runs").rglob("model/README.md")):
        assert "## " in card.read_text()
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 41
