"""Colours with a meaning: clusters, run states, verdicts. The same on every page."""

from __future__ import annotations

import json
from pathlib import Path

_SHARED = json.loads((Path(__file__).parents[1] / "assets" / "palette.json").read_text("utf-8"))
# Each colour is as far as possible (in OKLab) from all before it for normal, protanopic and deuteranopic
# sight, and readable on white and on near-black. Lesson and report have them from the same file.
CLUSTERS: tuple[str, ...] = tuple(_SHARED["clusters"])
NOBODY: str = _SHARED["nobody"]

STATES = {
    "new": "#8c8c8c",
    "queued": "#a3a3eb",
    "running": "#0070c2",
    "paused": "#eb9900",
    "stopped": "#8c8c8c",
    "finished": "#00875a",
    "failed": "#c8102e",
    "interrupted": "#eb9900",
}

# In the order of engine.stages.reliable.Verdict.
VERDICTS: tuple[str, ...] = tuple(_SHARED["verdicts"])
# Rising lightness, so that it reads without colour too (viridis without its faint ends).
RAMP = ("#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30")


def cluster_colour(cluster: int) -> str:
    """The colour of a cluster; beyond 24 clusters colours come round again, numbers do not."""
    return CLUSTERS[cluster % len(CLUSTERS)] if cluster >= 0 else NOBODY


def cluster_colours(clusters: int) -> list[str]:
    return [cluster_colour(cluster) for cluster in range(clusters)]


def ramp(steps: int) -> list[str]:
    """`steps` colours from low to high."""
    anchors = [_rgb(colour) for colour in RAMP]
    out = []
    for step in range(steps):
        place = step / max(1, steps - 1) * (len(anchors) - 1)
        low = min(int(place), len(anchors) - 2)
        part = place - low
        mixed = [round(a + (b - a) * part) for a, b in zip(anchors[low], anchors[low + 1], strict=True)]
        out.append("#{:02x}{:02x}{:02x}".format(*mixed))
    return out


def faded(colour: str, opacity: float) -> str:
    """`colour` as rgba with `opacity` 0–1."""
    red, green, blue = _rgb(colour)
    return f"rgba({red},{green},{blue},{opacity})"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
