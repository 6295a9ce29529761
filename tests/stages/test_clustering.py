from __future__ import annotations

import numpy as np

from engine.stages.clustering import Clustering


def of(labels: list[int], clusters: int) -> Clustering:
    return Clustering(np.eye(clusters, dtype=np.float32)[labels])


def test_labels_confidence_and_sizes() -> None:
    found = Clustering(np.array([[0.7, 0.3, 0], [0.1, 0.1, 0.8]], np.float32))
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_allclose(found.confidence, [0.7, 0.8])
    assert found.sizes.tolist() == [1, 0, 1]
    assert found.dead == [1]


def test_a_cluster_dominates_above_three_times_its_share() -> None:
    assert of([0] * 7 + [1, 2, 3, 4, 5, 6, 7, 8, 9], 10).dominant == [0]
    assert of([0] * 3 + list(range(1, 8)), 10).dominant == []


def test_with_two_clusters_only_nearly_everything_is_dominant() -> None:
    assert of([0] * 8 + [1] * 2, 2).dominant == []
    assert of([0] * 19 + [1], 2).dominant == [0]
