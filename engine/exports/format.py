"""What an export format is. A file in `formats/` defines FORMATS: one format, or several that differ little."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import RunError, Stopped
from engine.exports import formats

if TYPE_CHECKING:
    from engine.exports.labelled import Labelled
    from engine.exports.pictures import How, Pictures

# What a format may be asked: how originals come into it; whether a CSV guards names against spreadsheets.
Option = Literal["how", "guard"]


@dataclass(frozen=True)
class Export:
    """One export, as a format gets it.

    Attributes:
        labelled: the images to export, at least one.
        pictures: theirs, for a format that has pictures.
        draft: an empty folder to fill, for a format that is a folder.
        notes: sentences for the user, to which the format may add.
    """

    labelled: Labelled
    pictures: Pictures
    draft: Path
    how: How
    guard: bool
    progress: Callable[[int, int], None]
    stop: Callable[[], bool]
    notes: list[str] = field(default_factory=list)

    def tell(self, done: int) -> None:
        """Reports that `done` images are exported; raises Stopped when the export shall stop."""
        self.progress(done, len(self.labelled))
        if self.stop():
            raise Stopped


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: what it is called on the command line.
        title: what it is called on the page.
        writes: what is written, and what opens it, in a sentence.
        ending: of the one file that it is; "" for a folder.
        pictures: whether pictures are in it.
        rejected: whether it says of each image what was decided, so that images stay whose class is wrong.
        options: what may be asked of it.
        packed: the content of the file, for a format that is one.
        fill: writes into the draft folder, for any other.
    """

    name: str
    title: str
    writes: str
    ending: str = ""
    pictures: bool = False
    rejected: bool = False
    options: frozenset[Option] = frozenset()
    packed: Callable[[Export], bytes] | None = None
    fill: Callable[[Export], None] | None = None


@cache
def known_formats() -> dict[str, Format]:
    """All formats by name: files first, then folders."""
    modules = (
        importlib.import_module(f"{formats.__name__}.{one.name}") for one in pkgutil.iter_modules(formats.__path__)
    )
    found: list[Format] = [one for module in modules for one in module.FORMATS]
    found.sort(key=lambda one: (one.packed is None, not one.pictures))
    return {one.name: one for one in found}


def format_named(name: str) -> Format:
    """The format called `name`; raises RunError."""
    if name not in known_formats():
        raise RunError(f"there is no export format {name!r}: expected {', '.join(known_formats())}")
    return known_formats()[name]
