"""TURTLE: the labelling that a linear classifier learns with the largest margin, from the paper (arXiv 2406.07236).

A task encoder τ_θ(x) = softmax(θ φ(x)) gives the labels. The inner problem trains a linear classifier w on them, M
steps of gradient descent on the cross-entropy CE(w φ(x); τ_θ(x)), from where the last one ended (warm start) or from
random weights (cold start). The outer problem changes θ so that this classifier, held fixed, does better, and keeps
the clusters from being empty:

    min_θ  mean_x CE(w φ(x); τ_θ(x)) − γ H(mean_x τ_θ(x))

with the entropy H (paper, section 3, equation 12; the gradient is that of first order). Both use Adam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class TurtleSettings:
    """The paper's settings by default; a batch of 10,000 is all images of most sets."""

    gamma: float = 10.0
    outer_steps: int = 6000
    inner_steps: int = 10
    batch: int = 10_000
    learning_rate: float = 1e-3
    warm: bool = False


def turtle(vectors: np.ndarray, clusters: int, seed: int, settings: TurtleSettings) -> np.ndarray:
    """(N,) int64: clusters of vectors (N, D) float32, some of which may be empty.

    The steps are small (Adam, 0.001), so the vectors' scale matters: the mean square of a number is expected to be
    about 1.
    """
    chance = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.pad(np.asarray(vectors, np.float32), ((0, 0), (0, 1)), constant_values=1.0))
    task = _Task(x.shape[1], clusters, chance)
    outer = torch.optim.Adam(task.parameters(), settings.learning_rate)
    inner = _Classifier(x.shape[1], clusters, settings.learning_rate, chance)
    for _ in range(settings.outer_steps):
        part = x
        if settings.batch < len(x):
            part = x[torch.randint(len(x), (settings.batch,), generator=chance)]
        labels = task(part)
        if not settings.warm:
            inner.draw()
        for _ in range(settings.inner_steps):
            inner.step(part, labels.detach())
        loss = turtle_loss(labels, inner.log_probabilities(part), settings.gamma)
        outer.zero_grad()
        loss.backward()
        outer.step()
    with torch.no_grad():
        return task(x).argmax(0).numpy()


def turtle_loss(labels: torch.Tensor, log_probabilities: torch.Tensor, gamma: float) -> torch.Tensor:
    """The outer loss of labels (K, M) and of the classifier's log probabilities (K, M), a scalar."""
    mean = labels.mean(1)
    return -(labels * log_probabilities).sum(0).mean() + gamma * (mean * (mean + TINY).log()).sum()


class _Task(torch.nn.Module):
    """The task encoder: vectors (M, D) → labels (K, M), probabilities; its weights are normalised, with a length each.

    Clusters come before images here, which a CPU prefers.
    """

    def __init__(self, inputs: int, clusters: int, chance: torch.Generator) -> None:
        super().__init__()
        drawn = _drawn(clusters, inputs, chance)
        self.directions = torch.nn.Parameter(drawn)
        self.lengths = torch.nn.Parameter(drawn.norm(dim=1, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.lengths * torch.nn.functional.normalize(self.directions, dim=1)
        return (weights @ x.t()).softmax(0)


def _drawn(clusters: int, inputs: int, chance: torch.Generator) -> torch.Tensor:
    """(K, D), uniform in ±1/√D, as torch draws the weights of a linear layer."""
    return (torch.rand(clusters, inputs, generator=chance) * 2 - 1) / inputs**0.5


class _Classifier:
    """The inner linear classifier w (K, D), trained by Adam with its gradient written out."""

    def __init__(self, inputs: int, clusters: int, learning_rate: float, chance: torch.Generator) -> None:
        self.shape, self.learning_rate, self.chance = (clusters, inputs), learning_rate, chance
        self.draw()

    def draw(self) -> None:
        """Starts from random weights."""
        self.weights = _drawn(*self.shape, self.chance)
        self.moments, self.squares = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.steps = 0

    @torch.no_grad()
    def step(self, x: torch.Tensor, labels: torch.Tensor) -> None:
        """One step on the cross-entropy with `labels` (K, M); its gradient is (softmax(w xᵀ) − labels) x / M."""
        gradient = ((self.weights @ x.t()).softmax(0) - labels) @ x / len(x)
        self.steps += 1
        self.moments.lerp_(gradient, 0.1)
        self.squares.lerp_(gradient.square(), 0.001)
        size = (self.squares / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)
        self.weights -= self.learning_rate * (self.moments / (1 - 0.9**self.steps)) / size

    @torch.no_grad()
    def log_probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """(K, M), without gradient: the classifier is held fixed."""
        return (self.weights @ x.t()).log_softmax(0)
