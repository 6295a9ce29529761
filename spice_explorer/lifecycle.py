"""The beginning and the end of the server."""

from __future__ import annotations

import importlib

from engine.heavy import scipy_before_torch
from engine.jobs import ENDED, Job, Jobs, Task, close_all

WARM_UP_SECONDS = 4.0
WARM_UP = (
    "plotly.graph_objects",
    "scipy.optimize",
    "sklearn.linear_model",
    "engine.metrics",
    "engine.runs.maps",
    "engine.runs.results",
    "engine.runs.runner",
    "spice_explorer.sections.map.page",
    "spice_explorer.sections.prototypes.page",
    "spice_explorer.sections.reliability",
    "spice_explorer.sections.curate.page",
    "engine.lesson.build",
    "spice_explorer.sections.lesson",
)

_warming_up = Jobs[str, Job]("spice-warm-up", Job("importing"))


def warm_up() -> None:
    """Imports the modules that pages need in the background, so that their first visit is fast.

    It starts well after the first page has been drawn, so that the two do not share the processor.
    """

    def work(task: Task[Job]) -> None:
        task.sleep(WARM_UP_SECONDS)
        scipy_before_torch()
        for module in WARM_UP:
            if task.stopped:
                return
            importlib.import_module(module)

    _warming_up.ask("pages", work, "the warm-up", again=ENDED)


def stop_everything() -> None:
    """At the end of the server: training stops at its next step and leaves a checkpoint."""
    close_all()
