"""Stage 2: clustering heads trained by prototype pseudo-labelling (paper, section III-B).

The encoder is frozen after stage 1, in eval mode, so features of a view are computed once per E-step and
the heads train on vectors. (The authors keep updating its batch statistics, which costs a network pass
for every step and lets the features drift.)

`learn_heads` calls `Rounds.draw`, `e_step` and `m_step` in turn; to inspect the states in between, call the
same three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engine.config import HeadSettings, RunConfig
from engine.data.batches import ImageBatches
from engine.events import Emit
from engine.space.neighbors import Neighbors, nearest
from engine.space.projection import neighborhoods
from engine.stages.clustering import JUDGES, Clustering, alive, head_agreement, head_scores
from engine.stages.compute import fused
from engine.stages.decided_labels import FixedLabels
from engine.stages.encoder import Adapter, Encoder, Heads, initialise
from engine.stages.features import Features, encode, views_of
from engine.stages.frames import CONFIDENT, Frame, Keep, watch
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.stages.prototypes import (
    BLOCK_ENTRIES,
    Known,
    PseudoLabels,
    claims_each,
    compacted,
    estimated_sizes,
    forming,
    kmeans_belief,
    pseudo_label,
    softened,
    surest,
)

# A layout has clusters far apart, and a single k-means often misses one: .51 to .69 on clothes, the best of ten .69.
LAYOUT_TRIES = 10


@dataclass(frozen=True, eq=False)
class HeadClustering:
    """Stage 2's result.

    Attributes:
        clustering: of the chosen head, on clean images.
        head: the chosen head (H = 1), on the training device.
        chosen: its index.
        losses: (H,) float32, pseudo-label loss of each head on all images.
        head_labels: (H, N) int32, labels by each head.
        prototypes: (K, D) float32 of length 1, of the chosen head.
        confident: (K, c) int64, images that form each prototype, surest first.
        nearest: (K, N/K) int64, images that each prototype claims, nearest first; of unequal clusters as many
            as the largest claims.
        agreement: (H,), `head_agreement` of the labels; None for a single head, or where stage 2 was
            done before and only its arrays were read.
        claimed: (K,) int64, how many of `nearest` each prototype claims; None where that is all of them.
    """

    clustering: Clustering
    head: Heads
    chosen: int
    losses: np.ndarray
    head_labels: np.ndarray
    prototypes: np.ndarray
    confident: np.ndarray
    nearest: np.ndarray
    agreement: np.ndarray | None = None
    claimed: np.ndarray | None = None


def learn_heads(
    config: RunConfig,
    pixels: ImageBatches,
    features: Features,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
    keep: Keep | None = None,
    fixed: FixedLabels | None = None,
    belief: np.ndarray | None = None,
    neighbors: Neighbors | None = None,
) -> HeadClustering:
    """Trains H heads on the frozen features and chooses one without labels. One step is a round:
    an E-step on M images and an M-step of several passes over their pseudo-labels. The heads are judged whenever
    about N images were labelled, as after the authors' epochs, and the best of all rounds is chosen.

    Args:
        fixed: decided labels, which form prototypes and are trained on in every round, whatever the heads
            predict. The probabilities in the result are still the heads' own.
        belief: (N, K) float32, the probabilities used instead of the heads' in round 0.
        neighbors: of the images by their features, where they are known already.
    """
    settings = config.heads
    rounds = Rounds(config, pixels, features, fixed=fixed, belief=belief)
    heads, vectors, known = rounds.heads, rounds.vectors, rounds.known

    def step(index: int) -> Report:
        drawn = rounds.draw(index)
        found = e_step(settings, heads, drawn)
        losses = m_step(settings, heads, rounds.optimiser, drawn, found.labels)
        own = found.belief[losses.argmin()].argmax(1)
        sizes = own.bincount(minlength=config.clusters)
        shown = {"pseudo-label loss": losses.mean()}
        return Report(shown, len(drawn.ids) * settings.passes, tuple(sizes.tolist()))

    judges = None
    if settings.choose == "neighbors":
        judges = neighbors or nearest(features.vectors, JUDGES, device=vectors.device)
    best = Best(settings, heads, vectors, known, judges)
    frames = watch("heads", settings.epochs, lambda done: _frame(done, settings, heads, vectors, known), keep)
    epoch = max(1, len(vectors) // settings.images)

    def look(done: int) -> None:
        frames(done)
        if done == settings.epochs or (done and done % epoch == 0):
            best.consider()

    run_steps(
        "heads",
        settings.epochs,
        step,
        {"heads": heads, "optimiser": rounds.optimiser, "best": best},
        emit=emit,
        stop=stop,
        checkpoint=checkpoint,
        watch=look,
    )
    return _chosen(settings, heads, vectors, known, best.take())


@dataclass(frozen=True, eq=False)
class Round:
    """The images of a round and the features the heads get.

    Attributes:
        ids: (M,) int64, on the CPU.
        unit: (M, D) features of length 1, of the clean images.
        weak, strong: (M, D), features of a weak and of a strong view.
        known: what a person has said of the images.
        belief: (H, M, K), what the heads are made to believe; None where they are asked.
        chance: the round's generator; the views have drawn from it already, the M-step will.
    """

    ids: torch.Tensor
    unit: torch.Tensor
    weak: torch.Tensor
    strong: torch.Tensor
    known: Known
    belief: torch.Tensor | None
    chance: torch.Generator


class Rounds:
    """Shared by the rounds of stage 2: the features, the heads and their optimiser.

    A round depends only on the seed, its number and the state of the heads.
    """

    def __init__(
        self,
        config: RunConfig,
        pixels: ImageBatches,
        features: Features,
        *,
        fixed: FixedLabels | None = None,
        belief: np.ndarray | None = None,
    ) -> None:
        """Heads as they are before the first round; `fixed` and `belief` as in `learn_heads`."""
        self.config, self.pixels, self.encoder = config, pixels, features.encoder
        device = pixels.device
        self.fixed = FixedLabels.none(len(pixels)) if fixed is None else fixed
        self.known = Known.of(self.fixed, device)
        self._first = None if belief is None else torch.from_numpy(belief).to(device)
        self._clean = features.vectors if features.views is None else features.views.clean
        self.vectors = torch.from_numpy(features.vectors).to(device)
        self.heads = Heads(config.heads.heads, self.vectors.shape[1], config.clusters)
        initialise(self.heads, seeded(config.seed, "head weights"))
        self.heads.to(device)
        self.optimiser = torch.optim.Adam(self.heads.parameters(), config.heads.learning_rate, fused=fused(device))

    def draw(self, index: int) -> Round:
        """Images and views of round `index`, counted from 0."""
        seed, device = self.config.seed, self.pixels.device
        chance = seeded(seed, "rounds", index, device)
        ids = _sample(torch.from_numpy(self.fixed.mask), self.config.heads.images, index, seed)
        places = ids.to(device)
        weak, strong = _views(self.config, self.pixels, self.encoder, ids, chance)
        unit = F.normalize(self.vectors[places], dim=1)
        belief = self._told(places, unit) if index == 0 else None
        return Round(ids, unit, weak, strong, self.known.at(places), belief, chance)

    def _told(self, places: torch.Tensor, unit: torch.Tensor) -> torch.Tensor | None:
        """(H, M, K): the probabilities given to the heads in the first round, if any."""
        settings = self.config.heads
        if self._first is not None:
            return self._first[places].expand(settings.heads, -1, -1)
        if settings.start == "random":
            return None
        points, tries = unit.cpu().numpy(), 1
        if settings.start == "neighbors":
            points, tries = neighborhoods(self._clean[places.cpu().numpy()], self.config.seed), LAYOUT_TRIES
        return kmeans_belief(unit, points, self.config.clusters, settings.heads, self.config.seed, tries)


@dataclass(frozen=True, eq=False)
class EStep:
    """The result of an E-step with H heads on M images.

    Attributes:
        belief: (H, M, K) probabilities of the weak views (equation 2's input).
        confident: (H, K, c) int64, places among the M images, surest first.
        prototypes: (H, K, D) of length 1.
        labels: the pseudo-labels that the M-step trains on.
    """

    belief: torch.Tensor
    confident: torch.Tensor
    prototypes: torch.Tensor
    labels: PseudoLabels


@torch.no_grad()
def e_step(settings: HeadSettings, heads: Heads, drawn: Round) -> EStep:
    """The E-step of a round (paper, section III-B): heads → pseudo-labels; changes nothing.

    For each head and cluster, the mean of the most confident images' clean features (equations 2 and 3) is
    the prototype, and the M/K images nearest to it get its label (equation 4).
    """
    belief = softened(heads(drawn.weak)) if drawn.belief is None else drawn.belief
    found = pseudo_label(
        belief, drawn.unit, settings.center_ratio, exclusive=settings.exclusive, known=drawn.known, sizes=settings.sizes
    )
    return EStep(belief, *found)


def m_step(
    settings: HeadSettings, heads: Heads, optimiser: torch.optim.Optimizer, drawn: Round, pseudo: PseudoLabels
) -> torch.Tensor:
    """The M-step of a round (paper, section III-B): pseudo-labels → heads.

    `settings.passes` times over the labels, each head learns those of its own from the strong views.

    Returns:
        (H,): each head's mean loss in the last pass.
    """
    if settings.sizes == "estimated":
        pseudo = compacted(pseudo)
    strong, length = drawn.strong, pseudo.ids.shape[1]
    batch = min(settings.batch, length)
    total = torch.zeros(len(heads), device=strong.device)
    for _ in range(settings.passes):
        order = torch.rand(pseudo.ids.shape, generator=drawn.chance, device=strong.device).argsort(1)
        total.zero_()
        for part in order[:, : length // batch * batch].split(batch, dim=1):
            ids, labels, kept = (x.gather(1, part) for x in (pseudo.ids, pseudo.labels, pseudo.kept))
            loss = head_losses(heads(strong[ids]), labels, kept, settings.double_softmax)
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()  # heads share no weights, so the sum trains each on its own loss
            optimiser.step()
            total += loss.detach()
    return total / (length // batch)


def _sample(fixed: torch.Tensor, most: int, step: int, seed: int) -> torch.Tensor:
    """(M,) int64: the images of an E-step; all of them, in order, where there are no more.

    Those that are `fixed` (N,) come first, up to half of M; further ones only to fill it up.
    """
    images = len(fixed)
    if images <= most:
        return torch.arange(images)
    order = torch.randperm(images, generator=seeded(seed, "images of a round", step))
    own, other = order[fixed[order]], order[~fixed[order]]
    half = most // 2
    return torch.cat((own[:half], other, own[half:]))[:most]


def _views(
    config: RunConfig, pixels: ImageBatches, encoder: Encoder | Adapter, ids: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a weak and of a strong view of images `ids`, two (M, D)."""
    views = views_of(pixels, config.views.weak, config.views.strong)
    weak = encode(encoder, pixels, ids, lambda x: views.weak(x, generator))
    strong = encode(encoder, pixels, ids, lambda x: views.strong(x, generator))
    return weak, strong


def head_losses(logits: torch.Tensor, labels: torch.Tensor, kept: torch.Tensor, double_softmax: bool) -> torch.Tensor:
    """(H,): each head's mean cross-entropy over the labels it kept.

    Args:
        logits: (H, L, K).
        labels, kept: (H, L).
        double_softmax: apply the softmax twice, as the authors' code does; the loss then cannot
            fall below log(e + K − 1) − 1 (1.461 for K = 10).
    """
    scores = logits.softmax(2) if double_softmax else logits
    each = F.cross_entropy(scores.transpose(1, 2), labels, reduction="none")
    return (each * kept).sum(1) / kept.sum(1).clamp_min(1)


class Best:
    """The heads as they were when one of them had the best score so far, of what `settings.choose` asks for.

    By agreement, heads that have lost a cluster are worse than any that have not: they agree more easily.
    """

    def __init__(
        self, settings: HeadSettings, heads: Heads, vectors: torch.Tensor, known: Known, judges: Neighbors | None
    ) -> None:
        self.settings, self.heads, self.vectors, self.known, self.judges = settings, heads, vectors, known, judges
        self._score, self._chosen, self._weights = (0.0, -math.inf), 0, _copied(heads)

    @torch.no_grad()
    def consider(self) -> None:
        """Keeps the heads as they are now unless they were better before; of equals the later."""
        scores = self._scores()
        best = max(range(len(scores)), key=scores.__getitem__)
        if scores[best] >= self._score:
            self._score, self._chosen, self._weights = scores[best], best, _copied(self.heads)

    def take(self) -> int:
        """Puts the best weights back; the index of the head with the best score."""
        self.heads.load_state_dict(self._weights)
        return self._chosen

    def _scores(self) -> list[tuple[float, float]]:
        """How many clusters of each head are `alive` (0 by loss, where all count alike) and its score, the higher the
        better; without what the setting does not ask for."""
        heads = range(len(self.heads))
        if self.settings.choose == "loss":
            unit = F.normalize(self.vectors, dim=1)
            claimed = (claimed_by_head(self.settings, self.heads, n, self.vectors, unit, self.known) for n in heads)
            return [(0.0, -one[0]) for one in claimed]
        # One head's table at a time: it is gone before the next is made.
        labels = torch.stack([self.heads.logits_of(n, self.vectors).argmax(1) for n in heads]).cpu().numpy()
        scores = head_scores(self.settings.choose, labels, self.judges).tolist()
        return list(zip(alive(labels, self.heads.out_bias.shape[2]), scores, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"score": self._score, "chosen": self._chosen, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._score, self._chosen, self._weights = state["score"], state["chosen"], state["weights"]


def _copied(heads: Heads) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in heads.state_dict().items()}


def claimed_by_head(
    settings: HeadSettings, heads: Heads, index: int, vectors: torch.Tensor, unit: torch.Tensor, known: Known
) -> tuple[float, torch.Tensor, torch.Tensor, torch.Tensor, PseudoLabels]:
    """The loss of a head on the pseudo-labels of all images, its labels (N,), and its E-step on them.

    Of all images there is one table (N, K) at a time: the logits are computed again for the loss.
    """
    logits = heads.logits_of(index, vectors)
    own, belief = logits.argmax(1), softened(logits)[None]
    confident, prototypes, labels = pseudo_label(
        belief, unit, settings.center_ratio, exclusive=settings.exclusive, known=known, sizes=settings.sizes
    )
    del logits, belief
    return _loss_of_all(settings, heads.logits_of(index, vectors), labels), own, confident, prototypes, labels


@torch.no_grad()
def _chosen(settings: HeadSettings, heads: Heads, vectors: torch.Tensor, known: Known, chosen: int) -> HeadClustering:
    """What every head makes of all clean images, one at a time, and the head `chosen`."""
    unit = F.normalize(vectors, dim=1)
    results = []
    for index in range(len(heads)):
        loss, own, confident, prototypes, labels = claimed_by_head(settings, heads, index, vectors, unit, known)
        nearest = labels.ids[0, : labels.ids.shape[1] - int(known.fixed.sum())]
        results.append((loss, own.cpu().numpy(), confident[0], prototypes[0], nearest))
    losses = np.array([result[0] for result in results], np.float32)
    head_labels = np.stack([result[1] for result in results])
    agreement = head_agreement(head_labels) if len(heads) > 1 else None
    _, _, confident, prototypes, nearest = results[chosen]
    head = heads.one(chosen)
    del unit
    belief = softened(head.logits_of(0, vectors))  # again: those of all heads would be H tables of N × K
    return HeadClustering(
        clustering=Clustering(belief.cpu().numpy()),
        head=head,
        chosen=chosen,
        losses=losses,
        head_labels=head_labels.astype(np.int32),
        prototypes=prototypes.cpu().numpy(),
        confident=confident.cpu().numpy(),
        nearest=nearest.view(len(prototypes), -1).cpu().numpy(),
        agreement=agreement,
        claimed=None if settings.sizes == "equal" else estimated_sizes(belief[None])[0].cpu().numpy(),
    )


def _loss_of_all(settings: HeadSettings, logits: torch.Tensor, pseudo: PseudoLabels) -> float:
    """A head's mean loss on its pseudo-labels, from its logits (N, K) of all images; some labels at a time."""
    if settings.sizes == "estimated":
        pseudo = compacted(pseudo)
    total, count = logits.new_zeros(()), pseudo.kept.sum().clamp_min(1)
    for ids, labels, kept in zip(
        *(each[0].split(max(1, BLOCK_ENTRIES // logits.shape[1])) for each in (pseudo.ids, pseudo.labels, pseudo.kept)),
        strict=True,
    ):
        loss = head_losses(logits[ids][None], labels[None], kept[None], settings.double_softmax)[0]
        total += loss * (kept.sum().clamp_min(1) / count)
    return float(total)


@torch.no_grad()
def _frame(done: int, settings: HeadSettings, heads: Heads, vectors: torch.Tensor, known: Known) -> Frame:
    """Every head's predictions for all clean images after `done` rounds."""
    found = []
    for index in range(len(heads)):
        belief = softened(heads.logits_of(index, vectors))[None]
        count = forming(settings.center_ratio, claims_each(belief, settings.sizes))
        # As many in every frame, whatever the sizes of its clusters.
        shown = min(CONFIDENT, forming(settings.center_ratio, claims_each(belief, "equal")))
        confident = surest(belief, max(count, shown), known)
        # Equation 3, cluster by cluster: the features of all, scaled, would be a copy of them.
        means = [F.normalize(vectors[ids], dim=1).mean(0) for ids in confident[0, :, :count]]
        prototypes = F.normalize(torch.stack(means), dim=1)
        confidence, labels = belief[0].max(1)
        each = (labels, confidence.half(), prototypes.half(), confident[0, :, :shown].int())
        found.append([x.cpu().numpy() for x in each])
        del belief  # before the next head's is made
    stacked = [np.stack(each) for each in zip(*found, strict=True)]
    return Frame("heads", done, None, stacked[0].astype(np.uint16), *stacked[1:])
