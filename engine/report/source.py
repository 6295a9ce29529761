"""The health of a run's source: what was skipped and excluded, and which images are the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.health.health import PROBLEMS
from engine.health.reports import kept_report
from engine.runs.folder import RunFolder

# Names of files that are given for each reason, and reasons.
EXAMPLES, MOST_REASONS = 3, 12


@dataclass(frozen=True)
class Reason:
    """Why some files are not among the images: how many, and a few of their names."""

    reason: str
    images: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class SourceHealth:
    """What is known of the source.

    Attributes:
        skipped: files that could not be read. excluded: images that a person excluded before training.
        same: images whose pixels another image has too; groups: of how many different pictures.
        findings: images by possible problem, from the last health report of these images; None where none is kept.
    """

    skipped: tuple[Reason, ...]
    excluded: tuple[Reason, ...]
    same: int
    groups: int
    findings: tuple[tuple[str, int], ...] | None


def health_of(folder: RunFolder, images: ImageSet) -> SourceHealth:
    """From the run's card, its pixels, and the health report in the cache, if there is one."""
    card = folder.card()
    repeated = _repeated(images.pixels)
    kept = kept_report(card.fingerprint, card.images)
    findings = None if kept is None else tuple((one, len(kept.findings[one].images)) for one in PROBLEMS)
    return SourceHealth(_reasons(card.skipped), _reasons(card.excluded), sum(repeated), len(repeated), findings)


def _reasons(files: Iterable[Skipped]) -> tuple[Reason, ...]:
    """The commonest reasons, each with a few names."""
    names: dict[str, list[str]] = {}
    for one in files:
        names.setdefault(one.reason, []).append(one.name)
    rows = sorted(names.items(), key=lambda each: -len(each[1]))
    out = [Reason(reason, len(mine), tuple(mine[:EXAMPLES])) for reason, mine in rows[:MOST_REASONS]]
    if others := sum(len(mine) for _, mine in rows[MOST_REASONS:]):
        out.append(Reason("other reasons", others, ()))
    return tuple(out)


def _repeated(pixels: np.ndarray) -> list[int]:
    """How many images show each picture that several of (N, C, H, W) have, to the bit."""
    middle = pixels.shape[2] // 2
    rows = Counter(bytes(one) for one in pixels[:, :, middle])
    # Only images that share their middle row are read whole: photographs do not fit into memory.
    alike = [index for index, one in enumerate(pixels[:, :, middle]) if rows[bytes(one)] > 1]
    wholes = Counter(hashlib.blake2b(np.ascontiguousarray(pixels[index]).data).digest() for index in alike)
    return [count for count in wholes.values() if count > 1]
