"""Response times of photographs in the app: 10,000 images whose originals have 12 megapixels (see
`made_photographs`), while another run trains (see `browser`). And what thumbnails cost: time of the import, disk.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.browser import make_training_run, yardstick
from benchmarks.gallery_pages import Photographs, in_the_browser
from benchmarks.gallery_report import report_body
from benchmarks.imports import empty_cache
from benchmarks.made_photographs import DIFFERENT, SIDE, draw, link, opened, run_of_photographs
from benchmarks.pieces import Options
from benchmarks.report import write
from engine.data.import_images import import_images
from engine.data.thumbnail_store import ThumbnailStore
from engine.sources.open_source import Opened, source_of

PHOTOS = "photos"
IMPORTED, PAIRS = 40, 6


def measure(options: Options) -> None:
    """Writes results/gallery."""
    load, before = os.getloadavg()[0], yardstick()
    with tempfile.TemporaryDirectory() as name, empty_cache():
        place = Path(name)
        files = draw(place / "drawn", DIFFERENT)
        found: dict[str, Any] = {
            "images": options.images,
            "different": DIFFERENT,
            "megabytes": [file.stat().st_size / 1e6 for file in files],
            "load": load,
            "import": imports(files[:IMPORTED], place / "import"),
        }
        link(files, place / "photographs", options.images)
        photographs = opened(place / "photographs", files)
        run = run_of_photographs(place / "runs" / PHOTOS, photographs)
        make_training_run(place / "runs")
        found |= in_the_browser(place, Photographs(run, photographs))
        found["thumbnails"] = disk(photographs)
    found["yardstick"] = [before, yardstick()]
    write("gallery", "Photographs in the app", found, report_body(found))


# -- what thumbnails cost ----------------------------------------------------------------------


def imports(files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Seconds, and seconds of processor time, to import `files`, linked in the new `folder`, with thumbnails and
    without, in pairs that begin with each in turn."""
    link(files, folder, len(files))
    _import(folder, thumbnails=True)  # once without measuring: libraries are imported
    took: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for pair in range(PAIRS):
        for thumbnails in (True, False) if pair % 2 else (False, True):
            took[thumbnails].append(_import(folder, thumbnails=thumbnails))
    found: dict[str, Any] = {"images": len(files)}
    for thumbnails, name in ((True, "with"), (False, "without")):
        elapsed, processor = zip(*took[thumbnails], strict=True)
        found |= {name: list(processor), f"{name}, elapsed": list(elapsed)}
    return found


def _import(folder: Path, *, thumbnails: bool) -> tuple[float, float]:
    """Seconds that pass, and of processor time of all threads; so few images are decoded in threads."""
    with empty_cache():
        began, worked = time.perf_counter(), time.process_time()
        stored = import_images(
            source_of(f"folder:{folder}"),
            SIDE,
            "crop",
            thumbnails=thumbnails,
            progress=lambda _done, _total: None,
            stop=lambda: False,
            waiting=lambda _waits: None,
        )
        took = time.perf_counter() - began, time.process_time() - worked
        with ThumbnailStore(source_of(f"folder:{folder}").place) as store:
            made = int(store.present(stored.listing.names, stored.listing.stamps).sum())
    if made != (len(stored.listing.names) if thumbnails else 0):
        raise RuntimeError(f"an import with thumbnails={thumbnails} made {made}: its time is not what it is said to be")
    return took


def disk(photographs: Opened) -> dict[str, int]:
    """How many thumbnails are kept, and how many bytes they take."""
    assert photographs.origin is not None
    assert photographs.stamps is not None
    with ThumbnailStore(photographs.origin.place) as store:
        count = int(store.present(photographs.images.ids, photographs.stamps).sum())
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {"count": count, "bytes": store.path.stat().st_size}
