"""Whether what is said about labels covers the truth: simulated reviewers of images whose classes are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.curate import queues
from engine.curate.audit import LEAST_ANSWERS, Estimate, estimated, wilson
from engine.curate.curation import Curation, State
from engine.curate.decisions import Action, Decision, values_of
from engine.curate.guidance import held_back
from engine.curate.judging import Model, judged
from engine.curate.measured import Measured, measured
from engine.curate.propagation import Votes, spread, voted, voters
from engine.curate.provenance import Provenance

BULK, SEEN, VOTED = Provenance.BULK, Provenance.SEEN, Provenance.VOTED
IMAGES, CLASSES, SEEDS = 1000, 5, 20
SHARES = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
# How often the model is right about each class: the larger, the worse.
SURE = np.array([0.35, 0.5, 0.7, 0.9, 0.95])


class World:
    """Images in overlapping classes of unequal size, a model that is often wrong, and a log in memory."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.choice(CLASSES, IMAGES, p=SHARES)
        self.truth[:CLASSES] = np.arange(CLASSES)
        means = self.rng.normal(size=(CLASSES, 6))
        vectors = means[self.truth] + 1.1 * self.rng.normal(size=(IMAGES, 6))
        self.unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        wrong = self.rng.random(IMAGES) > SURE[self.truth]
        labels = np.where(wrong, self.rng.integers(0, CLASSES, IMAGES), self.truth)
        self.model = Model(labels, np.full(IMAGES, 0.9, np.float32), "joint")
        self.names = [f"image-{seed}-{number}" for number in range(IMAGES)]
        self.now = Curation(IMAGES, CLASSES)

    @property
    def own(self) -> np.ndarray:
        return self.now.classes_of(self.model.labels).astype(np.int64)

    def act(self, action: Action, images: Any = (), by: str = "Ann", seen: int | None = None, **about: Any) -> None:
        """Takes one decision into the fold, as the log would."""
        ids = np.array(images, np.int64).ravel()
        asked = Decision(action, by, visit=by, seen=self.now.row if seen is None else seen, images=ids, **about)
        done = judged(asked, self.now, self.model)
        key, _, who, visit, _, last, class_, other, target, text, kept, _, new, _, _, _, said, among = values_of(done)
        row = (self.now.row + 1, action, who, visit, last, class_, other, target, text, kept, new, key, said, among)
        self.now.take([row])  # type: ignore[list-item]

    def answer(self, image: int, **about: Any) -> None:
        """A person looks at an image and says what it is."""
        self.act("relabel", image, class_=int(self.truth[image]), provenance=SEEN, **about)

    def answers(self, images: np.ndarray, **about: Any) -> None:
        for image in images.tolist():
            self.answer(image, **about)

    def audit(self, count: int, seed: int = 0) -> None:
        """Answers the first images of the audit's order, which follows the classes as they are then."""
        for image in queues.audit(self.own, seed)[:count].tolist():
            self.answer(image, text="audit")

    def votes(self) -> Votes:
        found = spread(self.unit, self.now, self.model.labels, self.names)
        assert found is not None
        return found

    def spread(self, share: float = 0.0) -> np.ndarray:
        """Gives the undecided images the classes that enough votes are for; returns them."""
        found = self.votes()
        sure = found.agreement >= share
        self.act("accept", found.ids[sure], new=found.classes[sure], provenance=VOTED)
        return found.ids[sure]

    def right_votes(self, share: float = 0.0) -> float:
        """The true share of right votes of at least `share` on all images that nobody looked at."""
        voting, others = voters(self.now, self.own, self.names), np.flatnonzero(~self.now.answered)
        found, agreement = voted(self.unit, voting, self.own[voting], others)
        return float((found == self.truth[others])[agreement >= share].mean())

    def right(self, images: np.ndarray) -> float:
        return float((self.own == self.truth)[images].mean())

    @property
    def typical(self) -> np.ndarray:
        """Images near the mean of their class first, of every class in turn."""
        means = np.stack([self.unit[self.truth == one].mean(0) for one in range(CLASSES)])
        near, rank = (self.unit * means[self.truth]).sum(1), np.zeros(IMAGES)
        for one in range(CLASSES):
            mine = np.flatnonzero(self.truth == one)
            rank[mine[np.argsort(-near[mine])]] = np.arange(len(mine)) / len(mine)
        return np.argsort(rank, kind="stable")


def nothing(_: World) -> None:
    """Nobody looks at an image that was not drawn at random."""


def typical(world: World) -> None:
    world.answers(world.typical[:60])


def doubtful(world: World) -> None:
    world.answers(world.typical[::-1][:60])


