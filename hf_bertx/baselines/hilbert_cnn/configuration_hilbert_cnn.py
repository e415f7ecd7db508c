"""The shape of a Hilbert-CNN."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

VARIANTS = ("as_released", "as_described")
KMER = 4
_POOLINGS = 4  # of the published network, for windows of 500 letters


class HilbertCNNConfig(PreTrainedConfig):
    """Configuration of [`HilbertCNNForSequenceClassification`].

    Args:
        window_length (`int`, defaults to 500): letters of the longest sequence; shorter ones leave cells empty.
        variant (`str`, defaults to `"as_released"`): `as_released` is what the authors' released code computes (no
            dropout, and the second of five blocks left out, whose output that code never uses: 961,924 parameters
            without those of batch norm), `as_described` is the paper's text (dropout 0.5, five blocks).

    The grid is the smallest half or whole Hilbert square that holds a window's 4-mers: 16 x 32 cells for 500 letters
    as published, 8 x 8 for 60. The published network halves the grid four times; a small grid is halved the first
    times only, as often as leaves two cells a side: twice for 8 x 8.

    Source: Yin et al. 2018, ICLR, arXiv:1806.04931, and its released code as facts, not as text.

    Raises:
        ValueError: an unknown variant, or a window that holds no 4-mer.
    """

    model_type = "hilbert_cnn"

    window_length: int = 500
    variant: str = "as_released"
    pad_token_id: int | None = 0
    vocab_size: int = 16  # ids of letters: padding, A C G T, eleven ambiguity letters
    batch_norm_eps: float = 1e-3  # released code
    batch_norm_momentum: float = 0.65  # released code: its moving average keeps 0.35

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant!r}; allowed: {', '.join(VARIANTS)}")
        if self.window_length < KMER:
            raise ValueError(f"window_length is {self.window_length}; a 4-mer needs at least {KMER} letters")

    @property
    def dropout(self) -> float:
        return 0.5 if self.variant == "as_described" else 0.0

    @property
    def blocks(self) -> int:
        return 5 if self.variant == "as_described" else 4

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns; rows are as many as columns, or half."""
        side = 2
        while side * side < self.window_length - KMER + 1:
            side *= 2
        half = side * side // 2 >= self.window_length - KMER + 1
        return (side // 2 if half else side), side

    @property
    def poolings(self) -> int:
        """How often the grid is halved."""
        rows, columns = self.grid
        if (rows, columns) == (16, 32):
            return _POOLINGS
        return min(_POOLINGS, max(0, rows.bit_length() - 2))
