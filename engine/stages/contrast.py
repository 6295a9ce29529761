"""The objectives of stage 1: SimCLR, MoCo and BYOL (paper, section III-A), and Attract, which shows what
happens without their precautions.

Each is a module that contains everything stage 1 trains and maps two views, (M, C, H, W) each, to a 0-d
loss.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from engine.config import FeatureSettings
from engine.stages.encoder import Encoder, Projector, initialise


class SimCLR(nn.Module):
    """Each view must find its twin among all other views of the batch (arXiv 2002.05709, eq. 1)."""

    def __init__(self, encoder: Encoder, projector: Projector, temperature: float) -> None:
        super().__init__()
        self.encoder, self.projector, self.temperature = encoder, projector, temperature

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        points = self.projector(self.encoder(torch.cat((first, second))))
        return simclr_loss(points, self.temperature)


def simclr_loss(points: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of 2M unit vectors (2M, P), where i and i+M are twins."""
    similarity = points @ points.t() / temperature
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    twin = torch.arange(len(points), device=points.device).roll(len(points) // 2)
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), twin)


class MoCo(nn.Module):
    """A view must find its twin, encoded by a slower copy of the encoder, in a queue of others.

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
        batch: int,
        images: int,
        generator: torch.Generator,
    ) -> None:
        """`batch`: images a step. The queue's random start is drawn from the CPU `generator`."""
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.slow_encoder, self.slow_projector = slow_copy(encoder), slow_copy(projector)
        self.temperature, self.momentum = settings.temperature, settings.key_momentum
        self.groups = settings.norm_groups
        # A queue longer than the set would mostly hold older views of the very images compared.
        length = max(1, min(settings.queue, images) // batch) * batch
        keys = F.normalize(torch.randn(length, settings.projection, generator=generator), dim=1)
        self.register_buffer("queue", keys)
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        query = self.projector(self.encoder(first))
        with torch.no_grad():
            move(self.slow_encoder, self.encoder, self.momentum)
            move(self.slow_projector, self.projector, self.momentum)
            key = self._keys(second)
        loss = moco_loss(query, key, self.queue.clone(), self.temperature)
        self._remember(key)
        return loss

    def _keys(self, views: torch.Tensor) -> torch.Tensor:
        """(M, P) of length 1; the views are permuted first, so that each is normalised with different ones.

        The queries of a group of `SplitBatchNorm` are dealt out to all groups of keys. Batches come
        in random order, so a fixed exchange does what the authors' shuffling does.
        """
        places = torch.arange(len(views), device=views.device)
        if len(views) % self.groups == 0:
            places = places.view(self.groups, -1).t().flatten()
        keys = self.slow_projector(self.slow_encoder(views[places]))
        return keys[places.argsort()]

    @torch.no_grad()
    def _remember(self, key: torch.Tensor) -> None:
        """Replaces the oldest keys of the queue with the newest."""
        places = (self.place + torch.arange(len(key), device=key.device)) % len(self.queue)
        self.queue.index_copy_(0, places, key)
        self.place.add_(len(key)).remainder_(len(self.queue))


def moco_loss(query: torch.Tensor, key: torch.Tensor, queue: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of each query ((M, P), unit length) against its key and a queue (Q, P)."""
    twin = (query * key).sum(1, keepdim=True)
    others = query @ queue.t()
    logits = torch.cat((twin, others), 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


class BYOL(nn.Module):
    """From each view, predicts a slower copy's features of the other view; uses no negatives.

    Source: arXiv 2006.07733, equation 2, both ways. The predictor has the projector's form, and predicts from a
    projection of any length: only what is compared has length 1.
    """

    def __init__(self, encoder: Encoder, projector: Projector, predictor: Projector, momentum: float) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.slow_encoder, self.slow_projector = slow_copy(encoder), slow_copy(projector)
        self.momentum = momentum

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        # One view after the other, so that each is normalised by the statistics of its own kind.
        predicted = [self.predictor(self.projector.raw(self.encoder(x))) for x in (first, second)]
        with torch.no_grad():
            move(self.slow_encoder, self.encoder, self.momentum)
            move(self.slow_projector, self.projector, self.momentum)
            target = [self.slow_projector(self.slow_encoder(x)) for x in (second, first)]
        return (byol_loss(predicted[0], target[0]) + byol_loss(predicted[1], target[1])) / 2


def byol_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of unit vectors (M, P), 0 to 4."""
    return 2 - 2 * (predicted * target).sum(1).mean()


class Attract(nn.Module):
    """Only pulls the two views of an image together: neither negatives nor a stopped gradient.

    The loss is lowest, 0, when all images have the same features, and training goes there: the collapse that
    every other objective is designed to prevent.
    """

    def __init__(self, encoder: Encoder, projector: Projector) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return byol_loss(*(self.projector(self.encoder(x)) for x in (first, second)))


def slow_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients, which only follows the original."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def move(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """Moves the weights of `slow` a little towards those of `fast`; its statistics are its own."""
    follow = torch.optim.swa_utils.get_ema_multi_avg_fn(momentum)
    follow(list(slow.parameters()), list(fast.parameters()), 1)


def objective_of(
    settings: FeatureSettings, encoder: Encoder, *, batch: int, images: int, generator: torch.Generator
) -> nn.Module:
    """The objective that `settings.objective` names, on the encoder's device, initialised from `generator`."""
    byol = settings.objective == "byol"
    hidden = settings.hidden or encoder.features
    projector = Projector(encoder.features, hidden, settings.projection, norm=byol)
    initialise(projector, generator)
    device = encoder.mean.device
    if settings.objective == "simclr":
        return SimCLR(encoder, projector, settings.temperature).to(device)
    if settings.objective == "attract":
        return Attract(encoder, projector).to(device)
    if byol:
        predictor = Projector(settings.projection, hidden, settings.projection, norm=True)
        initialise(predictor, generator)
        return BYOL(encoder, projector, predictor, settings.key_momentum).to(device)
    return MoCo(encoder, projector, settings, batch=batch, images=images, generator=generator).to(device)
