"""Imports in background threads, which can be watched, paused and cancelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from engine.data.origin import Fit
from engine.jobs import ENDED, Job, Jobs, Task
from engine.sources.sets import SETS

if TYPE_CHECKING:
    from engine.sources.open_source import Opened


@dataclass(frozen=True)
class Asked:
    """A request to open a source: the arguments of `open_source`.

    Requests for the same source are equal, however its path is spelled.
    """

    source: str = field(compare=False)
    size: int | None = None
    labels: bool = False
    root: str | None = None
    fit: Fit = "crop"
    place: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from engine.sources.open_source import as_typed

        object.__setattr__(self, "source", as_typed(self.source))
        object.__setattr__(self, "place", _place(self.source))


def _place(source: str) -> str:
    """The source by kind and absolute path, the same for every spelling of the path."""
    from engine.sources.open_source import BUILT_IN, absolute, kind_and_path

    named = kind_and_path(source)
    if named is not None:
        return ":".join(named)
    return source if source in ("", *BUILT_IN, *SETS) else absolute(source)


@dataclass(frozen=True)
class ImportJob(Job):
    """The progress of an import: `done` of `total` new images are decoded.

    Its state is "listing" or "decoding", or "waiting" while another import of the same images, in this
    process or another, is running or paused.
    """

    state: str = "listing"
    done: int = 0

    @property
    def opened(self) -> Opened | None:
        found: Opened | None = self.result
        return found


class Importer(Jobs[Asked, ImportJob]):
    """Opens each source in its own thread; equal requests share one import."""

    def __init__(self) -> None:
        super().__init__("spice-import", ImportJob())

    def begin(self, asked: Asked) -> None:
        """Starts opening the source, unless an import of it is running already."""
        self.ask(asked, partial(_open, asked), f"the import of {asked.source}", again=("cancelling", *ENDED))


def _open(asked: Asked, task: Task[ImportJob]) -> Opened:
    from engine.sources.open_source import open_source

    opened = open_source(
        asked.source,
        size=asked.size,
        labels=asked.labels,
        root=asked.root,
        fit=asked.fit,
        progress=partial(task.tell, "decoding"),
        stop=task.asked_to_stop,
        waiting=lambda waits: task.tell("waiting" if waits else "listing"),
    )
    count = len(opened.images)
    task.tell("decoding", count, count)
    return opened


_importer = Importer()


def the_importer() -> Importer:
    """The one importer of this process: it outlives page reloads and browser tabs."""
    return _importer
