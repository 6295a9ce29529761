"""Does a GPU compute the same as the CPU? Both get the same random numbers, and TensorFloat-32 is off."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.gpu.sitting import CLUSTERS, Sitting, Unfit
from benchmarks.speed import NOTHING, SIDE, all_reliable, drawn, untrained_heads
from engine.config import JointSettings, RunConfig, StrongViews, with_settings
from engine.data.batches import DeviceImages
from engine.errors import Stopped
from engine.events import Alarm, Event
from engine.forecast.timing import Nothing
from engine.jobs import Control
from engine.presets import PAPER
from engine.runs.create import create_run
from engine.runs.pipeline import batches_of
from engine.runs.runner import Device, execute
from engine.sources.open_source import Opened
from engine.space.kmeans import lloyd
from engine.space.neighbors import nearest
from engine.stages import compute, loop
from engine.stages.contrast import objective_of
from engine.stages.features import Features, build_encoder, learn_features, take_features
from engine.stages.heads import learn_heads
from engine.stages.joint import learn_jointly
from engine.stages.prototypes import pseudo_label
from engine.stages.thresholds import thresholds
from engine.views import contrastive_view, strong_view, weak_view

# Two convolution algorithms of one CPU differ by 1e-6 in ResNet-18's features, and by .006 to .013 in its
# gradients, because rounding sometimes changes the sign of a ReLU's input. There, bfloat16 (on a CPU) differs
# by 1 − cosine = .03 to .10, a relative difference of .25 to .45.
ROUNDING, GRADIENT, NARROW_GRADIENT = 1e-4, 0.03, 0.2
LEVEL = 1 / 255
CPU = torch.device("cpu")
# For checks of whole stages: a network and a set that take a second.
TINY = {
    "encoder.backbone": "small",
    "encoder.width": 8,
    "features.batch": 64,
    "features.epochs": 3,
    "features.hidden": 64,
    "features.projection": 32,
    "heads.heads": 3,
    "heads.epochs": 2,
    "heads.images": 200,
    "reliable.agreement": 0.2,
    "reliable.confidence": 0.0,
    "reliable.floor": 0.5,
    "joint.steps": 8,
    "joint.batch": 16,
    "compute.precision": "float32",
    "compute.compile": False,
}


@dataclass(frozen=True)
class Scene:
    """The input of every check; `config` describes the network of the sitting."""

    config: RunConfig
    device: torch.device
    images: int

    def tiny(self, **changes: object) -> RunConfig:
        return with_settings(self.config, {**TINY, **{k.replace("__", "."): v for k, v in changes.items()}})


def run(sitting: Sitting) -> None:
    """Runs every check and keeps its value and limit; it passes if value ≤ limit."""
    scene = Scene(sitting.config, sitting.device, 32 if sitting.gpu else 8)
    compute.use_device(sitting.device)
    for name, (measure, limit) in CHECKS.items():

        def judged(measure: Callable[[Scene], float] = measure, limit: float = limit) -> dict[str, Any]:
            value = measure(scene)
            return {"value": value, "limit": limit, "passed": bool(value <= limit)}

        sitting.attempt("check", name, judged)


def failed(found: dict[str, Any]) -> list[str]:
    """The names of the checks that did not pass."""
    return [name for name, one in found.items() if "error" in one or one.get("passed") is False]


# -- the same random numbers on both devices ---------------------------------------------------


@contextlib.contextmanager
def same_numbers() -> Iterator[None]:
    """Within this context, all random numbers are drawn on the CPU, for every device."""

    class OfTheCpu(torch.Generator):
        def __new__(cls, _device: Any = "cpu") -> OfTheCpu:
            return super().__new__(cls, "cpu")

    def moved(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def drawn_there(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
            out = draw(*args, **kwargs)
            return out if device is None else out.to(device)

        return drawn_there

    with contextlib.ExitStack() as stack:
        for name in ("rand", "randn", "randint"):
            stack.enter_context(mock.patch.object(torch, name, moved(getattr(torch, name))))
        stack.enter_context(mock.patch.object(torch, "Generator", OfTheCpu))
        yield


def on_both(scene: Scene, act: Callable[[torch.device], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The results of `act` on the CPU and on the device, both moved to the CPU."""
    with same_numbers():
        return act(CPU).cpu(), act(scene.device).cpu()


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """The norm of the difference, relative to the norm of `one`."""
    return float(torch.linalg.vector_norm(one - other) / torch.linalg.vector_norm(one).clamp_min(1e-12))


