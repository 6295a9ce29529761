"""Suggestions of the light classifier, on features whose classes are known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.curate.audit import wilson
from engine.curate.judging import Model
from engine.curate.provenance import Provenance
from engine.curate.suggestions import FEW, LEAST_TO_MEASURE, Answers, Suggestions, least_sure_first, suggested
from tests.curate.book import Book

IMAGES, CLASSES = 3000, 4


def made(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of length 1, probabilities of a model that is right about half of the time, and classes"""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, IMAGES)
    vectors = 3 * np.eye(CLASSES, 16)[truth] + noise * rng.normal(size=(IMAGES, 16))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    said = np.where(rng.random(IMAGES) < 0.5, truth, rng.integers(0, CLASSES, IMAGES))
    probabilities = 0.2 * np.ones((IMAGES, CLASSES)) / CLASSES + 0.8 * np.eye(CLASSES)[said]
    return unit.astype(np.float32), probabilities.astype(np.float32), truth


def told(
    unit: np.ndarray, probabilities: np.ndarray, truth: np.ndarray, ids: np.ndarray, said: np.ndarray | None = None
) -> Suggestions | None:
    """Suggestions after a person looked at the images `ids` and said what they are, or `said`."""
    labels = probabilities.argmax(1)
    book = Book(Model(labels, probabilities.max(1), "joint"), CLASSES)
    classes = truth[ids] if said is None else said
    for class_ in np.unique(classes).tolist():
        book.act("relabel", ids[classes == class_], class_=class_, provenance=Provenance.SEEN)
    return suggested(unit, probabilities, book.now, labels)


def some(count: int, seed: int = 0) -> np.ndarray:
    """Images that are answered."""
    return np.random.default_rng(seed).permutation(IMAGES)[:count]


def of(noise: float, count: int, seed: int = 0) -> tuple[Suggestions, np.ndarray, np.ndarray]:
    """Suggestions after `count` answers, the truth, and the images without an answer."""
    unit, probabilities, truth = made(noise, seed)
    ids = some(count, seed)
    found = told(unit, probabilities, truth, ids)
    assert found is not None
    return found, truth, np.setdiff1d(np.arange(len(truth)), ids)


def test_a_few_answers_suggest_the_right_class_of_most_others() -> None:
    found, truth, rest = of(noise=1.0, count=40)
    assert (found.labels[rest] == truth[rest]).mean() > 0.9
    assert set(found.labels.tolist()) == {0, 1, 2, 3}
    assert found.confidence.min() > 1 / CLASSES
    assert found.confidence.max() <= 1


def test_the_probabilities_of_the_model_help() -> None:
    unit, _, truth = made(noise=2.5)
    ids = some(20)
    both, alone = (told(unit, each, truth, ids) for each in (np.eye(CLASSES)[truth], np.full((IMAGES, CLASSES), 0.25)))
    assert both is not None
    assert alone is not None
    assert (both.labels == truth).mean() > (alone.labels == truth).mean() + 0.1


def test_confidence_is_how_often_suggestions_are_right() -> None:
    off = []
    for seed in range(10):
        found, truth, rest = of(noise=2.0, count=150, seed=seed)
        off.append(found.confidence[rest].mean() - (found.labels[rest] == truth[rest]).mean())
    # It was found with a tenth fewer answers, so it is too low rather than too high.
    assert -0.08 < np.mean(off) < 0.03
    assert np.abs(off).max() < 0.12


