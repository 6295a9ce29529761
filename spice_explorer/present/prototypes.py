"""A row for each cluster: what it holds and which images stand for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MERGE_HINT = 0.9


@dataclass(frozen=True, eq=False)
class Row:
    """One cluster.

    Attributes:
        confident: images that form its prototype, surest first, each once.
        nearest: images that the prototype claims, nearest first.
        purity, majority: share and name of its commonest class, only with truth.
    """

    cluster: int
    size: int
    reliable: int
    confident: np.ndarray
    nearest: np.ndarray
    purity: float | None = None
    majority: str | None = None

    @property
    def share(self) -> float:
        return self.reliable / self.size if self.size else 0.0


def rows(
    labels: np.ndarray,
    reliable: np.ndarray,
    confident: np.ndarray,
    nearest: np.ndarray,
    truth: np.ndarray | None = None,
    class_names: tuple[str, ...] = (),
) -> list[Row]:
    """K rows.

    Args:
        labels: (N,) ints.
        reliable: (N,) bool.
        confident: (K, c) image ids.
        nearest: (K, n) image ids.
        truth: (N,) class numbers, if there is any.
    """
    out = []
    for cluster in range(len(confident)):
        mine = labels == cluster
        purity = majority = None
        if truth is not None and mine.any():
            counts = np.bincount(truth[mine], minlength=len(class_names))
            purity, majority = float(counts.max() / mine.sum()), class_names[int(counts.argmax())]
        out.append(
            Row(
                cluster, int(mine.sum()), int((mine & reliable).sum()),
                np.asarray(confident[cluster]), np.asarray(nearest[cluster]), purity, majority,
            )
        )  # fmt: skip
    return out


SORTS = ("number", "largest first", "least reliable first")


def sort(found: list[Row], how: str) -> list[Row]:
    """The rows in one of the orders `SORTS`."""
    if how == "largest first":
        return sorted(found, key=lambda row: -row.size)
    if how == "least reliable first":
        return sorted(found, key=lambda row: row.share)
    return sorted(found, key=lambda row: row.cluster)


def similarity(prototypes: np.ndarray) -> np.ndarray:
    """(K, K) cosines of prototypes (K, D) of length 1."""
    return np.asarray(prototypes) @ np.asarray(prototypes).T


def merge_hints(cosines: np.ndarray, above: float = MERGE_HINT) -> list[tuple[int, int, float]]:
    """Pairs of clusters whose prototypes are more alike than `above`, the likest first."""
    first, second = np.triu_indices(len(cosines), 1)
    found = [
        (int(a), int(b), float(cosines[a, b]))
        for a, b in zip(first, second, strict=True)
        if cosines[a, b] > above
    ]
    return sorted(found, key=lambda pair: -pair[2])
