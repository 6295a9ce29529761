"""How much a trained encoder saves: CIFAR-10 (JPEG q92) on a CPU, from pixels, from scratch, and with it.

The card of each encoder names its training images; these images are not among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.ablations import trained
from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine import metrics
from engine.config import RunConfig, with_settings
from engine.presets import preset
from engine.sources.open_source import Opened
from engine.space.kmeans import kmeans_labels
from engine.stages.encoder_file import known_encoders

# On photographs and a CPU, stage 3 takes longer than all the rest: one step is enough to end a run.
BEGUN = {"joint.steps": 1}


def variants() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"quick, from scratch": {}}
    for name in known_encoders():
        found[f"{name}, as it is"] = {"features.source": f"encoder:{name}", "features.epochs": 0}
    return found


def configured(changes: dict[str, Any], seed: int) -> RunConfig:
    return with_settings(preset("quick", clusters=10, channels=3, seed=seed), changes | BEGUN)


def on_pixels(opened: Opened, seed: int) -> float:
    """Accuracy of k-means on the pixels."""
    assert opened.truth is not None
    pixels = opened.images.pixels.reshape(len(opened.images), -1).astype(np.float32)
    return metrics.accuracy(kmeans_labels(pixels, 10, seed), opened.truth.labels)


def measure(options: Options) -> None:
    """Writes results/encoders-DEVICE."""
    pieces = Pieces("encoders", options)
    opened = cifar10_images(options, "train", options.images)
    pixels = [pieces.get(f"pixels {s}", lambda s=s: on_pixels(opened, s)) for s in range(options.seeds)]
    found = {
        title: [
            pieces.get(
                f"{title} {seed}",
                lambda t=title, c=changes, s=seed: trained(
                    pieces.folder / f"{t.replace(' ', '_')}-{s}", opened, configured(c, s), options.device
                ),
                seconds=240,
            )
            for seed in range(options.seeds)
        ]
        for title, changes in variants().items()
    }
    rows = [["k-means on pixels", spread(pixels), "", ""]]
    for title, runs in found.items():
        accuracy = [spread([r["truth"][f"stage{n}"]["acc"] for r in runs]) for n in (1, 2)]
        seconds = [r["seconds"]["stage1"] + r["seconds"]["stage2"] for r in runs]
        rows.append([title, *accuracy, spread(seconds, 0)])
    body = (
        f"{NAME}, {len(opened.images):,} training images, K = 10, {options.seeds} seeds: mean ± "
        "standard deviation (lowest) of the accuracy on these images, and seconds of stages 1 and 2. "
        "Stage 3 is not measured.\n\n" + table(["", "stage 1 (k-means)", "stage 2", "seconds"], rows)
    )
    write("encoders", "Trained encoders", {"pixels": pixels, **found}, body, slug=device_slug(options.device))
