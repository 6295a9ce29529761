"""The beginning and the end of the server."""

from __future__ import annotations

import importlib
import sys
import threading
import time

WARM_UP_SECONDS = 4.0
WARM_UP = (
    "plotly.graph_objects",
    "scipy.optimize",
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
# What works in the background.
WORKERS = {
    "engine.sources.import_job": "the_importer",
    "engine.health.reports": "the_examiner",
    "engine.runs.maps": "the_map_maker",
    "engine.runs.runner": "the_runner",
}


def warm_up() -> None:
    """Imports, in the background, what pages will want: the first visit of each need not wait for it.

    Only once the first page has long been drawn, which should not have to share the processor.
    """

    def work() -> None:
        time.sleep(WARM_UP_SECONDS)
        for module in WARM_UP:
            importlib.import_module(module)

    threading.Thread(target=work, daemon=True, name="spice-warm-up").start()


def stop_everything() -> None:
    """At the end of the server: training stops at its next step and leaves a checkpoint."""
    for module, worker in WORKERS.items():
        if module in sys.modules:  # what was never asked for anything has nothing to end
            getattr(sys.modules[module], worker)().close()
