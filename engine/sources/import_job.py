"""Images brought in by a thread in the background: watched, paused and cancelled by whoever asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from engine.errors import Stopped, sentence_of
from engine.jobs import Control

if TYPE_CHECKING:
    from engine.sources.open_source import Opened

ImportState = Literal["listing", "waiting", "decoding", "paused", "cancelling", "done", "failed", "cancelled"]
ENDED: tuple[ImportState, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Asked:
    """What someone wants to have opened; the arguments of `open_source`.

    Two that spell the same source differently are equal.
    """

    source: str = field(compare=False)
    size: int | None = None
    labels: bool = False
    root: str | None = None
    place: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", _place(self.source))


def _place(source: str) -> str:
    """The same however the path is spelled."""
    from engine.sources.open_source import BUILT_IN, absolute, kind_and_path
    from engine.sources.sets import SETS

    named = kind_and_path(source)
    if named is not None:
        return ":".join(named)
    return source if source in ("", *BUILT_IN, *SETS) else absolute(source)


@dataclass(frozen=True)
class ImportJob:
    """How an import is coming along: `done` of `total` images are decoded, as far as they are new.

    It is "waiting" while another import of the same images is under way or paused, in this process or
    another, and "cancelling" until what was in hand is finished.
    """

    state: ImportState = "listing"
    done: int = 0
    total: int = 0
    message: str = ""
    opened: Opened | None = field(default=None, repr=False)

    @property
    def underway(self) -> bool:
        return self.state not in ENDED


@dataclass
class _Work:
    """What one thread does, and the switches by which it is steered."""

    job: ImportJob = field(default_factory=ImportJob)
    control: Control = field(default_factory=Control)
    cancelled: bool = False

    def seen(self) -> ImportJob:
        if self.job.underway and self.cancelled:
            return replace(self.job, state="cancelling")
        if self.job.underway and self.control.paused:
            return replace(self.job, state="paused")
        return self.job


class Importer:
    """Opens sources, each in a thread of its own; the same one asked for twice is opened once."""

    def __init__(self) -> None:
        self._works: dict[Asked, _Work] = {}
        self._guard = threading.Lock()

    def begin(self, asked: Asked) -> None:
        """Begins to open the source, unless that is under way and goes on."""
        with self._guard:
            before = self._works.get(asked)
            if before is not None and before.job.underway and not before.cancelled:
                return
            work = self._works[asked] = _Work()
        threading.Thread(target=self._open, args=(asked, work), daemon=True, name="spice-import").start()

    def look(self, asked: Asked) -> ImportJob | None:
        """The import as it is now; None when it was never asked for, or is forgotten."""
        with self._guard:
            work = self._works.get(asked)
            return None if work is None else work.seen()

    # One that is forgotten meanwhile needs no steering: whoever shares it has seen to it.

    def pause(self, asked: Asked) -> None:
        with self._guard:
            if asked in self._works:
                self._works[asked].control.pause()

    def resume(self, asked: Asked) -> None:
        with self._guard:
            if asked in self._works:
                self._works[asked].control.resume()

    def cancel(self, asked: Asked) -> None:
        with self._guard:
            if asked in self._works:
                self._cancel(self._works[asked])

    def forget(self, asked: Asked) -> None:
        """Lets go of what an import brought, so that nobody holds on to its images."""
        with self._guard:
            if asked in self._works and not self._works[asked].job.underway:
                del self._works[asked]

    def close(self) -> None:
        """Cancels every import, at the end of the server."""
        with self._guard:
            for work in self._works.values():
                self._cancel(work)

    def _cancel(self, work: _Work) -> None:
        work.cancelled = True
        work.control.stop()

    def _open(self, asked: Asked, work: _Work) -> None:
        from engine.sources.open_source import open_source

        def progress(done: int, total: int) -> None:
            self._set(work, ImportJob("decoding", done, total))

        def stop() -> bool:
            return work.control.asked_to_stop(lambda _event: None)

        def waiting(waits: bool) -> None:
            self._set(work, ImportJob("waiting" if waits else "listing"))

        try:
            opened = open_source(
                asked.source,
                size=asked.size,
                labels=asked.labels,
                root=asked.root,
                progress=progress,
                stop=stop,
                waiting=waiting,
            )
            count = len(opened.images)
            self._set(work, ImportJob("done", count, count, opened=opened))
        except Stopped:
            self._set(work, ImportJob("cancelled"))
        except Exception as error:
            what = f"the import of {asked.source}"
            self._set(work, ImportJob("failed", message=sentence_of(error, what)))

    def _set(self, work: _Work, job: ImportJob) -> None:
        with self._guard:
            work.job = job


_importer = Importer()


def the_importer() -> Importer:
    """The one importer of this process: it outlives page reloads and browser tabs."""
    return _importer
