"""`Trials`: the failure examples: short trainings that go wrong, which a lesson shows.

They train with the stages' own functions on the run's images, at most 2,000 of them, and are kept in the
run's folder; the run itself is not modified. A trial that did not go wrong on these images is kept too, so
that it is not repeated, but is not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import metrics
from engine.config import with_settings
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.runs.folder import IMPORTED, RunFolder
from engine.space.projection import aligned, principal_map
from engine.space.vectors import units

if TYPE_CHECKING:
    from engine.stages.heads import HeadClustering

FOLDER = "trials"
# Images of a trial: as many as these pixels hold, within limits.
PIXELS, LEAST_IMAGES, MOST_IMAGES = 2**19, 512, 2_000
TEMPERATURES = (0.1, 0.5, 2.0)
EPOCHS = 15
BATCH = 256
# Features count as collapsed if their spread is below this share of the run's own.
COLLAPSED = 1 / 4
# A poor head learns too fast, alone and from a random start; a few rounds tell.
RECKLESS = {
    "heads.start": "random",
    "heads.heads": 1,
    "heads.exclusive": False,
    "heads.choose": "loss",
    "heads.learning_rate": 0.1,
}
ROUNDS = 5
# One cluster is cut to the tenth part.
CUT = 10


@dataclass(frozen=True, eq=False)
class Collapse:
    """Stage 1 that only pulls views together.

    Attributes:
        ids: (m,) int64, the images that it was trained on.
        points: (m, 2) float32, `drawn_in` the features at its end.
        spread: (3,) float32, `spread_of` the features before and after, and of the run's own.
    """

    ids: np.ndarray
    points: np.ndarray
    spread: np.ndarray

    @property
    def wrong(self) -> bool:
        return bool(self.spread[1] < COLLAPSED * self.spread[2])


@dataclass(frozen=True, eq=False)
class Temperatures:
    """Stage 1 by SimCLR at T temperatures, each as briefly.

    Attributes:
        ids: (m,) int64, the images.
        values: (T,) float64.
        points: (T, m, 2) float32, `drawn_in` the features, turned to lie alike.
        spread: (T,) float32.
        silhouette: (T,) float32, of k-means on the features; NaN where there is none.
        labels: (T, m) int32, those k-means.
    """

    ids: np.ndarray
    values: np.ndarray
    points: np.ndarray
    spread: np.ndarray
    silhouette: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class PoorHead:
    """Stage 2 with one head that starts at random and learns too fast, `RECKLESS`, for a few rounds.

    Attributes:
        ids: (m,) int64, the images.
        labels: (m,) int64.
        sizes: (K,) int64.
        usual: (K,) int64, sizes that the run's own stage 2 gives these images.
    """

    ids: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    usual: np.ndarray

    @property
    def wrong(self) -> bool:
        """More clusters without any image than in the run itself."""
        return bool((self.sizes == 0).sum() > (self.usual == 0).sum())


@dataclass(frozen=True, eq=False)
class Unbalanced:
    """Stage 2 on the images of a run after one cluster was cut to a tenth.

    Attributes:
        ids: (m,) int64, the images that were left.
        cut: (3,) int64: the cluster, its images before, and after.
        nearest: (K, c) int64, what each prototype of the trial claims, as the run's image numbers.
        cluster: () int64, the trial's cluster that holds most of the cut cluster's images.
        strangers: (2,) int64: labels that this cluster's prototype gave, and those of them that went to
            images of the run's other clusters.
        sizes: (K,) int64, images of each cluster at the end.
    """

    ids: np.ndarray
    cut: np.ndarray
    nearest: np.ndarray
    cluster: np.ndarray
    strangers: np.ndarray
    sizes: np.ndarray

    @property
    def wrong(self) -> bool:
        """More than half of the labels go to strangers."""
        return bool(2 * self.strangers[1] > self.strangers[0])


@dataclass(frozen=True)
class Trials:
    """The failure examples of a run; None for those that were not trained."""

    collapse: Collapse | None = None
    temperatures: Temperatures | None = None
    head: PoorHead | None = None
    unbalanced: Unbalanced | None = None


_KINDS: dict[str, Any] = {
    "collapse": Collapse,
    "temperatures": Temperatures,
    "head": PoorHead,
    "unbalanced": Unbalanced,
}


def load_trials(folder: RunFolder) -> Trials:
    """The trials that were made so far."""
    there = {name: folder.load(f"{FOLDER}/{name}") for name in _KINDS if folder.has(f"{FOLDER}/{name}")}
    return Trials(**{name: _KINDS[name](**arrays) for name, arrays in there.items()})


def missing(folder: RunFolder) -> list[str]:
    """The trials that can be made now and are not there, in the order in which they are made."""
    card = folder.card()
    # A cluster shall have a tenth part, and there shall be as many images as clusters after the cut.
    enough = card.images >= CUT * card.config.clusters
    # Stage 1 goes wrong only where views train a network.
    learned = folder.has("features") and not folder.has(IMPORTED) and not card.config.frozen
    able = {
        "collapse": learned,
        "temperatures": learned,
        "head": folder.has("heads") and not folder.lacks_adapter,
        "unbalanced": folder.has("heads") and not folder.lacks_adapter and enough,
    }
    return [name for name, can in able.items() if can and not folder.has(f"{FOLDER}/{name}")]


def make_trials(
    folder: RunFolder,
    *,
    progress: Callable[[str, float], None] = lambda _trial, _done: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains the missing failure examples, and saves each as soon as it is done.

    Args:
        progress: called with the trial that starts, and the share of trials done.
        stop: called between steps; if true, the current trial is abandoned.

    Raises:
        Stopped: if `stop()` is true.
        RunError: before stage 1 is done.
        SpiceError: when a trial cannot be trained.
    """
    if not folder.has("features"):
        raise RunError(f"{folder.path} has no features yet: train until stage 1 is done")
    bench, todo = _Bench(folder, stop), missing(folder)
    for place, name in enumerate(todo):
        progress(name, place / len(todo))
        found = getattr(bench, name)()
        folder.save(f"{FOLDER}/{name}", {one.name: getattr(found, one.name) for one in fields(found)})
    progress("", 1.0)


