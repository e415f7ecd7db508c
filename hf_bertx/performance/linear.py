"""Linear maps on a CPU by oneDNN, for prediction: weights in its own layout, the bias and GELU within the product."""

from __future__ import annotations

from typing import Any

import torch
from transformers.activations import GELUActivation

from ..processor import bfloat16_in_hardware, mkl_lacks_avx512

_BY_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_IN_LAYOUT = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)


class OneDNNLinear(torch.nn.Linear):
    """A linear map whose forward pass on a CPU is oneDNN's, as in frozen compiled models.

    The first pass keeps the weights in the layout of oneDNN's kernels too. The layout is renewed when weights were
    replaced or changed in place. Changes that autograd does not see (`weight.data.mul_(...)`) are missed. oneDNN's
    operator has no backward pass, so torch's own operator runs while gradients are recorded, and in a compiled model.
    """

    _AFTER: tuple[str, list[float], str] = "none", [], ""  # what the operator applies to its output

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        plain = (
            input.dtype == self.weight.dtype
            and input.dtype in (torch.float32, torch.bfloat16)
            and input.device.type == "cpu"
        )
        if _BY_ONEDNN is None or not plain or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._by_torch(input)
        return _BY_ONEDNN(input, self._weight_in_layout(), self.bias, *self._AFTER)

    def _by_torch(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)

    def _weight_in_layout(self) -> torch.Tensor:
        weight = self.weight.detach()
        version = None if self.weight.is_inference() else self.weight._version
        # the weight is kept beside its layout: while it exists, no other weight has its address
        known, *of_known, layout = self.__dict__.get("_in_layout", (None, None, None, None))
        if known is None or of_known != [weight.dtype, version] or known.data_ptr() != weight.data_ptr():
            layout = weight if _IN_LAYOUT is None else _IN_LAYOUT(weight)
            self.__dict__["_in_layout"] = weight, weight.dtype, version, layout
        return layout

    def __getstate__(self) -> dict[str, Any]:
        """Without the weights in oneDNN's layout, which cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name != "_in_layout"}


class OneDNNLinearGELU(OneDNNLinear):
    """A linear map and the GELU after it in one pass over memory."""

    _AFTER = "gelu", [], "none"  # the GELU with the error function

    def _by_torch(self, input: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(super()._by_torch(input))


def onednn_is_faster(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN's operators, and this processor multiplies such numbers faster with them."""
    suits = {torch.float32: mkl_lacks_avx512, torch.bfloat16: bfloat16_in_hardware}.get(dtype)
    if suits is None or not suits() or _BY_ONEDNN is None or not torch.backends.mkldnn.is_available():
        return False
    one = torch.ones(1, 1, dtype=dtype)
    try:  # the operators are private: they may take or give something else in another version of torch
        return bool(_BY_ONEDNN(one, one if _IN_LAYOUT is None else _IN_LAYOUT(one), None, "none", [], "") == one)
    except (RuntimeError, TypeError):
        return False


def use_onednn_linear(model: torch.nn.Module) -> bool:
    """Lets a model's linear maps compute as [`OneDNNLinear`] where that is faster for the type of their weights.

    Weights and their names stay; outputs are the same to rounding. Subclasses of `torch.nn.Linear`, such as quantised
    ones, are left as they are. Returns whether any linear map was changed.
    """
    plain = [module for module in model.modules() if type(module) is torch.nn.Linear]
    faster = {dtype: onednn_is_faster(dtype) for dtype in {module.weight.dtype for module in plain}}
    chosen = [module for module in plain if faster[module.weight.dtype]]
    for module in chosen:
        module.__class__ = OneDNNLinear
    for module in model.modules():
        # BERT's, and those built like it
        if type(getattr(module, "intermediate_act_fn", None)) is GELUActivation and type(module.dense) is OneDNNLinear:
            module.dense.__class__, module.intermediate_act_fn = OneDNNLinearGELU, torch.nn.Identity()
    return bool(chosen)
