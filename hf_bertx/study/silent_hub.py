"""Planning where the Hub does not answer: one request is enough to find out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..arms import BASELINE
from ..backbones import resolve_backbone
from ..hub_answers import is_reachable
from .execution import StudyContext
from .plan import Study


@contextmanager
def offline_if_silent(study: Study, context: StudyContext) -> Iterator[None]:
    """Works as with HF_HUB_OFFLINE=1 for a while, if the study needs the Hub and the Hub does not answer.

    The Hub's libraries ask five times for each file, with waits in between: minutes for a study of several tasks.
    """
    import datasets
    from huggingface_hub import constants

    silent = not constants.HF_HUB_OFFLINE and _needs_hub(study, context) and not is_reachable()
    if silent:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        if silent:
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = False


def _needs_hub(study: Study, context: StudyContext) -> bool:
    from ..data.data_copies import embedded

    tasks = {run.task for run in study.runs}
    backbones = {run.backbone for run in study.runs if run.arm != BASELINE}
    data_at_hand = all(context.data_dir(task) is not None or embedded(task) is not None for task in tasks)
    return not (data_at_hand and all(Path(resolve_backbone(name).source).is_dir() for name in backbones))
