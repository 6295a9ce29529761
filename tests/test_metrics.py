from __future__ import annotations

import numpy as np
import pytest

from engine import metrics

TRUTH = np.array([0, 0, 0, 1, 1, 2])
FOUND = np.array([1, 1, 0, 0, 0, 2])


def test_contingency_by_hand() -> None:
    assert metrics.contingency(FOUND, TRUTH).tolist() == [[1, 2, 0], [2, 0, 0], [0, 0, 1]]


def test_clusters_are_matched_to_classes_one_to_one() -> None:
    assert metrics.best_match(FOUND, TRUTH) == {0: 1, 1: 0, 2: 2}
    assert metrics.accuracy(FOUND, TRUTH) == pytest.approx(5 / 6)


def test_names_of_clusters_do_not_matter() -> None:
    renamed = np.array([2, 0, 1])[TRUTH]
    assert metrics.truth_scores(renamed, TRUTH) == pytest.approx({"acc": 1, "nmi": 1, "ari": 1})


def test_scores_do_not_change_when_clusters_are_renamed() -> None:
    renamed = np.array([2, 0, 1])[FOUND]
    assert metrics.truth_scores(renamed, TRUTH) == pytest.approx(metrics.truth_scores(FOUND, TRUTH))


def test_more_clusters_than_classes_leave_some_without_a_class() -> None:
    found, truth = np.array([0, 0, 1, 2, 3]), np.array([0, 0, 0, 1, 1])
    assert metrics.accuracy(found, truth) == pytest.approx(3 / 5)
    assert metrics.purity(found, truth) == 1
    assert len(metrics.best_match(found, truth)) == 2


def test_fewer_clusters_than_classes_leave_some_without_a_cluster() -> None:
    found, truth = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3])
    assert metrics.accuracy(found, truth) == pytest.approx(3 / 5)
    assert metrics.best_match(found, truth)[0] == 0


def test_a_cluster_without_images_counts_for_nothing() -> None:
    assert metrics.accuracy(np.array([0, 0, 5]), np.array([1, 1, 0])) == 1
    assert metrics.purity(np.array([0, 0, 5]), np.array([1, 1, 0])) == 1


def test_purity_is_the_share_of_the_commonest_class() -> None:
    assert metrics.purity(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(3 / 4)


@pytest.mark.parametrize(("sizes", "entropy"), [([5, 5, 5], 1), ([9, 0], 0), ([4, 4, 0, 0], 0.5), ([3, 1], 0.811278)])
def test_entropy_of_sizes(sizes: list[int], entropy: float) -> None:
    assert metrics.size_entropy(np.array(sizes)) == pytest.approx(entropy, abs=1e-6)


def test_silhouette_of_directions_apart_and_mixed() -> None:
    features = np.array([[1, 0], [5, 0], [0, 1], [0, 3]], np.float32)
    assert metrics.silhouette(features, np.array([0, 0, 1, 1])) == pytest.approx(1)
    assert metrics.silhouette(features, np.array([0, 1, 0, 1])) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("sizes", "share"), [((5, 5, 5, 5), 1.0), ((60, 30, 10), 11 / 15), ((9, 0, 0), 1 / 3), ((3, 1), 0.75)]
)
def test_balance_is_what_equal_clusters_would_have_room_for(sizes: tuple[int, ...], share: float) -> None:
    assert metrics.balance(np.array(sizes)) == pytest.approx(share)


def test_silhouette_needs_two_clusters_and_fewer_than_images() -> None:
    features = np.eye(4, dtype=np.float32)
    assert metrics.silhouette(features, np.zeros(4, int)) is None
    assert metrics.silhouette(features, np.arange(4)) is None


def test_silhouette_of_many_images_is_that_of_a_seeded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SILHOUETTE_SAMPLE", 20)
    features = np.random.default_rng(0).normal(size=(200, 3))
    labels = (features[:, 0] > 0).astype(int)
    first = metrics.silhouette(features, labels, seed=1)
    assert first == metrics.silhouette(features, labels, seed=1)
    assert first != metrics.silhouette(features, labels, seed=2)


# -- purity without truth ----------------------------------------------------------------------

LABELS = np.array([0, 0, 0, 0, 1, 1])
ALL = np.ones(6, bool)


def test_heads_vote_under_the_numbers_that_fit_the_labels() -> None:
    heads = np.array(
        [
            [0, 0, 0, 0, 1, 1],
            [1, 1, 1, 1, 0, 0],  # the same clusters with other numbers
            [2, 2, 2, 0, 1, 1],  # one image alone in a cluster
        ]
    )
    votes = metrics.head_votes(heads, LABELS)
    assert votes.tolist() == pytest.approx([1, 1, 1, 1 / 3, 1, 1])


def test_a_cluster_that_fits_no_label_keeps_a_number_of_its_own() -> None:
    labels, like = np.array([0, 0, 1, 2, 2]), np.array([1, 1, 1, 0, 0])
    assert metrics.renumbered(labels, like).tolist() == [1, 1, 2, 0, 0]


def test_all_that_agree_are_held_to_be_right() -> None:
    assert metrics.estimated_purity(LABELS, np.ones(6), np.ones(6), ALL) == 1


def test_of_all_images_the_estimate_is_votes_times_agreement() -> None:
    agreement, votes = np.full(6, 0.8), np.array([1, 1, 1, 0, 1, 0.5])
    assert metrics.estimated_purity(LABELS, agreement, votes, ALL) == pytest.approx(0.75 * 0.8)


def test_a_subset_chosen_by_its_neighbours_is_drawn_towards_its_clusters() -> None:
    agreement, votes = np.array([1, 1, 0, 0, 1, 1]), np.ones(6)
    chosen = agreement == 1
    # Half of cluster 0 agrees; the chosen half belongs to it, the other half to cluster 1.
    clusters, everywhere = (0.5 + 1) / 2, 2 / 3
    expected = clusters + everywhere**2 * (1 - clusters)
    assert metrics.estimated_purity(LABELS, agreement, votes, chosen) == pytest.approx(expected)


def test_a_subset_is_believed_less_where_heads_disagree_elsewhere() -> None:
    agreement, chosen = np.array([1, 1, 0, 0, 1, 1]), np.array([1, 1, 0, 0, 0, 0], bool)
    agreed = metrics.estimated_purity(LABELS, agreement, np.ones(6), chosen)
    torn = metrics.estimated_purity(LABELS, agreement, np.where(chosen, 1, 0.5), chosen)
    assert agreed is not None
    assert torn is not None
    assert torn < agreed


def test_no_image_or_a_single_cluster_says_nothing() -> None:
    ones = np.ones(6)
    assert metrics.estimated_purity(LABELS, ones, ones, ~ALL) is None
    assert metrics.estimated_purity(np.full(6, 3), ones, ones, ALL) is None


def test_a_cluster_without_images_changes_no_estimate() -> None:
    agreement, votes = np.array([1, 1, 0.5, 0, 1, 0.5]), np.array([1, 1, 0.4, 1, 1, 1])
    chosen = agreement > 0.4
    gap = np.where(LABELS == 1, 7, LABELS)
    found = metrics.estimated_purity(gap, agreement, votes, chosen)
    assert found == metrics.estimated_purity(LABELS, agreement, votes, chosen)
