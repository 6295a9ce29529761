"""The E-step on points in the plane that can be checked by hand."""

from __future__ import annotations

import torch

from engine.stages.prototypes import assign, confident_images, prototypes_of, pseudo_label

# Four unit vectors: two near the x axis, two near the y axis.
UNIT = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
BELIEF = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]])


def test_the_surest_images_of_each_cluster_come_first() -> None:
    assert confident_images(BELIEF, 2).tolist() == [[[0, 1], [3, 2]]]


def test_a_prototype_is_the_mean_direction_of_its_images() -> None:
    found = prototypes_of(UNIT, torch.tensor([[[0, 3], [1, 1]]]))
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[[half, half], [0.8, 0.6]]]))


def test_each_prototype_labels_its_nearest_images_nearest_first() -> None:
    found = assign(UNIT, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), 2)
    assert found.ids.tolist() == [[0, 1, 3, 2]]
    assert found.labels.tolist() == [[0, 0, 1, 1]]
    assert found.kept.all()


def test_assignment_overlaps_unless_it_is_exclusive() -> None:
    prototypes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    free = assign(UNIT, prototypes, 3)
    assert free.ids.tolist() == [[0, 1, 2, 3, 2, 1]]
    assert free.kept.all()
    exclusive = assign(UNIT, prototypes, 3, exclusive=True)
    assert exclusive.kept.tolist() == [[True, True, False, True, True, False]]


def test_heads_are_treated_apart() -> None:
    both = torch.cat((BELIEF, BELIEF.flip(1)))
    confident, prototypes, labels = pseudo_label(both, UNIT, 1.0)
    one = pseudo_label(BELIEF, UNIT, 1.0)
    assert torch.equal(confident[:1], one[0])
    torch.testing.assert_close(prototypes[:1], one[1])
    assert torch.equal(labels.ids[:1], one[2].ids)
    assert not torch.equal(confident[0], confident[1])


def test_the_center_ratio_decides_how_many_images_form_a_prototype() -> None:
    confident, prototypes, _ = pseudo_label(BELIEF, UNIT, 0.5)
    assert confident.tolist() == [[[0], [3]]]
    torch.testing.assert_close(prototypes, UNIT[[0, 3]].unsqueeze(0))


def test_with_more_clusters_than_half_the_images_each_still_gets_one() -> None:
    confident, _, labels = pseudo_label(torch.eye(4).unsqueeze(0)[:, :3], UNIT[:3], 0.5)
    assert confident.shape == (1, 4, 1)
    assert labels.ids.shape == (1, 4)
