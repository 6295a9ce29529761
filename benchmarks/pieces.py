"""Long measurements in pieces: each piece is measured once and kept in a file.

`python -m benchmarks NAME --minutes 9` stops before a piece that no longer fits; the same command
resumes there. Results from another device, engine version or set of options are never mixed: they have
their own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import device_slug, engine_version

WORK = Path(__file__).parents[1] / ".bench"


@dataclass(frozen=True)
class Options:
    """The options of the command line; `earlier` is --from."""

    device: str = "auto"
    minutes: float = 1e9
    data: Path | None = None
    images: int = 5000
    seeds: int = 3
    preset: str = "quick"
    assignments: tuple[str, ...] = ()
    out: Path | None = None
    only: str = ""
    earlier: Path | None = None
    clothes: Path | None = None
    kills: int | None = None
    files: int | None = None
    saves: int | None = None
    inputs: int | None = None
    began: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float:
        return self.minutes * 60 - (time.monotonic() - self.began)


class OutOfTime(Exception):
    """The next piece does not fit into the time; everything before it is kept."""


class Pieces:
    """The results of one measurement on disk, by name of the piece."""

    def __init__(self, name: str, options: Options) -> None:
        asked = repr((options.images, options.seeds, options.preset, options.assignments))
        mark = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()
        self.folder = WORK / f"{name}-{device_slug(options.device)}-{engine_version()}-{mark}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._options = options

    def get(self, piece: str, measure: Callable[[], Any], *, seconds: float = 0.0) -> Any:
        """The result of `piece`, from disk or measured now; raises OutOfTime.

        Args:
            seconds: how long it may take; with less time left it is not started.
        """
        path = self.folder / f"{piece.replace('/', '-').replace(' ', '_')}.json"
        if path.exists():
            return json.loads(path.read_text())
        if self._options.seconds_left() < seconds:
            raise OutOfTime(f"{piece} is not measured yet: run the same command again")
        began = time.perf_counter()
        result = measure()
        print(f"{piece}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(result))
        draft.replace(path)
        return json.loads(path.read_text())


@contextmanager
def cache_in(place: Path) -> Iterator[None]:
    """The app's cache is in `place` meanwhile."""
    before = os.environ.get("SPICE_EXPLORER_CACHE")
    os.environ["SPICE_EXPLORER_CACHE"] = str(place)
    try:
        yield
    finally:
        del os.environ["SPICE_EXPLORER_CACHE"]
        if before is not None:
            os.environ["SPICE_EXPLORER_CACHE"] = before
