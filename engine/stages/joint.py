"""Stage 3: encoder and head trained together from the reliable set (paper, section III-C).

FixMatch (arXiv 2001.07685): reliable images teach their labels; of every other image the weak view
gives the target of the strong view, where it is confident.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import JointSettings, RunConfig
from engine.data.batches import DeviceImages
from engine.errors import TrainingError
from engine.events import Emit
from engine.stages.clustering import Clustering
from engine.stages.encoder import Encoder, Heads, initialise, mixed_precision, whole_norms
from engine.stages.features import EpochOrder, Features, encode
from engine.stages.heads import HeadClustering
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.stages.reliable import ReliableSet
from engine.views import strong_view, weak_view


class Classifier(nn.Module):
    """Encoder and one head: (M, C, H, W) in 0–1 → logits (M, K)."""

    def __init__(self, encoder: Encoder, head: Heads) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))[0]


@dataclass(frozen=True, eq=False)
class JointClustering:
    """Stage 3's result: the averaged model, in eval mode, and its clustering of clean images."""

    model: Classifier
    clustering: Clustering


def learn_jointly(
    config: RunConfig,
    pixels: DeviceImages,
    features: Features,
    heads: HeadClustering,
    reliable: ReliableSet,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
) -> JointClustering:
    """Trains from the reliable set; raises TrainingError if it is empty."""
    if not reliable.mask.any():
        raise TrainingError(
            f"no image is reliable (agreement ≥ {config.reliable.agreement:g}, confidence ≥ "
            f"{config.reliable.confidence:g}): lower one of them, or train stage 2 for longer"
        )
    settings = config.joint
    model = _starting_model(config, features, heads)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.SGD(
        model.parameters(), settings.learning_rate, momentum=0.9, nesterov=True,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: math.cos(7 / 16 * math.pi * step / settings.steps)
    )
    teach = _Teaching(config, pixels, reliable)

    def step(index: int) -> Report:
        taught, learned, share = teach.losses(model, index)
        optimiser.zero_grad(set_to_none=True)
        (taught + settings.weight * learned).backward()
        optimiser.step()
        schedule.step()
        follow(average, model, settings.average)
        losses = {"reliable loss": taught, "consistency loss": learned, "confident share": share}
        return Report(losses, images=teach.images)

    model.train()
    run_steps(
        "joint", settings.steps, step,
        {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule},
        emit=emit, stop=stop, checkpoint=checkpoint,
    )  # fmt: skip
    average.eval()
    return JointClustering(average, Clustering(predict(average, pixels)))


def predict(model: Classifier, pixels: DeviceImages) -> np.ndarray:
    """(N, K) float32 probabilities of all clean images."""
    return encode(model, pixels).softmax(1).cpu().numpy()


def _starting_model(config: RunConfig, features: Features, heads: HeadClustering) -> Classifier:
    model = Classifier(copy.deepcopy(features.encoder), copy.deepcopy(heads.head))
    whole_norms(model)
    if config.joint.start == "random":
        initialise(model, torch.Generator().manual_seed(config.seed * 4 + 4))
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
    return model


class _Teaching:
    """Draws the batches of stage 3 and computes its two losses."""

    def __init__(self, config: RunConfig, pixels: DeviceImages, reliable: ReliableSet) -> None:
        self.views, self.pixels, self.seed = config.views, pixels, config.seed * 4 + 4
        self.settings: JointSettings = config.joint
        self.labels = torch.from_numpy(reliable.labels).to(pixels.device)
        # Every cluster teaches as often as any other, however few reliable images it has.
        share = 1 / np.maximum(reliable.per_cluster, 1)
        weights = np.where(reliable.mask, share[reliable.labels], 0)
        self.ids = torch.from_numpy(np.flatnonzero(weights))
        self.cumulated = torch.from_numpy(np.cumsum(weights[weights > 0]))
        unlabelled = self.settings.batch * self.settings.unlabelled
        self.order = EpochOrder(len(pixels), unlabelled, config.seed)
        self.images = self.settings.batch + 2 * self.order.size

    def _taught(self, step: int) -> torch.Tensor:
        """(M,) int64: reliable images, drawn with replacement; the same for the same step."""
        chance = seeded(self.seed, step)
        drawn = torch.rand(self.settings.batch, generator=chance, dtype=torch.float64)
        places = torch.searchsorted(self.cumulated, drawn * self.cumulated[-1])
        return self.ids[places.clamp_max(len(self.ids) - 1)]

    def losses(self, model: Classifier, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """Loss on the reliable images, loss on the unlabelled ones, share of confident targets."""
        taught, other = self._taught(step), self.order.batch(step)
        device = self.pixels.device
        chance = seeded(self.seed, step, device)
        labelled = weak_view(self.pixels.batch(taught), self.views.weak, chance)
        images = self.pixels.batch(other)
        strong = strong_view(images, self.views.strong, chance)
        weak = weak_view(images, self.views.weak, chance)
        # Two blocks: what one without gradients casts must not be taken over by the other.
        with torch.no_grad(), mixed_precision(device):
            target = model(weak).float().softmax(1)
        with mixed_precision(device):
            logits = model(torch.cat((labelled, strong))).float()
        right = F.cross_entropy(
            logits[: len(taught)], self.labels[taught.to(device, non_blocking=True)]
        )
        learned, share = consistency_loss(logits[len(taught) :], target, self.settings.threshold)
        return right, learned, share


def consistency_loss(
    logits: torch.Tensor, target: torch.Tensor, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """FixMatch's unlabelled loss (equation 4) and the share of images that count, two 0-d.

    Args:
        logits: (M, K) of strong views.
        target: (M, K) probabilities of weak views, without gradient.
        threshold: an image counts when its target's highest probability reaches it.
    """
    confidence, labels = target.max(1)
    counts = (confidence >= threshold).float()
    return (F.cross_entropy(logits, labels, reduction="none") * counts).mean(), counts.mean()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, momentum: float) -> None:
    """Moves `average` towards `model`: weights and batch statistics alike; counters are copied."""
    old, new = average.state_dict(), model.state_dict()
    for name, value in old.items():
        if value.is_floating_point():
            value.lerp_(new[name], 1 - momentum)
        else:
            value.copy_(new[name])
