"""Time and memory of each step as the images grow, from a thousand to a million: each step in a process of its own.

The features are made up: what they are does not matter for what they cost. A step is not measured with more images once
that would take too long.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.peak_memory import forgotten, peak
from benchmarks.pieces import Options, Pieces
from benchmarks.report import table, write

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE, CLUSTERS, HEADS, NEIGHBORS, MANY = 512, 10, 10, 100, 1_000
# Seconds of the processor that the next size of a step may be expected to take.
MOST_SECONDS = 240.0
LONG_NAME = 1_000
Step = Callable[[], object]


# -- the steps ---------------------------------------------------------------------------------


def vectors_of(images: int) -> np.ndarray:
    """(N, D) float32 in clear clusters, as features are; block by block, so that nothing larger is left behind."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, SIZE)).astype(np.float32)
    out = np.empty((images, SIZE), np.float32)
    for start in range(0, images, 50_000):
        block = out[start : start + 50_000]
        block[:] = rng.standard_normal(block.shape, np.float32)
        block += centres[rng.integers(CLUSTERS, size=len(block))]
    return out


def _neighbors(images: int) -> Step:
    from engine.space.neighbors import nearest

    vectors = vectors_of(images)
    return lambda: nearest(vectors, NEIGHBORS)


def _kmeans(images: int) -> Step:
    from engine.space.kmeans import kmeans_labels

    vectors = vectors_of(images)
    return lambda: kmeans_labels(vectors, CLUSTERS, 0)


def _condensed(images: int) -> Step:
    import torch

    from engine.stages.frames import condensed

    vectors = torch.from_numpy(vectors_of(images))
    return lambda: condensed(vectors)


def _heads(images: int, clusters: int) -> tuple[Any, ...]:
    """Settings, heads, features and decisions as stage 2 has them."""
    import torch

    from engine.presets import preset
    from engine.stages.decided_labels import FixedLabels
    from engine.stages.encoder import Heads, initialise
    from engine.stages.prototypes import Known

    heads = Heads(HEADS, SIZE, clusters)
    initialise(heads, torch.Generator().manual_seed(0))
    known = Known.of(FixedLabels.none(images), torch.device("cpu"))
    settings = replace(preset("quick", clusters=clusters, channels=3).heads, heads=HEADS)
    return settings, heads, torch.from_numpy(vectors_of(images)), known


def _choice(clusters: int) -> Callable[[int], Step]:
    def begin(images: int) -> Step:
        from engine.stages.heads import Best, _chosen

        settings, heads, vectors, known = _heads(images, clusters)

        def step() -> object:
            best = Best(settings, heads, vectors, known, None)
            best.consider()
            return _chosen(settings, heads, vectors, known, best.take())

        return step

    return begin


def _frame(clusters: int) -> Callable[[int], Step]:
    def begin(images: int) -> Step:
        from engine.stages.heads import _frame

        settings, heads, vectors, known = _heads(images, clusters)
        return lambda: _frame(1, settings, heads, vectors, known)

    return begin


def _decided(images: int) -> Step:
    """The head choice of a run that is trained with decisions, about one image in a hundred."""
    import torch

    from engine.stages.heads import _chosen
    from engine.stages.prototypes import Known

    settings, heads, vectors, _ = _heads(images, MANY)
    fixed = torch.arange(images) % 100 == 0
    known = Known(torch.arange(images) % MANY, fixed, torch.zeros_like(fixed))
    return lambda: _chosen(settings, heads, vectors, known, 0)


def _names(images: int) -> Step:
    """The names of the images, written to a run and read from it; one of them is long."""
    from engine.data.images import ImageSet
    from engine.npy import texts_of
    from engine.runs.folder import RunFolder

    names = tuple(f"photographs/of class {n % 10}/image {n:07d}.jpg" for n in range(images - 1))
    pixels = np.zeros((images, 1, 1, 1), np.uint8)

    def step() -> object:
        with tempfile.TemporaryDirectory(prefix="spice-growth-") as folder:
            run = RunFolder(folder)
            run.save_images("images", ImageSet(pixels, (*names, "x" * LONG_NAME), "growth"))
            return texts_of(run.load("images")["ids"])

    return step