def in_bulk(world: World) -> None:
    typical(world)
    for class_ in range(CLASSES):
        world.act("accept", np.flatnonzero((world.own == class_) & (world.now.state == 0))[:150])


STARTS = (nothing, typical, doubtful, in_bulk)


def covered(found: Estimate | None, truth: float) -> bool:
    return found is not None and found.low <= truth <= found.high


def times(start: Callable[[World], None], holds: Callable[[World], bool]) -> int:
    """In how many of the worlds something holds."""
    found = 0
    for seed in range(SEEDS):
        world = World(seed)
        start(world)
        found += holds(world)
    return found


def after_a_spread(world: World) -> None:
    typical(world)
    world.spread(0.5)


@pytest.mark.parametrize("start", [*STARTS, after_a_spread])
def test_the_share_of_right_votes_is_covered_whatever_else_was_looked_at(start: Callable[[World], None]) -> None:
    def holds(world: World) -> bool:
        world.audit(80)
        return covered(world.votes().vote_estimate(0), world.right_votes())

    assert times(start, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_so_is_that_of_confident_votes(share: float) -> None:
    def holds(world: World) -> bool:
        world.audit(80)
        return covered(world.votes().vote_estimate(share), world.right_votes(share))

    assert times(typical, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("start", STARTS)
def test_the_share_of_the_models_right_labels_is_covered(start: Callable[[World], None]) -> None:
    def holds(world: World) -> bool:
        world.audit(80)
        others = (world.model.labels == world.truth)[~world.now.answered]
        return covered(world.votes().model_estimate(0), float(others.mean()))

    assert times(start, holds) >= 0.9 * SEEDS


def test_after_a_spread_its_undo_and_redo_the_share_of_right_votes_is_still_covered() -> None:
    found = np.zeros(3)
    for seed in range(SEEDS):
        world = World(seed)
        typical(world)
        world.audit(80)
        world.act("accept", np.flatnonzero(world.now.state == 0)[:200])
        before = world.votes().vote_estimate(0)
        spread_to = world.spread()
        truth = world.right(spread_to)
        assert world.now.provenance[spread_to].tolist() == [VOTED] * len(spread_to)
        found[0] += covered(world.votes().vote_estimate(0), truth)
        world.act("undo")
        assert world.votes().vote_estimate(0) == before
        found[1] += covered(before, truth)
        world.act("redo")
        assert world.right(spread_to) == truth
        found[2] += covered(world.votes().vote_estimate(0), truth)
    assert (found >= 0.9 * SEEDS).all(), found


def test_an_audit_after_the_spread_is_as_good() -> None:
    def holds(world: World) -> bool:
        truth = world.right(world.spread())
        world.audit(80, seed=1)
        return covered(world.votes().vote_estimate(0), truth)

    assert times(typical, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("start", [typical, doubtful])
def test_the_images_that_were_looked_at_say_nothing_about_the_others(start: Callable[[World], None]) -> None:
    """Why only random answers count: those that were chosen predict each other better than the others."""

    def misleads(world: World) -> bool:
        found = world.votes()
        assert found.vote_estimate(0) is None
        told = wilson(int(found.vote_right.sum()), len(found.checked))
        return told.low > float((found.classes == world.truth[found.ids]).mean())

    assert times(start, misleads) > SEEDS / 2


def test_what_was_voted_never_votes_nor_is_it_an_answer() -> None:
    world = World(3)
    typical(world)
    world.audit(20)
    before, who = world.votes(), voters(world.now, world.own, world.names)
    world.spread(0.6)
    after = world.votes()
    assert voters(world.now, world.own, world.names).tolist() == who.tolist()
    assert after.checked.tolist() == before.checked.tolist()
    assert after.vote_right.tolist() == before.vote_right.tolist()
    again = np.isin(before.ids, after.ids)
    assert after.classes.tolist() == before.classes[again].tolist()
    world.act("accept", after.ids)  # nor does what was accepted in bulk
    assert world.votes().checked.tolist() == before.checked.tolist()


def test_an_answer_that_is_held_back_from_training_does_not_vote() -> None:
    world = World(4)
    typical(world)
    held = np.flatnonzero(held_back(world.own, world.now.seen, world.names))
    assert len(held) > 0
    assert set(voters(world.now, world.own, world.names)) == set(np.flatnonzero(world.now.seen)) - set(held)
    assert set(held) <= set(world.votes().checked)


def test_two_reviewers_who_contradict_each_other_say_nothing_until_they_agree() -> None:
    world = World(5)
    typical(world)
    image = int(world.typical[0])
    world.act("relabel", image, by="Bob", seen=0, class_=int(world.truth[image] + 1) % CLASSES, provenance=SEEN)
    assert world.now.disputed[image]
    assert image not in voters(world.now, world.own, world.names)
    assert image not in world.votes().checked
    world.answer(image, by="Bob")
    assert image in world.votes().checked


def test_two_reviewers_answers_count_alike() -> None:
    alone, both = World(6), World(6)
    for number, image in enumerate(alone.typical[:40].tolist()):
        alone.answer(image)
        both.answer(image, by="Bob" if number % 2 else "Ann")
    assert both.votes().classes.tolist() == alone.votes().classes.tolist()


def test_two_answers_of_two_classes_vote_and_say_almost_nothing() -> None:
    world = World(7)
    for class_ in (0, 1):
        world.answer(int(np.flatnonzero(world.truth == class_)[-1]), text="audit")
    found = world.votes().vote_estimate(0)
    assert found is not None
    assert (found.answers, found.value) == (2, 0), "each has only the other to ask, which is of another class"
    assert found.high > 0.5


def test_answers_of_one_class_alone_do_not_vote() -> None:
    world = World(8)
    world.answers(np.flatnonzero(world.truth == 0)[:20])
    assert spread(world.unit, world.now, world.model.labels, world.names) is None


def test_a_rejected_label_counts_as_wrong() -> None:
    world = World(9)
    typical(world)
    image = int(np.flatnonzero(world.now.state == State.UNDECIDED)[0])
    world.act("reject", image, provenance=SEEN)
    found = world.votes()
    place = found.checked.tolist().index(image)
    assert not found.vote_right[place]
    assert not found.model_right[place]


# -- a set of the model's labels -------------------------------------------------------------------


def confident(world: World) -> np.ndarray:
    """(N,) bool: a subset of the labels in which more are right, as in a reliable set."""
    right = world.model.labels == world.truth
    return np.random.default_rng(len(world.names[0])).random(IMAGES) < np.where(right, 0.7, 0.3)


def reliable_share(world: World, chosen: np.ndarray) -> Measured:
    return measured(world.now, world.model.labels, chosen, np.zeros(IMAGES, bool))


@pytest.mark.parametrize("start", [*STARTS, after_a_spread])
def test_the_measured_share_of_a_set_is_covered(start: Callable[[World], None]) -> None:
    def holds(world: World) -> bool:
        chosen = confident(world)
        world.audit(100)
        others = chosen & ~world.now.answered
        return covered(
            reliable_share(world, chosen).estimate, float((world.model.labels == world.truth)[others].mean())
        )

    assert times(start, holds) >= 0.9 * SEEDS


def test_until_there_are_enough_answers_nothing_is_measured() -> None:
    world, everything = World(10), np.ones(IMAGES, bool)
    for count in range(LEAST_ANSWERS - 1):
        world.answer(count)
    assert not reliable_share(world, everything).enough
    world.answer(LEAST_ANSWERS)
    found = reliable_share(world, everything)
    assert found.enough
    assert found.estimate is None, "nobody drew them at random"
    looked = world.now.answered
    assert found.right == int((world.model.labels == world.truth)[looked].sum())


def test_votes_bulk_labels_and_what_the_model_was_trained_with_measure_nothing() -> None:
    world, everything = World(11), np.ones(IMAGES, bool)
    world.audit(60)
    before = reliable_share(world, everything)
    world.act("accept", np.flatnonzero(world.now.state == 0)[:300])
    world.spread()
    assert reliable_share(world, everything) == before
    trained = world.now.answered.copy()
    assert measured(world.now, world.model.labels, everything, trained).answers == 0


def test_undo_and_redo_restore_what_is_measured() -> None:
    world, everything = World(12), np.ones(IMAGES, bool)
    world.audit(60)
    before = reliable_share(world, everything)
    world.act("accept", np.arange(IMAGES), new=world.truth)  # somebody accepts everything at once
    assert reliable_share(world, everything).answers == 0, "the last decision about each image is in bulk"
    world.act("undo")
    assert reliable_share(world, everything) == before
    world.act("redo")
    assert reliable_share(world, everything).answers == 0


# -- the share itself ------------------------------------------------------------------------------


def test_answers_count_by_the_images_they_stand_for() -> None:
    found = estimated(np.array([True, False]), np.array([300, 100]))
    assert found is not None
    assert (found.value, found.answers) == (0.75, 2)
    assert estimated(np.zeros(0, bool), np.zeros(0, int)) is None


def test_with_equal_classes_the_interval_is_wilsons() -> None:
    found, known = estimated(np.arange(20) < 15, np.full(20, 7)), wilson(15, 20)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.75, known.low, known.high))
