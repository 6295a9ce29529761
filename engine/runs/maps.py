"""UMAP maps of runs: computed once each, in one background thread, kept as the artefact "map"."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Literal

from engine.runs.store import RunFolder

log = logging.getLogger(__name__)

MapState = Literal["ready", "waiting", "computing", "failed"]
ARTEFACT = "map"


class MapMaker:
    """Computes the maps that it is asked for, one after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[RunFolder] = queue.SimpleQueue()
        self._asked: set[Path] = set()
        self._failures: dict[Path, str] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def request(self, folder: RunFolder) -> tuple[MapState, str]:
        """Where the run's map is, and what went wrong if it failed; asks for it the first time.

        "waiting" means that stage 1 is not done, so that there is nothing to draw yet.
        """
        if folder.has(ARTEFACT):
            return "ready", ""
        if not (folder.has("features") and folder.has("neighbors")):
            return "waiting", ""
        with self._guard:
            path = folder.path.resolve()
            if path in self._failures:
                return "failed", self._failures[path]
            if path not in self._asked:
                self._asked.add(path)
                self._jobs.put(folder)
                self._start()
            return "computing", ""

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="spice-maps")
            self._thread.start()

    def _work(self) -> None:
        while True:
            folder = self._jobs.get()
            path = folder.path.resolve()
            failure = ""
            try:
                compute(folder)
            except Exception as error:
                log.exception("the map of %s failed", folder.path)
                failure = f"{type(error).__name__}: {error}"
            with self._guard:
                self._asked.discard(path)
                if failure:
                    self._failures[path] = failure


def compute(folder: RunFolder) -> None:
    """Saves the UMAP of the run's features as its artefact "map": points (N, 2) float32."""
    import numpy as np

    from engine.space.neighbors import Neighbors
    from engine.space.projection import umap_map

    near = folder.load("neighbors")
    points = umap_map(
        np.asarray(folder.load("features")["vectors"]),
        Neighbors(near["ids"], near["similarity"]),
        seed=folder.card().config.seed,
    )
    folder.save(ARTEFACT, {"points": points})


_maker = MapMaker()


def request_map(folder: RunFolder) -> tuple[MapState, str]:
    """`MapMaker.request` of this process's one map maker."""
    return _maker.request(folder)
