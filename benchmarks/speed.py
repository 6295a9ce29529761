"""Images per second of each stage, as a share of the device's peak.

Our stages are timed in their real loops. The authors' method (one image at a time through PIL, their
batch sizes, a pass through the network for every batch of every head, float32) is implemented from the
paper's description and timed in the same session, on the same device and network.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, table, write
from benchmarks.views import PerImage, contrastive_per_image
from engine.config import RunConfig, with_setting, with_settings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.errors import Stopped
from engine.events import Event, Progress
from engine.forecast.timing import Nothing
from engine.presets import preset
from engine.runs.runner import choose_device
from engine.stages import features as stage1
from engine.stages.clustering import Clustering
from engine.stages.contrast import objective_of
from engine.stages.encoder import Heads, initialise
from engine.stages.features import Features, build_encoder
from engine.stages.heads import HeadClustering, learn_heads
from engine.stages.joint import learn_jointly
from engine.stages.reliable import ReliableSet

CLUSTERS, SIDE = 10, 32
# The clock stops the stages, so they must not end earlier.
ENDLESS = {"features.epochs": 10**6, "heads.epochs": 10**6, "joint.steps": 2**20}
# The number of images to count operations on.
FEW = 16
# Batches to time the authors' pipeline on, after one to warm up.
BATCHES = 4


@dataclass
class Clock:
    """Collects the pace that a stage reports, and stops it after `seconds`."""

    seconds: float
    paces: list[float] = field(default_factory=list)
    began: float | None = None

    def emit(self, event: Event) -> None:
        if isinstance(event, Progress):
            if self.began is None:  # the first report warms up: kernels, caches, compilation
                self.began = time.monotonic()
            else:
                self.paces.append(event.images_per_second)

    def stop(self) -> bool:
        done = self.began is not None and time.monotonic() - self.began > self.seconds
        return done and len(self.paces) > 0


def peak(device: torch.device) -> dict[str, float]:
    """TFLOP/s of a large matrix product by type, and GB/s of a copy (read and written)."""
    out = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        # bfloat16 may take a CPU fifty times as long as float32.
        side = 8192 if device.type == "cuda" else {"float32": 2048, "bfloat16": 512}[name]
        one, other = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        seconds = _seconds(lambda one=one, other=other: one @ other, device)
        out[name] = 2 * side**3 / seconds / 1e12
    block = torch.randn(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(block)
    out["copy"] = 2 * block.nbytes / _seconds(lambda: target.copy_(block), device) / 1e9
    return {name: round(value, 3) for name, value in out.items()}


def _seconds(act: Callable[[], object], device: torch.device, rounds: int = 7) -> float:
    """Median seconds of `act`, including the work it starts on the device."""
    taken = []
    for _ in range(rounds + 2):
        _wait(device)
        began = time.perf_counter()
        act()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def drawn(images: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, SIDE, SIDE), dtype=np.uint8)
    return ImageSet(pixels, tuple(map(str, range(images))), "drawn")


def settings(**changes: Any) -> RunConfig:
    """The `fast` preset with `changes` by dotted name (a double underscore stands for the dot)."""
    values = {name.replace("__", "."): value for name, value in changes.items()}
    return with_settings(preset("fast", clusters=CLUSTERS, channels=3), values)


NOTHING = np.zeros((1, 1), np.float32)


def all_reliable(images: int) -> ReliableSet:
    """A reliable set of all images, in equal clusters."""
    sure = np.ones(images, np.float32)
    verdicts = np.zeros(images, np.uint8)
    return ReliableSet(np.arange(images) % CLUSTERS, sure, sure, verdicts, np.ones(CLUSTERS, np.float32))


def untrained_heads(features: int, device: torch.device) -> HeadClustering:
    """A result of stage 2 with only a head of random weights."""
    head = Heads(1, features, CLUSTERS)
    initialise(head, torch.Generator().manual_seed(0))
    return HeadClustering(Clustering(NOTHING), head.to(device), 0, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)


class Bench:
    """Runs the three stages on random images, each for `seconds`."""

    def __init__(self, config: RunConfig, device: torch.device, images: int, seconds: float):
        self.config, self.seconds = with_settings(config, ENDLESS), seconds
        self.pixels = DeviceImages(drawn(images), device)
        self.encoder = build_encoder(config, self.pixels, channels=3, side=SIDE)

    def stage1(self) -> dict[str, float]:
        def act(clock: Clock) -> None:
            stage1.learn_features(
                self.config, self.pixels, self.encoder, emit=clock.emit, stop=clock.stop, checkpoint=Nothing()
            )

        return self._paced(act, self._stage1_flop())

    def _stage1_flop(self) -> float:
        """Operations of a training step per image, forward and backward, as counted by torch."""
        objective = objective_of(
            self.config.features, self.encoder, batch=FEW, images=FEW, generator=torch.Generator().manual_seed(0)
        )
        side = SIDE // 2 if self.config.features.coarse else SIDE
        x = torch.rand(FEW, 3, side, side, device=self.pixels.device)
        with FlopCounterMode(display=False) as counter:
            objective.train()(x, x).backward()
        return counter.get_total_flops() / FEW

    def _forward_flop(self) -> float:
        """Operations of the encoder on one image."""
        x = torch.rand(FEW, 3, SIDE, SIDE, device=self.pixels.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.encoder(x)
        return counter.get_total_flops() / FEW

    def _stage2_flop(self) -> float:
        """Operations per label learned in an M-step: three forward passes of all heads, plus its share of
        encoding two views in the E-step."""
        heads, size = self.config.heads, self.encoder.features
        head = 2 * (size**2 + size * CLUSTERS)
        return 3 * heads.heads * head + 2 * self._forward_flop() / heads.passes

    def _stage3_flop(self) -> float:
        """Operations per view: forward and backward for the views that are learned, forward for weak views."""
        joint = self.config.joint
        others = min(joint.batch * joint.unlabelled, len(self.pixels))
        passes = 3 * (joint.batch + others) + others
        return passes * self._forward_flop() / (joint.batch + 2 * others)

    def stage2(self) -> dict[str, float]:
        vectors = np.random.default_rng(0).normal(size=(len(self.pixels), self.encoder.features))
        features = Features(self.encoder.eval(), vectors.astype(np.float32))

        def act(clock: Clock) -> None:
            learn_heads(self.config, self.pixels, features, emit=clock.emit, stop=clock.stop, checkpoint=Nothing())

        return self._paced(act, self._stage2_flop())

    def stage3(self) -> dict[str, float]:
        reliable = all_reliable(len(self.pixels))
        heads = untrained_heads(self.encoder.features, self.pixels.device)

        def act(clock: Clock) -> None:
            learn_jointly(
                self.config,
                self.pixels,
                Features(self.encoder, NOTHING),
                heads,
                reliable,
                emit=clock.emit,
                stop=clock.stop,
                checkpoint=Nothing(),
            )

        return self._paced(act, self._stage3_flop())

    def _paced(self, act: Callable[[Clock], None], flop: float) -> dict[str, float]:
        device, clock = self.pixels.device, Clock(self.seconds)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with contextlib.suppress(Stopped):
            act(clock)
        pace = statistics.median(clock.paces) if clock.paces else float("nan")
        found = {"images_per_second": round(pace, 1), "tflops": round(pace * flop / 1e12, 4)}
        if device.type == "cuda":
            found["megabytes"] = round(torch.cuda.max_memory_allocated() / 1e6)
        return found


# -- the authors' method -------------------------------------------------------------------------


def strong_per_image() -> Callable[[Any], torch.Tensor]:
    """Flip, four random operations and Cutout of one image (paper, section IV-B)."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandAugment(num_ops=4),
            transforms.ToTensor(),
            transforms.RandomErasing(p=1.0, scale=(0.01, 0.25), ratio=(1, 1)),
        ]
    )


