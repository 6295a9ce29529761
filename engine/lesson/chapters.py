"""The nine steps of a lesson: the figures, the control and the failure example of each.

A step is a function of the run's material. The results for each position of a control are precomputed here by
the same functions that trained the run, for a few values of a setting that include the run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.config import ContrastiveViews
from engine.lesson.bundle import packed
from engine.lesson.failure_trials import spread_of_unit
from engine.lesson.frozen_chapters import CLAIMED, frozen_features, frozen_views
from engine.lesson.interactive import (
    agreement_at,
    by_hand,
    claimed_at,
    confident_at,
    examples,
    judged,
    passing_at,
    prototypes_at,
    quick_to_step,
    rounds,
    seen_views,
    views_at,
    wild,
)
from engine.lesson.run_view import Material
from engine.lesson.step import Step, lacking, step_of
from engine.runs.history import load_frame, load_xrays
from engine.shares import percent

RATIOS = (0.02, 0.1, 0.25, 0.5, 0.8, 0.9, 1.0)
ASKED = (1, 3, 5, 10, 20, 50, 100)
AGREEMENTS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
TAUS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
NEEDS_FEATURES = "Train stage 1 (features) first."
NEEDS_HEADS = "Train stage 2 (heads) first."
# How a run may deviate from the formula of joint training.
ADAPTED = {
    "fixed": "",
    "flex": " In this run clusters that learn slowly get a lower threshold than τ.",
    "free": " In this run τ is the model's average confidence, and lower for clusters that have few images.",
    "soft": " In this run an image of below-average confidence counts less, instead of not at all.",
}
# The variants that use τ itself.
WITH_TAU = ("fixed", "flex")
NEEDS_JOINT = "Train stage 3 (joint training) first."
NEEDS_ADAPTER = "An earlier version trained this run, without stage 3: train a new run on the same vectors to see it."


def chapters(material: Material) -> list[Step]:
    """The nine steps in order. A step whose arrays are missing says which stage to train."""
    steps: Sequence[Callable[[Material], Step]] = (
        problem,
        views,
        features,
        confident,
        prototypes,
        nearest,
        agreement,
        reliable,
        joint,
    )
    return [step(material) for step in steps]


def with_own(values: Sequence[float], own: float) -> tuple[list[float], int]:
    """Values in their order with the run's own in the place of the nearest, and where it is."""
    place = int(np.abs(np.array(values) - own).argmin())
    return [own if index == place else value for index, value in enumerate(values)], place


# -- 1 to 3: images, views, features -----------------------------------------------------------


def problem(material: Material) -> Step:
    count, clusters = len(material.images), material.config.clusters
    chance = np.random.default_rng(material.config.seed)
    places = material.cast.places(chance.permutation(count)[:48])
    return step_of(
        "problem",
        f"Here are {count:,} images without labels: sort those that show the same thing into {clusters} clusters.",
        "xᵢ → yᵢ ∈ {1 … K}",
        show={"places": places, "sizes": None},
    )


def views(material: Material) -> Step:
    if material.config.frozen:
        return frozen_views(material)
    texts = (
        "views",
        f"{_changes(material.config.views.contrastive)} turn an image into views. Every view still "
        "shows the same thing.",
        "xᵢ → t(xᵢ), t′(xᵢ)",
        "paper, section III-A",
    )
    if material.imported:
        return step_of(
            *texts,
            needs="This run uses external vectors, so it made no views of the images: train "
            "stage 1 on the images to see this step.",
        )
    chance = np.random.default_rng(material.config.seed + 1)
    ids = np.sort(chance.permutation(len(material.images))[:6])
    return step_of(
        *texts,
        show={
            "originals": material.cast.places(ids),
            "sprite": seen_views(material, ids, material.config.views.contrastive),
        },
        play=views_at(material, ids),
        wrong=wild(material, ids),
    )


