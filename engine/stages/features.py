"""Stage 1: contrastive training of the feature model (paper, section III-A)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import SCRATCH, FeatureSettings, RunConfig, StrongViews, WeakViews
from engine.data.batches import CachedViews, DeviceImages, ImageBatches, ViewVectors
from engine.events import Emit, StageFinished, StageStarted
from engine.stages.compute import (
    Losses,
    Portions,
    compiled,
    fused,
    memory_format,
    narrow_products,
    portion,
    whole_products,
)
from engine.stages.contrast import objective_of
from engine.stages.encoder import Adapter, Encoder, adapted, initialise
from engine.stages.encoder_file import load_encoder
from engine.stages.frames import Frame, Keep, condensed, watch
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.views import contrastive_view, strong_view, weak_view

# Pixels of a batch that is only encoded: 4,096 images of 32×32, 83 of 224×224.
ENCODE_PIXELS = 2**22
# Noise of a strong view of external vectors, in deviations. On the digits' pixels as vectors (3 seeds) stages 2 and 3
# reach .822 and .828 (quick) and .831 and .856 (photos); with a mixture of each vector and one of its 10 nearest
# neighbours in the noise's place .810 and .784, .802 and .810.
NOISE = 0.5
# The name of each objective's loss.
LOSSES = {
    "simclr": "contrastive loss",
    "moco": "contrastive loss",
    "byol": "prediction loss",
    "attract": "distance of two views",
}


@dataclass(frozen=True, eq=False)
class Features:
    """Stage 1's result: the encoder, in eval mode, and its features of every clean image.

    Attributes:
        encoder: on the training device; an adapter on external vectors, and where a frozen network's views are kept.
        vectors: (N, D) float32.
        views: what the adapter is given; None where the encoder is given pixels.
    """

    encoder: Encoder | Adapter
    vectors: np.ndarray
    views: CachedViews | None = None

    def of(self, ids: np.ndarray) -> Features:
        """Those of images `ids` (m,) alone."""
        views = self.views and CachedViews(self.views.clean[ids], self.views.weak[:, ids], self.views.strong[:, ids])
        return Features(self.encoder, self.vectors[ids], views)


def build_encoder(config: RunConfig, pixels: DeviceImages, *, channels: int, side: int) -> Encoder:
    """The encoder that stage 1 begins with, on the device of `pixels`.

    Its weights are drawn from the run's seed, or those of a trained encoder.

    Raises:
        SettingError: when there is no trained encoder of the name in the settings.
    """
    groups = _norm_groups(config.features)
    if config.features.source == SCRATCH:
        encoder = Encoder(config.encoder, channels=channels, side=side, norm_groups=groups)
        initialise(encoder, seeded(config.seed, "encoder weights"))
        mean, deviation = pixels.mean_and_deviation()
        encoder.mean.copy_(mean)
        encoder.deviation.copy_(deviation)
    else:
        encoder = load_encoder(config.features.source, norm_groups=groups)
    return placed(encoder, config, pixels.device)


def placed(encoder: Encoder, config: RunConfig, device: torch.device) -> Encoder:
    """`encoder` on `device`, in the precision and memory layout that suit it there."""
    encoder.narrow = narrow_products(config.compute, device)
    encoder.memory_format = memory_format(device)
    return encoder.to(device).to(memory_format=encoder.memory_format)


def _norm_groups(settings: FeatureSettings) -> int:
    return settings.norm_groups if settings.objective == "moco" else 1


def learn_features(
    config: RunConfig,
    pixels: DeviceImages,
    encoder: Encoder,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
    keep: Keep | None = None,
) -> Features:
    """Trains `encoder` so that two views of an image are near each other and far from others.

    It learns from the extra images of `pixels` too; vectors and frames are of the N alone.
    """
    settings = config.features
    order = EpochOrder(pixels.total, settings.batch, config.seed, multiple=_norm_groups(settings))
    objective = objective_of(
        settings, encoder, batch=order.size, images=pixels.total, generator=seeded(config.seed, "projector weights")
    )
    compiled(objective, config.compute)
    steps = settings.epochs * order.steps
    optimiser, schedule = _optimiser(settings, objective, steps)
    portions = Portions("features", pixels, emit)
    told = LOSSES[settings.objective]

    def step(index: int) -> Report:
        images = pixels.batch(order.batch(index))
        pixels.announce(lambda: order.batch(index + 1))
        shrink = 2 if index < settings.coarse * steps else 1

        def losses(part: int, parts: int) -> tuple[torch.Tensor, Losses]:
            chance = seeded(config.seed, "contrastive views", index * parts + part, pixels.device)
            x = portion(images, part, parts)
            first, second = (contrastive_view(x, config.views.contrastive, chance, shrink=shrink) for _ in range(2))
            loss = objective(first, second)
            return loss, {told: loss}

        report = portions.backward(optimiser, losses)
        optimiser.step()
        schedule.step()
        return Report(report, images=len(images))

    def frame(done: int) -> Frame:
        encoder.eval()
        vectors = condensed(encode(encoder, pixels))
        objective.train()
        return Frame("features", done, vectors)

    objective.train()
    run_steps(
        "features",
        steps,
        step,
        {"objective": objective, "optimiser": optimiser, "schedule": schedule, "portions": portions},
        emit=emit,
        stop=stop,
        checkpoint=checkpoint,
        watch=watch("features", steps, frame, keep),
    )
    encoder.eval()
    with whole_products(encoder):
        return Features(encoder, encode(encoder, pixels).cpu().numpy())


def take_features(
    config: RunConfig, vectors: np.ndarray, device: torch.device, *, emit: Emit, keep: Keep | None = None
) -> Features:
    """External vectors (N, D) float32 in place of `learn_features`: what an untrained adapter makes of them.

    Raises:
        TrainingError: when all vectors point the same way.
    """
    emit(StageStarted("features", 0))
    features = adapter_features(config, CachedViews.none(vectors), device)
    if keep is not None:
        keep(Frame("features", 0, condensed(torch.from_numpy(vectors))))
    emit(StageFinished("features", 0.0))
    return features


def adapter_features(config: RunConfig, views: CachedViews, device: torch.device) -> Features:
    """What an untrained adapter makes of clean features; raises TrainingError when all point the same way."""
    adapter = Adapter.on(views.clean, seeded(config.seed, "adapter weights")).to(device)
    return Features(adapter, adapted(adapter, views.clean), views)


class EpochOrder:
    """Batches of N image ids: every epoch has a new order that depends only on the seed and the epoch.

    A run that resumes in the middle of an epoch therefore gets the same batches. The last, short batch of an
    epoch is dropped (batch statistics of a few images are noise).
    """

    def __init__(self, images: int, batch: int, seed: int, *, multiple: int = 1) -> None:
        """`multiple`: the batch is cut to a multiple of it, if it is as large."""
        size = min(batch, images)
        self.size = size // multiple * multiple or size
        self.images, self.seed = images, seed
        self.steps = images // self.size
        self._epoch = -1
        self._ids = torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> torch.Tensor:
        """(M,) int64: the images of step `step`, counted from the beginning of training."""
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            chance = seeded(self.seed, "order of images", epoch)
            self._ids, self._epoch = torch.randperm(self.images, generator=chance), epoch
        return self._ids[place * self.size : (place + 1) * self.size]


def _optimiser(
    settings: FeatureSettings, module: nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """SGD with momentum; the rate rises over the warm-up and then falls along a half cosine."""
    trained = [one for one in module.parameters() if one.requires_grad]
    optimiser = torch.optim.SGD(
        trained,
        settings.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=settings.weight_decay,
        fused=fused(trained[0].device),
    )
    warm = max(1, round(settings.warmup * steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


@torch.no_grad()
def encode(
    encoder: nn.Module,
    pixels: ImageBatches,
    ids: torch.Tensor | None = None,
    view: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """(M, D) float32 on the device: features of images `ids` (default: all, in order), or of a view of them.

    The encoder is used as it is: put it in eval mode first, so that no image depends on another.
    """
    ids = torch.arange(len(pixels)) if ids is None else ids
    # An encoder for larger images scales them up: the batch must fit after scaling.
    sides = [one.side or 0 for one in encoder.modules() if isinstance(one, Encoder)]
    area = max([pixels.area, *(side**2 for side in sides)])
    parts = ids.split(max(1, ENCODE_PIXELS // area))
    look = view or pixels.clean
    return torch.cat([encoder(look(pixels.batch(part))) for part in parts])


# -- views of a batch ------------------------------------------------------------------------------


class Views(Protocol):
    """Draws one view of each image of a batch."""

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor: ...
    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor: ...


class _PixelViews:
    def __init__(self, weak: WeakViews, strong: StrongViews) -> None:
        self._weak, self._strong = weak, strong

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return weak_view(batch, self._weak, generator)

    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return strong_view(batch, self._strong, generator)


class _VectorViews:
    """A weak view is the image itself or one of its weak views; a strong one is a strong view of the network."""

    def __init__(self, weak: int, strong: int) -> None:
        self.count, self.total = 1 + weak, 1 + weak + strong

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return _drawn(batch[:, : self.count], generator)

    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return _drawn(batch[:, self.count if self.total > self.count else 0 :], generator)


class _NoisyVectors:
    """Stand-ins for views of external vectors, of whose images nobody saw any.

    A weak view is the vector itself; a strong one, of length about 1, has Gaussian noise, as much of it as a feature
    differs between images.
    """

    def __init__(self, deviation: torch.Tensor) -> None:
        self.deviation = deviation

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        del generator
        return batch[:, 0]

    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        unit = F.normalize(batch[:, 0], dim=1)
        noise = torch.randn(unit.shape, generator=generator, device=unit.device)
        return unit + NOISE * self.deviation * noise


def _drawn(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(M, D): one of the L vectors (M, L, D) of each image."""
    images, count, _ = vectors.shape
    chosen = torch.randint(count, (images,), generator=generator, device=vectors.device)
    return vectors[torch.arange(images, device=vectors.device), chosen]


def views_of(pixels: ImageBatches, weak: WeakViews, strong: StrongViews) -> Views:
    """How views are drawn from batches of `pixels`: made of the pixels as `weak` and `strong` say, chosen among a
    frozen network's, or made of external vectors."""
    if not isinstance(pixels, ViewVectors):
        return _PixelViews(weak, strong)
    if not pixels.weak and not pixels.strong:
        return _NoisyVectors(pixels.deviation)
    return _VectorViews(pixels.weak, pixels.strong)
