"""The E-step on points in the plane, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.errors import RunError
from engine.stages import prototypes as stage
from engine.stages.decided_labels import FixedLabels
from engine.stages.prototypes import (
    Claims,
    Known,
    PseudoLabels,
    assign,
    claimed_labels,
    claims_of,
    compacted,
    confident_images,
    corrected,
    estimated_sizes,
    forming,
    informed,
    margins,
    prototypes_of,
    pseudo_label,
    without,
)

# Four unit vectors: two near the x axis, two near the y axis.
UNIT = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
BELIEF = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]])


def test_sizes_are_what_a_head_finds_but_never_nothing() -> None:
    belief = torch.tensor([[[0.9, 0.1]] * 25 + [[0.4, 0.6]], [[0.9, 0.1]] * 26])
    assert estimated_sizes(belief).tolist() == [[25, 1], [26, 1]]


def test_prototypes_of_unequal_clusters_claim_as_many_images_as_these_have() -> None:
    prototypes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = assign(UNIT, prototypes, torch.tensor([[3, 1]]))
    assert found.ids.tolist() == [[0, 1, 2, 3, 2, 1]]
    assert found.kept.tolist() == [[True, True, True, True, False, False]]
    # The image that only the second prototype would claim stays the first one's.
    alone = assign(UNIT, prototypes, torch.tensor([[3, 2]]), exclusive=True)
    assert alone.kept.tolist() == [[True, True, False, True, True, False]]


def test_unequal_claims_come_back_from_the_saved_arrays() -> None:
    prototypes, nearest = np.eye(2, dtype=np.float32), np.array([[0, 1, 2], [3, 2, 1]])
    saved = (UNIT.numpy(), nearest[:, :1], prototypes, nearest, np.array([3, 1]))
    claims = claims_of(*saved, exclusive=False)
    assert [claims.members(cluster).tolist() for cluster in range(2)] == [[0, 1, 2], [3]]
    assert claimed_labels(claims, 4).tolist() == [0, 0, 0, 1]
    both = claims_of(*saved[:4], np.array([3, 2]), exclusive=True)
    assert [both.members(cluster).tolist() for cluster in range(2)] == [[0, 1], [3, 2]]


def test_empty_places_are_left_out_and_the_order_stays() -> None:
    pseudo = PseudoLabels(
        torch.tensor([[4, 9, 2, 7], [1, 5, 6, 8]]),
        torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]]),
        torch.tensor([[True, False, True, False], [True, True, False, True]]),
    )
    found = compacted(pseudo)
    assert found.kept.tolist() == [[True, True, False], [True, True, True]]
    assert found.ids[found.kept].tolist() == [4, 2, 1, 5, 8]
    assert found.labels[found.kept].tolist() == [0, 1, 0, 0, 1]


def test_a_few_prototypes_at_a_time_label_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    unit = F.normalize(torch.randn(60, 8, generator=chance), dim=1)
    prototypes = F.normalize(torch.randn(2, 20, 8, generator=chance), dim=2)
    count = torch.randint(1, 9, (2, 20), generator=chance)
    whole = assign(unit, prototypes, count, exclusive=True)
    monkeypatch.setattr(stage, "TABLE_ENTRIES", 2 * 60 * 3)
    parts = assign(unit, prototypes, count, exclusive=True)
    for one, other in ((whole.ids, parts.ids), (whole.labels, parts.labels), (whole.kept, parts.kept)):
        assert torch.equal(one, other)
    # By hand: of the claims on an image the nearest stands.
    for head in range(2):
        cosine = unit @ prototypes[head].t()
        claims: dict[int, list[int]] = {}
        for cluster in range(20):
            for image in cosine[:, cluster].topk(int(count[head, cluster])).indices.tolist():
                claims.setdefault(image, []).append(cluster)
        wanted = {image: max(each, key=lambda k: float(cosine[image, k])) for image, each in claims.items()}
        kept = whole.kept[head]
        assert dict(zip(whole.ids[head][kept].tolist(), whole.labels[head][kept].tolist(), strict=True)) == wanted


def test_equally_near_prototypes_leave_an_image_to_the_lower_cluster() -> None:
    twins = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
    found = assign(UNIT, twins, 2, exclusive=True)
    assert found.labels[found.kept].tolist() == [0, 0, 1, 1]


def test_what_nobody_said_changes_nothing() -> None:
    said = Known.of(FixedLabels.none(4), torch.device("cpu"))
    assert said.silent
    assert said.at(torch.tensor([0, 2])).silent
    mask = np.array([True, False, False, False])
    assert not Known.of(FixedLabels(np.zeros(4, np.int64), mask, np.zeros(4, bool)), torch.device("cpu")).silent
    for one, other in zip(
        pseudo_label(BELIEF, UNIT, 0.5, known=said)[:2], pseudo_label(BELIEF, UNIT, 0.5), strict=False
    ):
        assert torch.equal(one, other)


def test_equal_and_estimated_sizes_differ_only_where_clusters_do() -> None:
    belief = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]]])
    _, _, equal = pseudo_label(belief, UNIT, 0.5)
    _, _, estimated = pseudo_label(belief, UNIT, 0.5, sizes="estimated")
    assert equal.ids[equal.kept].tolist() == [0, 1, 3, 2]
    assert estimated.ids[estimated.kept].tolist() == [0, 1, 2, 3]
    assert estimated.labels[estimated.kept].tolist() == [0, 0, 0, 1]


def test_a_small_cluster_forms_its_prototype_without_other_images() -> None:
    """Of 40 images, 36 are in one class and 4 in the other; 16 a cluster would form both prototypes."""
    unit = torch.tensor([[1.0, 0.0]] * 36 + [[0.0, 1.0]] * 4)
    sure = torch.linspace(0.6, 0.95, 36)
    belief = torch.cat([torch.stack([sure, 1 - sure], 1), torch.tensor([[0.1, 0.9]] * 4)])[None]
    confident, prototypes, _ = pseudo_label(belief, unit, 0.8, sizes="estimated")
    assert confident.shape == (1, 2, 3)  # .8 of the 4 that the small cluster has
    assert prototypes[0, 1].tolist() == [0.0, 1.0]
    confident, prototypes, _ = pseudo_label(belief, unit, 0.8)
    assert confident.shape == (1, 2, 16)
    assert prototypes[0, 1, 0] > 0.9


def test_the_median_head_says_how_many_images_form_a_prototype() -> None:
    claimed = torch.tensor([[50, 50], [90, 10], [60, 40]])
    assert forming(0.5, claimed) == 20
    assert forming(0.5, 50) == 25
    assert forming(0.01, 10) == 1


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


# -- decisions ------------------------------------------------------------------------------------

# Decided: image 0 is in cluster 1, whatever it looks like; image 3 is not in cluster 1.
SAID = Known(
    torch.tensor([1, 0, 0, 1]), torch.tensor([True, False, False, False]), torch.tensor([False, False, False, True])
)
NOTHING = Known(torch.zeros(4).long(), torch.zeros(4).bool(), torch.zeros(4).bool())


def test_a_persons_word_comes_first_or_last_in_the_order_of_belief() -> None:
    found = informed(torch.cat((BELIEF, BELIEF.flip(2))), SAID)
    wanted = [[[-1.0, 1.1], [0.6, 0.4], [0.3, 0.7], [0.2, -1.0]], [[-1.0, 1.9], [0.4, 0.6], [0.7, 0.3], [0.8, -1.0]]]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_a_fixed_image_is_surer_than_a_softmax_can_be() -> None:
    certain = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    assert confident_images(informed(certain, SAID), 1)[0, 1].tolist() == [0]


def test_claims_give_way_to_what_a_person_said_and_fixed_images_follow() -> None:
    # Cluster 0 claims images 0 and 1, cluster 1 claims 3 and 2.
    free = assign(UNIT, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), 2)
    found = corrected(free, SAID)
    assert found.ids.tolist() == [[0, 1, 3, 2, 0]]
    assert found.labels.tolist() == [[0, 0, 1, 1, 1]]
    assert found.kept.tolist() == [[False, True, False, True, True]]


def test_a_refused_label_leaves_the_others_to_the_image() -> None:
    claimed_twice = PseudoLabels(torch.tensor([[3, 3]]), torch.tensor([[0, 1]]), torch.ones(1, 2).bool())
    assert corrected(claimed_twice, SAID).kept.tolist() == [[True, False, True]]


def test_a_fixed_image_forms_its_prototype_in_every_head() -> None:
    both = torch.cat((BELIEF, BELIEF.flip(1)))
    confident, prototypes, labels = pseudo_label(both, UNIT, 0.5, known=SAID)
    assert confident[:, 1].tolist() == [[0], [0]]
    torch.testing.assert_close(prototypes[:, 1], UNIT[[0, 0]])
    own = (labels.ids == 0) & labels.kept
    assert own.sum(1).tolist() == [1, 1]
    assert labels.labels[own].tolist() == [1, 1]


@pytest.mark.parametrize("exclusive", [False, True])
def test_where_nothing_was_said_the_e_step_is_the_same_to_the_bit(exclusive: bool) -> None:
    usual = pseudo_label(BELIEF, UNIT, 1.0, exclusive=exclusive)
    found = pseudo_label(BELIEF, UNIT, 1.0, exclusive=exclusive, known=NOTHING)
    assert torch.equal(usual[0], found[0])
    assert torch.equal(usual[1], found[1])
    for name in ("ids", "labels", "kept"):
        assert torch.equal(getattr(usual[2], name), getattr(found[2], name))


def test_what_is_known_follows_the_images() -> None:
    some = SAID.at(torch.tensor([3, 0]))
    assert some.labels.tolist() == [1, 1]
    assert some.fixed.tolist() == [False, True]
    assert some.refused.tolist() == [True, False]


# -- labels without some images -------------------------------------------------------------------

IMAGES, CLUSTERS, RATIO = 90, 4, 0.6


@pytest.fixture(scope="module")
def made() -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (1, N, K) and unit features (N, D) of overlapping clusters."""
    generator = torch.Generator().manual_seed(0)
    unit = F.normalize(torch.randn(IMAGES, 6, generator=generator) + 0.5, dim=1)
    belief = (4 * torch.randn(1, IMAGES, CLUSTERS, generator=generator)).softmax(2)
    return belief, unit