def unequal(one: torch.Tensor, other: torch.Tensor) -> float:
    """The share of entries that differ."""
    return float((one != other).double().mean())


# -- views, features, gradients ----------------------------------------------------------------


def _photos(scene: Scene) -> torch.Tensor:
    """Smooth images: in pure noise, rounding would change whole pixels."""
    coarse = torch.rand(scene.images * 4, 3, 8, 8, generator=chance())
    return F.interpolate(coarse, SIDE, mode="bilinear")


def _contrastive(scene: Scene) -> float:
    settings = scene.config.views.contrastive
    one, other = on_both(scene, lambda d: contrastive_view(_photos(scene).to(d), settings, chance()))
    return float((one - other).abs().max())


def _weak(scene: Scene) -> float:
    settings = scene.config.views.weak
    one, other = on_both(scene, lambda d: weak_view(_photos(scene).to(d), settings, chance()))
    return float((one - other).abs().max())


def _strong(scene: Scene) -> float:
    return _differing(scene.config.views.strong, scene)


def _authors(scene: Scene) -> float:
    """With black beyond the edge and a padded crop."""
    return _differing(PAPER.views.joint, scene)


def _differing(settings: StrongViews, scene: Scene) -> float:
    """Posterising and equalising can turn a rounding error into a whole level, so a few pixels may differ."""
    one, other = on_both(scene, lambda d: strong_view(_photos(scene).to(d), settings, chance()))
    return float(((one - other).abs() > LEVEL / 4).double().mean())


def _network(scene: Scene, device: torch.device, objective: str, precision: str) -> nn.Module:
    config = with_settings(
        scene.config, {"features.objective": objective, "compute.precision": precision, "features.source": "scratch"}
    )
    pixels = DeviceImages(drawn(scene.images), device)
    encoder = build_encoder(config, pixels, channels=3, side=SIDE)
    return objective_of(config.features, encoder, batch=scene.images, images=scene.images, generator=chance()).train()


def _features(scene: Scene) -> float:
    x = _photos(scene)[: scene.images]
    with torch.no_grad():
        one, other = on_both(scene, lambda d: _network(scene, d, "simclr", "float32").encoder.eval()(x.to(d)))
    return relative(one, other)