def spread_of(vectors: np.ndarray) -> float:
    """Mean cosine distance of all pairs of vectors (m, D): 0 where all point the same way, about 1 for
    directions without order."""
    return spread_of_unit(units(vectors))


def spread_of_unit(unit: np.ndarray) -> float:
    """`spread_of` vectors of length 1, or of their leading directions, as frames keep them: what the
    others would add to the mean is next to nothing."""
    return float(1 - np.square(unit.mean(0, dtype=np.float64)).sum())


def drawn_in(vectors: np.ndarray) -> np.ndarray:
    """(m, 2) float32: principal components of vectors (m, D) scaled to length 1, so that features that
    are nearly the same lie nearly in one place."""
    return principal_map(units(vectors))


class _Bench:
    """Trains trials on a sample of a run's images."""

    def __init__(self, folder: RunFolder, stop: Callable[[], bool]) -> None:
        self.folder, self.stop, self.config = folder, stop, folder.config()
        images = folder.images()
        height, width = images.size
        most = min(MOST_IMAGES, max(LEAST_IMAGES, PIXELS // (height * width)))
        chance = np.random.default_rng(self.config.seed)
        every = np.arange(len(images))
        self.ids = every if len(images) <= most else np.sort(chance.permutation(every)[:most])

    # -- stage 1 -------------------------------------------------------------------------------

    def collapse(self) -> Collapse:
        before, after = self._features("attract", self.config.features.temperature)
        own = np.asarray(self.folder.load("features")["vectors"])[self.ids]
        spread = [spread_of(each) for each in (before, after, own)]
        return Collapse(self.ids, drawn_in(after), np.array(spread, np.float32))

    def temperatures(self) -> Temperatures:
        from engine.space.kmeans import kmeans_labels

        seed, numbers, labels = self.config.seed, [], []
        points: list[np.ndarray] = []
        for value in TEMPERATURES:
            vectors = self._features("simclr", value)[1]
            here = drawn_in(vectors)
            points.append(aligned(here, points[0]) if points else here)
            labels.append(kmeans_labels(vectors, self.config.clusters, seed))
            silhouette = metrics.silhouette(vectors, labels[-1], seed)
            numbers.append((spread_of(vectors), np.nan if silhouette is None else silhouette))
        spread, silhouettes = np.array(numbers, np.float32).T
        return Temperatures(self.ids, np.array(TEMPERATURES), np.stack(points), spread, silhouettes, np.stack(labels))

    def _features(self, objective: str, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Features (m, D) before and after a short stage 1 of a small network."""
        from engine.stages.features import build_encoder, encode, learn_features

        config = with_settings(
            self.config,
            {
                "features.source": "scratch",
                "features.objective": objective,
                "features.temperature": temperature,
                "features.epochs": EPOCHS,
                "features.batch": min(BATCH, max(2, len(self.ids) // 4)),
                "features.learning_rate": 0.4,
                "features.warmup": 0.1,
                "features.projection": 64,
                "features.hidden": None,
                "features.coarse": 0,
                "encoder.backbone": "small",
                "encoder.width": 16,
                "compute.precision": "float32",
                "compute.compile": False,
            },
        )
        pixels, images = self._pixels(self.ids), self.folder.images()
        encoder = build_encoder(config, pixels, channels=images.channels, side=min(images.size))
        before = encode(encoder.eval(), pixels).cpu().numpy()
        after = learn_features(config, pixels, encoder, emit=_unheard, stop=self.stop, checkpoint=Nowhere())
        return before, after.vectors

    # -- stage 2 -------------------------------------------------------------------------------

    def head(self) -> PoorHead:
        found = self._heads(self.ids, RECKLESS).clustering
        own = np.asarray(self.folder.load("heads")["probabilities"]).argmax(1)[self.ids]
        usual = np.bincount(own, minlength=self.config.clusters)
        return PoorHead(self.ids, found.labels, found.sizes, usual)

    def unbalanced(self) -> Unbalanced:
        own = np.asarray(self.folder.load("heads")["probabilities"]).argmax(1)
        labels, clusters = own[self.ids], self.config.clusters
        sizes = np.bincount(labels, minlength=clusters)
        cluster = int(sizes.argmax())
        few = max(1, int(sizes[cluster]) // CUT)
        leaves = np.flatnonzero(labels == cluster)[few:]
        ids = np.delete(self.ids, leaves)
        found = self._heads(ids, {"heads.exclusive": False, "heads.sizes": "equal"})
        held = found.clustering.labels[own[ids] == cluster]
        home = int(np.bincount(held, minlength=clusters).argmax())
        claimed = ids[found.nearest]
        strangers = int((own[claimed[home]] != cluster).sum())
        return Unbalanced(
            ids,
            np.array([cluster, sizes[cluster], few]),
            claimed,
            np.array(home),
            np.array([claimed.shape[1], strangers]),
            found.clustering.sizes,
        )

    def _heads(self, ids: np.ndarray, changes: dict[str, Any]) -> HeadClustering:
        """A short stage 2 on images `ids` (m,) of the run, with its own features."""
        from engine.runs.pipeline import batches_of, load_features
        from engine.stages.heads import learn_heads

        config = with_settings(self.config, {"heads.epochs": ROUNDS, **changes})
        pixels = self._pixels(ids)
        features = load_features(self.folder, pixels).of(ids)
        return learn_heads(
            config, batches_of(features, pixels), features, emit=_unheard, stop=self.stop, checkpoint=Nowhere()
        )

    def _pixels(self, ids: np.ndarray) -> Any:
        import torch

        from engine.data.batches import DeviceImages

        images = self.folder.images()
        names = tuple(images.ids[one] for one in ids)
        return DeviceImages(ImageSet(images.pixels[ids], names, images.source), torch.device("cpu"))


class Nowhere:
    """A checkpoint that keeps nothing."""

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        del state


def _unheard(_event: object) -> None:
    """Discards the events of a trial."""
