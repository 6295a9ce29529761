"""The app's access to the engine, part two: the images, labels and maps of a run.

Everything is cached by the time it was written.
"""
# Arguments that form a cache key are often unused otherwise, and must not begin with an underscore:
# Streamlit leaves such arguments out of the key.
# ruff: noqa: ARG001

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.errors import RunError
from engine.events import Stage
from spice_explorer.present.gallery import Known
from spice_explorer.services import card, folder_of, look, made

if TYPE_CHECKING:
    import pandas as pd

    from engine.config import ReliableSettings
    from engine.data.columns import ImageColumn
    from engine.data.images import ImageSet
    from engine.data.truth import Truth
    from engine.runs.folder import RunFolder
    from engine.runs.history import History, PrototypeHistory
    from engine.runs.maps import MapJob, Moment
    from engine.space.projection import MapSettings
    from engine.stages.prototypes import Claims
    from engine.stages.reliable import ReliableSet
    from spice_explorer.present.maps import Box
    from spice_explorer.present.prototypes import Change, Hint, Overview

MOST_CACHED = 48


@st.cache_resource(show_spinner=False, max_entries=MOST_CACHED)
def _arrays(path: str, artefact: str, modified: float | None) -> dict[str, np.ndarray]:
    from engine.runs.folder import RunFolder

    return RunFolder(path).load(artefact)


def arrays(name: str, artefact: str) -> dict[str, np.ndarray]:
    """The arrays of a run's artefact, memory-mapped; raises RunError when it is not there yet."""
    folder = folder_of(name)
    return _arrays(str(folder.path), artefact, folder.modified(artefact))


def has(name: str, artefact: str) -> bool:
    return folder_of(name).has(artefact)


@st.cache_resource(show_spinner=False, max_entries=8)
def _images(path: str, made: float) -> ImageSet:
    from engine.runs.folder import RunFolder

    return RunFolder(path).images()


def images(name: str) -> ImageSet:
    folder = folder_of(name)
    return _images(str(folder.path), made(folder))


@st.cache_resource(show_spinner=False, max_entries=8)
def _truth(path: str, made: float) -> Truth | None:
    from engine.runs.folder import RunFolder

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
def _agreement(path: str, stage: Stage, count: int, modified: float | None) -> np.ndarray:
    from engine.runs.folder import RunFolder
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

    own, clusters = reliable(name, stage), card(name).config.clusters
    count = neighbor_count(settings, len(own.labels), clusters)
    fixed = folder_of(name).fixed()
    agreed = agreement(name, stage, count)
    return judge(own.labels, own.confidence, agreed, clusters, settings, fixed=fixed)


@st.cache_resource(show_spinner=False, max_entries=16)
def _head_votes(path: str, stage: Stage, heads_modified: float | None, modified: float | None) -> np.ndarray:
    from engine.metrics import head_votes
    from engine.runs.folder import RunFolder

    folder = RunFolder(path)
    labels = np.asarray(folder.load(f"reliable-{stage}")["labels"])
    return head_votes(np.asarray(folder.load("heads")["head_labels"]), labels)


def estimated_purity(name: str, stage: Stage, mask: np.ndarray) -> float | None:
    """What share of the images in `mask` (N,) may be of their cluster's commonest class, 0 to 1, by
    how far heads and neighbours agree, without any truth; None where nothing can be said (one head,
    no image in `mask`, one cluster).

    It takes clusters for classes and cannot see what all heads and neighbours get wrong together.
    Against truth it was 2 points off on digits (6 at worst), 2 to 4 with too few or too many
    clusters; 2 to 8 (15 at worst), mostly too high at stage 2 and too low at stage 3, after a stage
    1 of a few epochs; and on photographs up to 15 too high where purity was a third to two thirds,
    6 too low where it was high. Which of a run's subsets is purer it mostly told right
    (benchmarks/results/estimates-cpu.md).
    """
    from engine.metrics import estimated_purity

    folder = folder_of(name)
    if len(arrays(name, "heads")["head_labels"]) < 2:
        return None
    times = folder.modified("heads"), folder.modified(f"reliable-{stage}")
    own, votes = reliable(name, stage), _head_votes(str(folder.path), stage, *times)
    return estimated_purity(own.labels, own.agreement, votes, mask)


def neighbor_count(name: str) -> int:
    """How many neighbours the run itself asked."""
    from engine.stages.reliable import neighbor_count

    asked = card(name)
    return neighbor_count(asked.config.reliable, asked.images, asked.config.clusters)


# -- how the run went --------------------------------------------------------------------------