def saved(belief: torch.Tensor, unit: torch.Tensor, exclusive: bool) -> tuple[Claims, np.ndarray]:
    """The claims of a run, and which of them `assign` kept, (K, n)."""
    confident, prototypes, labels = pseudo_label(belief, unit, RATIO, exclusive=exclusive)
    clusters = belief.shape[2]
    nearest, kept = (x[0].view(clusters, -1).numpy() for x in (labels.ids, labels.kept))
    arrays = (confident[0].numpy(), prototypes[0].numpy(), nearest)
    return claims_of(unit.numpy(), *arrays, exclusive=exclusive), kept


@pytest.mark.parametrize("exclusive", [False, True])
def test_claims_keep_what_the_assignment_kept(made: tuple[torch.Tensor, torch.Tensor], exclusive: bool) -> None:
    claims, kept = saved(*made, exclusive)
    assert np.array_equal(claims.kept, kept)
    assert kept.all() != exclusive  # the clusters overlap, so that the setting matters
    cosines = made[1].numpy()[claims.nearest[2]] @ claims.prototypes[2]
    assert claims.cosines[2] == pytest.approx(cosines)


def test_an_image_has_the_label_of_the_nearest_prototype_that_claims_it() -> None:
    prototypes, nearest = np.eye(2, dtype=np.float32), np.array([[0, 1, 2], [3, 2, 1]])
    points = np.concatenate((UNIT.numpy(), [[-1.0, 0.0]])).astype(np.float32)
    claims = claims_of(points, nearest[:, :1], prototypes, nearest, exclusive=False)
    assert claimed_labels(claims, 5).tolist() == [0, 0, 1, 1, -1]
    assert claims.members(0).tolist() == [0, 1, 2]
    exclusive = claims_of(points, nearest[:, :1], prototypes, nearest, exclusive=True)
    assert exclusive.members(0).tolist() == [0, 1]
    assert exclusive.members(1).tolist() == [3, 2]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("veto", [{}, {1: np.array([], np.int64)}, "not confident"])
