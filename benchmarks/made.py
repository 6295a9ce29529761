"""A made-up run of any size: it looks as if it had been trained, and takes seconds instead of hours.

Speed does not depend on whether a network was trained, so what is measured on such a run holds for a
real one of that size. Its accuracy means nothing: the truth was made together with the features.

    python -m benchmarks.made PATH [--images 60000] [--features 512] …
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from engine import metrics
from engine.config import RunConfig, with_settings
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.events import (
    Event,
    Progress,
    Record,
    ReliableSelected,
    RunFinished,
    RunStarted,
    Scored,
    Stage,
    StageFinished,
    StageStarted,
    TruthScored,
    to_json,
)
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.files import write_text
from engine.runs.folder import RunFolder
from engine.runs.history import save_frame
from engine.sources.open_source import Opened
from engine.space.neighbors import Neighbors
from engine.stages.clustering import Clustering
from engine.stages.frames import CONFIDENT, Frame, condensed, frame_steps
from engine.stages.prototypes import pseudo_label
from engine.stages.reliable import ReliableSet, neighbor_count, select_reliable

BLOCK = 8192  # images that are made at a time
HEADS, CHOSEN = 4, 2
STEPS: dict[Stage, int] = {"features": 4000, "heads": 30, "joint": 2000}
SECONDS: dict[Stage, float] = {"features": 900.0, "heads": 60.0, "joint": 420.0}
POINTS = 60  # of each stage's curve of losses
OUTLIERS, MISTAKES = 0.01, 0.02  # shares of the images that belong nowhere, of truth that is wrong
CELLS_ASKED = 4  # of about √N: neighbours need only be plausible


@dataclass(frozen=True, eq=False)
class _Kinds:
    """What each of N images is.

    Attributes:
        main, other: (N,) int64, its cluster and the one it is a little like.
        mix: (N,) float32, how much it is like the other: 0 to 0.5, small for most.
        outlier: (N,) bool, like none.
    """

    main: np.ndarray
    other: np.ndarray
    mix: np.ndarray
    outlier: np.ndarray


def made_run(
    path: str | os.PathLike[str],
    *,
    images: int = 60_000,
    clusters: int = 10,
    features: int = 512,
    neighbors: int = 100,
    size: int = 32,
    channels: int = 3,
    truth: bool = True,
    seed: int = 0,
    frames: bool = True,
) -> RunFolder:
    """A finished run of `images` images in `clusters` clusters at `path`, there whole or not at all.

    Args:
        path: a folder that does not exist yet.
        features: size D of the features.
        neighbors: kept and asked for each image.
        size, channels: of the images.
        truth: whether the run knows the true classes.
        frames: whether stages left frames, for replays.

    Raises:
        FileExistsError: when there is something at `path`.
        RunError: when the numbers do not fit together, or the disk is full.
    """
    target = Path(path).absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another folder")
    rng = np.random.default_rng(seed)
    config = _config(clusters, min(neighbors, images - 1), channels, seed)
    centres = F.normalize(torch.from_numpy(_normal(rng, clusters, features)), dim=1).numpy()
    kinds = _kinds(images, centres, rng)
    draft = _inputs(target, kinds, config, size, channels, truth, rng)
    try:
        _fill(draft, kinds, centres, config, frames, rng)
        draft.path.rename(target)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    return RunFolder(target)


def _fill(
    draft: RunFolder, kinds: _Kinds, centres: np.ndarray, config: RunConfig, frames: bool, rng: np.random.Generator
) -> None:
    """Everything that training would have left."""
    unit = _unit(kinds, centres, rng)
    lengths = rng.uniform(1, 3, (len(unit), 1)).astype(np.float32)
    stage_one = _stage_one(unit, centres, rng)
    draft.save("features", {"vectors": unit * lengths, "labels": stage_one})
    near = _neighbors(unit, config.reliable.neighbors or 1)
    draft.save("neighbors", {"ids": near.ids, "similarity": near.similarity})
    before, heads = _heads(unit, centres, config, rng)
    draft.save("heads", heads)
    after = _belief(unit, centres, 30.0, 0.5, rng)
    draft.save("joint", {"probabilities": after.probabilities})
    believed: dict[Stage, Clustering] = {"heads": before, "joint": after}
    judged = {stage: _judged(draft, stage, one, near, config) for stage, one in believed.items()}
    if frames:
        _save_frames(draft, unit, heads, believed, kinds.mix, rng)
    _tell(draft, unit, stage_one, heads["head_labels"], believed, judged)


def _config(clusters: int, neighbors: int, channels: int, seed: int) -> RunConfig:
    config = preset("fast", clusters=clusters, channels=channels, seed=seed)
    wanted = {
        "heads.heads": HEADS,
        "heads.images": max(config.heads.images, clusters),
        "heads.epochs": STEPS["heads"],
        "joint.steps": STEPS["joint"],
        "reliable.neighbors": neighbors,
    }
    return with_settings(config, wanted)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


# -- images ------------------------------------------------------------------------------------


def _kinds(images: int, centres: np.ndarray, rng: np.random.Generator) -> _Kinds:
    """Clusters of uneven size; each image leans towards one of the two that are most like its own."""
    clusters = len(centres)
    share = rng.uniform(0.7, 1.3, clusters)
    main = rng.choice(clusters, images, p=share / share.sum())
    alike = centres @ centres.T - 2 * np.eye(clusters, dtype=np.float32)
    rivals = np.argsort(-alike, axis=1)[:, : min(2, clusters - 1)]
    other = rivals[main, rng.integers(rivals.shape[1], size=images)]
    mix = (0.5 * rng.random(images, np.float32) ** 3).astype(np.float32)
    return _Kinds(main, other, mix, rng.random(images) < OUTLIERS)


def _inputs(
    target: Path, kinds: _Kinds, config: RunConfig, size: int, channels: int, truth: bool, rng: np.random.Generator
) -> RunFolder:
    """A new run folder beside `target`, hidden, with images and truth."""
    count, clusters = len(kinds.main), config.clusters
    pixels = _pixels(kinds, clusters, size, channels, rng)
    ids = tuple(f"image-{number:07d}.png" for number in range(count))
    found = None
    if truth:
        wrong = rng.random(count) < MISTAKES
        labels = np.where(wrong, rng.integers(clusters, size=count), kinds.main)
        found = Truth(labels, tuple(f"kind {number}" for number in range(clusters)))
    opened = Opened(ImageSet(pixels, ids, f"made:{count}"), found)
    return create_run(target.with_name(f".{target.name}-{os.getpid()}"), opened, config)


def _pixels(kinds: _Kinds, clusters: int, size: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(N, C, size, size) uint8: a shape in its kind's colour, somewhere on a slanting gradient."""
    out = np.empty((len(kinds.main), channels, size, size), np.uint8)
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    for rows in _blocks(len(out)):
        main, other, mix = kinds.main[rows], kinds.other[rows], kinds.mix[rows, None]
        centre = rng.uniform(-0.35, 0.35, (2, len(main), 1, 1)).astype(np.float32)
        across, down = grid[None, None, :] - centre[0], grid[None, :, None] - centre[1]
        inside = _shape(main % 5, across, down)[:, None]
        angle = (2 * np.pi * main / clusters).astype(np.float32)[:, None, None]
        slope = 0.5 + 0.25 * (np.cos(angle) * grid[None, None, :] + np.sin(angle) * grid[None, :, None])
        colours = ((1 - mix) * _colour(main) + mix * _colour(other))[:, :, None, None]
        picture = inside * colours + (1 - inside) * (0.55 * slope[:, None] * (1.3 - colours))
        picture = picture.mean(1, keepdims=True) if channels == 1 else picture
        picture[kinds.outlier[rows]] *= 0.3
        picture += 0.06 * _normal(rng, *picture.shape)
        out[rows] = (255 * picture).clip(0, 255)
    return out


