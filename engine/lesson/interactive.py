"""The controls of a lesson: the results of a stage's own functions for each setting.

Each function gives the part of a step's "show" that changes, and under "says" a sentence with its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.config import SCRATCH, ContrastiveViews, ReliableSettings
from engine.lesson.bundle import finite, packed, sprite
from engine.lesson.em_steps import Steps
from engine.lesson.run_view import Material
from engine.runs.history import load_frame
from engine.shares import percent
from engine.space.neighbors import local_agreement
from engine.stages.frames import Frame
from engine.stages.prototypes import Known, claims_of, estimated_sizes, pseudo_label
from engine.stages.reliable import ReliableSet, Verdict, judge
from engine.views import contrastive_view

if TYPE_CHECKING:
    from engine.lesson.em_steps import Half

Result = dict[str, Any]
# Views of an image that are shown.
VIEWS = 8
CROPS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.08, 0.02)
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
STRONGER = ("rotation", "zoom", "shift", "shear", "gamma", "noise")
BINS = 20
# Rounds that are gone through by hand, where all views of all images have no more pixels than this.
ROUNDS, PIXELS = 4, 2**21
# What, instead of the heads, said what to believe in the first round, by `heads.start`.
GUESSED = {
    "kmeans": " The first guesses come from k-means.",
    "neighbors": " The first guesses come from k-means on a map of neighbourhoods.",
}
# Images shown of those that are kept, and of those that are not.
SHOWN = 24


# -- views ---------------------------------------------------------------------------------------


def seen_views(material: Material, ids: np.ndarray, settings: ContrastiveViews) -> Result:
    """A sheet of 8 random views of each image `ids`, image after image."""
    import torch

    pixels = np.repeat(material.images.pixels[ids], VIEWS, 0)
    chance = torch.Generator().manual_seed(material.config.seed)
    views = contrastive_view(torch.from_numpy(pixels).float() / 255, settings, chance)
    return sprite((views * 255).round().clamp(0, 255).byte().numpy(), columns=VIEWS)


def views_at(material: Material, ids: np.ndarray) -> dict[str, Any]:
    """Stronger and weaker views: by their crop where the run crops, else by everything that moves."""
    own = material.config.views.contrastive
    if own.crop < 1:
        start = int(np.abs(np.array(CROPS) - own.crop).argmin())
        values = [own.crop if place == start else value for place, value in enumerate(CROPS)]
        chosen = [replace(own, crop=value) for value in values]
        says = [f"A view keeps at least {percent(value, 0)} of the image's area." for value in values]
        name, label = "crop", "Smallest share of the image in a view"
    else:
        values, start = list(STRENGTHS), STRENGTHS.index(1.0)
        chosen = [_stronger(own, value) for value in values]
        says = [
            f"Rotated by up to {one.rotation:.0f}°, shifted by up to {percent(one.shift, 0)} of the side, zoomed by up "
            f"to {percent(one.zoom, 0)}."
            for one in chosen
        ]
        name, label = "strength", "Strength of the views, 1 is the run's"
    results = [
        {"sprite": seen_views(material, ids, one), "says": words} for one, words in zip(chosen, says, strict=True)
    ]
    return {"name": name, "label": label, "values": values, "start": start, "results": results}


def _stronger(own: ContrastiveViews, factor: float) -> ContrastiveViews:
    limits = {one: ContrastiveViews.__dataclass_fields__[one].metadata["high"] for one in STRONGER}
    return replace(own, **{one: min(getattr(own, one) * factor, most) for one, most in limits.items()})


def wild(material: Material, ids: np.ndarray) -> dict[str, Any]:
    """Views so strong that they change the image's meaning."""
    own = material.config.views.contrastive
    if material.images.channels == 3:
        label, settings = "crops too small", replace(own, crop=0.01)
        says = "A view may keep only 1\N{NO-BREAK SPACE}% of the area, which could be a piece of anything."
    else:
        label, settings = "rotated and mirrored too far", replace(own, rotation=180, flip=0.5)
        says = "Rotated by up to 180° or mirrored, a digit can turn into another one: a 6 looks like a 9."
    return {"label": label, "says": says, "show": {"sprite": seen_views(material, ids, settings)}}


# -- confident images, prototypes, pseudo-labels -----------------------------------------------


