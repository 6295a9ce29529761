"""Stage 3: trains encoder and head together from the reliable set (paper, section III-C).

FixMatch (arXiv 2001.07685): reliable images train with their labels; for every other image the prediction on
the weak view is the target for the strong view, weighted by its confidence (`thresholds`). Optionally the
reliable set is reselected during training, using the features of joint training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import JointSettings, RunConfig
from engine.data.batches import DeviceImages, ImageBatches
from engine.errors import TrainingError
from engine.events import Emit
from engine.space.neighbors import nearest
from engine.stages.clustering import Clustering
from engine.stages.compute import Losses, Portions, compiled, fused, portion, whole_products
from engine.stages.decided_labels import FixedLabels
from engine.stages.encoder import Adapter, Encoder, Heads, initialise, whole_norms
from engine.stages.features import EpochOrder, Features, encode, views_of
from engine.stages.frames import Frame, Keep, KeepXray, Xray, condensed, watch
from engine.stages.heads import HeadClustering
from engine.stages.joint_probe import images_to_watch, look_through
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.stages.reliable import ReliableSet, neighbor_count, select_reliable
from engine.stages.thresholds import thresholds

# The longest gradient of a model on an adapter; usual ones are shorter. Features of very clear clusters lie in few
# directions, each far from 0: of 300 vectors in 3 clusters with D = 1,500, `quick` went from 1.00 to .33 without it.
MOST_GRADIENT = 2.0
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


class Classifier(nn.Module):
    """Encoder and one head: (M, C, H, W) in 0–1 → logits (M, K); of an adapter, vectors (M, D) → logits."""

    def __init__(self, encoder: Encoder | Adapter, head: Heads) -> None:
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
    pixels: ImageBatches,
    features: Features,
    heads: HeadClustering,
    reliable: ReliableSet,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
    keep: Keep | None = None,
    keep_xray: KeepXray | None = None,
    fixed: FixedLabels | None = None,
) -> JointClustering:
    """Trains from the reliable set, and from what it believes of all others, the extra images of `pixels` among them;
    raises TrainingError if the set is empty.

    Args:
        keep_xray: receives records of a few images at the steps of frames; training is bit-identical
            with it and without.
        fixed: labels that are already in the set, and stay in it when it is reselected.
    """
    if not reliable.mask.any():
        raise TrainingError(
            f"no image is reliable (agreement ≥ {config.reliable.agreement:g}, confidence ≥ "
            f"{config.reliable.confidence:g}): lower one of them, or train stage 2 for longer"
        )
    settings = config.joint
    model = _starting_model(config, features.encoder, heads.head)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    compiled(model, config.compute)
    optimiser, schedule = _optimiser(settings, model)
    weigh = thresholds(settings, config.clusters, _labels_known(reliable, config.clusters, pixels.total)).to(
        pixels.device
    )
    teachers = Teachers(reliable, settings.batch, config.seed)
    lesson = _Lesson(config, pixels, model, weigh, teachers)
    portions = Portions("joint", pixels, emit)

    def step(index: int) -> Report:
        if index in reselections(settings):
            teachers.replace(_reselected(config, pixels, average, fixed))
        report = portions.backward(optimiser, lesson.on(index))
        if isinstance(model.encoder, Adapter):
            nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        optimiser.step()
        schedule.step()
        follow(average, model, settings.average)
        return Report(report, images=lesson.images)

    model.train()
    run_steps(
        "joint",
        settings.steps,
        step,
        {
            "model": model,
            "average": average,
            "optimiser": optimiser,
            "schedule": schedule,
            "thresholds": weigh,
            "teachers": teachers,
            "portions": portions,
        },
        emit=emit,
        stop=stop,
        checkpoint=checkpoint,
        watch=_watching(config, pixels, lesson, average, images_to_watch(reliable, config.seed), keep, keep_xray),
    )
    return JointClustering(average, Clustering(predict(average, pixels)))


def _labels_known(reliable: ReliableSet, clusters: int, images: int) -> torch.Tensor:
    """(images,) int64: the label of each reliable image, `clusters` for every other and for extra ones."""
    known = torch.full((images,), clusters)
    known[: len(reliable.mask)][torch.from_numpy(reliable.mask)] = torch.from_numpy(reliable.labels[reliable.mask])
    return known


def _optimiser(
    settings: JointSettings, model: Classifier
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """SGD with Nesterov's momentum; the rate falls along a cosine (FixMatch, section 2.4). Weight decay is for
    products only: scales and shifts of norms keep theirs, as in the authors' code."""
    norms = [one for layer in model.modules() if isinstance(layer, NORMS) for one in layer.parameters(recurse=False)]
    within = {id(one) for one in norms}
    others = [one for one in model.parameters() if id(one) not in within]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": norms, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(
        groups,
        settings.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=settings.weight_decay,
        fused=fused(next(model.parameters()).device),
    )
    angle = math.acos(settings.ending)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: math.cos(angle * step / settings.steps))
    return optimiser, schedule


