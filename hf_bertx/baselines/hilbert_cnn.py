"""Hilbert-CNN as a `PreTrainedModel`: letters in, classes out; weights as safetensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

VARIANTS = ("as_released", "as_described")
KMER = 4
_POOLINGS = 4  # of the published network, for windows of 500 letters
_LETTERS = 4  # A C G T have the ids 1 to 4
_FOUR_MERS = _LETTERS**KMER
_WIDE, _NARROW, _INNER = 64, 32, 4  # channels before the first block, after it, and within a residual unit
# kernels of the two residual units of each block; the second block is built by `as_described` alone
_KERNELS = ((8, 4, 4, 3), (3, 3, 3, 3), (2, 4, 4, 3), (2, 2, 2, 2), (3, 2, 2, 3))
_UNUSED_BLOCK = 1


class HilbertCNNConfig(PreTrainedConfig):
    """Configuration of [`HilbertCNNForSequenceClassification`].

    Args:
        window_length (`int`, defaults to 500): letters of the longest sequence; shorter ones leave cells empty.
        variant (`str`, defaults to `"as_released"`): `as_released` is what the authors' released code computes (no
            dropout, and the second of five blocks left out, whose output that code never uses: 961,924 parameters
            without those of batch norm), `as_described` is the paper's text (dropout 0.5, five blocks).

    The grid is the smallest half or whole Hilbert square that holds a window's 4-mers: 16 x 32 cells for 500 letters
    as published, 8 x 8 for 60. The published network halves the grid four times; a smaller grid is halved until two
    cells a side are left: 8 x 8 twice.

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


def hilbert_curve(side: int) -> np.ndarray:
    """The number of each cell of a square along the Hilbert curve, of shape `(side, side)`.

    Cells with neighbouring numbers are neighbours; the upper half holds the lower numbers.

    Raises:
        ValueError: the side is not a power of two.
    """
    if side < 1 or side & (side - 1):
        raise ValueError(f"side is {side}; allowed: powers of two")
    curve: np.ndarray = np.zeros((1, 1), dtype=np.int64)
    while len(curve) < side:
        size = curve.size
        first, last = np.flipud(np.rot90(curve)), np.flipud(np.rot90(curve, -1)) + 3 * size
        curve = np.block([[first, curve + size], [last, curve + 2 * size]])
    return curve


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose output has the size of its input; an even kernel reaches further right."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, bias=False)
        before, after = (kernel - 1) // 2, kernel // 2
        self.border = (before, after, before, after)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(grid, self.border))


class FourMerConv2d(SameConv2d):
    """A convolution over one-hot 4-mers, computed from their numbers: it looks up rows of its kernel and adds them.

    One of 256 channels is set in each cell, so a dense convolution would multiply by zero 255 times of 256.
    """

    def forward(self, four_mers: torch.Tensor) -> torch.Tensor:
        """`four_mers`: of shape `(batch, rows, columns)`, 1 to 256, 0 for an empty cell; see [`four_mer_grid`]."""
        batch, rows, columns = four_mers.shape
        taps = self.kernel_size[0] * self.kernel_size[1]
        padded = functional.pad(four_mers, self.border)
        seen = padded.unfold(1, self.kernel_size[0], 1).unfold(2, self.kernel_size[1], 1).reshape(-1, taps)
        empty = taps * self.in_channels
        at = seen - 1 + torch.arange(taps, device=seen.device) * self.in_channels
        table = self.weight.permute(2, 3, 1, 0).reshape(empty, self.out_channels)
        table = torch.cat([table, table.new_zeros(1, self.out_channels)])
        out = functional.embedding_bag(at.masked_fill(seen == 0, empty), table, mode="sum", padding_idx=empty)
        return out.view(batch, rows, columns, self.out_channels).permute(0, 3, 1, 2)


class ResidualUnit(nn.Module):
    def __init__(self, config: HilbertCNNConfig, inputs: int, kernels: tuple[int, int]) -> None:
        super().__init__()
        self.conv1, self.norm1 = SameConv2d(inputs, _INNER, kernels[0]), _norm(config, _INNER)
        self.conv2, self.norm2 = SameConv2d(_INNER, _NARROW, kernels[1]), _norm(config, _NARROW)
        self.shortcut = _shortcut(inputs)
        self.norm3 = _norm(config, _NARROW)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        inner = functional.elu(self.norm1(self.conv1(grid)))
        return functional.elu(self.norm3(self.norm2(self.conv2(inner)) + self.shortcut(grid)))


