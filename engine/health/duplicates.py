"""`NearDuplicates`: pairs of images that show the same, each verified on the whole pictures.

Neighbours with alike layouts are only candidates: two shirts on one cloth have the same layout. A pair is laid on
top of each other, first at a few pixels, then at 64 with colour, and is kept if what still differs is little
everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from engine.health import alignment
from engine.health.candidates import Candidates, candidates, starts, tiny_pictures
from engine.health.likeness import groups_of
from engine.health.measures import Progress, Stop
from engine.health.pictures import SIDE, Look, Pictures

# What a pair may differ by (`alignment.difference`): by default, and the ends of what people can choose. Of made
# copies of photographs of clothes, 97 % lie below 0.8; of 19,000 pairs of look-alikes, none that are not shots of the
# same thing at the same place.
USUAL, STRICTEST, LOOSEST = 0.8, 0.3, 1.2
# At first, all that the lowest frequencies show is laid on each other: of the pairs that differ more than this many
# times as much, none is a near duplicate.
TINY_SIDE, TINY_STEPS, TINY_BLOCKS, TINY_LIMIT = 16, 4, 4, 1.8
# Then the pictures, at a quarter of their side, at half of it, where most others are told apart, and at all of it.
QUARTER_STEPS, HALF_STEPS, STEPS, HALF_LIMIT = 6, 5, 3, 1.5
# So many times the noise of a large original a tiny one may have.
MOST_COARSE = 2.0
# How much of both pictures of a pair, and of one of them, the other has to show.
LEAST_SHARED, MOST_SHARED = 0.5, 0.8
# Pairs whose pictures are in memory at a time.
PAIRS = 128
THREADS = 4


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of nearly equal images.

    Attributes:
        pairs: (P, 2) int32.
        apart: (P,) float32, by how much they differ, at most LOOSEST.
        unseen: how many of the compared images have lost their original, so that only the square that is trained
            on was compared.
    """

    pairs: np.ndarray
    apart: np.ndarray
    unseen: int = 0

    @classmethod
    def none(cls) -> NearDuplicates:
        return cls(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))

    def heads(self, most: float, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Groups in which each image differs at most by `most` from the head of its group.

        Args:
            best: (N,) the images in the order in which they are best kept.

        Returns:
            (N,) int64, the head of each one's group, itself where there is no other; and (N,) float32, by how much
            it differs from it, 0 for heads.

        Images are not joined to a group through others: those left out always have a verified copy that stays.
        """
        head, apart = np.arange(len(best)), np.zeros(len(best), np.float32)
        near = self.apart <= most
        others: dict[int, list[tuple[int, float]]] = {}
        for (one, other), value in zip(self.pairs[near].tolist(), self.apart[near].tolist(), strict=True):
            others.setdefault(one, []).append((other, value))
            others.setdefault(other, []).append((one, value))
        free = np.ones(len(best), bool)
        for image in best[np.isin(best, list(others))].tolist():
            if free[image]:
                free[image] = False
                for other, value in others[image]:
                    if free[other]:
                        free[other], head[other], apart[other] = False, image, value
        return head, apart


def near_duplicates(
    low: np.ndarray,
    among: np.ndarray,
    further: np.ndarray,
    best: np.ndarray,
    look: Look,
    *,
    progress: Progress = lambda _done, _total: None,
    stop: Stop = lambda: False,
) -> NearDuplicates | None:
    """The near duplicates of the images `among` (m,); None when it was stopped.

    Args:
        low: (N, C, 8, 8) the lowest frequencies of all images.
        further: (F, 2) pairs that may be near duplicates for another reason.
        best: (N,) the images in the order in which they are best kept.
        look: sees their pictures.
    """
    asked = candidates(low, among, progress=lambda done, total: progress(done, 2 * total), stop=stop)
    if asked is None:
        return None
    first = _verified(asked.and_also(starts(low, further)), low, look, stop)
    if first is None:
        return None
    # In a group of many copies not everyone is a neighbour of the best.
    second = _verified(starts(low, _with_the_best(first.pairs, best)), low, look, stop)
    if second is None:
        return None
    progress(1, 1)
    return NearDuplicates(
        np.concatenate([first.pairs, second.pairs]),
        np.concatenate([first.apart, second.apart]),
        max(first.unseen, second.unseen),
    )


def _with_the_best(pairs: np.ndarray, best: np.ndarray) -> np.ndarray:
    """(F, 2) the pairs that are missing between the best of each group of joined images and its others."""
    count = len(best)
    groups = groups_of(pairs, count)
    order = np.argsort(best)  # the place of each image
    first = np.full(count, count)
    np.minimum.at(first, groups, order)
    heads = best[first[groups]]
    wanted = np.stack([np.arange(count), heads], 1)[np.isin(np.arange(count), pairs)]
    wanted = np.sort(wanted[wanted[:, 0] != wanted[:, 1]], axis=1)
    known = np.sort(pairs, axis=1).astype(np.int64)
    return wanted[~np.isin(wanted[:, 0] * count + wanted[:, 1], known[:, 0] * count + known[:, 1])]


def _verified(asked: Candidates, low: np.ndarray, look: Look, stop: Stop) -> NearDuplicates | None:
    """The candidates that are near duplicates; None when it was stopped."""
    may, apart, unseen = [np.zeros(0, bool)], [np.zeros(0, np.float32)], set[int]()
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for shown in pool.map(lambda part: _coarsely(part, low), _parts(asked)):
            if stop():
                return None
            may.append(shown)
        asked = asked.at(np.concatenate(may))
        for values, gone in pool.map(lambda part: _finely(part, look), _parts(asked)):
            if stop():
                return None
            apart.append(values)
            unseen.update(gone.tolist())
    differing = np.concatenate(apart)
    near = differing <= LOOSEST
    return NearDuplicates(asked.pairs[near].astype(np.int32), differing[near], len(unseen))


def _parts(asked: Candidates) -> Iterator[Candidates]:
    return (asked.at(np.arange(start, min(start + PAIRS, len(asked)))) for start in range(0, len(asked), PAIRS))


def _coarsely(asked: Candidates, low: np.ndarray) -> np.ndarray:
    """(P,) bool: which of the candidates may show the same, as far as the lowest frequencies tell."""
    first, second = (tiny_pictures(low[asked.pairs[:, end]], TINY_SIDE) for end in (0, 1))
    second = _turned(second, asked.mirrored)
    maps = alignment.aligned(first, second, asked.maps, TINY_STEPS, alignment.SIZE_AND_PLACE)
    return alignment.difference(first, second, maps, blocks=TINY_BLOCKS) <= TINY_LIMIT


def _finely(asked: Candidates, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """By how much candidates differ (P,), infinity where they do not show the same; and the numbers (u,) of those
    whose originals are gone."""
    ids, place = np.unique(asked.pairs, return_inverse=True)
    pictures, place = look(ids), place.reshape(-1, 2)
    whole = pictures.whole[place].min(1)  # a whole picture and a square are both compared as squares
    (first, square), (second, other) = (_seen(pictures, place[:, end], whole) for end in (0, 1))
    second = _turned(second, asked.mirrored)
    maps = asked.maps * square[:, :, None]
    maps[:, :, :2] /= other[:, None]
    found = np.full(len(asked), np.inf, np.float32)
    maps = _halfway(first, second, maps)
    noise = alignment.NOISE * _coarseness(pictures, place)
    left = alignment.difference(alignment.halved(first), alignment.halved(second), maps, noise=noise) <= HALF_LIMIT
    first, second, noise = first[left], second[left], noise[left]
    maps = alignment.aligned(first, second, maps[left], STEPS)
    shared = np.sort(alignment.shared(maps, SIDE), axis=1)
    enough = (shared[:, 0] >= LEAST_SHARED) & (shared[:, 1] >= MOST_SHARED)
    found[left] = np.where(enough, alignment.difference(first, second, maps, noise=noise), np.inf)
    return found, ids[~pictures.whole]


def _coarseness(pictures: Pictures, place: np.ndarray) -> np.ndarray:
    """(P,) how many times as much noise pairs of pictures have: of a large original it is averaged away, while the
    pixels of one of 32, and the colours that JPEG keeps of it, lie bare."""
    return np.clip(SIDE / pictures.side[place].min(1), 1, MOST_COARSE)


def _halfway(first: np.ndarray, second: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The maps (P, 2, 3) that lay pictures (P, 3, 64, 64) on each other at a quarter and at half of their side."""
    half = alignment.halved(first), alignment.halved(second)
    quarter = alignment.halved(half[0]), alignment.halved(half[1])
    maps = alignment.aligned(*quarter, maps, QUARTER_STEPS, alignment.SIZE_AND_PLACE)
    return alignment.aligned(*half, maps, HALF_STEPS)


def _seen(pictures: Pictures, place: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (P, 3, 64, 64) float32 and their squares (P, 2), cut to these where they are not to be `whole`."""
    levels, square = pictures.levels[place].astype(np.float32), pictures.square[place]
    cut = np.flatnonzero(~whole)
    if len(cut):
        maps = alignment.start_maps(len(cut)) * square[cut][:, :, None]
        levels[cut] = alignment.sampled(levels[cut], maps)[0].reshape(levels[cut].shape)
        square = np.where(whole[:, None], square, np.float32(1))
    return levels, square


def _turned(pictures: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Pictures (P, 3, S, S), those that are `mirrored` seen in a mirror."""
    return np.where(mirrored[:, None, None, None], pictures[..., ::-1], pictures)
