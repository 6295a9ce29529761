from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.config import HeadSettings, RunConfig
from engine.data.batches import CachedViews, ViewVectors
from engine.forecast.timing import Nothing
from engine.metrics import accuracy
from engine.space.neighbors import Neighbors, nearest
from engine.space.projection import neighborhoods
from engine.stages.clustering import alive, head_agreement, head_scores, neighbor_agreement
from engine.stages.decided_labels import FixedLabels
from engine.stages.encoder import Adapter, Heads, adapted
from engine.stages.features import Features
from engine.stages.heads import Best, HeadClustering, Round, Rounds, _sample, e_step, head_losses, learn_heads, m_step
from engine.stages.prototypes import Known, PseudoLabels, confident_images, kmeans_belief

QUIET = {"emit": lambda _: None, "stop": lambda: False, "checkpoint": Nothing()}
KEPT = torch.ones(1, 1, dtype=torch.bool)


def test_plain_cross_entropy_by_hand() -> None:
    logits, labels = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[0]])
    expected = -math.log(math.e**2 / (math.e**2 + 1))
    assert head_losses(logits, labels, KEPT, False).item() == pytest.approx(expected)


def test_double_softmax_has_a_floor() -> None:
    certain = torch.full((1, 1, 10), -1e4)
    certain[0, 0, 3] = 1e4
    found = head_losses(certain, torch.tensor([[3]]), KEPT, True).item()
    assert found == pytest.approx(math.log(math.e + 9) - 1)
    assert found == pytest.approx(1.461, abs=1e-3)


def test_labels_that_were_not_kept_count_for_nothing() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])
    labels, kept = torch.tensor([[0, 0]]), torch.tensor([[True, False]])
    alone = head_losses(logits[:, :1], labels[:, :1], kept[:, :1], False)
    torch.testing.assert_close(head_losses(logits, labels, kept, False), alone)
    assert head_losses(logits, labels, torch.zeros_like(kept), False).item() == 0


def test_every_head_has_a_loss_of_its_own() -> None:
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2, 3, 0]]).expand(3, 5)
    kept = torch.ones(3, 5, dtype=torch.bool)
    together = head_losses(logits, labels, kept, True)
    for head in range(3):
        one = slice(head, head + 1)
        torch.testing.assert_close(head_losses(logits[one], labels[one], kept[one], True)[0], together[head])


def test_a_sample_holds_the_fixed_images_and_is_else_what_it_was() -> None:
    fixed = torch.zeros(50).bool()
    usual = [_sample(fixed, 20, step, seed=1).tolist() for step in range(2)]
    assert usual[0] != usual[1]
    fixed[[3, 30, 41]] = True
    for step in range(2):
        found = _sample(fixed, 20, step, seed=1).tolist()
        assert set(found[:3]) == {3, 30, 41}
        assert found[3:] == [one for one in usual[step] if one not in (3, 30, 41)][:17]
        assert len(set(found)) == 20
    assert _sample(fixed, 50, 0, seed=1).tolist() == list(range(50))


def test_fixed_images_fill_half_a_sample_at_most_and_change_from_round_to_round() -> None:
    fixed = torch.arange(50) < 30
    first, second = (_sample(fixed, 20, step, seed=1) for step in range(2))
    assert [int(fixed[one].sum()) for one in (first, second)] == [10, 10]
    assert set(first[:10].tolist()) != set(second[:10].tolist())
    fixed[:] = True
    assert len(_sample(fixed, 20, 0, seed=1)) == 20  # there are no other images to fill it with


def test_by_consensus_the_head_the_others_agree_with_is_chosen() -> None:
    agreed = [0, 0, 1, 1, 2, 2]
    labels = np.array([[0, 1, 2, 0, 1, 2], agreed, [2, 2, 0, 0, 1, 1]])
    found = head_agreement(labels)
    assert head_scores("consensus", labels, None).tolist() == found.tolist()
    assert found[1] == pytest.approx(found[2])
    assert found[0] < found[1] <= 1


def test_heads_that_put_everything_into_one_cluster_agree_on_nothing() -> None:
    labels = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]])
    assert head_agreement(labels) == pytest.approx([0, 0, 1 / 3, 1 / 3])


def test_neighbours_prefer_the_head_that_shares_labels_with_them_but_not_a_single_cluster() -> None:
    # Two groups of four; each image's neighbours are the other three of its group.
    groups = np.arange(8).reshape(2, 4)
    ids = np.array([[other for other in group if other != one] for group in groups for one in group], np.int32)
    neighbors = Neighbors(ids, np.ones(ids.shape, np.float32))
    one, right = np.zeros(8, np.int64), np.repeat([0, 1], 4)
    wrong = right.copy()
    wrong[7] = 0  # its three neighbours and it disagree: 6 of 24 pairs
    found = neighbor_agreement(np.stack([one, right, wrong]), neighbors)
    chance = (5 / 8) ** 2 + (3 / 8) ** 2
    assert found == pytest.approx([0, 1, (18 / 24 - chance) / (1 - chance)])
    assert head_scores("neighbors", np.stack([one, right, wrong]), neighbors).tolist() == found.tolist()


