"""Classes of unequal size: the digits and the shapes with ever fewer images from class to class.

Every run is trained in this process, with one thread. The truth chooses which images a set has, and scores; no run
sees it. Stage 1 has the same seed in all settings that are compared.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pieces import Options, Pieces
from benchmarks.report import spread, table, write
from benchmarks.shapes import STAGES, labels_of
from engine import metrics
from engine.config import with_settings
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import BUILT_IN, Opened

# Set, and how many times more images the largest class has than the smallest.
SETS = {"digits 1:1": ("digits", 1), "digits 1:10": ("digits", 10), "shapes 1:10": ("shapes", 10)}
VARIANTS: dict[str, dict[str, Any]] = {
    "as the preset says": {},
    "plain cross-entropy": {"heads.double_softmax": False},
    "estimated sizes": {"heads.sizes": "estimated"},
    "estimated sizes, plain cross-entropy": {"heads.sizes": "estimated", "heads.double_softmax": False},
}
PRESETS = {"digits": "quick", "shapes": "shapes"}


def long_tailed(opened: Opened, ratio: float) -> Opened:
    """The first images of each class, ever fewer in equal proportions, down to 1/`ratio` of the first."""
    assert opened.truth is not None
    truth, classes = opened.truth.labels, len(opened.truth.class_names)
    most = int(np.bincount(truth).min())
    counts = [round(most * ratio ** (-place / (classes - 1))) for place in range(classes)]
    ids = np.sort(np.concatenate([np.flatnonzero(truth == label)[:count] for label, count in enumerate(counts)]))
    images = ImageSet(opened.images.pixels[ids], tuple(opened.images.ids[one] for one in ids), opened.images.source)
    return Opened(images, Truth(truth[ids], opened.truth.class_names))


def scores(name: str, seed: int, variant: str) -> dict[str, dict[str, float]]:
    """Accuracy, NMI and the recall of the worst class after each stage."""
    source, ratio = SETS[name]
    opened = BUILT_IN[source]() if ratio == 1 else long_tailed(BUILT_IN[source](), ratio)
    assert opened.truth is not None
    channels, classes = opened.images.channels, len(opened.truth.class_names)
    chosen = preset(PRESETS[source], clusters=classes, channels=channels, seed=seed)
    config = with_settings(chosen, VARIANTS[variant])
    with tempfile.TemporaryDirectory() as place:
        folder = create_run(Path(place) / "run", replace(opened, truth=None), config)
        with folder.lock():
            if execute(folder, choose_device("cpu"), Control()) != "finished":
                raise RuntimeError(f"{name}, seed {seed}, {variant}: the run did not finish")
        return {stage: judged(labels_of(folder.path, stage), opened.truth.labels) for stage in STAGES}


def judged(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy, NMI, and how much of the worst class is in the cluster that is matched to it."""
    match = metrics.best_match(labels, truth)
    found = np.vectorize(lambda label: match.get(label, -1))(labels)
    recall = [float((found[truth == label] == label).mean()) for label in np.unique(truth)]
    whole = metrics.truth_scores(labels, truth)
    return {"acc": whole["acc"], "nmi": whole["nmi"], "worst": min(recall)}


def measure(options: Options) -> None:
    """Writes results/long_tail-cpu."""
    torch.set_num_threads(1)
    pieces, seeds = Pieces("long_tail", options), range(options.seeds)
    found = {
        name: {
            variant: [
                pieces.get(f"{name} {variant} {seed}", partial(scores, name, seed, variant), seconds=120)
                for seed in seeds
            ]
            for variant in VARIANTS
        }
        for name in SETS
    }
    body = "\n\n".join(
        [
            f"Seeds 0–{len(seeds) - 1}: mean ± standard deviation (lowest). 1:10 has the first images of each class, "
            "fewer from class to class, until the last has a tenth of the first (digits: 710 images, shapes: "
            f"{len(long_tailed(BUILT_IN['shapes'](), 10).images)}). Presets `quick` (digits) and `shapes`. The worst "
            "class is the one of which the least is in the cluster that is matched to it.",
            *(f"## {name}\n\n{score_table(each)}" for name, each in found.items()),
        ]
    )
    write("long_tail", "Classes of unequal size", {"runs": found}, body, slug="cpu")


def score_table(runs: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """One row for stage 1, which is the same whatever the setting, and two for each setting."""
    first = next(iter(runs.values()))
    rows = [[STAGES["features"], *_cells(first, "features")]]
    for variant, done in runs.items():
        rows += [[f"{variant}, {STAGES[stage]}", *_cells(done, stage)] for stage in ("heads", "joint")]
    return table(["", "ACC", "NMI", "recall of the worst class"], rows)


def _cells(done: list[dict[str, dict[str, float]]], stage: str) -> list[str]:
    return [spread([one[stage][score] for one in done]) for score in ("acc", "nmi", "worst")]
