"""The speed of imports: 60,000 JPEG files, compared with a bare loop that only decodes them; opened again;
opened with new images; and decoded to more bytes than should be in memory. Part of the benchmark `sources`.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.cifar10_images import NAME, unpacked
from benchmarks.pieces import Options, Pieces, cache_in
from benchmarks.report import table
from engine.sources.folders import walk
from engine.sources.open_source import open_source

ROUNDS, BATCH = 3, 64
# With this side, 60,000 colour images take 5 GB.
LARGE_SIDE = 167
NEW = 1_000
SHARE_GOAL, AGAIN_GOAL, MEMORY_GOAL = 0.8, 2.0, 1e9


@contextmanager
def empty_cache() -> Iterator[Path]:
    """An empty cache, deleted afterwards."""
    with tempfile.TemporaryDirectory() as place, cache_in(Path(place)):
        yield Path(place)


def _decode(paths: list[str]) -> int:
    """Only decodes: nothing is checked, cropped or stored."""
    total = 0
    for path in paths:
        with Image.open(path) as image:
            total += np.asarray(image.convert("RGB")).shape[0]
    return total


def bare_loop(root: Path) -> float:
    """Seconds to decode all images below `root`, in as many processes as there are cores."""
    paths = [str(root / name) for name in walk(root).files]
    began = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        sum(pool.map(_decode, batches))
    return time.perf_counter() - began


def opening(root: Path, size: int) -> dict[str, float]:
    """Seconds to open the folder, and peak memory in bytes: of this process, and of its largest child per core."""
    began = time.perf_counter()
    opened = open_source(f"folder:{root}", size=size)
    seconds = time.perf_counter() - began
    peak = {
        who: 1024 * resource.getrusage(kind).ru_maxrss
        for who, kind in (("own", resource.RUSAGE_SELF), ("child", resource.RUSAGE_CHILDREN))
    }
    return {
        "seconds": seconds,
        "images": len(opened.images),
        "bytes": opened.images.pixels.nbytes,
        "memory": peak["own"] + (os.cpu_count() or 1) * peak["child"],
    }


def apart(act: Any, *arguments: Any) -> Any:
    """Calls `act` in a separate process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(act, *arguments).result()


def _rounds(root: Path) -> list[dict[str, float]]:
    """Bare loop and import in turn, so that both run under the same conditions."""
    found = []
    for _ in range(ROUNDS):
        with empty_cache():
            bare = apart(bare_loop, root)
            first = apart(opening, root, 32)
            again = apart(opening, root, 32)
        found.append({"bare": bare, "first": first["seconds"], "again": again["seconds"], "images": first["images"]})
    return found


def _extended(root: Path) -> dict[str, float]:
    """Seconds to open a folder, and again after adding 1,000 images."""
    with empty_cache() as place:
        copy = place / "images"
        shutil.copytree(root, copy, copy_function=os.link)
        first = apart(opening, copy, 32)
        names = walk(copy).files[:NEW]
        for number, name in enumerate(names):
            shutil.copyfile(copy / name, copy / f"new-{number:04d}.jpg")
        return {"first": first["seconds"], "extended": apart(opening, copy, 32)["seconds"]}


def _large(root: Path) -> dict[str, float]:
    with empty_cache():
        return apart(opening, root, LARGE_SIDE)


def imports(options: Options, pieces: Pieces) -> dict[str, Any]:
    """All measurements of imports; raises SourceError without the photographs."""
    root = unpacked(options)
    return {
        "rounds": pieces.get("import", lambda: _rounds(root), seconds=240),
        "extended": pieces.get("import extended", lambda: _extended(root), seconds=120),
        "large": pieces.get("import large", lambda: _large(root), seconds=300),
    }


def imports_body(found: dict[str, Any]) -> str:
    """The section on imports: a table and its explanation."""
    rounds, large = found["rounds"], found["large"]
    shares = [one["bare"] / one["first"] for one in rounds]
    again, memory = max(one["again"] for one in rounds), large["memory"]

    def median(what: str) -> str:
        return f"{statistics.median(one[what] for one in rounds):.1f} s"

    def goal(met: bool, text: str) -> str:
        return f"{text}: {'met' if met else '**missed**'}"

    rows = [
        ["bare loop: decode in as many processes, discard", median("bare"), ""],
        ["import: list, decode, crop, check, store, fingerprint", median("first"), ""],
        [
            "… as a share of the bare loop's speed",
            f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
            goal(statistics.median(shares) >= SHARE_GOAL, f"≥ {SHARE_GOAL:.0%}"),
        ],
        ["second opening, slowest", f"{again:.2f} s", goal(again < AGAIN_GOAL, f"< {AGAIN_GOAL:.0f} s")],
        [f"opening again with {NEW:,} new images", f"{found['extended']['extended']:.1f} s", ""],
        [
            f"import of {large['bytes'] / 1e9:.1f} GB ({LARGE_SIDE} × {LARGE_SIDE} pixels)",
            f"{large['seconds']:.0f} s",
            "",
        ],
        ["… peak memory, all processes", f"{memory / 1e6:.0f} MB", goal(memory < MEMORY_GOAL, "< 1,000 MB")],
    ]
    return "\n\n".join(
        [
            "## Imports",
            table(["", "", "goal"], rows),
            f"{rounds[0]['images']:,.0f} files of {NAME}, {os.cpu_count()} cores; median of {ROUNDS} "
            "rounds, each in new processes with an empty cache, while the system has the files in "
            "memory. The memory is that of the importing process plus, for each core, that of the "
            "largest decoding process.",
        ]
    )