STEPS: dict[str, Callable[[int], Step]] = {
    "neighbours, k = 100": _neighbors,
    "k-means of stage 1": _kmeans,
    "a frame of stage 1": _condensed,
    "choice of 10 heads, K = 10": _choice(CLUSTERS),
    "choice of 10 heads, K = 1,000": _choice(MANY),
    "the same with decisions": _decided,
    "a frame of stage 2, K = 1,000": _frame(MANY),
    "names, one of them long": _names,
}


# -- measuring ---------------------------------------------------------------------------------


def child(name: str, images: int) -> None:
    """Measures one step, and prints {"seconds", "processor", "megabytes"}: those above what it was given."""
    STEPS[name](1_000)()  # loads the libraries
    step = STEPS[name](images)
    before, began, own = forgotten(), time.perf_counter(), time.process_time()
    step()
    found = {
        "seconds": round(time.perf_counter() - began, 3),
        "processor": round(time.process_time() - own, 3),
        "megabytes": round((peak() - before) / 1e6, 1),
    }
    print(json.dumps(found))


def measured(name: str, images: int) -> dict[str, float]:
    command = [sys.executable, "-c", f"from benchmarks.growth import child; child({name!r}, {images})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, {images:,} images: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """By which power of the images the values grow between the last two sizes; None where that cannot be told.

    >>> exponent([10, 100], [2.0, 200.0])
    2.0
    """
    if len(values) < 2 or min(values[-2:]) <= 0:
        return None
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def growing(name: str, pieces: Pieces, most: int) -> Iterator[tuple[int, dict[str, float]]]:
    """The figures of a step for more and more images, as long as the next can be expected to end in time."""
    seconds: list[float] = []
    for place, images in enumerate(one for one in SIZES if one <= most):
        if seconds:
            power = exponent(list(SIZES[:place]), seconds) or 1.0
            if seconds[-1] * (images / SIZES[place - 1]) ** max(1.0, power) > MOST_SECONDS:
                return
        found = pieces.get(f"{name}/{images}", lambda images=images: measured(name, images), seconds=MOST_SECONDS)
        seconds.append(max(found["processor"], 1e-3))
        yield images, found


def measure(options: Options) -> None:
    """Writes results/growth."""
    pieces = Pieces("growth", options)
    found = {name: dict(growing(name, pieces, options.images)) for name in STEPS}
    write("growth", "Growth", {name: _by_size(one) for name, one in found.items()}, body_of(found))


def _by_size(found: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {str(images): one for images, one in found.items()}


def body_of(found: dict[str, dict[int, dict[str, float]]]) -> str:
    rows = []
    for name, each in found.items():
        sizes = list(each)
        for images, one in each.items():
            upto = sizes[: sizes.index(images) + 1]
            powers = [exponent(upto, [each[size][what] for size in upto]) for what in ("processor", "megabytes")]
            time_power, memory_power = ("" if power is None else f"{power:.2f}" for power in powers)
            figures = [f"{one['seconds']:.2f}", f"{one['processor']:.2f}", time_power]
            rows.append([name, f"{images:,}", *figures, f"{one['megabytes']:,.0f}", memory_power])
    titles = ["step", "images", "seconds", "processor's", "exponent", "peak memory, MB", "exponent"]
    return (
        f"Made-up features, D = {SIZE}, each step in its own process; memory is what it takes at its peak beside what "
        "it was given. The exponents say by which power of the images the processor's time and memory have grown since "
        f"the size before. A step is not tried with more images than would take it {MOST_SECONDS:.0f} s.\n\n"
        + table(titles, rows)
    )
