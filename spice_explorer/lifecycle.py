"""The beginning and the end of the server."""

from __future__ import annotations

import importlib
import logging
import tempfile
from pathlib import Path

from engine.data.image_store import cache
from engine.heavy import scipy_before_torch
from engine.jobs import ENDED, Job, Jobs, Task, close_all
from engine.leftovers import DRAFT, TEMPORARY, sweep

log = logging.getLogger(__name__)

WARM_UP_SECONDS = 4.0
# Below a place, what an earlier process may have left there.
LEFT_IN_RUNS = (f".*{DRAFT}*", f"*/.*{DRAFT}*")
LEFT_IN_CACHE = (f"uploads/*/.upload{DRAFT}*", "uploads/*/.draft", f"sets/.*{DRAFT}*")
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


def tidy_up(runs: Path) -> None:
    """Removes what processes left that were killed in the middle of writing; never what belongs to a live one."""

    def work(_task: Task[Job]) -> None:
        left = [(runs, pattern) for pattern in LEFT_IN_RUNS] + [(cache(), pattern) for pattern in LEFT_IN_CACHE]
        left += [(Path(tempfile.gettempdir()), f"{prefix}*") for prefix in TEMPORARY]
        for place, pattern in left:
            for one in sweep(place, pattern):
                log.info("%s was left by a process that was killed, and removed", one)

    _warming_up.ask("leftovers", work, "removing what is left over", again=ENDED)


def stop_everything() -> None:
    """At the end of the server: training stops at its next step and leaves a checkpoint."""
    close_all()
