"""Each rule for weighting unlabelled images, computed by hand from its paper's equations."""

from __future__ import annotations

import math

import pytest
import torch

from engine.config import JointSettings
from engine.stages.thresholds import FixMatch, FlexMatch, FreeMatch, SoftMatch, thresholds

TARGET = torch.tensor([[0.96, 0.04], [0.3, 0.7]])
IDS = torch.tensor([0, 1])


def test_fixmatch_counts_what_reaches_the_threshold() -> None:
    assert FixMatch(0.95)(TARGET, IDS).tolist() == [1, 0]
    assert FixMatch(0.7)(TARGET, IDS).tolist() == [1, 1]


def nothing(images: int, clusters: int) -> torch.Tensor:
    """The labels of reliable images, where none is."""
    return torch.full((images,), clusters)


def test_flexmatch_begins_with_what_the_reliable_set_knows() -> None:
    assert FlexMatch(0.95, 2, nothing(4, 2))(TARGET, IDS).tolist() == [1, 1]
    # Two reliable images of each cluster: nothing is asked less of.
    assert FlexMatch(0.95, 2, torch.tensor([0, 0, 1, 1]))(TARGET, IDS).tolist() == [1, 0]
    # Two of cluster 0 and one of cluster 1, of which .95 · (1/2) / (3/2) = .317 is asked.
    weigh = FlexMatch(0.95, 2, torch.tensor([0, 0, 1, 2]))
    assert weigh(torch.tensor([[0.9, 0.1], [0.45, 0.55]]), IDS).tolist() == [0, 1]


def test_flexmatch_leaves_the_reliable_labels_as_they_are() -> None:
    reliable = torch.tensor([0, 0])
    FlexMatch(0.9, 2, reliable)(torch.tensor([[0.05, 0.95]]), torch.tensor([0]))
    assert reliable.tolist() == [0, 0]


def test_flexmatch_asks_less_of_a_cluster_of_which_little_was_learned() -> None:
    weigh = FlexMatch(0.9, 2, nothing(8, 2))
    sure = torch.tensor([[0.95, 0.05]] * 4 + [[0.05, 0.95]] * 2)
    weigh(sure, torch.arange(6))
    # Learned: 4 of cluster 0, 2 of cluster 1, 2 of none. Shares 1 and 1/2; thresholds .9 and
    # .9 · (1/2) / (3/2) = .3.
    target = torch.tensor([[0.89, 0.11], [0.91, 0.09], [0.45, 0.55]])
    assert weigh(target, torch.tensor([6, 6, 7])).tolist() == [0, 1, 1]


def test_flexmatch_remembers_the_newest_sure_label_of_an_image() -> None:
    weigh = FlexMatch(0.9, 2, nothing(2, 2))
    weigh(torch.tensor([[0.95, 0.05]]), torch.tensor([1]))
    weigh(torch.tensor([[0.4, 0.6]]), torch.tensor([1]))  # not confident: the old label stays
    assert weigh.learned.tolist() == [2, 0]
    weigh(torch.tensor([[0.05, 0.95]]), torch.tensor([1]))
    assert weigh.learned.tolist() == [2, 1]


def test_freematch_asks_for_the_mean_confidence_scaled_by_the_belief_in_the_cluster() -> None:
    weigh = FreeMatch(clusters=2, momentum=0.5)
    weights = weigh(TARGET, IDS)
    # Mean confidence .83, mean probabilities (.63, .37); both start at 1/2 and move half the way.
    assert weigh.sure.item() == pytest.approx((0.5 + 0.83) / 2)
    torch.testing.assert_close(weigh.belief, torch.tensor([0.565, 0.435]))
    # Thresholds: .665 for cluster 0 and .665 · .435 / .565 = .512 for cluster 1.
    assert weights.tolist() == [1, 1]
    assert weigh(torch.tensor([[0.62, 0.38], [0.45, 0.55]]), IDS).tolist() == [0, 1]


