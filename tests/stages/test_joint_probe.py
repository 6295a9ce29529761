from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import JointViews, ViewSettings, WeakViews
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.stages.joint_probe import images_to_watch, look_through
from engine.stages.reliable import ReliableSet
from engine.stages.thresholds import FixMatch

STILL = ViewSettings(weak=WeakViews(flip=0, shift=0), joint=JointViews(flip=0, operations=0, cutout=0))


def reliable_set(labels: list[int], mask: list[bool]) -> ReliableSet:
    count = len(labels)
    return ReliableSet(
        np.array(labels),
        np.ones(count, np.float32),
        np.ones(count, np.float32),
        np.where(mask, 0, 1).astype(np.uint8),
        np.ones(max(labels) + 1, np.float32),
    )


def test_every_cluster_is_watched_by_reliable_and_by_rejected_images() -> None:
    labels = [0] * 20 + [1] * 4 + [2]
    mask = [True] * 10 + [False] * 10 + [True] * 3 + [False] + [True]
    found = images_to_watch(reliable_set(labels, mask), seed=0, most=10)
    assert found.tolist() == sorted(set(found.tolist()))
    groups = [(labels[one], mask[one]) for one in found]
    # Three turns: 5 groups, then the three with a second image, then the two with a third.
    assert [groups.count(one) for one in [(0, True), (0, False), (1, True)]] == [3, 3, 2]
    assert [groups.count(one) for one in [(1, False), (2, True)]] == [1, 1]
    assert len(images_to_watch(reliable_set(labels, mask), seed=0)) == len(labels)


class Brightness(nn.Module):
    """Two clusters, dark and bright: logits 0 and four times the mean, less two."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = 4 * x.mean((1, 2, 3)) - 2
        return torch.stack((torch.zeros_like(bright), bright), 1)


def test_a_look_by_hand() -> None:
    pixels = np.stack([np.full((1, 2, 2), value, np.uint8) for value in (0, 255, 51)])
    images = DeviceImages(ImageSet(pixels, ("a", "b", "c"), "drawn"), torch.device("cpu"))
    chance = torch.Generator().manual_seed(0)
    seen = look_through(7, Brightness().eval(), FixMatch(0.85), images, np.array([0, 2]), STILL, chance)
    sure = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1.2))]  # 0.881 and 0.769
    np.testing.assert_allclose(seen.probabilities[:, 0], sure, rtol=1e-6)
    np.testing.assert_allclose(seen.loss, [-math.log(one) for one in sure], rtol=1e-5)
    assert seen.weights.tolist() == [1, 0]
    assert (seen.step, seen.ids.tolist()) == (7, [0, 2])
    np.testing.assert_array_equal(seen.weak, pixels[[0, 2]])
    np.testing.assert_array_equal(seen.strong, pixels[[0, 2]])


def test_large_views_are_kept_small() -> None:
    pixels = np.zeros((1, 3, 96, 192), np.uint8)
    pixels[..., 96:] = 200
    images = DeviceImages(ImageSet(pixels, ("a",), "drawn"), torch.device("cpu"))
    chance = torch.Generator().manual_seed(0)
    seen = look_through(0, Brightness().eval(), FixMatch(0.5), images, np.array([0]), STILL, chance)
    assert seen.weak.shape == (1, 3, 32, 64)
    assert seen.weak[0, 0, 5, [5, 60]].tolist() == [0, 200]
    # The model saw the whole image, half of which is bright.
    logit = 4 * (100 / 255) - 2
    assert seen.probabilities[0, 1] == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-4)
