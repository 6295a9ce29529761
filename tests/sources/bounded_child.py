"""Opens sources for `test_bounds`, in a process of its own whose memory and files can be measured and limited.

Each line in is {"path": …, "free": bytes of memory to pretend, or null}, each line out what came of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from benchmarks.peak_memory import forgotten, peak
from engine.errors import SourceError
from engine.formats import bounds
from engine.sources.open_source import open_source

# The largest file that may be written: more would raise, where Linux says so.
MOST_FILE = 2**29


def tried(path: str, free: int | None) -> dict[str, Any]:
    usual, before, began = bounds.free_memory, forgotten(), time.perf_counter()
    if free is not None:
        bounds.free_memory = lambda: free
    said: dict[str, Any] = {"error": "", "names": [], "skipped": {}}
    try:
        found = open_source(path, size=None if path.endswith((".npy", ".npz")) else 4)
        said |= {"names": list(found.images.ids), "skipped": {one.name: one.reason for one in found.skipped}}
    except SourceError as error:
        said["error"] = str(error)
    finally:
        bounds.free_memory = usual
    return {**said, "memory": peak() - before, "seconds": time.perf_counter() - began}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE, MOST_FILE))
    for line in sys.stdin:
        print(json.dumps(tried(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
