"""The page of spaces/demo: its answers, and the page itself in a real browser."""

import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT
from hub_server import File, HubServer, Repository
from huggingface_hub import constants
from python_processes import run_python
from safetensors.torch import load_file, save_file
from saved_models import classes, midi, saved

from hf_bertx.data.input_records import InputRecord
from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.prediction.inference import SequenceClassifier

pytest.importorskip("gradio", reason="the page needs gradio: pip install '.[space]'")
FOLDER = ROOT / "spaces" / "demo"
ROW = "CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG"


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    sys.path.insert(0, str(FOLDER))
    import app as demo

    yield demo
    sys.path.remove(str(FOLDER))


def ask(app: Any, model: Path, sequence: str = "", file: Path | None = None, method: str = "occlusion") -> str:
    return app.answer("m", {"m": str(model)}, sequence, None if file is None else str(file), method)


def test_an_answer_has_every_label_and_every_symbol(app: Any, dna_model: Path) -> None:
    for method in ("occlusion", "gradient x input"):
        html = ask(app, dna_model, f" {ROW.lower()}\n", method=method)
        assert all(f"<span>{label}</span>" in html for label in ("EI", "IE", "N"))
        assert html.count('title="') == 60
        assert f"By {method}:" in html
    assert "The last 74 symbols were not read: the model reads 126." in ask(app, dna_model, "A" * 200)


def test_the_answer_is_of_all_windows(app: Any, tiny_backbone: Path, tmp_path: Path) -> None:
    fields = {**classes("EI", "IE", "N"), "window_symbols": 20, "window_overlap": 0}
    windowed = saved(tiny_backbone, tmp_path / "windowed", "dna", **fields)
    classifier = SequenceClassifier.from_pretrained(windowed, precision="float32")
    (chunk,) = classifier.predict([InputRecord("", ROW, "")])
    html = ask(app, windowed, ROW)
    assert all(f"{score:.3f}" in html for score in classifier.probabilities(chunk.logits[0]))
    assert "The answer is the mean of 3 windows; these are the symbols of the first." in html


def test_several_labels_are_all_said(app: Any, tiny_backbone: Path, tmp_path: Path) -> None:
    fields = {**classes("a", "b", "c"), "problem_type": "multi_label_classification"}
    model = saved(tiny_backbone, tmp_path / "several", "dna", **fields)
    (tmp_path / "x.fasta").write_text(f">r\n{ROW}\n")
    for bias, said in ((9.0, "a;b;c"), (-9.0, "no label")):
        weights = load_file(model / "model.safetensors")
        save_file(
            {**weights, "classifier.bias": torch.full((3,), bias)}, model / "model.safetensors", {"format": "pt"}
        )
        app.load.cache_clear()
        assert f'<p class="bx-head">{said}</p>' in ask(app, model, ROW)
        assert f"<td>{said}</td>" in ask(app, model, file=tmp_path / "x.fasta")


def test_every_mutation_is_drawn(app: Any, dna_model: Path) -> None:
    html = ask(app, dna_model, ROW, method="every mutation")
    assert html.count('src="data:image/png;base64,') == 1
    assert "101 letters: every mutation of 100 is" in ask(app, dna_model, "A" * 101, method="every mutation")


def test_files_are_answered(app: Any, dna_model: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "in.fasta").write_text(f">first\n{ROW}\n>second & last\nACGT\n")
    html = ask(app, dna_model, file=tmp_path / "in.fasta")
    assert "2 sequences of in.fasta" in html
    assert html.count("<tr>") == 2
    assert html.count('title="') == 60  # of the first
    music = saved(tiny_backbone, tmp_path / "music", "music", **classes("Bach", "Chopin"))
    html = ask(app, music, file=midi(tmp_path / "x.mid", 200, seed=1))
    assert "2 segments of x.mid" in html
    assert html.count('title="') == 126  # the tiny model reads no more of a segment's 128
    assert "(C4)" in ask(app, music, "60 64 67")


