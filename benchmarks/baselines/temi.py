"""TEMI: clustering heads that learn from pairs of neighbours, written from the paper (arXiv 2303.17896).

Pairs (x, x') of an image and one of its nearest neighbours are given to H heads, students q_s, and to their slow
averages, teachers q_t. With w(x, x') = Σ_c q_t(c|x) q_t(c|x'), averaged over the heads, and the teachers' running mean
q̃(c), the loss is the weighted mean of

    −w(x, x') · ½ [log Σ_c (q_s(c|x) q_t(c|x'))^β / q̃(c) + the same with x and x' exchanged].

β < 1 keeps the clusters from being unequal, q̃ keeps them from being empty, and w mutes pairs that seem to be of two
classes (paper, section 3). The labels are the teacher's of the head with the lowest loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.space.neighbors import nearest

# Loss over which heads are compared: of as many steps at the end.
JUDGED_STEPS = 100
TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class TemiSettings:
    """The paper's settings by default, for 50,000 images and more.

    Attributes:
        epochs: passes over the images, if that makes more steps than `least_steps`.
        hidden: width of the heads' hidden layer; 0 for linear heads.
        warmup: share of the steps during which the learning rate rises.
        mean_momentum: of q̃, per step.
    """

    heads: int = 16
    neighbors: int = 50
    beta: float = 0.6
    epochs: int = 100
    least_steps: int = 0
    batch: int = 512
    hidden: int = 512
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup: float = 0.2
    temperature: float = 0.1
    teacher_momentum: float = 0.996
    mean_momentum: float = 0.9

    def steps(self, images: int) -> int:
        return max(self.epochs * max(1, images // self.batch), self.least_steps)


class _Heads(torch.nn.Module):
    """(M, D), vectors of length 1 → log probabilities (H, K, M): clusters before images, which a CPU prefers."""

    def __init__(self, settings: TemiSettings, inputs: int, clusters: int, chance: torch.Generator) -> None:
        super().__init__()
        self.heads, self.temperature = settings.heads, settings.temperature
        first = settings.hidden or clusters
        drawn = torch.randn(settings.heads * first, inputs, generator=chance) / inputs**0.5
        self.weights = torch.nn.ParameterList([drawn])
        self.biases = torch.nn.ParameterList([torch.zeros(settings.heads * first, 1)])
        if settings.hidden:
            self.weights.append(torch.randn(settings.heads, clusters, first, generator=chance) / first**0.5)
            self.biases.append(torch.zeros(settings.heads, clusters, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The first layers of all heads are one product: they have the same input.
        logits = (self.weights[0] @ x.t() + self.biases[0]).view(self.heads, -1, len(x))
        if len(self.weights) > 1:
            logits = self.weights[1] @ torch.relu(logits) + self.biases[1]
        return (logits / self.temperature).log_softmax(1)


def temi(vectors: np.ndarray, clusters: int, seed: int, settings: TemiSettings) -> np.ndarray:
    """(N,) int64: clusters of vectors (N, D) float32, some of which may be empty."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.normalize(torch.from_numpy(np.asarray(vectors, np.float32)), dim=1)
    near = torch.from_numpy(nearest(vectors, settings.neighbors).ids.astype(np.int64))
    students = _Heads(settings, x.shape[1], clusters, chance)
    teachers = _Heads(settings, x.shape[1], clusters, chance).requires_grad_(False)
    teachers.load_state_dict(students.state_dict())
    steps = settings.steps(len(x))
    optimiser = torch.optim.AdamW(students.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / max(1.0, settings.warmup * steps))
    )
    mean, judged = torch.full((settings.heads, clusters, 1), 1 / clusters), torch.zeros(settings.heads)
    for step in range(steps):
        first = torch.randint(len(x), (min(settings.batch, len(x)),), generator=chance)
        second = near[first, torch.randint(near.shape[1], first.shape, generator=chance)]
        losses, mean = _step(students, teachers, x[first], x[second], mean, settings)
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
        schedule.step()
        _follow(teachers, students, settings.teacher_momentum)
        if step >= steps - JUDGED_STEPS:
            judged += losses.detach()
    with torch.no_grad():
        return teachers(x)[judged.argmin()].argmax(0).numpy()


def _step(
    students: _Heads, teachers: _Heads, x: torch.Tensor, y: torch.Tensor, mean: torch.Tensor, settings: TemiSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of the heads (H,) for pairs of rows of x and y, (M, D) each; and the new running mean (H, K, 1)."""
    with torch.no_grad():
        taught_x, taught_y = teachers(x), teachers(y)
        batch = (taught_x.exp().mean(2, keepdim=True) + taught_y.exp().mean(2, keepdim=True)) / 2
        mean = torch.lerp(batch, mean, settings.mean_momentum)
        weight = (taught_x + taught_y).exp().sum(1).mean(0)
    return temi_losses((students(x), students(y)), (taught_x, taught_y), mean, weight, settings.beta), mean


def temi_losses(
    students: tuple[torch.Tensor, torch.Tensor],
    teachers: tuple[torch.Tensor, torch.Tensor],
    mean: torch.Tensor,
    weight: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """(H,): the weighted loss of each head, averaged over the pairs.

    Args:
        students, teachers: log probabilities (H, K, M) of the first and of the second image of each pair.
        mean: probabilities (H, K, 1), the teachers' running mean.
        weight: (M,).
    """
    scale = (mean + TINY).log()
    one = (beta * (students[0] + teachers[1]) - scale).logsumexp(1)
    other = (beta * (students[1] + teachers[0]) - scale).logsumexp(1)
    return -(weight * (one + other) / 2).mean(1)


@torch.no_grad()
def _follow(teachers: _Heads, students: _Heads, momentum: float) -> None:
    for slow, fast in zip(teachers.parameters(), students.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
