"""The order of the stages. Results that the run folder already contains are not computed again.

A stage is scored before its artefact is saved: it may be scored twice after a crash (harmless), never
skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import metrics
from engine.config import RunConfig
from engine.data.batches import CachedViews, DeviceImages, ImageBatches, ViewVectors
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.errors import RunError
from engine.events import Alarm, Emit, ReliableSelected, Scored, Stage, StageFinished, StageStarted, TruthScored
from engine.runs.feature_cache import CachedFeatures, cached_weights
from engine.runs.files import load_array
from engine.runs.folder import IMPORTED, INHERITED_FEATURES, NEW_RUN, WITHOUT_ADAPTER, RunFolder
from engine.runs.history import save_frame, save_xray
from engine.runs.safeguards import alarms
from engine.runs.safeguards.mending import fits, mend, truth_of
from engine.space.kmeans import kmeans_labels
from engine.space.neighbors import Neighbors, nearest
from engine.stages.clustering import Clustering
from engine.stages.compute import use_device
from engine.stages.decided_labels import FixedLabels
from engine.stages.encoder import Adapter, Encoder, Heads
from engine.stages.encoder_file import network_of
from engine.stages.features import Features, adapter_features, build_encoder, learn_features, take_features
from engine.stages.frames import Frame, Xray, condensed
from engine.stages.frozen_features import compute_features
from engine.stages.heads import HeadClustering, learn_heads
from engine.stages.joint import learn_jointly
from engine.stages.reliable import ReliableSet, neighbor_count, select_reliable

# Neighbours kept for pages, whatever the reliable set asks: the map and its what-ifs need some.
LEAST_KEPT = 30


@dataclass(frozen=True)
class Run:
    """The state shared by the steps below; `fixed` are the decisions of the parent run's reviewers."""

    folder: RunFolder
    config: RunConfig
    images: ImageSet
    truth: Truth | None
    fixed: FixedLabels
    pixels: DeviceImages
    emit: Emit
    stop: Callable[[], bool]

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    def keep(self, frame: Frame) -> None:
        """Stores a frame with the run, for the replay."""
        save_frame(self.folder, frame)

    def keep_xray(self, xray: Xray) -> None:
        """Stores with the run what stage 3 sees of a few images."""
        save_xray(self.folder, xray)


def train(folder: RunFolder, *, device: torch.device, emit: Emit, stop: Callable[[], bool]) -> None:
    """Runs the three stages of the run in `folder`, resuming where it stopped.

    Ground truth goes to the scores alone: `Run.truth` is not passed to any stage.

    Raises:
        Stopped: when `stop()` said so.
        SpiceError: when training cannot continue.
    """
    use_device(device)
    mend(folder, emit)
    images = folder.images()
    pixels = DeviceImages(images, device, folder.extra())
    run = Run(folder, folder.config(), images, truth_of(folder), folder.fixed(), pixels, emit, stop)
    if folder.lacks_adapter:
        if folder.has("heads"):
            _end_without_adapter(run)
            return
        _forget_stage_1(run)
    features = _imported(run) if folder.has(IMPORTED) else _features(run)
    batches = batches_of(features, pixels)
    if batches is not pixels or not run.config.joint.extra:
        pixels.leave_extra()
    neighbors = _neighbors(run, features)
    heads = _heads(run, batches, features, neighbors)
    reliable = _reliable(run, "heads", heads.clustering, neighbors)
    joint = _joint(run, batches, features, heads, reliable)
    _reliable(run, "joint", joint, neighbors)


def _imported(run: Run) -> Features:
    """What an adapter makes of external vectors in place of stage 1's features, clustered and scored as usual."""
    if not run.folder.has("features"):
        vectors = np.asarray(run.folder.load(IMPORTED)["vectors"])
        features = take_features(run.config, vectors, run.device, emit=run.emit, keep=run.keep)
        file = run.folder.path / IMPORTED / "vectors.npy"
        _save_features(run, features, features.encoder.state_dict(), {"clean": file})
    return load_features(run.folder, run.pixels)


