"""Finds pairs of images that may show the same: each image, and windows of it, next to all others.

Only the lowest frequencies of an image (`Measures.low`) are needed: those of a window follow from those of the
whole. So a cropped image meets the window that it was cut from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.health.likeness import index_of, nearest
from engine.health.measures import LOW, LUMA, Progress, Stop
from engine.space.vectors import units

# A window: its top and left corner, and its side, in sides of the image.
Window = tuple[float, float, float]
WHOLE: Window = (0.0, 0.0, 1.0)
# Four windows meet all crops down to 80 % of the sides: of 150 such crops of photographs of clothes, 96 % are among
# the four images nearest to one of them.
SOUGHT_SIDE, SOUGHT = 0.86, 4
# Those pairs are looked at through more windows. In the best of them, 92 % of crops to 80 % of the sides, and all
# lighter changes, are at least so alike (cosine).
CLOSER_SIDES, ALIKE = (0.94, 0.88, 0.82), 0.93
# Of each image so many pairs go on, the most alike.
MOST = 3
# The lowest frequencies of luma, and of two differences of colour, that are compared, and how much colour counts:
# higher ones change too much from one window to the next.
LUMA_WAVES, COLOUR_WAVES, COLOUR = 5, 3, 3.0
# Points at which the waves of an image are sampled to find those of a window.
SAMPLES = 64
# Neighbours of more images are looked for in cells: there are six searches, and what they miss is little.
EXACT_IMAGES, CELLS = 2_000, 6
# Pairs that are compared at a time.
PAIRS = 4096


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of images that may show the same.

    Attributes:
        pairs: (P, 2) int64; the second may be cut from the first.
        maps: (P, 2, 3) float32, as in `alignment`, of the squares that are trained on.
        mirrored: (P,) bool, whether the second is to be seen in a mirror.
    """

    pairs: np.ndarray
    maps: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def at(self, which: np.ndarray) -> Candidates:
        """Those candidates: `which` is (P,) bool, or indices."""
        return Candidates(self.pairs[which], self.maps[which], self.mirrored[which])

    def and_also(self, others: Candidates) -> Candidates:
        """These candidates and others; a pair may be among both."""
        return Candidates(
            np.concatenate([self.pairs, others.pairs]),
            np.concatenate([self.maps, others.maps]),
            np.concatenate([self.mirrored, others.mirrored]),
        )


def candidates(
    low: np.ndarray, among: np.ndarray, *, progress: Progress = lambda _done, _total: None, stop: Stop = lambda: False
) -> Candidates | None:
    """Pairs of the images `among` (m,) that may show the same, by the lowest frequencies `low` (N, C, 8, 8) of all.

    None when it was stopped.
    """
    if len(among) < 2:
        return starts(low, np.zeros((0, 2), np.int64))
    chosen = low[among]
    whole = layouts(chosen, WHOLE)[:, 0]
    index = index_of(whole, EXACT_IMAGES, CELLS)
    windows = [WHOLE, *windows_of(SOUGHT_SIDE, 2)]
    found, count = [], len(windows) + 1
    for number, window in enumerate([*windows, None]):
        sought = layouts(chosen, WHOLE, mirrored=True) if window is None else layouts(chosen, window)
        near = nearest(whole, SOUGHT, sought=sought[:, 0], index=index, stop=stop)
        if near is None:
            return None
        rows = np.repeat(np.arange(len(chosen)), near.ids.shape[1])
        # The image in the mirror is the second of its pairs, that of which there are windows the first.
        ends = (near.ids.ravel(), rows) if window is None else (rows, near.ids.ravel())
        found.append(np.stack([*ends, np.full(len(rows), window is None)], 1))
        progress(number + 1, count)
    closer, alike = _through_windows(low, among, _once(np.concatenate(found)))
    near_enough = alike >= ALIKE
    closer, alike = closer.at(near_enough), alike[near_enough]
    return closer.at(_best_of_each(closer.pairs, alike, len(low)))


