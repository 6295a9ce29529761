"""Confidence and features → prototypes → pseudo-labels (paper, section III-B, equations 2–4). Pure.

Everything works on H heads at once. "Unit" features have length 1, so that a product is a cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from engine.errors import RunError
from engine.space.kmeans import kmeans
from engine.stages.clustering import least_size
from engine.stages.decided_labels import FixedLabels

# Entries of a table in memory at a time: 2**24 float32 are 64 MB; and of a table of cosines.
BLOCK_ENTRIES, TABLE_ENTRIES = 2**24, 2**26


@dataclass(frozen=True)
class PseudoLabels:
    """L labelled images for each of H heads.

    Attributes:
        ids: (H, L) int64, places among the M images; an image may occur several times or never.
        labels: (H, L) int64 in 0..K−1.
        kept: (H, L) bool; false where an exclusive assignment gave the image to another cluster, and for
            places that a cluster of unequal size leaves empty.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    kept: torch.Tensor


def softened(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the last dimension, in place, some rows at a time: a table of all images is not made twice."""
    rows = logits.flatten(0, -2)
    for part in rows.split(max(1, BLOCK_ENTRIES // rows.shape[1])):
        part.copy_(part.softmax(1))
    return logits


def confident_images(probabilities: torch.Tensor, count: int) -> torch.Tensor:
    """(H, K, count) int64: for each cluster the `count` images surest to be in it, surest first.

    Args:
        probabilities: (H, M, K), each row sums to 1.
    """
    heads, images, _ = probabilities.shape
    width = max(1, BLOCK_ENTRIES // (heads * images))
    # Some clusters at a time: of each, topk holds the images twice more.
    found = [part.topk(count, dim=1).indices for part in probabilities.split(width, dim=2)]
    return torch.cat(found, 2).transpose(1, 2)


def prototypes_of(unit: torch.Tensor, confident: torch.Tensor) -> torch.Tensor:
    """(H, K, D) of length 1: the mean direction of each cluster's confident images (equation 3).

    Args:
        unit: (M, D) features of length 1, of the clean images.
        confident: (H, K, count) int64.
    """
    width = max(1, TABLE_ENTRIES // (len(confident) * confident.shape[2] * unit.shape[1]))
    return F.normalize(torch.cat([unit[part].mean(2) for part in confident.split(width, dim=1)], 1), dim=2)


def assign(
    unit: torch.Tensor, prototypes: torch.Tensor, count: int | torch.Tensor, *, exclusive: bool = False
) -> PseudoLabels:
    """Each prototype labels the `count` images nearest to it (equation 4).

    An image near two prototypes gets two labels, and one far from all gets none; `exclusive` leaves
    it only the label of the nearest prototype that claims it.

    Args:
        count: of all prototypes, or (H, K) int64, of each.
    """
    most = count if isinstance(count, int) else int(count.max())
    near, ids = _nearest_images(unit, prototypes, most)
    heads, _, clusters = ids.shape
    labels = torch.arange(clusters, device=ids.device).expand_as(ids)
    kept = torch.ones_like(ids, dtype=torch.bool)
    if not isinstance(count, int):
        kept = torch.arange(most, device=ids.device)[:, None] < count[:, None]
    if exclusive:
        kept = _won(ids, near, labels, kept, len(unit))
    # Cluster after cluster: the first `count` entries are cluster 0, nearest first.
    return PseudoLabels(*(x.transpose(1, 2).reshape(heads, -1) for x in (ids, labels, kept)))


def _nearest_images(unit: torch.Tensor, prototypes: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and ids (H, count, K) of the images nearest to each prototype, nearest first; a few prototypes at a
    time, so that there is no (M, K) table of all."""
    width = max(1, TABLE_ENTRIES // (len(prototypes) * len(unit)))
    found = [(unit @ part.transpose(1, 2)).topk(count, dim=1) for part in prototypes.split(width, dim=1)]
    return torch.cat([part.values for part in found], 2), torch.cat([part.indices for part in found], 2)


def _won(ids: torch.Tensor, near: torch.Tensor, labels: torch.Tensor, kept: torch.Tensor, images: int) -> torch.Tensor:
    """(H, n, K) bool: the claims on images `ids` that no nearer prototype has; a tie goes to the lower cluster."""
    heads, _, clusters = ids.shape
    place, cosine = ids.flatten(1), near.masked_fill(~kept, -torch.inf).flatten(1)
    best = cosine.new_full((heads, images), -torch.inf).scatter_reduce(1, place, cosine, "amax")
    stands = kept.flatten(1) & (cosine == best.gather(1, place))
    own = labels.flatten(1)
    lowest = own.new_full((heads, images), clusters).scatter_reduce(
        1, place, own.masked_fill(~stands, clusters), "amin"
    )
    return (stands & (own == lowest.gather(1, place))).view_as(ids)


def compacted(pseudo: PseudoLabels) -> PseudoLabels:
    """The labels that are kept, head by head, as many places as the head with most of them needs.

    With unequal sizes most places are empty: all clusters have as many as the largest.
    """
    order = torch.argsort(pseudo.kept.int(), dim=1, descending=True, stable=True)[:, : int(pseudo.kept.sum(1).max())]
    return PseudoLabels(*(each.gather(1, order) for each in (pseudo.ids, pseudo.labels, pseudo.kept)))


def pseudo_label(
    probabilities: torch.Tensor,
    unit: torch.Tensor,
    center_ratio: float,
    *,
    exclusive: bool = False,
    known: Known | None = None,
    sizes: str = "equal",
) -> tuple[torch.Tensor, torch.Tensor, PseudoLabels]:
    """The E-step on M images: confident images, prototypes and pseudo-labels.

    Args:
        probabilities: (H, M, K) of weak views.
        unit: (M, D) features of length 1, of the clean images.
        center_ratio: share of the images a cluster gets that form its prototype (`forming`).
        known: what a person has said of the images; the labels end with those that are fixed.
        sizes: "equal", or "estimated": each prototype claims `estimated_sizes` instead of M/K.
    """
    claimed = claims_each(probabilities, sizes)
    confident = surest(probabilities, forming(center_ratio, claimed), known)
    prototypes = prototypes_of(unit, confident)
    labels = assign(unit, prototypes, claimed, exclusive=exclusive)
    return confident, prototypes, labels if known is None else corrected(labels, known)


def surest(probabilities: torch.Tensor, count: int, known: Known | None = None) -> torch.Tensor:
    """`confident_images`, as far as a person's decisions do not say otherwise."""
    if known is None or known.silent:
        return confident_images(probabilities, count)
    heads, images, clusters = probabilities.shape
    width = max(1, BLOCK_ENTRIES // (heads * images))
    found = [
        confident_images(informed(probabilities[:, :, start : start + width], known, start), count)
        for start in range(0, clusters, width)
    ]
    return torch.cat(found, 1)


def claims_each(probabilities: torch.Tensor, sizes: str) -> int | torch.Tensor:
    """How many of M images each prototype claims: M/K of "equal" `sizes`, or (H, K) `estimated_sizes`."""
    _, images, clusters = probabilities.shape
    return max(1, images // clusters) if sizes == "equal" else estimated_sizes(probabilities)


def forming(center_ratio: float, claimed: int | torch.Tensor) -> int:
    """How many images form each prototype: a share of what each claims, and, of unequal clusters, of what the
    smallest claims (in the median head): more images than a small class has would blur its prototype.

    >>> forming(0.5, 100), forming(0.5, torch.tensor([[150, 50]]))
    (50, 25)
    """
    least = claimed if isinstance(claimed, int) else int(claimed.amin(1).median())
    return max(1, int(center_ratio * least))


def estimated_sizes(probabilities: torch.Tensor) -> torch.Tensor:
    """(H, K) int64: how many of M images each cluster is likeliest for, but at least a tenth of M/K, so that none
    dies out. Our extension: M/K splits a large class and fills up a small one.

    >>> estimated_sizes(torch.tensor([[[.9, .1], [.8, .2], [.6, .4], [.3, .7]]]))
    tensor([[3, 1]])
    """
    _, images, clusters = probabilities.shape
    labels = probabilities.argmax(2)
    found = labels.new_zeros(len(labels), clusters).scatter_add_(1, labels, torch.ones_like(labels))
    return found.clamp_min(least_size(images, clusters))


def kmeans_belief(
    unit: torch.Tensor, points: np.ndarray, clusters: int, heads: int, seed: int, tries: int = 1
) -> torch.Tensor:
    """(H, M, K): the probabilities given to the heads of round 0 for unit features (M, D).

    Our extension: randomly initialised heads agree on much worse first labels, and the first labels strongly
    influence the last. Each head uses its own k-means on `points` (M, d), the features or a layout of them: the
    best of `tries`. The images of a cluster come first, above 1/2, and then all others, each the nearer it is to
    the cluster's mean direction: a small cluster's prototype is filled up with the images most like it. Only the
    order matters.
    """
    starts = [(seed * heads + head) % 2**32 for head in range(heads)]
    labels = [kmeans(points, clusters, one, starts=tries) for one in starts]
    own = torch.from_numpy(np.stack(labels)).long().to(unit.device)
    member = unit.new_zeros(heads, len(unit), clusters).scatter_(2, own[..., None], 1.0)
    means = F.normalize(member.transpose(1, 2) @ unit, dim=2)
    # In place: these tables may be large. The sum is the same in either order.
    return (unit @ means.transpose(1, 2)).add_(1).div_(2).add_(member).div_(2)


# -- a person's decisions -------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """`FixedLabels` of M images on a device.

    Attributes:
        labels: (M,) int64 in 0..K−1.
        fixed, refused: (M,) bool; the label is right, or wrong. Never both.
        silent: true only if no label of any image is either.
    """

    labels: torch.Tensor
    fixed: torch.Tensor
    refused: torch.Tensor
    silent: bool = False

    @classmethod
    def of(cls, said: FixedLabels, device: torch.device) -> Known:
        arrays = (said.labels, said.mask, said.refused)
        labels, fixed, refused = (torch.from_numpy(np.array(each)).to(device) for each in arrays)
        return cls(labels, fixed, refused, not (said.mask.any() or said.refused.any()))

    def at(self, ids: torch.Tensor) -> Known:
        """What is known of the images `ids` (m,), in their order."""
        return Known(self.labels[ids], self.fixed[ids], self.refused[ids], self.silent)


def informed(probabilities: torch.Tensor, known: Known, first: int = 0) -> torch.Tensor:
    """(H, M, k): probabilities reordered by a person's decisions; only their order matters.

    A decided image comes before all others in its cluster (a softmax reaches 1 in float32, so 1 is not
    enough) and last in every other cluster; a refused image comes last in the cluster it was refused.

    Args:
        probabilities: (H, M, k), of all clusters or of k of them.
        first: the first of these clusters.
    """
    clusters = torch.arange(first, first + probabilities.shape[2], device=probabilities.device)
    own = known.labels[:, None] == clusters
    certain = torch.where(own, 1 + probabilities, -1.0)
    belief = torch.where(known.fixed[:, None], certain, probabilities)
    return belief.masked_fill(known.refused[:, None] & own, -1.0)


def corrected(pseudo: PseudoLabels, known: Known) -> PseudoLabels:
    """Pseudo-labels without the claims that contradict a person's decisions, followed by every decided
    image's own label, once."""
    fixed = known.fixed.nonzero().flatten().expand(len(pseudo.ids), -1)
    wrong = known.refused[pseudo.ids] & (known.labels[pseudo.ids] == pseudo.labels)
    kept = pseudo.kept & ~known.fixed[pseudo.ids] & ~wrong
    return PseudoLabels(
        torch.cat((pseudo.ids, fixed), 1),
        torch.cat((pseudo.labels, known.labels[fixed]), 1),
        torch.cat((kept, known.fixed[fixed]), 1),
    )


# -- labels without some images -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Claims:
    """One head's K prototypes: the images that form them and the n images each claims, as arrays.

    Attributes:
        confident: (K, c) int64, images that form each prototype, surest first.
        prototypes: (K, D) float32 of length 1.
        nearest: (K, n) int64, images that each prototype claims (equation 4), nearest first.
        cosines: (K, n) float32, of `nearest` to their prototype.
        kept: (K, n) bool; false where an exclusive assignment gave the image to another cluster, and beyond
            the size of a cluster that claims fewer.
    """

    confident: np.ndarray
    prototypes: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray
    kept: np.ndarray

    def members(self, cluster: int) -> np.ndarray:
        """(m,) int64: the images that have this cluster's pseudo-label, nearest first."""
        return self.nearest[cluster][self.kept[cluster]]


def claims_of(
    unit: np.ndarray,
    confident: np.ndarray,
    prototypes: np.ndarray,
    nearest: np.ndarray,
    claimed: np.ndarray | None = None,
    *,
    exclusive: bool,
) -> Claims:
    """The claims behind a stage 2's saved arrays.

    Args:
        unit: features (N, D) of length 1.
        claimed: (K,) how many of `nearest` each prototype claims; None for all.
    """
    cosines = own_cosines(unit, prototypes, nearest)
    return Claims(confident, prototypes, nearest, cosines, _kept(nearest, cosines, claimed, exclusive=exclusive))


def _kept(ids: np.ndarray, cosines: np.ndarray, claimed: np.ndarray | None, *, exclusive: bool) -> np.ndarray:
    """(K, n) bool: the claims that stand."""
    within = np.ones(ids.shape, bool) if claimed is None else np.arange(ids.shape[1]) < claimed[:, None]
    if not exclusive:
        return within
    # What is not claimed is farther than any claim, so it wins no image.
    return within & _nearest_claim(ids, np.where(within, cosines, -np.inf))


def own_cosines(unit: np.ndarray, prototypes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(K, n) float32: cosines of the images `ids` (K, n) to the prototype of their row."""
    out = np.empty(ids.shape, np.float32)
    rows = max(1, BLOCK_ENTRIES // max(1, ids.shape[1] * unit.shape[1]))
    for start in range(0, len(ids), rows):  # bounds the (rows, n, D) features in memory
        block = slice(start, start + rows)
        out[block] = (unit[ids[block]] @ prototypes[block, :, None])[..., 0]
    return out


def _nearest_claim(ids: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """(K, n) bool: true where no other row that has the same image is nearer to it."""
    # By image, then nearest first; a tie goes to the lower cluster, as in `assign`.
    order = np.lexsort((np.repeat(np.arange(len(ids)), ids.shape[1]), -cosines.ravel(), ids.ravel()))
    image = ids.ravel()[order]
    first = np.ones(len(order), bool)
    first[1:] = image[1:] != image[:-1]
    kept = np.empty(len(order), bool)
    kept[order] = first
    return kept.reshape(ids.shape)


def claimed_labels(claims: Claims, images: int) -> np.ndarray:
    """(N,) int64: the cluster whose prototype is the nearest of those that claim an image; −1 where
    none does."""
    labels = np.full(images, -1, np.int64)
    won = claims.kept & _nearest_claim(claims.nearest, np.where(claims.kept, claims.cosines, -np.inf))
    labels[claims.nearest[won]] = np.nonzero(won)[0]
    return labels


def without(
    claims: Claims,
    unit: np.ndarray,
    probabilities: np.ndarray,
    vetoed: Mapping[int, np.ndarray],
    claimed: np.ndarray | None = None,
    *,
    exclusive: bool,
) -> Claims:
    """The claims if the images `vetoed[k]` did not help to form prototype k (equations 2–4 again).

    The next most confident images replace the vetoed ones, the prototype becomes their mean, and it claims as
    many images as before. A prototype that loses none of its images is bit-identical.

    Args:
        unit: (N, D) features of length 1.
        probabilities: (N, K), of the head that made the claims.
        claimed, exclusive: as in `claims_of`.

    Raises:
        RunError: when too few images are left to form a prototype.
    """
    confident, prototypes, nearest, cosines = (
        np.array(each) for each in (claims.confident, claims.prototypes, claims.nearest, claims.cosines)
    )
    changed = False
    for cluster, images in vetoed.items():
        if not np.isin(confident[cluster], images).any():
            continue
        changed = True
        confident[cluster] = _replaced(confident[cluster], probabilities[:, cluster], images)
        mean = unit[confident[cluster]].mean(0)
        prototypes[cluster] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        similarity = unit @ prototypes[cluster]
        nearest[cluster] = _largest(similarity, nearest.shape[1])
        cosines[cluster] = similarity[nearest[cluster]]
    if not changed:
        return claims
    return Claims(confident, prototypes, nearest, cosines, _kept(nearest, cosines, claimed, exclusive=exclusive))


def _replaced(confident: np.ndarray, probability: np.ndarray, vetoed: np.ndarray) -> np.ndarray:
    """`confident` (c,) without `vetoed`, filled up with the next surest images.

    Those that stay keep their order: images of equal probability would else change places by chance.
    """
    stays = confident[~np.isin(confident, vetoed)]
    missing = len(confident) - len(stays)
    left = np.array(probability, np.float32)
    left[confident] = left[vetoed] = -1.0
    next_surest = _largest(left, missing)
    if np.any(left[next_surest] < 0):
        raise RunError(
            f"{len(vetoed):,} of {len(probability):,} images are vetoed, but a prototype is formed of "
            f"{len(confident):,}: undo some vetoes"
        )
    return np.concatenate((stays, next_surest))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """(count,) int64: where the largest of `values` (N,) are, the largest first."""
    if count < len(values):
        found = np.argpartition(-values, count)[:count]
        return found[np.argsort(-values[found], kind="stable")]
    return np.argsort(-values, kind="stable")


def margins(unit: np.ndarray, prototypes: np.ndarray, ids: np.ndarray, cluster: int) -> tuple[np.ndarray, np.ndarray]:
    """How much nearer images are to their prototype than to the next one, and which that is.

    Args:
        unit: (N, D) features of length 1.
        prototypes: (K, D), K ≥ 2.
        ids: (m,) images that prototype `cluster` claims.

    Returns:
        (m,) float32, negative where another prototype is nearer, and (m,) int64 clusters.
    """
    margin, other = np.empty(len(ids), np.float32), np.empty(len(ids), np.int64)
    rows = max(1, BLOCK_ENTRIES // max(prototypes.shape))
    for start in range(0, len(ids), rows):  # bounds the (rows, K) cosines in memory
        block = slice(start, start + rows)
        cosines = unit[ids[block]] @ prototypes.T
        own = cosines[:, cluster].copy()
        cosines[:, cluster] = -np.inf
        other[block] = cosines.argmax(1)
        margin[block] = own - cosines.max(1)
    return margin, other
