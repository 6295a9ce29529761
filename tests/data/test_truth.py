from __future__ import annotations

import numpy as np
import pytest

from engine.data.images import ImageSet
from engine.data.sources import Opened
from engine.data.truth import Truth
from engine.errors import SourceError


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
