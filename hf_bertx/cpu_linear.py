"""Linear maps on a CPU by oneDNN, for prediction: weights in its own layout, the bias and GELU within the product."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from transformers.activations import GELUActivation

_BY_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_IN_LAYOUT = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_DTYPES = torch.float32, torch.bfloat16


class _LaidOut(NamedTuple):
    """A weight in oneDNN's layout, and the weight itself: as long as it is held, none other has its address."""

    weight: torch.Tensor
    version: int | None
    layout: torch.Tensor

    def is_of(self, weight: torch.Tensor, version: int | None) -> bool:
        place, dtype = weight.data_ptr(), weight.dtype
        return (self.weight.data_ptr(), self.weight.dtype, self.version) == (place, dtype, version)


class OneDNNLinear(torch.nn.Linear):
    """A linear map whose forward pass on a CPU is oneDNN's, as in frozen compiled models; all else is its base's.

    From the first pass on weights are kept in the layout of oneDNN's kernels too. They are laid out anew when they
    were replaced or changed in place, but for changes behind autograd's back (`weight.data.mul_(...)`), which are not
    seen. oneDNN's operator has no backward pass: where gradients are recorded, it is not taken, nor in a compiled
    model.
    """

    _AFTER: tuple[str, list[float], str] = "none", [], ""  # what the operator does with each number on its way out

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        plain = input.dtype == self.weight.dtype and input.dtype in _DTYPES and input.device.type == "cpu"
        if _BY_ONEDNN is None or not plain or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._by_torch(input)
        return _BY_ONEDNN(input, self._weight_in_layout(), self.bias, *self._AFTER)

    def _by_torch(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)

    def _weight_in_layout(self) -> torch.Tensor:
        weight = self.weight.detach()
        version = None if self.weight.is_inference() else self.weight._version
        known: _LaidOut | None = self.__dict__.get("_in_layout")
        if known is None or not known.is_of(weight, version):
            known = _LaidOut(weight, version, weight if _IN_LAYOUT is None else _IN_LAYOUT(weight))
            self.__dict__["_in_layout"] = known
        return known.layout

    def __getstate__(self) -> dict[str, Any]:
        """Without the weights in oneDNN's layout, of which there are no copies."""
        return {name: value for name, value in self.__dict__.items() if name != "_in_layout"}


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


def bfloat16_in_hardware() -> bool:
    """Whether the processor multiplies bfloat16 matrices (AMX, AVX-512 BF16); elsewhere float32 is faster."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and check() for check in checks)


def onednn_is_faster(dtype: torch.dtype) -> bool:
    """Whether oneDNN's operators are at hand, and this processor's way of multiplying such numbers is oneDNN's."""
    suits = {torch.float32: mkl_lacks_avx512, torch.bfloat16: bfloat16_in_hardware}.get(dtype)
    return suits is not None and suits() and torch.backends.mkldnn.is_available() and _operators_are_known(dtype)


def _operators_are_known(dtype: torch.dtype) -> bool:
    """Whether torch's operators, which are not public, are those that [`OneDNNLinear`] calls."""
    if _BY_ONEDNN is None:
        return False
    one = torch.ones(1, 1, dtype=dtype)
    try:
        return bool(_BY_ONEDNN(one, one if _IN_LAYOUT is None else _IN_LAYOUT(one), None, "none", [], "") == one)
    except (RuntimeError, TypeError):
        return False


def use_onednn_linear(model: torch.nn.Module) -> bool:
    """Lets a model's linear maps compute as [`OneDNNLinear`] where that is faster for the type of their weights.

    The weights and their names stay, outputs are the same to rounding. Subclasses of `torch.nn.Linear`, such
    as quantised ones, are left as they are.

    Returns:
        Whether any was told so.
    """
    plain = [module for module in model.modules() if type(module) is torch.nn.Linear]
    faster = {dtype: onednn_is_faster(dtype) for dtype in {module.weight.dtype for module in plain}}
    chosen = [module for module in plain if faster[module.weight.dtype]]
    for module in chosen:
        module.__class__ = OneDNNLinear
    for module in model.modules():
        # BERT's, and what is built like it
        if type(getattr(module, "intermediate_act_fn", None)) is GELUActivation and type(module.dense) is OneDNNLinear:
            module.dense.__class__, module.intermediate_act_fn = OneDNNLinearGELU, torch.nn.Identity()
    return bool(chosen)
