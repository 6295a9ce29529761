"""What do SPICE's stages 2 and 3 add on a frozen network, over plain clustering of its features?

The preset `photos` with a small ImageNet network, next to k-means, UMAP, TEMI and TURTLE on the same features. The
features of a set are computed once, by the engine, and shared by all seeds. Ground truth is used only to score, but
for one method that is given it as a ceiling, and says so.
"""

from __future__ import annotations

import shutil
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ablations import trained
from benchmarks.baselines.plain import umap_kmeans
from benchmarks.embedding_speed import embedding_speed
from benchmarks.lite_network import lite_source
from benchmarks.photo_sets import SETS, PhotoSet
from benchmarks.photos_methods import CLUSTERS, METHODS, Method, Vectors
from benchmarks.photos_report import line, report_body
from benchmarks.pieces import Options, Pieces, cache_in
from benchmarks.report import device_slug, write
from engine import metrics
from engine.config import RunConfig, override, with_settings
from engine.errors import SourceError, TrainingError
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import load_reliable, observe
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from engine.stages.encoder import Adapter, adapted
from engine.stages.loop import seeded

LONGEST = {"spice": 120.0, "method": 90.0}  # seconds; a piece that may take longer than is left is not begun
# For a run that only has the features computed.
BEGUN = {"heads.epochs": 1, "joint.steps": 1}


def measure(options: Options) -> None:
    """Writes results/photos-DEVICE, again after each set."""
    pieces = Pieces("photos", options)
    found: dict[str, Any] = {"seeds": options.seeds, "threads": torch.get_num_threads(), "sets": {}, "skipped": {}}
    # A cache of its own: the features are computed while it measures them.
    with cache_in(pieces.folder / "cache"):
        for photos in SETS:
            try:
                opened = photos.open(options)
            except SourceError as error:
                found["skipped"][photos.name] = str(error)
                print(f"{photos.name} is skipped: {error}", flush=True)
                continue
            found["sets"][photos.name] = measured(photos, opened, options, pieces)
            write("photos", "A frozen network", found, report_body(found), slug=device_slug(options.device))


def measured(photos: PhotoSet, opened: Opened, options: Options, pieces: Pieces) -> dict[str, Any]:
    """All figures of one set."""
    device = choose_device(options.device).device
    base = configured(photos, opened, options, pieces.folder, 0)
    folder = computed(pieces.folder / f"{photos.name}-features", opened, with_settings(base, BEGUN), options.device)
    vectors = vectors_of(folder, opened)
    found: dict[str, Any] = {"about": photos.about, "images": len(opened.images), "embedding": None}
    if photos.side is not None:
        found["embedding"] = {
            "seconds": observe(folder).stages["features"].seconds,
            "views": 1 + base.features.weak_views + base.features.strong_views,
            **pieces.get(f"{photos.name} embedding", lambda: embedding_speed(folder, device)),
        }
    found["spice"] = [
        pieces.get(
            f"{photos.name} spice {seed}",
            lambda s=seed: spice(pieces.folder, photos, opened, options, s),
            seconds=LONGEST["spice"],
        )
        for seed in range(options.seeds)
    ]
    found["methods"] = {
        method.title: [
            pieces.get(
                f"{photos.name} {method.title} {seed}",
                lambda m=method, s=seed: scored(photos.name, m, vectors, s),
                seconds=LONGEST["method"],
            )
            for seed in method.seeds(options.seeds, len(opened.images))
        ]
        for method in METHODS
    }
    return found


def configured(photos: PhotoSet, opened: Opened, options: Options, place: Path, seed: int) -> RunConfig:
    """The preset with the network, or with the pixels as external vectors; `place` keeps their files."""
    if photos.side is not None:
        changes: dict[str, Any] = {"features.source": lite_source(place, photos.side)}
    else:
        file = place / f"{photos.name}.npy"
        np.save(file, opened.images.pixels.reshape(len(opened.images), -1).astype(np.float32))
        changes = {"features.source": f"import:{file}", "features.weak_views": 0, "features.strong_views": 0}
    config = preset("photos", clusters=CLUSTERS, channels=opened.images.channels, seed=seed)
    return override(with_settings(config, changes), *options.assignments)


def computed(place: Path, opened: Opened, config: RunConfig, device: str) -> RunFolder:
    """A run in `place` that has its features; raises TrainingError."""
    folder = RunFolder(place)
    if not folder.exists:
        create_run(place, opened, config)
    if not folder.has("features"):
        with folder.lock():
            execute(folder, choose_device(device), Control())
    if not folder.has("features"):
        raise TrainingError(observe(folder).message)
    return folder


def vectors_of(folder: RunFolder, opened: Opened) -> Vectors:
    """The run's features, as the network gives them and as the heads begin with them."""
    assert opened.truth is not None
    arrays = {name: np.asarray(array) for name, array in folder.load("features").items()}
    if "clean" in arrays:
        return Vectors(arrays["clean"], arrays["vectors"], opened.truth.labels)
    vectors = arrays["vectors"]
    return Vectors(vectors, adapted(Adapter.on(vectors, seeded(0, "adapter weights")), vectors), opened.truth.labels)


def spice(place: Path, photos: PhotoSet, opened: Opened, options: Options, seed: int) -> dict[str, Any]:
    """Scores and seconds of the stages of one run, and its reliable sets."""
    assert opened.truth is not None
    path = place / f"{photos.name}-{seed}"
    said = trained(path, opened, configured(photos, opened, options, place, seed), options.device)
    found = {
        "truth": said["truth"],
        "seconds": {stage: said["seconds"][stage] for stage in ("stage2", "stage3")},
        "skipped": said.get("skipped", {}),
        "reliable": {},
    }
    for stage in ("heads", "joint"):
        if RunFolder(path).has(f"reliable-{stage}"):
            reliable = load_reliable(RunFolder(path), stage)
            mask = reliable.mask
            purity = metrics.purity_within(reliable.labels, mask, opened.truth.labels)
            found["reliable"][stage] = {"share": float(mask.mean()), "purity": purity}
    shutil.rmtree(path)
    for stage in ("stage1", "stage2", "stage3"):
        if stage in found["truth"]:
            line(photos.name, f"SPICE, {stage}", seed, found["truth"][stage], found["seconds"].get(stage))
    return found


def scored(name: str, method: Method, vectors: Vectors, seed: int) -> dict[str, float]:
    """Scores and seconds of one labelling."""
    _compiled()
    began = time.perf_counter()
    labels = method.labels(vectors, seed)
    seconds = time.perf_counter() - began
    found = {**metrics.truth_scores(labels, vectors.truth), "seconds": seconds, "found": len(np.unique(labels))}
    line(name, method.title, seed, found, seconds)
    return found


@cache
def _compiled() -> None:
    """UMAP is compiled at its first use, which is no part of what is measured."""
    umap_kmeans(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32), 2, 0)
