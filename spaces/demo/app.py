"""A page for hf_bertx models: it takes a sequence or a file and shows labels, scores and each symbol's contribution.

python spaces/demo/app.py --model runs/demo/recommended/dna-splice/minilm-l6/bert/seed-0 [--model owner/name ...]
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import re
import sys
from functools import lru_cache
from itertools import islice
from pathlib import Path

# before gradio is imported: it would report its use
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import numpy as np
import page
from huggingface_hub import HfApi

from hf_bertx.data.input_records import INPUT_ENDINGS, Columns, InputRecord
from hf_bertx.data.labels import LABEL_THRESHOLD, joined_labels
from hf_bertx.hub_answers import advice
from hf_bertx.prediction.attribution import METHODS, attribute
from hf_bertx.prediction.inference import Chunk, SequenceClassifier
from hf_bertx.prediction.loading import find_model
from hf_bertx.prediction.mutations import draw, mutate
from hf_bertx.prediction.prediction_rows import has_votes, piece_answer
from hf_bertx.registry import one_line

MODELS: tuple[str, ...] = ()  # Hub ids that the page offers without --model; a Space needs one
EXAMPLES = {
    "dna": "CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG",
    "protein": "SKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLV",
    "music": "60 64 67 72 76 67 72 76 60 62 69 74 77 69 74 77",
}
MOST_SYMBOLS, MOST_RECORDS = 20_000, 256  # of what is pasted, of a file
MUTATIONS, MOST_MUTATED = "every mutation", 100  # letters, 21 passes each for a protein
MOST_BYTES = 10_000_000  # of a file, unpacked
MOST_WEIGHTS = 2_000_000_000  # bytes of a model whose Hub id is typed


@lru_cache(maxsize=2)
def load(name: str) -> SequenceClassifier:
    return SequenceClassifier.from_pretrained(name, precision="float32")


def answer(name: str, given: dict[str, str], sequence: str, file: str | None, method: str) -> str:
    """The right half of the page: the answer, or one sentence that says what is wrong with the input.

    Args:
        name: one of `given`, which has their folders or Hub ids, or a Hub id that was typed. A folder cannot be typed.
    """
    try:
        if name not in given:
            check_typed(name or "")
        if file is None and not (sequence or "").strip():
            raise ValueError("Paste a sequence or drop a file first.")
        if file is None and len(sequence) > MOST_SYMBOLS:
            raise ValueError(f"{len(sequence):,} letters are more than this page takes ({MOST_SYMBOLS:,}).")
        if file is not None:
            check_upload(Path(file))
        classifier = load(given.get(name) or name)
        return _of_file(classifier, Path(file), method) if file else _of_sequence(classifier, sequence.strip(), method)
    except Exception as error:  # whatever an upload or a model makes a library raise
        text = one_line(error)
        return page.problem(text.replace(str(file), Path(file).name) if file else text)


def check_typed(name: str) -> None:
    """Lets a Hub id of a model that is not too large through, and nothing that could be a folder of this machine.

    Raises:
        ValueError: it is none. The sentence is the same whether a folder of that name is there or not.
    """
    hub_id, _, revision = name.partition("@")
    typed = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@\w[\w.-]*)?", name, flags=re.ASCII)
    if not typed or ".." in name:
        raise ValueError(f"{name or 'No model'}: choose a model of the list, or type a Hub id, owner/name.")
    try:
        # without the token of who runs the page: its private models are not for visitors
        files = HfApi(token=False).model_info(hub_id, revision=revision or None, files_metadata=True).siblings or []
        reason = "the Hub has no such model" if Path(name).exists() or Path(hub_id).exists() else None
    except Exception as error:
        reason = advice(error) or "the Hub has no such model"
    if reason is not None:
        raise ValueError(f"{name}: the model could not be loaded: {reason}. Choose one of the list.")
    size = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
    if size > MOST_WEIGHTS:
        raise ValueError(f"{name}: {size / 1e9:.1f} GB of weights; this page takes {MOST_WEIGHTS / 1e9:g} GB.")


def check_upload(path: Path) -> None:
    """Reads a compressed file once, as far as the limit, before anything is kept of it.

    Raises:
        ValueError: it is a folder, or expands to more than the page takes.
    """
    if not path.is_file() or path.suffix.lower() == ".parquet":  # nobody knows how far that expands
        raise ValueError(f"{path.name}: allowed are FASTA, CSV, text and MIDI files.")
    if path.suffix.lower() != ".gz":
        return
    left = MOST_BYTES
    with gzip.open(path) as file:
        while block := file.read(2**16):
            left -= len(block)
            if left < 0:
                raise ValueError(
                    f"{path.name}: expands to more than the {MOST_BYTES / 1e6:g} MB that this page takes."
                )


def _of_sequence(classifier: SequenceClassifier, sequence: str, method: str) -> str:
    if method == MUTATIONS:
        return _of_mutations(classifier, sequence)
    (chunk,) = classifier.predict([InputRecord("", sequence, "the sequence")])
    logits = chunk.logits[0]
    if classifier.regression:
        head = page.head(f"{logits[0]:.4g}")
        scores = page.note("A value in the units of the data that the model was trained on.")
    else:
        head = page.head(_label(classifier, logits))
        scores = page.bars(dict(zip(classifier.labels, classifier.probabilities(logits).tolist(), strict=True)))
    return head + scores + _coloured(classifier, chunk, method)


def _label(classifier: SequenceClassifier, logits: np.ndarray) -> str:
    """The label of an item, or all of its labels."""
    if classifier.multi_label:
        given = classifier.probabilities(logits) >= LABEL_THRESHOLD
        return joined_labels(given, classifier.labels) or "no label"
    return classifier.labels[int(logits.argmax())]


def _coloured(classifier: SequenceClassifier, chunk: Chunk, method: str) -> str:
    """What the symbols of a chunk's first record contributed to its answer."""
    target = None if classifier.regression else classifier.labels[int(chunk.logits[0].argmax())]
    attribution = attribute(classifier, chunk.records[0].sequence, method, target)
    return page.coloured(attribution, method, int(chunk.cut[0]), int(chunk.windows[0]))


