"""The map of a report: packed points with their class and verdict, and the pictures of a sample."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.data.images import ImageSet
from engine.lesson.bundle import Cast, packed, sprite
from engine.report.labels import Labels, colour_of, palette
from engine.report.pictures import Pictures
from engine.runs.maps import load_map, preview
from engine.terms import REASONS

Kind = Literal["umap", "pca"]
# Places on the map, of each axis.
STEPS = 65_535


def map_of(found: Labels, images: ImageSet, pictures: Pictures) -> dict[str, Any]:
    """What the script of the page draws: JSON-able, with arrays and pictures as `engine.lesson.bundle` packs them.

    Excluded images are not on it. From more than 2,000 images, a sample has pictures and names: of every class as
    large a share as it has of all.
    """
    kind, places = _places(found)
    shown = np.flatnonzero(~found.left_out)
    classes = [one for one in found.curation.classes if (found.classes[shown] == one.number).any()]
    codes = np.searchsorted([one.number for one in classes], found.classes[shown])
    cast = Cast(len(shown))
    cast.fill(codes, found.folder.card().config.seed)
    pictured = shown[cast.ids]
    verdicts = None if found.verdict is None else packed(np.asarray(found.verdict.verdicts)[shown], "u8")
    return {
        "kind": kind,
        "points": packed(_scaled(places[shown]), "u16"),
        "classes": packed(codes, "u16"),
        "legend": [{"name": one.name, "colour": colour_of(one)} for one in classes],
        "verdicts": verdicts,
        "reasons": [
            {"name": name, "colour": colour} for name, colour in zip(REASONS, palette()["verdicts"], strict=True)
        ],
        "pictured": packed(cast.ids, "u32"),
        "names": [images.names[one] for one in pictured.tolist()],
        "sprite": sprite(pictures.squares(pictured)) if len(pictured) else None,
    }


def _places(found: Labels) -> tuple[Kind, np.ndarray]:
    """(N, 2) float32: the UMAP if it has been made, else principal components."""
    made = load_map(found.folder)
    return ("pca", preview(found.folder)) if made is None else ("umap", np.asarray(made))


def _scaled(places: np.ndarray) -> np.ndarray:
    """(M, 2) whole numbers in 0..STEPS, on one scale, in the middle.

    >>> _scaled(np.array([[0, 0], [2, 1]], float)).tolist()
    [[0, 16384], [65535, 49151]]
    """
    if not len(places):
        return np.zeros((0, 2), np.int64)
    low, high = places.min(0), places.max(0)
    unit = (places - (low + high) / 2) / max(float((high - low).max()), 1e-9) + 0.5
    return (unit * STEPS).round().astype(np.int64)
