"""The adapter on a frozen network's features, and batches of these in place of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.config import StrongViews, ViewSettings, WeakViews
from engine.data.batches import CachedViews, DeviceImages, ViewVectors
from engine.data.images import ImageSet
from engine.errors import TrainingError
from engine.stages.encoder import WIDTH, Adapter, adapted
from engine.stages.features import NOISE, views_of
from engine.views import strong_view, weak_view

CPU = torch.device("cpu")


def made(images: int = 6, features: int = 4, weak: int = 2, strong: int = 3) -> CachedViews:
    """Features that say which image, kind and view they are of."""
    index = np.arange(images, dtype=np.float32)[:, None] + np.zeros((1, features), np.float32)
    views = [
        np.stack([index + kind + view / 8 for view in range(count)]).astype(np.float16)
        if count
        else np.zeros((0, images, features), np.float16)
        for kind, count in ((100, weak), (200, strong))
    ]
    return CachedViews(index, *views)


def test_an_adapter_begins_as_the_leading_directions_of_unit_features() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(300, 5)) * [9, 5, 3, 1, 0.1] + [4, 0, 0, 0, 0]).astype(np.float32)
    adapter = Adapter.on(vectors, torch.Generator().manual_seed(0))
    found = adapted(adapter, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    factor = 1 / np.sqrt((scale**2 / len(vectors)).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(centred @ directions.T) * factor, atol=2e-4)
    assert np.square(found).mean() == pytest.approx(1, abs=1e-3)


def test_it_is_no_wider_than_it_may_be_and_no_length_of_a_vector_counts() -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 300)).astype(np.float32)
    adapter = Adapter.on(vectors, torch.Generator().manual_seed(0))
    assert adapter.features == WIDTH
    assert Adapter.on(vectors[:20], torch.Generator().manual_seed(0)).features == 20
    np.testing.assert_allclose(adapted(adapter, vectors[:9] * 7), adapted(adapter, vectors[:9]), atol=1e-5)


def test_it_comes_back_from_its_weights() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    adapter = Adapter.on(vectors, torch.Generator().manual_seed(3))
    torch.nn.init.normal_(adapter.outer.weight)
    np.testing.assert_array_equal(adapted(Adapter.of(adapter.state_dict()), vectors), adapted(adapter, vectors))


def test_a_batch_has_each_image_with_all_its_views() -> None:
    batches = ViewVectors(made(), CPU)
    batch = batches.batch(torch.tensor([5, 2]))
    assert len(batches) == 6
    assert batch.dtype == torch.float32
    assert batch[:, :, 0].tolist() == [[5, 105, 105.125, 205, 205.125, 205.25], [2, 102, 102.125, 202, 202.125, 202.25]]
    assert batches.clean(batch)[:, 0].tolist() == [5, 2]


def test_weak_and_strong_views_are_drawn_from_their_own_kind() -> None:
    batches = ViewVectors(made(), CPU)
    views, chance = views_of(batches, WeakViews(), StrongViews()), torch.Generator().manual_seed(0)
    batch = batches.batch(torch.tensor([4] * 200))
    weak, strong = views.weak(batch, chance)[:, 0].tolist(), views.strong(batch, chance)[:, 0].tolist()
    assert set(weak) == {4, 104, 104.125}
    assert set(strong) == {204, 204.125, 204.25}


def test_without_strong_views_the_others_stand_in() -> None:
    batches = ViewVectors(made(strong=0), CPU)
    batch = batches.batch(torch.tensor([1] * 100))
    strong = views_of(batches, WeakViews(), StrongViews()).strong(batch, torch.Generator().manual_seed(0))
    assert set(strong[:, 0].tolist()) == {1, 101, 101.125}


def external(images: int = 10_000) -> ViewVectors:
    """Vectors whose directions differ in their first feature only, and whose lengths do not count."""
    pair = np.array([[3.0, 4.0, 0.0], [-30.0, 40.0, 0.0]], np.float32)
    return ViewVectors(CachedViews.none(np.tile(pair, (images // 2, 1))), CPU)


def test_a_strong_view_of_an_external_vector_has_noise_as_each_feature_differs(chance: torch.Generator) -> None:
    batches = external()
    # Scaled to length 1 they are (±.6, .8, 0).
    torch.testing.assert_close(batches.deviation, torch.tensor([0.6, 0.0, 0.0]))
    batch, views = batches.batch(torch.arange(10_000)), views_of(batches, WeakViews(), StrongViews())
    assert batch.shape == (10_000, 1, 3)
    weak, strong = views.weak(batch, chance), views.strong(batch, chance)
    assert (weak.dtype, strong.dtype) == (torch.float32, torch.float32)
    assert torch.equal(weak, batches.clean(batch))
    noise = strong - torch.nn.functional.normalize(weak, dim=1)
    assert noise[:, 0].std().item() == pytest.approx(NOISE * 0.6, rel=0.05)
    assert noise[:, 0].mean().item() == pytest.approx(0, abs=0.02)
    assert torch.equal(noise[:, 1:], torch.zeros(10_000, 2))


def test_views_of_external_vectors_depend_on_the_generator_alone() -> None:
    batches = external(40)
    batch, views = batches.batch(torch.arange(40)), views_of(batches, WeakViews(), StrongViews())
    first, second, other = (views.strong(batch, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_deviation_is_that_of_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) + 2
    monkeypatch.setattr("engine.data.batches.DEVIATION_BLOCK", 7)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = ViewVectors(CachedViews.none(vectors), CPU).deviation
    np.testing.assert_allclose(found.numpy(), unit.std(0), rtol=1e-4)


@pytest.mark.parametrize("lengths", [1.0, np.linspace(1, 9, 30, dtype=np.float32)[:, None]])
def test_there_is_no_adapter_of_features_that_all_point_the_same_way(lengths: float | np.ndarray) -> None:
    vectors = np.float32([0.3, -1.7, 2.9]) * np.ones((30, 1), np.float32) * lengths
    with pytest.raises(TrainingError, match=r"features of all 30 images point the same way: expected .* differ; use"):
        Adapter.on(vectors, torch.Generator().manual_seed(0))


def test_views_of_pixels_are_those_of_the_settings_to_the_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    images = DeviceImages(ImageSet(pixels, tuple("abcd"), "drawn"), CPU)
    settings, batch = ViewSettings(), images.batch(torch.arange(4))
    views = views_of(images, settings.weak, settings.strong)
    for drawn, own, kind in ((views.weak, weak_view, settings.weak), (views.strong, strong_view, settings.strong)):
        one, other = (torch.Generator().manual_seed(5) for _ in range(2))
        assert torch.equal(drawn(batch, one), own(batch, kind, other))
    assert torch.equal(images.clean(batch), batch)
