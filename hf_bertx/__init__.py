"""Text-pretrained encoders on DNA, protein, music and token-shifted text, beside arms that show what it was worth.

Importing this package costs milliseconds: each public name is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

from .families import FAMILIES

__version__ = "0.2.0"

_NAMES: dict[str, tuple[str, ...]] = {
    "disciplines": ("DISCIPLINES", "Discipline", "get_discipline"),
    "tokenization_discipline": ("DisciplineTokenizer", "UnknownSymbolError"),
    "configuration_discipline": ("DISCIPLINE_CONFIGS",),
    "modeling_discipline": (
        "AutoModelForDisciplineClassification",
        *(f"{family.name}ForDisciplineClassification" for family in FAMILIES.values()),
    ),
    "backbones": ("BACKBONES", "Backbone", "resolve_backbone"),
    "arms": ("ARMS", "Arm", "get_arm"),
    "tasks": ("TASKS", "Task", "get_task"),
    "protocols": ("PROTOCOLS", "Protocol", "get_protocol"),
    "callbacks": ("LossConvergedCallback", "ModelCardCallback", "RunRecordCallback", "ThroughputCallback"),
    "runs.collapse": ("CollapseGuardCallback",),
    "runs.spec": ("RunSpec",),
    "runs.run": ("Run",),
    "launch": ("train",),
    "runs.training": ("build_trainer",),
    "prediction.inference": ("SequenceClassifier",),
    "pipeline_discipline": ("DisciplineClassificationPipeline",),
    "prediction.prediction_files": ("predict_file",),
    "report.write": ("collect_runs", "write_report"),
    "runs.optimizers": ("NovoGrad", "optimizer"),
    "analysis.analyse": ("analyse",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
