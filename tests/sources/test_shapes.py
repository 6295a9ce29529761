"""The built-in shapes: their form is checked on images without randomness, their variation on the set."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest

from engine.sources import shapes as drawing
from engine.sources.open_source import open_source
from engine.sources.shapes import CLASSES, COLOURS, SIDE, shapes

RING, TRIANGLE, BAR, CROSS = range(4)
LUMA = np.array((0.299, 0.587, 0.114))


class Middle:
    """A generator that always draws the middle: shapes upright, centred, of medium size and without grain."""

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, (low + high) / 2)

    def standard_normal(self, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        return np.zeros(shape, kind)


middle = cast("np.random.Generator", Middle())


@pytest.fixture
def masks() -> np.ndarray:
    """(4, 64, 64) bool: the area of each shape, in the order of the classes."""
    return drawing._Draw(middle, len(CLASSES)).shape(np.arange(len(CLASSES)))


def test_the_set_is_of_colour_images_with_names_of_their_own() -> None:
    found = shapes()
    assert found.pixels.shape == (960, 3, SIDE, SIDE) == (960, 3, 32, 32)
    assert found.pixels.dtype == np.uint8
    assert found.ids[:2] == ("shape-0000", "shape-0001")
    assert len(set(found.ids)) == 960


def test_a_seed_draws_the_same_images_again_and_another_seed_others() -> None:
    first, again, other = shapes(3, 60), shapes(3, 60), shapes(4, 60)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.classes, again.classes)
    assert not np.array_equal(first.classes, other.classes)
    assert (first.pixels != other.pixels).mean() > 0.9


def test_no_colour_tells_a_class() -> None:
    found = shapes()
    pairs = np.zeros((len(CLASSES), len(COLOURS)), int)
    np.add.at(pairs, (found.classes, found.colours), 1)
    assert (pairs == 60).all()


def test_a_number_that_does_not_divide_leaves_pairs_one_image_apart() -> None:
    found = shapes(images=37)
    pairs = np.zeros((len(CLASSES), len(COLOURS)), int)
    np.add.at(pairs, (found.classes, found.colours), 1)
    assert sorted(pairs.ravel()) == [2] * 11 + [3] * 5


def test_more_images_than_a_block_are_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "BLOCK", 7)
    found = shapes(images=20)
    assert (found.pixels.reshape(20, -1).std(1) > 10).all()


def test_shapes_are_what_they_are_called(masks: np.ndarray) -> None:
    middle_row, middle_column = masks[:, 32], masks[:, :, 32]
    assert not masks[RING, 32, 32]
    assert masks[[TRIANGLE, BAR, CROSS], 32, 32].all()
    assert np.count_nonzero(np.diff(middle_row[RING])) == 4  # in, out, in, out
    assert middle_column[BAR].sum() > 4 * middle_row[BAR].sum()
    rows = masks[TRIANGLE].sum(1)
    rows = rows[rows > 0]
    assert rows[0] < 6 < rows[-1]
    assert (np.diff(rows) >= 0).all()  # a triangle widens towards its base
    for shape in (CROSS, RING):
        assert np.array_equal(masks[shape], masks[shape][::-1])
        assert (masks[shape] != masks[shape].T).mean() < 0.01  # points on an edge
    diagonal = masks[:, range(64), range(64)].sum(1)
    assert diagonal[CROSS] < middle_row[CROSS].sum() / 2


def test_all_shapes_have_the_area_of_a_circle(masks: np.ndarray) -> None:
    inner, outer = drawing._radii()
    wedge = math.pi / drawing.DIRECTIONS  # of a circle of radius 1
    assert ((outer**2 - inner**2).sum(1) * wedge).tolist() == pytest.approx([math.pi] * 4)
    radius = 64 * (0.23 + 0.32) / 2
    inside = masks.sum((1, 2))[[RING, TRIANGLE, CROSS]]
    assert inside.tolist() == pytest.approx([math.pi * radius**2] * 3, rel=0.07)


def test_an_outline_is_the_distance_to_the_edge() -> None:
    square = drawing._outline(((-1, -1), (1, -1), (1, 1), (-1, 1)))
    eighth = drawing.DIRECTIONS // 8
    assert square[::eighth].tolist() == pytest.approx([1, math.sqrt(2)] * 4)


def test_a_colour_is_the_same_in_every_shape_and_hardly_brighter_than_another() -> None:
    classes, colours = (grid.ravel() for grid in np.mgrid[1:4, 0:4])  # a ring is empty inside
    centres = drawing._picture(classes, colours, middle)[:, :, 16, 16].reshape(3, 4, 3)
    assert (centres == centres[:1]).all()
    assert len(np.unique(centres[0], axis=0)) == 4
    assert (centres[0] @ LUMA).tolist() == pytest.approx([0.6 * 255] * 4, abs=4)  # blue is cut off at 255
    named = dict(zip(COLOURS, centres[0].tolist(), strict=True))
    assert np.argmax(named["orange"]) == 0
    assert np.argmax(named["blue"]) == 2
    assert np.argmax(named["green"]) == 1
    assert np.argmin(named["violet"]) == 1


def test_the_source_brings_its_truth_and_the_colours_as_a_column() -> None:
    found, drawn = open_source("shapes"), shapes()
    assert found.images.source == "shapes"
    assert np.array_equal(found.images.pixels, drawn.pixels)
    assert found.truth is not None
    assert found.truth.class_names == ("ring", "triangle", "bar", "cross")
    assert np.array_equal(found.truth.labels, drawn.classes)
    assert [(one.title, one.names) for one in found.columns] == [("colour", COLOURS)]
    assert np.array_equal(found.columns[0].values, drawn.colours)
