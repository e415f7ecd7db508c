"""The optimisers of the paper's grid by name, as `Trainer(optimizer_cls_and_kwargs=...)` takes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ..registry import unknown


class NovoGrad(torch.optim.Optimizer):
    """Gradients divided by a running norm of their own tensor; weight decay beside them; momentum over both.

    For each tensor of weights w with gradient g, at its step t: `v = |g|^2` first, then
    `v = beta2 v + (1 - beta2) |g|^2`; `m = g / (sqrt(v) + eps) + weight_decay w` first, then `beta1 m` is added to
    that; `w = w - lr m`. A layer of the article is a tensor here. There is no correction of the averages' bias, since
    they start from the first gradient.

    Source: Ginsburg et al. 2019, arXiv 1905.11286, algorithm 1. Written here because the kept library whose NovoGrad
    follows the article (timm) brings torchvision with it, and the other (pytorch-optimizer) adds a bias correction.

    Args:
        params: tensors or groups of them.
        lr: learning rate.
        betas: of the momentum, and of the running squared norm. The article's first choice.
        eps: added to the norm.
        weight_decay: the article's d.

    Raises:
        ValueError: a value outside what is allowed.
        RuntimeError: a sparse gradient.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"lr is {lr}, betas {betas}, eps {eps}, weight_decay {weight_decay}; allowed: 0 or more, betas below 1"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. Returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._update(weights, group)
        return loss

    def _update(self, weights: torch.Tensor, group: dict[str, Any]) -> None:
        gradient: Any = weights.grad
        if gradient.is_sparse:
            raise RuntimeError("NovoGrad takes no sparse gradients; build the embedding with sparse=False")
        (beta1, beta2), state = group["betas"], self.state[weights]
        square = gradient.float().square().sum()
        if not state:
            state["squared_norm"], state["momentum"] = square, torch.zeros_like(weights)
        else:
            state["squared_norm"].mul_(beta2).add_(square, alpha=1 - beta2)
        direction = (gradient / (state["squared_norm"].sqrt() + group["eps"])).to(weights.dtype)
        direction.add_(weights, alpha=group["weight_decay"])
        state["momentum"].mul_(beta1).add_(direction)
        weights.add_(state["momentum"], alpha=-group["lr"])


_CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    # "We search optimizer including Adagrad, Adam, Adamax, RAdam, and NovoGrad" (appendix A)
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "radam": torch.optim.RAdam,
    "novograd": NovoGrad,
    "adamw_fused": torch.optim.AdamW,  # the Trainer's own; without weight decay it is Adam
}
OPTIMIZERS = tuple(_CLASSES)


def optimizer(
    name: str,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] | None = None,
    epsilon: float | None = None,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class and the keyword arguments of an optimiser, for `Trainer(optimizer_cls_and_kwargs=...)`.

    Args:
        name: one of `OPTIMIZERS`.
        weight_decay: added to the gradient (`adagrad`, `adam`, `adamax`, `radam`), to the normalised gradient
            (`novograd`), or taken from the weights directly (`adamw_fused`).
        betas: by default those of the optimiser's own article.
        epsilon: likewise; 1e-10 for `adagrad`, 1e-8 for the others.

    Raises:
        ValueError: an unknown name, with the nearest one; a learning rate that is not a positive number; a negative
            weight decay; betas for `adagrad`, which has none.
    """
    if name not in _CLASSES:
        raise ValueError(unknown("optimizer", name, _CLASSES))
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"optimizer {name!r}: the learning rate is {learning_rate}; allowed: a number above 0")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"optimizer {name!r}: the weight decay is {weight_decay}; allowed: 0 or a number above it")
    keywords: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if betas is not None:
        if name == "adagrad":
            raise ValueError(f"optimizer 'adagrad': betas are {betas}, and it has none")
        keywords["betas"] = betas
    if epsilon is not None:
        keywords["eps"] = epsilon
    if name == "adamw_fused":
        keywords["fused"] = True
    return _CLASSES[name], keywords
