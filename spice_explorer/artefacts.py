"""What the app asks of the engine, second half: the images, labels and maps of a run.

Everything is cached by the time at which it was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.events import Stage
from spice_explorer.present.gallery import Known
from spice_explorer.services import folder_of, look, made

if TYPE_CHECKING:
    import pandas as pd

    from engine.config import ReliableSettings
    from engine.data.images import ImageSet
    from engine.data.truth import Truth
    from engine.runs.history import History, PrototypeHistory
    from engine.runs.maps import MapState
    from engine.stages.reliable import ReliableSet

MOST_CACHED = 48


@st.cache_resource(show_spinner=False, max_entries=MOST_CACHED)
def _arrays(path: str, artefact: str, _modified: float | None) -> dict[str, np.ndarray]:
    from engine.runs.store import RunFolder

    return RunFolder(path).load(artefact)


def arrays(name: str, artefact: str) -> dict[str, np.ndarray]:
    """The arrays of a run's artefact, memory-mapped; raises RunError when it is not there yet."""
    folder = folder_of(name)
    return _arrays(str(folder.path), artefact, folder.modified(artefact))


def has(name: str, artefact: str) -> bool:
    return folder_of(name).has(artefact)


@st.cache_resource(show_spinner=False, max_entries=8)
def _images(path: str, _made: float) -> ImageSet:
    from engine.runs.store import RunFolder

    return RunFolder(path).images()


def images(name: str) -> ImageSet:
    folder = folder_of(name)
    return _images(str(folder.path), made(folder))


@st.cache_resource(show_spinner=False, max_entries=8)
def _truth(path: str, _made: float) -> Truth | None:
    from engine.runs.store import RunFolder

    return RunFolder(path).truth()


def truth(name: str) -> Truth | None:
    """Ground truth of the run's images, for scores and pictures only; None without it."""
    folder = folder_of(name)
    return _truth(str(folder.path), made(folder))


def judged_stages(name: str) -> list[Stage]:
    """The stages whose labels have been judged, newest first."""
    order: tuple[Stage, ...] = ("joint", "heads")
    return [stage for stage in order if has(name, f"reliable-{stage}")]


def reliable(name: str, stage: Stage) -> ReliableSet:
    """The run's own verdict on the labels of `stage`."""
    from engine.stages.reliable import ReliableSet

    return ReliableSet(**arrays(name, f"reliable-{stage}"))


@st.cache_resource(show_spinner=False, max_entries=64)
def _agreement(path: str, stage: Stage, count: int, _modified: float | None) -> np.ndarray:
    from engine.runs.store import RunFolder
    from engine.space.neighbors import Neighbors
    from engine.stages.reliable import local_agreement

    near, judged = RunFolder(path).load("neighbors"), RunFolder(path).load(f"reliable-{stage}")
    labels = np.asarray(judged["labels"])
    return local_agreement(labels, Neighbors(near["ids"], near["similarity"]), count)


def agreement(name: str, stage: Stage, count: int) -> np.ndarray:
    """(N,) float32: share of the `count` nearest neighbours with an image's label of `stage`."""
    folder = folder_of(name)
    return _agreement(str(folder.path), stage, count, folder.modified(f"reliable-{stage}"))


def judge(name: str, stage: Stage, settings: ReliableSettings) -> ReliableSet:
    """The verdict on the labels of `stage` under other settings, by the engine's own rule."""
    from engine.stages.reliable import judge, neighbor_count

    own, clusters = reliable(name, stage), look(name).card.config.clusters
    count = neighbor_count(settings, len(own.labels), clusters)
    return judge(own.labels, own.confidence, agreement(name, stage, count), clusters, settings)


def neighbor_count(name: str) -> int:
    """How many neighbours the run itself asked."""
    from engine.stages.reliable import neighbor_count

    card = look(name).card
    return neighbor_count(card.config.reliable, card.images, card.config.clusters)


# -- how the run went --------------------------------------------------------------------------


@st.cache_resource(show_spinner=False, max_entries=8)
def _history(path: str, _frames: int, _chosen: bool) -> History:
    from engine.runs.history import load_history
    from engine.runs.store import RunFolder

    return load_history(RunFolder(path))


def history(name: str) -> History:
    """Labels of every image at the frames of stages 2 and 3 so far."""
    from engine.runs.history import frame_steps_of

    folder = folder_of(name)
    return _history(str(folder.path), len(frame_steps_of(folder)), folder.has("heads"))


@st.cache_resource(show_spinner=False, max_entries=8)
def _prototype_history(path: str, _frames: int, _chosen: bool) -> PrototypeHistory | None:
    from engine.runs.history import load_prototype_history
    from engine.runs.store import RunFolder

    return load_prototype_history(RunFolder(path))


def prototype_history(name: str) -> PrototypeHistory | None:
    """The chosen head's prototypes over the rounds of stage 2; None before there are any."""
    from engine.runs.history import frame_steps_of

    folder = folder_of(name)
    return _prototype_history(str(folder.path), len(frame_steps_of(folder)), folder.has("heads"))


def stage_one_labels(name: str) -> np.ndarray:
    """(N,) stage 1's k-means labels, renumbered to fit the newest judged labels best."""
    labels = np.asarray(arrays(name, "features")["labels"])
    stages = judged_stages(name)
    return _matched(labels, reliable(name, stages[0]).labels) if stages else labels


def matched_truth(name: str, labels: np.ndarray) -> np.ndarray | None:
    """(N,) true classes, numbered like the clusters they fit best (further classes follow)."""
    found = truth(name)
    return None if found is None else _matched(found.labels, labels)


def _matched(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`labels` renumbered one to one so that the most images have the number they have in `like`."""
    from engine.metrics import best_match

    match = best_match(labels, like)
    new = np.arange(int(labels.max(initial=0)) + 1)
    free = iter(sorted(set(range(len(new) + len(match))) - set(match.values())))
    for label in new.tolist():
        new[label] = match[label] if label in match else next(free)
    return new[labels]


# -- maps --------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False, max_entries=8)
def _principal(path: str, _modified: float | None) -> np.ndarray:
    from engine.runs.store import RunFolder
    from engine.space.projection import principal_map

    return principal_map(np.asarray(RunFolder(path).load("features")["vectors"]))


def map_points(name: str) -> tuple[np.ndarray, MapState, str]:
    """(N, 2) places on the best map there is, how UMAP is doing, and what went wrong with it."""
    from engine.runs.maps import request_map

    folder = folder_of(name)
    state, message = request_map(folder)
    if state == "ready":
        return arrays(name, "map")["points"], state, message
    return _principal(str(folder.path), folder.modified("features")), state, message


# -- export ------------------------------------------------------------------------------------


def label_table(name: str) -> pd.DataFrame:
    """The newest labels of the run, one row an image; raises RunError before stage 2 is done."""
    from engine.runs.results import export_table

    return export_table(folder_of(name), look(name).snapshot)


def csv(table: pd.DataFrame) -> bytes:
    from engine.curate.export import to_csv

    return to_csv(table)


# -- what is known of every image --------------------------------------------------------------


def known(name: str, stage: Stage | None) -> Known:
    """Everything a gallery can say of the run's images, with the labels of `stage`, if any."""
    shown, found = images(name), truth(name)
    names = None if found is None else np.asarray(found.class_names)[found.labels]
    if stage is None:
        return Known(shown.pixels, shown.names, truth=names)
    verdict = reliable(name, stage)
    return Known(
        shown.pixels, shown.names, verdict.labels, verdict.confidence, verdict.agreement, names
    )
