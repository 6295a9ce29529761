"""Stage 1: contrastive training of the feature model (paper, section III-A)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import FeatureSettings, RunConfig
from engine.data.batches import DeviceImages
from engine.events import Emit
from engine.stages.encoder import Encoder, Projector, initialise, mixed_precision
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.views import contrastive_view

# Pixels of a batch that is only encoded: 4,096 images of 32×32, 83 of 224×224.
ENCODE_PIXELS = 2**22


@dataclass(frozen=True, eq=False)
class Features:
    """Stage 1's result: the encoder, in eval mode, and what it makes of every clean image.

    Attributes:
        encoder: on the training device.
        vectors: (N, D) float32.
    """

    encoder: Encoder
    vectors: np.ndarray


def build_encoder(config: RunConfig, pixels: DeviceImages, *, channels: int, side: int) -> Encoder:
    """A new encoder for these images, its weights drawn from the run's seed."""
    groups = config.features.norm_groups if config.features.objective == "moco" else 1
    encoder = Encoder(config.encoder, channels=channels, side=side, norm_groups=groups)
    initialise(encoder, torch.Generator().manual_seed(config.seed))
    mean, deviation = pixels.mean_and_deviation()
    encoder.mean.copy_(mean)
    encoder.deviation.copy_(deviation)
    return encoder.to(pixels.device)


def learn_features(
    config: RunConfig,
    pixels: DeviceImages,
    encoder: Encoder,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
) -> Features:
    """Trains `encoder` so that two views of an image are near each other and far from others."""
    settings = config.features
    objective = _objective(config, encoder, images=len(pixels))
    groups = settings.norm_groups if settings.objective == "moco" else 1
    order = EpochOrder(len(pixels), settings.batch, config.seed, multiple=groups)
    steps = settings.epochs * order.steps
    optimiser, schedule = _optimiser(settings, objective, steps)

    def step(index: int) -> Report:
        chance = seeded(config.seed * 4 + 1, index, pixels.device)
        images = pixels.batch(order.batch(index))
        first, second = (
            contrastive_view(images, config.views.contrastive, chance) for _ in range(2)
        )
        loss = objective(first, second)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        return Report({"contrastive loss": loss}, images=len(images))

    objective.train()
    run_steps(
        "features", steps, step,
        {"objective": objective, "optimiser": optimiser, "schedule": schedule},
        emit=emit, stop=stop, checkpoint=checkpoint,
    )  # fmt: skip
    encoder.eval()
    return Features(encoder, encode(encoder, pixels).cpu().numpy())


class EpochOrder:
    """Batches of N image ids: every epoch a new order that depends on the seed and epoch alone.

    So a run that goes on in the middle of an epoch meets the same batches. The last, short batch of
    an epoch is left out (batch statistics of a handful are noise).
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
            chance = seeded(self.seed, epoch)
            self._ids, self._epoch = torch.randperm(self.images, generator=chance), epoch
        return self._ids[place * self.size : (place + 1) * self.size]


def _optimiser(
    settings: FeatureSettings, module: nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """SGD with momentum; the rate rises over the warm-up and then falls along a half cosine."""
    trained = [one for one in module.parameters() if one.requires_grad]
    optimiser = torch.optim.SGD(
        trained, settings.learning_rate, momentum=0.9, nesterov=True,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    warm = max(1, round(settings.warmup * steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _objective(config: RunConfig, encoder: Encoder, *, images: int) -> nn.Module:
    """The module that holds everything stage 1 trains and turns two views into a loss."""
    settings = config.features
    projector = Projector(encoder.features, settings.projection)
    chance = torch.Generator().manual_seed(config.seed * 4 + 2)
    initialise(projector, chance)
    device = encoder.mean.device
    if settings.objective == "simclr":
        return SimCLR(encoder, projector.to(device), settings.temperature)
    return MoCo(encoder, projector.to(device), settings, images=images, chance=chance).to(device)


class SimCLR(nn.Module):
    """Each view must find its twin among all other views of the batch (arXiv 2002.05709, eq. 1)."""

    def __init__(self, encoder: Encoder, projector: Projector, temperature: float) -> None:
        super().__init__()
        self.encoder, self.projector, self.temperature = encoder, projector, temperature

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        with mixed_precision(first.device):
            points = self.projector(self.encoder(torch.cat((first, second))))
        return simclr_loss(points.float(), self.temperature)


def simclr_loss(points: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of 2M unit vectors (2M, P), where i and i+M are twins."""
    similarity = points @ points.t() / temperature
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    twin = torch.arange(len(points), device=points.device).roll(len(points) // 2)
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), twin)


