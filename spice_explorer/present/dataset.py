"""An opened source as numbers, a sample and tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Facts:
    """A source in four numbers."""

    images: int
    size: str
    colours: str
    classes: int | None
    skipped: int


def is_table(path: str) -> bool:
    """Whether the typed path is a table, whose paths may start from another folder."""
    return path.lower().endswith((".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"))


def import_progress(state: str, done: int, total: int) -> tuple[float, str]:
    """The share of an import that is done, and words for it."""
    if not total:
        return 0.0, "Paused" if state == "paused" else "Scanning the source…"
    words = f"{done:,} of {total:,} new images"
    return done / total, f"Paused at {words}" if state == "paused" else f"Reading {words}"


def facts(pixels: np.ndarray, classes: int | None, skipped: int) -> Facts:
    """Facts of pixels (N, C, H, W); `classes` is None without truth."""
    count, channels, height, width = pixels.shape
    colours = "grey" if channels == 1 else "colour"
    return Facts(count, f"{width} × {height}", colours, classes, skipped)


def sample(count: int, most: int, seed: int = 0) -> np.ndarray:
    """At most `most` of `count` images, at random but always the same, in their order."""
    chosen = np.random.default_rng(seed).choice(count, min(count, most), replace=False)
    return np.sort(chosen)


def class_balance(labels: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """One row a class: class, images."""
    counts = np.bincount(labels, minlength=len(names))
    return pd.DataFrame({"class": list(names), "images": counts})


def skipped_table(skipped: list[tuple[str, str]]) -> pd.DataFrame:
    """One row a file that could not be used: file, reason."""
    return pd.DataFrame(skipped, columns=["file", "reason"])
