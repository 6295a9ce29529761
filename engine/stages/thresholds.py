"""Four ways to weight an unlabelled image in stage 3 by the confidence of its target.

Each is a module that maps a batch's targets ((M, K) probabilities of weak views) to weights (M,) in 0–1.
Its state is kept in buffers, so that checkpoints contain it.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.config import JointSettings


class FixMatch(nn.Module):
    """An image counts if its confidence reaches the threshold (arXiv 2001.07685, equation 4)."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, target: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
        return (target.amax(1) >= self.threshold).float()


class FlexMatch(nn.Module):
    """Lowers the threshold for clusters with few learned images (arXiv 2110.08263, eq. 5–11).

    The reliable images count as learned from the beginning. FlexMatch begins with none, so that all thresholds are
    0 at first and every guess teaches, which is what a reliable set is there to avoid.
    """

    learned: torch.Tensor

    def __init__(self, threshold: float, clusters: int, reliable: torch.Tensor) -> None:
        """`reliable`: (N,) int64, the label of each reliable image, and `clusters` for every other."""
        super().__init__()
        self.threshold, self.clusters = threshold, clusters
        # The cluster of each image's last confident prediction; `clusters` means none so far.
        self.register_buffer("learned", reliable.clone())

    def forward(self, target: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        confidence, labels = target.max(1)
        counts = torch.zeros(self.clusters + 1, device=target.device)
        counts.index_add_(0, self.learned, torch.ones_like(self.learned, dtype=counts.dtype))
        share = counts[: self.clusters] / counts.amax().clamp_min(1)
        asked = self.threshold * share / (2 - share)
        sure = confidence >= self.threshold
        self.learned[ids] = torch.where(sure, labels, self.learned[ids])
        return (confidence >= asked[labels]).float()


class FreeMatch(nn.Module):
    """The threshold is the model's mean confidence, lower for clusters that it predicts rarely.

    Source: arXiv 2205.07246, equations 5–8; its fairness loss is left out.
    """

    sure: torch.Tensor
    belief: torch.Tensor

    def __init__(self, clusters: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("sure", torch.tensor(1 / clusters))
        self.register_buffer("belief", torch.full((clusters,), 1 / clusters))

    def forward(self, target: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
        confidence, labels = target.max(1)
        self.sure.lerp_(confidence.mean(), 1 - self.momentum)
        self.belief.lerp_(target.mean(0), 1 - self.momentum)
        asked = self.sure * self.belief / self.belief.amax()
        return (confidence >= asked[labels]).float()


class SoftMatch(nn.Module):
    """An image counts fully above the mean confidence and less and less below it.

    Source: arXiv 2301.10921, equations 5–8 with the batch's own variance; its uniform alignment is
    left out.
    """

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, clusters: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.tensor(1 / clusters))
        self.register_buffer("variance", torch.tensor(1.0))

    def forward(self, target: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
        confidence = target.amax(1)
        self.mean.lerp_(confidence.mean(), 1 - self.momentum)
        self.variance.lerp_(confidence.var(correction=0), 1 - self.momentum)
        short = (self.mean - confidence).clamp_min(0)
        return torch.exp(-short.square() / (2 * self.variance.clamp_min(1e-6)))


def thresholds(settings: JointSettings, clusters: int, reliable: torch.Tensor) -> nn.Module:
    """The module that `settings.adapt` names, for labels `reliable` (N,) as in `FlexMatch`."""
    if settings.adapt == "flex":
        return FlexMatch(settings.threshold, clusters, reliable)
    if settings.adapt == "free":
        return FreeMatch(clusters, settings.average)
    if settings.adapt == "soft":
        return SoftMatch(clusters, settings.average)
    return FixMatch(settings.threshold)
