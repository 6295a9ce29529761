"""Records what joint training computes for a few images, without affecting training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import ViewSettings
from engine.data.batches import DeviceImages
from engine.stages.frames import Xray
from engine.stages.reliable import ReliableSet
from engine.views import strong_view, weak_view

# Images that are looked through, at most.
IMAGES = 48
# Views are kept for the eye: larger ones are scaled down to this side.
MOST_SIDE = 64


def images_to_watch(reliable: ReliableSet, seed: int, most: int = IMAGES) -> np.ndarray:
    """(m,) int64, rising, m ≤ `most`: every cluster in turn gives a reliable and a rejected image,
    drawn at random, until there are enough."""
    group = 2 * reliable.labels + reliable.mask
    drawn = np.random.default_rng(seed).permutation(len(group))
    order = drawn[np.argsort(group[drawn], kind="stable")]
    sizes = np.bincount(group)
    turn = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


@torch.no_grad()
def look_through(
    step: int,
    model: nn.Module,
    weigh: nn.Module,
    pixels: DeviceImages,
    ids: np.ndarray,
    views: ViewSettings,
    generator: torch.Generator,
) -> Xray:
    """Weak and strong views of images `ids`, and what `model` and `weigh` make of them.

    Args:
        model: in eval mode, so that no image depends on another; (M, C, H, W) → logits (M, K).
        weigh: of `thresholds`. It may remember what it is shown: pass a copy.
        generator: on the device, not shared with anything else.
    """
    images, places = pixels.batch(torch.from_numpy(ids)), torch.from_numpy(ids).to(pixels.device)
    strong = strong_view(images, views.joint, generator)
    weak = weak_view(images, views.weak, generator)
    target = model(weak).softmax(1)
    loss = F.cross_entropy(model(strong), target.argmax(1), reduction="none")
    return Xray(
        step,
        ids,
        _bytes(weak),
        _bytes(strong),
        target.cpu().numpy(),
        loss.cpu().numpy(),
        weigh(target, places).cpu().numpy(),
    )


def _bytes(views: torch.Tensor) -> np.ndarray:
    scale = MOST_SIDE / max(views.shape[2:])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in views.shape[2:]]
        views = F.interpolate(views, size, mode="bilinear", antialias=True)
    return (views * 255).round().clamp(0, 255).byte().cpu().numpy()
