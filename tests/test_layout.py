"""The listing is the data flow: imports point one way, from the bottom of this list to its top."""

import ast
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

import hf_bertx

ORDER = (
    "registry runs.time_limit performance.memory disciplines text_files sequence_files record_values record_labels "
    "midi_files input_records token_map batch_layout plain_tokenizer symbol_lookup tokenization_discipline "
    "device_rows arms configuration_discipline modeling_discipline performance.dropout performance.linear "
    "performance.attention performance.last_layer performance.used_rows performance.speed_up regression_head tuning "
    "optimizers run_files run_checkpoints hub_answers backbones tasks baselines.catalog protocols runs.spec "
    "data_copies targets task_data tokenized_data metrics runs.run runs.writer discipline_metric leaks callbacks "
    "training_options argument_parser runs.options run_arguments run_trainer run_schedule run_order frames run_model "
    "training processes baselines.losses baselines.hilbert_cnn.configuration_hilbert_cnn "
    "baselines.hilbert_cnn.modeling_hilbert_cnn baselines.symbol_cnn.configuration_symbol_cnn "
    "baselines.symbol_cnn.modeling_symbol_cnn baselines.plus_tfm.configuration_plus_tfm "
    "baselines.plus_tfm.tokenization_plus_tfm baselines.plus_tfm.modeling_plus_tfm pretraining.corpus "
    "pretraining.vocabulary pretraining.masking pretraining.modeling pretraining.arguments pretraining.pretrain "
    "prediction.unlikely_input prediction.windows prediction.loading prediction.inference prediction.attribution "
    "prediction.prediction_rows prediction.prediction_files pipeline_discipline report.resampling report.statistics "
    "report.formatting report.records report.tables report.cells report.comparisons report.paper_tables "
    "report.pretraining report.panels report.pretraining_panels report.plateau report.probes report.hypotheses "
    "report.figures report.page report.write analysis.similarity analysis.compared_runs analysis.activations "
    "analysis.analyse analysis.analysis_report study.series study.probes study.plan publishing.card_facts "
    "publishing.cards publishing.repository_files publishing.onnx_export publishing.publish baselines.features "
    "baselines.linear baselines.checkpoints baselines.plus_tfm.conversion baselines.encoders baselines.networks "
    "baselines.runs baselines.table probing.features probing.heads probing.draws probing.encoder "
    "probing.pooling_layer probing.runs launch study.execution study.archive study.choice study.estimate "
    "study.command commands.tasks commands.train commands.report commands.study commands.analyse commands.predict "
    "commands.baseline commands.pretrain commands.data commands.probe commands.publish cli"
).split()
NO_TORCH = (
    "performance.memory",
    "leaks",
    "disciplines",
    "text_files",
    "sequence_files",
    "record_values",
    "record_labels",
    "targets",
    "midi_files",
    "input_records",
    "token_map",
    "arms",
    "backbones",
    "tasks",
    "protocols",
    "run_files",
    "runs.run",
    "runs.spec",
    "runs.writer",
    "study.series",
    "study.plan",
    "study.execution",
    "study.archive",
    "study.choice",
    "runs.time_limit",
    "study.estimate",
    "study.command",
    "report.resampling",
    "report.statistics",
    "report.formatting",
    "report.records",
    "report.tables",
    "report.cells",
    "report.comparisons",
    "report.paper_tables",
    "report.pretraining",
    "report.panels",
    "report.pretraining_panels",
    "report.plateau",
    "report.figures",
    "report.page",
    "report.write",
    "analysis.similarity",
    "analysis.analysis_report",
    "publishing.card_facts",
    "publishing.cards",
    "publishing.repository_files",
    "publishing.onnx_export",
    "publishing.publish",
    "cli",
    "baselines.catalog",
    "baselines.table",
)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    folders = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(folders[: len(folders) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_is_in_the_order_and_imports_point_upwards() -> None:
    package = ROOT / "hf_bertx"
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }
    modules["discipline_metric"] = modules.pop("discipline_metric.discipline_metric")
    assert sorted(modules) == sorted(ORDER)
    checked = 0
    for name, path in modules.items():
        for imported in imports(path):
            parts = imported.split(".")
            inside = parts[1:] if parts[0] == "hf_bertx" else []
            for module in {".".join(inside[:n]) for n in range(1, len(inside) + 1)} & set(ORDER):
                assert ORDER.index(module) < ORDER.index(name), f"{name} imports {module}, which stands below it"
                checked += 1
            # the command only hands on what `bertx data build` was told
            assert parts[0] != "dataset_scripts" or name in ("commands.data", "launch"), f"{name} knows raw files"
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
    folders = ("hf_bertx", "dataset_scripts", "spaces", "benchmarks")
    files = [*ROOT.glob("*.py"), *(path for name in folders for path in (ROOT / name).rglob("*.py"))]
    assert len(files) > 15
    for path in files:
        assert not {"pickle", "dill", "joblib"} & {name.split(".")[0] for name in imports(path)}, path
        assert "trust_remote_code=True" not in path.read_text(encoding="utf-8"), path
        assert len(path.read_text(encoding="utf-8").splitlines()) < 460, path
