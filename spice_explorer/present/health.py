"""A health report as text, and the tiles of its galleries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.health.health import DUPLICATES, Finding, Health, Problem
from engine.shares import percent
from spice_explorer.palette import cluster_colour
from spice_explorer.present.gallery import Tile

TITLES: dict[Problem, str] = {
    "exact duplicates": "Exact duplicates",
    "near duplicates": "Near duplicates",
    "dark": "Dark",
    "bright": "Bright",
    "blurred": "May be blurred",
    "blank": "Blank",
    "odd aspect": "Odd sides",
    "outliers": "Outliers",
}
MEANING: dict[Problem, str] = {
    "exact duplicates": "Every pixel is the same. Copies get too much weight in training, and count as "
    "each other's neighbours.",
    "near duplicates": "The same picture again: re-encoded, resized, brighter or paler, slightly turned, mirrored, or "
    "cropped to no less than 80\N{NO-BREAK SPACE}% of its sides. Every copy was laid on the best of its group and "
    "compared with it part by part, in colour.",
    "dark": "Almost all pixels are below 25\N{NO-BREAK SPACE}% brightness, darker than usual for this set.",
    "bright": "Almost all pixels are above 75\N{NO-BREAK SPACE}% brightness, brighter than usual for this set.",
    "blurred": "Very little fine detail for its contrast, at the stored size: it may "
    "be out of focus, smeared by motion or scaled up, or show something smooth.",
    "blank": "A single colour with at most a little noise.",
    "odd aspect": "Much more elongated than usual for this set: most of the original lies outside the "
    "central square that is used.",
    "outliers": "Unlike all others in layout, colour or texture: it may be an error, or a rare valid example.",
}
BY_FEATURES = {"near duplicates", "outliers"}
BEST = "best"
# From which difference on near duplicates are described so.
STRICTNESS = (
    (0.0, "Only the same picture: re-encoded, resized, brighter, darker or mirrored."),
    (0.5, "Also cropped, slightly turned and blurred copies."),
    (0.85, "Also new photographs of the same thing at the same place; among them will be a few different things."),
)


@dataclass(frozen=True)
class Count:
    """The size of a finding: `images` in total, of which one click would leave out `open` more."""

    problem: Problem
    images: int
    open: int

    @property
    def label(self) -> str:
        tick = "" if self.open or not self.images else " ✓"
        return f"{TITLES[self.problem]} {self.images:,}{tick}"


def counts(health: Health, kept: np.ndarray) -> list[Count]:
    """The findings that have any image, or would have some if they were less strict; `kept` (N,) bool are those
    that are not left out."""
    return [
        Count(problem, len(found.images), len(leaving(problem, found, kept)))
        for problem, found in health.findings.items()
        if len(found.images) or (problem == "near duplicates" and len(health.near.pairs))
    ]


def leaving(problem: Problem, found: Finding, kept: np.ndarray) -> np.ndarray:
    """(m,) the images that the first button would leave out: of duplicates all but one of each group."""
    return found.extras(kept) if problem in DUPLICATES else found.images[kept[found.images]]


def nothing_found(health: Health) -> str:
    """The findings that have no image, in a sentence; "" where all have some."""
    none = [
        TITLES[one].lower()
        for one, found in health.findings.items()
        if not len(found.images)
        and (one != "odd aspect" or health.aspects)
        and (one != "near duplicates" or not len(health.near.pairs))
    ]
    return f"Nothing found: {', '.join(none)}." if none else ""


def strictness(most: float) -> str:
    """What near duplicates are that differ at most by `most`."""
    return next(text for least, text in reversed(STRICTNESS) if most >= least)


def opened_groups(found: Finding, images: Collection[int]) -> np.ndarray:
    """(g,) the numbers of the groups that hold one of the `images`."""
    return np.unique(found.groups[np.isin(found.images, list(images))])


def in_groups(found: Finding, groups: np.ndarray) -> Finding:
    """The part of a finding that is in these groups (g,)."""
    here = np.isin(found.groups, groups)
    return Finding(found.images[here], found.values[here], found.groups[here])


def beside(found: Finding, image: int) -> list[int]:
    """The other images of an image's group, the best first; none where it is in no group."""
    group = found.groups[found.images == image] if len(found.groups) else found.groups
    return [one for one in found.images[np.isin(found.groups, group)].tolist() if one != image] if len(group) else []


def unseen(health: Health) -> str:
    """A sentence on originals that could not be compared, or ""."""
    count = health.near.unseen
    images = f"{count:,} image{'' if count == 1 else 's'}"
    return f"The originals of {images} are gone: only what the model sees of them was compared." if count else ""


def measured(problem: Problem, value: float) -> str:
    """The measured value of an image, with its unit."""
    if problem == "dark":
        return f"brightest: {value:.0f} of 255"
    if problem == "bright":
        return f"darkest: {value:.0f} of 255"
    if problem == "blank":
        return f"contrast: {value:.1f} of 255"
    if problem == "odd aspect":
        return f"{value:.1f} times as long as wide"
    if problem == "blurred":
        return f"sharpness: {value:.3f}"
    if problem == "outliers":
        return f"{value:.1f} deviations further from its neighbours than usual"
    return (
        f"differs by {value:.2f} from the best of its group" if problem == "near duplicates" else "every pixel the same"
    )


def measured_at(problem: Problem, found: Finding, place: int) -> str:
    """The same of the image at a place of a finding; of near duplicates the best is what others are compared with."""
    if problem == "near duplicates" and _first(found, place):
        return "the best of its group"
    return measured(problem, float(found.values[place]))


def _first(found: Finding, place: int) -> bool:
    """Whether the image at a place is the first, and so the best, of its group of duplicates."""
    return place == 0 or bool(found.groups[place - 1] != found.groups[place])


def tiles(
    problem: Problem, found: Finding, part: slice, names: Sequence[str], reasons: Mapping[int, str]
) -> list[Tile]:
    """A part of a finding's gallery; `reasons` of the images that are left out."""
    return [_tile(problem, found, place, names, reasons) for place in range(len(found.images))[part]]


def _tile(problem: Problem, found: Finding, place: int, names: Sequence[str], reasons: Mapping[int, str]) -> Tile:
    image, lines, caption, colour = int(found.images[place]), [measured_at(problem, found, place)], "", ""
    if problem in DUPLICATES:
        group = int(found.groups[place])
        caption, colour = f"{group + 1}{f' · {BEST}' if _first(found, place) else ''}", cluster_colour(group)
        lines.insert(0, f"group {group + 1}")
    if image in reasons:
        lines.append(f"left out: {reasons[image]}")
        caption = "left out"
    return Tile(names[image], "\n".join([names[image], *lines]), caption, colour)


def left_out_tiles(images: np.ndarray, part: slice, names: Sequence[str], reasons: Mapping[int, str]) -> list[Tile]:
    """The same for the images left out, (m,)."""
    shown = images[part].tolist()
    return [Tile(names[one], f"{names[one]}\nleft out: {reasons[one]}", reasons[one]) for one in shown]


def progress(done: int, total: int) -> tuple[float, str]:
    """The share that is done, and the words beside it."""
    share = min(1.0, done / max(1, total))
    step = ("measuring", "comparing pictures", "looking for outliers")[min(2, int(3 * share))]
    return share, f"Looking at the images: {step} ({percent(share, 0)})"
