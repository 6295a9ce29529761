"""`Health`: finds possible problems in a source's images before training.

Findings are suggestions, and nothing is excluded automatically: a finding is a list to review, worst first.
Most thresholds adapt to what is usual in the set, between two fixed limits: in a uniformly dark set not every
image is a defect, and half of a set of digits is not blurred.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from engine import npy
from engine.data.images import ImageSet
from engine.health import likeness
from engine.health.duplicates import USUAL, NearDuplicates, near_duplicates
from engine.health.likeness import NEIGHBORS
from engine.health.measures import Measures, Progress, Stop, measure
from engine.health.pictures import Look, squares
from engine.space.vectors import units

Problem = Literal["exact duplicates", "near duplicates", "dark", "bright", "blurred", "blank", "odd aspect", "outliers"]
PROBLEMS: tuple[Problem, ...] = get_args(Problem)
DUPLICATES: tuple[Problem, ...] = ("exact duplicates", "near duplicates")
# Increased whenever the rules change, so that cached reports are rebuilt.
RULES = 2

# With fewer images there is no estimate of what is usual.
FEW = 50
# Standard deviation in levels of 255 of a picture of nothing: a scanner's noise on white paper has 2 to
# 3, while the flattest of CIFAR-10's 50,000 photographs has 6.
BLANK = 4.0
# The brightest pixels (specks apart) of a dark picture: always below 16 of 255, at most 64, and half
# of what is usual between; no photograph of 5,000 of CIFAR-10 lies below 64. Bright: the same of the
# darkest pixels, from the other end.
DARK, DARK_SHARE = (16.0, 64.0), 1 / 2
# Sharpness (`Measures`): a blur of 2 pixels takes photographs of 32 pixels from 0.9 to 0.016, while
# 99.9 % of sharp ones lie above 0.14. Large pictures have less of it: an eighth of what is usual.
BLURRED, BLURRED_SHARE = (0.005, 0.1), 1 / 8
# Long over short side: the middle square loses three fifths of such a picture. Sets of banners are
# usual in themselves, hence also half as long again as the median.
ODD_ASPECT, ODD_ASPECT_SHARE = 2.5, 1.5
# 1 − cosine of trained features, which know mirrored and cropped pictures again, of pairs that are worth a look.
NEAR_FEATURES, NEAR_FEATURES_SHARE = (0.0, 0.05), 1 / 5
# The modified z-score from which Iglewicz and Hoaglin (1993) call a value an outlier.
OUTLIER = 3.5
# Where nearly all lie equally far apart (drawn patterns), a twentieth further is no outlier yet.
SPREAD = 0.01


@dataclass(frozen=True, eq=False)
class Finding:
    """The images with one problem, worst first.

    Attributes:
        images: (m,) int32.
        values: (m,) float32, what was measured: the brightest level (dark), the darkest (bright),
            sharpness, contrast (blank), long over short side, z-score (outliers), the difference from the best of
            the group (near duplicates; the best has that of the one most like it), 0 (exact duplicates).
        groups: (m,) int32 of duplicates: the number of each one's group, from 0. A group lies
            together, what is best kept first: the largest original, then the sharpest.
    """

    images: np.ndarray
    values: np.ndarray
    groups: np.ndarray

    def extras(self, kept: np.ndarray | None = None) -> np.ndarray:
        """(m,) int32 all but the first of each group, among the images that are `kept` (N,) bool."""
        here = np.ones(len(self.images), bool) if kept is None else kept[self.images]
        images, groups = self.images[here], self.groups[here]
        again = np.ones(len(images), bool)
        again[np.unique(groups, return_index=True)[1]] = False
        return images[again] if len(groups) else images


@dataclass(frozen=True, eq=False)
class Health:
    """A finding for every problem, for `images` images; empty if nothing was found.

    Attributes:
        aspects: false if the images' original sizes are unknown.
        near: all pairs that may count as near duplicates; the finding has those that differ at most by USUAL.
        best: (N,) int32, the images in the order in which they are best kept.
    """

    images: int
    aspects: bool
    findings: dict[Problem, Finding]
    near: NearDuplicates = field(default_factory=NearDuplicates.none)
    best: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def at(self, most: float) -> Health:
        """The same report with near duplicates that differ at most by `most`, from STRICTEST to LOOSEST."""
        if not len(self.near.pairs):
            return self
        near = _near_groups(self.near, self.findings["exact duplicates"], self.best, most)
        return replace(self, findings=self.findings | {"near duplicates": near})

    def save(self, path: Path) -> None:
        """Writes the whole report, or leaves what was there."""
        arrays: dict[str, np.ndarray] = {
            "about": np.array([RULES, self.images, self.aspects, self.near.unseen]),
            "pairs": self.near.pairs,
            "apart": self.near.apart,
            "best": self.best,
        }
        for problem, found in self.findings.items():
            for name in ("images", "values", "groups"):
                arrays[f"{problem}-{name}"] = getattr(found, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    @classmethod
    def load(cls, path: Path, images: int) -> Health | None:
        """The report of `images` images in `path`; None when there is none, it is damaged, or it was
        made by other rules."""
        try:
            with path.open("rb") as file:
                arrays = npy.unpacked(file)
            rules, count, *rest = arrays["about"].tolist()
            if rules != RULES or count != images:
                return None
            near, best = NearDuplicates(arrays["pairs"], arrays["apart"], rest[1]), arrays["best"]
            found: dict[Problem, Finding] = {
                one: Finding(*(arrays[f"{one}-{name}"] for name in ("images", "values", "groups"))) for one in PROBLEMS
            }
        except Exception:  # a damaged archive may raise anything; the report can be made again
            return None
        return cls(count, bool(rest[0]), found, near, best)


def examine(
    images: ImageSet,
    extents: np.ndarray | None = None,
    *,
    look: Look | None = None,
    features: np.ndarray | None = None,
    progress: Progress = lambda _done, _total: None,
    stop: Stop = lambda: False,
) -> Health | None:
    """Looks at every image; None when it was stopped.

    Args:
        extents: (N, 2) width and height of the originals, None where there are only arrays.
        look: sees the pictures by which near duplicates are verified; by default what is trained on.
        features: (N, D) of a trained run of the same images: near duplicates are then looked for
            among them too, and outliers by them alone.
        progress: called with the number of steps done and the total: three steps per image.
    """
    count = len(images)

    def part(number: int) -> Progress:
        return lambda done, total: progress(number * count + round(count * done / max(1, total)), 3 * count)

    measures = measure(images, progress=part(0), stop=stop)
    if measures is None:
        return None
    equal = likeness.equal_groups(measures)
    distinct = np.unique(equal, return_index=True)[1]  # copies would be each other's neighbours
    distinct = np.sort(distinct[measures.contrast[distinct] >= BLANK])
    area = np.ones(count) if extents is None else extents.astype(np.float64).prod(1)
    best = np.lexsort((np.arange(count), -measures.sharpness, -area)).astype(np.int32)
    further = _alike(distinct, features, stop)
    if further is None:
        return None
    look = look or partial(squares, images)
    near = near_duplicates(measures.low, distinct, further, best, look, progress=part(1), stop=stop)
    strange = None if near is None else _strange(measures, distinct, features, part(2), stop)
    if near is None or strange is None:
        return None
    findings = dict(_single(measures, extents)) | {"outliers": strange}
    exact = findings["exact duplicates"] = _grouped(equal, np.zeros(count, np.float32), best)
    findings["near duplicates"] = _near_groups(near, exact, best, USUAL)
    progress(3 * count, 3 * count)
    return Health(count, extents is not None, {one: findings[one] for one in PROBLEMS}, near, best)


# -- one image at a time -----------------------------------------------------------------------


def _single(measures: Measures, extents: np.ndarray | None) -> Iterator[tuple[Problem, Finding]]:
    blank = measures.contrast < BLANK
    brightest = measures.brightest.astype(np.float32)
    darkest = measures.darkest.astype(np.float32)
    yield "blank", _worst(blank, measures.contrast)
    dark = ~blank & (brightest <= _limit(brightest, DARK, DARK_SHARE))
    yield "dark", _worst(dark, brightest)
    bright = ~blank & (255 - darkest <= _limit(255 - darkest, DARK, DARK_SHARE))
    yield "bright", _worst(bright, darkest, -darkest)
    sharpness = measures.sharpness
    limit = _limit(sharpness[~blank], BLURRED, BLURRED_SHARE)
    yield "blurred", _worst(~blank & (sharpness < limit), sharpness)
    if extents is None:
        yield "odd aspect", _worst(np.zeros(len(measures), bool), sharpness)
    else:
        sides = np.maximum(extents, 1).astype(np.float32)
        length = sides.max(1) / sides.min(1)
        odd = length > max(ODD_ASPECT, ODD_ASPECT_SHARE * float(np.median(length)))
        yield "odd aspect", _worst(odd, length, -length)


def _limit(values: np.ndarray, ends: tuple[float, float], share: float) -> float:
    """Below it a value is too low: a share of the usual, between two ends; the upper end where too
    few images say what is usual."""
    if len(values) < FEW:
        return ends[1]
    return float(np.clip(share * np.median(values), *ends))


def _worst(which: np.ndarray, values: np.ndarray, order: np.ndarray | None = None) -> Finding:
    """The images `which`, those with the lowest `order` first (by default the lowest values)."""
    found = np.flatnonzero(which)
    found = found[np.argsort((values if order is None else order)[found], kind="stable")]
    nothing = np.zeros(0, np.int32)
    return Finding(found.astype(np.int32), values[found].astype(np.float32), nothing)


# -- beside the others -------------------------------------------------------------------------


def _alike(distinct: np.ndarray, features: np.ndarray | None, stop: Stop) -> np.ndarray | None:
    """Pairs (F, 2) of the `distinct` images (m,) that a run's features find alike."""
    nothing = np.zeros((0, 2), np.int64)
    if features is None:
        return nothing
    near = likeness.nearest(units(features[distinct]), NEIGHBORS, stop=stop)
    if near is None or not near.distance.size:
        return None if near is None else nothing
    apart = near.distance**2 / 2
    rows, columns = np.nonzero(apart <= _limit(apart[:, 0], NEAR_FEATURES, NEAR_FEATURES_SHARE))
    return np.stack([distinct[rows], distinct[near.ids[rows, columns]]], 1)