def _shape(kind: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(M, size, size) float32, 1 inside of a disc, square, diamond, ring or cross."""
    x, y = np.broadcast_arrays(np.abs(across), np.abs(down))
    circle, most = np.hypot(x, y), np.maximum(x, y)
    shapes = (
        circle < 0.5,
        most < 0.42,
        x + y < 0.6,
        (circle > 0.3) & (circle < 0.55),
        (np.minimum(x, y) < 0.16) & (most < 0.55),
    )
    return np.choose(kind[:, None, None], shapes).astype(np.float32)


def _colour(kind: np.ndarray) -> np.ndarray:
    """(M, 3) float32 in 0–1: hues a golden angle apart."""
    hue = 2 * np.pi * (0.618 * kind[:, None] + np.arange(3) / 3)
    return (0.55 + 0.42 * np.cos(hue)).astype(np.float32)


# -- features ----------------------------------------------------------------------------------


def _unit(kinds: _Kinds, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, D) float32 of length 1: blobs with a few directions of their own, and bridges between."""
    clusters, size = centres.shape
    own = 0.45 * _normal(rng, clusters, 3, size) / np.sqrt(size)
    out = np.empty((len(kinds.main), size), np.float32)
    for rows in _blocks(len(out)):
        main, mix = kinds.main[rows], kinds.mix[rows, None]
        place = (1 - mix) * centres[main] + mix * centres[kinds.other[rows]]
        place[kinds.outlier[rows]] = 0
        place += np.einsum("md,mds->ms", _normal(rng, len(main), 3), own[main])
        place += 0.25 / np.sqrt(size) * _normal(rng, *place.shape)
        out[rows] = place / np.linalg.norm(place, axis=1, keepdims=True)
    return out


def _stage_one(unit: np.ndarray, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) int32: labels as k-means would have them, under numbers of their own."""
    labels = _belief(unit, centres, 10.0, 2.0, rng).labels
    return rng.permutation(len(centres))[labels].astype(np.int32)


def _neighbors(unit: np.ndarray, count: int) -> Neighbors:
    """The true neighbours but for some: faiss looks among a few cells only."""
    import faiss

    cells = max(1, int(np.sqrt(len(unit))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(unit.shape[1]), unit.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 64, 1
    index.train(unit)
    index.add(unit)
    index.nprobe = CELLS_ASKED
    similarity, ids = index.search(unit, count + 1)
    short = np.flatnonzero(ids[:, -1] < 0)
    index.nprobe = cells
    if len(short):
        similarity[short], ids[short] = index.search(unit[short], count + 1)
    other = ids != np.arange(len(ids))[:, None]
    other[other.all(1), -1] = False  # a row without itself has one too many
    shape = (len(ids), count)
    return Neighbors(ids[other].reshape(shape).astype(np.int32), similarity[other].reshape(shape))


# -- what the stages believe -------------------------------------------------------------------


def _belief(
    unit: np.ndarray, centres: np.ndarray, sharpness: float, noise: float, rng: np.random.Generator
) -> Clustering:
    """Softmax of the cosines with the clusters' directions, with some chance in it."""
    out = np.empty((len(unit), len(centres)), np.float32)
    for rows in _blocks(len(unit)):
        logits = sharpness * unit[rows] @ centres.T
        logits += noise * _normal(rng, *logits.shape)
        out[rows] = torch.from_numpy(logits).softmax(1).numpy()
    return Clustering(out)


def _heads(
    unit: np.ndarray, centres: np.ndarray, config: RunConfig, rng: np.random.Generator
) -> tuple[Clustering, dict[str, np.ndarray]]:
    """Stage 2's clustering and its artefact, its prototypes by the engine's own rule."""
    found = _belief(unit, centres, 20.0, 1.5, rng)
    confident, prototypes, pseudo = pseudo_label(
        torch.from_numpy(found.probabilities)[None], torch.from_numpy(unit), config.heads.center_ratio
    )
    second = _runner_up(found.probabilities)
    head_labels = np.stack([np.where(rng.random(len(unit)) < 0.03, second, found.labels) for _ in range(HEADS)])
    head_labels[CHOSEN] = found.labels
    losses = (1.46 + 0.004 * rng.random(HEADS)).astype(np.float32)
    arrays = {
        "probabilities": found.probabilities,
        "chosen": np.array(CHOSEN),
        "losses": losses,
        "head_labels": head_labels.astype(np.int32),
        "prototypes": prototypes[0].numpy(),
        "confident": confident[0].contiguous().numpy(),
        "nearest": pseudo.ids.view(config.clusters, -1).numpy(),
    }
    return found, arrays


def _runner_up(probabilities: np.ndarray) -> np.ndarray:
    """(N,) int64: the second likeliest cluster."""
    out = np.empty(len(probabilities), np.int64)
    for rows in _blocks(len(out)):
        out[rows] = torch.from_numpy(probabilities[rows]).topk(2, dim=1).indices[:, 1].numpy()
    return out


def _judged(folder: RunFolder, stage: Stage, found: Clustering, near: Neighbors, config: RunConfig) -> ReliableSet:
    judged = select_reliable(found, near, config.reliable)
    names = ("labels", "confidence", "agreement", "verdicts", "thresholds")
    folder.save(f"reliable-{stage}", {name: getattr(judged, name) for name in names})
    return judged


# -- how it went -------------------------------------------------------------------------------


def _save_frames(
    folder: RunFolder,
    unit: np.ndarray,
    heads: dict[str, np.ndarray],
    believed: dict[Stage, Clustering],
    mix: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Frames of the three stages: features drift from chance to their places, labels settle."""
    places = condensed(torch.from_numpy(unit)).astype(np.float32)
    chance = _normal(rng, *places.shape) / np.sqrt(places.shape[1])
    for stage, steps in STEPS.items():
        for step in sorted(frame_steps(stage, steps)):
            part = step / steps
            if stage == "features":
                moved = _scaled(places + 1.5 * (1 - part**0.5) * chance)
                frame = Frame(stage, step, moved)
            elif stage == "heads":
                frame = _head_frame(step, part, heads, believed[stage], mix, rng)
            else:
                frame = _joint_frame(step, part, places, chance, believed, mix, rng)
            save_frame(folder, frame)


def _scaled(places: np.ndarray) -> np.ndarray:
    """(N, d) float16 of length 1."""
    return (places / np.linalg.norm(places, axis=1, keepdims=True)).astype(np.float16)


def _unsettled(part: float, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: true where the last word is not said yet; longest for images on a border."""
    return rng.random(len(mix)) < (1 - part) * (0.1 + 1.6 * mix)


def _head_frame(
    step: int, part: float, heads: dict[str, np.ndarray], found: Clustering, mix: np.ndarray, rng: np.random.Generator
) -> Frame:
    second = _runner_up(found.probabilities)
    labels = np.stack([np.where(_unsettled(part, mix, rng), second, own) for own in heads["head_labels"]])
    confidence = np.broadcast_to(found.confidence * (0.5 + 0.5 * part), labels.shape)
    final = heads["prototypes"]
    moved = final + (1 - part) * _normal(rng, HEADS, *final.shape) / np.sqrt(final.shape[1])
    moved /= np.linalg.norm(moved, axis=2, keepdims=True)
    surest = heads["confident"]
    first = round((1 - part) * max(0, surest.shape[1] - CONFIDENT))
    confident = np.repeat(surest[None, :, first : first + CONFIDENT], HEADS, axis=0)
    return Frame(
        "heads",
        step,
        None,
        labels.astype(np.uint16),
        confidence.astype(np.float16),
        moved.astype(np.float16),
        confident.astype(np.int32),
    )


def _joint_frame(
    step: int,
    part: float,
    places: np.ndarray,
    chance: np.ndarray,
    believed: dict[Stage, Clustering],
    mix: np.ndarray,
    rng: np.random.Generator,
) -> Frame:
    before, after = believed["heads"], believed["joint"]
    labels = np.where(_unsettled(part, mix, rng), before.labels, after.labels)
    confidence = (1 - part) * before.confidence + part * after.confidence
    moved = _scaled(places + 0.3 * part * chance)
    return Frame("joint", step, moved, labels[None].astype(np.uint16), confidence[None].astype(np.float16))


def _tell(
    folder: RunFolder,
    unit: np.ndarray,
    stage_one: np.ndarray,
    head_labels: np.ndarray,
    believed: dict[Stage, Clustering],
    judged: dict[Stage, ReliableSet],
) -> None:
    """Writes the events of a run that finished just now, its scores as the engine computes them."""
    truth = folder.truth()
    now = time.time() - sum(SECONDS.values())
    records = [Record(now, RunStarted("cpu", 2))]
    labels = {"features": stage_one, **{stage: one.labels for stage, one in believed.items()}}
    for stage, seconds in SECONDS.items():
        sizes = np.bincount(labels[stage], minlength=folder.card().config.clusters)
        records += _stage_records(stage, now, len(unit), sizes)
        now += seconds
        said: list[Event] = [Scored(stage, _scores(stage, unit, labels[stage], sizes))]
        if truth is not None:
            scores = metrics.truth_scores(labels[stage], truth.labels)
            if stage == "heads":
                oracle = max(metrics.accuracy(each, truth.labels) for each in head_labels)
                scores["selection_regret"] = oracle - scores["acc"]
            said.append(TruthScored(stage, scores))
        if stage in judged:
            said.append(_selected(folder, stage, judged[stage], sizes, truth))
        records += [Record(now, event) for event in said]
    records.append(Record(now, RunFinished()))
    lines = "".join(json.dumps(to_json(one)) + "\n" for one in records)
    write_text(folder.path / "events.jsonl", lines)


def _stage_records(stage: Stage, began: float, images: int, sizes: np.ndarray) -> list[Record]:
    """From the stage's start to its end, with a falling curve of losses between."""
    steps, seconds = STEPS[stage], SECONDS[stage]
    names = {"features": "contrastive loss", "heads": "pseudo-label loss", "joint": "reliable loss"}
    shown = tuple(sizes.tolist()) if stage == "heads" else ()
    out = [Record(began, StageStarted(stage, steps))]
    for step in sorted({round(steps * point / POINTS) for point in range(1, POINTS + 1)}):
        losses = {names[stage]: float(0.4 + 3 * np.exp(-4 * step / steps))}
        event = Progress(stage, step, round(20 * images / seconds, 1), losses, shown)
        out.append(Record(began + seconds * step / steps, event))
    return [*out, Record(began + seconds, StageFinished(stage, seconds))]


def _scores(stage: Stage, unit: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    scores = {"pseudo_label_loss": 1.46, "head_agreement": 0.97} if stage == "heads" else {}
    scores["size_entropy"] = metrics.size_entropy(sizes)
    silhouette = metrics.silhouette(unit, labels)
    return scores if silhouette is None else {**scores, "silhouette": silhouette}


def _selected(
    folder: RunFolder, stage: Stage, found: ReliableSet, sizes: np.ndarray, truth: Truth | None
) -> ReliableSelected:
    settings, mask = folder.card().config.reliable, found.mask
    known = truth is not None and bool(mask.any())
    return ReliableSelected(
        stage,
        per_cluster=tuple(found.per_cluster.tolist()),
        sizes=tuple(sizes.tolist()),
        thresholds=tuple(float(one) for one in found.thresholds),
        neighbors=neighbor_count(settings, len(mask), len(sizes)),
        confidence=settings.confidence,
        purity=metrics.purity(found.labels[mask], truth.labels[mask]) if known and truth else None,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.made", description=__doc__)
    parser.add_argument("path", type=Path)
    defaults = {
        "images": 60_000,
        "clusters": 10,
        "features": 512,
        "neighbors": 100,
        "size": 32,
        "channels": 3,
        "seed": 0,
    }
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--no-truth", dest="truth", action="store_false")
    parser.add_argument("--no-frames", dest="frames", action="store_false")
    options = vars(parser.parse_args(arguments))
    print(made_run(options.pop("path"), **options).path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