def test_the_chosen_head_has_the_lowest_loss_and_a_single_one_is_chosen_by_consensus() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    adapter = Adapter.on(vectors, torch.Generator().manual_seed(0))
    features = Features(adapter, adapted(adapter, vectors), CachedViews.none(vectors))
    batches = ViewVectors(CachedViews.none(vectors), torch.device("cpu"))

    def found(heads: HeadSettings) -> HeadClustering:
        return learn_heads(RunConfig(clusters=3, heads=heads), batches, features, **QUIET)

    several = found(HeadSettings(heads=4, epochs=2, choose="loss"))
    assert len(set(several.losses.tolist())) > 1
    assert several.chosen == several.losses.argmin()
    assert found(HeadSettings(heads=1, epochs=2, choose="consensus")).chosen == 0


def test_the_head_that_neighbours_prefer_is_chosen_with_their_help_or_without() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(60, 5)) + 2 * np.eye(5)[random.integers(3, size=60)]).astype(np.float32)
    adapter = Adapter.on(vectors, torch.Generator().manual_seed(0))
    features = Features(adapter, adapted(adapter, vectors), CachedViews.none(vectors))
    batches = ViewVectors(CachedViews.none(vectors), torch.device("cpu"))
    heads = HeadSettings(heads=4, epochs=2, choose="neighbors")
    near = nearest(features.vectors, 20)
    results = [
        learn_heads(RunConfig(clusters=3, heads=heads), batches, features, **QUIET, neighbors=known)
        for known in (near, None)
    ]
    best = neighbor_agreement(results[0].head_labels, near)
    assert len(set(best.tolist())) > 1
    assert [found.chosen for found in results] == [best.argmax()] * 2


def test_a_kmeans_start_believes_in_clear_groups_and_most_in_their_middle() -> None:
    angles = torch.tensor([0.0, 0.1, 0.3, 1.5, 1.6, 1.8])
    unit = torch.stack((angles.cos(), angles.sin()), 1)
    belief = kmeans_belief(unit, unit.numpy(), 2, 3, seed=0)
    assert belief.shape == (3, 6, 2)
    for head in belief:
        labels = head.argmax(1)
        assert labels[0] == labels[1] == labels[2] != labels[3] == labels[4] == labels[5]
        middle = confident_images(head.unsqueeze(0), 1).flatten().sort().values
        assert middle.tolist() == [1, 4]


def test_a_small_cluster_is_filled_up_with_the_images_most_like_it() -> None:
    # Cluster 0 has 1 image of 9, where prototypes take 4; image 8 is the nearest to it, and 7 and 6 come next.
    angles = torch.tensor([0.0, 1.50, 1.49, 1.48, 1.47, 1.46, 1.2, 1.1, 1.0])
    unit = torch.stack((angles.cos(), angles.sin()), 1)
    belief = kmeans_belief(unit, np.array([[0.0]] + [[9.0]] * 8, np.float32), 2, 1, seed=0)
    small = int(belief[0, 0].argmax())
    assert belief[0].argmax(1).tolist() == [small] + [1 - small] * 8
    assert confident_images(belief, 4)[0, small].tolist() == [0, 8, 7, 6]


@pytest.mark.parametrize("choose", ["loss", "consensus", "neighbors"])
def test_the_best_round_is_chosen_not_the_last(choose: str) -> None:
    unit = F.normalize(
        torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) + 4 * torch.eye(3).repeat(20, 1), dim=1
    )
    known = Known.of(FixedLabels.none(60), torch.device("cpu"))
    heads = own_heads(3, count=2)
    best = Best(HeadSettings(choose=choose), heads, unit, known, nearest(unit.numpy(), 10))  # type: ignore[arg-type]
    good = {name: value.clone() for name, value in heads.state_dict().items()}
    best.consider()
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):  # worse and worse
        with torch.no_grad():
            heads.out_weight += 20 * torch.randn(heads.out_weight.shape, generator=generator)
        best.consider()
    again = Best(best.settings, heads, unit, known, best.judges)
    again.load_state_dict(best.state_dict())
    again.take()
    assert all(torch.equal(value, good[name]) for name, value in heads.state_dict().items())