@st.cache_resource(show_spinner=False, max_entries=8)
def _history(path: str, made: float, frames: int, chosen: bool) -> History:
    from engine.runs.folder import RunFolder
    from engine.runs.history import load_history

    return load_history(RunFolder(path))


def history(name: str) -> History:
    """Labels of every image at the frames of stages 2 and 3 so far."""
    return _history(*_so_far(folder_of(name)))


@st.cache_resource(show_spinner=False, max_entries=8)
def _prototype_history(path: str, made: float, frames: int, chosen: bool) -> PrototypeHistory | None:
    from engine.runs.folder import RunFolder
    from engine.runs.history import load_prototype_history

    return load_prototype_history(RunFolder(path))


def prototype_history(name: str) -> PrototypeHistory | None:
    """The chosen head's prototypes over the rounds of stage 2; None before there are any."""
    return _prototype_history(*_so_far(folder_of(name)))


def _so_far(folder: RunFolder) -> tuple[str, float, int, bool]:
    """A key that distinguishes a run's frames from earlier ones, and from another run of the same name."""
    from engine.runs.history import frame_steps_of

    return str(folder.path), made(folder), len(frame_steps_of(folder)), folder.has("heads")


@st.cache_resource(show_spinner=False, max_entries=8)
def _stage_one_labels(path: str, modified: float | None, newest: Stage | None) -> np.ndarray:
    from engine.runs.folder import RunFolder

    folder = RunFolder(path)
    labels = np.asarray(folder.load("features")["labels"])
    if newest is None:
        return labels
    return _matched(labels, np.asarray(folder.load(f"reliable-{newest}")["labels"]))


def stage_one_labels(name: str) -> np.ndarray:
    """(N,) stage 1's k-means labels, renumbered to fit the newest judged labels best."""
    folder, stages = folder_of(name), judged_stages(name)
    newest = stages[0] if stages else None
    return _stage_one_labels(str(folder.path), folder.modified("features"), newest)


def newest_labels(name: str) -> np.ndarray | None:
    """(N,) the newest labels there are: judged ones, else stage 1's, else None."""
    stages = judged_stages(name)
    if stages:
        return reliable(name, stages[0]).labels
    return stage_one_labels(name) if has(name, "features") else None


def matched_truth(name: str) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """(N,) true classes, numbered like the clusters of the newest labels that they fit best (further
    classes follow), and the names by these numbers ("" where a cluster has no class)."""
    if truth(name) is None:
        return None
    folder, stages = folder_of(name), judged_stages(name)
    return _matched_truth(name, made(folder), stages[0] if stages else folder.has("features"))


@st.cache_resource(show_spinner=False, max_entries=8)
def _matched_truth(name: str, made: float, newest: Stage | bool) -> tuple[np.ndarray, tuple[str, ...]]:
    found, labels = truth(name), newest_labels(name)
    assert found is not None
    numbers = found.labels if labels is None else _matched(found.labels, labels)
    present, example = np.unique(numbers, return_index=True)
    names = [""] * (int(numbers.max(initial=0)) + 1)
    for number, image in zip(present.tolist(), example.tolist(), strict=True):
        names[number] = found.class_names[found.labels[image]]
    return numbers, tuple(names)


def changed(name: str) -> np.ndarray:
    """(N,) uint8: which stages gave an image another label than the stage before."""
    from spice_explorer.present.maps import changed

    judged = {stage: reliable(name, stage).labels for stage in judged_stages(name)}
    return changed(stage_one_labels(name), judged["heads"], judged.get("joint"))


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


def moments(name: str) -> list[Moment]:
    """Stage and step of every frame that the run has left so far, oldest first."""
    from engine.runs.history import frame_steps_of

    return frame_steps_of(folder_of(name))


def map_job(name: str, settings: MapSettings, *, frames: bool, again: bool = False) -> MapJob:
    """The progress of the run's UMAP; the first call starts it."""
    from engine.runs.maps import request_map

    return request_map(folder_of(name), settings, frames=frames, again=again)


def has_maps(name: str, settings: MapSettings, *, frames: bool) -> bool:
    """True when the UMAP of the run is there and, if asked, that of every moment."""
    from engine.runs.maps import has_maps

    return has_maps(folder_of(name), settings, frames=frames)


def drawn(name: str) -> np.ndarray | None:
    """(n,) ids of the images that the map draws, where these are a sample; None for all."""
    from spice_explorer.present.maps import MOST_POINTS, sample

    count = card(name).images
    if count <= MOST_POINTS:
        return None
    labels = stage_one_labels(name) if has(name, "features") else np.zeros(count, np.uint8)
    return sample(labels)