def test_bad_input_is_a_sentence(app: Any, dna_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.fasta").write_text(">a\nAC<b>\n")
    (tmp_path / "bad.mid").write_text("no")
    (tmp_path / "bad.gz").write_text("no")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "bomb.fasta.gz").write_bytes(gzip.compress(b">a\n" + b"A" * 11_000_000))
    (tmp_path / "two" / "parts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    folders = ("two/nothing/..", "../two", "./two", "two/../two", f"../{tmp_path.name}", "parts", "")
    cases = [
        (ask(app, dna_model), "Paste a sequence or drop a file first."),
        (ask(app, dna_model, "ACGT!"), "the sequence: symbol &#x27;!&#x27; at position 5 is not in the dna alphabet"),
        (ask(app, dna_model, "A" * 30_000), "30,000 letters are more than this page takes (20,000)."),
        (
            ask(app, dna_model, file=tmp_path / "bad.fasta"),
            "bad.fasta, line 1, id &#x27;a&#x27;: symbol &#x27;&lt;&#x27;",
        ),
        (ask(app, dna_model, file=tmp_path / "bad.mid"), "bad.mid: not a whole MIDI file"),
        (app.answer("/etc", {}, "ACGT", None, "occlusion"), "/etc: choose a model of the list, or type a Hub id"),
        (app.answer("no/model", {}, "ACGT", None, "occlusion"), "no/model: the model could not be loaded"),
        (app.answer("two/parts", {}, "ACGT", None, "occlusion"), "two/parts: the model could not be loaded: "),
        *((app.answer(name, {}, "ACGT", None, "occlusion"), "choose a model of the list") for name in folders),
        (ask(app, dna_model, file=tmp_path / "bomb.fasta.gz"), "bomb.fasta.gz: expands to more than the 10 MB"),
        (ask(app, dna_model, file=tmp_path / "bad.gz"), "Not a gzipped file"),
        (ask(app, dna_model, file=tmp_path / "deep.jsonl"), ""),  # a sentence, whatever it says
    ]
    there, gone = (app.answer(f"two/{name}", {}, "ACGT", None, "occlusion") for name in ("parts", "gone"))
    assert there == gone.replace("gone", "parts")  # nobody learns which folders there are
    for html, sentence in cases:
        assert html.startswith('<div class="bx-problem"')
        assert sentence in html
        assert "Traceback" not in html
        assert str(tmp_path) not in html  # folders of the server are nobody's business


def test_the_header_names_what_runs() -> None:
    header = yaml.safe_load((FOLDER / "README.md").read_text().split("---")[1])
    assert (header["sdk"], header["license"]) == ("gradio", "apache-2.0")
    assert (FOLDER / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60
    assert (FOLDER / "requirements.txt").read_text().splitlines()[-1] == "hf-bertx[space] @ git+https://ADDRESS"


def test_a_private_model_is_not_for_visitors(app: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    repository = hub.repositories["model", "owner/mine"] = Repository("model", "owner/mine", private=True)
    repository.add("main", "model", {"config.json": File(b"{}", False)})
    html = app.answer("owner/mine", {}, "ACGT", None, "occlusion")
    assert "owner/mine: the model could not be loaded: the Hub has no such repository, or it is private" in html
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_page_without_a_model_is_refused(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main([])
    assert "no model is named; allowed: --model with a run's or model's folder" in capsys.readouterr().err


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    done = run_python(FOLDER / "app.py", "--model", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"app.py: error: {tmp_path}: holds no model; allowed: a run's folder"
    )


# ---- in a browser ----


def _chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def address(dna_model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(FOLDER / "app.py"), "--model", str(dna_model), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, "the page's server ended"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.mark.skipif(_chromium() is None, reason="no Chromium is installed")
def test_the_page_in_a_browser(address: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    (tmp_path / "two.fasta").write_text(f">one\n{ROW}\n>two\nACGT\n")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=_chromium(), args=flags)
        page = browser.new_page(viewport={"width": 1120, "height": 700})
        page.set_default_timeout(120_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.fill("#sequence textarea", ROW)
        page.click("#go")
        page.wait_for_selector("#answer .bx-seq")
        assert page.inner_text("#answer .bx-head") in ("EI", "IE", "N")
        shown = page.locator("#answer .bx-seq mark").all_inner_texts()
        assert "".join(shown) == ROW
        colours = {page.locator("#answer .bx-seq mark").nth(i).get_attribute("style") for i in range(60)}
        assert len(colours) > 5
        scores = [float(text) for text in page.locator("#answer .bx-bar b").all_inner_texts()]
        assert sum(scores) == pytest.approx(1, abs=0.002)
        page.screenshot(path=tmp_path / "answer.png")
        assert (tmp_path / "answer.png").stat().st_size > 10_000
        page.fill("#sequence textarea", "ACGU!")
        page.click("#go")
        page.wait_for_selector("#answer .bx-problem")
        problem = page.inner_text("#answer .bx-problem")
        assert problem.startswith("the sequence: symbol 'U' at position 4 is not in the dna alphabet: A C G T")
        page.set_input_files("#file input[type=file]", tmp_path / "two.fasta")
        page.wait_for_selector("#file :text('two')")
        page.click("#go")
        page.wait_for_selector("#answer .bx-table")
        assert page.inner_text("#answer .bx-head") == "2 sequences of two.fasta"
        browser.close()
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []  # no fonts, no analytics


def test_example_sequences_are_of_their_alphabets(app: Any) -> None:
    for name, row in app.EXAMPLES.items():
        discipline = DISCIPLINES[name]
        assert set(row.split() if discipline.separator else row) <= set(discipline.symbols)
