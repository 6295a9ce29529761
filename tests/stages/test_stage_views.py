"""Which group of settings the views of stages 2 and 3 have: `views.strong` and `views.joint`, and `views.weak`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.config import (
    EncoderSettings,
    HeadSettings,
    JointSettings,
    JointViews,
    RunConfig,
    StrongViews,
    ViewSettings,
    WeakViews,
)
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.forecast.timing import Nothing
from engine.stages.clustering import Clustering
from engine.stages.encoder import Encoder, Heads, initialise
from engine.stages.features import Features, encode
from engine.stages.frames import Xray
from engine.stages.heads import HeadClustering, Rounds, learn_heads
from engine.stages.joint import JointClustering, learn_jointly
from engine.stages.reliable import ReliableSet

N, SIDE, K = 24, 8, 2
CPU = torch.device("cpu")
QUIET = {"emit": lambda _: None, "stop": lambda: False, "checkpoint": Nothing()}
# Views that change nothing, and those that change as much as possible.
STILL = ViewSettings(
    weak=WeakViews(flip=0, shift=0),
    strong=StrongViews(flip=0, operations=0, cutout=0),
    joint=JointViews(flip=0, operations=0, cutout=0),
)
WILD = ViewSettings(
    weak=WeakViews(flip=1, shift=0.5, edge="black"),
    strong=StrongViews(operations=16, cutout=1),
    joint=JointViews(operations=16, cutout=1),
)


def config_with(views: ViewSettings) -> RunConfig:
    return RunConfig(
        clusters=K,
        views=views,
        encoder=EncoderSettings(backbone="small", width=4),
        heads=HeadSettings(heads=2, epochs=2, images=N, passes=2, batch=8),
        joint=JointSettings(steps=3, batch=4, unlabelled=2, average=0, threshold=0),
    )


@pytest.fixture
def pixels() -> DeviceImages:
    drawn = np.random.default_rng(0).integers(0, 256, (N, 3, SIDE, SIDE), dtype=np.uint8)
    return DeviceImages(ImageSet(drawn, tuple(map(str, range(N))), "drawn"), CPU)


def features_of(pixels: DeviceImages) -> Features:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=3, side=SIDE)
    initialise(encoder, torch.Generator().manual_seed(0))
    return Features(encoder.eval(), encode(encoder, pixels).cpu().numpy())


def taught(views: ViewSettings, pixels: DeviceImages) -> np.ndarray:
    """The probabilities of stage 2."""
    return learn_heads(config_with(views), pixels, features_of(pixels), **QUIET).clustering.probabilities


def joined(views: ViewSettings, pixels: DeviceImages) -> tuple[JointClustering, list[Xray]]:
    """The result of stage 3, from random labels, and what its X-ray shows."""
    features, seen = features_of(pixels), list[Xray]()
    head = Heads(1, features.vectors.shape[1], K)
    initialise(head, torch.Generator().manual_seed(1))
    nothing = np.zeros((1, 1), np.float32)
    heads = HeadClustering(Clustering(nothing), head, 0, nothing, nothing, nothing, nothing, nothing)
    sure = np.ones(N, np.float32)
    reliable = ReliableSet(np.arange(N) % K, sure, sure, np.zeros(N, np.uint8), np.ones(K, np.float32))
    found = learn_jointly(config_with(views), pixels, features, heads, reliable, **QUIET, keep_xray=seen.append)
    return found, seen


def test_stage_2_sees_images_as_they_are_where_its_strong_views_change_nothing(pixels: DeviceImages) -> None:
    features = features_of(pixels)

    def changes(views: ViewSettings) -> tuple[bool, bool]:
        """Whether the features of weak and of strong views are others than the images'."""
        found = Rounds(config_with(views), pixels, features).draw(0)
        assert found.ids.tolist() == list(range(N))
        far = [
            np.abs(one.numpy() - features.vectors).max() / features.vectors.max() for one in (found.weak, found.strong)
        ]
        assert all(one < 1e-3 or one > 0.1 for one in far)
        return far[0] > 0.1, far[1] > 0.1

    assert changes(STILL) == (False, False)
    assert changes(replace(STILL, joint=WILD.joint)) == (False, False)
    assert changes(replace(STILL, strong=WILD.strong)) == (False, True)
    assert changes(replace(STILL, weak=WILD.weak)) == (True, False)


def test_stage_3_sees_images_as_they_are_where_its_own_views_change_nothing(pixels: DeviceImages) -> None:
    _, seen = joined(replace(STILL, strong=WILD.strong), pixels)
    assert len(seen) > 1
    for one in seen:
        np.testing.assert_array_equal(one.weak, pixels.batch(torch.from_numpy(one.ids)).mul(255).round().byte())
        assert np.abs(one.strong.astype(int) - one.weak).max() <= 1
    _, seen = joined(replace(STILL, joint=WILD.joint), pixels)
    assert all(np.abs(one.strong.astype(int) - one.weak).max() > 50 for one in seen)


def test_each_stage_learns_from_its_own_strong_views_and_not_from_the_other_s(pixels: DeviceImages) -> None:
    views = ViewSettings()
    stage_2, stage_3 = taught(views, pixels), joined(views, pixels)[0].clustering.probabilities
    other_strong, other_joint = replace(views, strong=WILD.strong), replace(views, joint=WILD.joint)
    np.testing.assert_array_equal(taught(other_joint, pixels), stage_2)
    assert np.abs(taught(other_strong, pixels) - stage_2).max() > 1e-3
    np.testing.assert_array_equal(joined(other_strong, pixels)[0].clustering.probabilities, stage_3)
    assert np.abs(joined(other_joint, pixels)[0].clustering.probabilities - stage_3).max() > 1e-3