def _two_views(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views of the same images, so that the gradient is not just noise."""
    x, generator = _photos(scene)[: scene.images], chance(1)
    first, second = (contrastive_view(x, scene.config.views.contrastive, generator) for _ in range(2))
    return first, second


def _gradient(scene: Scene, device: torch.device, objective: str, precision: str) -> torch.Tensor:
    network = _network(scene, device, objective, precision)
    first, second = _two_views(scene)
    network(first.to(device), second.to(device)).backward()
    return torch.cat([w.grad.flatten().cpu() for w in network.parameters() if w.grad is not None])


def _gradient_of(objective: str) -> Callable[[Scene], float]:
    def measure(scene: Scene) -> float:
        return relative(*on_both(scene, lambda d: _gradient(scene, d, objective, "float32")))

    return measure


def _bfloat16(scene: Scene) -> float:
    """1 − cosine of the gradients in bfloat16 and float32, both on the device."""
    wide, narrow = (_gradient(scene, scene.device, "byol", kind) for kind in ("float32", "bfloat16"))
    return 1 - float(F.cosine_similarity(wide, narrow, dim=0))


# -- stages ------------------------------------------------------------------------------------


def _vectors(count: int = 2000, size: int = 128) -> torch.Tensor:
    """Unit vectors (N, D) in ten groups."""
    groups = torch.randn(CLUSTERS, size, generator=chance(2))
    own = torch.arange(count) % CLUSTERS
    return F.normalize(groups[own] + torch.randn(count, size, generator=chance(3)), dim=1)


def _e_step(scene: Scene) -> float:
    """The share of claims (image, cluster) of an E-step that differ; near ties may."""
    unit = _vectors()
    belief = torch.rand(3, len(unit), CLUSTERS, generator=chance()).softmax(2)

    def claims(device: torch.device) -> torch.Tensor:
        _, _, labels = pseudo_label(belief.to(device), unit.to(device), 0.5)
        table = torch.zeros(3, len(unit) * CLUSTERS)
        return table.scatter_(1, (labels.ids * CLUSTERS + labels.labels).cpu(), 1.0)

    return unequal(*on_both(scene, claims))


def _thresholds(scene: Scene) -> float:
    targets = (3 * torch.randn(64, CLUSTERS, generator=chance())).softmax(1)
    ids = torch.randperm(64, generator=chance())

    def weights(device: torch.device) -> torch.Tensor:
        rules = [
            thresholds(JointSettings(adapt=adapt), CLUSTERS, torch.full((64,), CLUSTERS)).to(device)
            for adapt in ("fixed", "flex", "free", "soft")
        ]
        return torch.stack([rule(targets.to(device), ids.to(device)) for rule in rules for _ in range(3)])

    one, other = on_both(scene, weights)
    return float((one - other).abs().max())


def _neighbors(scene: Scene) -> float:
    unit = _vectors().numpy()
    one, other = on_both(scene, lambda d: torch.from_numpy(nearest(unit, 50, device=d).ids))
    return unequal(one.sort(1).values, other.sort(1).values)


def _kmeans(scene: Scene) -> float:
    return unequal(*on_both(scene, lambda d: lloyd(_vectors().to(d), CLUSTERS, 0, starts=3)))


def _quiet(stop: Callable[[], bool] = lambda: False, emit: Callable[[Event], None] = lambda _: None) -> dict[str, Any]:
    return {"emit": emit, "stop": stop, "checkpoint": Nothing()}


def _joint(config: RunConfig, device: torch.device, **quiet: Any) -> torch.Tensor:
    """Probabilities (N, K) after stage 3, with every image reliable."""
    pixels = DeviceImages(drawn(128), device)
    encoder = build_encoder(config, pixels, channels=3, side=SIDE)
    heads = untrained_heads(encoder.features, device)
    found = learn_jointly(config, pixels, Features(encoder, NOTHING), heads, all_reliable(128), **(quiet or _quiet()))
    return torch.from_numpy(found.clustering.probabilities)


def _joint_steps(scene: Scene) -> float:
    config = scene.tiny(joint__steps=3, joint__adapt="fixed", joint__average=0)
    return relative(*on_both(scene, lambda d: _joint(config, d)))


def _heads(scene: Scene) -> float:
    """The share of images that get another label in one round, trained on vectors alone."""
    config, vectors = scene.tiny(heads__epochs=1, heads__start="random"), _vectors(200, 32).numpy()

    def labels(device: torch.device) -> torch.Tensor:
        pixels = DeviceImages(drawn(len(vectors)), device)
        features = take_features(config, vectors, device, emit=lambda _: None)
        found = learn_heads(config, batches_of(features, pixels), features, **_quiet())
        return torch.from_numpy(found.head_labels)

    return unequal(*on_both(scene, labels))


# -- waiting, resuming, memory -----------------------------------------------------------------


class Strict:
    """A `stop` for a stage of 8 steps: between steps 2 and 6, any wait for the device is an error."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked in (3, 7):
            torch.cuda.set_sync_debug_mode("error" if self.asked == 3 else "default")
        return False


def _no_waits(scene: Scene) -> float:
    """Runs real steps of stages 1 and 3 in which any wait is an error, which fails this check."""
    if scene.device.type != "cuda":
        raise Unfit("only a GPU can be waited for")
    config = scene.tiny(compute__precision="auto", features__epochs=4)
    with mock.patch.object(loop, "REPORT_SECONDS", 1e9):
        try:
            pixels = DeviceImages(drawn(128), scene.device)
            encoder = build_encoder(config, pixels, channels=3, side=SIDE)
            learn_features(config, pixels, encoder, **_quiet(Strict()))
            _joint(config, scene.device, **_quiet(Strict()))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return 0.0


class Kept:
    """A checkpoint in memory."""

    state: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = state


def _resume(scene: Scene) -> float:
    """The relative difference between stage 1's vectors with and without stopping and resuming."""
    config = scene.tiny()

    def vectors(stop_after: int | None) -> torch.Tensor:
        pixels, kept, asked = DeviceImages(drawn(128), scene.device), Kept(), [0]

        def stop() -> bool:
            asked[0] += 1
            return asked[0] == stop_after

        while True:
            encoder = build_encoder(config, pixels, channels=3, side=SIDE)
            with contextlib.suppress(Stopped):
                found = learn_features(config, pixels, encoder, emit=lambda _: None, stop=stop, checkpoint=kept)
                return torch.from_numpy(found.vectors)

    with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        return relative(vectors(None), vectors(4))


def _whole_run(scene: Scene) -> float:
    """Trains a whole run like the app does; returns the number of missing artefacts."""
    with tempfile.TemporaryDirectory() as place:
        folder = create_run(Path(place) / "run", Opened(drawn(240)), scene.tiny(compute__precision="auto"))
        with folder.lock():
            state = execute(folder, Device(scene.device), Control())
        left = [one for one in ("features", "heads", "joint", "reliable-joint") if not folder.has(one)]
        assert state == "finished", f"the run {state}"
        return float(len(left))


def _out_of_memory(scene: Scene) -> float:
    """0 if a batch that does not fit is split in halves and training continues, else 1."""
    if scene.device.type != "cuda":
        raise Unfit("only a GPU's memory can be limited")
    config, alarms = (scene.tiny(features__batch=1024, features__epochs=1, features__objective="simclr"), [])

    def train() -> None:
        pixels = DeviceImages(drawn(1024), scene.device)
        encoder = build_encoder(config, pixels, channels=3, side=SIDE)
        learn_features(
            config, pixels, encoder, **_quiet(emit=lambda e: alarms.append(e) if isinstance(e, Alarm) else None)
        )

    total = torch.cuda.mem_get_info(scene.device)[1]
    torch.cuda.reset_peak_memory_stats(scene.device)
    train()
    peak = torch.cuda.max_memory_allocated(scene.device)
    assert not alarms, "it ran out of memory without a limit"
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.8 * peak / total, scene.device)
        train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, scene.device)
    return 0.0 if alarms else 1.0


