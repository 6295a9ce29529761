"""The orders in which images are reviewed, checked by hand."""

from __future__ import annotations

import numpy as np

from engine.curate import queues

VERDICTS = np.array([0, 1, 3, 0, 2], np.uint8)
AGREEMENT = np.array([1.0, 0.5, 0.2, 0.9, 1.0], np.float32)
CONFIDENCE = np.array([0.999, 0.99, 0.3, 0.99, 0.6], np.float32)


def test_doubt_is_none_where_all_agree_and_counts_nines() -> None:
    found = queues.doubt(np.array([1.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.9, 0.99, 0.0]))
    np.testing.assert_allclose(found, [0, 5 / 6, 4 / 6, 2], atol=1e-6)


def test_rejected_labels_come_before_reliable_ones_the_doubtful_first() -> None:
    order = queues.rejected_first(VERDICTS, AGREEMENT, CONFIDENCE)
    assert order.tolist() == [2, 1, 4, 3, 0]


def test_the_wavering_come_first() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.5, 0.3, 0.2]])
    assert queues.undecided_first(probabilities).tolist() == [1, 2, 0]
    assert queues.undecided_first(probabilities[:, :2]).tolist() == [1, 2, 0]


def test_only_images_that_flipped_are_in_the_queue_of_flips() -> None:
    assert queues.flipped_first(np.array([0, 3, 1, 0, 3], np.uint8)).tolist() == [1, 4, 2]


def test_a_border_holds_the_two_classes_and_the_least_clear_first() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.45, 0.4, 0.15], [0.2, 0.6, 0.2]])
    labels = probabilities.argmax(1)
    assert queues.border(probabilities, labels, 0, 1).tolist() == [2, 3, 0]


def test_near_duplicates_with_different_labels_come_as_pairs() -> None:
    labels = np.array([0, 1, 0, 1, 0])
    neighbors = np.array([[2, 1], [3, 0], [0, 3], [2, 1], [2, 0]])
    similarity = np.array([[0.99, 0.96], [0.99, 0.96], [0.99, 0.98], [0.98, 0.97], [0.5, 0.4]])
    assert queues.contradictions(labels, neighbors, similarity).tolist() == [2, 3, 0, 1]
    assert queues.contradictions(labels, neighbors, similarity, least=0.97).tolist() == [2, 3]
    assert queues.contradictions(np.zeros(5, int), neighbors, similarity).tolist() == []


def test_a_class_is_shown_by_the_images_that_are_surest_of_it_and_fit() -> None:
    classes = np.array([0, 0, 0, 2, 2, 0, 5])
    doubts = np.array([0.3, 0.1, 0.2, 0.9, 0.4, 0.0, 0.1])
    fit = np.array([True, True, True, True, True, False, False])
    assert queues.typical_of(classes, doubts, fit, most=2) == {0: [1, 2], 2: [4, 3]}
    assert queues.typical_of(classes, doubts, np.zeros(7, bool)) == {}


def test_an_audit_takes_the_classes_in_turn() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    order = queues.audit(labels, seed=0)
    assert sorted(order.tolist()) == list(range(10))
    assert sorted(labels[order[:3]].tolist()) == [0, 1, 2]
    assert sorted(labels[order[3:5]].tolist()) == [0, 1]
    assert order.tolist() == queues.audit(labels, seed=0).tolist()
    assert order.tolist() != queues.audit(labels, seed=1).tolist()


def test_an_image_that_stands_for_many_comes_first_and_no_two_for_the_same() -> None:
    # 0 is a neighbour of 1, 2, 3; then 5 of 4, 6, 7; then 1 of 0 (as 7 is); then 4 of 5 (as 6 is).
    neighbors = np.array([[7, 1], [0, 2], [0, 1], [0, 4], [5, 6], [4, 6], [4, 5], [6, 5]])
    order = queues.typical_first(neighbors).tolist()
    assert order[:4] == [0, 5, 1, 4]
    # All are covered; of the rest, 6 is a neighbour of 4, 5, 7, then 2 of 1 and 7 of 0.
    assert order[4:] == [6, 2, 7]


def test_typical_images_are_those_of_a_slow_greedy_cover() -> None:
    rng = np.random.default_rng(0)
    neighbors = np.array([rng.choice(40, 5, replace=False) for _ in range(40)])
    left, slow = set(range(40)), list[int]()
    while left:
        gains = [0 if image in slow else sum(image in neighbors[row] for row in left) for image in range(40)]
        slow.append(int(np.argmax(gains)))
        left -= {row for row in left if slow[-1] in neighbors[row]}
    found = queues.typical_first(neighbors).tolist()
    assert found[: len(slow)] == slow
    assert len(set(found)) == len(found) > len(slow)
    assert queues.typical_first(neighbors, most=3).tolist() == slow[:3]