def endless(loader: DataLoader[torch.Tensor]) -> Iterator[torch.Tensor]:
    while True:
        yield from loader


def loader(images: Dataset[torch.Tensor], batch: int, workers: int) -> Iterator[torch.Tensor]:
    return endless(DataLoader(images, batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=False))


def authors(
    config: RunConfig,
    device: torch.device,
    images: int,
    workers: int,
    stages: tuple[str, ...] = ("stage 1", "stage 2", "stage 3"),
) -> dict[str, float]:
    """Images per second of the given stages as the paper describes them: float32, views one image at a time.

    Stage 1: MoCo, batches of 128. Stage 2 (M-step): for every head, batches of 128 strong views through
    the network. Stage 3: 64 reliable and 448 other images per step.
    """
    source = drawn(images)
    pixels = DeviceImages(source, device)
    encoder = build_encoder(config, pixels, channels=3, side=SIDE)
    encoder.narrow, encoder.memory_format = False, torch.contiguous_format
    encoder.to(memory_format=torch.contiguous_format)
    views = PerImage(source.pixels, contrastive_per_image())
    strong = PerImage(source.pixels, strong_per_image())
    moco = objective_of(
        with_setting(config, "features.objective", "moco").features,
        encoder,
        batch=128,
        images=images,
        generator=torch.Generator().manual_seed(0),
    ).train()
    head = nn.Sequential(
        nn.Linear(encoder.features, encoder.features), nn.ReLU(), nn.Linear(encoder.features, CLUSTERS)
    ).to(device)
    labels = torch.zeros(512, dtype=torch.int64, device=device)
    optimiser = torch.optim.SGD([*moco.parameters(), *head.parameters()], 1e-3, momentum=0.9)
    first, second, easy, hard = (
        loader(one, size, workers) for one, size in ((views, 128), (views, 128), (strong, 128), (strong, 448))
    )

    def pretext() -> int:
        one, other = (next(batch).to(device) for batch in (first, second))
        _learn(optimiser, moco(one, other))
        return len(one)

    def m_step() -> int:
        x = next(easy).to(device)
        with torch.no_grad():
            vectors = encoder(x)
        _learn(optimiser, nn.functional.cross_entropy(head(vectors), labels[: len(x)]))
        return len(x)

    def joint() -> int:
        weak, x, reliable = next(hard).to(device), next(hard).to(device), next(easy)[:64].to(device)
        with torch.no_grad():
            head(encoder(weak))
        logits = head(encoder(torch.cat((reliable, x))))
        _learn(optimiser, nn.functional.cross_entropy(logits, labels[: len(logits)]))
        return len(weak) + len(x) + len(reliable)

    acts = {"stage 1": pretext, "stage 2": m_step, "stage 3": joint}
    return {name: _pace(acts[name], device) for name in stages}


