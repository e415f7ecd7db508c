"""A run's model as an ONNX file, whose logits were compared with PyTorch's."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import run_files
from ..runs.run import Run
from .card_facts import examples
from .repository_files import ONNX, ONNX_RECORD

FILE = "model.onnx"
OPSET = 18  # the lowest that torch's exporter writes without converting
TOLERANCE = 1e-4  # of a logit, absolute: float32 sums in another order
_LONGEST = 2  # sequences as many times the example's length, where the model reads that far


def export_once(folder: Path) -> dict[str, Any]:
    """Exports the model of a finished run to `onnx/model.onnx` in its folder, unless these weights were already.

    Returns:
        What was measured: the file, its inputs, on how many sequences it was compared, the largest difference.

    Raises:
        ValueError: the run is not finished, or the two disagree; then no file is left.
        ImportError, as OSError: the packages of the extra `onnx` are missing; the message says how to get them.
    """
    weights = folder / run_files.MODEL / "model.safetensors"
    record = folder / ONNX / ONNX_RECORD
    if record.is_file() and weights.is_file() and record.stat().st_mtime_ns >= weights.stat().st_mtime_ns:
        return run_files.read_json(record)
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter is written in it
    except ImportError as error:
        raise OSError(
            f"ONNX needs packages that are not installed: in a clone of hf_bertx, pip install '.[onnx]' ({error})"
        ) from None
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    task = Run.open_finished(folder).task
    source = folder / run_files.MODEL
    if not (source / "model.safetensors").is_file():
        raise ValueError(f"{folder}: the folder {source.name} holds no weights; train the run again to export it")
    safe = {"use_safetensors": True, "trust_remote_code": False}
    model = AutoModelForSequenceClassification.from_pretrained(
        source, dtype="float32", attn_implementation="eager", **safe
    )
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    batches = [tokenizer(*rows, padding=True, return_tensors="pt") for rows in _sequences(task)]
    measured: dict[str, Any] = {}

    def write(target: Path) -> None:
        names = _write(model.eval(), batches[0], target / FILE)
        session = onnxruntime.InferenceSession(target / FILE, providers=["CPUExecutionProvider"])
        largest = max(_difference(model, session, batch, names) for batch in batches)
        if not largest <= TOLERANCE:
            raise ValueError(f"{folder}: logits in ONNX Runtime differ by {largest:.1e}, more than {TOLERANCE:.0e}")
        measured.update(
            file=f"{ONNX}/{FILE}",
            inputs=names,
            opset=OPSET,
            sequences=sum(len(batch["input_ids"]) for batch in batches),
            longest=max(batch["input_ids"].shape[1] for batch in batches),
            largest_difference=largest,
            tolerance=TOLERANCE,
            versions={name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
        )
        run_files.write_json(target / ONNX_RECORD, measured)

    run_files.write_folder(folder / ONNX, write)
    return measured


def _sequences(task: Any) -> list[tuple[list[str], ...]]:
    """Batches of several shapes: padded ones, single ones, short ones and ones of the length of training."""
    columns = []
    for example in examples(task):
        separator = " " if " " in example else ""
        symbols = example.split() if separator else list(example)
        room = max(1, (task.max_length - 3) // (2 if task.pair else 1))
        long = (symbols * (room // len(symbols) + 1))[:room]
        columns.append(
            [separator.join(s) for s in (symbols[:room], long, symbols[:3], long[::-1], symbols[:room][::-1])]
        )
    return [tuple(c[:2] for c in columns), tuple(c[2:3] for c in columns), tuple(c for c in columns)]


def _write(model: Any, batch: Any, path: Path) -> list[str]:
    """The exported file, batch size and length left open. Returns the names of its inputs."""
    import onnx
    import torch

    names = list(batch)
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(
        model,
        (),
        kwargs=dict(batch),
        input_names=names,
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, shape),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    made = program.model_proto
    parts = [made.graph, *made.functions]
    # the exporter keeps for every node the lines of code that it came from, with this machine's paths
    for part in (made, *parts, *(node for holder in parts for node in holder.node)):
        del part.metadata_props[:]
    onnx.save(made, path)
    return names


def _difference(model: Any, session: Any, batch: Any, names: list[str]) -> float:
    import torch

    with torch.no_grad():
        expected = model(**batch).logits.numpy()
    (logits,) = session.run(["logits"], {name: batch[name].numpy() for name in names})
    return float(abs(logits - expected).max())
