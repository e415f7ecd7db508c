"""Probes: frozen features of each layer and a closed-form head, a run without gradient steps.

Importing this package costs nothing: each public name is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "FeatureCache": "features",
    "ProbeSpec": "runs",
    "add_pooling_layer": "pooling_layer",
    "extract": "features",
    "fit_head": "heads",
    "run_probe": "runs",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
