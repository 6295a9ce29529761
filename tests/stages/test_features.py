from __future__ import annotations

import torch

from engine.stages.features import EpochOrder


def test_a_batch_is_cut_to_whole_groups() -> None:
    assert EpochOrder(100, 128, seed=0, multiple=8).size == 96
    assert EpochOrder(5, 128, seed=0, multiple=8).size == 5


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
