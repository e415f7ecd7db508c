"""What the page looks like: HTML of an answer, colours, theme. No fonts or files from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from html import escape

import gradio as gr
import numpy as np

from hf_bertx.prediction.attribution import Attribution

_FOR, _AGAINST = (29, 111, 184), (224, 108, 20)  # blue and orange: color-blind readers can tell them apart
_NOTES = "C C# D D# E F F# G G# A A# B".split()
_GROUP = {"letters": 10, "words": 8}  # symbols

THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.blue,
    neutral_hue=gr.themes.colors.slate,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
    radius_size=gr.themes.sizes.radius_lg,
)
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#sequence textarea { font-family: ui-monospace, monospace; letter-spacing: .04em; }
#answer { background: var(--background-fill-primary); border: 1px solid var(--border-color-primary);
  border-radius: 12px; padding: 20px 24px; min-height: 360px; }
.bx-title h1 { font-size: 1.6rem; margin: 8px 0 2px; } .bx-title p { color: var(--body-text-color-subdued);
  margin: 0; }
.bx-head { font-size: 1.7rem; font-weight: 650; margin: 0 0 12px; overflow-wrap: anywhere; }
.bx-bar { display: grid; grid-template-columns: minmax(60px, 30%) 1fr 4.2em; gap: 10px; align-items: center;
  margin: 6px 0; font-size: .95rem; }
.bx-bar i { display: block; height: 12px; border-radius: 6px; background: rgb(29, 111, 184); min-width: 2px; }
.bx-bar u { display: block; background: var(--border-color-primary); border-radius: 6px; text-decoration: none; }
.bx-bar b { font-variant-numeric: tabular-nums; text-align: right; font-weight: 500; }
.bx-seq { display: flex; flex-wrap: wrap; gap: 2px 12px; margin-top: 6px; font-family: ui-monospace, monospace; }
.bx-seq em { display: block; font-style: normal; color: var(--body-text-color-subdued); font-size: .7rem;
  line-height: 1.2; margin-top: 6px; }
.bx-seq mark { color: inherit; padding: 2px 1px; border-radius: 3px; line-height: 1.6; }
.bx-seq.words mark { padding: 2px 4px; margin-right: 3px; }
.bx-note { color: var(--body-text-color-subdued); font-size: .88rem; margin: 10px 0 0; }
.bx-key { display: inline-block; width: 1em; height: 1em; border-radius: 3px; vertical-align: -2px; margin: 0 4px
  0 10px; }
.bx-sub { font-weight: 600; margin: 22px 0 0; }
.bx-problem { border-left: 4px solid rgb(224, 108, 20); padding: 8px 14px; font-size: 1.05rem; overflow-wrap:
  anywhere; }
.bx-table { max-height: 230px; overflow-y: auto; } .bx-table table { width: 100%; border-collapse: collapse; }
.bx-table td, .bx-table th { text-align: left; padding: 4px 8px; border-bottom: 1px solid
  var(--border-color-primary); }
.bx-table td:last-child { font-variant-numeric: tabular-nums; }
"""
TITLE = (
    '<div class="bx-title"><h1>Text models on DNA, proteins and music</h1>'
    "<p>Encoders that were pre-trained on English text, fine-tuned on sequences that are not text.</p></div>"
)
EMPTY = '<p class="bx-note">Paste a sequence, or drop a FASTA or MIDI file, and press Classify.</p>'


def problem(sentence: str) -> str:
    """One sentence that says what is wrong."""
    return f'<div class="bx-problem" role="alert">{escape(sentence)}</div>'


def head(text: str) -> str:
    return f'<p class="bx-head">{escape(text)}</p>'


def note(text: str) -> str:
    return f'<p class="bx-note">{escape(text)}</p>'


def bars(scores: dict[str, float], most: int = 8) -> str:
    """Classes with their scores, best first."""
    best = sorted(scores.items(), key=lambda item: -item[1])
    rows = "".join(
        f'<div class="bx-bar"><span>{escape(label)}</span><u><i style="width:{100 * score:.1f}%"></i></u>'
        f"<b>{score:.3f}</b></div>"
        for label, score in best[:most]
    )
    return rows + (note(f"and {len(best) - most} classes with lower scores") if len(best) > most else "")


def table(rows: list[tuple[str, str, str]]) -> str:
    """Records with label and score, or value."""
    cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row if cell) + "</tr>" for row in rows)
    return f'<div class="bx-table"><table>{cells}</table></div>'


def picture(png: bytes) -> str:
    """A heat map of mutations, and how it is read."""
    shown = f'<img alt="heat map" style="width:100%" src="data:image/png;base64,{b64encode(png).decode()}">'
    return shown + note(
        "Each position is replaced by each letter, or left out (-). Red: the score falls. Blue: it rises. A dot marks "
        "the sequence's own letter. It describes this model, not biology."
    )


def coloured(attribution: Attribution, method: str, cut: int, windows: int = 1) -> str:
    """The sequence, or its first window, each symbol in the colour and strength of what it contributed."""
    words = max(map(len, attribution.symbols)) > 1
    strongest = float(np.abs(attribution.values).max()) or 1.0
    kind = "words" if words else "letters"
    width = _GROUP[kind]
    groups = []
    for start in range(0, len(attribution.symbols), width):
        symbols = "".join(
            _symbol(attribution.symbols[i], float(attribution.values[i]), strongest, i, words)
            for i in range(start, min(start + width, len(attribution.symbols)))
        )
        groups.append(f"<span><em>{start + 1}</em>{symbols}</span>")
    what = (
        "the gradient of the score before softmax, times the symbol's embedding"
        if method.startswith("gradient")
        else "how far the score before softmax falls when the symbol is masked"
    )
    left_out = f" The last {cut} symbols were not read: the model reads {len(attribution.symbols)}." if cut > 0 else ""
    if windows > 1:
        left_out = f" The answer is the mean of {windows} windows; these are the symbols of the first."
    return (
        f'<p class="bx-sub">What contributed to “{escape(attribution.target)}”'
        f'<span class="bx-key" style="background:rgb{_FOR}"></span>for'
        f'<span class="bx-key" style="background:rgb{_AGAINST}"></span>against</p>'
        f'<div class="bx-seq {kind}">{"".join(groups)}</div>'
        f'<p class="bx-note">By {escape(method)}: {what}. It describes this model and this sequence, '
        f"not causes. Positions are counted from 1; point at a symbol for its number.{left_out}</p>"
    )


def _symbol(symbol: str, value: float, strongest: float, position: int, words: bool) -> str:
    red, green, blue = _FOR if value >= 0 else _AGAINST
    strength = abs(value) / strongest
    ink = ";color:#fff" if strength > 0.65 else ""
    name = f"{symbol} ({_NOTES[int(symbol) % 12]}{int(symbol) // 12 - 1})" if words and symbol.isdigit() else symbol
    return (
        f'<mark style="background:rgba({red},{green},{blue},{strength:.2f}){ink}" '
        f'title="{escape(name)}, position {position + 1}: {value:+.3g}">{escape(symbol)}</mark>'
    )