def test_softmatch_weighs_what_is_below_the_mean_by_a_bell_curve() -> None:
    weigh = SoftMatch(clusters=2, momentum=0.0)  # remembers only the newest batch
    weights = weigh(TARGET, IDS)
    # Confidences .96 and .7: mean .83, variance .13². The second is one deviation below the mean.
    assert weights[0].item() == 1
    assert weights[1].item() == pytest.approx(math.exp(-0.5), rel=1e-4)


def test_softmatch_remembers_what_came_before() -> None:
    weigh = SoftMatch(clusters=2, momentum=0.5)
    weigh(TARGET, IDS)
    assert weigh.mean.item() == pytest.approx((0.5 + 0.83) / 2)
    assert weigh.variance.item() == pytest.approx((1 + 0.13**2) / 2)


@pytest.mark.parametrize(
    ("adapt", "kept"),
    [("fixed", set()), ("flex", {"learned"}), ("free", {"sure", "belief"}), ("soft", {"mean", "variance"})],
)
def test_what_a_weighing_remembers_is_in_its_state(adapt: str, kept: set[str]) -> None:
    settings = JointSettings(adapt=adapt)  # type: ignore[arg-type]
    assert thresholds(settings, 3, nothing(5, 3)).state_dict().keys() == kept


def test_the_same_confidence_counts_for_one_cluster_and_not_for_another() -> None:
    weigh = FreeMatch(clusters=2, momentum=0.5)
    assert weigh(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), IDS).tolist() == [1, 0]
    # Confidence (.5 + .75) / 2 = .625, probabilities (.625, .375): thresholds .625 and .375.
    assert weigh(torch.tensor([[0.4, 0.6], [0.6, 0.4]]), IDS).tolist() == [1, 0]
    # Confidence (.625 + .6) / 2 = .6125, probabilities (.5625, .4375): thresholds .6125 and .4764.
    assert weigh.sure.item() == pytest.approx(0.6125)
    torch.testing.assert_close(weigh.belief, torch.tensor([0.5625, 0.4375]))


def test_softmatch_by_hand_over_two_batches() -> None:
    weigh = SoftMatch(clusters=2, momentum=0.5)
    first = weigh(torch.tensor([[0.9, 0.1], [0.5, 0.5]]), IDS)
    # Mean (.5 + .7) / 2 = .6, variance (1 + .04) / 2 = .52: .5 falls short by .1.
    torch.testing.assert_close(first, torch.tensor([1, math.exp(-0.01 / 1.04)]))
    second = weigh(torch.tensor([[0.4, 0.6], [0.8, 0.2]]), IDS)
    # Mean (.6 + .7) / 2 = .65, variance (.52 + .01) / 2 = .265: .6 falls short by .05.
    torch.testing.assert_close(second, torch.tensor([math.exp(-0.0025 / 0.53), 1]))


@pytest.mark.parametrize("adapt", ["flex", "free", "soft"])
def test_a_weighing_goes_on_from_its_state(adapt: str) -> None:
    settings = JointSettings(adapt=adapt, average=0.5, threshold=0.6)  # type: ignore[arg-type]
    begun, fresh, other = (thresholds(settings, 2, nothing(3, 2)) for _ in range(3))
    begun(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), IDS)
    other.load_state_dict(begun.state_dict())
    late = torch.tensor([[0.59, 0.41], [0.45, 0.55]])
    expected = begun(late, IDS)
    assert torch.equal(other(late, IDS), expected)
    assert not torch.equal(fresh(late, IDS), expected)


def test_flexmatch_lowers_its_threshold_along_the_curve_of_its_paper() -> None:
    weigh = FlexMatch(0.8, 4, nothing(4, 4))
    weigh(torch.eye(4)[[0, 0, 1]], torch.arange(3))
    # Learned: 2 of cluster 0, 1 of cluster 1, 1 of none. The threshold of cluster 1 is
    # .8 · (1/2) / (2 − 1/2) = .2667, that of clusters 2 and 3 is 0.
    target = torch.tensor([[0.24, 0.26, 0.25, 0.25], [0.24, 0.28, 0.24, 0.24], [0.24, 0.24, 0.24, 0.28]])
    assert weigh(target, torch.arange(3)).tolist() == [0, 1, 1]
