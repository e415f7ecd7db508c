"""What an analysis found, as a table, pictures and JSON. Everything is computed from the one dictionary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import run_files

ANALYSIS_JSON, TABLE = "analysis.json", "table.md"
_FLOORS = {"same_position_of_another_item": "same position, another item", "any_position": "rows shuffled"}


def markdown(found: dict[str, Any]) -> str:
    """The analysis as Markdown: layers, heads, gradients, and what the numbers depend on."""
    a, b = found["a"]["label"], found["b"]["label"]
    title = f"## {found['task']}: `{a}` (A) and `{b}` (B)"
    return (
        "\n\n".join([title, _layer_table(found), _head_table(found), _gradient_table(found), _footnotes(found)]) + "\n"
    )


def _layer_table(found: dict[str, Any]) -> str:
    layers = found["layers"]
    head = ["layer of A", "of B", "CKA", "PWCCA"]
    head += [f"{name}: {what}" for what in _FLOORS.values() for name in ("CKA", "PWCCA")]
    head += ["directions A", "B"]
    rows = []
    for i, j in enumerate(layers["partners"]):
        cells = [_layer(i), _layer(j), *(f"{layers[n][i][j]:.3f}" for n in ("cka", "pwcca"))]
        cells += [f"{layers['floors'][floor][n][i]:.3f}" for floor in _FLOORS for n in ("cka", "pwcca")]
        rows.append([*cells, str(layers["directions_a"][i]), str(layers["directions_b"][j])])
    return "### Layers\n\n" + _table(head, rows)


def _head_table(found: dict[str, Any]) -> str:
    heads = found["attention"]
    chance = 1 / heads["layers_and_heads_b"][0]
    own = heads["same_number_mean"]
    lines = [
        f"Jensen-Shannon divergence of attention maps, in bits, mean over {heads['queries']} queries:",
        "",
        f"- matched heads {heads['matched_mean']:.3f}"
        + ("" if own is None else f", heads of the same layer and number {own:.3f}")
        + f", all pairs {heads['all_pairs_mean']:.3f};",
        f"- of the {len(heads['pairs'])} matched pairs {100 * heads['same_layer_share']:.0f}% lie in the same layer "
        f"(by chance {100 * chance:.0f}%) and {100 * heads['same_number_share']:.0f}% are the same head.",
    ]
    return "### Attention heads\n\n" + "\n".join(lines)


def _gradient_table(found: dict[str, Any]) -> str:
    names = ("minimum", "quantile_05", "quantile_25", "median", "quantile_75", "quantile_95")
    head = [
        "model",
        "mini-batches",
        *(name.replace("quantile_", "quantile 0.") for name in names),
        "below 0",
        "length",
    ]
    rows = [
        [
            side["label"],
            f"{side['mini_batches']} x {side['batch_size']}",
            *(f"{side[name]:.3f}" for name in names),
            f"{100 * side['share_negative']:.0f}%",
            f"{side['mean_length']:.3g}",
        ]
        for side in found["gradients"]
    ]
    return "### Gradient confusion: cosines between gradients of training mini-batches\n\n" + _table(head, rows)


def _footnotes(found: dict[str, Any]) -> str:
    scores = [
        f"{side['label']}: test {side['metric']} {side['test_score']:.3f}"
        for side in (found["a"], found["b"])
        if side["test_score"] is not None
    ]
    lines = [
        f"{found['positions']} of {found['positions_there']} positions of {found['items']} items of the split "
        f"`{found['split']}`, special tokens included, drawn with seed {found['seed']}; data sha256 "
        f"{found['data_fingerprint'][:16]}.",
        "CKA is linear and not corrected for bias. PWCCA compares the directions that hold "
        f"{100 * found['variance']:g}% of each layer's variance, weighted by the layer that has fewer of them: near 1 "
        "also where a layer holds all of another and more.",
        "What a value means is seen beside the same measure where B's rows are put at the same position of another "
        "item, and where they are shuffled.",
        "Dropout is off, also for the gradients.",
        "; ".join(scores) + ".",
        *found["notes"],
        ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + ".",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _layer(number: int) -> str:
    return "embeddings" if number == 0 else str(number)


def summary(found: dict[str, Any]) -> str:
    """A few lines for a terminal."""
    layers, heads = found["layers"], found["attention"]
    floors = layers["floors"]["same_position_of_another_item"]
    lines = [
        f"{found['task']}: A is {found['a']['label']}, B is {found['b']['label']}; {found['positions']} positions of "
        f"{found['items']} {found['split']} items",
        "",
        "layer A    B             CKA  (floor)   PWCCA  (floor)    floor: the same position of another item",
    ]
    for i, j in enumerate(layers["partners"]):
        cka, weighted = layers["cka"][i][j], layers["pwcca"][i][j]
        floor = f"({floors['cka'][i]:.3f})", f"({floors['pwcca'][i]:.3f})"
        lines.append(f"{_layer(i):<11}{_layer(j):<11}{cka:>6.3f}  {floor[0]:>7}  {weighted:>6.3f}  {floor[1]:>7}")
    lines += [
        "",
        f"heads: divergence {heads['matched_mean']:.3f} bits matched, {heads['all_pairs_mean']:.3f} all pairs; "
        f"{100 * heads['same_layer_share']:.0f}% of the matches in the same layer",
    ]
    for side in found["gradients"]:
        lines.append(
            f"gradients of {side['label']}: cosine at least {side['minimum']:.3f}, median {side['median']:.3f}, "
            f"{100 * side['share_negative']:.0f}% below 0"
        )
    return "\n".join([*lines, *found["notes"]])


def write_analysis(found: dict[str, Any], output: Path) -> list[Path]:
    """Writes `analysis.json`, `table.md` and the pictures `layers`, `attention` and `gradients` (PNG and SVG)."""
    run_files.write_json(output / ANALYSIS_JSON, found)
    run_files.write_text(output / TABLE, markdown(found))
    paths = [output / ANALYSIS_JSON, output / TABLE]
    for name, draw in (("layers", _draw_layers), ("attention", _draw_heads), ("gradients", _draw_gradients)):
        paths += _picture(draw, found, output / name)
    return paths


def _picture(draw: Callable[[dict[str, Any]], Any], found: dict[str, Any], path: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    paths = []
    # without a date and with names of its own, the same analysis gives the same file
    with plt.rc_context({"svg.hashsalt": "hf_bertx", "svg.fonttype": "none", "font.size": 9}):
        figure = draw(found)
        for form, metadata in (("png", {}), ("svg", {"Date": None})):
            file = path.with_suffix(f".{form}")

            def write(temporary: Path, form: str = form, metadata: dict[str, Any] = metadata) -> None:
                figure.savefig(temporary, format=form, dpi=130, metadata=metadata)

            run_files.write_whole(file, write)
            paths.append(file)
        plt.close(figure)
    return paths


def _draw_layers(found: dict[str, Any]) -> Any:
    from matplotlib import pyplot as plt

    layers = found["layers"]
    a, b = found["a"]["label"], found["b"]["label"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=(1, 1, 1.25))
    for axis, name, title in ((axes[0], "cka", "linear CKA"), (axes[1], "pwcca", "PWCCA")):
        values = np.array(layers[name])
        image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        for i, j in np.ndindex(values.shape) if values.size <= 64 else ():
            colour = "black" if values[i, j] > 0.6 else "white"
            axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axis.set(title=title, xlabel=f"layer of B: {b}", ylabel=f"layer of A: {a}")
        axis.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
        figure.colorbar(image, ax=axis, shrink=0.85)
    partners = layers["partners"]
    for name, label, colour in (("cka", "CKA", "C0"), ("pwcca", "PWCCA", "C1")):
        line = [layers[name][i][j] for i, j in enumerate(partners)]
        axes[2].plot(line, color=colour, marker="o", ms=4, label=label)
        for (floor, told), style in zip(_FLOORS.items(), ("--", ":"), strict=True):
            axes[2].plot(layers["floors"][floor][name], color=colour, ls=style, lw=1.2, label=f"{label}: {told}")
    same = partners == list(range(len(partners)))
    axes[2].set(title="layer by layer" if same else "each layer of A with the nearest of B", ylim=(0, 1.02))
    axes[2].set(xlabel="layer (0: embeddings)", xticks=range(len(partners)))
    axes[2].grid(alpha=0.3)
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(f"{found['task']}: A is {a}, B is {b}")
    return figure


def _draw_heads(found: dict[str, Any]) -> Any:
    from matplotlib import pyplot as plt

    heads = found["attention"]
    (layers_a, in_a), (layers_b, in_b) = heads["layers_and_heads_a"], heads["layers_and_heads_b"]
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    image = axis.imshow(heads["divergence"], cmap="magma", origin="lower", vmin=0)
    at = [((p["b"][0] - 1) * in_b + p["b"][1] - 1, (p["a"][0] - 1) * in_a + p["a"][1] - 1) for p in heads["pairs"]]
    axis.scatter(*zip(*at, strict=True), s=16, facecolors="none", edgecolors="cyan", linewidths=1, label="matched")
    for count, size, line in ((layers_a, in_a, axis.axhline), (layers_b, in_b, axis.axvline)):
        for layer in range(1, count):
            line(layer * size - 0.5, color="white", lw=0.5)
    axis.set_xticks([(n + 0.5) * in_b - 0.5 for n in range(layers_b)], [str(n + 1) for n in range(layers_b)])
    axis.set_yticks([(n + 0.5) * in_a - 0.5 for n in range(layers_a)], [str(n + 1) for n in range(layers_a)])
    axis.set(
        xlabel=f"heads of B by layer: {found['b']['label']}", ylabel=f"heads of A by layer: {found['a']['label']}"
    )
    axis.set_title(f"{found['task']}: divergence of attention maps (o: matched)")
    figure.colorbar(image, ax=axis, shrink=0.85, label="Jensen-Shannon divergence (bits)")
    return figure


def _draw_gradients(found: dict[str, Any]) -> Any:
    from matplotlib import pyplot as plt

    sides = found["gradients"]
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for number, side in enumerate(sides):
        values = np.sort(side["cosines"])
        axis.step(
            values, np.arange(1, len(values) + 1) / len(values), where="post", color=f"C{number}", label=side["label"]
        )
    axis.axvline(0, color="gray", lw=0.8)
    axis.set(xlim=(-1.02, 1.02), ylim=(0, 1.02), xlabel="cosine of the gradients of two mini-batches")
    axis.set(ylabel="share of pairs at or below", title=f"{found['task']}: gradient confusion")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure
