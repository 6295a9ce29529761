"""Measures what a run's work costs on this device: times a few real steps of every stage.

The stages' own functions run on a sample of the real images, each stopped through its `stop` argument.
If even one full step would take too long (ResNet-18 on a CPU), steps with fewer images are timed and
scaled up, and the range is wider. Images and runs are not modified.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import metrics
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.errors import RunError, Stopped, choose_clusters
from engine.forecast.forecast import Cost, Costs, can_forecast, shape_of
from engine.forecast.frozen_parts import KMEANS_IMAGES, first_round, measured_encoder, trained_on
from engine.forecast.timing import (
    LEAST_STEPS,
    Clock,
    Nothing,
    Stop,
    cost_of,
    resident_bytes,
    watched_memory,
    whole_step,
)
from engine.leftovers import DRAFT, holding
from engine.runs.folder import RunFolder
from engine.runs.pipeline import LEAST_KEPT, batches_of
from engine.space.kmeans import kmeans_labels
from engine.space.neighbors import BLOCK_ENTRIES, EXACT_IMAGES, nearest
from engine.stages.clustering import Clustering
from engine.stages.encoder import Heads, initialise
from engine.stages.features import ENCODE_PIXELS, EpochOrder, Features, encode, learn_features, views_of
from engine.stages.frames import condensed
from engine.stages.heads import HeadClustering, learn_heads
from engine.stages.joint import learn_jointly
from engine.stages.loop import seeded
from engine.stages.reliable import ReliableSet, neighbor_count

# Images in the sample, and the most bytes of them: an E-step of 5,000 small images is a whole one.
SAMPLE, SAMPLE_BYTES = 5000, 2**28
# Steps that are never reached: a clock stops each stage long before.
ENDLESS = 10**6
# The share of the time that each part may take; small parts share the rest.
SHARES = {"features": 0.2, "coarse": 0.06, "heads": 0.16, "joint": 0.2, "encode": 0.08}
SMALL_SHARE = 0.015
# Pixels of the smallest step: 8 images of 32×32, and 128 of 8×8, which would else be all overhead.
LEAST_PIXELS = 2**13
# Pixels of the images whose views are timed: 16 of 224×224.
VIEW_PIXELS = 2**20


def probe(
    images: ImageSet,
    configs: Sequence[RunConfig],
    device: torch.device,
    *,
    seconds: float = 10.0,
    threads: int | None = None,
    extra: int = 0,
    stop: Stop = lambda: False,
    progress: Callable[[float], None] = lambda _done: None,
    place: Path | None = None,
) -> list[Costs]:
    """The costs of each of `configs` on these images, in about `seconds` for all of them together.

    Args:
        threads: CPU threads that the run will have, by default torch's own number here.
        extra: extra images that training will use besides.
        stop: asked between any two steps.
        progress: told the share that is done.
        place: the disk that runs are written to, by default that of temporary files.

    Raises:
        Stopped: when `stop()` said so.
        SpiceError: when a configuration cannot be trained at all.
    """
    for config in configs:
        if not can_forecast(config):
            raise RunError(
                f"features.source is {config.features.source!r}: a forecast needs a network that is built without a "
                "download; choose one of timm's own, of torchvision's, an encoder or a file"
            )
        if config.clusters > len(images):
            raise RunError(choose_clusters(config.clusters, len(images), images.source))
    before, held = torch.get_num_threads(), resident_bytes()
    torch.set_num_threads(threads or before)
    try:
        pixels = DeviceImages(sample(images), device)
        found: list[Costs] = []
        small: dict[Any, dict[str, Cost]] = {}
        for index, config in enumerate(configs):
            progress(index / len(configs))
            one = _Probe(config, images, pixels, seconds / len(configs), stop, place, extra, held)
            found.append(one.costs(small))
        progress(1.0)
        return found
    finally:
        torch.set_num_threads(before)


def sample(images: ImageSet) -> ImageSet:
    """At most 5,000 of the images, evenly spread, in memory."""
    most = max(256, SAMPLE_BYTES // images.pixels[0].nbytes)
    step = math.ceil(len(images) / min(SAMPLE, most))
    return ImageSet(np.array(images.pixels[::step]), images.ids[::step], images.source)


class _Probe:
    """One configuration: its stages on the sample, part after part."""

    def __init__(
        self,
        config: RunConfig,
        images: ImageSet,
        pixels: DeviceImages,
        seconds: float,
        stop: Stop,
        place: Path | None,
        extra: int,
        before: int,
    ) -> None:
        # Rates so low that no loss can explode. Compilation alone takes a minute, so the timed steps
        # are not compiled; a compiled run will be faster than its forecast.
        self.config = with_settings(
            config,
            {
                "features.epochs": 0 if config.frozen else ENDLESS,
                "heads.epochs": ENDLESS,
                "joint.steps": ENDLESS,
                "features.learning_rate": 1e-6,
                "heads.learning_rate": 1e-6,
                "joint.learning_rate": 1e-6,
                "features.coarse": 0.0,
                "joint.reselect": 0,
                "compute.compile": False,
            },
        )
        self.asked, self.images, self.pixels, self.extra = config, images, pixels, extra
        self.seconds, self.stop, self.place = seconds, stop, place
        self.device, self.count, self.few = pixels.device, len(images), len(pixels)
        self.encoder = measured_encoder(self.config, pixels, channels=images.channels, side=min(images.size))
        self.weights = sum(one.nbytes for one in self.encoder.state_dict().values())
        chance = np.random.default_rng(0)
        vectors = chance.normal(size=(self.few, self.encoder.features)).astype(np.float32)
        self.features = trained_on(self.config, self.encoder, vectors, self.device)
        self.batches = batches_of(self.features, pixels)
        self.vectors = self.features.vectors
        self.each: dict[str, Cost] = {}
        self.before, self.grown = before, list[int]()

    def costs(self, small: dict[Any, dict[str, Cost]]) -> Costs:
        """The measured costs; small ones are shared between configurations with features of the same size."""
        self._features()
        self._heads()
        self._joint()
        self._encode()
        size = self.vectors.shape[1]
        if (size, self._kept) not in small:
            small[size, self._kept] = self._small_things() | self._saving()
        self.each |= small[size, self._kept]
        tables, peak = self._tables(), max(self.grown)
        gpu = self.device.type == "cuda"
        resident = self.count * self.images.pixels[0].nbytes if self.pixels.resident else 0
        return Costs(
            str(self.device),
            torch.get_num_threads(),
            self.count,
            self.images.pixels[0].nbytes,
            self.asked.clusters,
            shape_of(self.asked),
            self.each,
            self.encoder.features,
            self.weights,
            tables if gpu else tables + peak,
            resident + peak if gpu else None,
            self.extra,
        )

    @property
    def _least(self) -> int:
        """Images of the smallest step that says something."""
        return max(2, LEAST_PIXELS // self.batches.area)

    # -- the stages --------------------------------------------------------------------------------

    def _features(self) -> None:
        if self.asked.features.epochs == 0:
            return
        settings = self.config.features
        groups = settings.norm_groups if settings.objective == "moco" else 1

        def batch(size: int, of: int) -> int:
            """Images that a batch of `size` really has."""
            return EpochOrder(of, size, 0, multiple=groups).size

        whole = batch(settings.batch, self.count + self.extra)

        def run(size: int, clock: Clock, coarse: float = 0.0) -> None:
            changes = {"features.batch": size, "features.coarse": coarse}
            config = with_settings(self.config, changes)
            self.encoder.train()
            learn_features(config, self.pixels, self.encoder, emit=clock.emit, stop=clock.asked, checkpoint=Nothing())

        # Batch statistics want two images in each group at the least.
        least = min(whole, max(self._least, 2 * groups))

        def ratio(size: int) -> float:
            return whole / batch(size, self.few)

        def halved(size: int, clock: Clock) -> None:
            run(size, clock, 1.0)

        self.each["features"] = self._timed("features", run, whole, least, ratio)[0]
        if self.asked.features.coarse:
            self.each["coarse"] = self._timed("coarse", halved, whole, least, ratio)[0]

    def _heads(self) -> None:
        whole = min(self.config.heads.images, self.count)
        least = min(whole, max(2 * self._least, self.config.clusters))

        def run(size: int, clock: Clock) -> None:
            learn_heads(
                # The start is measured apart, and only once: a layout takes longer than all the rounds.
                with_settings(self.config, {"heads.images": size, "heads.start": "random"}),
                self.batches,
                self.features,
                emit=clock.emit,
                stop=clock.asked,
                checkpoint=Nothing(),
                keep=lambda _frame: None,
            )

        self.each["first"] = first_round(self.config, self.vectors, whole, self.device, self._small, self._now)
        self._check()
        self.each["heads"], frame = self._timed("heads", run, whole, least)
        self.each["judge"] = cost_of([frame]).times(self.count / self.few)

    def _joint(self) -> None:
        settings = self.config.joint
        head = Heads(1, self.vectors.shape[1], self.config.clusters).to(self.device)
        initialise(head, seeded(0, "head weights"))
        nothing = np.zeros((1, 1), np.float32)
        heads = HeadClustering(Clustering(nothing), head, 0, nothing, nothing, nothing, nothing, nothing)

        def images(batch: int, of: int) -> float:
            """Passes of a step, forward ones: three for what is learnt from, one for weak views."""
            return 3 * batch + 4 * min(batch * settings.unlabelled, of)

        def run(size: int, clock: Clock) -> None:
            learn_jointly(
                with_settings(self.config, {"joint.batch": size}),
                self.batches,
                Features(self.features.encoder, nothing),
                heads,
                self._all_reliable(),
                emit=clock.emit,
                stop=clock.asked,
                checkpoint=Nothing(),
            )

        whole = settings.batch

        def ratio(size: int) -> float:
            return images(whole, self.count) / images(size, self.few)

        least = min(whole, math.ceil(self._least / settings.unlabelled))
        self.each["joint"] = self._timed("joint", run, whole, least, ratio)[0]

    def _all_reliable(self) -> ReliableSet:
        sure = np.ones(self.few, np.float32)
        labels = np.arange(self.few) % self.config.clusters
        return ReliableSet(labels, sure, sure, np.zeros(self.few, np.uint8), np.ones(self.config.clusters, np.float32))

    # -- what lies between them ----------------------------------------------------------------------

    def _encode(self) -> None:
        """All images through the network; and where their views are kept, the views, and the adapter."""
        self.encoder.eval()
        # Memory is that of a batch, however many there are.
        batch = min(self.count, max(1, ENCODE_PIXELS // max(self.pixels.area, (self.encoder.side or 0) ** 2)))

        def run(size: int, clock: Clock) -> None:
            ids = torch.arange(size)
            self._repeat(clock, lambda: encode(self.encoder, self.pixels, ids))

        found, _ = self._timed("encode", run, batch, max(4, 2 * LEAST_PIXELS // self.pixels.area))
        self.each["encode"] = found.times(self.count / batch)
        if not self.config.keeps_views:
            return
        adapter, chance = self.features.encoder, seeded(0, "joint views", 0, self.device)
        views = views_of(self.pixels, self.config.views.weak, self.config.views.strong)
        some = self.pixels.batch(torch.arange(min(self.few, max(1, VIEW_PIXELS // self.pixels.area))))
        acts: dict[str, tuple[Callable[[], object], int]] = {
            "weak": (lambda: views.weak(some, chance), len(some)),
            "strong": (lambda: views.strong(some, chance), len(some)),
            "adapt": (lambda: encode(adapter, self.batches), self.few),
        }
        self.each |= {name: self._small(act, self.count / images) for name, (act, images) in acts.items()}

    def _small_things(self) -> dict[str, Cost]:
        vectors = self.vectors
        unit = torch.from_numpy(vectors).to(self.device)
        near = min(self.few, 3000 if self.device.type == "cpu" else SAMPLE)
        # All pairs, or for very many on a CPU 24 of √N cells: N to the power of 1.5.
        cells = self.device.type == "cpu" and self.count > EXACT_IMAGES
        exact, power = (0, 1.5) if cells else (EXACT_IMAGES, 2.0)
        some, clusters = vectors[:KMEANS_IMAGES], min(self.config.clusters, len(vectors))
        labels = np.arange(self.few) % clusters
        acts: dict[str, tuple[Callable[[], object], float]] = {
            "condense": (lambda: condensed(unit), self.count / self.few),
            "neighbors": (
                lambda: nearest(vectors[:near], self._kept, device=self.device, exact_images=exact),
                (self.count / near) ** power,
            ),
            "kmeans": (lambda: kmeans_labels(some, clusters, 0), self.count / len(some)),
            "score": (lambda: metrics.silhouette(vectors, labels), 1.0),
        }
        return {name: self._small(act, factor) for name, (act, factor) in acts.items()}

    def _saving(self) -> dict[str, Cost]:
        """Seconds of a file however small, and of a byte."""
        few = {str(number): np.zeros(1) for number in range(4)}
        block = {"block": np.zeros(2**22, np.uint8)}
        with tempfile.TemporaryDirectory(dir=self.place, prefix=f".probe{DRAFT}") as path, holding(Path(path)):
            folder = RunFolder(path)
            return {
                "save": self._small(lambda: folder.save("few", few), 1 / len(few)),
                "write": self._small(lambda: folder.save("block", block), 1 / 2**22),
            }

    def _small(self, act: Callable[[], object], factor: float) -> Cost:
        act()  # libraries are loaded by who needs them first
        clock = Clock(self.seconds * SMALL_SHARE, self.stop, self._now)
        self._repeat(clock, act)
        self._check()
        return cost_of(clock.steps).times(factor)

    def _repeat(self, clock: Clock, act: Callable[[], object]) -> None:
        while not clock.asked():
            act()

    # -- measuring -------------------------------------------------------------------------------------

    def _timed(
        self,
        name: str,
        run: Callable[[int, Clock], None],
        whole: int,
        least: int,
        ratio: Callable[[int], float] | None = None,
    ) -> tuple[Cost, float]:
        """Steps of `whole` images, or of as many as the time allows; `least` are tried first, but on
        a GPU, which is as fast with many as with few.

        Returns:
            What a whole step costs, and the seconds of the stage's first frame, if it has one.
        """
        seconds, most = self.seconds * SHARES[name], min(whole, self.few)
        ratio = ratio or (lambda size: whole / size)
        size = min(least, most) if self.device.type == "cpu" else most
        taken: list[tuple[list[float], float]] = []
        slow = False
        while True:
            held = self._held()
            last = size == most or slow or len(taken) == 2
            least_steps = 1 if taken else 2
            clock, grown = self._clocked(run, size, seconds if last else seconds / 4, least_steps)
            taken.append((clock.steps, ratio(size)))
            if last:
                break
            possible = int(size * seconds / LEAST_STEPS / min(clock.steps))
            slow = possible < 2 * size
            # Whole steps are worth some patience: memory and caches make others cost something else.
            size = most if 2 * possible >= most else max(2 * size, possible)
        # Weights, their gradients and their averages do not grow with the batch.
        still = min(grown, 4 * self.weights)
        self.grown.append(held + int(still + (grown - still) * ratio(size)))
        return whole_step(taken), clock.before

    def _clocked(self, run: Callable[[int, Clock], None], size: int, seconds: float, least: int) -> tuple[Clock, int]:
        clock = Clock(seconds, self.stop, self._now, least)
        with watched_memory(self.device) as grown, contextlib.suppress(Stopped):
            run(size, clock)
        self._check()
        return clock, grown()

    def _held(self) -> int:
        """Bytes of host memory that the probe has allocated; a run needs them as well."""
        return 0 if self.device.type == "cuda" else max(0, resident_bytes() - self.before)

    def _check(self) -> None:
        if self.stop():
            raise Stopped

    def _now(self) -> float:
        """The time, after all queued work on the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    @property
    def _kept(self) -> int:
        """Neighbours that are kept of each image."""
        asked = neighbor_count(self.config.reliable, self.count, self.config.clusters)
        return max(LEAST_KEPT, asked)

    def _tables(self) -> int:
        """Bytes of host memory of what is kept of all images at once, at most."""
        block = 4 * min(BLOCK_ENTRIES, self.count**2) if self.device.type == "cpu" else 0
        an_image = 12 * self.vectors.shape[1] + 16 * self._kept + 8 * self.config.clusters
        return self.count * an_image + block