def confident_at(material: Material) -> Result:
    """The surest images of each cluster by the chosen head, as stage 2 left them."""
    assert material.heads is not None
    ids = np.asarray(material.heads["confident"])[:, : material.shown]
    belief = np.asarray(material.heads["probabilities"])
    sure = np.take_along_axis(belief.T, ids, 1)
    sizes = np.bincount(belief.argmax(1), minlength=len(ids))
    return _sure(material, ids, sure, sizes, material.config.heads.epochs)


def quick_to_step(material: Material) -> bool:
    """Whether a few rounds of stage 2 can be repeated while a lesson is being built."""
    if material.folder.lacks_adapter:  # an earlier version's stage 2, on other features
        return False
    height, width = material.images.size
    small = material.imported or material.config.encoder.backbone == "small"
    scratch = material.imported or material.config.features.source == SCRATCH
    return small and scratch and len(material.images) * height * width <= PIXELS


def by_hand(material: Material) -> dict[str, Any]:
    """The first rounds of stage 2, one E-step or M-step at a time, followed by its end."""
    steps, values, results = Steps(material.folder), [], []
    while not steps.done and steps.round < ROUNDS:
        half = steps.advance()
        values.append(f"{'E' if half.losses is None else 'M'}-step {half.round + 1}")
        results.append(_halfway(material, half))
    return {
        "name": "step",
        "label": "One E-step or M-step at a time",
        "values": [*values, "the end"],
        "start": len(values),
        "results": [*results, confident_at(material)],
    }


def _halfway(material: Material, half: Half) -> Result:
    """What the head that is chosen in the end does in half a round, and its predictions afterwards."""
    head, now = material.head, half.now
    ids, belief = now.confident[head].cpu().numpy(), now.belief[head].cpu().numpy()
    sure = np.take_along_axis(belief.T, ids, 1)[:, : material.shown]
    sizes = np.bincount(belief.argmax(1), minlength=len(ids))
    places = half.ids[ids[:, : material.shown]]
    given = int(half.found.labels.kept[head].sum())
    guess = GUESSED.get(material.config.heads.start, "") if half.round == 0 else ""
    if half.losses is None:
        says = (
            f"E-step of round {half.round + 1}: the {ids.shape[1]:,} most confident images of each cluster "
            f"form its prototype, and the prototypes give {given:,} labels. No weights change.{guess}"
        )
    else:
        says = (
            f"M-step of round {half.round + 1}: the head learned those {given:,} labels from strong views, "
            f"{material.config.heads.passes} times over; its loss in the last pass is {half.losses[head]:.3f}. "
            "The pictures show its predictions now."
        )
    return {
        "round": half.round + 1,
        "confident": material.cast.rows(places),
        "confidence": [[finite(one) for one in row] for row in sure],
        "sizes": sizes.tolist(),
        "says": says,
    }


def rounds(material: Material) -> dict[str, Any] | None:
    """The surest images at each frame of stage 2; None where it has left none."""
    frames = [load_frame(material.folder, *one) for one in material.moments if one[0] == "heads"]
    if not frames:
        return None
    results = []
    for frame in frames:
        assert frame.labels is not None
        assert frame.confidence is not None
        assert frame.confident is not None
        head, clusters = material.head, material.config.clusters
        labels, confidence = np.asarray(frame.labels[head]), np.asarray(frame.confidence[head], np.float32)
        ids = np.asarray(frame.confident[head])[:, : material.shown]
        # A frame keeps the probability of an image's own cluster only.
        own = labels[ids] == np.arange(clusters)[:, None]
        sure = np.where(own, confidence[ids], np.nan)
        sizes = np.bincount(labels, minlength=clusters)
        results.append(_sure(material, ids, sure, sizes, frame.step))
    return {
        "name": "round",
        "label": "Rounds of E-step and M-step",
        "values": [one.step for one in frames],
        "start": len(frames) - 1,
        "results": results,
    }


def _sure(material: Material, ids: np.ndarray, sure: np.ndarray, sizes: np.ndarray, rounds: int) -> Result:
    filled = int((sizes > 0).sum())
    known = sure[np.isfinite(sure)]
    mean = f"; the head's confidence in the images shown is {percent(float(known.mean()))}" if len(known) else ""
    return {
        "round": rounds,
        "confident": material.cast.rows(ids),
        "confidence": [[finite(one) for one in row] for row in sure],
        "sizes": sizes.tolist(),
        "says": f"After {rounds} round{'' if rounds == 1 else 's'}, {filled} of {len(sizes)} clusters have "
        f"images, from {sizes.min():,} to {sizes.max():,}{mean}.",
    }