class MoCo(nn.Module):
    """A view must find its twin, seen by a slower copy of the encoder, among a queue of others.

    Source: MoCo v2 (arXiv 2003.04297), which the paper's section III-A uses; asymmetric.
    """

    queue: torch.Tensor
    place: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        projector: Projector,
        settings: FeatureSettings,
        *,
        images: int,
        chance: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projector = copy.deepcopy(projector).requires_grad_(False)
        self.temperature, self.key_momentum = settings.temperature, settings.key_momentum
        self.groups = settings.norm_groups
        batch = EpochOrder(images, settings.batch, 0, multiple=self.groups).size
        # A queue longer than the set would mostly hold older views of the very images compared.
        length = max(1, min(settings.queue, images) // batch) * batch
        keys = F.normalize(torch.randn(length, settings.projection, generator=chance), dim=1)
        self.register_buffer("queue", keys)
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        with mixed_precision(first.device):
            query = self.projector(self.encoder(first)).float()
        with torch.no_grad(), mixed_precision(first.device):
            self._follow()
            key = self._keys(second)
        loss = moco_loss(query, key, self.queue.clone(), self.temperature)
        self._remember(key)
        return loss

    def _keys(self, views: torch.Tensor) -> torch.Tensor:
        """(M, P) of length 1; views change places first, so that each gets other company.

        The queries of a group of `SplitBatchNorm` are dealt out to all groups of keys. Batches come
        in random order, so a fixed exchange does what the authors' shuffling does.
        """
        places = torch.arange(len(views), device=views.device)
        if len(views) % self.groups == 0:
            places = places.view(self.groups, -1).t().flatten()
        keys = self.key_projector(self.key_encoder(views[places])).float()
        return keys[places.argsort()]

    def _follow(self) -> None:
        """The key network moves a little towards the trained one."""
        for slow, fast in (
            (self.key_encoder, self.encoder),
            (self.key_projector, self.projector),
        ):
            for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                old.lerp_(new, 1 - self.key_momentum)

    @torch.no_grad()
    def _remember(self, key: torch.Tensor) -> None:
        """The oldest keys of the queue (a whole number of batches long) give way to the newest."""
        places = (self.place + torch.arange(len(key), device=key.device)) % len(self.queue)
        self.queue.index_copy_(0, places, key)
        self.place.add_(len(key)).remainder_(len(self.queue))


def moco_loss(
    query: torch.Tensor, key: torch.Tensor, queue: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of each query ((M, P), unit length) against its key and a queue (Q, P)."""
    twin = (query * key).sum(1, keepdim=True)
    others = query @ queue.t()
    logits = torch.cat((twin, others), 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


@torch.no_grad()
def encode(
    encoder: nn.Module,
    pixels: DeviceImages,
    ids: torch.Tensor | None = None,
    view: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> torch.Tensor:
    """(M, D) float32 on the device: features of a view of images `ids` (default: all, in order).

    The encoder is used as it is: put it in eval mode first, so that no image depends on another.
    """
    ids = torch.arange(len(pixels)) if ids is None else ids

    def encoded(part: torch.Tensor) -> torch.Tensor:
        seen = view(pixels.batch(part))
        with mixed_precision(pixels.device):
            return encoder(seen).float()

    return torch.cat([encoded(part) for part in ids.split(max(1, ENCODE_PIXELS // pixels.area))])
