"""Are made copies of photographs found as near duplicates, and nothing else?

Of each seed, photographs are drawn from a set, and copies of some of them are made, each by one kind of change. A
pair that is reported but was not made is wrong, unless the set itself holds the same picture twice: these pairs were
looked at by eye, and are named in `same_pictures`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.cifar10_images import NAME as CIFAR10
from benchmarks.cifar10_images import unpacked
from benchmarks.imports import empty_cache
from benchmarks.photo_sets import CLOTHES_PLACE
from benchmarks.pieces import Options, Pieces
from benchmarks.report import spread, table, write
from benchmarks.same_pictures import CIFAR10 as SAME_CIFAR10
from benchmarks.same_pictures import CLOTHES, groups
from engine.errors import SourceError
from engine.health.duplicates import USUAL
from engine.health.health import Health, examine
from engine.health.pictures import look_at
from engine.sources.folders import walk
from engine.sources.open_source import Opened, open_source

# Copies of each kind, of different photographs.
EACH = 20
LIMITS = (0.4, 0.6, USUAL, 1.0, 1.2)
PRECISION_GOAL, RECALL_GOAL = 0.98, 0.90
LONGEST = 240
# A picture and the quality of its JPEG file.
Change = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]
QUALITY = 92


def _cropped(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    width, height = (round(side * share) for side in image.size)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def _resized(image: Image.Image, share: float) -> Image.Image:
    width, height = (max(1, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """By two degrees, cut so that no empty corner is left."""
    image = image.rotate(rng.choice([-2, 2]), Image.Resampling.BICUBIC)
    edge = int(np.ceil(np.sin(np.radians(2)) * max(image.size) / 2))
    return image.crop((edge, edge, image.width - edge, image.height - edge))


def _mixed(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    image = _resized(_cropped(image, rng.uniform(0.85, 1), rng), rng.uniform(0.5, 1))
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.75, 1.25)), int(rng.integers(40, 70))


CHANGES: dict[str, Change] = {
    "cropped to 90 % of the sides": lambda image, rng: (_cropped(image, 0.9, rng), QUALITY),
    "cropped to 80 % of the sides": lambda image, rng: (_cropped(image, 0.8, rng), QUALITY),
    "half the size": lambda image, _: (_resized(image, 0.5), QUALITY),
    "JPEG of quality 40": lambda image, _: (image, 40),
    "brighter, × 1.3": lambda image, _: (ImageEnhance.Brightness(image).enhance(1.3), QUALITY),
    "darker, × 0.6": lambda image, _: (ImageEnhance.Brightness(image).enhance(0.6), QUALITY),
    "more contrast, × 1.4": lambda image, _: (ImageEnhance.Contrast(image).enhance(1.4), QUALITY),
    "less contrast, × 0.6": lambda image, _: (ImageEnhance.Contrast(image).enhance(0.6), QUALITY),
    "turned by 2 degrees": lambda image, rng: (_turned(image, rng), QUALITY),
    "in the mirror": lambda image, _: (ImageOps.mirror(image), QUALITY),
    "cropped to 85–100 %, 50–100 % of the size, brightness × 0.75–1.25, quality 40–70": _mixed,
}


@dataclass(frozen=True)
class PhotoSet:
    """A set of photographs, the side at which it is imported, and how many of it are drawn."""

    name: str
    about: str
    side: int
    drawn: int
    same: tuple[tuple[str, ...], ...]
    root: Callable[[Options], Path]


def _clothes(options: Options) -> Path:
    place = options.clothes or CLOTHES_PLACE
    if not place.is_dir():
        raise SourceError(f"the photographs of clothes are not in {place}: name their folder with --clothes")
    return place


SETS = (
    PhotoSet("clothes", "photographs of clothes (clothing-dataset-small, CC0)", 64, 2000, groups(CLOTHES), _clothes),
    PhotoSet(
        "cifar10",
        f"{CIFAR10}, test images, 32 px",
        32,
        3000,
        groups(SAME_CIFAR10),
        lambda options: unpacked(options) / "test",
    ),
)


def planted(photos: PhotoSet, options: Options, place: Path, seed: int) -> dict[str, tuple[str, str]]:
    """Puts photographs and copies into the folder `place`: what each copy was made of, and how."""
    rng, root = np.random.default_rng(seed), photos.root(options)
    names = sorted(walk(root).files)
    chosen = rng.permutation(names)[: min(photos.drawn, options.images)].tolist()
    place.mkdir()
    for name in chosen:
        shutil.copyfile(root / name, place / Path(name).name.replace(" ", "_"))
    made = {}
    for number, (kind, change) in enumerate(CHANGES.items()):
        for name in chosen[number * EACH : (number + 1) * EACH]:
            with Image.open(root / name) as file:
                image, quality = change(ImageOps.exif_transpose(file).convert("RGB"), rng)
            image.save(place / f"copy-{number:02d}-{Path(name).name}", "JPEG", quality=quality)
            made[f"copy-{number:02d}-{Path(name).name}"] = (Path(name).name, kind)
    return made


def scanned(photos: PhotoSet, options: Options, seed: int) -> dict[str, Any]:
    """What is found of what was made, at each limit; and pairs that were neither made nor known."""
    with empty_cache(), tempfile.TemporaryDirectory() as place:
        made = planted(photos, options, Path(place) / "photos", seed)
        opened = open_source(f"folder:{Path(place) / 'photos'}", size=photos.side)
        began = time.perf_counter()
        health = examine(opened.images, opened.extents, look=look_at(opened))
        assert health is not None
        seconds = time.perf_counter() - began
    found = {f"{limit}": counted(photos, pairs_of(opened, health.at(limit)), made) for limit in LIMITS}
    kinds = [kind for _, kind in made.values()]
    return {
        "images": len(opened.images),
        "seconds": seconds,
        "found": found,
        "made": {k: kinds.count(k) for k in kinds},
    }


def counted(photos: PhotoSet, pairs: list[tuple[str, str]], made: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """How many of the pairs that were found were made, by kind, and which are wrong."""
    right, wrong, same = dict.fromkeys(CHANGES, 0), [], 0
    for one, other in pairs:
        origins = {made.get(name, (name, ""))[0] for name in (one, other)}
        if len(origins) == 1:
            right[made.get(one, made.get(other, ("", "")))[1]] += 1
        elif any(all(name.startswith(group) for name in origins) for group in photos.same):
            same += 1
        else:
            wrong.append([one, other])
    return {"right": right, "wrong": wrong, "same": same}


def pairs_of(opened: Opened, health: Health) -> list[tuple[str, str]]:
    """All pairs of names that are in one group of near duplicates."""
    near, names = health.findings["near duplicates"], opened.images.ids
    found: dict[int, list[str]] = {}
    for image, group in zip(near.images.tolist(), near.groups.tolist(), strict=True):
        found.setdefault(group, []).append(names[image])
    return [pair for group in found.values() for pair in itertools.combinations(sorted(group), 2)]


def precision_and_recall(found: list[dict[str, Any]], limit: float) -> tuple[list[float], list[float]]:
    """Of each seed."""
    precision, recall = [], []
    for one in found:
        counted, made = one["found"][f"{limit}"], sum(one["made"].values())
        right = sum(counted["right"].values())
        precision.append(right / max(1, right + len(counted["wrong"])))
        recall.append(right / made)
    return precision, recall


def measure(options: Options) -> None:
    pieces, results = Pieces("duplicates", options), {}
    for photos in SETS:
        try:
            photos.root(options)
        except SourceError as error:
            print(f"left out: {error}")
            continue
        results[photos.name] = [
            pieces.get(f"{photos.name} {seed}", lambda p=photos, s=seed: scanned(p, options, s), seconds=LONGEST)
            for seed in range(options.seeds)
        ]
    if not results:
        raise SourceError("no photographs: name a folder with --clothes or --data")
    body = "\n\n".join(section(photos, results[photos.name]) for photos in SETS if photos.name in results)
    write("duplicates", "Near duplicates", {"limit": USUAL, "sets": results}, body)


def section(photos: PhotoSet, found: list[dict[str, Any]]) -> str:
    """Two tables of one set: by the kind of change, and by how strict it is."""
    made = {kind: sum(one["made"].get(kind, 0) for one in found) for kind in CHANGES}
    right = {kind: sum(one["found"][f"{USUAL}"]["right"][kind] for one in found) for kind in CHANGES}
    kinds = [[kind, made[kind], right[kind], f"{right[kind] / max(1, made[kind]):.3f}"] for kind in CHANGES]
    rows = []
    for limit in LIMITS:
        precision, recall = precision_and_recall(found, limit)
        wrong = sum(len(one["found"][f"{limit}"]["wrong"]) for one in found)
        chosen = f"**{limit}**" if limit == USUAL else f"{limit}"
        rows.append([chosen, spread(precision), spread(recall), wrong])
    precision, recall = precision_and_recall(found, USUAL)
    met = min(precision) >= PRECISION_GOAL and min(recall) >= RECALL_GOAL
    goal = f"precision ≥ {PRECISION_GOAL} at recall ≥ {RECALL_GOAL}, each seed: {'met' if met else '**missed**'}"
    seconds = spread([one["seconds"] for one in found], 1)
    return "\n\n".join(
        [
            f"## {photos.about}",
            f"{found[0]['images']:,} images a seed, {len(found)} seeds, {EACH} copies of each kind, imported at "
            f"{photos.side} px. Goal: {goal}. A whole health report took {seconds} s, on a busy machine.",
            table(["change", "copies", "found", "recall"], kinds),
            table(["may differ by", "precision", "recall", "wrong pairs"], rows),
            "Mean ± standard deviation (lowest) over seeds. The default is in bold. Pairs that the set itself holds, "
            f"known by eye, count neither way: {sum(one['found'][f'{USUAL}']['same'] for one in found)} were found.",
        ]
    )
