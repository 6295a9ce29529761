"""`Forecast`: estimates the time, memory and disk of a run before it starts. Pure arithmetic:
the amount of work that the settings imply, times the cost of each piece here (`Costs`, from `probe`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config import IMPORT, TIMM, RunConfig, flat
from engine.errors import RunError
from engine.events import Stage
from engine.runs.kept_forecast import Forecast
from engine.stages.frames import DIRECTIONS, frame_steps
from engine.stages.reliable import neighbor_count

DAY = 86_400.0
# Networks of the Hub that timm does not know by name: only a download tells what they are.
OF_THE_HUB = f"{TIMM}hf-hub:"
# The pieces of work (see `work`) that make up each part of a run; all others are its "rest". With kept views the
# network is stage 1's alone.
PARTS: dict[str, tuple[str, ...]] = {
    "features": ("features", "coarse"),
    "heads": ("heads", "first"),
    "joint": ("joint",),
}
# Settings that change the number of steps, or what they compute, but not the cost of a step.
FREE = frozenset(
    {
        "clusters",
        "seed",
        "preset",
        "features.epochs",
        "features.learning_rate",
        "features.warmup",
        "features.weight_decay",
        "features.temperature",
        "features.key_momentum",
        "features.coarse",
        "features.weak_views",
        "features.strong_views",
        "features.view_seed",
        "heads.epochs",
        "heads.learning_rate",
        "heads.center_ratio",
        "heads.double_softmax",
        "heads.exclusive",
        "heads.choose",
        "reliable.neighbors",
        "reliable.agreement",
        "reliable.confidence",
        "reliable.floor",
        "joint.steps",
        "joint.learning_rate",
        "joint.weight_decay",
        "joint.threshold",
        "joint.reselect",
        "joint.weight",
        "joint.average",
        "joint.start",
    }
)


@dataclass(frozen=True)
class Cost:
    """Seconds for a piece of work, with a range."""

    seconds: float
    low: float
    high: float

    def times(self, count: float) -> Cost:
        return Cost(self.seconds * count, self.low * count, self.high * count)

    def plus(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.low + other.low, self.high + other.high)


NOTHING = Cost(0.0, 0.0, 0.0)


# Each frame of stage 3 keeps its views of this many images (`engine.stages.joint_probe`), in this many files.
XRAYED, XRAY_FILES = 48, 6


@dataclass(frozen=True)
class Costs:
    """The cost of a run's work on a device, for N images and one shape of step (`shape_of`).

    Attributes:
        each: by the names in `work`; a piece that was not measured is absent.
        clusters: K that it was measured with; k-means takes its time in proportion to it.
        extra: extra images that are trained on besides.
        dimensions: D.
        weights: bytes of the encoder's.
        memory: bytes of host memory at the peak, beyond what the process had before.
        gpu_memory: the same on a GPU, None where there is none.
    """

    device: str
    threads: int
    images: int
    image_bytes: int
    clusters: int
    shape: tuple[tuple[str, Any], ...]
    each: Mapping[str, Cost]
    dimensions: int
    weights: int
    memory: int
    gpu_memory: int | None = None
    extra: int = 0

    def fit(self, config: RunConfig) -> bool:
        """Whether a step of `config` is one that was measured."""
        return shape_of(config) == self.shape


def shape_of(config: RunConfig) -> tuple[tuple[str, Any], ...]:
    """Everything that decides what a step costs: settings with the same shape share their costs."""
    shape = {name: value for name, value in flat(config).items() if name not in FREE}
    shape["features.epochs"] = config.features.epochs > 0
    shape["keeps_views"] = config.keeps_views
    shape["features.coarse"] = config.features.coarse > 0
    return tuple(shape.items())


def can_forecast(config: RunConfig) -> bool:
    """Whether stage 1 begins with a network that a probe can make without a download."""
    return not config.features.source.startswith((IMPORT, OF_THE_HUB))


def forecast(config: RunConfig, costs: Costs) -> Forecast:
    """The forecast of a whole run with `config`.

    Raises:
        RunError: when its steps are not those that were measured.
    """
    if not costs.fit(config):
        raise RunError("these settings change the cost of a step: measure again before forecasting")
    counted = work(config, costs)
    spent = {name: costs.each[name].times(count) for name, count in counted.items() if count}
    named = PARTS | ({"features": ("encode", "weak", "strong")} if config.keeps_views else {})
    parts = {part: _sum(spent.get(name, NOTHING) for name in names) for part, names in named.items()}
    own = {name for names in named.values() for name in names}
    parts["rest"] = _sum(cost for name, cost in spent.items() if name not in own)
    total = _sum(parts.values())
    return Forecast(
        costs.device,
        costs.threads,
        {part: round(cost.seconds, 3) for part, cost in parts.items()},
        round(total.low, 3),
        round(total.high, 3),
        costs.memory,
        costs.gpu_memory,
        int(disk_bytes(config, costs)),
    )


def _sum(costs: Any) -> Cost:
    total = NOTHING
    for cost in costs:
        total = total.plus(cost)
    return total


# -- counting ------------------------------------------------------------------------------------


def work(config: RunConfig, costs: Costs) -> dict[str, float]:
    """How often each piece of work is done.

    features, coarse: steps of stage 1, with whole views and with those of half the side
    heads, first: rounds of stage 2; the extra time of the first
    joint: steps of stage 3
    encode: all images through the encoder · condense: the features of a frame made small
    weak, strong, adapt: where views are kept, one view of all images; all images through the adapter
    judge: the predictions of all heads for all images · neighbors: those of all images
    kmeans: stage 1's own clustering · score: the scores of a stage
    save: files · write: their bytes
    """
    steps = steps_of(config, costs.images + costs.extra)
    frames = _frames(steps)
    coarse = math.ceil(config.features.coarse * steps["features"])
    looks = frames["features"] + frames["joint"]
    # The features of a frozen network are those of its only frame, and stage 3 looks at all images once more.
    passes = (0 if config.frozen else frames["features"]) + 1
    later = frames["joint"] + 1 + config.joint.reselect
    weak, strong = config.features.weak_views, config.features.strong_views
    kept = {"weak": weak, "strong": strong, "adapt": 1 + later} if config.keeps_views else {}
    return kept | {
        "features": steps["features"] - coarse,
        "coarse": coarse,
        "heads": steps["heads"],
        "first": 1,
        "joint": steps["joint"],
        "encode": passes + (weak + strong if config.keeps_views else later),
        "condense": looks,
        "judge": frames["heads"] + 1,
        "neighbors": 1 + config.joint.reselect,
        "kmeans": config.clusters / costs.clusters,
        "score": 3,
        "save": _files(config, frames),
        "write": disk_bytes(config, costs)
        - (costs.images + costs.extra) * costs.image_bytes
        - (costs.weights if config.keeps_views else 0),
    }


def steps_of(config: RunConfig, images: int) -> dict[Stage, int]:
    """The steps of every stage if stage 1 trains on `images` images."""
    # This imports torch, which is only needed for forecasts.
    from engine.stages.features import EpochOrder

    settings = config.features
    groups = settings.norm_groups if settings.objective == "moco" else 1
    order = EpochOrder(images, settings.batch, config.seed, multiple=groups)
    return {"features": settings.epochs * order.steps, "heads": config.heads.epochs, "joint": config.joint.steps}


def _frames(steps: Mapping[Stage, int]) -> dict[Stage, int]:
    """How many frames each stage leaves."""
    return {stage: len(frame_steps(stage, count)) for stage, count in steps.items()}


def _files(config: RunConfig, frames: Mapping[Stage, int]) -> int:
    """Files that training writes: those of the frames (see `Frame` and `Xray`), and 25 of the artefacts; one more
    for unequal sizes, and three for kept views, which have no X-rays."""
    own, xrays = (28, 0) if config.keeps_views else (25, XRAY_FILES)
    own += config.heads.sizes != "equal"
    return own + frames["features"] + 4 * frames["heads"] + (3 + xrays) * frames["joint"]


def disk_bytes(config: RunConfig, costs: Costs) -> float:
    """Bytes of the run folder when the run has finished, without maps and decisions."""
    from engine.runs.pipeline import LEAST_KEPT
    from engine.stages.encoder import WIDTH

    clusters, heads, features = config.clusters, config.heads.heads, costs.dimensions
    trained, views = costs.weights, 0
    if config.keeps_views:
        # Clean features and those of views, and an adapter in the place of the network.
        views = features * (4 + 2 * (config.features.weak_views + config.features.strong_views))
        inputs, features = features, min(WIDTH, features, costs.images)
        trained = 4 * (inputs + 5 * features + inputs * features + 2 * features**2)
    kept = max(LEAST_KEPT, neighbor_count(config.reliable, costs.images, clusters))
    frames = _frames(steps_of(config, costs.images + costs.extra))
    directions = min(features, DIRECTIONS)
    an_image = (
        costs.image_bytes
        + frames["features"] * 2 * directions
        + frames["heads"] * 4 * heads
        + frames["joint"] * (2 * directions + 4)
        + 4 * features
        + 4  # features and their clustering
        + 8 * kept
        + 8 * clusters
        + 4 * heads
        + 8  # probabilities twice, labels by each head, claims
        + 2 * 17  # two judged sets of labels
        + views
    )
    prototypes = frames["heads"] * 2 * heads * clusters * features
    head_weights = 4 * features * (features + clusters)
    seen = min(XRAYED, costs.images) * (2 * costs.image_bytes + 4 * clusters + 16)
    stored = costs.images * an_image + costs.extra * costs.image_bytes
    # A frozen network whose views are kept is in the run too, but its file is shared with the cache; no X-rays.
    network, looked_through = (costs.weights, 0.0) if config.keeps_views else (0, frames["joint"] * seen)
    return stored + prototypes + looked_through + network + 2 * (trained + head_weights)


# -- in words --------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """As exact as a forecast can be: "35 s", "12 min", "5.5 h", "40 days"."""
    for unit, size, until in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{_round(seconds / size)} {unit}"
    return f"{_round(seconds / 86_400)} days"


def size(count: float) -> str:
    """Bytes as "66 MB" or "2.5 GB"."""
    return f"{_round(count / 1e6)} MB" if count < 1e9 else f"{_round(count / 1e9)} GB"


def _round(number: float) -> str:
    """Two digits, three from 100 on."""
    return f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{round(number):,}"


def warnings_of(found: Forecast, free: int | None) -> list[str]:
    """What speaks against starting such a run: sentences without a subject, none if nothing does.

    Args:
        free: bytes of memory that are free on the run's device, None where that is unknown.
    """
    told = []
    needed = found.memory if found.gpu_memory is None else found.gpu_memory
    if free is not None and needed > free:
        told.append(
            f"needs about {size(needed)} of memory, but {size(free)} are free on {found.device}: "
            "choose smaller batches, or Quick"
        )
    if found.total > DAY:
        cure = "choose Quick or fewer steps" if found.gpu_memory else "use a GPU or Quick"
        told.append(f"takes about {duration(found.total)} on {found.device}: {cure}")
    return told


def table(found: Mapping[str, Forecast], free: int | None) -> str:
    """Forecasts by name as lines of text, with what speaks against them."""
    rows = [("", "time", "range", "memory", "GPU memory", "disk")]
    for name, one in found.items():
        gpu = "-" if one.gpu_memory is None else size(one.gpu_memory)
        between = f"{duration(one.low)} - {duration(one.high)}"
        rows.append((name, duration(one.total), between, size(one.memory), gpu, size(one.disk)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    first = next(iter(found.values()))
    lines.append(f"on {first.device} with {first.threads} CPU threads, if it is otherwise idle")
    lines += [f"{name} {told}" for name, one in found.items() for told in warnings_of(one, free)]
    return "\n".join(lines)


# -- kept with the run -----------------------------------------------------------------------------
