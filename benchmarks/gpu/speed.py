"""Images per second of each stage on this device, and the share of its peak."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.sitting import Sitting, Unfit
from benchmarks.speed import SIDE, Bench, authors, drawn, peak
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.errors import Stopped
from engine.forecast.timing import Nothing
from engine.stages import compute
from engine.stages.features import build_encoder, learn_features

IMAGES = 50_000
# On a CPU a batch of 512 takes half a minute; the pace is the same with smaller batches.
ON_A_CPU = {"features.batch": 64, "joint.batch": 16, "heads.images": 500}
# Seconds to measure a pace, and in all, with starting and warming up.
PACE, WHOLE = 5.0, 12.0
COMPILING = 60.0
# Steps to profile, and kernels to show.
PROFILED, SHOWN = 5, 12
AUTHORS_IMAGES, WORKERS = 4096, 16

STAGE_1: dict[str, dict[str, Any]] = {
    "BYOL": {"features.objective": "byol"},
    "SimCLR": {"features.objective": "simclr"},
    "MoCo": {"features.objective": "moco", "features.queue": 4096},
    "MoCo, batch 128": {"features.objective": "moco", "features.batch": 128},
    "BYOL, views of half the side": {"features.objective": "byol", "features.coarse": 1.0},
}


def run(sitting: Sitting) -> None:
    """Keeps the peak, a pace for each stage and objective, a profile, and the forecast of the preset."""
    compute.use_device(sitting.device)
    measured = _Speed(sitting)
    sitting.attempt("speed", "peak", lambda: peak(sitting.device))
    measured.pace("stage 1, BYOL", 1, STAGE_1["BYOL"])
    measured.pace("stage 2", 2, {})
    measured.pace("stage 3", 3, {})
    sitting.attempt("speed", "forecast", measured.forecast)
    for name, changes in list(STAGE_1.items())[1:]:
        measured.pace(f"stage 1, {name}", 1, changes)
    sitting.attempt("speed", "stage 1, BYOL, cuDNN not tuned", measured.untuned)
    sitting.attempt("speed", "one image at a time", measured.per_image)
    sitting.attempt("speed", "profile", measured.profile)
    sitting.attempt("speed", "stage 1, BYOL, compiled", measured.compiled)


class _Speed:
    """The measurements; each is skipped if there is not enough time left."""

    def __init__(self, sitting: Sitting) -> None:
        self.sitting, self.device = sitting, sitting.device
        self.images = min(IMAGES, sitting.options.images) if not sitting.gpu else IMAGES
        self.seconds = PACE if sitting.gpu else 0.5

    def config(self, changes: dict[str, Any]) -> RunConfig:
        few = {} if self.sitting.gpu else ON_A_CPU
        return with_settings(self.sitting.config, {"features.source": "scratch", **few, **changes})

    def bench(self, changes: dict[str, Any]) -> Bench:
        return Bench(self.config(changes), self.device, self.images, self.seconds)

    def need(self, seconds: float) -> None:
        if self.sitting.seconds_left() < seconds:
            raise Unfit(f"{self.sitting.seconds_left():.0f} s are left, but it takes {seconds:.0f}")

    def pace(self, name: str, stage: int, changes: dict[str, Any]) -> None:
        def measure() -> dict[str, Any]:
            self.need(WHOLE)
            return self.with_share(getattr(self.bench(changes), f"stage{stage}")())

        self.sitting.attempt("speed", name, measure)

    def with_share(self, found: dict[str, Any]) -> dict[str, Any]:
        """Adds the share of the peak, in the encoder's precision. (Not on a CPU, whose convolutions are faster
        than its matrix product.)"""
        if not self.sitting.gpu:
            return found
        top = self.sitting.found["speed"]["peak"]
        kind = "bfloat16" if compute.narrow_products(self.sitting.config.compute, self.device) else "float32"
        return {**found, "share": round(found["tflops"] / top[kind], 4)}

    def untuned(self) -> dict[str, Any]:
        if not self.sitting.gpu:
            raise Unfit("only a GPU has cuDNN")
        self.need(WHOLE)
        torch.backends.cudnn.benchmark = False
        try:
            return self.with_share(self.bench({}).stage1())
        finally:
            torch.backends.cudnn.benchmark = True

    def compiled(self) -> dict[str, Any]:
        if not self.sitting.gpu:
            raise Unfit("it takes minutes on a CPU")
        self.need(COMPILING + PACE)
        return self.with_share(self.bench({"compute.compile": True}).stage1())

    def per_image(self) -> dict[str, Any]:
        """The authors' method for stage 1, as the paper describes it: see `benchmarks.speed`."""
        self.need(2 * WHOLE)
        count, workers = (AUTHORS_IMAGES, WORKERS) if self.sitting.gpu else (256, 2)
        config = self.config({"features.objective": "moco"})
        pace = authors(config, self.device, count, workers, stages=("stage 1",))["stage 1"]
        ours = self.sitting.found["speed"]["stage 1, MoCo, batch 128"]["images_per_second"]
        return {"images_per_second": pace, "ratio": round(ours / pace, 1)}

    def profile(self) -> dict[str, Any]:
        """The slowest kernels in steps of BYOL, and the share of a step in which the device is busy."""
        self.need(WHOLE)
        pixels = DeviceImages(drawn(min(self.images, 5000)), self.device)
        config = self.config({"features.epochs": 10_000})
        encoder = build_encoder(config, pixels, channels=3, side=SIDE)
        watch = _Profile(self.sitting.gpu)
        learn_until(config, pixels, encoder, watch.stop)
        return watch.found()

    def forecast(self) -> dict[str, Any]:
        """Minutes per stage of the preset on 50,000 images, from the paces alone."""
        config, found = self.sitting.config, self.sitting.found["speed"]
        pace = {stage: found[name]["images_per_second"] for stage, name in PACES.items()}
        work = images_of(config, IMAGES)
        minutes = {f"stage {stage}": round(work[stage] / pace[stage] / 60, 2) for stage in work}
        return {**minutes, "minutes": round(sum(minutes.values()), 2)}