CHECKS: dict[str, tuple[Callable[[Scene], float], float]] = {
    "contrastive views: largest difference": (_contrastive, ROUNDING),
    "weak views: largest difference": (_weak, ROUNDING),
    "strong views: share of pixels that differ": (_strong, 1e-3),
    "the authors' strong views in stage 3: share of pixels that differ": (_authors, 1e-3),
    "features: relative difference": (_features, ROUNDING),
    **{
        f"gradient of {name}: relative difference": (_gradient_of(name), GRADIENT)
        for name in ("byol", "simclr", "moco")
    },
    "gradient in bfloat16: 1 − cosine to float32": (_bfloat16, NARROW_GRADIENT),
    "E-step: share of claims that differ": (_e_step, 1e-3),
    "thresholds: largest difference": (_thresholds, ROUNDING),
    "neighbours: share that differ": (_neighbors, 1e-3),
    "k-means: share of labels that differ": (_kmeans, 1e-2),
    "a round of heads: share of labels that differ": (_heads, 1e-2),
    "three steps of stage 3: relative difference": (_joint_steps, 1e-2),
    "steps that wait for nothing": (_no_waits, 0.0),
    "stop and resume: relative difference": (_resume, 1e-3),
    "three stages: artefacts missing": (_whole_run, 0.0),
    "out of memory: batches not halved": (_out_of_memory, 0.0),
}
