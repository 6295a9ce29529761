"""The sets of the benchmark `photos`: two of photographs, and vectors without pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cifar10_images import NAME as CIFAR10
from benchmarks.cifar10_images import cifar10_images
from benchmarks.pieces import Options
from engine.errors import SourceError
from engine.health.exclusions import cut
from engine.sources.open_source import Opened, open_source

CLOTHES_PLACE = Path(".data/clothing-dataset-small")
CLOTHES_IMAGES, CLOTHES_SIDE, CIFAR10_SIDE, CIFAR10_TEST = 1500, 224, 112, 10_000


@dataclass(frozen=True)
class PhotoSet:
    """A set of the benchmark.

    Attributes:
        name: short, for files.
        about: what it is, and what the network sees.
        side: of the images that the network sees; None for vectors without pixels.
        open: the images with their truth; raises SourceError.
    """

    name: str
    about: str
    side: int | None
    open: Callable[[Options], Opened]


def clothes(options: Options) -> Opened:
    """Photographs of clothes from all three folders of the set, drawn with seed 0; raises SourceError."""
    place = options.clothes or CLOTHES_PLACE
    if not place.exists():
        raise SourceError(
            f"the photographs of clothes are not at {place}: name the folder or archive of the public repository "
            "alexeygrigorev/clothing-dataset-small with --clothes"
        )
    return drawn(open_source(str(place), size=CLOTHES_SIDE, labels=True), min(CLOTHES_IMAGES, options.images))


def test_images(options: Options) -> Opened:
    """CIFAR-10's test images; raises SourceError."""
    return cifar10_images(options, "test", options.images if options.images < CIFAR10_TEST else None)


def digits(options: Options) -> Opened:
    """scikit-learn's digits, whose pixels serve as vectors."""
    return drawn(open_source("digits"), options.images)


def drawn(opened: Opened, count: int) -> Opened:
    """`count` images drawn with seed 0, in their order; all of them if there are no more."""
    if opened.truth is None:
        raise SourceError(f"{opened.images.source} has no class folders: expected train/CLASS/*.jpg and so on")
    if count >= len(opened.images):
        return opened
    return cut(opened, np.random.default_rng(0).permutation(len(opened.images)).argsort() < count)


SETS = (
    PhotoSet(
        "clothes",
        f"clothing-dataset-small (CC0), train, validation and test together, {CLOTHES_IMAGES:,} images drawn with "
        f"seed 0, 10 unequal classes; {CLOTHES_SIDE} px, centre crop",
        CLOTHES_SIDE,
        clothes,
    ),
    PhotoSet(
        "cifar10",
        f"{CIFAR10}, {CIFAR10_TEST:,} test images of 32 px, which the network sees at {CIFAR10_SIDE} px: other "
        f"features than at {CLOTHES_SIDE} px, for a quarter of the arithmetic",
        CIFAR10_SIDE,
        test_images,
    ),
    PhotoSet("digits", "scikit-learn's digits as external vectors (1,797, 64 numbers), without pixels", None, digits),
)
