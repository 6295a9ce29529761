from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import EncoderSettings, JointSettings
from engine.stages.encoder import Encoder, Heads, SplitBatchNorm, whole_norms
from engine.stages.joint import Classifier, Teachers, _labels_known, _optimiser, consistency_loss, follow, reselections
from engine.stages.reliable import ReliableSet


def test_only_what_counts_teaches() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    target = torch.tensor([[0.96, 0.04], [0.6, 0.4]])
    loss = consistency_loss(logits, target, torch.tensor([1.0, 0]))
    assert loss.item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + 1)) / 2)


def test_what_counts_half_teaches_half() -> None:
    logits, target = torch.zeros(1, 2), torch.tensor([[0.9, 0.1]])
    assert consistency_loss(logits, target, torch.tensor([0.5])).item() == pytest.approx(math.log(2) / 2)


def test_without_an_image_that_counts_nothing_is_learned() -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    loss = consistency_loss(logits, torch.full((3, 2), 0.5), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def reliable_set(labels: list[int], mask: list[bool]) -> ReliableSet:
    count = len(labels)
    return ReliableSet(
        np.array(labels),
        np.ones(count, np.float32),
        np.ones(count, np.float32),
        np.where(mask, 0, 1).astype(np.uint8),
        np.ones(max(labels) + 1, np.float32),
    )


def test_every_cluster_teaches_as_often_as_any_other_and_only_by_reliable_images() -> None:
    labels, mask = [0] * 9 + [1] * 3, [True] * 9 + [True, False, False]
    teachers = Teachers(reliable_set(labels, mask), batch=2000, seed=0)
    drawn = teachers.draw(0)
    assert set(drawn.tolist()) == {*range(10)}
    assert (drawn == 9).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(drawn, teachers.draw(0))
    assert not torch.equal(drawn, teachers.draw(1))


def test_teachers_give_way_to_others_but_never_to_none() -> None:
    teachers = Teachers(reliable_set([0, 1], [True, True]), batch=50, seed=0)
    teachers.replace(reliable_set([1, 0], [False, True]))
    assert set(teachers.draw(0).tolist()) == {1}
    teachers.replace(reliable_set([0, 1], [False, False]))
    assert set(teachers.draw(0).tolist()) == {1}
    assert teachers.labels.tolist() == [1, 0]


def test_teachers_come_back_from_a_checkpoint() -> None:
    teachers = Teachers(reliable_set([0, 1, 1], [True, True, False]), batch=9, seed=0)
    other = Teachers(reliable_set([0, 0, 0], [True, False, False]), batch=9, seed=0)
    other.load_state_dict(teachers.state_dict())
    assert torch.equal(other.draw(3), teachers.draw(3))
    assert torch.equal(other.labels, teachers.labels)


@pytest.mark.parametrize(
    ("steps", "times", "expected"), [(10, 0, []), (10, 1, [5]), (12, 3, [3, 6, 9]), (2, 5, [1, 2, 3, 4, 5])]
)
def test_the_reliable_set_is_chosen_anew_at_even_steps(steps: int, times: int, expected: list[int]) -> None:
    assert list(reselections(JointSettings(steps=steps, reselect=times))) == expected


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


def model() -> Classifier:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=8)
    return Classifier(encoder, Heads(1, encoder.features, 3))


def test_weight_decay_leaves_norms_alone() -> None:
    trained = model()
    optimiser, _ = _optimiser(JointSettings(weight_decay=0.1), trained)
    decays = {id(one): group["weight_decay"] for group in optimiser.param_groups for one in group["params"]}
    names = {name: decays[id(one)] for name, one in trained.named_parameters()}
    norms = {name for name, decay in names.items() if decay == 0}
    assert len(names) == len(decays)
    assert norms == {
        f"{place}.{kind}"
        for place, layer in trained.named_modules()
        if isinstance(layer, nn.BatchNorm2d)
        for kind in ("weight", "bias")
    }
    assert {names[name] for name in names.keys() - norms} == {0.1}


@pytest.mark.parametrize(("ending", "last"), [(0.195, 0.195), (0.0, 0.0), (1.0, 1.0)])
def test_the_learning_rate_falls_to_its_end_along_a_cosine(ending: float, last: float) -> None:
    optimiser, schedule = _optimiser(JointSettings(steps=100, learning_rate=0.5, ending=ending), model())
    rates = []
    for _ in range(101):
        rates.append(optimiser.param_groups[0]["lr"] / 0.5)
        optimiser.step()
        schedule.step()
    assert rates[0] == 1
    assert rates[50] == pytest.approx(math.cos(math.acos(ending) / 2))
    assert rates[100] == pytest.approx(last, abs=1e-9)


def test_extra_images_are_learned_from_in_stage_3_but_teach_nothing_reliable() -> None:
    known = _labels_known(reliable_set([0, 1, 1], [True, False, True]), 2, 5)
    assert known.tolist() == [0, 2, 1, 2, 2]