@pytest.mark.parametrize("choose", ["consensus", "neighbors"])
def test_heads_that_lost_a_cluster_do_not_win_by_agreeing(choose: str) -> None:
    """Three classes, of which two are near each other: all heads agree once these are one cluster."""
    unit = torch.tensor([[1.0, 0, 0]] * 20 + [[0, 0.8, 0.6]] * 20 + [[0, 0.6, 0.8]] * 20)
    unit = F.normalize(unit + 0.15 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    known = Known.of(FixedLabels.none(60), torch.device("cpu"))
    heads = own_heads(3, count=2)
    with torch.no_grad():
        heads.out_weight[1] += torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    best = Best(HeadSettings(choose=choose), heads, unit, known, nearest(unit.numpy(), 10))  # type: ignore[arg-type]
    best.consider()
    before = best._score
    assert before[0] == 3
    with torch.no_grad():
        heads.out_weight[:, :, 2] -= 100
        merged = torch.stack([heads.logits_of(head, unit).argmax(1) for head in range(2)]).numpy()
    assert alive(merged, 3) == [2, 2]
    assert max(head_scores(choose, merged, best.judges)) > before[1]
    best.consider()
    assert best._score == before


def test_a_cluster_of_almost_no_images_is_not_alive() -> None:
    labels = np.array([[0] * 50 + [1] * 48 + [2] * 2, [0] * 40 + [1] * 57 + [2] * 3, [1] * 100])
    assert alive(labels, 3) == [2, 3, 1]
    assert alive(np.array([[0, 1, 2]]), 3) == [3]


def drawn_round(weak: torch.Tensor, strong: torch.Tensor) -> Round:
    images = len(weak)
    return Round(
        torch.arange(images),
        F.normalize(weak, dim=1),
        weak,
        strong,
        Known.of(FixedLabels.none(images), torch.device("cpu")),
        None,
        torch.Generator().manual_seed(0),
    )


def own_heads(clusters: int, scale: float = 10, count: int = 1) -> Heads:
    """Heads whose logits are the features times `scale`."""
    heads = Heads(count, clusters, clusters)
    with torch.no_grad():
        heads.hidden_weight.copy_(torch.eye(clusters).expand(count, -1, -1))
        heads.out_weight.copy_(scale * torch.eye(clusters).expand(count, -1, -1))
    return heads


def test_an_e_step_by_hand() -> None:
    weak = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
    found = e_step(HeadSettings(center_ratio=0.5), own_heads(2), drawn_round(weak, weak))
    # M/K = 2 images a cluster, half of them form the prototype: images 0 and 2.
    assert found.confident.tolist() == [[[0], [2]]]
    torch.testing.assert_close(found.prototypes, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    assert found.labels.ids.tolist() == [[0, 3, 2, 1]]
    assert found.labels.labels.tolist() == [[0, 0, 1, 1]]
    torch.testing.assert_close(found.belief, (10 * weak).softmax(1)[None])


def test_an_e_step_changes_nothing_and_a_belief_takes_the_place_of_the_heads() -> None:
    weak = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
    heads, drawn = own_heads(2), drawn_round(weak, weak)
    before = {name: value.clone() for name, value in heads.state_dict().items()}
    told = replace(drawn, belief=torch.tensor([[[0.0, 1.0], [0.2, 0.8], [1.0, 0.0], [0.5, 0.5]]]))
    assert e_step(HeadSettings(), heads, told).confident.tolist() == [[[2], [0]]]
    assert all(torch.equal(value, before[name]) for name, value in heads.state_dict().items())


def test_an_m_step_learns_the_pseudo_labels_whatever_the_heads_believed() -> None:
    strong = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    settings = HeadSettings(passes=200, batch=4, double_softmax=False)
    heads, drawn = own_heads(2, scale=1), drawn_round(strong, strong)
    optimiser = torch.optim.Adam(heads.parameters(), 0.05)
    pseudo = PseudoLabels(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[1, 1, 0, 0]]), torch.ones(1, 4).bool())
    losses = m_step(settings, heads, optimiser, drawn, pseudo)
    assert losses.shape == (1,)
    assert losses.item() < 0.1
    assert heads(strong)[0].argmax(1).tolist() == [1, 1, 0, 0]


def test_neighbourhoods_are_found_where_directions_mislead() -> None:
    # Two arcs, one around the other, in the plane; far from it, so that length 1 changes little.
    rng, images = np.random.default_rng(0), 300
    truth, angle = np.arange(images) % 2, rng.uniform(0, np.pi, images)
    radius = 1 + truth + rng.normal(0, 0.03, images)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(images, 3.0)], 1).astype(np.float32)
    unit = torch.nn.functional.normalize(torch.from_numpy(points), dim=1)
    laid = neighborhoods(unit.numpy(), seed=0)
    by_direction, by_neighborhood = (
        accuracy(kmeans_belief(unit, each, 2, 1, seed=0)[0].argmax(1).numpy(), truth) for each in (unit.numpy(), laid)
    )
    assert by_direction < 0.8
    assert by_neighborhood > 0.95
    assert neighborhoods(3 * unit.numpy()[:20], seed=0) == pytest.approx(unit.numpy()[:20])


def test_neighbourhoods_are_those_of_the_networks_own_features(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = (np.random.default_rng(0).normal(size=(40, 6)) + 5).astype(np.float32)
    views = CachedViews(clean, clean[None].astype(np.float16), clean[None].astype(np.float16))
    adapter = Adapter.on(clean, torch.Generator().manual_seed(0))
    given = []
    monkeypatch.setattr("engine.stages.heads.neighborhoods", lambda vectors, _seed: given.append(vectors) or vectors)
    config = RunConfig(clusters=3, heads=HeadSettings(heads=1, start="neighbors"))
    features = Features(adapter, adapted(adapter, clean), views)
    Rounds(config, ViewVectors(views, torch.device("cpu")), features).draw(0)
    assert [each.tolist() for each in given] == [clean.tolist()]
