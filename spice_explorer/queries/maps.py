"""Maps of a run's features and frames, and what they can be coloured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.data.columns import columns_of, read_table
from engine.errors import RunError
from engine.runs.history import frame_steps_of
from engine.runs.maps import load_map, preview, preview_at, request_map
from engine.runs.safeguards.damage import is_whole
from engine.space.projection import MapSettings
from spice_explorer.present import maps as present
from spice_explorer.present.maps import Box
from spice_explorer.queries import artefacts
from spice_explorer.queries.cache import cached

if TYPE_CHECKING:
    from engine.data.columns import ImageColumn
    from engine.runs.folder import RunFolder
    from engine.runs.maps import MapJob, Moment


def moments(run: RunFolder) -> list[Moment]:
    """Stage and step of every frame that the run has left so far, oldest first."""
    return frame_steps_of(run)


def map_job(run: RunFolder, settings: MapSettings, *, frames: bool, again: bool = False) -> MapJob:
    """The progress of the run's UMAP; the first call starts it."""
    return request_map(run, settings, frames=frames, again=again)


def drawn(run: RunFolder) -> np.ndarray | None:
    """(n,) ids of the images that the map draws, where these are a sample; None for all."""
    count = run.card().images
    if count <= present.MOST_POINTS:
        return None
    labels = artefacts.stage_one_labels(run) if run.has("features") else np.zeros(count, np.uint8)
    return present.sample(labels)


def places(run: RunFolder, layout: str, moment: Moment | None) -> np.ndarray:
    """(N, 2) uint16 places on the map `layout` ("pca", or UMAP's settings as "15-0.1"), of the run's
    features or of a frame; raises RunError when that map is not there."""
    points, box = _points(run, layout, moment), _box(run, layout)
    return present.squared(points, box).astype("<u2")


def _points(run: RunFolder, layout: str, moment: Moment | None) -> np.ndarray:
    if layout == "pca":
        newest = _preview(run)
        return newest if moment is None else preview_at(run, moment, newest)
    found = load_map(run, map_settings(layout), moment)
    if found is None:
        raise RunError(f"{run.name} has no map {layout} yet")
    return found


def _features_so_far(run: RunFolder, *_asked: object) -> float | int | None:
    """What tells the newest features from older ones: their time, or the frames before there is one."""
    return run.modified("features") or len(frame_steps_of(run))


@cached(_features_so_far)
def _preview(run: RunFolder) -> np.ndarray:
    return preview(run)


def map_settings(layout: str) -> MapSettings:
    neighbors, _, distance = layout.partition("-")
    return MapSettings(int(neighbors), float(distance))


@cached(_features_so_far, entries=32)
def _box(run: RunFolder, layout: str) -> Box:
    """The square of the newest features' map: a replay keeps to it."""
    return Box.of(_points(run, layout, None))


@cached("columns")
def imported(run: RunFolder) -> list[ImageColumn]:
    """The user's columns for the run's images; none where they are damaged, which pages say by `left_out`."""
    return run.columns() if is_whole(run, "columns") else []


def import_columns(run: RunFolder, content: bytes, file: str) -> list[ImageColumn]:
    """Keeps the columns of a CSV or Parquet file with the run; raises SourceError."""
    ids = artefacts.images(run).ids
    found = columns_of(read_table(content, file, ids), ids)
    run.save_columns(found)
    return found


def labels_at(run: RunFolder, moment: Moment) -> np.ndarray:
    """(N,) uint16: the labels of the chosen head, or of stage 3, at a frame; raises ValueError if missing."""
    found = artefacts.history(run)
    row = list(zip(found.stages, found.steps, strict=True)).index(moment)
    return found.labels[row]
