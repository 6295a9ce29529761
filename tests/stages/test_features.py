from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings, FeatureSettings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.stages import features
from engine.stages.encoder import Encoder, Projector, initialise
from engine.stages.features import EpochOrder, MoCo, encode, moco_loss, simclr_loss


def test_simclr_loss_of_perfect_twins_at_right_angles() -> None:
    points = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    # Each view sees its twin at cosine 1 and two others at 0.
    expected = -math.log(math.e**2 / (math.e**2 + 2))
    assert simclr_loss(points, 0.5).item() == pytest.approx(expected)


def test_simclr_loss_does_not_compare_a_view_with_itself() -> None:
    points = F.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    by_hand = []
    for one in range(6):
        twin = (one + 3) % 6
        terms = [math.exp(float(points[one] @ points[k]) / 0.2) for k in range(6) if k != one]
        by_hand.append(-math.log(math.exp(float(points[one] @ points[twin]) / 0.2) / sum(terms)))
    assert simclr_loss(points, 0.2).item() == pytest.approx(sum(by_hand) / 6, rel=1e-5)


def test_moco_loss_by_hand() -> None:
    query, key = torch.tensor([[1.0, 0]]), torch.tensor([[0.6, 0.8]])
    queue = torch.tensor([[0.0, 1], [-1, 0]])
    expected = -math.log(math.exp(0.6) / (math.exp(0.6) + 1 + math.exp(-1)))
    assert moco_loss(query, key, queue, 1.0).item() == pytest.approx(expected)


def moco(images: int = 8, **changes: float) -> MoCo:
    settings = FeatureSettings(batch=4, queue=100, projection=3, norm_groups=2, **changes)  # type: ignore[arg-type]
    chance = torch.Generator().manual_seed(0)
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=8, norm_groups=2)
    projector = Projector(encoder.features, 3)
    initialise(encoder, chance)
    initialise(projector, chance)
    return MoCo(encoder, projector, settings, images=images, chance=chance)


def test_the_queue_holds_whole_batches_and_no_more_than_the_images() -> None:
    assert moco(images=11).queue.shape == (8, 3)


def test_the_newest_keys_replace_the_oldest() -> None:
    model = moco(images=8)
    before = model.queue.clone()
    x = torch.rand(4, 1, 8, 8)
    model(x, x)
    assert not torch.equal(model.queue[:4], before[:4])
    assert torch.equal(model.queue[4:], before[4:])
    model(x, x)
    assert not torch.equal(model.queue[4:], before[4:])
    assert model.place.item() == 0


def test_a_key_is_normalised_in_other_company_than_its_query() -> None:
    model = moco()  # batches of 4 in 2 groups: images 0 and 2 are one, 1 and 3 the other
    seen: list[torch.Tensor] = []
    model.key_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    x = torch.rand(4, 1, 8, 8)
    model(x, x)
    places = [int((seen[0] == one).flatten(1).all(1).nonzero()) for one in x]
    assert {places[0] % 2, places[2] % 2} == {places[1] % 2, places[3] % 2} == {0, 1}


def test_keys_come_back_in_the_order_of_their_images() -> None:
    model = moco().eval()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model._keys(x), model.key_projector(model.key_encoder(x)))


def test_a_batch_is_cut_to_whole_groups() -> None:
    assert EpochOrder(100, 128, seed=0, multiple=8).size == 96
    assert EpochOrder(5, 128, seed=0, multiple=8).size == 5


def test_views_are_made_outside_of_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        features, "mixed_precision", lambda _: torch.autocast("cpu", torch.bfloat16)
    )
    pixels = DeviceImages(
        ImageSet(np.zeros((3, 1, 8, 8), np.uint8), ("a", "b", "c"), "drawn"), torch.device("cpu")
    )
    inside: list[bool] = []

    def view(x: torch.Tensor) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        return x

    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    assert encode(encoder, pixels, view=view).dtype == torch.float32
    assert inside == [False]


def test_losses_are_not_rounded_by_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        features, "mixed_precision", lambda _: torch.autocast("cpu", torch.bfloat16)
    )
    seen: list[torch.dtype] = []
    plain = moco_loss

    def watched(query: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(query.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return plain(query, *rest)

    monkeypatch.setattr(features, "moco_loss", watched)
    x = torch.rand(4, 1, 8, 8)
    assert moco()(x, x).dtype == torch.float32
    assert seen == [torch.float32]


def test_the_key_network_follows_slowly_and_gets_no_gradient() -> None:
    model = moco(key_momentum=0.75)
    with torch.no_grad():
        model.encoder.backbone[0].weight.add_(1)  # type: ignore[operator, index, union-attr]
    start = model.key_encoder.backbone[0].weight.clone()  # type: ignore[operator, index, union-attr]
    x = torch.rand(4, 1, 8, 8)
    model(x, x).backward()
    moved = model.key_encoder.backbone[0].weight - start  # type: ignore[operator, index, union-attr]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert all(one.grad is None for one in model.key_encoder.parameters())
    assert all(one.grad is not None for one in model.encoder.parameters())


def test_an_epoch_meets_every_image_once_and_each_epoch_another_order() -> None:
    order = EpochOrder(12, 4, seed=3)
    epochs = [torch.cat([order.batch(step) for step in range(e * 3, e * 3 + 3)]) for e in (0, 1)]
    for ids in epochs:
        assert sorted(ids.tolist()) == list(range(12))
    assert not torch.equal(epochs[0], epochs[1])


def test_the_order_of_a_step_does_not_depend_on_where_one_begins() -> None:
    walked = EpochOrder(10, 4, seed=1)
    for step in range(5):
        last = walked.batch(step)
    assert torch.equal(EpochOrder(10, 4, seed=1).batch(4), last)
    assert not torch.equal(EpochOrder(10, 4, seed=2).batch(4), last)


def test_a_batch_is_never_larger_than_the_set() -> None:
    assert len(EpochOrder(5, 256, seed=0).batch(0)) == 5
