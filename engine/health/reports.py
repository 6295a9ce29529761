"""Health reports on demand: made once for the same images, kept in the cache, in the background if asked.

    health/FINGERPRINT-KIND.npz

KIND stands for what else went into the report: the originals' sides, and the features of a run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.data.image_store import cache
from engine.errors import RunError, Stopped, sentence_of
from engine.health.exclusions import REASONS, Exclusions
from engine.health.health import DUPLICATES, PROBLEMS, Health, Problem, examine
from engine.sources.open_source import Opened

log = logging.getLogger(__name__)

CheckupState = Literal["examining", "done", "failed"]
# Reports of other sources that are remembered; the rest is a file away.
MOST_KEPT = 16
# Images, or groups, that a summary names of each finding.
WORST = 5


@dataclass(frozen=True)
class Checkup:
    """How a report is coming along: `done` of `total` steps."""

    state: CheckupState = "examining"
    done: int = 0
    total: int = 1
    message: str = ""
    health: Health | None = field(default=None, repr=False)


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
    vectors = None if features is None else np.load(features, mmap_mode="r", allow_pickle=False)
    made = examine(opened.images, opened.extents, features=vectors, progress=progress, stop=stop)
    if made is None:
        raise Stopped
    try:
        made.save(file)
    except OSError as error:  # a report that cannot be kept can be looked at all the same
        log.warning("%s cannot be written: %s", file, error.strerror or error)
    return made


def _file(opened: Opened, features: Path | None) -> Path:
    kind = hashlib.blake2b(digest_size=6)
    if opened.extents is not None:
        kind.update(np.ascontiguousarray(opened.extents).data)
    if features is not None:
        kind.update(f"{os.fspath(features)} {features.stat().st_mtime_ns}".encode())
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


class Examiner:
    """Makes reports in threads of their own; the same one asked for twice is made once."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[Path, Checkup] = OrderedDict()
        self._threads: dict[Path, threading.Thread] = {}
        self._guard = threading.Lock()
        self._closing = threading.Event()

    def request(
        self, opened: Opened, features: Path | None = None, *, again: bool = False, patience: float = 0.0
    ) -> Checkup:
        """How the report is coming along; asks for it the first time, and `again` after a failure.

        `patience`: seconds to wait for one that is nearly there anyway.
        """
        key = _file(opened, features)
        with self._guard:
            job = self._jobs.get(key)
            if job is None or (again and job.state == "failed"):
                self._jobs[key] = Checkup()
                self._threads[key] = threading.Thread(
                    target=self._work, args=(key, opened, features), daemon=True, name="spice-health"
                )
                self._threads[key].start()
            self._jobs.move_to_end(key)
            thread = self._threads.get(key)
        if thread is not None and patience:
            thread.join(patience)
        with self._guard:
            return self._jobs[key]

    def close(self) -> None:
        """Ends what is under way."""
        self._closing.set()

    def _work(self, key: Path, opened: Opened, features: Path | None) -> None:
        try:
            found = health_of(opened, features, progress=lambda *now: self._tell(key, *now), stop=self._closing.is_set)
            job = Checkup("done", health=found)
        except Stopped:
            job = Checkup("failed", message="the examination was stopped")
        except Exception as error:
            what = f"the health report of {opened.images.source}"
            job = Checkup("failed", message=sentence_of(error, what))
        with self._guard:
            self._jobs[key] = job
            self._threads.pop(key, None)
            self._forget()

    def _tell(self, key: Path, done: int, total: int) -> None:
        with self._guard:
            self._jobs[key] = replace(self._jobs[key], done=done, total=total)

    def _forget(self) -> None:
        finished = [key for key in self._jobs if key not in self._threads]
        for key in finished[:-MOST_KEPT]:
            del self._jobs[key]


_examiner = Examiner()


def the_examiner() -> Examiner:
    """The one of this process."""
    return _examiner
