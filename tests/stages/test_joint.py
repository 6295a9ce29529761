from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from engine.stages.encoder import SplitBatchNorm, whole_norms
from engine.stages.joint import consistency_loss, follow


def test_only_confident_targets_teach() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    target = torch.tensor([[0.96, 0.04], [0.6, 0.4]])
    loss, share = consistency_loss(logits, target, 0.95)
    assert share.item() == 0.5
    assert loss.item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + 1)) / 2)


def test_without_a_confident_target_nothing_is_learned() -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    loss, share = consistency_loss(logits, torch.full((3, 2), 0.5), 0.95)
    loss.backward()
    assert (loss.item(), share.item()) == (0, 0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_stage_3_normalises_whole_batches() -> None:
    norm = SplitBatchNorm(2, 4)
    whole_norms(nn.Sequential(norm))
    assert norm.groups == 1


def test_the_average_follows_weights_and_batch_statistics_and_copies_counters() -> None:
    average, model = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(3)
    assert model.running_mean is not None
    assert model.num_batches_tracked is not None
    model.running_mean.fill_(10)
    model.num_batches_tracked.fill_(7)
    follow(average, model, 0.9)
    assert average.weight.item() == pytest.approx(1.2)
    assert average.running_mean is not None
    assert average.running_mean.item() == pytest.approx(1)
    assert average.num_batches_tracked is not None
    assert average.num_batches_tracked.item() == 7