def _changes(settings: ContrastiveViews) -> str:
    """The changes that make a view, such as "Random crops, turns and tone changes"."""
    tone = settings.jitter or settings.grey or settings.gamma
    told = {
        "crops": settings.crop < 1,
        "turns": settings.rotation,
        "shifts": settings.shift,
        "zooms": settings.zoom,
        "mirror images": settings.flip,
        "tone changes": tone,
    }
    *others, last = [words for words, happens in told.items() if happens] or ["changes"]
    return f"Random {', '.join(others)} and {last}" if others else f"Random {last}"


def features(material: Material) -> Step:
    if material.config.frozen:
        return frozen_features(material)
    contrastive = material.config.features.objective in ("simclr", "moco")
    apart = " and to give other images different ones" if contrastive else ""
    texts = (
        "features",
        f"The network learns to give two views of an image nearly the same features{apart}. Similar images "
        "move together.",
        *_objective(material),
    )
    frames = [place for place, (stage, _) in enumerate(material.moments) if stage == "features"]
    if not frames:
        return step_of(*texts, needs=lacking(material, "features", NEEDS_FEATURES))
    first, last = (
        spread_of_unit(np.asarray(load_frame(material.folder, *material.moments[one]).vectors, np.float32))
        for one in (frames[0], frames[-1])
    )
    says = (
        f"Two images are {first:.2f} apart on average (cosine distance) before training and "
        f"{last:.2f} after {material.moments[frames[-1]][1]:,} steps."
    )
    if material.imported:
        says = f"The features are external vectors: two images are {last:.2f} apart on average."
    return step_of(
        *texts, show={"frames": frames, "says": says}, play=_temperatures(material), wrong=_collapse(material)
    )


def _objective(material: Material) -> tuple[str, str]:
    """Formula and source of what stage 1 learns."""
    kind = material.config.features.objective
    if kind == "byol":
        return "ℓ = 2 − 2 · q(zᵢ) · z′ᵢ", "BYOL (arXiv 2006.07733), equation 2"
    if kind == "attract":
        return "ℓ = 2 − 2 · zᵢ · z′ᵢ", ""
    names = {"simclr": "SimCLR (arXiv 2002.05709), equation 1", "moco": "paper, section III-A"}
    return "ℓ = −log( exp(zᵢ·z′ᵢ / T) / Σⱼ exp(zᵢ·zⱼ / T) )", names[kind]


def _temperatures(material: Material) -> dict[str, Any] | None:
    found = material.trials.temperatures
    if found is None:
        return None
    results = []
    for place, value in enumerate(found.values):
        points = material.scattered(found.ids, found.points[place])
        labels = material.placed(found.ids, found.labels[place])
        sure = found.silhouette[place]
        better = "" if np.isnan(sure) else f", and k-means on the features has silhouette {sure:.2f}"
        results.append(
            {
                "frames": None,
                "points": packed(points, "f32"),
                "labels": packed(labels, "u16"),
                "truth": material.truths(found.labels[place], found.ids),
                "says": f"A separate short training with SimCLR at T = {value:g}, on {len(found.ids):,} images: two "
                f"images are {found.spread[place]:.2f} apart on average{better}.",
            }
        )
    settings = material.config.features
    start = int(np.abs(np.log(found.values / settings.temperature)).argmin())
    own = settings.objective == "simclr" and found.values[start] == settings.temperature
    return {
        "name": "temperature",
        "label": "Temperature T of SimCLR",
        "values": found.values.tolist(),
        "start": start,
        "own": bool(own),
        "results": results,
    }


def _collapse(material: Material) -> dict[str, Any] | None:
    found = material.trials.collapse
    if found is None or not found.wrong:
        return None
    before, after, own = (float(one) for one in found.spread)
    return {
        "label": "no negatives, no stop-gradient",
        "says": f"Views are only pulled together: {len(found.ids):,} images end {after:.2f} apart on "
        f"average ({before:.2f} in the untrained network, {own:.2f} in this run). The loss is lowest "
        "when all features are the same.",
        "show": {
            "points": packed(material.scattered(found.ids, found.points), "f32"),
            "spread": [round(before, 6), round(after, 6)],
        },
    }


