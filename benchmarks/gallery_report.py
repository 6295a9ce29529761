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
            table(["", "p50", "p95", "lowest to highest", "times", "goal for p95", ""], rows),
            facts,
            import_text(found["import"]),
            disk_text(found["thumbnails"]),
            load_text(found["load"], found["yardstick"]),
        ]
    )


def about(found: dict[str, Any]) -> str:
    paces, sizes = found["training_steps_a_second"], found["megabytes"]
    return (
        f"The app in Chromium ({WIDTH} × {HEIGHT}), with server and browser on one machine. Meanwhile the built-in "
        f"digits train in the same server, at {min(paces):.0f} to {max(paces):.0f} steps of stage 1 per second. The "
        f"run shown is synthetic: {found['images']:,} images, whose originals are {found['different']} drawn JPEGs of "
        f"12 megapixels ({min(sizes):.1f} to {max(sizes):.1f} MB), each linked under many names. Thumbnails and "
        "addresses are those of the names, so nothing is shared between images; but the system has all files in "
        "memory. Milliseconds are measured in the browser, from the event (a click, a key, a move of the mouse) to the "
        "start of the frame after the one in which the pictures were drawn, decoded. First pictures: at least one of a "
        f"page; whole page: all {PER_PAGE}. A page is one of the list on the Curate page. Those jumped to are random; "
        "a jump is several presses at once of the button for the next page. Under the pointer, the map waits 60 ms "
        "before it asks for a photograph."
    )


def time_row(name: str, values: Sequence[float], goal: float | None) -> list[str]:
    middle, high = np.quantile(values, [0.5, SHARE]).tolist()
    limit = "" if goal is None else f"< {goal:,.0f} ms"
    spread = f"{min(values):,.0f} to {max(values):,.0f} ms"
    return [name, f"{middle:,.0f} ms", f"{high:,.0f} ms", spread, str(len(values)), limit, verdict(goal, high)]


def verdict(goal: float | None, value: float) -> str:
    if goal is None:
        return ""
    return "met" if value < goal else "**missed**"


def import_text(found: dict[str, Any]) -> str:
    """What thumbnails cost an import, pair by pair."""
    ratios, elapsed = (_ratios(found, name) for name in ("", ", elapsed"))
    ratio, seconds = statistics.median(ratios), statistics.median(found["with"])
    return (
        f"Import of {found['images']} of these files: {seconds:.1f} s of processor time with thumbnails, "
        f"{ratio:.2f} times as much as without (median of {len(ratios)} pairs in turn, {min(ratios):.2f} to "
        f"{max(ratios):.2f}); goal ≤ {IMPORT_GOAL:g}: {'met' if ratio <= IMPORT_GOAL else '**missed**'}. It lasted "
        f"{statistics.median(elapsed):.2f} times as long ({min(elapsed):.2f} to {max(elapsed):.2f})."
    )


def _ratios(found: dict[str, Any], name: str) -> list[float]:
    """With thumbnails to without, pair by pair."""
    return [one / other for one, other in zip(found[f"with{name}"], found[f"without{name}"], strict=True)]


def disk_text(found: dict[str, int]) -> str:
    size = found["bytes"] / found["count"] * 1000 / 1e6
    return f"Thumbnails take {size:.1f} MB on disk per 1,000 images ({found['count']:,} were kept)."


def load_text(load: float, yardstick: Sequence[float]) -> str:
    before, after = yardstick
    return (
        f"Load of the machine before the start, averaged over a minute: {load:.2f}. Ten million additions in Python "
        f"took {before:.2f} s before the measurements and {after:.2f} s after them."
    )
