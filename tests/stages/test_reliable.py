"""Agreement and verdicts for six images, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.config import ReliableSettings
from engine.space.neighbors import Neighbors, local_agreement, nearest
from engine.stages.clustering import Clustering
from engine.stages.decided_labels import FixedLabels
from engine.stages.reliable import Verdict, judge, neighbor_count, select_reliable

IDS = np.array([[1, 2], [0, 2], [1, 3], [4, 5], [3, 5], [4, 2]], np.int32)
NEIGHBORS = Neighbors(IDS, np.ones(IDS.shape, np.float32))


def clustering(labels: list[int], confidence: list[float], clusters: int = 2) -> Clustering:
    sure = np.array(confidence, np.float32)
    table = np.repeat(((1 - sure) / (clusters - 1))[:, None], clusters, axis=1)
    table[np.arange(len(labels)), labels] = sure
    return Clustering(table)


SIX = clustering([0, 0, 0, 1, 1, 1], [0.99, 0.99, 0.99, 0.99, 0.6, 0.6])


def settings(**changes: float) -> ReliableSettings:
    return ReliableSettings(**{"neighbors": 2, "agreement": 1.0, "confidence": 0.9, **changes})


def test_agreement_is_the_share_of_neighbours_with_the_same_label() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert local_agreement(labels, NEIGHBORS, 2).tolist() == [1, 1, 0.5, 1, 1, 0.5]
    assert local_agreement(labels, NEIGHBORS, 1).tolist() == [1, 1, 1, 1, 1, 1]


def test_every_rejection_has_its_reason() -> None:
    found = select_reliable(SIX, NEIGHBORS, settings())
    assert found.verdicts.tolist() == [
        Verdict.RELIABLE,
        Verdict.RELIABLE,
        Verdict.NEIGHBORS_DISAGREE,
        Verdict.RELIABLE,
        Verdict.NOT_CONFIDENT,
        Verdict.NEITHER,
    ]
    assert found.per_cluster.tolist() == [2, 1]


def test_thresholds_are_inclusive() -> None:
    found = select_reliable(SIX, NEIGHBORS, settings(agreement=0.5, confidence=0.5))
    assert found.mask.all()


def test_a_floor_relaxes_the_agreement_of_the_weak_cluster_only() -> None:
    weak = clustering([0, 0, 0, 1, 1, 1], [0.99, 0.99, 0.99, 0.6, 0.6, 0.99])
    assert select_reliable(weak, NEIGHBORS, settings()).per_cluster.tolist() == [2, 0]
    found = select_reliable(weak, NEIGHBORS, settings(floor=1 / 3))
    assert found.per_cluster.tolist() == [2, 1]
    assert found.thresholds.tolist() == [1.0, 0.5]


def test_an_empty_cluster_is_counted_and_harms_no_other() -> None:
    found = select_reliable(clustering([0, 0, 0, 2, 2, 2], [0.99] * 6, 3), NEIGHBORS, settings())
    assert found.per_cluster.tolist() == [2, 0, 2]


def test_a_cluster_without_a_confident_image_is_left_empty_by_the_floor() -> None:
    unsure = clustering([0, 0, 0, 1, 1, 1], [0.99] * 3 + [0.6] * 3)
    assert select_reliable(unsure, NEIGHBORS, settings(floor=1)).per_cluster.tolist() == [3, 0]


def said(labels: list[int], fixed: list[int], refused: list[int]) -> FixedLabels:
    """`labels` of six images, decided for those in `fixed`, rejected as wrong for those in `refused`."""
    numbers = np.arange(6)
    return FixedLabels(np.array(labels), np.isin(numbers, fixed), np.isin(numbers, refused))


def test_a_decision_is_reliable_and_helps_its_neighbours() -> None:
    # The model labels image 3 as 0; its neighbours are 4 and 5, and it is a neighbour of 2.
    wrong = clustering([0, 0, 0, 0, 1, 1], [0.99, 0.99, 0.99, 0.6, 0.99, 0.99])
    alone = select_reliable(wrong, NEIGHBORS, settings())
    assert alone.mask.tolist() == [True, True, True, False, False, False]
    found = select_reliable(wrong, NEIGHBORS, settings(), said([1] * 6, [3], []))
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.agreement.tolist() == [1, 1, 0.5, 1, 1, 0.5]
    assert found.mask.tolist() == [True, True, False, True, True, False]
    assert found.confidence.tolist() == alone.confidence.tolist()
    assert found.sizes.tolist() == [3, 3]


def test_a_decision_against_neighbours_and_model_is_reliable_all_the_same() -> None:
    found = select_reliable(SIX, NEIGHBORS, settings(), said([1] * 6, [0], []))
    assert found.verdicts[0] == Verdict.RELIABLE
    assert (found.labels[0], found.agreement[0]) == (1, 0)


def test_a_refused_label_is_never_reliable() -> None:
    easy = settings(agreement=0.0, confidence=0.0)
    found = select_reliable(SIX, NEIGHBORS, easy, said([0, 1, 0, 0, 0, 0], [], [0, 1]))
    # The label rejected for image 1 is not the one it has.
    assert found.verdicts.tolist() == [Verdict.NOT_CONFIDENT, 0, 0, 0, 0, 0]


def test_decisions_count_for_the_floor_and_refused_labels_do_not() -> None:
    asked = settings(floor=1 / 3)
    weak = clustering([0, 0, 0, 1, 1, 1], [0.99, 0.99, 0.99, 0.6, 0.6, 0.99])
    found = select_reliable(weak, NEIGHBORS, asked, said([0, 0, 0, 1, 0, 0], [3], []))
    assert found.thresholds.tolist() == [1.0, 1.0]  # image 3 is the third of its cluster
    found = select_reliable(weak, NEIGHBORS, asked, said([1] * 6, [], [5]))
    assert found.per_cluster.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("images", "clusters", "asked", "expected"),
    [
        (1797, 10, None, 18),
        (60_000, 10, None, 100),
        (200, 10, None, 10),
        (5, 2, None, 4),
        (1797, 10, 100, 100),
        (50, 2, 100, 49),
        (1000, 10, 3, 3),
    ],
)
def test_neighbours_asked_grow_with_the_clusters(images: int, clusters: int, asked: int | None, expected: int) -> None:
    assert neighbor_count(ReliableSettings(neighbors=asked), images, clusters) == expected


def test_renaming_the_clusters_changes_no_verdict() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5)).astype(np.float32)
    table = rng.dirichlet(np.full(4, 0.2), 200).astype(np.float32)
    near = nearest(features, 20)
    asked = ReliableSettings(neighbors=20, agreement=0.3, confidence=0.6, floor=0.2)
    found = select_reliable(Clustering(table), near, asked)
    renamed = select_reliable(Clustering(table[:, [2, 0, 3, 1]]), near, asked)
    assert 0 < found.mask.sum() < 200
    assert np.array_equal(found.verdicts, renamed.verdicts)


@pytest.mark.parametrize("floor", [0.0, 0.3, 1.0])
def test_the_verdicts_are_those_of_the_rule_written_out(floor: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, 2, 4], 400)  # cluster 3 is empty
    confidence = rng.choice(np.float32([0.3, 0.9, 0.95, 1.0]), 400)
    agreement = (rng.integers(0, 11, 400) / 10).astype(np.float32)
    asked = settings(agreement=0.7, confidence=0.95, floor=floor)
    found = judge(labels, confidence, agreement, 5, asked)
    for cluster in range(5):
        own = labels == cluster
        sure = sorted(agreement[own & (confidence >= np.float32(0.95))], reverse=True)
        wanted = min(int(np.ceil(floor * own.sum())), len(sure))
        least = min(np.float32(0.7), sure[wanted - 1]) if wanted else np.float32(0.7)
        assert found.thresholds[cluster] == least
        good = own & (agreement >= least) & (confidence >= np.float32(0.95))
        assert np.array_equal(found.mask[own], good[own])


# -- the word reliable -----------------------------------------------------------------------------


def test_what_only_a_lowered_threshold_lets_pass_is_trained_on_but_not_reliable() -> None:
    labels, sure = np.array([0, 0, 0, 1, 1, 1]), np.ones(6, np.float32)
    agreement = np.array([1, 0.9, 0.2, 0.5, 0.4, 0.1], np.float32)
    found = judge(labels, sure, agreement, 2, settings(agreement=0.8, floor=1 / 3))
    assert found.mask.tolist() == [True, True, False, True, False, False]
    nobody = np.zeros(6, bool)
    assert found.relaxed(0.8, nobody).tolist() == [False, False, False, True, False, False]
    strict = found.strict(settings(agreement=0.8), nobody)
    assert strict.mask.tolist() == [True, True, False, False, False, False]
    assert strict.verdicts[3] == Verdict.NEIGHBORS_DISAGREE
    assert strict.thresholds.tolist() == [np.float32(0.8)] * 2
    assert found.mask[3], "what was judged for training stays"


def test_none_may_be_reliable() -> None:
    labels, agreement = np.array([0, 0, 1, 1]), np.full(4, 0.3, np.float32)
    found = judge(labels, np.ones(4, np.float32), agreement, 2, settings(agreement=0.95, floor=0.5))
    assert found.mask.all()
    assert not found.strict(settings(agreement=0.95), np.zeros(4, bool)).mask.any()


def test_what_a_person_fixed_is_reliable_whatever_its_neighbours_say() -> None:
    decided = said([1] * 6, [0], [])
    found = select_reliable(SIX, NEIGHBORS, settings(), decided)
    assert found.agreement[0] == 0
    assert found.strict(settings(), decided.mask).verdicts[0] == Verdict.RELIABLE
    alone = found.strict(settings(), np.zeros(6, bool))
    assert alone.verdicts[0] == Verdict.NEIGHBORS_DISAGREE, "training followed it, but nobody had looked"


def test_without_a_lowered_threshold_the_verdicts_stay() -> None:
    rng = np.random.default_rng(2)
    labels, agreement = rng.integers(0, 3, 100), rng.random(100).astype(np.float32)
    asked = settings(agreement=0.6, confidence=0.4)
    found = judge(labels, rng.random(100).astype(np.float32), agreement, 3, asked)
    assert np.array_equal(found.strict(asked, np.zeros(100, bool)).verdicts, found.verdicts)
