"""Ground truth, if any: used only in scores and reports."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SourceError
from engine.formats.identity import text_of

# More are probably image names or other values, not classes.
MOST_CLASSES = 10_000
# Every float64 from here on is a whole number, so being one tells nothing.
WHOLE = 2.0**53


@dataclass(frozen=True, eq=False)
class Truth:
    """The true class of each image.

    Attributes:
        labels: (N,) int64 in 0..len(class_names)-1.
        class_names: the name of each class.
        told: by what, such as "the names of folders"; "" if that is not worth saying.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    told: str = ""

    def __post_init__(self) -> None:
        count = len(self.class_names)
        if self.labels.ndim != 1 or (len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < count):
            raise SourceError(f"true labels of shape {self.labels.shape} do not fit {count} class names")

    def of(self, images: np.ndarray) -> Truth:
        """The truth of some of the images ((m,) ids, or (N,) bool), with only the classes that occur."""
        labels = self.labels[images]
        present = np.unique(labels)
        names = tuple(self.class_names[one] for one in present)
        return Truth(np.searchsorted(present, labels), names, self.told)

    def note(self, images: Sequence[str]) -> tuple[str, ...]:
        """Says where the classes come from, with an example that shows whether that is what was meant; nothing if
        nothing told it. `images` are the N names."""
        if not self.told or not len(images):
            return ()
        first = self.class_names[int(self.labels[0])]
        return (f"the classes come from {self.told}: {images[0]} is {first!r}",)


def class_text(value: object) -> str:
    """A class as text, without blanks around it and with accents in one form; "" for none.

    >>> class_text(" cat"), class_text(3.0), class_text(float("nan")), class_text(None)
    ('cat', '3', '', '')
    """
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return ""
    return unicodedata.normalize("NFC", text_of(value).strip())


def measures(numbers: np.ndarray) -> bool:
    """Whether floats (none of them NaN) are rather measures than numbers of classes: not all whole, or too large for
    float64 to tell."""
    return not bool(((numbers == np.round(numbers)) & (np.abs(numbers) < WHOLE)).all())


def class_truth(classes: Sequence[object], told: str = "") -> Truth:
    """The truth of images from their class names, sorted alphabetically, or numerically if all are numbers; `told` by
    what, as `Truth` has it.

    Raises:
        SourceError: if an image has no class, or there are more than 10,000 classes.
    """
    texts = [class_text(one) for one in classes]
    if "" in texts:
        raise SourceError(
            f"labels were requested, but {texts.count(''):,} of {len(texts):,} images have no class, the first is "
            f"image {texts.index('') + 1:,}: add them, or open the images without labels"
        )
    names, labels = np.unique(np.array(texts), return_inverse=True)
    if len(names) > MOST_CLASSES:
        raise SourceError(
            f"found {len(names):,} classes for {len(labels):,} images: expected at most "
            f"{MOST_CLASSES:,}; open the images without labels"
        )
    if all(name.isdecimal() for name in names.tolist()):
        order = np.argsort([int(name) for name in names], kind="stable")
        names, labels = names[order], np.argsort(order)[labels]
    return Truth(labels.astype(np.int64).ravel(), tuple(names.tolist()), told)