def places(name: str, layout: str, moment: Moment | None) -> np.ndarray:
    """(N, 2) uint16 places on the map `layout` ("pca", or UMAP's settings as "15-0.1"), of the run's
    features or of a frame; raises RunError when that map is not there."""
    from spice_explorer.present.maps import squared

    points, box = _points(name, layout, moment), _box(name, layout)
    return squared(points, box).astype("<u2")


def _points(name: str, layout: str, moment: Moment | None) -> np.ndarray:
    from engine.runs.maps import load_map, preview_at

    folder = folder_of(name)
    if layout == "pca":
        newest = _preview(str(folder.path), *_features_so_far(name))
        return newest if moment is None else preview_at(folder, moment, newest)
    found = load_map(folder, map_settings(layout), moment)
    if found is None:
        raise RunError(f"{name} has no map {layout} yet")
    return found


@st.cache_resource(show_spinner=False, max_entries=8)
def _preview(path: str, modified: float, frames: int) -> np.ndarray:
    from engine.runs.folder import RunFolder
    from engine.runs.maps import preview

    return preview(RunFolder(path))


def _features_so_far(name: str) -> tuple[float, int]:
    """A key that distinguishes the latest features: their time, or the run's and its frames so far."""
    folder = folder_of(name)
    modified = folder.modified("features")
    return (modified, 0) if modified else (made(folder), len(moments(name)))


def map_settings(layout: str) -> MapSettings:
    from engine.space.projection import MapSettings

    neighbors, _, distance = layout.partition("-")
    return MapSettings(int(neighbors), float(distance))


def _box(name: str, layout: str) -> Box:
    """The square of the newest features' map: a replay keeps to it."""
    return _kept_box(name, str(folder_of(name).path), layout, *_features_so_far(name))


@st.cache_resource(show_spinner=False, max_entries=32)
def _kept_box(name: str, path: str, layout: str, modified: float, frames: int) -> Box:
    from spice_explorer.present.maps import Box

    return Box.of(_points(name, layout, None))


@st.cache_resource(show_spinner=False, max_entries=8)
def _imported(path: str, modified: float | None) -> list[ImageColumn]:
    from engine.runs.folder import RunFolder

    return RunFolder(path).columns()


def imported(name: str) -> list[ImageColumn]:
    """The user's columns for the run's images."""
    folder = folder_of(name)
    return _imported(str(folder.path), folder.modified("columns"))


def import_columns(name: str, content: bytes, file: str) -> list[ImageColumn]:
    """Keeps the columns of a CSV or Parquet file with the run; raises SourceError."""
    from engine.data.columns import columns_of, read_table

    found = columns_of(read_table(content, file), images(name).ids)
    folder_of(name).save_columns(found)
    return found


def labels_at(name: str, moment: Moment) -> np.ndarray:
    """(N,) uint16: the labels of the chosen head, or of stage 3, at a frame; raises ValueError if missing."""
    found = history(name)
    row = list(zip(found.stages, found.steps, strict=True)).index(moment)
    return found.labels[row]


# -- export ------------------------------------------------------------------------------------


def label_table(name: str) -> pd.DataFrame:
    """The newest labels of the run, one row an image; raises RunError before stage 2 is done,
    DecisionError when the decisions cannot be read."""
    from engine.exports.label_table import export_table
    from spice_explorer import decisions

    # By the log that is open already: a second connection would move a damaged one from under it.
    with decisions.log_of(name).reading() as curation:
        return export_table(folder_of(name), look(name).snapshot, curation)


def damaged_logs(name: str) -> list[str]:
    """Names of the run's decision logs that were found damaged and moved aside."""
    from engine.curate.log import damaged_logs

    return damaged_logs(folder_of(name).path)


def csv(table: pd.DataFrame) -> bytes:
    from engine.exports.label_table import to_csv

    return to_csv(table)


# -- what is known of every image --------------------------------------------------------------


def known(name: str, stage: Stage | None) -> Known:
    """Everything a gallery shows about the run's images, with the labels of `stage`, if any."""
    shown, found = images(name), truth(name)
    bare = Known(shown.pixels, shown.names)
    if found is not None:
        bare = replace(bare, truth=found.labels, classes=found.class_names)
    if stage is None:
        return bare
    verdict = reliable(name, stage)
    return replace(bare, labels=verdict.labels, confidence=verdict.confidence, agreement=verdict.agreement)


