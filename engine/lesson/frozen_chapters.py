"""The steps of a lesson that are about something else in a run on a frozen network: nothing trains it."""

from __future__ import annotations

import numpy as np

from engine.lesson.bundle import sprite
from engine.lesson.failure_trials import spread_of
from engine.lesson.interactive import VIEWS, Result
from engine.lesson.run_view import Material
from engine.lesson.step import Step, lacking, step_of
from engine.runs.results import learned_from
from engine.views import strong_view, weak_view

# The images that a prototype labels, by `heads.sizes`: sentence and formula.
CLAIMED = {
    "equal": (
        "The M/K images nearest to a prototype get its label, whether or not the head is confident.",
        "yᵢ = k  for the M/K images with the largest fᵢ·γₖ",
    ),
    "estimated": (
        "The images nearest to a prototype get its label, as many as its head finds in that cluster, whether or not "
        "the head is confident. (The paper takes M/K for every prototype.)",
        "yᵢ = k  for the |{i : argmax pᵢ = k}| images with the largest fᵢ·γₖ",
    ),
}
WHY_VIEWS = "Views do not train the network of this run, which is kept as it is: they train what comes after it."
NEEDS_FEATURES = "Train stage 1 (features) first."


def frozen_views(material: Material) -> Step:
    """The weak and the strong views of a few images: of each four. Strong ones are those of stage 2."""
    settings = material.config.features
    kept = (
        f" The network sees {settings.weak_views} weak and {settings.strong_views} strong views of each image once."
        if material.config.keeps_views
        else ""
    )
    chance = np.random.default_rng(material.config.seed + 1)
    ids = np.sort(chance.permutation(len(material.images))[:6])
    return step_of(
        "views",
        f"{WHY_VIEWS}{kept} A weak view, on the left, hardly changes an image; a strong one, on the right, much.",
        "xᵢ → weak(xᵢ), strong(xᵢ)",
        "paper, sections III-B and III-C",
        show={"originals": material.cast.places(ids), "sprite": _weak_and_strong(material, ids)},
    )


def _weak_and_strong(material: Material, ids: np.ndarray) -> Result:
    """A sheet of four weak and four strong views of each image `ids`, image after image."""
    import torch

    views, half = material.config.views, VIEWS // 2
    pixels = torch.from_numpy(np.repeat(material.images.pixels[ids], half, 0)).float() / 255
    chance = torch.Generator().manual_seed(material.config.features.view_seed)
    both = [weak_view(pixels, views.weak, chance), strong_view(pixels, views.strong, chance)]
    sheet = torch.cat([one.view(len(ids), half, *one.shape[1:]) for one in both], 1).flatten(0, 1)
    return sprite((sheet * 255).round().clamp(0, 255).byte().numpy(), columns=VIEWS)


def frozen_features(material: Material) -> Step:
    """What the network learned from before, and how far apart it puts these images."""
    learned = learned_from(material.folder)
    texts = (
        "features",
        "A network that was trained before gives each image its features, and nothing changes it here"
        f"{f' ({learned})' if learned else ''}. Similar images are near each other.",
        "fᵢ = f(xᵢ)",
    )
    frames = [place for place, (stage, _) in enumerate(material.moments) if stage == "features"]
    if not frames or material.unit is None:
        return step_of(*texts, needs=lacking(material, "features", NEEDS_FEATURES))
    says = f"Two images are {spread_of(material.unit):.2f} apart on average (cosine distance)."
    return step_of(*texts, show={"frames": frames, "says": says})
