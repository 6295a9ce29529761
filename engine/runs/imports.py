"""Images brought in by a thread in the background: watched, paused and cancelled by whoever asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from engine.errors import Stopped, sentence_of
from engine.runs.runner import Control

if TYPE_CHECKING:
    from engine.data.sources import Opened

ImportState = Literal["listing", "decoding", "paused", "done", "failed", "cancelled"]
UNDERWAY: tuple[ImportState, ...] = ("listing", "decoding", "paused")


@dataclass(frozen=True)
class Asked:
    """What someone wants to have opened; the arguments of `open_source`."""

    source: str
    size: int | None = None
    labels: bool = False
    root: str | None = None


@dataclass(frozen=True)
class ImportJob:
    """How an import is coming along: `done` of `total` images are decoded, as far as they are new."""

    state: ImportState = "listing"
    done: int = 0
    total: int = 0
    message: str = ""
    opened: Opened | None = field(default=None, repr=False)

    @property
    def underway(self) -> bool:
        return self.state in UNDERWAY


class Importer:
    """Opens sources, each in a thread of its own; the same one asked for twice is opened once."""

    def __init__(self) -> None:
        self._jobs: dict[Asked, ImportJob] = {}
        self._controls: dict[Asked, Control] = {}
        self._guard = threading.Lock()

    def begin(self, asked: Asked) -> None:
        """Begins to open the source, unless that is under way."""
        with self._guard:
            job = self._jobs.get(asked)
            if job is not None and job.underway:
                return
            self._jobs[asked] = ImportJob()
            self._controls[asked] = Control()
        threading.Thread(
            target=self._work, args=(asked,), daemon=True, name="spice-import"
        ).start()  # fmt: skip

    def look(self, asked: Asked) -> ImportJob | None:
        """The import as it is now; None when it was never asked for, or is forgotten."""
        with self._guard:
            job = self._jobs.get(asked)
            paused = job is not None and job.underway and self._controls[asked].paused
            return replace(job, state="paused") if job and paused else job

    def pause(self, asked: Asked) -> None:
        self._controls[asked].pause()

    def resume(self, asked: Asked) -> None:
        self._controls[asked].resume()

    def cancel(self, asked: Asked) -> None:
        self._controls[asked].stop()

    def forget(self, asked: Asked) -> None:
        """Lets go of what an import brought, so that nobody holds on to its images."""
        with self._guard:
            if asked in self._jobs and not self._jobs[asked].underway:
                del self._jobs[asked], self._controls[asked]

    def close(self) -> None:
        """Cancels every import, at the end of the server."""
        with self._guard:
            for control in self._controls.values():
                control.stop()

    def _work(self, asked: Asked) -> None:
        from engine.data.sources import open_source

        control = self._controls[asked]

        def progress(done: int, total: int) -> None:
            self._set(asked, ImportJob("decoding", done, total))

        def stop() -> bool:
            return control.asked_to_stop(lambda _event: None)

        try:
            opened = open_source(
                asked.source, size=asked.size, labels=asked.labels, root=asked.root,
                progress=progress, stop=stop,
            )  # fmt: skip
            self._set(
                asked, ImportJob("done", len(opened.images), len(opened.images), opened=opened)
            )
        except Stopped:
            self._set(asked, ImportJob("cancelled"))
        except Exception as error:
            what = f"the import of {asked.source}"
            self._set(asked, ImportJob("failed", message=sentence_of(error, what)))

    def _set(self, asked: Asked, job: ImportJob) -> None:
        with self._guard:
            self._jobs[asked] = job


_importer = Importer()


def the_importer() -> Importer:
    """The one importer of this process: it outlives page reloads and browser tabs."""
    return _importer