def starts(low: np.ndarray, pairs: np.ndarray) -> Candidates:
    """The pairs (P, 2) as candidates, however unlike they are: each in the direction, the window and the mirror in
    which it is most alike."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    directed = np.concatenate([np.column_stack([both, np.full(len(both), mirror)]) for mirror in (0, 1)])
    closer, alike = _through_windows(low, np.arange(len(low)), _once(directed))
    return closer.at(_best_of_each(closer.pairs, alike, len(low), most=len(low)))


def _best_of_each(pairs: np.ndarray, alike: np.ndarray, count: int, most: int = MOST) -> np.ndarray:
    """Indices of each pair once, at its most alike, that is among the `most` best of one of its two images."""
    order = np.argsort(-alike, kind="stable")
    ends = np.sort(pairs[order], axis=1)
    once = np.sort(np.unique(ends[:, 0] * count + ends[:, 1], return_index=True)[1])
    order, ends = order[once], ends[once]
    seen = np.zeros(count, np.int64)
    kept = []
    for place, (one, other) in zip(order.tolist(), ends.tolist(), strict=True):
        if min(seen[one], seen[other]) < most:
            kept.append(place)
        seen[one] += 1
        seen[other] += 1
    return np.array(kept, np.int64)


def _once(directed: np.ndarray) -> np.ndarray:
    """The different ones of (P, 3) first, second and mirror, in order of the first."""
    count = int(directed.max(initial=0)) + 1
    keys = np.unique((directed[:, 0] * count + directed[:, 1]) * 2 + directed[:, 2])
    return np.stack([keys // (2 * count), keys // 2 % count, keys % 2], 1)


def _through_windows(low: np.ndarray, among: np.ndarray, directed: np.ndarray) -> tuple[Candidates, np.ndarray]:
    """Pairs (P, 3) of first, second and whether that is in the mirror, with the window in which they are the most
    alike, and how much they are (P,)."""
    directed = np.column_stack([among[directed[:, :2]], directed[:, 2]])
    windows = [WHOLE, *(window for side in CLOSER_SIDES for window in windows_of(side, 3))]
    best, alike = np.zeros(len(directed), np.int64), np.zeros(len(directed), np.float32)
    for start in range(0, len(directed), PAIRS):  # in order of the first: few have to be seen at a time
        part = slice(start, start + PAIRS)
        first, place = np.unique(directed[part, 0], return_inverse=True)
        seen = layouts(low[first], *windows)
        second = layouts(low[directed[part, 1]], WHOLE)[:, 0]
        turned = directed[part, 2] > 0
        second[turned] = layouts(low[directed[part, 1][turned]], WHOLE, mirrored=True)[:, 0]
        cosines = np.einsum("pwd,pd->pw", seen[place], second)
        best[part], alike[part] = cosines.argmax(1), cosines.max(1)
    maps = np.array([_map(window) for window in windows], np.float32)[best]
    return Candidates(directed[:, :2].astype(np.int64), maps, directed[:, 2] > 0), alike


def _map(window: Window) -> list[list[float]]:
    top, left, side = window
    return [[side, 0, left + side / 2 - 0.5], [0, side, top + side / 2 - 0.5]]


def windows_of(side: float, places: int) -> list[Window]:
    """The windows of this side that lie in `places` × `places` places."""
    steps = np.linspace(0, 1 - side, places).tolist()
    return [(top, left, side) for top in steps for left in steps]


# -- layouts ---------------------------------------------------------------------------------------


def layouts(low: np.ndarray, *windows: Window, mirrored: bool = False) -> np.ndarray:
    """(m, w, D) float32 of length 1: where it is bright and coloured in windows of images (m, C, 8, 8), brightness and
    contrast apart."""
    readings = np.concatenate([_reading(window, mirrored, low.shape[1]) for window in windows])
    return units((low.reshape(len(low), -1) @ readings.T).reshape(len(low), len(windows), -1))


@lru_cache(maxsize=128)
def _reading(window: Window, mirrored: bool, channels: int) -> np.ndarray:
    """(D, C·64): what turns the lowest frequencies of images into the layout of a window."""
    top, left, side = window
    down, across = _waves(top, side), _waves(left, side)
    if mirrored:
        across = across * np.where(np.arange(LOW) % 2, -1, 1)
    luma = LUMA if channels == 3 else np.ones(1, np.float32)
    parts = [np.kron(luma, _plane(down, across, LUMA_WAVES)[1:])]  # the mean is the brightness
    for channel in (0, 2) if channels == 3 else ():
        parts.append(COLOUR * np.kron(np.eye(3)[channel] - luma, _plane(down, across, COLOUR_WAVES)))
    return np.concatenate(parts).astype(np.float32)


def _plane(down: np.ndarray, across: np.ndarray, waves: int) -> np.ndarray:
    """(waves², 64): a frequency counts by the root of how high it is, since photographs have less of high ones."""
    steps = np.arange(waves)
    weight = np.sqrt(np.maximum(np.hypot(steps[:, None], steps), 1)).reshape(-1, 1)
    return np.asarray(weight * np.kron(down[:waves], across[:waves]))


def _waves(start: float, side: float) -> np.ndarray:
    """(8, 8): the lowest frequencies of a window of a line from those of the whole line."""
    points = (np.arange(SAMPLES) + 0.5) / SAMPLES
    return np.asarray(waves(points) @ waves(start + side * points).T / SAMPLES)


def waves(points: np.ndarray) -> np.ndarray:
    """(8, n): the eight lowest cosines at n points from 0 to 1, each of mean square 1."""
    rows = np.sqrt(2) * np.cos(np.pi * np.arange(LOW)[:, None] * points)
    rows[0] = 1
    return np.asarray(rows)


def tiny_pictures(low: np.ndarray, side: int) -> np.ndarray:
    """(m, 3, side, side) float32, levels from 0 to 255: what the lowest frequencies (m, C, 8, 8) show."""
    lines = waves((np.arange(side) + 0.5) / side).astype(np.float32)
    return np.broadcast_to(255 * (lines.T @ low @ lines), (len(low), 3, side, side))