def _end_without_adapter(run: Run) -> None:
    """Ends a run whose stage 2 is an earlier version's: people may have decided about its labels already."""
    arrays = run.folder.load("neighbors")
    clustering = Clustering(np.asarray(run.folder.load("heads")["probabilities"]))
    _reliable(run, "heads", clustering, Neighbors(arrays["ids"], arrays["similarity"]))
    run.emit(Alarm("joint", f"this run has no stage 3: {WITHOUT_ADAPTER}", NEW_RUN))


def _forget_stage_1(run: Run) -> None:
    """Stage 1 on external vectors takes a moment: where an earlier version did it, it is done again."""
    run.folder.checkpoint("heads").remove()
    for artefact in ("neighbors", "frames", "maps", "features"):
        run.folder.remove(artefact)


def _features(run: Run) -> Features:
    checkpoint = run.folder.checkpoint("features")
    if run.folder.has("features"):
        features = load_features(run.folder, run.pixels)
    elif run.folder.has(INHERITED_FEATURES):
        place = run.folder.path / INHERITED_FEATURES
        features = load_features(run.folder, run.pixels, INHERITED_FEATURES)
        _save_features(run, features, place / "weights.pt", {file.stem: file for file in place.glob("*.npy")})
    elif run.config.frozen:
        return _frozen(run)
    else:
        encoder = encoder_of(run.folder, run.pixels)
        features = learn_features(
            run.config, run.pixels, encoder, emit=run.emit, stop=run.stop, checkpoint=checkpoint, keep=run.keep
        )
        _save_features(run, features, encoder.state_dict())
    checkpoint.remove()
    run.folder.remove(INHERITED_FEATURES)
    return features


def _save_features(
    run: Run, features: Features, weights: dict[str, Any] | Path | None, files: dict[str, Path] | None = None
) -> None:
    """Clusters and scores stage 1's features, and saves them; arrays that are in `files` already are linked."""
    labels = kmeans_labels(features.vectors, run.config.clusters, run.config.seed, run.device)
    _score(run, "features", labels, features.vectors)
    alarms.of_sizes(run.config, labels, run.emit)
    arrays = {"labels": labels, "vectors": features.vectors}
    linked = files or {}
    own = {k: v for k, v in arrays.items() if k not in linked}
    run.folder.save("features", own, weights, linked, of=("images", IMPORTED))


def _frozen(run: Run) -> Features:
    """The features of a frozen network: computed once for these images, whichever runs ask for them."""
    encoder = encoder_of(run.folder, run.pixels)
    checksum, weights = cached_weights(encoder.state_dict())
    cached = _place_of(run, encoder, checksum)
    with cached.locked(run.stop):
        if trouble := cached.mend():
            run.emit(Alarm("features", f"{trouble} in the cache", "it was moved aside, and is computed again"))
        if cached.whole:
            run.emit(StageStarted("features", 0))
            run.emit(StageFinished("features", 0.0))
        else:
            _compute(run, encoder, cached)
        files = cached.files
        if run.config.keeps_views:
            files["clean"] = files.pop("vectors")
            views = CachedViews.of({name: load_array(file) for name, file in files.items()})
            features = adapter_features(run.config, views, run.device)
            _save_features(run, features, features.encoder.state_dict(), files)
            features = load_features(run.folder, run.pixels)  # of its own files: the cache may be deleted
        else:
            features = Features(encoder.eval(), np.asarray(load_array(files["vectors"])))
            _save_features(run, features, weights, files)
    run.keep(Frame("features", 0, condensed(torch.from_numpy(features.vectors))))
    return features


def _place_of(run: Run, encoder: Encoder, checksum: str) -> CachedFeatures:
    """The place of this run's features: what they depend on."""
    settings, views = run.config.features, run.config.views
    network, side = network_of(settings.source)
    about: dict[str, Any] = {
        "images": run.folder.card().fingerprint,
        "weights": checksum,
        "network": {name: value for name, value in network.items() if name != "origin"},
        "side": side,
        "device": run.device.type,
        "narrow": encoder.narrow,
    }
    if run.config.keeps_views:
        about |= {
            "weak": [settings.weak_views, asdict(views.weak)],
            "strong": [settings.strong_views, asdict(views.strong)],
            "seed": settings.view_seed,
        }
    return CachedFeatures(about)


