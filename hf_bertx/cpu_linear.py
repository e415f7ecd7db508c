"""Linear maps in float32 on a CPU by oneDNN, where the library that torch calls for them leaves half of it unused."""

from __future__ import annotations

import torch
from transformers.activations import GELUActivation

_BY_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class OneDNNLinear(torch.nn.Linear):
    """A linear map whose float32 forward pass on a CPU is oneDNN's, as in compiled models; all else is its base's.

    oneDNN's operator has no backward pass: where gradients are recorded, it is not taken.
    """

    _AFTER: tuple[str, list[float], str] = "none", [], ""  # what the operator does with each number on its way out

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        plain = input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu"
        if _BY_ONEDNN is None or not plain or torch.is_grad_enabled():
            return self._by_torch(input)
        return _BY_ONEDNN(input, self.weight, self.bias, *self._AFTER)

    def _by_torch(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)


class OneDNNLinearGELU(OneDNNLinear):
    """A linear map and the GELU after it in one pass over memory."""

    _AFTER = "gelu", [], "none"  # the one with the error function

    def _by_torch(self, input: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(super()._by_torch(input))


def mkl_lacks_avx512() -> bool:
    """Whether float32 products of torch leave AVX-512 unused here: MKL has none for AMD's processors.

    A rule and no measurement, so that two predictions by one model have the same digits.
    """
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    amd = str(known.get("cpu_name", "")).startswith("AMD") and bool(known.get("avx512_f"))
    return amd and torch.backends.mkl.is_available()


def onednn_is_faster() -> bool:
    """Whether [`mkl_lacks_avx512`], and oneDNN, which has it, is at hand."""
    return mkl_lacks_avx512() and torch.backends.mkldnn.is_available() and _operator_is_known()


def _operator_is_known() -> bool:
    """Whether torch's operator, which is not public, is the one that [`OneDNNLinear`] calls."""
    if _BY_ONEDNN is None:
        return False
    one = torch.ones(1, 1)
    try:
        return bool(_BY_ONEDNN(one, one, None, "none", [], "") == one)
    except (RuntimeError, TypeError):
        return False


def use_onednn_linear(model: torch.nn.Module) -> bool:
    """Lets a model's linear maps compute as [`OneDNNLinear`] where that is faster.

    The weights and their names stay, outputs are the same to float32's rounding. Subclasses of `torch.nn.Linear`, such
    as quantised ones, are left as they are.

    Returns:
        Whether it was done.
    """
    if not onednn_is_faster():
        return False
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDNNLinear
    for module in model.modules():
        # BERT's, and what is built like it
        if type(getattr(module, "intermediate_act_fn", None)) is GELUActivation and type(module.dense) is OneDNNLinear:
            module.dense.__class__, module.intermediate_act_fn = OneDNNLinearGELU, torch.nn.Identity()
    return True
