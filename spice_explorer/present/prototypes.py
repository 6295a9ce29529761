"""The contents of each cluster, anything unusual about it, and the effect of vetoes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from engine.shares import percent
from spice_explorer.present.names import NUMBERS, Names

if TYPE_CHECKING:
    from engine.runs.history import PrototypeHistory
    from engine.stages.prototypes import Claims

# Two prototypes are alike from this cosine on, or when this share of their images' neighbours is in
# the other of the two clusters (a cluster cut in half at random has .5, well-parted digits .02).
ALIKE, SHARED = 0.9, 0.1
# Images whose neighbours are counted for it, and how many of each.
LINKED_IMAGES, LINKS = 40_000, 10
MOST_HINTS = 8
# With more clusters than the first, the heat map shows only the second number, the most similar ones: more
# would freeze the browser.
WHOLE_HEAT_MAP, HEAT_MAP = 60, 40

# Features as alike as this count as near-duplicates. On the digits .995 would hold for 26 % of all
# nearest neighbours, which are other people's handwriting; .999 holds for 0.4 %.
DUPLICATE = 0.999
DUPLICATES_DOMINATE = 0.2
DUPLICATE_NEIGHBORS = 5
# An outlier is this many spreads (1.48 median absolute deviations) further from its prototype than the
# median. A spread counts as at least LEAST_SPREAD; otherwise a very tight cluster would be full of outliers.
OUTLIER, LEAST_SPREAD = 5.0, 0.01

SORTS = ("number", "largest first", "least reliable first", "flagged first")


# -- the clusters ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Overview:
    """All K clusters.

    Attributes:
        sizes, reliable: (K,) int64, images.
        confident: (K, c) ids of the images that form each prototype, surest first.
        duplicates, outliers: (K, c) bool, of `confident`.
        purity: (K,) share of the commonest class, nan for an empty cluster; None without truth.
        majority: (K,) number of that class; None without truth.
    """

    sizes: np.ndarray
    reliable: np.ndarray
    confident: np.ndarray
    duplicates: np.ndarray
    outliers: np.ndarray
    purity: np.ndarray | None = None
    majority: np.ndarray | None = None

    def share(self, cluster: int) -> float:
        """Reliable images among the cluster's, 0 for an empty one."""
        return float(self.reliable[cluster] / max(1, self.sizes[cluster]))


def overview(
    labels: np.ndarray,
    reliable: np.ndarray,
    confident: np.ndarray,
    duplicates: np.ndarray,
    outliers: np.ndarray,
    truth: np.ndarray | None = None,
) -> Overview:
    """The clusters of labels (N,) with the mask of reliable ones and, if any, true classes (N,)."""
    clusters = len(confident)
    sizes = np.bincount(labels, minlength=clusters)
    trusted = np.bincount(labels[reliable], minlength=clusters)
    purity = majority = None
    if truth is not None:
        classes = int(truth.max(initial=0)) + 1
        pairs = np.bincount(labels * np.int64(classes) + truth, minlength=clusters * classes)
        counts = pairs.reshape(clusters, classes)
        majority = counts.argmax(1)
        purity = np.where(sizes > 0, counts.max(1) / np.maximum(1, sizes), np.nan)
    return Overview(sizes, trusted, confident, duplicates, outliers, purity, majority)


def order(found: Overview, how: str) -> np.ndarray:
    """(K,) clusters in one of the orders `SORTS`; equal ones by number."""
    if how == "largest first":
        key = -found.sizes
    elif how == "least reliable first":
        key = found.reliable / np.maximum(1, found.sizes)
    elif how == "flagged first":
        key = -_flagged(found)
    else:
        key = np.zeros(len(found.sizes))
    return np.argsort(key, kind="stable")


# -- flags -------------------------------------------------------------------------------------


class Flag(NamedTuple):
    """Something unusual about a cluster: a word, a sentence, and the images that show it."""

    name: Literal["empty", "near-duplicates", "outliers"]
    sentence: str
    ids: np.ndarray