def _compute(run: Run, encoder: Encoder, cached: CachedFeatures) -> None:
    settings = run.config.features
    shape = (len(run.images), encoder.features, settings.weak_views, settings.strong_views)
    with cached.draft(*shape) as (clean, weak, strong):
        compute_features(
            run.config,
            run.pixels,
            encoder,
            clean,
            weak,
            strong,
            emit=run.emit,
            stop=run.stop,
            checkpoint=cached.checkpoint,
        )


def encoder_of(folder: RunFolder, pixels: DeviceImages) -> Encoder:
    """The encoder that stage 1 of the run begins with, on the device of `pixels`."""
    images = folder.images()
    return build_encoder(folder.config(), pixels, channels=images.channels, side=min(images.size))


def load_features(folder: RunFolder, pixels: DeviceImages, artefact: str = "features") -> Features:
    """Stage 1's result, with what makes the features on the device of `pixels`.

    Raises:
        RunError: before stage 1 is done, or when an earlier version did it on external vectors.
    """
    if not folder.has(artefact):
        raise RunError(f"{folder.path} has no features yet: train until stage 1 is done")
    if folder.lacks_adapter:
        raise RunError(f"{folder.path} cannot be trained on ({WITHOUT_ADAPTER}): {NEW_RUN}")
    arrays = folder.load(artefact)
    vectors = np.asarray(arrays["vectors"])
    if "clean" in arrays or folder.has(IMPORTED):
        adapter = Adapter.of(folder.weights(artefact)).to(pixels.device)
        return Features(adapter, vectors, CachedViews.of(arrays))
    encoder = encoder_of(folder, pixels)
    encoder.load_state_dict(folder.weights(artefact))
    return Features(encoder.eval(), vectors)


def batches_of(features: Features, pixels: DeviceImages) -> ImageBatches:
    """What stages 2 and 3 train on: the pixels, a frozen network's features of the images and their views, or external
    vectors."""
    return pixels if features.views is None else ViewVectors(features.views, pixels.device)


def _neighbors(run: Run, features: Features) -> Neighbors:
    asked = neighbor_count(run.config.reliable, len(run.images), run.config.clusters)
    if fits(run.folder, "neighbors", run.emit):
        arrays = run.folder.load("neighbors")
        # Those of a parent run may be fewer: with fewer clusters more are asked.
        if arrays["ids"].shape[1] >= asked:
            return Neighbors(arrays["ids"], arrays["similarity"])
    neighbors = nearest(features.vectors, max(asked, LEAST_KEPT), device=run.device)
    arrays = {"ids": neighbors.ids, "similarity": neighbors.similarity}
    run.folder.save("neighbors", arrays, of=("features",))
    return neighbors


def _heads(run: Run, batches: ImageBatches, features: Features, neighbors: Neighbors) -> HeadClustering:
    checkpoint = run.folder.checkpoint("heads")
    if fits(run.folder, "heads", run.emit):
        checkpoint.remove()
        return _load_heads(run, features)
    decided = run.folder.load("decided") if run.folder.has("decided") else {}
    found = learn_heads(
        run.config,
        batches,
        features,
        emit=run.emit,
        stop=run.stop,
        checkpoint=checkpoint,
        keep=run.keep,
        fixed=run.fixed,
        belief=decided.get("belief"),
        neighbors=neighbors,
    )
    extra = {"pseudo_label_loss": float(found.losses[found.chosen])}
    if found.agreement is not None:
        extra["head_agreement"] = float(found.agreement.mean())
    _score(run, "heads", found.clustering.labels, features.vectors, extra, found.head_labels)
    alarms.of_clusters("heads", found.clustering, run.emit)
    arrays = {
        "probabilities": found.clustering.probabilities,
        "chosen": np.array(found.chosen),
        "losses": found.losses,
        "head_labels": found.head_labels,
        "prototypes": found.prototypes,
        "confident": found.confident,
        "nearest": found.nearest,
    }
    if found.claimed is not None:
        arrays["claimed"] = found.claimed
    run.folder.save("heads", arrays, found.head.state_dict(), of=("features", "decided"))
    checkpoint.remove()
    return found


