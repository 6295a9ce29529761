"""Stage 2's prototypes: what they are made of, what they claim, and what if they were made of less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spice_explorer.present import prototypes as present
from spice_explorer.present.prototypes import change
from spice_explorer.queries.artefacts import arrays, reliable, truth, unit_vectors
from spice_explorer.queries.cache import cached

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder
    from engine.stages.prototypes import Claims
    from spice_explorer.present.prototypes import Change, Hint, Overview


@cached("heads", entries=4)
def claims(run: RunFolder) -> Claims:
    """The images that form stage 2's prototypes, and those that each claims."""
    from engine.stages.prototypes import claims_of

    heads = arrays(run, "heads")
    confident, prototypes, nearest = (np.asarray(heads[one]) for one in ("confident", "prototypes", "nearest"))
    return claims_of(unit_vectors(run), confident, prototypes, nearest, heads.get("claimed"), exclusive=_exclusive(run))


def _exclusive(run: RunFolder) -> bool:
    """Whether only the nearest of several prototypes keeps its claim to an image."""
    return run.card().config.heads.exclusive


@cached("heads", entries=4)
def overview(run: RunFolder) -> Overview:
    """Sizes, flags and, with truth, purity of stage 2's clusters."""
    from engine.stages.prototypes import own_cosines

    own, near, verdict = claims(run), arrays(run, "neighbors"), reliable(run, "heads")
    found = truth(run)
    cosines = own_cosines(unit_vectors(run), own.prototypes, own.confident)
    return present.overview(
        np.asarray(verdict.labels),
        verdict.mask,
        own.confident,
        present.duplicates(own.confident, near["ids"], near["similarity"]),
        present.outliers(cosines),
        None if found is None else found.labels,
    )


@cached("heads", entries=256)
def borderline(run: RunFolder, cluster: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) images with this cluster's pseudo-label, the least clear first, by how much nearer they
    are to its prototype than to the next, and that next cluster."""
    from engine.stages.prototypes import margins

    mine = claims(run)
    ids = mine.members(cluster)
    margin, other = margins(unit_vectors(run), mine.prototypes, ids, cluster)
    order = np.argsort(margin, kind="stable")
    return ids[order], margin[order], other[order]


@cached("heads", entries=4)
def alike(run: RunFolder) -> tuple[np.ndarray, list[Hint]]:
    """(K, K) cosines between stage 2's prototypes, and which clusters may be the same class."""
    cosines = present.similarity(arrays(run, "heads")["prototypes"])
    labels = np.asarray(reliable(run, "heads").labels)
    touching = present.shared_neighbors(labels, arrays(run, "neighbors")["ids"], len(cosines))
    return cosines, present.merge_hints(cosines, *touching)


@cached("heads")
def _without(run: RunFolder, vetoed: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[Claims, list[Change]]:
    from engine.stages.prototypes import claimed_labels, without

    before, unit = claims(run), unit_vectors(run)
    images = {cluster: np.array(ids, np.int64) for cluster, ids in vetoed}
    heads = arrays(run, "heads")
    after = without(before, unit, heads["probabilities"], images, heads.get("claimed"), exclusive=_exclusive(run))
    labels = claimed_labels(before, len(unit)), claimed_labels(after, len(unit))
    return after, [change(before, after, labels, cluster) for cluster in images]


def without(run: RunFolder, vetoed: dict[int, tuple[int, ...]]) -> tuple[Claims, list[Change]]:
    """Stage 2's claims if the vetoed images did not help to form their prototypes, and what that
    changes in each of those clusters; raises RunError when too few images are left."""
    return _without(run, tuple(vetoed.items()))