# -- 4 to 6: confident images, prototypes, pseudo-labels ---------------------------------------


def confident(material: Material) -> Step:
    texts = (
        "confident",
        "Several small classifiers guess; each cluster's most confident images are selected.",
        "Sₖ = the ρ·M/K images with the largest pᵢₖ",
        "paper, section III-B, equation 2",
    )
    if material.heads is None:
        return step_of(*texts, needs=NEEDS_HEADS)

    play = by_hand(material) if quick_to_step(material) else rounds(material)
    return step_of(*texts, show=confident_at(material), play=play, wrong=_poor(material))


def _poor(material: Material) -> dict[str, Any] | None:
    found = material.trials.head
    if found is None or not found.wrong:
        return None
    filled, largest = int((found.sizes > 0).sum()), int(found.sizes.max())
    surest = [found.ids[found.labels == k][: material.shown] for k in range(len(found.sizes))]
    return {
        "label": "a single randomly initialised head that learns too fast",
        "says": f"Only {filled} of {len(found.sizes)} clusters have any image, and the largest has "
        f"{largest:,} of {len(found.ids):,}. Such a head confirms its own first guesses. (Really trained "
        "for a few rounds; the pictures are arbitrary images of each cluster.)",
        "show": {
            "confident": material.cast.rows(surest),
            "confidence": None,
            "sizes": found.sizes.tolist(),
            "truth": material.truths(found.labels, found.ids),
        },
    }


def prototypes(material: Material) -> Step:
    texts = (
        "prototypes",
        "The mean of the confident images' features is the cluster's prototype.",
        "γₖ = (1 / |Sₖ|) · Σ fᵢ,  i ∈ Sₖ",
        "paper, section III-B, equation 3",
    )
    if material.heads is None or material.unit is None:
        return step_of(*texts, needs=NEEDS_HEADS)

    values, start = with_own(RATIOS, material.config.heads.center_ratio)
    results = [prototypes_at(material, value) for value in values]
    play = {
        "name": "center_ratio",
        "label": "Share ρ of a cluster that forms its prototype",
        "values": values,
        "start": start,
        "results": results,
    }
    return step_of(*texts, show=results[start], play=play)


def nearest(material: Material) -> Step:
    texts = ("nearest", *CLAIMED[material.config.heads.sizes], "paper, section III-B, equation 4")
    if material.heads is None or material.unit is None:
        return step_of(*texts, needs=NEEDS_HEADS)

    results = [claimed_at(material, exclusive) for exclusive in (False, True)]
    start = int(material.config.heads.exclusive)
    play = {
        "name": "exclusive",
        "label": "An image near several prototypes gets",
        "values": ["all their labels", "the nearest one's label"],
        "start": start,
        "results": results,
    }
    return step_of(*texts, show=results[start], play=play, wrong=_unbalanced(material))


def _unbalanced(material: Material) -> dict[str, Any] | None:
    found = material.trials.unbalanced
    if found is None or not found.wrong:
        return None
    cluster, before, after = found.cut.tolist()
    given, strangers = found.strangers.tolist()
    half = material.shown
    instead = " This run estimates the sizes instead." if material.config.heads.sizes == "estimated" else ""
    return {
        "label": "one class is rare",
        "says": f"Of the images in this run's cluster {cluster}, {before - after:,} of {before:,} were removed "
        f"(the first {after:,} stay) and stage 2 was trained again. The new cluster {int(found.cluster)} "
        f"contains more of those {after:,} than any other. Its prototype still labels {given:,} images, and "
        f"{strangers:,} of them belong to this run's other clusters. Labelling M/K images for every cluster "
        f"assumes that all classes are the same size.{instead}",
        "show": {
            "claimed": material.cast.rows(np.hstack([found.nearest[:, :half], found.nearest[:, -half:]])),
            "sizes": found.sizes.tolist(),
            "unclaimed": None,
            "twice": None,
        },
    }


