"""Suggestions of the light classifier, on features whose classes are known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.curate.suggestions import LEAST_TO_MEASURE, Suggestions, least_sure_first, suggested

IMAGES, CLASSES = 3000, 4


def made(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of length 1, probabilities of a model that is right about half of the time, and classes 10, 11, …"""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, IMAGES)
    vectors = 3 * np.eye(CLASSES, 16)[truth] + noise * rng.normal(size=(IMAGES, 16))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    said = np.where(rng.random(IMAGES) < 0.5, truth, rng.integers(0, CLASSES, IMAGES))
    probabilities = 0.2 * np.ones((IMAGES, CLASSES)) / CLASSES + 0.8 * np.eye(CLASSES)[said]
    return unit.astype(np.float32), probabilities.astype(np.float32), truth + 10


def answered(truth: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(truth))[:count]


def of(noise: float, count: int, seed: int = 0) -> tuple[Suggestions, np.ndarray, np.ndarray]:
    """Suggestions after `count` answers, the truth, and the images without an answer."""
    unit, probabilities, truth = made(noise, seed)
    ids = answered(truth, count, seed)
    found = suggested(unit, probabilities, ids, truth[ids])
    assert found is not None
    return found, truth, np.setdiff1d(np.arange(len(truth)), ids)


def test_a_few_answers_suggest_the_right_class_of_most_others() -> None:
    found, truth, rest = of(noise=1.0, count=40)
    assert (found.labels[rest] == truth[rest]).mean() > 0.9
    assert set(found.labels.tolist()) == {10, 11, 12, 13}
    assert found.confidence.min() > 1 / CLASSES
    assert found.confidence.max() <= 1


def test_the_probabilities_of_the_model_help() -> None:
    unit, _, truth = made(noise=2.5)
    ids = answered(truth, 20)
    both, alone = (
        suggested(unit, each, ids, truth[ids])
        for each in (np.eye(CLASSES)[truth - 10], np.full((IMAGES, CLASSES), 0.25))
    )
    assert both is not None
    assert alone is not None
    assert (both.labels == truth).mean() > (alone.labels == truth).mean() + 0.1


def test_confidence_is_how_often_suggestions_are_right() -> None:
    off = []
    for seed in range(10):
        found, truth, rest = of(noise=2.0, count=150, seed=seed)
        off.append(found.confidence[rest].mean() - (found.labels[rest] == truth[rest]).mean())
    assert abs(np.mean(off)) < 0.05
    assert np.abs(off).max() < 0.12


@pytest.mark.parametrize("count", [60, 120, 300])
def test_what_is_promised_of_the_rest_holds(count: int) -> None:
    held = []
    for seed in range(20):
        found, truth, rest = of(noise=2.0, count=count, seed=seed)
        for least in (0.0, 0.6, 0.8):
            sure = rest[found.confidence[rest] >= least]
            held.append(found.right(least).low <= (found.labels[sure] == truth[sure]).mean())
    assert np.mean(held) >= 0.95


def test_each_answer_is_held_back_from_what_judges_it() -> None:
    # Answers at random: a classifier that was told them would find them again.
    unit, _, truth = made(noise=2.0)
    ids = answered(truth, 60)
    said = np.random.default_rng(5).permutation(truth[ids])
    found = suggested(unit, np.full((IMAGES, CLASSES), 0.25), ids, said)
    assert found is not None
    assert (found.labels[ids] == said).mean() > 0.6
    assert found.right(0.0).total == 60
    assert found.right(0.0).right < 30


def test_those_come_first_whose_two_likeliest_classes_are_closest() -> None:
    found, truth, _ = of(noise=2.0, count=100)
    first, last = np.split(least_sure_first(found), 2)
    assert found.margin[first].max() <= found.margin[last].min()
    assert (found.labels == truth)[last].mean() > (found.labels == truth)[first].mean() + 0.1


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_suggested_before_two_classes_have_answers(count: int) -> None:
    unit, probabilities, truth = made(noise=1.0)
    ids = np.flatnonzero(truth == 12)[: 30 * count]
    assert suggested(unit, probabilities, ids, truth[ids]) is None


def test_two_answers_suggest_two_classes_and_measure_nothing() -> None:
    unit, probabilities, truth = made(noise=0.5)
    ids = np.array([np.flatnonzero(truth == 10)[0], np.flatnonzero(truth == 13)[0]])
    found = suggested(unit, probabilities, ids, truth[ids])
    assert found is not None
    own = np.isin(truth, (10, 13))
    assert (found.labels[own] == truth[own]).mean() > 0.95
    assert not found.measured
    assert (found.right(0.0).total, found.right(0.0).low, found.right(0.0).high) == (0, 0.0, 1.0)


def test_a_class_with_one_answer_can_be_suggested_but_not_measured() -> None:
    unit, probabilities, truth = made(noise=0.5)
    many = np.flatnonzero(truth != 13)[:LEAST_TO_MEASURE]
    ids = np.append(many, np.flatnonzero(truth == 13)[0])
    found = suggested(unit, probabilities, ids, truth[ids])
    assert found is not None
    assert found.measured
    assert 13 in found.labels
    # Held back, the only answer of its class is unknown to the classifier.
    assert found.right(0.0).right <= LEAST_TO_MEASURE


def test_only_so_many_answers_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.curate.suggestions.MOST_ANSWERS", 50)
    found, _, _ = of(noise=1.0, count=400)
    assert len(found.held) == 50
