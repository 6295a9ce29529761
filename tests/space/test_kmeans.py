"""k-means finds clear groups on every device, and ours is as good as scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.preprocessing import normalize

from engine.space import kmeans as module
from engine.space.kmeans import kmeans, lloyd


def blobs(groups: int, each: int, size: int = 4) -> np.ndarray:
    """(groups·each, size) float32: group after group, far apart."""
    rng = np.random.default_rng(0)
    middles = 10 * np.eye(groups, size, dtype=np.float32)
    return np.repeat(middles, each, 0) + rng.normal(size=(groups * each, size)).astype(np.float32) * 0.1


def inertia(x: np.ndarray, labels: np.ndarray) -> float:
    return float(sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in np.unique(labels)))


def test_clear_groups_are_found_by_both_forms() -> None:
    x = blobs(3, 20)
    for labels in (kmeans(x, 3, 0, starts=2), lloyd(torch.from_numpy(x), 3, 0, starts=2).numpy()):
        groups = labels.reshape(3, 20)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 3


@pytest.mark.parametrize("clusters", [10, 50])
def test_its_own_form_is_as_good_as_scikit_learns(clusters: int) -> None:
    x = normalize(load_digits().data).astype(np.float32)
    theirs = KMeans(clusters, n_init=5, random_state=0).fit(x).inertia_
    ours = inertia(x, lloyd(torch.from_numpy(x), clusters, 0, starts=5).numpy())
    assert ours == pytest.approx(theirs, rel=0.01)


def test_labels_do_not_depend_on_the_blocks_that_images_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(blobs(4, 25))
    whole = lloyd(x, 4, 3, starts=3)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 4 * 3 * 7)  # seven images at a time
    assert torch.equal(lloyd(x, 4, 3, starts=3), whole)


def test_a_cluster_that_loses_all_its_images_begins_again_at_the_furthest(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(blobs(2, 10))
    # All start at the same place, so the second centre gets no image.
    monkeypatch.setattr(module, "_spread_out", lambda x, clusters, starts, _: x[:1].expand(starts, clusters, -1))
    labels = lloyd(x, 2, 0, starts=1).view(2, 10)
    assert (labels == labels[:, :1]).all()
    assert labels[0, 0] != labels[1, 0]


def test_more_clusters_than_different_images_are_no_error() -> None:
    x = torch.ones(6, 2)
    labels = lloyd(x, 3, 0, starts=2)
    assert labels.shape == (6,)
    assert labels.unique().tolist() == [0]
