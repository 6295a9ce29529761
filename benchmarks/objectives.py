"""What stage 1 learns with each objective, and with coarse views, from the same amount of arithmetic.

Ground truth is used only to score.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.cifar10 import features_judged
from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.forecast.timing import Nothing
from engine.presets import preset
from engine.runs.runner import choose_device
from engine.sources.open_source import Opened
from engine.stages.features import build_encoder, learn_features

# The epochs are chosen so that all need the same arithmetic: a view of half the side costs a quarter.
# Per step, SimCLR makes six passes through the network, MoCo four and BYOL eight (a backward pass counts twice).
OBJECTIVES: dict[str, dict[str, Any]] = {
    "SimCLR": {"features.epochs": 20},
    "SimCLR, half the side for 90 % of the steps": {"features.epochs": 62, "features.coarse": 0.9},
    "MoCo, half the side for 90 % of the steps": {
        "features.epochs": 92,
        "features.coarse": 0.9,
        "features.objective": "moco",
        "features.temperature": 0.2,
        "features.key_momentum": 0.99,
    },
    "BYOL, half the side for 90 % of the steps": {
        "features.epochs": 46,
        "features.coarse": 0.9,
        "features.objective": "byol",
        "features.hidden": 256,
        "features.key_momentum": 0.99,
    },
}
IMAGES = 1500


def features_learned(opened: Opened, config: RunConfig, device: str) -> dict[str, float]:
    """Trains stage 1 alone; returns the accuracy of k-means and of the neighbours' vote, and seconds."""
    assert opened.truth is not None
    pixels = DeviceImages(opened.images, choose_device(device).device)
    encoder = build_encoder(config, pixels, channels=3, side=min(opened.images.size))
    began = time.perf_counter()
    found = learn_features(config, pixels, encoder, emit=lambda _: None, stop=lambda: False, checkpoint=Nothing())
    seconds = time.perf_counter() - began
    judged = features_judged(found.vectors, opened.truth.labels, config.seed, pixels.device)
    return judged | {"seconds": round(seconds, 1)}


def measure(options: Options) -> None:
    """Writes results/objectives-DEVICE: what stage 1 learns from the same arithmetic."""
    pieces = Pieces("objectives", options)
    opened = cifar10_images(options, "train", IMAGES)
    found = {
        title: [
            pieces.get(
                f"{title} {seed}",
                lambda c=changes, s=seed: features_learned(
                    opened, with_settings(preset("quick", clusters=10, channels=3, seed=s), c), options.device
                ),
                seconds=240,
            )
            for seed in range(options.seeds)
        ]
        for title, changes in OBJECTIVES.items()
    }
    rows = [
        [
            title,
            *(spread([run[name] for run in runs]) for name in ("acc", "neighbors")),
            spread([run["seconds"] for run in runs], 0),
        ]
        for title, runs in found.items()
    ]
    body = (
        f"{NAME}, {len(opened.images):,} training images, the small network of `quick`, "
        f"{options.seeds} seeds: mean ± standard deviation (lowest). Epochs are chosen so that all "
        "need the same arithmetic; so few show the ranking, not what is possible.\n\n"
        + table(["stage 1", "k-means ACC", "neighbours' vote", "seconds"], rows)
    )
    write("objectives", "Stage 1 at equal arithmetic", found, body, slug=device_slug(options.device))
