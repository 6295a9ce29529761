"""Health reports on demand: made once for the same images, kept in the cache, in the background if asked.

    health/FINGERPRINT-KIND.npz

KIND stands for what else went into the report: the originals' sides, and the features of a run.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine import npy
from engine.data.image_store import cache
from engine.errors import RunError, Stopped
from engine.formats.stamps import file_stamp
from engine.health.exclusions import REASONS, Exclusions
from engine.health.health import DUPLICATES, PROBLEMS, Health, Problem, examine
from engine.health.pictures import look_at
from engine.jobs import Job, Jobs, Task
from engine.sources.open_source import Opened

log = logging.getLogger(__name__)

# Reports of other sources that are remembered; the rest is a file away.
MOST_KEPT = 16
# Images, or groups, that a summary names of each finding.
WORST = 5


@dataclass(frozen=True)
class Checkup(Job):
    """How a report is coming along, "examining" at first: `done` of `total` steps."""

    state: str = "examining"
    done: int = 0
    total: int = 1

    @property
    def health(self) -> Health | None:
        found: Health | None = self.result
        return found


def health_of(
    opened: Opened,
    features: Path | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Health:
    """The report on a source's images: that in the cache, or a new one, which is then kept there.

    Args:
        features: a run's vectors.npy (N, D) of the same images, to find duplicates and outliers by.

    Raises:
        Stopped: when `stop()` said so.
    """
    file = _file(opened, features)
    kept = Health.load(file, len(opened.images))
    if kept is not None:
        return kept
    vectors = None if features is None else npy.mapped(features, "r")
    look = look_at(opened)
    made = examine(opened.images, opened.extents, look=look, features=vectors, progress=progress, stop=stop)
    if made is None:
        raise Stopped
    if made.near.unseen:  # when the originals are back, whole pictures are compared
        return made
    try:
        made.save(file)
    except OSError as error:  # a report that cannot be saved can still be shown
        log.warning("%s cannot be written: %s", file, error.strerror or error)
    return made


def kept_report(fingerprint: str, images: int) -> Health | None:
    """The last report that the cache has on so many images with this fingerprint; None where nobody asked for one."""
    files = [(file.stat().st_mtime, file) for file in (cache() / "health").glob(f"{fingerprint}-*.npz")]
    found = (Health.load(file, images) for _, file in sorted(files, reverse=True))
    return next((one for one in found if one is not None), None)


def _file(opened: Opened, features: Path | None) -> Path:
    kind = hashlib.blake2b(digest_size=6)
    if opened.extents is not None:
        kind.update(np.ascontiguousarray(opened.extents).data)
    if features is not None:
        kind.update(f"{os.fspath(features)} {file_stamp([features])}".encode())
    return cache() / "health" / f"{opened.images.fingerprint}-{kind.hexdigest()}.npz"


# -- in words --------------------------------------------------------------------------------------


def findings_named(text: str) -> list[Problem]:
    """The findings of "exact-duplicates,dark"; raises RunError for one that there is not."""
    known = {_slug(one): one for one in PROBLEMS}
    asked = [part.strip() for part in text.split(",") if part.strip()]
    for name in asked:
        if name not in known:
            raise RunError(f"there is no finding {name!r}: expected some of {', '.join(known)}")
    return [known[name] for name in asked]


def _slug(problem: Problem) -> str:
    return problem.replace(" ", "-")


def exclude_found(health: Health, decided: Exclusions, problems: list[Problem]) -> None:
    """Leaves out what was found, one decision a finding; of duplicates one of each group stays."""
    for one in problems:
        found = health.findings[one]
        which = found.extras(decided.kept) if one in DUPLICATES else found.images
        decided.exclude(which, REASONS[one], "command line")


def summary(opened: Opened, health: Health, kept: np.ndarray) -> dict[str, Any]:
    """Counts, and the names of the worst: of single images, or of whole groups of duplicates."""
    names, findings = opened.images.ids, {}
    for problem, found in health.findings.items():
        told: dict[str, Any] = {"images": len(found.images)}
        if problem in DUPLICATES:
            groups = int(found.groups.max(initial=-1)) + 1
            worst = [found.images[found.groups == number] for number in range(min(groups, WORST))]
            told |= {"groups": groups, "worst": [[names[i] for i in group] for group in worst]}
        else:
            told["worst"] = [names[i] for i in found.images[:WORST]]
        findings[_slug(problem)] = told
    if not health.aspects:
        findings["odd-aspect"]["unknown"] = True
    return {
        "source": opened.images.source,
        "images": len(names),
        "unreadable": len(opened.skipped),
        "left_out": int((~kept).sum()),
        "findings": findings,
    }


def lines(summary: dict[str, Any]) -> list[str]:
    """A summary for people."""
    found = [f"{summary['images']:,} images, {summary['unreadable']:,} unreadable"]
    for name, told in summary["findings"].items():
        count = f"{told['images']:,}" if told["images"] else "none"
        groups = told.get("groups", 0)
        further = f" in {groups:,} group{'' if groups == 1 else 's'}" if groups else ""
        if told.get("unknown"):
            further = ", since nothing is known of the originals' sides"
        found.append(f"{name:<17} {count:>7}{further}")
        found += [f"    {_worst(one)}" for one in told["worst"]]
    found.append(f"{summary['left_out']:,} images are left out before training")
    return found


def _worst(names: str | list[str]) -> str:
    if isinstance(names, str):
        return names
    more = f" and {len(names) - WORST:,} more" if len(names) > WORST else ""
    return " · ".join(names[:WORST]) + more


# -- in the background -----------------------------------------------------------------------------


class Examiner(Jobs[Path, Checkup]):
    """Makes reports in threads of their own; the same one asked for twice is made once."""

    def __init__(self) -> None:
        super().__init__("spice-health", Checkup(), keep=MOST_KEPT)

    def request(
        self, opened: Opened, features: Path | None = None, *, again: bool = False, patience: float = 0.0
    ) -> Checkup:
        """How the report is coming along; asks for it the first time, and `again` after a failure.

        `patience`: seconds to wait for one that is nearly there anyway.
        """

        def work(task: Task[Checkup]) -> Health:
            return health_of(opened, features, progress=partial(task.tell, "examining"), stop=task.asked_to_stop)

        what = f"the health report of {opened.images.source}"
        job = self.ask(_file(opened, features), work, what, again=("failed",) if again else (), patience=patience)
        if job.state == "cancelled":
            return replace(job, state="failed", message="the examination was stopped")
        return job


_examiner = Examiner()


def the_examiner() -> Examiner:
    """The one of this process."""
    return _examiner
