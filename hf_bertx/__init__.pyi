"""The public names and their modules. `__init__.py` reads them here, and so do type checkers."""

from typing import Any

from .analysis.analyse import analyse as analyse
from .arms import ARMS as ARMS
from .arms import Arm as Arm
from .arms import get_arm as get_arm
from .backbones import BACKBONES as BACKBONES
from .backbones import Backbone as Backbone
from .backbones import resolve_backbone as resolve_backbone
from .callbacks import LossConvergedCallback as LossConvergedCallback
from .callbacks import ModelCardCallback as ModelCardCallback
from .callbacks import RunRecordCallback as RunRecordCallback
from .callbacks import ThroughputCallback as ThroughputCallback
from .configuration_discipline import DISCIPLINE_CONFIGS as DISCIPLINE_CONFIGS
from .disciplines import DISCIPLINES as DISCIPLINES
from .disciplines import Discipline as Discipline
from .disciplines import get_discipline as get_discipline
from .launch import train as train
from .modeling_discipline import AutoModelForDisciplineClassification as AutoModelForDisciplineClassification
from .modeling_discipline import BertForDisciplineClassification as BertForDisciplineClassification
from .pipeline_discipline import DisciplineClassificationPipeline as DisciplineClassificationPipeline
from .prediction.inference import SequenceClassifier as SequenceClassifier
from .prediction.prediction_files import predict_file as predict_file
from .protocols import PROTOCOLS as PROTOCOLS
from .protocols import Protocol as Protocol
from .protocols import get_protocol as get_protocol
from .report.write import collect_runs as collect_runs
from .report.write import write_report as write_report
from .runs.collapse import CollapseGuardCallback as CollapseGuardCallback
from .runs.optimizers import NovoGrad as NovoGrad
from .runs.optimizers import optimizer as optimizer
from .runs.run import Run as Run
from .runs.spec import RunSpec as RunSpec
from .runs.training import build_trainer as build_trainer
from .tasks import TASKS as TASKS
from .tasks import Task as Task
from .tasks import get_task as get_task
from .tokenization.symbol_lookup import UnknownSymbolError as UnknownSymbolError
from .tokenization_discipline import DisciplineTokenizer as DisciplineTokenizer

__version__: str
__all__: list[str]

def __getattr__(name: str) -> Any: ...  # classes of models of the other families
