"""How long a report takes, and how large it is: 60,000 synthetic images, 10 clusters; no network is trained."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.browser import Figure
from benchmarks.made import made_run
from benchmarks.report import table, write
from engine.report.report import write_report

ROUNDS, IMAGES = 3, 60_000
MOST_BYTES = 8e6


def measure() -> None:
    """Writes results/reports."""
    taken = Figure(f"a report on {IMAGES:,} images", "s", 30, [])
    with tempfile.TemporaryDirectory() as place:
        run = made_run(Path(place) / "made", images=IMAGES, features=64, frames=False)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            size = write_report(run, Path(place) / "report.html", overwrite=True)
            taken.values.append(time.perf_counter() - began)
    body = (
        f"{table(['', 'median', 'worst', 'times', 'goal', ''], [taken.row()])}\n\n"
        f"Colour images of 32 × 32 pixels; the file takes {size / 1e6:.1f} MB (goal: < {MOST_BYTES / 1e6:.0f} MB). The "
        "map shows principal components: a UMAP is not counted."
    )
    data = {"figures": [{**vars(taken), "met": taken.met}], "bytes": size, "small": size < MOST_BYTES}
    write("reports", "A report as one file", data, body)
