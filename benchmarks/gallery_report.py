"""The text of the benchmark `gallery`, with its goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.browser import HEIGHT, WIDTH
from benchmarks.report import table

# Upper limits: milliseconds, which the quantile SHARE has to keep, and the cost of an import with thumbnails as a
# share of that without.
FIRST_GOAL, NEXT_GOAL, ORIGINAL_GOAL, HOVER_GOAL = 700.0, 400.0, 400.0, 100.0
SHARE = 0.95
IMPORT_GOAL = 1.15
PER_PAGE = 60


def report_body(found: dict[str, Any]) -> str:
    """The whole text, from what `measure` has found."""
    rows = [time_row(one["name"], one["values"], one["goal"]) for one in found["figures"]]
    facts = "\n".join(f"- {name}: {value}" for name, value in found["facts"].items())
    return "\n\n".join(
        [
            about(found),
            table(["", "p50", "p95", "times", "goal for p95", ""], rows),
            facts,
            import_text(found["import"]),
            disk_text(found["thumbnails"]),
        ]
    )


def about(found: dict[str, Any]) -> str:
    paces, sizes = found["training_steps_a_second"], found["megabytes"]
    return (
        f"The app in Chromium ({WIDTH} × {HEIGHT}), with server and browser on one machine. Meanwhile the built-in "
        f"digits train in the same server, at {min(paces):.0f} to {max(paces):.0f} steps of stage 1 per second. The "
        f"run shown is synthetic: {found['images']:,} images, whose originals are {found['different']} drawn JPEGs of "
        f"12 megapixels ({min(sizes):.1f} to {max(sizes):.1f} MB) under different names, so the system has all files "
        "in memory. Milliseconds are measured in the browser, from the event to the frame after the result is drawn. "
        f"A page is one of {PER_PAGE} images on the Curate page; those jumped to are chosen at random."
    )


def time_row(name: str, values: Sequence[float], goal: float | None) -> list[str]:
    middle, high = np.quantile(values, [0.5, SHARE]).tolist()
    limit = "" if goal is None else f"< {goal:,.0f} ms"
    return [name, f"{middle:,.0f} ms", f"{high:,.0f} ms", str(len(values)), limit, verdict(goal, high)]


def verdict(goal: float | None, value: float) -> str:
    if goal is None:
        return ""
    return "met" if value < goal else "**missed**"


def import_text(found: dict[str, Any]) -> str:
    """What thumbnails cost an import, pair by pair."""
    ratios = [one / other for one, other in zip(found["with"], found["without"], strict=True)]
    ratio, seconds = statistics.median(ratios), statistics.median(found["with"])
    return (
        f"Import of {found['images']} of these files: {seconds:.1f} s of processor time with thumbnails, "
        f"{ratio:.2f} times as much as without (median of {len(ratios)} pairs in turn, {min(ratios):.2f} to "
        f"{max(ratios):.2f}); goal ≤ {IMPORT_GOAL:g}: {'met' if ratio <= IMPORT_GOAL else '**missed**'}."
    )


def disk_text(found: dict[str, int]) -> str:
    size = found["bytes"] / found["count"] * 1000 / 1e6
    return f"Thumbnails take {size:.1f} MB on disk per 1,000 images ({found['count']:,} were kept)."