def flags(found: Overview, cluster: int) -> list[Flag]:
    """The unusual properties of a cluster, worst first."""
    out, mine = [], found.confident[cluster]
    if not found.sizes[cluster]:
        out.append(Flag("empty", "No image is assigned to this cluster.", mine[:0]))
    duplicates, outliers = found.duplicates[cluster], found.outliers[cluster]
    if _dominated(found)[cluster]:
        sentence = (
            f"{percent(float(duplicates.mean()), 0)} of the images that form the prototype are near-duplicates of "
            "one another: it may represent them instead of the cluster."
        )
        out.append(Flag("near-duplicates", sentence, mine[duplicates]))
    if outliers.any():
        count = int(outliers.sum())
        sentence = (
            f"{count:,} of the images that form the prototype {'is' if count == 1 else 'are'} far "
            "less like it than the others."
        )
        out.append(Flag("outliers", sentence, mine[outliers]))
    return out


def _dominated(found: Overview) -> np.ndarray:
    return found.duplicates.mean(1) >= DUPLICATES_DOMINATE


def _flagged(found: Overview) -> np.ndarray:
    """(K,): how many flags a cluster has, and a little more the more outliers it has."""
    outliers = found.outliers.mean(1)
    return (found.sizes == 0).astype(int) + _dominated(found) + (outliers > 0) + outliers / 2


