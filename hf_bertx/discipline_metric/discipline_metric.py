"""The project's metrics in the form that `evaluate.load` takes from a local path.

`evaluate.load(hf_bertx.metrics.evaluate_module(), "mcc")` gives one metric,
`evaluate.load(hf_bertx.metrics.evaluate_module(), "dna-splice")` every metric of a task.
"""

import datasets
import evaluate
import numpy as np

from hf_bertx.metrics import METRICS, SCORED, compute
from hf_bertx.tasks import TASKS

_DESCRIPTION = (
    "Accuracy, balanced accuracy, F1, macro F1, AUPRC, Matthews correlation, Spearman and Pearson correlation, by "
    "name or by task."
)
_INPUTS = """
Args:
    predictions: class numbers, or values of a regression; of auprc the scores of all classes, a list an item.
    references: the true ones, as many. Of several labels an item, rows of 0 and 1 for both.
Returns:
    a dictionary of fractions, such as {"accuracy": 0.96, "mcc": 0.93}.
"""


class DisciplineMetric(evaluate.Metric):
    """The metric of this name, or the metrics of this task."""

    def _info(self) -> evaluate.MetricInfo:
        names = [*METRICS, *SCORED, *TASKS]
        if self.config_name not in names:
            raise ValueError(f"name a metric or a task, not {self.config_name!r}: {', '.join(names)}")
        value = datasets.Value("float64")
        several = datasets.Sequence(value)  # of an item: scores of classes, or 0 and 1 for each label
        inputs = [(several if self.config_name in SCORED else value, value), (several, several)]
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=[datasets.Features({"predictions": given, "references": true}) for given, true in inputs],
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        if self.config_name in SCORED:
            return {self.config_name: SCORED[self.config_name](np.asarray(predictions), np.asarray(references))}
        names = TASKS[self.config_name].metrics if self.config_name in TASKS else (self.config_name,)
        return {name: compute(name, predictions, references) for name in names}