def _load_heads(run: Run, features: Features) -> HeadClustering:
    arrays = run.folder.load("heads")
    head = Heads(1, features.vectors.shape[1], run.config.clusters).to(run.device)
    head.load_state_dict(run.folder.weights("heads"))
    return HeadClustering(
        clustering=Clustering(np.asarray(arrays.pop("probabilities"))),
        head=head,
        chosen=int(arrays.pop("chosen")),
        **arrays,
    )


def _reliable(run: Run, stage: Stage, clustering: Clustering, neighbors: Neighbors) -> ReliableSet:
    found = select_reliable(clustering, neighbors, run.config.reliable, run.fixed)
    artefact = f"reliable-{stage}"
    if fits(run.folder, artefact, run.emit):
        return found
    _tell_reliable(run, stage, found)
    arrays = {
        "labels": found.labels,
        "confidence": found.confidence,
        "agreement": found.agreement,
        "verdicts": found.verdicts,
        "thresholds": found.thresholds,
    }
    run.folder.save(artefact, arrays, of=(stage, "neighbors", "decided"))
    return found


def _tell_reliable(run: Run, stage: Stage, found: ReliableSet) -> None:
    settings, strict = run.config.reliable, found.strict(run.config.reliable, run.folder.seen())
    truth = None if run.truth is None else run.truth.labels
    run.emit(
        ReliableSelected(
            stage,
            per_cluster=tuple(found.per_cluster.tolist()),
            sizes=tuple(found.sizes.tolist()),
            thresholds=tuple(float(x) for x in found.thresholds),
            neighbors=neighbor_count(settings, len(run.images), run.config.clusters),
            confidence=settings.confidence,
            purity=metrics.purity_within(found.labels, found.mask, truth),
            reliable=tuple(strict.per_cluster.tolist()),
            reliable_purity=metrics.purity_within(strict.labels, strict.mask, truth),
        )
    )
    alarms.of_reliable(run.config.reliable, stage, found, strict, run.emit)


def _joint(
    run: Run, batches: ImageBatches, features: Features, heads: HeadClustering, reliable: ReliableSet
) -> Clustering:
    checkpoint = run.folder.checkpoint("joint")
    if fits(run.folder, "joint", run.emit):
        checkpoint.remove()
        return Clustering(np.asarray(run.folder.load("joint")["probabilities"]))
    found = learn_jointly(
        run.config,
        batches,
        features,
        heads,
        reliable,
        emit=run.emit,
        stop=run.stop,
        checkpoint=checkpoint,
        keep=run.keep,
        keep_xray=run.keep_xray,
        fixed=run.fixed,
    )
    _score(run, "joint", found.clustering.labels, features.vectors)
    alarms.of_clusters("joint", found.clustering, run.emit)
    arrays = {"probabilities": found.clustering.probabilities}
    run.folder.save("joint", arrays, found.model.state_dict(), of=("features", "heads", "decided"))
    checkpoint.remove()
    return found.clustering


def _score(
    run: Run,
    stage: Stage,
    labels: np.ndarray,
    vectors: np.ndarray,
    extra: dict[str, float] | None = None,
    head_labels: np.ndarray | None = None,
) -> None:
    """Emits the label-free scores and, where there is truth, those against it."""
    sizes = np.bincount(labels, minlength=run.config.clusters)
    scores = {**(extra or {}), "size_entropy": metrics.size_entropy(sizes)}
    silhouette = metrics.silhouette(vectors, labels, run.config.seed)
    if silhouette is not None:
        scores["silhouette"] = silhouette
    run.emit(Scored(stage, scores))
    if run.truth is None:
        return
    truth = metrics.truth_scores(labels, run.truth.labels)
    if head_labels is not None:
        oracle = max(metrics.accuracy(each, run.truth.labels) for each in head_labels)
        truth["selection_regret"] = oracle - truth["acc"]
    run.emit(TruthScored(stage, truth))