def _near_groups(near: NearDuplicates, exact: Finding, best: np.ndarray, most: float) -> Finding:
    """Groups of images that differ at most by `most` from the best of them, with the exact copies of each."""
    heads, apart = near.heads(most, best)
    first = np.arange(len(best))  # of images with equal pixels only the first was compared
    lowest = np.full(int(exact.groups.max(initial=-1)) + 1, len(best))
    np.minimum.at(lowest, exact.groups, exact.images)
    first[exact.images] = lowest[exact.groups]
    joined = np.flatnonzero(heads != np.arange(len(best)))
    nearest = np.full(len(best), np.inf, np.float32)
    np.minimum.at(nearest, heads[joined], apart[joined])
    nearest[joined] = apart[joined]
    # A group of nothing but copies is none of near duplicates.
    groups = np.where(np.isfinite(nearest[first]), heads[first], len(best) + np.arange(len(best)))
    return _grouped(groups, nearest[first], best)


def _grouped(groups: np.ndarray, values: np.ndarray, best: np.ndarray) -> Finding:
    """Groups (N,) of two images and more: the largest first, in each the best first."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    first = np.full(len(sizes), len(groups))
    np.minimum.at(first, inverse, np.arange(len(groups)))
    place = np.lexsort((first, -sizes)).argsort()  # the order of the groups
    shown = best[sizes[inverse[best]] > 1]
    shown = shown[np.argsort(place[inverse[shown]], kind="stable")]
    return Finding(shown.astype(np.int32), values[shown].astype(np.float32), place[inverse[shown]].astype(np.int32))


def _strange(
    measures: Measures, distinct: np.ndarray, features: np.ndarray | None, progress: Progress, stop: Stop
) -> Finding | None:
    """Images whose tenth nearest lies much further away than is usual: copies of an outlier, as long
    as they are few, do not make it a usual one."""
    score = np.zeros(len(measures), np.float32)
    if len(distinct) >= FEW:
        vectors = likeness.look_vectors(measures)[distinct] if features is None else units(features[distinct])
        near = likeness.nearest(vectors, NEIGHBORS, progress=progress, stop=stop)
        if near is None:
            return None
        # Distances have a long tail, their logarithms hardly any: one threshold fits sets of any kind.
        mean = np.log(np.maximum(near.distance[:, -1], 1e-6))
        spread = float(np.median(np.abs(mean - np.median(mean))))
        score[distinct] = 0.6745 * (mean - np.median(mean)) / max(spread, SPREAD)
    return _worst(score >= OUTLIER, score, -score)