def prototypes_at(material: Material, center_ratio: float) -> Result:
    """Prototypes formed from a different share of a cluster's images (equations 2 and 3)."""
    ids, made, _, _ = _labelled(material, center_ratio, material.config.heads.exclusive)
    alike = made @ made.T
    count = ids.shape[1]
    others = alike[~np.eye(len(made), dtype=bool)]
    pure = material.purity(np.repeat(np.arange(len(ids)), count), ids.ravel())
    return {
        "prototypes": material.cast.rows(ids[:, : material.shown]),
        "similarity": packed(alike, "f32"),
        "images_each": count,
        "truth": None if pure is None else {"purity": pure},
        "says": f"{count:,} images form each prototype; the highest cosine between two is {others.max():.2f}.",
    }


def claimed_at(material: Material, exclusive: bool) -> Result:
    """The images that the prototypes label (equation 4); an image may get several labels unless `exclusive`."""
    ids, made, near, claimed = _labelled(material, material.config.heads.center_ratio, exclusive)
    assert material.unit is not None
    claims = claims_of(material.unit, ids, made, near, claimed, exclusive=exclusive)
    within = np.ones(near.shape, bool) if claimed is None else np.arange(near.shape[1]) < claimed[:, None]
    times = np.bincount(near[within], minlength=len(material.images))
    each = f"{near.shape[1]:,}" if claimed is None else f"{claimed.min():,} to {claimed.max():,}"
    members = [claims.members(cluster) for cluster in range(len(near))]
    owners = np.repeat(np.arange(len(near)), [len(one) for one in members])
    given = np.concatenate(members)
    pure = material.purity(owners, given)
    unclaimed, twice, half = int((times == 0).sum()), int((times > 1).sum()), material.shown
    ends = [np.concatenate([one[:half], one[max(half, len(one) - half) :]]) for one in members]
    return {
        "claimed": material.cast.rows(ends),
        "sizes": [len(one) for one in members],
        "unclaimed": unclaimed,
        "twice": twice,
        "truth": None if pure is None else {"purity": pure},
        "says": f"Each of the {len(near)} prototypes claims {each} images: {twice:,} are claimed by "
        f"several, {unclaimed:,} by none; {len(given):,} labels are assigned.",
    }


