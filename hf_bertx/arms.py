"""Arms: what is kept of a backbone, which subwords the symbols get, what is trained. A row of a table.

To add one: `ARMS["my_arm"] = Arm("my_arm", start="pretrained", assignment="random", tuning="lora", about="...")`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .registry import unknown
from .token_map import ASSIGNMENTS

STARTS = ("pretrained", "re_emb", "random", "random_body", "shuffled")
SHIFTS = ("none", "constant", "random")
TUNINGS = ("full", "frozen", "frozen_norm", "lora")
BASELINE = "baseline"  # the arm of runs without a backbone; see [`baselines`]


@dataclass(frozen=True)
class Arm:
    """A named combination of start, assignment, shift and tuning.

    Args:
        start: what of the backbone is kept: everything (`pretrained`), all but the word embeddings (`re_emb`),
            nothing (`random`), the embeddings alone (`random_body`), or the weights without their places
            (`shuffled`: the entries of each matrix are permuted).
        assignment: `frequent`, `random` or `unused`; see [`token_map.assign`]. For tasks of symbols.
        shift: `none`, `constant` or `random`: how ids of a text task are mapped; see [`token_map`].
        shift_offset: the paper's c, for the `constant` shift.
        shift_special_tokens: whether [CLS], [SEP] and the others are mapped too. The paper does not say; the
            authors' code maps them.
        tuning: what is trained: `full` (every weight), `frozen` (the head), `frozen_norm` (the head and every
            LayerNorm), `lora` (the head and low-rank adapters of the attention); see [`tuning`].
        about: one sentence for tables and cards.
        paper_row: the row of the paper's tables that this arm stands beside.
    """

    name: str
    start: str = "pretrained"
    assignment: str = "frequent"
    shift: str = "none"
    shift_offset: int = 1000
    shift_special_tokens: bool = True
    tuning: str = "full"
    about: str = ""
    paper_row: str | None = None

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("start", self.start, STARTS),
            ("assignment", self.assignment, ASSIGNMENTS),
            ("shift", self.shift, SHIFTS),
            ("tuning", self.tuning, TUNINGS),
        ):
            if value not in allowed:
                raise ValueError(f"arm {self.name!r}: {field} is {value!r}; allowed: {', '.join(allowed)}")

    def check_fits(self, task: str, discipline: str) -> None:
        """Raises ValueError for a task of a discipline that the arm does not fit."""
        if self.shift != "none" and discipline != "text":
            raise ValueError(f"arm {self.name!r} shifts the ids of text, and task {task} is {discipline}")
        if self.assignment != "frequent" and discipline == "text":
            raise ValueError(f"arm {self.name!r} assigns subwords to symbols, and task {task} is text")


_EVERY = (
    Arm("bert", about="Every pre-trained weight is kept.", paper_row="BERT"),
    Arm("re_emb", start="re_emb", about="Word embeddings are drawn anew, the rest is kept.", paper_row="re-emb"),
    Arm("rand", start="random", about="Every weight is drawn anew: trained from scratch.", paper_row="rand"),
    Arm("random_body", start="random_body", about="Embeddings are kept, the layers are drawn anew."),
    Arm("shuffled", start="shuffled", about="The entries of each weight matrix are permuted: its statistics alone."),
    Arm("unused", assignment="unused", about="Symbols on unused vocabulary entries, which pre-training never saw."),
    Arm("random_tokens", assignment="random", about="Symbols on random subwords, as in the authors' code."),
    Arm("frozen", tuning="frozen", about="Every pre-trained weight is kept as it was; the head alone is trained."),
    Arm("frozen_rand", start="random", tuning="frozen", about="`frozen`, on weights that were drawn anew."),
    Arm("frozen_norm", tuning="frozen_norm", about="As `frozen`, but every LayerNorm is trained too."),
    Arm("frozen_norm_rand", start="random", tuning="frozen_norm", about="`frozen_norm`, on weights drawn anew."),
    Arm("lora", tuning="lora", about="Low-rank adapters of the attention and the head are trained."),
    Arm("lora_rand", start="random", tuning="lora", about="`lora`, on weights that were drawn anew."),
    Arm("shift_1000", shift="constant", about="Text with every id moved by 1000.", paper_row="shift 1000"),
    Arm(
        "shift_1000_rand",
        start="random",
        shift="constant",
        about="`shift_1000`, from scratch.",
        paper_row="shift 1000 (rand)",
    ),
    Arm("random_shift", shift="random", about="Text with ids permuted.", paper_row="random shift"),
    Arm(
        "random_shift_rand",
        start="random",
        shift="random",
        about="`random_shift`, from scratch.",
        paper_row="random shift (rand)",
    ),
)
ARMS: dict[str, Arm] = {arm.name: arm for arm in _EVERY}


def get_arm(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ValueError: no arm has that name; the message lists them.
    """
    if name not in ARMS:
        raise ValueError(unknown("arm", name, ARMS))
    return ARMS[name]
