"""A synthetic run of any size: it looks as if it had been trained, but takes seconds instead of hours.

Speed does not depend on whether a network was trained, so measurements on such a run hold for a real one
of that size. Its accuracy means nothing: its truth and its features were generated together.

    python -m benchmarks.made PATH [--images 60000] [--features 512] …
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.made_features import BLUR, HEADS, belief, heads_of, neighbors_of, stage_one_labels, unit_vectors
from benchmarks.made_history import STEPS, save_events, save_frames
from benchmarks.made_images import UNEQUAL, Kinds, drawn, inputs, kinds_of, normal
from engine.config import RunConfig, with_settings
from engine.events import Stage
from engine.presets import preset
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened
from engine.space.neighbors import Neighbors
from engine.stages.clustering import Clustering
from engine.stages.reliable import ReliableSet, select_reliable


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
    photographs: Opened | None = None,
    unequal: float = UNEQUAL,
    astray: float = 0.0,
    blur: float = BLUR,
) -> RunFolder:
    """Writes a finished run of `images` images in `clusters` clusters to `path`, completely or not at all.

    Args:
        path: a folder that does not exist yet.
        features: size D of the features.
        neighbors: neighbours of each image, saved and used for agreement.
        size, channels: side in pixels and channels of the images.
        truth: whether the run has true classes.
        frames: whether the stages have frames, for the replay.
        photographs: the images, as many as `images` and of so many channels, in place of drawn ones.
        unequal, blur: see `kinds_of` and `unit_vectors`.
        astray: how far the centres that the labels follow lie from the true ones, as a share of their length.

    Raises:
        FileExistsError: if `path` exists.
        RunError: if the numbers do not fit together, or the disk is full.
    """
    target = Path(path).absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another folder")
    rng = np.random.default_rng(seed)
    config = _config(clusters, min(neighbors, images - 1), channels, seed)
    centres, kinds = _world(images, clusters, features, unequal, rng)
    shown = drawn(kinds, clusters, size, channels, rng) if photographs is None else photographs
    draft = inputs(target, kinds, config, shown, truth, rng)
    try:
        unit = unit_vectors(kinds, centres, rng, blur)
        believed = _unit(centres + astray * _unit(normal(rng, *centres.shape))) if astray else centres
        _fill(draft, unit, kinds, believed, config, frames, rng)
        draft.path.rename(target)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    return RunFolder(target)


def made_kinds(images: int, clusters: int, features: int, seed: int, unequal: float = UNEQUAL) -> Kinds:
    """What the images of a run look like that `made_run` makes of the same numbers, for who is to know more than it."""
    return _world(images, clusters, features, unequal, np.random.default_rng(seed))[1]


def _world(
    images: int, clusters: int, features: int, unequal: float, rng: np.random.Generator
) -> tuple[np.ndarray, Kinds]:
    """The centre of every class, and what each image looks like."""
    centres = _unit(normal(rng, clusters, features))
    return centres, kinds_of(images, centres, rng, unequal)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return F.normalize(torch.from_numpy(vectors), dim=1).numpy()


def _fill(
    draft: RunFolder,
    unit: np.ndarray,
    kinds: Kinds,
    centres: np.ndarray,
    config: RunConfig,
    frames: bool,
    rng: np.random.Generator,
) -> None:
    """Writes everything that training would write; the labels follow the `centres`."""
    lengths = rng.uniform(1, 3, (len(unit), 1)).astype(np.float32)
    stage_one = stage_one_labels(unit, centres, rng)
    draft.save("features", {"vectors": unit * lengths, "labels": stage_one})
    near = neighbors_of(unit, config.reliable.neighbors or 1)
    draft.save("neighbors", {"ids": near.ids, "similarity": near.similarity})
    before, heads = heads_of(unit, centres, config, rng)
    draft.save("heads", heads)
    after = belief(unit, centres, 30.0, 0.5, rng)
    draft.save("joint", {"probabilities": after.probabilities})
    believed: dict[Stage, Clustering] = {"heads": before, "joint": after}
    judged = {stage: _judged(draft, stage, one, near, config) for stage, one in believed.items()}
    if frames:
        save_frames(draft, unit, heads, believed, kinds.mix, rng)
    save_events(draft, unit, stage_one, heads["head_labels"], believed, judged)


def _judged(folder: RunFolder, stage: Stage, found: Clustering, near: Neighbors, config: RunConfig) -> ReliableSet:
    judged = select_reliable(found, near, config.reliable)
    names = ("labels", "confidence", "agreement", "verdicts", "thresholds")
    folder.save(f"reliable-{stage}", {name: getattr(judged, name) for name in names})
    return judged


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