def _labelled(
    material: Material, center_ratio: float, exclusive: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Confident images (K, c), prototypes (K, D), the images nearest to them (K, n), and how many of these each
    claims (None: all), of the chosen head on all clean images, as stage 2 makes them at its end."""
    import torch

    assert material.heads is not None
    assert material.unit is not None
    belief = torch.from_numpy(np.array(material.heads["probabilities"]))[None]
    known = Known.of(material.folder.fixed(), torch.device("cpu"))
    sizes = material.config.heads.sizes
    ids, made, labels = pseudo_label(
        belief, torch.from_numpy(material.unit), center_ratio, exclusive=exclusive, known=known, sizes=sizes
    )
    near = labels.ids[0, : labels.ids.shape[1] - int(known.fixed.sum())].view(len(made[0]), -1)
    claimed = None if sizes == "equal" else estimated_sizes(belief)[0].numpy()
    return ids[0].numpy(), made[0].numpy(), near.numpy(), claimed


# -- agreement and the reliable set ------------------------------------------------------------


def agreement_at(material: Material, count: int) -> Result:
    """How many images have which share of `count` neighbours on their side (equation 6)."""
    found, settings = material.reliable, material.config.reliable
    assert found is not None
    assert material.neighbors is not None
    shares = local_agreement(found.labels, material.neighbors, count)
    # A share of 1 belongs to the last bin.
    bins = np.minimum((shares * BINS).astype(int), BINS - 1)
    again = judge(found.labels, found.confidence, shares, len(found.thresholds), settings, material.folder.fixed())
    kept = int(again.mask.sum())
    pure = material.purity(found.labels[again.mask], np.flatnonzero(again.mask))
    return {
        "histogram": packed(np.bincount(bins, minlength=BINS), "u32"),
        "kept": kept,
        "truth": None if pure is None else {"purity of those kept": pure},
        "says": f"With {count:,} neighbour{'s' if count > 1 else ''} compared, {percent(float(shares.mean()))} of them "
        f"have the same label on average; {kept:,} of {len(shares):,} images are kept.",
    }


def examples(material: Material) -> list[Result]:
    """A reliable image, one near the threshold, and the one with the lowest agreement."""
    found = material.reliable
    assert found is not None
    assert material.neighbors is not None
    asked = min(material.asked, material.neighbors.ids.shape[1])
    far = np.abs(found.agreement - material.config.reliable.agreement)
    chosen = [
        int(np.where(found.mask, found.agreement, -1).argmax()),
        int(np.where(found.agreement < 1, far, np.inf).argmin()),
        int(found.agreement.argmin()),
    ]
    rows = []
    for image in dict.fromkeys(chosen):
        ids = np.asarray(material.neighbors.ids[image, :asked])
        places, near = material.cast.places(np.array([image])), material.cast.places(ids)
        if not places or len(near) < len(ids):
            continue
        rows.append(
            {
                "example": places[0],
                "neighbours": near,
                "labels": found.labels[ids].tolist(),
                "label": int(found.labels[image]),
                "agreement": finite(found.agreement[image]),
                "confidence": finite(found.confidence[image]),
                "verdict": f"agree: {_verdict(material, found, image)}",
            }
        )
    return rows


def _verdict(material: Material, found: ReliableSet, image: int) -> str:
    if not found.mask[image]:
        return f"rejected, {_why(found.verdicts[image])}"
    relaxed = found.relaxed(material.config.reliable.agreement, material.folder.fixed().mask)[image]
    return "kept by a lowered threshold, not reliable" if relaxed else "reliable"


def _why(verdict: int) -> str:
    return {
        Verdict.NEIGHBORS_DISAGREE: "too few neighbours agree",
        Verdict.NOT_CONFIDENT: "the head is not confident enough",
        Verdict.NEITHER: "too few neighbours agree and the head is not confident enough",
    }[Verdict(int(verdict))]


def judged(material: Material, settings: ReliableSettings) -> Result:
    """The reliable set at other thresholds."""
    own = material.reliable
    assert own is not None
    found = judge(own.labels, own.confidence, own.agreement, len(own.thresholds), settings, material.folder.fixed())
    chance = np.random.default_rng(material.config.seed + 2)
    kept, out = np.flatnonzero(found.mask), np.flatnonzero(~found.mask)
    relaxed = int((found.thresholds < np.float32(settings.agreement)).sum())
    clusters = "1 cluster" if relaxed == 1 else f"{relaxed} clusters"
    floor = (
        f" It was lowered for {clusters}, to keep {percent(settings.floor, 0)} of the images there." if relaxed else ""
    )
    truth = {
        "purity of those kept": material.purity(found.labels[kept], kept),
        "purity of those rejected": material.purity(found.labels[out], out),
    }
    return {
        "kept": len(kept),
        "rejected": len(out),
        "per_cluster": found.per_cluster.tolist(),
        "sizes": found.sizes.tolist(),
        "accepted": material.cast.places(chance.permutation(kept)[:SHOWN]),
        "refused": material.cast.places(chance.permutation(out)[:SHOWN]),
        "truth": None if material.truth is None else truth,
        "says": f"Agreement of {percent(settings.agreement, 0)} and confidence of {percent(settings.confidence, 0)} "
        f"keep {len(kept):,} of {len(found.labels):,} labels.{floor}",
    }


# -- joint training ------------------------------------------------------------------------------


def passing_at(material: Material, frames: Sequence[Frame], threshold: float) -> Result:
    """The share of all images that pass τ in each frame of stage 3, by the averaged model's confidence in
    the image as it is (frames do not keep weak views)."""
    sure = np.stack([np.asarray(one.confidence)[0] for one in frames]).astype(np.float32)
    passes = sure >= np.float32(threshold)
    shares, last = passes.mean(1), passes[-1]
    ids = np.flatnonzero(last)
    same = "" if material.config.joint.adapt == "fixed" else ", and with the same τ for all"
    pure = material.purity(np.asarray(frames[-1].labels)[0][last], ids)
    return {
        "passing": packed(shares, "f32"),
        "threshold": threshold,
        "truth": None if pure is None else {"purity of those that pass": pure},
        "says": f"At τ = {threshold:g}, {percent(float(shares[0]))} of the images pass at the beginning of stage 3 and "
        f"{percent(float(shares[-1]))} at its end (measured on the images themselves, not on views{same}).",
    }
