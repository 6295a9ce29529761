"""The clusters of a report: their sizes, verdicts and pictures, and the images that form their prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.data.images import ImageSet
from engine.report.labels import Labels, colour_of
from engine.report.pictures import Pictures
from engine.shares import percent
from engine.stages.reliable import neighbor_count
from engine.terms import REASONS

# Pictures of each cluster, and fewer where there are many: all together of each kind.
TYPICAL, FORMING, MOST_PICTURES = 6, 10, 400
# With more clusters, only the largest show the images that form their prototypes.
MOST_PROTOTYPES = 60
# The longer side of a picture in pixels, and where there are many.
SIDE, SMALL_SIDE, MANY = 128, 72, 200


@dataclass(frozen=True)
class Cluster:
    """One cluster of the newest labels.

    Attributes:
        counts: images by verdict, in the order of `REASONS`; None after stage 1 alone.
        typical, forming: images that show what it is, and those that form its prototype, surest first.
    """

    number: int
    title: str
    colour: str
    size: int
    counts: tuple[int, ...] | None
    typical: tuple[int, ...]
    forming: tuple[int, ...]

    @property
    def reliable(self) -> int | None:
        return None if self.counts is None else self.counts[0]


@dataclass(frozen=True)
class Shown:
    """The pictures of a report.

    Attributes:
        addresses: the picture of an image, as a data: address. names: its file name.
        forming: how many images form a prototype, of which the first are shown; 0 before stage 2 is done.
        sharp: whether pictures are drawn as squares.
    """

    addresses: dict[int, str]
    names: dict[int, str]
    forming: int
    sharp: bool


def clusters_of(found: Labels, images: ImageSet, pictures: Pictures) -> tuple[tuple[Cluster, ...], Shown]:
    """All clusters by number, with the pictures that they show."""
    clusters = found.clusters
    sizes = np.bincount(found.labels, minlength=clusters).tolist()
    typical = found.typical(min(TYPICAL, max(1, MOST_PICTURES // clusters)))
    forming, of = _forming(found, sizes)
    counts = _counts(found)
    rows = tuple(
        Cluster(
            one,
            found.title(one),
            colour_of(found.class_of(one)),
            sizes[one],
            None if counts is None else tuple(counts[one].tolist()),
            tuple(typical.get(one, ())),
            forming.get(one, ()),
        )
        for one in range(clusters)
    )
    asked = sorted({image for row in rows for image in (*row.typical, *row.forming)})
    addresses = pictures.addresses(asked, SIDE if len(asked) <= MANY else SMALL_SIDE)
    names = {image: images.names[image] for image in asked}
    return rows, Shown(addresses, names, of, sharp=all(one.startswith("data:image/png") for one in addresses.values()))


def _counts(found: Labels) -> np.ndarray | None:
    """(K, 4) int64: images of each cluster by verdict."""
    if found.verdict is None:
        return None
    pairs = found.labels * len(REASONS) + found.verdict.verdicts
    return np.bincount(pairs, minlength=found.clusters * len(REASONS)).reshape(found.clusters, len(REASONS))


def _forming(found: Labels, sizes: list[int]) -> tuple[dict[int, tuple[int, ...]], int]:
    """By cluster, the images that form its prototype in stage 2, surest first, without excluded ones; and how many
    form one."""
    if not found.folder.has("heads"):
        return {}, 0
    confident = np.asarray(found.folder.load("heads")["confident"])
    each = min(FORMING, max(1, MOST_PICTURES // found.clusters))
    largest = sorted(range(found.clusters), key=lambda one: (-sizes[one], one))[:MOST_PROTOTYPES]
    kept = {one: confident[one][~found.left_out[confident[one]]][:each] for one in sorted(largest)}
    return {one: tuple(ids.tolist()) for one, ids in kept.items()}, confident.shape[1]


def thresholds_of(found: Labels) -> tuple[tuple[str, str], ...]:
    """What a label needs to be reliable, each with its meaning; none after stage 1 alone."""
    if found.verdict is None:
        return ()
    card = found.folder.card()
    settings = card.config.reliable
    asked = neighbor_count(settings, card.images, card.config.clusters)
    return (
        (percent(settings.agreement, 0), f"or more of its {asked} nearest neighbours have the same label"),
        (percent(settings.confidence, 0), "or more is the model's probability for it"),
    )