# -- prototypes --------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False, max_entries=2)
def _unit(path: str, modified: float | None) -> np.ndarray:
    from engine.runs.folder import RunFolder

    vectors = np.asarray(RunFolder(path).load("features")["vectors"], np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def unit_vectors(name: str) -> np.ndarray:
    """(N, D) float32: stage 1's features, scaled to length 1."""
    folder = folder_of(name)
    return _unit(str(folder.path), folder.modified("features"))


@st.cache_resource(show_spinner=False, max_entries=4)
def _claims(name: str, path: str, exclusive: bool, modified: float | None) -> Claims:
    from engine.stages.prototypes import claims_of

    heads = arrays(name, "heads")
    saved = (np.asarray(heads[one]) for one in ("confident", "prototypes", "nearest"))
    return claims_of(unit_vectors(name), *saved, exclusive=exclusive)


def claims(name: str) -> Claims:
    """The images that form stage 2's prototypes, and those that each claims."""
    return _claims(name, *_stage_two(name))


def _stage_two(name: str) -> tuple[str, bool, float | None]:
    """Where the run lies, the setting that decides who keeps a claim, and when stage 2 was done."""
    folder = folder_of(name)
    return str(folder.path), card(name).config.heads.exclusive, folder.modified("heads")


@st.cache_resource(show_spinner=False, max_entries=4)
def _overview(name: str, path: str, exclusive: bool, modified: float | None) -> Overview:
    from engine.stages.prototypes import own_cosines
    from spice_explorer.present import prototypes as present

    own, near, verdict = claims(name), arrays(name, "neighbors"), reliable(name, "heads")
    found = truth(name)
    cosines = own_cosines(unit_vectors(name), own.prototypes, own.confident)
    return present.overview(
        np.asarray(verdict.labels),
        verdict.mask,
        own.confident,
        present.duplicates(own.confident, near["ids"], near["similarity"]),
        present.outliers(cosines),
        None if found is None else found.labels,
    )


def overview(name: str) -> Overview:
    """Sizes, flags and, with truth, purity of stage 2's clusters."""
    return _overview(name, *_stage_two(name))


@st.cache_resource(show_spinner=False, max_entries=256)
def _borderline(
    name: str, cluster: int, path: str, exclusive: bool, modified: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from engine.stages.prototypes import margins

    mine = claims(name)
    ids = mine.members(cluster)
    margin, other = margins(unit_vectors(name), mine.prototypes, ids, cluster)
    order = np.argsort(margin, kind="stable")
    return ids[order], margin[order], other[order]


def borderline(name: str, cluster: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) images with this cluster's pseudo-label, the least clear first, by how much nearer they
    are to its prototype than to the next, and that next cluster."""
    return _borderline(name, cluster, *_stage_two(name))


@st.cache_resource(show_spinner=False, max_entries=4)
def _alike(name: str, path: str, exclusive: bool, modified: float | None) -> tuple[np.ndarray, list[Hint]]:
    from spice_explorer.present import prototypes as present

    cosines = present.similarity(arrays(name, "heads")["prototypes"])
    labels = np.asarray(reliable(name, "heads").labels)
    touching = present.shared_neighbors(labels, arrays(name, "neighbors")["ids"], len(cosines))
    return cosines, present.merge_hints(cosines, *touching)


def alike(name: str) -> tuple[np.ndarray, list[Hint]]:
    """(K, K) cosines between stage 2's prototypes, and which clusters may be the same class."""
    return _alike(name, *_stage_two(name))


@st.cache_resource(show_spinner=False, max_entries=8)
def _without(
    name: str, vetoed: tuple[tuple[int, tuple[int, ...]], ...], path: str, exclusive: bool, modified: float | None
) -> tuple[Claims, list[Change]]:
    from engine.stages.prototypes import claimed_labels, without
    from spice_explorer.present.prototypes import change

    before, unit = claims(name), unit_vectors(name)
    images = {cluster: np.array(ids, np.int64) for cluster, ids in vetoed}
    probabilities = arrays(name, "heads")["probabilities"]
    after = without(before, unit, probabilities, images, exclusive=exclusive)
    labels = claimed_labels(before, len(unit)), claimed_labels(after, len(unit))
    return after, [change(before, after, labels, cluster) for cluster in images]


def without(name: str, vetoed: dict[int, tuple[int, ...]]) -> tuple[Claims, list[Change]]:
    """Stage 2's claims if the vetoed images did not help to form their prototypes, and what that
    changes in each of those clusters; raises RunError when too few images are left."""
    return _without(name, tuple(vetoed.items()), *_stage_two(name))