def duplicates(confident: np.ndarray, ids: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """(K, c) bool: confident images with a near-duplicate among those of the same prototype.

    Args:
        confident: (K, c) image ids.
        ids, similarity: (N, k) neighbours, nearest first, and their cosines.
    """
    near = np.asarray(ids[confident, :DUPLICATE_NEIGHBORS])
    alike = np.asarray(similarity[confident, :DUPLICATE_NEIGHBORS]) >= DUPLICATE
    if not alike.any():
        return np.zeros(confident.shape, bool)
    row = np.arange(len(confident))[:, None] * np.int64(len(ids))
    found = np.zeros(alike.shape, bool)
    found[alike] = np.isin((near + row[..., None])[alike], confident + row)
    return np.asarray(found.any(2))


def outliers(cosines: np.ndarray) -> np.ndarray:
    """(K, c) bool: of cosines (K, c) to the own prototype, those far below the row's median."""
    median = np.median(cosines, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(cosines - median), axis=1, keepdims=True)
    return cosines < median - OUTLIER * np.maximum(spread, LEAST_SPREAD)


# -- clusters that may be the same class -----------------------------------------------------------


class Hint(NamedTuple):
    """Two clusters that may be the same class: their prototypes' cosine and the share of shared neighbours."""

    first: int
    second: int
    cosine: float
    shared: float

    def sentence(self, names: Names) -> str:
        return (
            f"{names.short(self.first)} and {names.short(self.second)}: cosine {self.cosine:.2f}, "
            f"{percent(self.shared, 0)} of their images' neighbours are in the other one"
        )


def similarity(prototypes: np.ndarray) -> np.ndarray:
    """(K, K) cosines of prototypes (K, D) of length 1."""
    return np.asarray(prototypes) @ np.asarray(prototypes).T


def shared_neighbors(labels: np.ndarray, ids: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of clusters (P, 2) that touch, the lower first, and for each pair (P,) which share of all
    links from its images to a near neighbour goes from one of the two to the other.

    Args:
        labels: (N,) ints.
        ids: (N, k) neighbours, nearest first.
    """
    chosen = np.arange(len(labels))
    if len(labels) > LINKED_IMAGES:
        chosen = np.random.default_rng(0).choice(len(labels), LINKED_IMAGES, replace=False)
    near = labels[ids[chosen, :LINKS]].astype(np.int64)
    own = np.broadcast_to(labels[chosen, None].astype(np.int64), near.shape)
    links = np.bincount(own.ravel(), minlength=clusters)
    crossing = own != near
    low, high = np.minimum(own, near)[crossing], np.maximum(own, near)[crossing]
    codes, counts = np.unique(low * clusters + high, return_counts=True)
    pairs = np.stack((codes // clusters, codes % clusters), axis=1)
    return pairs, counts / links[pairs].sum(1)


def merge_hints(cosines: np.ndarray, pairs: np.ndarray, shared: np.ndarray) -> list[Hint]:
    """Pairs of clusters that may be the same class, those that share the most neighbours first."""
    clusters = len(cosines)
    alike = np.argwhere(np.triu(cosines > ALIKE, 1))
    codes = np.concatenate((alike, pairs[shared >= SHARED])) @ (clusters, 1)
    known = pairs @ (clusters, 1)
    found = np.unique(codes.astype(np.int64))
    part = np.zeros(len(found))
    _, there, place = np.intersect1d(found, known, assume_unique=True, return_indices=True)
    part[there] = shared[place]
    first, second = found // clusters, found % clusters
    best = np.lexsort((-cosines[first, second], -part))
    return [
        Hint(int(first[i]), int(second[i]), float(cosines[first[i], second[i]]), float(part[i])) for i in best.tolist()
    ]


def most_alike(cosines: np.ndarray, most: int) -> np.ndarray:
    """The `most` clusters with the most similar other prototype, sorted; all if there are fewer."""
    others = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines)
    return np.sort(np.argsort(-others.max(1), kind="stable")[:most])


# -- vetoes --------------------------------------------------------------------------------------


class Veto(NamedTuple):
    """Images to exclude from forming a prototype, or to allow again."""

    cluster: int
    ids: tuple[int, ...]
    taken_back: bool = False


def vetoed(decisions: Iterable[Veto]) -> dict[int, tuple[int, ...]]:
    """The images that are vetoed after all decisions, sorted, of each cluster that has some."""
    found: dict[int, set[int]] = {}
    for cluster, ids, taken_back in decisions:
        mine = found.setdefault(cluster, set())
        found[cluster] = mine - set(ids) if taken_back else mine | set(ids)
    return {cluster: tuple(sorted(found[cluster])) for cluster in sorted(found) if found[cluster]}


@dataclass(frozen=True, eq=False)
class Change:
    """The effect of the vetoes in a cluster. Everything except numbers is image ids.

    Attributes:
        cosine: of the prototype as it is and as it would be.
        out: vetoed images that form the prototype now; joined: those in their place.
        lost, lost_to: images that lose its label, and the cluster (m,) they go to or stay with, −1
            for none.
        gained, gained_from: the other way round.
    """

    cluster: int
    cosine: float
    out: np.ndarray
    joined: np.ndarray
    lost: np.ndarray
    lost_to: np.ndarray
    gained: np.ndarray
    gained_from: np.ndarray


def change(before: Claims, after: Claims, labels: tuple[np.ndarray, np.ndarray], cluster: int) -> Change:
    """The change in `cluster`; `labels` are the claimed labels (N,) before and after."""
    had, has = before.members(cluster), after.members(cluster)
    formed, forms = before.confident[cluster], after.confident[cluster]
    lost, gained = had[~np.isin(had, has)], has[~np.isin(has, had)]
    return Change(
        cluster,
        float(before.prototypes[cluster] @ after.prototypes[cluster]),
        formed[~np.isin(formed, forms)],
        forms[~np.isin(forms, formed)],
        lost,
        labels[1][lost],
        gained,
        labels[0][gained],
    )


def tally(labels: np.ndarray, way: str, names: Names = NUMBERS) -> str:
    """How many images go where: "7 to cluster 3, 2 to no cluster"; the most first, at most six."""
    found, counts = np.unique(labels, return_counts=True)
    best = np.argsort(-counts, kind="stable").tolist()
    words = [f"{counts[i]:,} {way} {names.inline(int(found[i])) if found[i] >= 0 else 'no cluster'}" for i in best]
    more = f" and {len(words) - 6:,} more clusters" if len(words) > 6 else ""
    return ", ".join(words[:6]) + more


# -- how prototypes came about -------------------------------------------------------------------


def moments(rounds: Sequence[int]) -> list[int]:
    """Places of the first, the middle and the last round among `rounds`, each once."""
    last = len(rounds) - 1
    return sorted({0, last // 2, last})


def path(history: PrototypeHistory, cluster: int) -> tuple[np.ndarray, np.ndarray]:
    """(F,) cosines of a prototype to itself in the last frame, and (F,) sizes of its cluster."""
    prototypes = history.prototypes[:, cluster]
    lengths = np.linalg.norm(prototypes, axis=1)
    cosines = (prototypes @ prototypes[-1]) / np.maximum(lengths * lengths[-1], 1e-12)
    return cosines, history.sizes[:, cluster]
