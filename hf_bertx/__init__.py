"""Text-pretrained encoders on DNA, protein, music and token-shifted text, beside arms that show what it was worth.

Importing this package costs milliseconds: each public name of `__init__.pyi` is loaded when it is first used.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from .families import FAMILIES

__version__ = "0.2.0"

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_IMPORTS = [statement for statement in _STUB.body if isinstance(statement, ast.ImportFrom) and statement.level]
_MODULE_OF = {name.name: str(statement.module) for statement in _IMPORTS for name in statement.names}
_MODULE_OF |= {f"{family.name}ForDisciplineClassification": "modeling_discipline" for family in FAMILIES.values()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
