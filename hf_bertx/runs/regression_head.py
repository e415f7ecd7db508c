"""A regression head that starts at the mean of the targets instead of at zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ..modeling_discipline import last_linear


class StandardizedLinear(torch.nn.Linear):
    """A linear layer whose output is scaled to the targets: `(x W + b) * std + mean`, in float32.

    Weights are drawn for outputs near zero. If targets are far from zero, the first hundreds of steps only move the
    output to their mean, by Adam's learning rate each. Meanwhile the layers below learn to make the output large for
    every item, and do not recover (fluorescence, mean 3.3: constant predictions for all learning rates from 3e-5 to
    1e-3).
    """

    mean: float
    std: float

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).float() * self.std + self.mean


def standardize_output(model: PreTrainedModel, targets: Sequence[float]) -> None:
    """Lets the last linear layer of a regression model give standardized targets; the model's output stays in the
    targets' own units. Undone by [`restore_output`], after which the output is the same.

    Args:
        targets: of the training items; their mean and standard deviation are taken.

    Raises:
        ValueError: a target that is not a number.
    """
    values = torch.tensor(targets, dtype=torch.float64)
    mean, std = float(values.mean()), float(values.std(correction=0))
    if not math.isfinite(mean + std):
        raise ValueError("a target of the training data is not a number")
    layer = last_linear(model)
    layer.__class__ = StandardizedLinear
    layer.mean, layer.std = mean, std or 1.0


@torch.no_grad()
def restore_output(model: torch.nn.Module) -> None:
    """Puts mean and scale into weight and bias, so that a stock model gives the same output."""
    for layer in model.modules():
        if isinstance(layer, StandardizedLinear):
            layer.weight.mul_(layer.std)
            layer.bias.mul_(layer.std).add_(layer.mean)
            layer.__class__ = torch.nn.Linear
