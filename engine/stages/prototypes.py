"""Confidence and features → prototypes → pseudo-labels (paper, section III-B, equations 2–4). Pure.

Everything works on H heads at once. "Unit" features have length 1, so that a product is a cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class PseudoLabels:
    """L labelled images for each of H heads.

    Attributes:
        ids: (H, L) int64, places among the M images; one may stand there several times, or not.
        labels: (H, L) int64 in 0..K−1.
        kept: (H, L) bool; false where an exclusive assignment gave the image to another cluster.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    kept: torch.Tensor


def confident_images(probabilities: torch.Tensor, count: int) -> torch.Tensor:
    """(H, K, count) int64: for each cluster the `count` images surest to be in it, surest first.

    Args:
        probabilities: (H, M, K), each row sums to 1.
    """
    return probabilities.topk(count, dim=1).indices.transpose(1, 2)


def prototypes_of(unit: torch.Tensor, confident: torch.Tensor) -> torch.Tensor:
    """(H, K, D) of length 1: the mean direction of each cluster's confident images (equation 3).

    Args:
        unit: (M, D) features of length 1, of the clean images.
        confident: (H, K, count) int64.
    """
    return F.normalize(unit[confident].mean(2), dim=2)


def assign(
    unit: torch.Tensor, prototypes: torch.Tensor, count: int, *, exclusive: bool = False
) -> PseudoLabels:
    """Each prototype labels the `count` images nearest to it (equation 4).

    An image near two prototypes gets two labels, and one far from all gets none; `exclusive` leaves
    it only the label of the nearest prototype that claims it.
    """
    similarity = unit @ prototypes.transpose(1, 2)
    ids = similarity.topk(count, dim=1).indices
    heads, _, clusters = ids.shape
    labels = torch.arange(clusters, device=ids.device).expand_as(ids)
    kept = torch.ones_like(ids, dtype=torch.bool)
    if exclusive:
        claimed = torch.full_like(similarity, -torch.inf)
        claimed.scatter_(1, ids, similarity.gather(1, ids))
        winner = claimed.argmax(2)
        kept = winner.gather(1, ids.flatten(1)).view_as(ids) == labels
    # Cluster after cluster: the first `count` entries are cluster 0, nearest first.
    return PseudoLabels(*(x.transpose(1, 2).reshape(heads, -1) for x in (ids, labels, kept)))


def pseudo_label(
    probabilities: torch.Tensor, unit: torch.Tensor, center_ratio: float, *, exclusive: bool = False
) -> tuple[torch.Tensor, torch.Tensor, PseudoLabels]:
    """The E-step on M images: confident images, prototypes and pseudo-labels.

    Args:
        probabilities: (H, M, K) of weak views.
        unit: (M, D) features of length 1, of the clean images.
        center_ratio: share of the M/K images a cluster gets that form its prototype.
    """
    _, images, clusters = probabilities.shape
    each = max(1, images // clusters)
    confident = confident_images(probabilities, max(1, int(center_ratio * each)))
    prototypes = prototypes_of(unit, confident)
    return confident, prototypes, assign(unit, prototypes, each, exclusive=exclusive)
