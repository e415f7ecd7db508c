"""Baselines: plain estimators, and networks made for a discipline. Each leaves an ordinary run folder.

Importing this package costs nothing: each public name is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "BASELINES": "catalog",
    "Baseline": "catalog",
    "baselines_for": "catalog",
    "get_baseline": "catalog",
    "run_baseline": "runs",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
