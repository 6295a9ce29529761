from __future__ import annotations

import numpy as np
import pytest

from engine.data.images import ImageSet
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError
from engine.sources.open_source import Opened


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0], [[0, 1]]])
def test_labels_must_be_a_list_of_known_classes(labels: list[int]) -> None:
    with pytest.raises(SourceError, match=r"true labels of shape .* do not fit 2 class names"):
        Truth(np.array(labels), ("cat", "dog"))


def test_a_class_may_be_without_images() -> None:
    assert Truth(np.array([0, 2, 2]), ("cat", "dog", "frog")).class_names[1] == "dog"


def test_truth_of_another_number_of_images_is_refused() -> None:
    images = ImageSet(np.zeros((2, 1, 4, 4), np.uint8), ("a", "b"), "drawn")
    with pytest.raises(SourceError, match="drawn has 2 images but 3 true labels"):
        Opened(images, Truth(np.array([0, 0, 0]), ("cat",)))


def test_classes_are_in_the_order_of_names_or_of_numbers() -> None:
    words = class_truth(["dog", "cat", "dog"])
    assert (words.class_names, words.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    numbers = class_truth(["10", "9", "100"])
    assert (numbers.class_names, numbers.labels.tolist()) == (("9", "10", "100"), [1, 0, 2])


def test_so_many_classes_are_none() -> None:
    with pytest.raises(SourceError, match="found 100,001 classes for 100,001 images: expected at most 10,000"):
        class_truth(list(range(100_001)))


def test_the_truth_of_some_images_has_their_classes_alone() -> None:
    truth = Truth(np.array([2, 0, 2, 1]), ("a", "b", "c"))
    some = truth.of(np.array([True, False, True, True]))
    assert (some.class_names, some.labels.tolist()) == (("b", "c"), [1, 1, 0])
