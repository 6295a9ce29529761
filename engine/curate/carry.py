"""Copies decisions to a run that was trained with them, so that curation can continue there.

It copies the current state: names, colours and decided labels with their provenance, one row per reviewer, class and
provenance. An answer is no longer one of an audit, because the new run may have been trained with it. The history
stays with the earlier run. Rejections are not copied, because the new model offers a different label that
needs its own check; excluded images are not in the new run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.curate.curation import Curation, State, default_name
from engine.curate.decisions import Decision
from engine.curate.guidance import learned
from engine.curate.provenance import Provenance


def carried(curation: Curation, classes: np.ndarray, keep: np.ndarray, visit: str) -> list[Decision]:
    """The decisions to commit to the log of the new run, in this order.

    Args:
        classes: (N,) the class of each image as people left it.
        keep: (N,) bool, the images that are in the new run, in the same order.
        visit: the program that carries them, for the log.
    """
    numbers = learned([one.number for one in curation.classes], classes, keep)
    place = np.cumsum(keep) - 1
    return [
        *_names(curation, numbers, visit),
        *_labels(curation, np.searchsorted(numbers, classes), keep, place, visit),
    ]


def _names(curation: Curation, numbers: list[int], visit: str) -> Iterator[Decision]:
    for cluster, one in enumerate(one for one in curation.classes if one.number in numbers):
        if one.name != default_name(one.number):  # which is no name, but a number of the old run
            who, name = (curation.reviewer_of_class(one.number), _unlike(one.name, cluster, len(numbers)))
            yield Decision("rename", who, visit=visit, class_=cluster, text=name)
        if one.colour:
            who = curation.reviewer_of_class(one.number)
            yield Decision("recolour", who, visit=visit, class_=cluster, text=one.colour)


def _unlike(name: str, cluster: int, clusters: int) -> str:
    """A name that stands for a number of the old run would be another cluster's in the new one."""
    taken = {default_name(number).casefold() for number in range(clusters) if number != cluster}
    return f"{name} (before)" if name.casefold() in taken else name


def _labels(
    curation: Curation, clusters: np.ndarray, keep: np.ndarray, place: np.ndarray, visit: str
) -> Iterator[Decision]:
    decided = keep & (curation.state == State.DECIDED) & ~curation.disputed
    deciders = curation.deciders()
    for who in sorted(set(deciders.values())):
        rows = [row for row, name in deciders.items() if name == who]
        mine = decided & np.isin(curation.deciding, rows)
        kinds = np.stack((clusters[mine], curation.provenance[mine]), 1)
        for cluster, kind in np.unique(kinds, axis=0).tolist():
            images = place[mine & (clusters == cluster) & (curation.provenance == kind)]
            yield Decision("relabel", who, visit=visit, images=images, class_=cluster, provenance=Provenance(kind))