def misleading(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, probabilities and classes of a model that is right about four in five, and never unsure; some images
    look like those of another class."""
    unit, _, looks = made(noise=2.5, seed=seed)
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(IMAGES) < 0.15, (looks + 1) % CLASSES, looks)
    said = np.where(rng.random(IMAGES) < 0.06, rng.integers(0, CLASSES, IMAGES), looks)
    return unit, np.eye(CLASSES, dtype=np.float32)[said], truth


@pytest.mark.parametrize("count", [30, 60])
def test_a_suggestion_that_contradicts_the_model_is_not_surer_than_it_is_right(count: int) -> None:
    """These are what the Curate page shows: where suggestion and model agree, it would be no news."""
    stated, right = list[np.ndarray](), list[np.ndarray]()
    for seed in range(20):
        unit, probabilities, truth = misleading(seed)
        ids = some(count, seed)
        found = told(unit, probabilities, truth, ids)
        assert found is not None
        rest = np.setdiff1d(np.arange(IMAGES), ids)
        news = rest[found.labels[rest] != probabilities.argmax(1)[rest]]
        stated.append(found.confidence[news])
        right.append(found.labels[news] == truth[news])
    share = float(np.concatenate(right).mean())
    assert share < 0.2
    assert np.concatenate(stated).mean() - max(share, 1 / CLASSES) < 0.1, "much surer than a guess"


@pytest.mark.parametrize("count", [60, 120, 300])
def test_held_back_answers_drawn_at_random_do_not_flatter(count: int) -> None:
    held = []
    for seed in range(20):
        found, truth, rest = of(noise=2.0, count=count, seed=seed)
        for least in (0.0, 0.6, 0.8):
            sure = rest[found.confidence[rest] >= least]
            of_held = found.right[found.held >= least]
            low = wilson(int(of_held.sum()), len(of_held)).low
            held.append(low <= (found.labels[sure] == truth[sure]).mean())
    assert np.mean(held) >= 0.95


def test_each_answer_is_held_back_from_what_judges_it() -> None:
    # Answers at random: a classifier that was told them would find them again.
    unit, _, truth = made(noise=2.0)
    ids = some(60)
    said = np.random.default_rng(5).permutation(truth[ids])
    found = told(unit, np.full((IMAGES, CLASSES), 0.25), truth, ids, said)
    assert found is not None
    assert (found.labels[ids] == said).mean() > 0.6
    assert found.checked.tolist() == sorted(ids.tolist())
    assert found.right.sum() < 30


def test_those_come_first_whose_two_likeliest_classes_are_closest() -> None:
    found, truth, _ = of(noise=2.0, count=100)
    first, last = np.split(least_sure_first(found), 2)
    assert found.margin[first].max() <= found.margin[last].min()
    assert (found.labels == truth)[last].mean() > (found.labels == truth)[first].mean() + 0.1


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_suggested_before_two_classes_have_answers(count: int) -> None:
    unit, probabilities, truth = made(noise=1.0)
    ids = np.flatnonzero(truth == 2)[: 30 * count]
    assert told(unit, probabilities, truth, ids) is None


def test_two_answers_suggest_two_classes_and_measure_nothing() -> None:
    unit, probabilities, truth = made(noise=0.5)
    ids = np.array([np.flatnonzero(truth == 0)[0], np.flatnonzero(truth == 3)[0]])
    found = told(unit, probabilities, truth, ids)
    assert found is not None
    own = np.isin(truth, (0, 3))
    assert (found.labels[own] == truth[own]).mean() > 0.95
    assert len(found.checked) == len(found.right) == 0


def test_a_class_with_one_answer_can_be_suggested_but_not_measured() -> None:
    unit, probabilities, truth = made(noise=0.5)
    many = np.flatnonzero(truth != 3)[:LEAST_TO_MEASURE]
    ids = np.append(many, np.flatnonzero(truth == 3)[0])
    found = told(unit, probabilities, truth, ids)
    assert found is not None
    assert 3 in found.labels
    # Held back, the only answer of its class is unknown to the classifier.
    assert not found.right[found.checked.tolist().index(int(ids[-1]))]


def test_only_so_many_answers_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.curate.suggestions.MOST_ANSWERS", 50)
    found, truth, rest = of(noise=1.0, count=400)
    assert len(found.checked) == 400
    # Those that taught nothing measure like any other image.
    assert found.right.mean() == pytest.approx((found.labels == truth)[rest].mean(), abs=0.05)


def test_it_is_due_after_a_few_answers_and_at_once_where_one_does_not_stand_any_more() -> None:
    _, probabilities, truth = made(noise=1.0)
    book = Book(Model(probabilities.argmax(1), probabilities.max(1), "joint"), CLASSES)
    images = [np.flatnonzero(truth == class_).tolist() for class_ in range(CLASSES)]

    def answered(class_: int, provenance: Provenance = Provenance.SEEN) -> Answers:
        book.act("relabel", [images[class_].pop()], class_=class_, provenance=provenance)
        return Answers.of(book.now, book.model.labels)

    for _ in range(2 * FEW):
        first = answered(0)
        assert not first.due(None), "of one class nothing can be learned"
    two = answered(1)
    assert two.due(None)
    assert two.due(first)
    assert not two.due(two)
    for _ in range(2 * FEW):
        assert not answered(2, Provenance.VOTED).due(two), "only answers teach"
    few = [answered(2) for _ in range(FEW)]
    assert [one.due(two) for one in few] == [False] * (FEW - 1) + [True]
    assert not answered(2).due(few[-1])
    last = Answers.of(book.now, book.model.labels)
    book.act("undo")
    undone = Answers.of(book.now, book.model.labels)
    assert undone.due(last), "an answer was taken back"
    book.act("merge", class_=3, other=2)
    assert Answers.of(book.now, book.model.labels).due(undone), "answers have another class"


def test_answers_stay_as_they_are_while_people_go_on() -> None:
    _, probabilities, truth = made(noise=1.0)
    book = Book(Model(probabilities.argmax(1), probabilities.max(1), "joint"), CLASSES)
    book.act("relabel", [7], class_=int(truth[7]), provenance=Provenance.SEEN)
    kept = Answers.of(book.now, book.model.labels)
    before = [kept.row, *(array.copy() for array in (kept.classes, kept.model, kept.seen, kept.refuted, kept.among))]
    book.act("relabel", [8], class_=int(truth[8] + 1) % CLASSES, provenance=Provenance.SEEN)
    book.act("reject", [7], provenance=Provenance.SEEN)
    book.act("merge", class_=3, other=2)
    after = [kept.row, kept.classes, kept.model, kept.seen, kept.refuted, kept.among]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
