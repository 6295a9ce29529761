"""What a run on a trained network does that others do not, made for the probe: the network itself, the features of
its views, and the layout of neighbourhoods."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from engine.config import ENCODER, SCRATCH, RunConfig
from engine.data.batches import CachedViews, DeviceImages
from engine.forecast.forecast import NOTHING, Cost
from engine.forecast.timing import SPREAD
from engine.space.projection import DIRECTIONS, neighborhoods
from engine.stages.encoder import Encoder
from engine.stages.encoder_file import untrained_encoder
from engine.stages.features import Features, adapter_features, build_encoder, placed
from engine.stages.heads import LAYOUT_TRIES
from engine.stages.prototypes import kmeans_belief

# Images on which k-means and the layout are timed.
KMEANS_IMAGES = 1000

# Times an act, and scales what it takes by a factor.
Timed = Callable[[Callable[[], object], float], Cost]


def measured_encoder(config: RunConfig, pixels: DeviceImages, *, channels: int, side: int) -> Encoder:
    """The encoder that a run would begin with, on the device; random weights stand for those to be downloaded.

    Raises:
        SettingError: when there is no such network.
    """
    source = config.features.source
    if source.startswith((SCRATCH, ENCODER)):
        return build_encoder(config, pixels, channels=channels, side=side)
    groups = config.features.norm_groups if config.features.objective == "moco" else 1
    return placed(untrained_encoder(source, norm_groups=groups), config, pixels.device)


def trained_on(config: RunConfig, encoder: Encoder, vectors: np.ndarray, device: torch.device) -> Features:
    """What stages 2 and 3 train on: the network, or an adapter and made-up views of `vectors` (N, D)."""
    if not config.keeps_views:
        return Features(encoder.eval(), vectors)
    narrow = vectors.astype(np.float16)
    counts = (config.features.weak_views, config.features.strong_views)
    views = CachedViews(vectors, *(np.broadcast_to(narrow, (count, *narrow.shape)).copy() for count in counts))
    return adapter_features(config, views, device)


def first_round(
    config: RunConfig, vectors: np.ndarray, images: int, device: torch.device, timed: Timed, now: Callable[[], float]
) -> Cost:
    """The additional cost of stage 2's first round on M = `images`: its k-means, after a layout if it asks for one.

    Args:
        vectors: (n, D), features of some images.
    """
    start = config.heads.start
    if start == "random":
        return NOTHING
    unit = F.normalize(torch.from_numpy(vectors[: min(images, KMEANS_IMAGES)]), dim=1)
    points, tries, layout = unit.numpy(), 1, NOTHING
    if start == "neighbors":
        layout = _layout(points, images, now)
        points, tries = points[:, :DIRECTIONS], LAYOUT_TRIES
    clusters, heads = min(config.clusters, len(unit)), config.heads.heads
    factor = images / len(unit)
    placed_unit = unit.to(device)
    return timed(lambda: kmeans_belief(placed_unit, points, clusters, heads, 0, tries), factor).plus(layout)


def _layout(unit: np.ndarray, images: int, now: Callable[[], float]) -> Cost:
    """The layout of M = `images`, from one of the unit features (n, D), whose process must begin and compile first.

    How much of the time that takes cannot be told from one measurement, and a second would take as long: the range
    is from none of it growing with the images to all of it.
    """
    before = now()
    neighborhoods(unit, 0)
    seconds, more = now() - before, images / len(unit)
    return Cost(seconds * math.sqrt(more), seconds / SPREAD, seconds * more * SPREAD)
