"""Splits into training, validation and test images: stratified by class, and never through a group of duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import RunError
from engine.exports.labelled import Labelled
from engine.health.duplicates import USUAL
from engine.health.likeness import groups_of
from engine.health.reports import health_of
from engine.sources.open_source import Opened

SPLITS = ("train", "validation", "test")


def shares_of(text: str) -> tuple[int, ...]:
    """The shares of "80,10,10" (train, validation and test) or "80,20" (train and test); raises RunError.

    >>> shares_of("80,10,10"), shares_of("75, 25")
    ((80, 10, 10), (75, 25))
    """
    parts = [one.strip() for one in text.split(",")]
    whole = all(one.isascii() and one.isdecimal() for one in parts)
    shares = tuple(map(int, parts)) if whole else ()
    if len(shares) not in (2, 3) or sum(shares) != 100 or 0 in shares:
        raise RunError(
            f"the split {text!r} is none: expected whole percentages that make 100, such as 80,10,10 or 80,20"
        )
    return shares


def names_of(shares: Sequence[int]) -> tuple[str, ...]:
    """What the parts are called."""
    return SPLITS if len(shares) == 3 else (SPLITS[0], SPLITS[2])


def duplicate_groups(
    labelled: Labelled, *, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> np.ndarray:
    """(N,) int64: the number of each image's group, of all images of the run. Equal images and near duplicates, as the
    health report finds them, are in one group, and so are those that have a near duplicate in common.

    Raises:
        Stopped: when `stop()` said so.
    """
    known = labelled.folder.originals()
    stamps, extents = known if known is not None and labelled.origin is not None else (None, None)
    opened = Opened(labelled.images, extents=extents, origin=labelled.origin, stamps=stamps)
    health = health_of(opened, progress=progress, stop=stop)
    exact = health.findings["exact duplicates"]
    first = exact.images[np.unique(exact.groups, return_index=True)[1]]
    equal = np.stack([exact.images, first[exact.groups]], 1)
    near = health.near.pairs[health.near.apart <= USUAL]
    return groups_of(np.concatenate([equal, near]).astype(np.int64), len(labelled.images))


def split(codes: np.ndarray, groups: np.ndarray, names: Sequence[str], shares: Sequence[int]) -> np.ndarray:
    """(M,) int64: the part of each image.

    Each class is dealt out by itself, the largest groups first, each to the part that lacks most. A group belongs to
    the class that most of its images have. Chance is in the names: the same images and labels give the same split.

    Args:
        codes: (M,) the class of each image.
        groups: (M,) the number of its group.
        names: M distinct names.
        shares: of the parts, in percent.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    classes = _commonest(member, codes)
    drawn = [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest(), "big") for one in names]
    chance = np.full(len(sizes), np.iinfo(np.uint64).max)
    np.minimum.at(chance, member, np.array(drawn, np.uint64))
    parts = np.zeros(len(sizes), np.int64)
    for one in np.unique(classes).tolist():
        mine = np.flatnonzero(classes == one)
        mine = mine[np.lexsort((chance[mine], -sizes[mine]))]
        parts[mine] = _dealt(sizes[mine], np.array(shares) / 100 * sizes[mine].sum())
    return parts[member]


def _commonest(member: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(G,) the class that most images of each group have, the first of several."""
    pairs, counts = np.unique(np.stack([member, codes]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], counts))  # the last that is written stays
    found = np.zeros(int(member.max()) + 1, np.int64)
    found[pairs[0, order]] = pairs[1, order]
    return found


def _dealt(sizes: np.ndarray, wanted: np.ndarray) -> list[int]:
    """The part of each group, given one after the other to the part that lacks most of what is `wanted`."""
    lacking, parts = wanted.copy(), list[int]()
    for size in sizes.tolist():
        parts.append(int(lacking.argmax()))
        lacking[parts[-1]] -= size
    return parts