def test_a_veto_of_nothing_changes_nothing_at_all(
    made: tuple[torch.Tensor, torch.Tensor], exclusive: bool, veto: object
) -> None:
    belief, unit = made
    claims, _ = saved(belief, unit, exclusive)
    outside = np.setdiff1d(np.arange(IMAGES), claims.confident[1])
    vetoed = veto if isinstance(veto, dict) else {1: outside}
    after = without(claims, unit.numpy(), belief[0].numpy(), vetoed, exclusive=exclusive)
    for name in ("confident", "prototypes", "nearest", "cosines", "kept"):
        assert np.array_equal(getattr(after, name), getattr(claims, name))


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_veto_is_the_e_step_with_those_images_the_least_sure(
    made: tuple[torch.Tensor, torch.Tensor], exclusive: bool
) -> None:
    belief, unit = made
    claims, _ = saved(belief, unit, exclusive)
    vetoed = {0: claims.confident[0, :5], 2: claims.confident[2, [1, 7]]}
    after = without(claims, unit.numpy(), belief[0].numpy(), vetoed, exclusive=exclusive)
    doubted = belief.clone()
    for cluster, images in vetoed.items():
        doubted[0, images, cluster] = -1.0
    wanted, kept = saved(doubted, unit, exclusive)
    assert np.array_equal(after.confident, wanted.confident)
    assert np.array_equal(after.nearest, wanted.nearest)
    assert np.array_equal(after.kept, kept)
    assert after.prototypes == pytest.approx(wanted.prototypes, abs=1e-6)
    assert np.array_equal(after.prototypes[1], claims.prototypes[1])  # none of its images is vetoed