class ComputationBlock(nn.Module):
    """Two residual units side by side on one input, their sum and the input under a 1 x 1 convolution."""

    def __init__(self, config: HilbertCNNConfig, inputs: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.unit1 = ResidualUnit(config, inputs, (kernels[0], kernels[1]))
        self.unit2 = ResidualUnit(config, inputs, (kernels[2], kernels[3]))
        self.shortcut = _shortcut(inputs)
        self.conv, self.norm = SameConv2d(_NARROW, _NARROW, 1), _norm(config, _NARROW)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return functional.elu(self.norm(self.conv(self.unit1(grid) + self.unit2(grid) + self.shortcut(grid))))


def _norm(config: HilbertCNNConfig, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum)


def _shortcut(inputs: int) -> nn.Module:
    return nn.Identity() if inputs == _NARROW else SameConv2d(inputs, _NARROW, 1)


class HilbertCNNForSequenceClassification(PreTrainedModel):
    """Classifies DNA by its 4-mers on a Hilbert curve; see [`HilbertCNNConfig`].

    A 4-mer that holds an ambiguity letter (N, R, ...) leaves its cell empty, as the cells behind a short sequence are.

    Example:
        ```python
        >>> model = HilbertCNNForSequenceClassification(HilbertCNNConfig(num_labels=2))
        >>> model(torch.randint(1, 5, (8, 500))).logits.shape
        torch.Size([8, 2])
        ```
    """

    config_class = HilbertCNNConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch
    config: HilbertCNNConfig

    def __init__(self, config: HilbertCNNConfig) -> None:
        super().__init__(config)
        rows, columns = config.grid
        self.register_buffer("curve", torch.as_tensor(hilbert_curve(columns)[:rows].copy()))
        self.conv1 = FourMerConv2d(_FOUR_MERS, _WIDE, 7)
        self.conv2, self.norm = SameConv2d(_WIDE, _WIDE, 5), _norm(config, _WIDE)
        kernels = [k for i, k in enumerate(_KERNELS) if config.blocks == len(_KERNELS) or i != _UNUSED_BLOCK]
        self.blocks = nn.ModuleList(
            ComputationBlock(config, _NARROW if i else _WIDE, kernel) for i, kernel in enumerate(kernels)
        )
        self.tail_norm = _norm(config, _NARROW)
        flat = _NARROW * rows * columns // 4**config.poolings
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.ModuleList([nn.Linear(flat, 100), nn.Linear(100, 50)])
        self.classifier = nn.Linear(50, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As released: convolutions normal with a standard deviation of sqrt(2 / 9 / (k k out)), layers uniform."""
        if isinstance(module, nn.Conv2d):
            out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2 / 9 / out))
        elif isinstance(module, nn.Linear):
            bound = math.sqrt(3 / module.in_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)

    def four_mer_grid(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The 4-mer in each cell of the curve, of shape `(batch, rows, columns)`: 1 (AAAA) to 256, 0 where none is.

        Args:
            input_ids: of shape `(batch, letters)`, 1 to 4 for A C G T.

        Raises:
            ValueError: sequences longer than the model's window.
        """
        longest, width = self.config.window_length, input_ids.shape[1]
        if width > longest:
            raise ValueError(f"sequences have {width} letters; the model's window is {longest}: cut them")
        letters = functional.pad(input_ids, (0, longest - width)).unfold(1, KMER, 1) - 1  # (batch, 4-mers, letters)
        numbers = (letters * _LETTERS ** torch.arange(KMER - 1, -1, -1, device=letters.device)).sum(-1) + 1
        numbers = numbers.masked_fill(((letters < 0) | (letters >= _LETTERS)).any(-1), 0)
        cells = functional.pad(numbers, (0, self.curve.numel() - numbers.shape[1]))
        return cells[:, self.curve.flatten()].view(len(cells), *self.curve.shape)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """`input_ids` of shape `(batch, letters)`; the mask is not needed, since padding is no letter."""
        grid = self.conv1(self.four_mer_grid(input_ids))
        grid = functional.elu(self.norm(self.conv2(grid)))
        poolings = self.config.poolings
        grid = _halve(grid, poolings > 0)
        for i, block in enumerate(self.blocks):
            grid = block(grid)
            if i == len(self.blocks) - 4:  # before the last three blocks
                grid = _halve(grid, poolings > 1)
        grid = _halve(grid, poolings > 2)
        flat = _halve(functional.elu(self.tail_norm(grid)), poolings > 3).flatten(1)
        for layer in self.hidden:
            flat = functional.elu(layer(self.dropout(flat)))
        logits = self.classifier(self.dropout(flat))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss, logits)


def _halve(grid: torch.Tensor, condition: bool) -> torch.Tensor:
    return functional.avg_pool2d(grid, 2) if condition else grid


AutoConfig.register(HilbertCNNConfig.model_type, HilbertCNNConfig, exist_ok=True)
AutoModelForSequenceClassification.register(HilbertCNNConfig, HilbertCNNForSequenceClassification, exist_ok=True)
