"""An analysis as a table, pictures and JSON, all computed from one dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import run_files
from ..report.drawing import COLORS, LINE, arm_style
from ..report.figures import save_figure, styled
from ..report.formatting import markdown_table

ANALYSIS_JSON, TABLE = "analysis.json", "table.md"
_FLOORS = {"same_position_of_another_item": "same position, another item", "any_position": "rows shuffled"}


def markdown(analysis: dict[str, Any]) -> str:
    """The analysis as Markdown: layers, heads, gradients, and what the numbers depend on."""
    title = f"## {analysis['task']}: `{analysis['a']['label']}` (A) and `{analysis['b']['label']}` (B)"
    parts = [title, _layer_table(analysis["layers"]), _heads(analysis["attention"]), _gradients(analysis["gradients"])]
    return "\n\n".join([*parts, _footnotes(analysis)]) + "\n"


def _layer_table(layers: dict[str, Any]) -> str:
    head = ["layer of A", "of B", "CKA", "PWCCA"]
    head += [f"{name}: {what}" for what in _FLOORS.values() for name in ("CKA", "PWCCA")]
    rows = []
    for i, j in enumerate(layers["partners"]):
        values = [layers[name][i][j] for name in ("cka", "pwcca")]
        values += [layers["floors"][floor][name][i] for floor in _FLOORS for name in ("cka", "pwcca")]
        names = ["embeddings" if layer == 0 else layer for layer in (i, j)]
        kept = layers["directions_a"][i], layers["directions_b"][j]
        rows.append([*names, *(f"{value:.3f}" for value in values), *kept])
    return "### Layers\n\n" + markdown_table([*head, "directions A", "B"], rows)


def _heads(heads: dict[str, Any]) -> str:
    number = heads["same_number_mean"]
    same = "" if number is None else f", heads of the same layer and number {number:.3f}"
    return (
        "### Attention heads\n\nJensen-Shannon divergence of attention maps, in bits, mean over "
        f"{heads['queries']} queries:\n\n"
        f"- matched heads {heads['matched_mean']:.3f}{same}, all pairs {heads['all_pairs_mean']:.3f};\n"
        f"- of the {len(heads['pairs'])} matched pairs {100 * heads['same_layer_share']:.0f}% lie in the same layer "
        f"(by chance {100 / heads['layers_and_heads_b'][0]:.0f}%) and {100 * heads['same_number_share']:.0f}% are the "
        "same head."
    )


def _gradients(sides: list[dict[str, Any]]) -> str:
    names = ("minimum", "quantile_05", "quantile_25", "median", "quantile_75", "quantile_95")
    head = [
        "model",
        "mini-batches",
        *(name.replace("quantile_", "quantile 0.") for name in names),
        "below 0",
        "length",
    ]
    rows = [
        [side["label"], f"{side['mini_batches']} x {side['batch_size']}", *(f"{side[name]:.3f}" for name in names),
         f"{100 * side['share_negative']:.0f}%", f"{side['mean_length']:.3g}"]
        for side in sides
    ]  # fmt: skip
    title = "### Gradient confusion: cosines between gradients of training mini-batches"
    return f"{title}\n\n{markdown_table(head, rows)}"


def _footnotes(analysis: dict[str, Any]) -> str:
    scored = [side for side in (analysis["a"], analysis["b"]) if side["test_score"] is not None]
    lines = [
        f"{analysis['positions']} of {analysis['positions_there']} positions of {analysis['items']} items of the "
        f"split `{analysis['split']}`, special tokens included, drawn with seed {analysis['seed']}; data sha256 "
        f"{analysis['data_fingerprint'][:16]}.",
        "CKA is linear and not corrected for bias. PWCCA compares the directions that hold "
        f"{100 * analysis['variance']:g}% of each layer's variance, weighted by the layer that has fewer of them. It "
        "is also near 1 if one layer holds all of the other and more.",
        "Compare each value with those of B's rows at the same position of another item, and of B's rows shuffled.",
        "Dropout is off, also for the gradients.",
        "; ".join(f"{side['label']}: test {side['metric']} {side['test_score']:.3f}" for side in scored) + ".",
        *analysis["notes"],
        ", ".join(f"{name} {number}" for name, number in analysis["versions"].items()) + ".",
    ]
    return "\n".join(f"- {line}" for line in lines)


def write_analysis(analysis: dict[str, Any], output: Path) -> list[Path]:
    """Writes `analysis.json`, `table.md` and the pictures `layers`, `attention` and `gradients` (PNG and SVG)."""
    from matplotlib.figure import Figure

    run_files.write_json(output / ANALYSIS_JSON, analysis)
    run_files.write_text(output / TABLE, markdown(analysis))
    paths = [output / ANALYSIS_JSON, output / TABLE]
    sizes = {"layers": (13, 4.2), "attention": (7, 6), "gradients": (7, 3.2)}
    for name, draw in (("layers", _draw_layers), ("attention", _draw_heads), ("gradients", _draw_gradients)):
        with styled():
            figure = Figure(figsize=sizes[name], layout="constrained")
            draw(analysis, figure)
            paths += save_figure(figure, output / name)
    return paths


def _draw_layers(analysis: dict[str, Any], figure: Any) -> None:
    layers, partners = analysis["layers"], analysis["layers"]["partners"]
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for axis, name, title in ((axes[0], "cka", "linear CKA"), (axes[1], "pwcca", "PWCCA")):
        values = np.array(layers[name])
        image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        for i, j in np.ndindex(values.shape) if values.size <= 64 else ():
            color = "black" if values[i, j] > 0.6 else "white"
            axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=color, fontsize=7)
        axis.set(title=title, xlabel="layer of B", ylabel="layer of A")
        axis.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
        axis.grid(visible=False)
        figure.colorbar(image, ax=axis, shrink=0.85)
    for name, label, color in (("cka", "CKA", COLORS[0]), ("pwcca", "PWCCA", COLORS[1])):
        line = [layers[name][i][j] for i, j in enumerate(partners)]
        axes[2].plot(line, color=color, marker="o", ms=4, label=label)
        for (floor, about), style in zip(_FLOORS.items(), ("--", ":"), strict=True):
            axes[2].plot(layers["floors"][floor][name], color=color, ls=style, lw=1.2, label=f"{label}: {about}")
    same = partners == list(range(len(partners)))
    axes[2].set(title="layer by layer" if same else "each layer of A with the nearest of B", ylim=(0, 1.02))
    axes[2].set(xlabel="layer (0: embeddings)", xticks=range(len(partners)))
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    figure.suptitle(_title(analysis, "similarity of layers"))


def _title(analysis: dict[str, Any], what: str) -> str:
    return f"{analysis['task']}: {what}\nA: {analysis['a']['label']}\nB: {analysis['b']['label']}"


def _draw_heads(analysis: dict[str, Any], figure: Any) -> None:
    heads, axis = analysis["attention"], figure.subplots()
    (layers_a, in_a), (layers_b, in_b) = heads["layers_and_heads_a"], heads["layers_and_heads_b"]
    image = axis.imshow(heads["divergence"], cmap="magma", origin="lower", vmin=0)
    at = [((p["b"][0] - 1) * in_b + p["b"][1] - 1, (p["a"][0] - 1) * in_a + p["a"][1] - 1) for p in heads["pairs"]]
    axis.scatter(*zip(*at, strict=True), s=16, facecolors="none", edgecolors="cyan", linewidths=1, label="matched")
    for count, size, line in ((layers_a, in_a, axis.axhline), (layers_b, in_b, axis.axvline)):
        for layer in range(1, count):
            line(layer * size - 0.5, color="white", lw=0.5)
    axis.set_xticks([(n + 0.5) * in_b - 0.5 for n in range(layers_b)], [str(n + 1) for n in range(layers_b)])
    axis.set_yticks([(n + 0.5) * in_a - 0.5 for n in range(layers_a)], [str(n + 1) for n in range(layers_a)])
    axis.set(xlabel="heads of B by layer", ylabel="heads of A by layer")
    axis.set_title(_title(analysis, "divergence of attention maps (o: matched)"))
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, shrink=0.85, label="Jensen-Shannon divergence (bits)")


def _draw_gradients(analysis: dict[str, Any], figure: Any) -> None:
    axis = figure.subplots()
    for model, side, line in zip("ab", analysis["gradients"], ("-", "--"), strict=True):
        values, style = np.sort(side["cosines"]), {**arm_style(analysis[model]["arm"]), "ls": line}
        axis.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=side["label"], **style)
    axis.axvline(0, color=LINE, lw=0.8)
    axis.set(xlim=(-1.02, 1.02), ylim=(0, 1.02), xlabel="cosine of the gradients of two mini-batches")
    axis.set(ylabel="share of pairs with at most this cosine", title=f"{analysis['task']}: gradient confusion")
    axis.legend()
