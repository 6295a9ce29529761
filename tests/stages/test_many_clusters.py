"""Stage 2 with a third as many clusters as images, of sizes that are estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.config import RunConfig, with_settings
from engine.data.batches import CachedViews, ViewVectors
from engine.metrics import accuracy
from engine.presets import preset
from engine.stages import heads as stage
from engine.stages.encoder import Adapter, adapted
from engine.stages.features import Features
from engine.stages.frames import Frame
from engine.stages.heads import HeadClustering, Rounds, e_step, learn_heads, m_step

IMAGES, CLUSTERS, DIMENSIONS = 90, 30, 24


class Nowhere:
    def load(self) -> None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        del state


def made() -> tuple[Features, ViewVectors, np.ndarray]:
    """Three images of each of 30 kinds, with a weak and two strong views, and their kinds."""
    rng = np.random.default_rng(0)
    kinds = np.arange(IMAGES) % CLUSTERS
    middles = rng.normal(size=(CLUSTERS, DIMENSIONS))

    def seen(noise: float) -> np.ndarray:
        return (middles[kinds] + noise * rng.normal(size=(IMAGES, DIMENSIONS))).astype(np.float32)

    clean = seen(0.1)
    views = CachedViews(clean, seen(0.1)[None].astype(np.float16), np.stack([seen(0.2), seen(0.2)]).astype(np.float16))
    adapter = Adapter.on(clean, torch.Generator().manual_seed(0))
    return Features(adapter, adapted(adapter, clean), views), ViewVectors(views, torch.device("cpu")), kinds


@pytest.fixture
def config() -> RunConfig:
    changes = {"heads.start": "kmeans", "heads.heads": 2, "heads.epochs": 6, "heads.passes": 16, "heads.batch": 16}
    return with_settings(preset("photos", clusters=CLUSTERS, channels=3), changes)


def learned(config: RunConfig, frames: list[Frame] | None = None) -> HeadClustering:
    features, vectors, _ = made()
    keep = None if frames is None else frames.append
    return learn_heads(
        config, vectors, features, emit=lambda _: None, stop=lambda: False, checkpoint=Nowhere(), keep=keep
    )


def test_most_kinds_are_found(config: RunConfig) -> None:
    frames: list[Frame] = []
    found, (_, _, kinds) = learned(config, frames), made()
    assert accuracy(found.clustering.labels, kinds) > 0.7
    assert found.claimed is not None
    np.testing.assert_array_equal(found.claimed, np.maximum(found.clustering.sizes, 1))
    assert found.nearest.shape == (CLUSTERS, found.claimed.max())
    assert found.confident.shape == (CLUSTERS, max(1, int(0.8 * found.claimed.min())))
    # The frame of the end holds what the result does.
    last = frames[-1]
    assert last.labels is not None
    assert last.confident is not None
    np.testing.assert_array_equal(last.labels[found.chosen], found.head_labels[found.chosen])
    np.testing.assert_array_equal(last.confident[found.chosen], found.confident)
    np.testing.assert_array_equal(found.head_labels[found.chosen], found.clustering.labels)


def test_a_pass_has_as_many_steps_as_there_are_labels(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    features, vectors, _ = made()
    rounds = Rounds(with_settings(config, {"heads.start": "random"}), vectors, features)
    drawn = rounds.draw(0)
    pseudo = e_step(config.heads, rounds.heads, drawn).labels
    given, places = int(pseudo.kept.sum(1).max()), pseudo.kept.shape[1]
    assert given < places / 3  # heads drawn at random find clusters of very unequal sizes
    steps: list[int] = []
    real = rounds.optimiser.step
    monkeypatch.setattr(rounds.optimiser, "step", lambda: steps.append(1) or real())
    m_step(config.heads, rounds.heads, rounds.optimiser, drawn, pseudo)
    assert len(steps) == config.heads.passes * (given // 16)


def test_the_loss_of_all_images_is_the_same_in_pieces(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learned(config)
    monkeypatch.setattr(stage, "BLOCK_ENTRIES", 7 * CLUSTERS)
    pieces = learned(config)
    np.testing.assert_allclose(pieces.losses, whole.losses, rtol=1e-5)
    np.testing.assert_array_equal(pieces.clustering.probabilities, whole.clustering.probabilities)