PACES = {1: "stage 1, BYOL", 2: "stage 2", 3: "stage 3"}


def images_of(config: RunConfig, images: int) -> dict[int, float]:
    """The number of images that each stage processes, counted like its pace."""
    heads, joint = config.heads, config.joint
    return {
        1: float(config.features.epochs * images),
        2: float(heads.epochs * min(heads.images, images) * heads.passes),
        3: float(joint.steps * images_a_step(config, images)),
    }


def images_a_step(config: RunConfig, images: int) -> int:
    """Images per step of stage 3: reliable images, and two views of others."""
    return config.joint.batch + 2 * min(config.joint.batch * config.joint.unlabelled, images)


def learn_until(config: RunConfig, pixels: DeviceImages, encoder: Any, stop: Callable[[], bool]) -> None:
    with contextlib.suppress(Stopped):
        learn_features(config, pixels, encoder, emit=lambda _: None, stop=stop, checkpoint=Nothing())


class _Profile:
    """A `stop` for a stage that profiles some steps, after as many to warm up."""

    def __init__(self, gpu: bool) -> None:
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
        self._gpu, self._asked, self._profile = gpu, 0, profile(activities=kinds)

    def stop(self) -> bool:
        self._asked += 1
        if self._asked == PROFILED + 1:
            self._profile.start()
        if self._asked == 2 * PROFILED + 1:
            if self._gpu:
                torch.cuda.synchronize()
            self._profile.stop()
        return self._asked > 2 * PROFILED

    def found(self) -> dict[str, Any]:
        # An operation that launches a kernel also reports its time: only the device's own rows count.
        place = DeviceType.CUDA if self._gpu else DeviceType.CPU
        rows = [
            row
            for row in self._profile.key_averages()
            if row.device_type == place and not getattr(row, "is_user_annotation", False)
        ]
        spans = [one.time_range for one in self._profile.events() if one.device_type == place]
        wall = max(span.end for span in spans) - min(span.start for span in spans)
        rows.sort(key=self._busy, reverse=True)
        return {
            "milliseconds": round(wall / 1e3 / PROFILED, 2),
            "busy": round(sum(map(self._busy, rows)) / wall, 3),
            "kernels": [
                [row.key[:90], round(self._busy(row) / 1e3 / PROFILED, 3), row.count / PROFILED] for row in rows[:SHOWN]
            ],
        }

    def _busy(self, row: Any) -> float:
        """Microseconds that the device spent on this alone."""
        return float(row.self_device_time_total if self._gpu else row.self_cpu_time_total)
