"""CIFAR-10 (JPEG q92) for the benchmarks: training and test images, all or a subset."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from filelock import FileLock

from benchmarks.pieces import WORK, Options
from engine.errors import SourceError
from engine.health.exclusions import cut
from engine.sources.open_source import Opened, open_source

NAME = "CIFAR-10 (JPEG q92)"
PLACES = ("cifar10-q92.tar.xz", ".data", ".data/cifar10-q92.tar.xz", "../shared/data/cifar10-q92.tar.xz")


def archive(options: Options) -> Path:
    """The path of the images: --data, or one of the usual places; raises SourceError."""
    for place in [options.data] if options.data else map(Path, PLACES):
        if place.is_file() or (place / "train").is_dir():
            return place
    raise SourceError(f"{NAME} is not at {options.data or ' or '.join(PLACES)}: name its folder or archive with --data")


def cifar10_images(options: Options, split: str, most: int | None = None) -> Opened:
    """The split "train" (50,000) or "test" (10,000), balanced over classes, with its truth.

    Args:
        most: the number of images to keep: the first of each class, by name.
    """
    root = unpacked(options)
    opened = open_source(f"folder:{root / split}", size=32, labels=True)
    return opened if most is None else _subset(opened, most)


def unpacked(options: Options) -> Path:
    """The folder of the images, unpacked once; raises SourceError if there are none."""
    place = archive(options)
    if place.is_dir():
        return place
    root = WORK / "cifar10-q92"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "lock"):  # a sitting unpacks them in a second process
        if not (root / "complete").exists():
            with tarfile.open(place) as archive_file:
                archive_file.extractall(root, filter="data")
            (root / "complete").touch()
    return root


def _subset(opened: Opened, most: int) -> Opened:
    assert opened.truth is not None
    labels, names = opened.truth.labels, opened.truth.class_names
    each = most // len(names)
    rows = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(len(names))])
    return cut(opened, np.isin(np.arange(len(labels)), rows))
