"""Two-dimensional maps of the features: a quick one by principal components, and UMAP; a layout for k-means."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine import npy
from engine.errors import SettingError, TrainingError
from engine.leftovers import holding
from engine.space.neighbors import Neighbors
from engine.space.vectors import units

# Images from which the preview learns its directions.
SAMPLE = 2_500
MOST_NEIGHBORS = 1_000
# A map that starts from a similar one needs fewer epochs than one from scratch.
WARM_EPOCHS = {10_000: 100, 10**12: 50}
# A layout for k-means: neighbours asked, and its directions.
NEIGHBORHOOD, DIRECTIONS = 15, 20


@dataclass(frozen=True)
class MapSettings:
    """UMAP's settings: its `n_neighbors` (including the image itself) and `min_dist`; raises SettingError."""

    neighbors: int = 15
    min_dist: float = 0.1

    def __post_init__(self) -> None:
        if not 2 <= self.neighbors <= MOST_NEIGHBORS:
            raise SettingError(f"neighbors is {self.neighbors}: allowed from 2 to {MOST_NEIGHBORS}")
        if not 0 <= self.min_dist <= 1:
            raise SettingError(f"min-dist is {self.min_dist:g}: allowed from 0 to 1")


def principal_map(features: np.ndarray) -> np.ndarray:
    """(N, 2) float32: features (N, D) along the two directions in which they differ most.

    The directions are those of an even sample of the images: this is a preview, and must not let
    anyone wait.
    """
    from scipy.linalg import eigh

    wide = features if features.shape[1] >= 2 else np.pad(features, ((0, 0), (0, 1)))
    sample = np.asarray(wide[:: max(1, len(wide) // SAMPLE)], np.float64)
    middle = sample.mean(0)
    size = wide.shape[1]
    spread = (sample - middle).T @ (sample - middle)
    directions = eigh(spread, subset_by_index=(size - 2, size - 1))[1][:, ::-1]
    # An eigenvector's sign is chance: its largest entry is made positive.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0)
    directions = (directions * np.sign(largest)).astype(np.float32)
    return np.asarray(wide, np.float32) @ directions - (middle @ directions).astype(np.float32)


def umap_map(
    features: np.ndarray,
    neighbors: Neighbors,
    settings: MapSettings,
    *,
    seed: int,
    start: np.ndarray | None = None,
    progress: Callable[[float], None] = lambda _done: None,
) -> np.ndarray:
    """(N, 2) float32: UMAP of features (N, D), from neighbours found before.

    UMAP wants every image as its own first neighbour, and cosine distances (1 − similarity). Its
    compiled loops hold Python's lock and bear no second UMAP beside them, so it belongs in a process
    of its own (`python -m engine map`).

    Args:
        start: (N, 2) places to begin from, those of a map that is nearly right; by default the
            principal components.
        progress: called with the share of epochs done.
    """
    k = min(settings.neighbors - 1, neighbors.ids.shape[1])
    own = np.arange(len(features))[:, None]
    ids = np.hstack([own, neighbors.ids[:, :k]]).astype(np.int64)
    distance = np.hstack([np.zeros_like(own), 1 - neighbors.similarity[:, :k]])
    warm = next(epochs for most, epochs in WARM_EPOCHS.items() if len(features) <= most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap speaks of its seed and its own search index
        import umap

        reducer = umap.UMAP(
            n_neighbors=k + 1,
            min_dist=settings.min_dist,
            metric="cosine",
            init="pca" if start is None else start,
            n_epochs=None if start is None else warm,
            precomputed_knn=(ids, distance.clip(0).astype(np.float32), None),
            random_state=seed,
            n_jobs=1,
            tqdm_kwds={"disable": False, "file": _Bar(progress), "bar_format": "{n} {total}"},
        )
        return np.asarray(reducer.fit_transform(features), np.float32)


def neighborhoods(vectors: np.ndarray, seed: int) -> np.ndarray:
    """(N, d) float32, d ≤ 20: features (N, D) of any length laid out by who is near whom (UMAP), for k-means.

    A network that was trained on other images puts images of one class in the same neighbourhood more often than
    in the same direction. Neighbours are found by the cosine of the network's own features: those of an adapter,
    centred, cost four points of accuracy on two sets of photographs. Few images have no neighbourhoods: of them
    the unit vectors are returned.

    UMAP runs in a process of its own, for the reason given at `umap_map`.

    Raises:
        TrainingError: when that process fails.
    """
    unit = units(vectors)
    if len(unit) <= 2 * NEIGHBORHOOD:
        return unit
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="spice-layout-") as place, holding(Path(place)):
        with (Path(place) / "unit.npy").open("wb") as file:
            npy.save(file, unit)
        del unit  # it may be large, and that process has it mapped
        command = [sys.executable, "-c", "from engine.space.projection import lay_out; lay_out()", place, str(seed)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise TrainingError(f"the layout of neighbourhoods failed ({last}): choose heads.start=kmeans")
        return np.array(npy.mapped(Path(place) / "layout.npy", "r"))


def lay_out() -> None:
    """What that process does: reads and writes arrays in the folder that it is given."""
    place, seed = Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    import umap

    unit = np.array(npy.mapped(place / "unit.npy", "r"))
    layout = umap.UMAP(
        n_components=min(DIRECTIONS, unit.shape[1]),
        n_neighbors=NEIGHBORHOOD,
        min_dist=0.0,
        metric="cosine",
        random_state=seed,
        n_jobs=1,
    )
    with (place / "layout.npy").open("wb") as file:
        npy.save(file, np.asarray(layout.fit_transform(unit), np.float32))


class _Bar(io.StringIO):
    """The file that UMAP's progress bar writes "done total" to."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        super().__init__()
        self._progress = progress

    def write(self, text: str) -> int:
        words = text.split()
        if len(words) == 2:
            self._progress(float(words[0]) / float(words[1]))
        return len(text)


def aligned(points: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(N, 2) float32: `points` turned, mirrored and shifted, not stretched, to lie as near to `like`
    as they can (orthogonal Procrustes)."""
    middle, aim = points.mean(0), like.mean(0)
    left, _, right = np.linalg.svd((points - middle).T.astype(np.float64) @ (like - aim))
    return ((points - middle) @ (left @ right) + aim).astype(np.float32)
