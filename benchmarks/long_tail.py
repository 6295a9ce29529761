"""Classes of unequal size: digits, shapes and photographs with ever fewer images from class to class.

Every run is trained in this process, with one thread. The truth chooses which images a set has, and scores; no run
sees it. Stage 1 has the same seed in all settings that are compared. CIFAR-10 is left out where it is not at hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lite_network import lite_source
from benchmarks.photo_sets import CIFAR10_SIDE, test_images
from benchmarks.pieces import Options, Pieces, cache_in
from benchmarks.report import spread, table, write
from benchmarks.shapes import STAGES, labels_of
from engine import metrics
from engine.config import with_settings
from engine.errors import SourceError
from engine.health.exclusions import cut
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import BUILT_IN, Opened

SOURCES: dict[str, Callable[[Options], Opened]] = {
    "digits": lambda _: BUILT_IN["digits"](),
    "shapes": lambda _: BUILT_IN["shapes"](),
    "CIFAR-10": test_images,
}
PRESETS = {"digits": "quick", "shapes": "shapes", "CIFAR-10": "photos"}
# How many times more images the largest class has than the smallest. A hundred takes classes of hundreds of images.
RATIOS = {"digits": (1, 10), "shapes": (1, 10), "CIFAR-10": (1, 10, 100)}
# CIFAR-10's runs take minutes each.
FEWER_SEEDS = {"CIFAR-10": 3}
VARIANTS: dict[str, dict[str, Any]] = {
    "equal sizes": {"heads.sizes": "equal", "heads.double_softmax": False},
    "equal sizes, softmax twice": {"heads.sizes": "equal", "heads.double_softmax": True},
    "estimated sizes": {"heads.sizes": "estimated", "heads.double_softmax": False},
    "estimated sizes, softmax twice": {"heads.sizes": "estimated", "heads.double_softmax": True},
}


@dataclass(frozen=True)
class Set:
    """Images of one source, `ratio` times more in the largest class than in the smallest."""

    source: str
    ratio: int

    @property
    def name(self) -> str:
        return f"{self.source} 1:{self.ratio}"

    def open(self, options: Options) -> Opened:
        """The images; raises SourceError if they are not at hand."""
        opened = SOURCES[self.source](options)
        return opened if self.ratio == 1 else long_tailed(opened, self.ratio)

    def settings(self, place: Path) -> dict[str, Any]:
        """What the preset is told besides; files of a network that is frozen are in `place`."""
        return {"features.source": lite_source(place, CIFAR10_SIDE)} if PRESETS[self.source] == "photos" else {}


def long_tailed(opened: Opened, ratio: float) -> Opened:
    """The first images of each class, ever fewer in equal proportions, down to 1/`ratio` of the first."""
    assert opened.truth is not None
    truth, classes = opened.truth.labels, len(opened.truth.class_names)
    most = int(np.bincount(truth).min())
    counts = [round(most * ratio ** (-place / (classes - 1))) for place in range(classes)]
    ids = np.concatenate([np.flatnonzero(truth == label)[:count] for label, count in enumerate(counts)])
    return cut(opened, np.isin(np.arange(len(truth)), ids))


def scores(one: Set, options: Options, place: Path, seed: int, variant: str) -> dict[str, dict[str, float]]:
    """Accuracy, NMI and the recall of the worst class after each stage."""
    opened = one.open(options)
    assert opened.truth is not None
    chosen = preset(
        PRESETS[one.source], clusters=len(opened.truth.class_names), channels=opened.images.channels, seed=seed
    )
    config = with_settings(chosen, {**one.settings(place), **VARIANTS[variant]})
    with tempfile.TemporaryDirectory() as draft:
        folder = create_run(Path(draft) / "run", replace(opened, truth=None), config)
        with folder.lock():
            if execute(folder, choose_device("cpu"), Control()) != "finished":
                raise RuntimeError(f"{one.name}, seed {seed}, {variant}: the run did not finish")
        found = {stage: judged(labels_of(folder.path, stage), opened.truth.labels) for stage in STAGES}
    print(one.name, variant, seed, {stage: round(each["acc"], 3) for stage, each in found.items()}, flush=True)
    return found


def judged(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy, NMI, and how much of the worst class is in the cluster that is matched to it."""
    match = metrics.best_match(labels, truth)
    found = np.vectorize(lambda label: match.get(label, -1))(labels)
    recall = [float((found[truth == label] == label).mean()) for label in np.unique(truth)]
    whole = metrics.truth_scores(labels, truth)
    return {"acc": whole["acc"], "nmi": whole["nmi"], "worst": min(recall)}


def measure(options: Options) -> None:
    """Writes results/long_tail-cpu, again after each set."""
    torch.set_num_threads(1)
    pieces = Pieces("long_tail", options)
    found: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    # A frozen network sees each image once for all runs.
    with cache_in(pieces.folder / "cache"):
        for one in (Set(source, ratio) for source in SOURCES for ratio in RATIOS[source]):
            try:
                sizes[one.name] = len(one.open(options).images)
            except SourceError as error:
                print(f"{one.name} is left out: {error}", flush=True)
                continue
            seeds = range(min(options.seeds, FEWER_SEEDS.get(one.source, options.seeds)))
            found[one.name] = {
                variant: [
                    pieces.get(
                        f"{one.name} {variant} {seed}",
                        partial(scores, one, options, pieces.folder, seed, variant),
                        seconds=120,
                    )
                    for seed in seeds
                ]
                for variant in VARIANTS
            }
            write("long_tail", "Classes of unequal size", {"runs": found}, report_body(found, sizes), slug="cpu")


def report_body(found: dict[str, Any], sizes: dict[str, int]) -> str:
    return "\n\n".join(
        [
            "Mean ± standard deviation (lowest) over seeds. 1:10 has the first images of each class, fewer from class "
            "to class, until the last has a tenth of the first. Presets: `quick` (digits), `shapes`, and `photos` "
            "(CIFAR-10's test images by efficientnet-lite0, frozen). Equal sizes and the softmax twice are the paper's "
            "and those of `shapes`, equal sizes and plain cross-entropy those of `quick` and `fast`, estimated sizes "
            "and plain cross-entropy those of `photos`. The worst class is the one of which the least is in the cluster "
            "that is matched to it.",
            *(
                f"## {name}\n\n{sizes[name]:,} images, {len(each['equal sizes'])} seeds.\n\n{score_table(each)}"
                for name, each in found.items()
            ),
        ]
    )


def score_table(runs: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """One row for k-means, which is the same whatever the setting, and two for each setting."""
    first = next(iter(runs.values()))
    rows = [["k-means on stage 1's features", *_cells(first, "features")]]
    for variant, done in runs.items():
        rows += [[f"{variant}, {STAGES[stage]}", *_cells(done, stage)] for stage in ("heads", "joint")]
    return table(["", "ACC", "NMI", "recall of the worst class"], rows)


def _cells(done: list[dict[str, dict[str, float]]], stage: str) -> list[str]:
    return [spread([one[stage][score] for one in done]) for score in ("acc", "nmi", "worst")]
