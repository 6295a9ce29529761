"""Time and memory to find the nearest neighbours of 60,000 images, the most for which they are exact on a CPU, and as
for one more; each method in its own process."""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, table, write
from engine.space.neighbors import nearest

IMAGES, SIZE, NEIGHBORS = 60_000, 512, 100
LIMIT_MB = 1000


def child(way: str) -> None:
    """Measures one method ("faiss" or a device) and prints {"seconds", "megabytes"}."""
    import torch

    vectors = np.random.default_rng(0).normal(size=(IMAGES, SIZE)).astype(np.float32)
    find = {"faiss": _flat_index, "cells": _in_cells}.get(way, lambda x, k: nearest(x, k, device=way))
    find(vectors[:500], 10)  # loads the libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    find(vectors, NEIGHBORS)
    seconds = time.perf_counter() - began
    if way == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(json.dumps({"seconds": round(seconds, 2), "megabytes": round(peak)}))


def _flat_index(vectors: np.ndarray, k: int) -> None:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    index.search(vectors, k + 1)


def _in_cells(vectors: np.ndarray, k: int) -> None:
    nearest(vectors, k, exact_images=len(vectors) - 1)


def measured(way: str) -> dict[str, float]:
    command = [sys.executable, "-c", f"from benchmarks.neighbors import child; child({way!r})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ways(options: Options) -> dict[str, str]:
    """The methods that can be measured here, with their titles."""
    import torch

    found = {"cpu": "ours, CPU"}
    if importlib.util.find_spec("faiss"):
        found["faiss"] = "faiss's flat index, CPU"
        found["cells"] = "ours, CPU, in cells, as for any more images"
    if options.device != "cpu" and torch.cuda.is_available():
        found["cuda"] = "ours, GPU"
    return found


def measure(options: Options) -> None:
    """Writes results/neighbors-DEVICE."""
    pieces = Pieces("neighbors", options)
    named = ways(options)
    found = {way: pieces.get(way, lambda way=way: measured(way), seconds=120) for way in named}
    whole = IMAGES**2 * 4 / 1e6
    rows = [
        [named[way], f"{one['seconds']:.1f}", f"{one['megabytes']:,.0f}", f"{whole / max(1, one['megabytes']):.0f} ×"]
        for way, one in found.items()
    ]
    body = (
        f"The {NEIGHBORS} nearest neighbours of {IMAGES:,} images, D = {SIZE}, float32; in cells a few are missed. "
        "Peak memory does not include the features themselves (on a GPU it does); "
        f"the authors' N × N matrix takes {whole:,.0f} MB. The goal is below "
        f"{LIMIT_MB:,} MB.\n\n" + table(["method", "seconds", "peak memory, MB", "smaller than N × N"], rows)
    )
    write("neighbors", "Nearest neighbours", found, body, slug=device_slug(options.device))
