"""The listing is the data flow: imports point one way, from the bottom of this list to its top."""

import ast
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

import hf_bertx

ORDER = (
    "disciplines token_map batch_layout plain_tokenizer tokenization_discipline arms configuration_discipline "
    "modeling_discipline shortcuts backbones tasks protocols run_files data_copies task_data tokenized_data "
    "metrics discipline_metric leaks callbacks run_arguments run_order training report card_facts cards "
    "repository_files onnx_export publish cli"
).split()
NO_TORCH = (
    "leaks",
    "disciplines",
    "token_map",
    "arms",
    "backbones",
    "tasks",
    "protocols",
    "run_files",
    "report",
    "card_facts",
    "cards",
    "repository_files",
    "onnx_export",
    "publish",
    "cli",
)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"hf_bertx{'.' + node.module if node.module else ''}" if node.level else node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_is_in_the_order_and_imports_point_upwards() -> None:
    modules = {path.stem: path for path in (ROOT / "hf_bertx").glob("*.py") if path.stem != "__init__"}
    modules["discipline_metric"] = ROOT / "hf_bertx" / "discipline_metric" / "discipline_metric.py"
    assert sorted(modules) == sorted(ORDER)
    checked = 0
    for name, path in modules.items():
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "hf_bertx" and len(parts) > 1 and parts[1] in ORDER:
                assert ORDER.index(parts[1]) < ORDER.index(name), f"{name} imports {parts[1]}, which stands below it"
                checked += 1
            # the command only hands on what `bertx data build` was told
            assert parts[0] != "dataset_scripts" or name == "cli", f"{name} knows raw files"
    assert checked > 20


def test_modules_that_list_and_report_need_no_torch() -> None:
    code = (
        "import sys, importlib\nfor n in sys.argv[1:]: importlib.import_module('hf_bertx.' + n)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *NO_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names_exist_and_importing_is_lazy() -> None:
    for name in hf_bertx.__all__:
        assert getattr(hf_bertx, name) is not None
    code = "import sys, hf_bertx; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pickle_and_no_remote_code() -> None:
    files = [*(ROOT / "hf_bertx").rglob("*.py"), *(ROOT / "dataset_scripts").glob("*.py"), ROOT / "train.py"]
    assert len(files) > 15
    for path in files:
        assert not {"pickle", "dill", "joblib"} & {name.split(".")[0] for name in imports(path)}, path
        assert "trust_remote_code=True" not in path.read_text(encoding="utf-8"), path
        assert len(path.read_text(encoding="utf-8").splitlines()) < 460, path