def _learn(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _pace(act: Callable[[], int], device: torch.device) -> float:
    act()
    _wait(device)
    began = time.perf_counter()
    images = sum(act() for _ in range(BATCHES))
    _wait(device)
    return round(images / (time.perf_counter() - began), 1)


# -- the table -----------------------------------------------------------------------------------


def variants(device: torch.device) -> dict[str, dict[str, Any]]:
    """The variants of stage 1 to compare, as changed settings."""
    found: dict[str, dict[str, Any]] = {
        "ResNet-18, BYOL (fast)": {},
        "ResNet-18, MoCo": {"features__objective": "moco", "features__queue": 4096},
        "ResNet-18, SimCLR": {"features__objective": "simclr"},
        "ResNet-18, BYOL, views of half the side": {"features__coarse": 1},
        "ResNet-18, BYOL, float32": {"compute__precision": "float32"},
        "ResNet-18, BYOL, bfloat16": {"compute__precision": "bfloat16"},
        "ResNet-18, BYOL, compiled": {"compute__compile": True},
        "small (16), SimCLR": {"encoder__backbone": "small", "features__objective": "simclr"},
        "small (16), SimCLR, views of half the side": {
            "encoder__backbone": "small",
            "features__objective": "simclr",
            "features__coarse": 1,
        },
    }
    # The precision that "auto" chooses is measured already.
    found.pop(f"ResNet-18, BYOL, {'bfloat16' if device.type == 'cuda' else 'float32'}")
    return found


def measure(options: Options) -> None:
    """Writes results/speed-DEVICE."""
    device = choose_device(options.device).device
    gpu = device.type == "cuda"
    pieces, seconds = Pieces("speed", options), 8.0 if gpu else 20.0
    images, workers = (50_000, 16) if gpu else (1024, 2)
    # On a CPU a batch of 512 takes half a minute; the pace is the same with smaller batches.
    small = {} if gpu else {"features__batch": 64, "joint__batch": 16, "heads__images": 500}
    top = pieces.get("peak", lambda: peak(device), seconds=60)

    def bench(**changes: Any) -> Bench:
        return Bench(settings(**{**small, **changes}), device, images, seconds)

    stage1_found = {
        name: pieces.get(name, lambda c=changes: bench(**c).stage1(), seconds=150)
        for name, changes in variants(device).items()
    }
    later = {
        f"{network}, stage {number}": pieces.get(
            f"{network} stage {number}", lambda c=changes, n=number: getattr(bench(**c), f"stage{n}")(), seconds=120
        )
        for network, changes in (("ResNet-18", {}), ("small (16)", {"encoder__backbone": "small"}))
        for number in (2, 3)
    }
    theirs = {
        network: pieces.get(
            f"authors {network}",
            lambda c=changes: authors(settings(**c), device, min(images, 4096), workers),
            seconds=200,
        )
        for network, changes in (("ResNet-18", {}), ("small (16)", {"encoder__backbone": "small"}))
    }
    body = "\n\n".join(
        [
            f"Peak: {top['bfloat16']:.3g} TFLOP/s (bfloat16), {top['float32']:.3g} (float32) in a "
            f"large matrix product; copy {top['copy']:,.0f} GB/s.",
            _stage1_table(stage1_found, top, gpu),
            _ratio_table(stage1_found, later, theirs),
            f"Random 32×32 colour images; real training loops, medians over {seconds:.0f} s after "
            "warming up. An image counts once per step in stage 1 (both its views), once per pass in "
            "stage 2, and once for each of its views in stage 3. Operations are torch's count of "
            "forward and backward passes. The authors' method: views one image at a time with PIL in "
            f"{workers} worker processes, float32, batches of 128 (stage 3: 64 + 448), MoCo; in "
            "stage 2 every batch of every head goes through the network (a round of theirs does this for "
            "ten heads; the ratio is for one head, while ours trains all ten).",
        ]
    )
    data = {"peak": top, "stage1": stage1_found, "later": later, "authors": theirs}
    write("speed", "Images per second", data, body, slug=device_slug(options.device))


def _stage1_table(found: dict[str, Any], top: dict[str, float], gpu: bool) -> str:
    rows = []
    for name, one in found.items():
        narrow = "bfloat16" in name or (gpu and "float32" not in name)
        share = one["tflops"] / top["bfloat16" if narrow else "float32"]
        memory = f"{one['megabytes']:,}" if "megabytes" in one else "–"
        rows.append([name, f"{one['images_per_second']:,.0f}", f"{one['tflops']:.3g}", f"{share:.0%}", memory])
    return table(["stage 1", "images/s", "TFLOP/s", "share of peak", "memory, MB"], rows)


def _ratio_table(stage1_found: dict[str, Any], later: dict[str, Any], theirs: dict[str, Any]) -> str:
    first = {"ResNet-18": "ResNet-18, MoCo", "small (16)": "small (16), SimCLR"}
    rows = []
    for network, paces in theirs.items():
        for stage, pace in paces.items():
            name = first[network] if stage == "stage 1" else f"{network}, {stage}"
            ours = (stage1_found | later)[name]["images_per_second"]
            rows.append([name, f"{ours:,.0f}", f"{pace:,.0f}", f"{ours / pace:.1f} ×"])
    return table(["", "ours, images/s", "the authors' method, images/s", "ratio"], rows)