def _watching(
    config: RunConfig,
    pixels: ImageBatches,
    lesson: _Lesson,
    average: Classifier,
    watched: np.ndarray,
    keep: Keep | None,
    keep_xray: KeepXray | None,
) -> Callable[[int], None]:
    """Takes frames, and X-rays of the images `watched` where there are pixels to look at."""
    frames = watch("joint", config.joint.steps, lambda done: _frame(done, average, pixels), keep)
    if not isinstance(pixels, DeviceImages):
        return frames
    images = pixels

    def look(done: int) -> Xray:
        now = copy.deepcopy(average)  # it is in eval mode, and never compiled
        now.load_state_dict(lesson.model.state_dict())
        chance = seeded(config.seed, "views looked through", done, pixels.device)
        return look_through(done, now, copy.deepcopy(lesson.weigh), images, watched, config.views, chance)

    xrays = watch("joint", config.joint.steps, look, keep_xray)

    def both(done: int) -> None:
        frames(done)
        xrays(done)

    return both


def reselections(settings: JointSettings) -> range:
    """The steps before which the reliable set is reselected: evenly spread, never the first."""
    period = max(1, settings.steps // (settings.reselect + 1))
    return range(period, period * settings.reselect + 1, period)


def _reselected(config: RunConfig, pixels: ImageBatches, average: Classifier, fixed: FixedLabels | None) -> ReliableSet:
    """The reliable set of the averaged model's labels, judged in its own features."""
    vectors, probabilities = _seen(average, pixels)
    clustering = Clustering(probabilities.cpu().numpy())
    count = neighbor_count(config.reliable, len(pixels), config.clusters)
    neighbors = nearest(vectors.cpu().numpy(), count, device=pixels.device)
    return select_reliable(clustering, neighbors, config.reliable, fixed)


@torch.no_grad()
def _seen(model: Classifier, pixels: ImageBatches) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) and probabilities (N, K) of all clean images."""
    with whole_products(model.encoder):
        vectors = encode(model.encoder, pixels)
    return vectors, model.head(vectors)[0].softmax(1)


def _frame(done: int, average: Classifier, pixels: ImageBatches) -> Frame:
    vectors, probabilities = _seen(average, pixels)
    confidence, labels = probabilities.max(1)
    return Frame(
        "joint",
        done,
        condensed(vectors),
        labels[None].cpu().numpy().astype(np.uint16),
        confidence[None].half().cpu().numpy(),
    )


def predict(model: nn.Module, pixels: ImageBatches) -> np.ndarray:
    """(N, K) float32 probabilities of all clean images."""
    return encode(model, pixels).softmax(1).cpu().numpy()


def _starting_model(config: RunConfig, encoder: Encoder | Adapter, head: Heads) -> Classifier:
    model = Classifier(copy.deepcopy(encoder), copy.deepcopy(head))
    whole_norms(model)
    if config.joint.start == "random":
        initialise(model, seeded(config.seed, "joint weights"))
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
    return model


class Teachers:
    """The reliable images, sampled so that every cluster is equally frequent, regardless of its size."""

    def __init__(self, reliable: ReliableSet, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed
        self.replace(reliable)

    def replace(self, reliable: ReliableSet) -> None:
        """Takes another reliable set, unless it is empty."""
        if reliable.mask.any():
            self._take(torch.from_numpy(reliable.labels), torch.from_numpy(reliable.mask))

    def _take(self, labels: torch.Tensor, mask: torch.Tensor) -> None:
        self.labels, self.mask = labels, mask
        self._ids = mask.nonzero().flatten()
        share = 1 / labels[mask].bincount().clamp_min(1).double()
        self._cumulated = share[labels[mask]].cumsum(0)

    def draw(self, step: int) -> torch.Tensor:
        """(M,) int64: reliable images, drawn with replacement; the same for the same step."""
        drawn = torch.rand(self.batch, generator=seeded(self.seed, "teachers", step), dtype=torch.float64)
        places = torch.searchsorted(self._cumulated, drawn * self._cumulated[-1])
        return self._ids[places.clamp_max(len(self._ids) - 1)]

    def state_dict(self) -> dict[str, Any]:
        return {"labels": self.labels, "mask": self.mask}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._take(state["labels"], state["mask"])


class _Lesson:
    """The two losses of a step: on reliable images, and on all images by their weak views."""

    def __init__(
        self, config: RunConfig, pixels: ImageBatches, model: Classifier, weigh: nn.Module, teachers: Teachers
    ) -> None:
        self.settings, self.views = config.joint, views_of(pixels, config.views.weak, config.views.joint)
        self.pixels, self.model, self.weigh, self.teachers = pixels, model, weigh, teachers
        self.order = EpochOrder(pixels.total, config.joint.batch * config.joint.unlabelled, config.seed)
        self.images = config.joint.batch + 2 * self.order.size

    def on(self, step: int) -> Callable[[int, int], tuple[torch.Tensor, Losses]]:
        """The losses of portion i of n of step `step`."""
        device = self.pixels.device
        taught, other = self.teachers.draw(step), self.order.batch(step)
        batches = [self.pixels.batch(ids) for ids in (taught, other)]
        self.pixels.announce(lambda: self.teachers.draw(step + 1))
        self.pixels.announce(lambda: self.order.batch(step + 1))
        labels, ids = (x.to(device, non_blocking=True) for x in (self.teachers.labels[taught], other))

        def losses(part: int, parts: int) -> tuple[torch.Tensor, Losses]:
            chance = seeded(self.teachers.seed, "joint views", step * parts + part, device)
            own = [portion(x, part, parts) for x in (*batches, labels, ids)]
            return self._losses(own[0], own[1], own[2], own[3], chance)

        return losses

    def _losses(
        self,
        reliable: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
        ids: torch.Tensor,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, Losses]:
        labelled = self.views.weak(reliable, generator)
        strong = self.views.strong(images, generator)
        weak = self.views.weak(images, generator)
        with torch.no_grad():
            target = self.model(weak).softmax(1)
            weights = self.weigh(target, ids)
        logits = self.model(torch.cat((labelled, strong)))
        taught = F.cross_entropy(logits[: len(labels)], labels)
        learned = consistency_loss(logits[len(labels) :], target, weights)
        report = {"reliable loss": taught, "consistency loss": learned, "confident share": weights.mean()}
        return taught + self.settings.weight * learned, report


def consistency_loss(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """FixMatch's unlabelled loss (equation 4), 0-d.

    Args:
        logits: (M, K) of strong views.
        target: (M, K) probabilities of weak views, without gradient.
        weights: (M,) in 0–1, how much each image counts.
    """
    return (F.cross_entropy(logits, target.argmax(1), reduction="none") * weights).mean()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, momentum: float) -> None:
    """Moves `average` towards `model`: weights and batch statistics alike; counters are copied."""
    old, new = average.state_dict(), model.state_dict()
    moving = [name for name, value in old.items() if value.is_floating_point()]
    mean = torch.optim.swa_utils.get_ema_multi_avg_fn(momentum)
    mean([old[name] for name in moving], [new[name] for name in moving], 1)
    for name in old.keys() - set(moving):
        old[name].copy_(new[name])
