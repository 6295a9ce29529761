"""Whether what is said about labels covers the truth: simulated reviewers of images whose classes are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.curate import queues
from engine.curate.audit import LEAST_ANSWERS, Estimate, estimated, wilson
from engine.curate.curation import State
from engine.curate.judging import Model
from engine.curate.measured import Measured, measured
from engine.curate.provenance import Provenance
from engine.curate.suggestions import LEAST_TO_MEASURE, Suggestions, suggested
from tests.curate.book import Book

BULK, SEEN, VOTED = Provenance.BULK, Provenance.SEEN, Provenance.VOTED
IMAGES, CLASSES, SEEDS = 1000, 5, 20
SHARES = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
# How often the model is right about each class: the larger, the worse.
SURE = np.array([0.35, 0.5, 0.7, 0.9, 0.95])


class World(Book):
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
        super().__init__(Model(labels, np.full(IMAGES, 0.9, np.float32), "joint"), CLASSES)
        self.probabilities = (0.1 / CLASSES + 0.9 * np.eye(CLASSES)[labels]).astype(np.float32)
        self._learned: tuple[int, Suggestions | None] = (-1, None)

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

    @property
    def suggested(self) -> Suggestions | None:
        """What the answers suggest, learned again only after another decision."""
        if self._learned[0] != self.now.row:
            found = suggested(self.unit, self.probabilities, self.now, self.model.labels)
            self._learned = self.now.row, found
        return self._learned[1]

    def suggestions(self) -> Suggestions:
        found = self.suggested
        assert found is not None
        return found

    @property
    def left(self) -> np.ndarray:
        return np.flatnonzero(self.now.state == State.UNDECIDED)

    def right_suggestions(self, least: float = 0.0) -> float:
        """The true share of right suggestions at least as sure as `least` on all images that nobody looked at."""
        found = self.suggestions()
        sure = ~self.now.answered & (found.confidence >= least)
        return float((found.labels == self.truth)[sure].mean())

    def spread(self, least: float = 0.0) -> np.ndarray:
        """Gives the undecided images the classes that are suggested surely enough; returns them."""
        found, left = self.suggestions(), self.left
        ids = left[found.confidence[left] >= least]
        self.act("accept", ids, new=found.labels[ids], provenance=VOTED)
        return ids

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


@cache
def audited(start: Callable[[World], None], seed: int) -> World:
    """A world after `start` and 80 random answers: several tests look at the same one, and none changes it."""
    world = World(seed)
    start(world)
    world.audit(80)
    return world


def times_audited(start: Callable[[World], None], holds: Callable[[World], bool]) -> int:
    """In how many of the audited worlds something holds."""
    return sum(holds(audited(start, seed)) for seed in range(SEEDS))


def after_a_spread(world: World) -> None:
    typical(world)
    world.spread(0.5)


@pytest.mark.parametrize("start", [*STARTS, after_a_spread])
def test_the_share_of_right_suggestions_is_covered_whatever_else_was_looked_at(start: Callable[[World], None]) -> None:
    def holds(world: World) -> bool:
        return covered(world.suggestions().estimate(0), world.right_suggestions())

    assert times_audited(start, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("least", [0.5, 0.7])
def test_so_is_that_of_sure_suggestions(least: float) -> None:
    def holds(world: World) -> bool:
        return covered(world.suggestions().estimate(least), world.right_suggestions(least))

    assert times_audited(typical, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("start", STARTS)
def test_the_share_of_the_models_right_labels_is_covered(start: Callable[[World], None]) -> None:
    def holds(world: World) -> bool:
        others = (world.model.labels == world.truth)[~world.now.answered]
        return covered(world.suggestions().model_estimate(0), float(others.mean()))

    assert times_audited(start, holds) >= 0.9 * SEEDS


@pytest.mark.parametrize("start", STARTS)
def test_what_the_classifier_expects_is_about_what_is_true(start: Callable[[World], None]) -> None:
    off = []
    for seed in range(SEEDS):
        world = audited(start, seed)
        off.append(world.suggestions().confidence[~world.now.answered].mean() - world.right_suggestions())
    # After doubtful answers alone it is too low: it was fitted on images harder than the others.
    assert -0.1 < np.mean(off) < 0.05


def test_after_a_spread_its_undo_and_redo_the_share_of_right_suggestions_is_still_covered() -> None:
    found = np.zeros(3)
    for seed in range(SEEDS):
        world = World(seed)
        typical(world)
        world.audit(80)
        world.act("accept", np.flatnonzero(world.now.state == 0)[:200])
        before = world.suggestions().estimate(0)
        spread_to = world.spread()
        truth = world.right(spread_to)
        assert world.now.provenance[spread_to].tolist() == [VOTED] * len(spread_to)
        found[0] += covered(world.suggestions().estimate(0), truth)
        world.act("undo")
        assert world.suggestions().estimate(0) == before
        found[1] += covered(before, truth)
        world.act("redo")
        assert world.right(spread_to) == truth
        found[2] += covered(world.suggestions().estimate(0), truth)
    assert (found >= 0.9 * SEEDS).all(), found


def test_an_audit_after_the_spread_is_as_good() -> None:
    """The suggestions that were spread are labels now: the audit measures what was spread, not new suggestions."""

    def holds(world: World) -> bool:
        truth = world.right(world.spread())
        before = world.own.copy()
        world.audit(80, seed=1)
        drawn = np.flatnonzero(world.now.among > 0)
        found = estimated((before == world.truth)[drawn], world.now.among[drawn].astype(np.int64))
        return covered(found, truth)

    assert times(typical, holds) >= 0.9 * SEEDS


def test_the_images_that_were_looked_at_say_nothing_about_the_others() -> None:
    """Why only random answers count: those that were chosen may be easier than the others."""

    def misleads(world: World) -> bool:
        found = world.suggestions()
        assert found.estimate(0) is None
        told = wilson(int(found.right.sum()), len(found.checked))
        return not told.low <= float((found.labels == world.truth)[world.left].mean()) <= told.high

    assert times(typical, misleads) > SEEDS / 2


def test_what_was_spread_never_teaches_nor_is_it_an_answer() -> None:
    world = World(3)
    typical(world)
    world.audit(20)
    before = world.suggestions()
    world.spread(0.6)
    after = world.suggestions()
    assert after.checked.tolist() == before.checked.tolist()
    assert after.right.tolist() == before.right.tolist()
    assert after.labels.tolist() == before.labels.tolist()
    world.act("accept", world.left)  # nor does what was accepted in bulk
    assert world.suggestions().labels.tolist() == before.labels.tolist()
    assert world.suggestions().checked.tolist() == before.checked.tolist()


def test_answers_that_are_kept_from_it_measure_what_it_learned_without_them() -> None:
    world = World(4)
    world.answers(world.rng.permutation(IMAGES)[:200])
    untold = np.zeros(IMAGES, bool)
    untold[np.flatnonzero(world.now.seen)[::4]] = True
    found = suggested(world.unit, world.probabilities, world.now, world.model.labels, untold=untold)
    assert found is not None
    mine = untold[found.checked]
    assert mine.sum() == 50
    # Of these it is simply what it suggests; the others were each held back once.
    assert found.right[mine].tolist() == (found.labels == world.truth)[untold].tolist()
    other = World(4)
    other.answers(np.flatnonzero(world.now.seen & ~untold))
    assert other.suggestions().labels[untold].tolist() == found.labels[untold].tolist()


def test_two_reviewers_who_contradict_each_other_say_nothing_until_they_agree() -> None:
    world = World(5)
    typical(world)
    image = int(world.typical[0])
    world.act("relabel", image, by="Bob", seen=0, class_=int(world.truth[image] + 1) % CLASSES, provenance=SEEN)
    assert world.now.disputed[image]
    assert image not in world.suggestions().checked
    world.answer(image, by="Bob")
    assert image in world.suggestions().checked


def test_two_reviewers_answers_count_alike() -> None:
    alone, both = World(6), World(6)
    for number, image in enumerate(alone.typical[:40].tolist()):
        alone.answer(image)
        both.answer(image, by="Bob" if number % 2 else "Ann")
    assert both.suggestions().labels.tolist() == alone.suggestions().labels.tolist()


def test_two_answers_of_two_classes_suggest_and_measure_nothing() -> None:
    world = World(7)
    for class_ in (0, 1):
        world.answer(int(np.flatnonzero(world.truth == class_)[-1]), text="audit")
    found = world.suggestions()
    assert set(found.labels.tolist()) == {0, 1}
    assert found.estimate(0) is None
    assert len(found.checked) == 0


def test_answers_of_one_class_alone_suggest_nothing() -> None:
    world = World(8)
    assert world.suggested is None
    world.answers(np.flatnonzero(world.truth == 0)[:LEAST_TO_MEASURE])
    assert world.suggested is None


def test_a_rejected_label_counts_as_wrong() -> None:
    world = World(9)
    typical(world)
    image = int(np.flatnonzero(world.now.state == State.UNDECIDED)[0])
    world.act("reject", image, provenance=SEEN)
    found = world.suggestions()
    place = found.checked.tolist().index(image)
    assert not found.right[place]
    assert not found.model_right[place]


# -- a set of the model's labels -------------------------------------------------------------------


def confident(world: World) -> np.ndarray:
    """(N,) bool: a subset of the labels in which more are right, as in a reliable set."""
    right = world.model.labels == world.truth
    return np.random.default_rng(int(world.truth.sum())).random(IMAGES) < np.where(right, 0.7, 0.3)


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