def test_the_saved_claims_stay_as_they_are(made: tuple[torch.Tensor, torch.Tensor]) -> None:
    belief, unit = made
    claims, _ = saved(belief, unit, True)
    before = claims.confident.copy(), claims.nearest.copy()
    without(claims, unit.numpy(), belief[0].numpy(), {0: before[0][0, :5]}, exclusive=True)
    assert np.array_equal(claims.confident, before[0])
    assert np.array_equal(claims.nearest, before[1])


def test_equally_sure_images_do_not_change_places(made: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, unit = made
    claims, _ = saved(*made, False)
    certain = np.ones((IMAGES, CLUSTERS), np.float32)
    after = without(claims, unit.numpy(), certain, {3: claims.confident[3, [2]]}, exclusive=False)
    stays = np.delete(claims.confident[3], 2)
    assert np.array_equal(after.confident[3, :-1], stays)
    assert after.confident[3, -1] not in claims.confident[3]


def test_too_many_vetoes_are_refused(made: tuple[torch.Tensor, torch.Tensor]) -> None:
    belief, unit = made
    claims, _ = saved(belief, unit, False)
    with pytest.raises(RunError, match=r"80 of 90 images are vetoed, but a prototype .* of 13"):
        without(claims, unit.numpy(), belief[0].numpy(), {0: np.arange(80)}, exclusive=False)


def test_a_margin_is_how_much_nearer_the_own_prototype_is() -> None:
    prototypes = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    margin, other = margins(UNIT.numpy(), prototypes, np.array([0, 1, 2]), 0)
    assert margin.tolist() == pytest.approx([1.0, 0.2, -0.2])
    assert other.tolist() == [1, 1, 1]


def test_working_in_blocks_changes_nothing(
    made: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = saved(*made, True)
    margin = margins(made[1].numpy(), whole.prototypes, whole.nearest[1], 1)
    monkeypatch.setattr(stage, "BLOCK_ENTRIES", 20)
    blocked, _ = saved(*made, True)
    assert blocked.cosines == pytest.approx(whole.cosines, abs=1e-6)
    again = margins(made[1].numpy(), whole.prototypes, whole.nearest[1], 1)
    assert again[0] == pytest.approx(margin[0], abs=1e-6)
    assert np.array_equal(again[1], margin[1])
