from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings, FeatureSettings
from engine.stages.encoder import Encoder, Projector, initialise
from engine.stages.features import EpochOrder, MoCo, moco_loss, simclr_loss


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