# -- 7 to 9: agreement, reliable set, joint training -------------------------------------------


def agreement(material: Material) -> Step:
    texts = (
        "agreement",
        "A label is doubtful if the image's nearest neighbours have another one.",
        "rᵢ = (1 / n) · Σ [yⱼ = yᵢ],  j ∈ the n nearest of i",
        "paper, section III-C, equation 6",
    )
    if material.reliable is None or material.neighbors is None:
        return step_of(*texts, needs=NEEDS_HEADS)

    most = min(material.neighbors.ids.shape[1], len(material.images) - 1)
    counts = sorted({min(int(value), most) for value in (*ASKED, material.asked)})
    own = counts.index(min(material.asked, most))
    results = [agreement_at(material, count) for count in counts]
    play = {"name": "neighbors", "label": "Neighbours compared", "values": counts, "start": own, "results": results}
    show = {"examples": examples(material), "threshold": material.config.reliable.agreement}
    return step_of(*texts, show={**show, **results[own]}, play=play)


def reliable(material: Material) -> Step:
    texts = (
        "reliable",
        "A label is reliable when enough neighbours agree and the head is confident; the others are rejected.",
        "rᵢ ≥ τ_r  and  max pᵢ ≥ τ_c",
        "paper, section III-C",
    )
    if material.reliable is None:
        return step_of(*texts, needs=NEEDS_HEADS)

    settings = material.config.reliable
    values, start = with_own(AGREEMENTS, settings.agreement)
    results = [judged(material, replace(settings, agreement=value)) for value in values]
    play = {
        "name": "agreement",
        "label": f"Agreement threshold (confidence: {percent(settings.confidence, 0)})",
        "values": values,
        "start": start,
        "results": results,
    }
    everything = judged(material, replace(settings, agreement=0.0, confidence=0.0))
    wrong = {
        "label": "thresholds too low",
        "says": "Every label is reliable. " + everything["says"],
        "show": everything,
    }
    return step_of(*texts, show=results[start], play=play, wrong=wrong)


def joint(material: Material) -> Step:
    learners, weak, strong = "Network and head", "the weak view", "the strong view"
    if material.imported:
        learners = "An adapter on the external vectors and the head"
        weak, strong = "the vector itself", "the vector with noise"
    elif material.config.keeps_views:
        learners = "An adapter on the frozen network and the head"
    texts = (
        "joint",
        f"{learners} train together on the reliable images; for the others, a confident prediction "
        f"on {weak} is the label for {strong}.{ADAPTED[material.config.joint.adapt]}",
        "ℓ = [max p(weak) ≥ τ] · H( argmax p(weak), p(strong) )",
        "paper, section III-C; FixMatch (arXiv 2001.07685), equation 4",
    )
    places = [place for place, (stage, _) in enumerate(material.moments) if stage == "joint"]
    if material.folder.lacks_adapter:
        return step_of(*texts, needs=NEEDS_ADAPTER)
    # Wait for the end of the stage: the text describes its end, and half a stage would be mistaken for all of it.
    if not places or "joint" not in material.done:
        return step_of(*texts, needs=lacking(material, "joint", NEEDS_JOINT))

    values, start = with_own(TAUS, material.config.joint.threshold)
    frames = [load_frame(material.folder, *material.moments[one]) for one in places]
    results = [passing_at(material, frames, value) for value in values]
    play = {
        "name": "threshold",
        "label": "Threshold τ",
        "values": values,
        "start": start,
        "own": material.config.joint.adapt in WITH_TAU,
        "results": results,
    }
    everything = passing_at(material, frames, 0.0)
    wrong = {
        "label": "τ = 0",
        "show": everything,
        "says": "Every prediction on a weak view is used as a label. " + everything["says"],
    }
    return step_of(*texts, show={"xray": bool(load_xrays(material.folder)), **results[start]}, play=play, wrong=wrong)