def _of_mutations(classifier: SequenceClassifier, sequence: str) -> str:
    if len(sequence) > MOST_MUTATED:
        raise ValueError(f"{len(sequence)} letters: every mutation of {MOST_MUTATED} is what this page computes.")
    (mutations,) = mutate(classifier, [InputRecord("the sequence", sequence, "the sequence")])
    picture = io.BytesIO()
    draw(mutations, picture, a_line=30)
    return page.head(f"{mutations.target} {mutations.score:.3g}") + page.picture(picture.getvalue())


def _of_file(classifier: SequenceClassifier, path: Path, method: str) -> str:
    voting = has_votes(classifier, path, Columns())
    records = list(islice(classifier.read(path), MOST_RECORDS + 1))
    more = len(records) > MOST_RECORDS
    rows, predicted = [], []
    chunks = list(classifier.predict(records[:MOST_RECORDS]))
    for chunk in chunks:
        for record, logits in zip(chunk.records, chunk.logits, strict=True):
            best = int(logits.argmax())
            predicted.append(best)
            score = f"{logits[0]:.4g}" if classifier.regression else f"{classifier.probabilities(logits)[best]:.3f}"
            rows.append((record.id, "" if classifier.regression else _label(classifier, logits), score))
    title = f"{len(rows)} sequence{'s' * (len(rows) != 1)} of {path.name}"
    if voting and not classifier.regression:
        won = piece_answer(classifier, np.array(predicted))
        title = f"{won['piece_label']}: {won['votes']} of {won['segments']} segments of {path.name}"
    limit = page.note(f"The first {MOST_RECORDS} records; `bertx predict` reads all.") if more else ""
    below = page.note(f"Below, the first of them, {records[0].id}.") if len(rows) > 1 else ""
    return (
        page.head(title)
        + page.table(rows)
        + limit
        + below
        + _coloured(classifier, chunks[0], METHODS[0] if method == MUTATIONS else method)
    )


def short_names(models: list[str]) -> dict[str, str]:
    """Names for the page: Hub ids as they are, a folder by its last parts, `dna-splice/minilm-l6/bert/seed-0`."""
    paths = {name: [part for part in Path(name).parts if part != "model"] for name in models}
    return {"/".join(parts[-4:]) if Path(name).is_dir() else name: name for name, parts in paths.items()}


def build(models: dict[str, str]) -> gr.Blocks:
    """The page, for the models of [`short_names`]; the first is chosen."""
    with gr.Blocks(title="hf_bertx", analytics_enabled=False, fill_width=False) as blocks:
        gr.HTML(page.TITLE)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                model = gr.Dropdown(list(models), value=next(iter(models)), label="Model", allow_custom_value=True)
                sequence = gr.Textbox(
                    label="Sequence", lines=5, max_lines=12, elem_id="sequence", placeholder="ACGT... or 60 64 67 ..."
                )
                file = gr.File(
                    label="or a file: FASTA, CSV, text, MIDI",
                    file_types=[*(ending for ending in INPUT_ENDINGS if ending != ".parquet"), ".gz"],
                    height=150,
                    elem_id="file",
                )
                method = gr.Radio([*METHODS, MUTATIONS], value=METHODS[0], label="Positions by")
                with gr.Row():
                    example = gr.Button("An example", size="md", elem_id="example")
                    go = gr.Button("Classify", variant="primary", size="md", elem_id="go")
            with gr.Column(scale=6, min_width=360):
                out = gr.HTML(page.EMPTY, elem_id="answer", apply_default_css=False)
        go.click(
            lambda *values: answer(values[0], models, *values[1:]),
            [model, sequence, file, method],
            out,
            api_name=False,
            show_progress="minimal",
        )
        example.click(lambda name: _example(models, name), [model], [sequence, file], api_name=False)
    return blocks


def _example(models: dict[str, str], name: str) -> tuple[str, None]:
    try:
        return EXAMPLES.get(load(models[name]).discipline, ""), None
    except Exception:
        return EXAMPLES["dna"], None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a run's or model's folder, or a Hub id; may be repeated")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860 on")
    arguments = parser.parse_args(argv)
    models = short_names(arguments.model or list(MODELS))
    if not models:
        parser.error(
            "no model is named; allowed: --model with a run's or model's folder or a Hub id, or MODELS in app.py"
        )
    try:
        for name in models.values():
            find_model(name)
    except ValueError as error:
        print(f"app.py: error: {error}", file=sys.stderr)
        return 2
    build(models).launch(
        server_port=arguments.port,
        theme=page.THEME,
        css=page.CSS,
        footer_links=[],
        ssr_mode=False,
        max_file_size=MOST_BYTES,
        quiet=True,
        prevent_thread_lock=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
