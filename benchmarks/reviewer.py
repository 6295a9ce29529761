"""A simulated reviewer through the real page: is every figure that the pages state true?

A finished run of drawn photographs, whose labels are imperfect, is reviewed in Chromium: 100 images answered by keys,
the rest spread, the spread undone and repeated, and 100 images answered in the random audit. After each of these, every
figure of which the truth is known is read from the page. Only the reviewer knows the truth; the run has none.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import made_photographs
from benchmarks.browser import Figure, visiting
from benchmarks.decisions import CURATOR
from benchmarks.made import made_kinds, made_run
from benchmarks.pieces import Options
from benchmarks.report import table, write
from benchmarks.reviewer_figures import Reading, rows
from benchmarks.reviewer_pages import MISTAKE_EVERY, Reviewer
from engine.runs.folder import RunFolder

IMAGES, CLASSES, FEATURES, NEIGHBORS = 1_200, 10, 64, 50
SIZE = 480, 360
ANSWERS, AUDIT = 100, 100
KEY_GOAL_MS = 150
SHOWN = f"deep('{CURATOR}')?.dataset.current"
# How unequal the classes are; how far the centres lie from those that the labels follow; how much classes overlap.
UNEQUAL, ASTRAY, BLUR = 0.7, 1.0, 0.8
# The mean share of images that look like those of another class, to the features and to the labels.
MISLEADING = 0.15


def measure(options: Options) -> None:
    """Writes results/reviewer."""
    load, reviews, readings = [os.getloadavg()[0]], list[Reviewer](), list[Reading]()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        runs = _runs(place, options.seeds)
        with visiting(place / "runs", place / "server.log") as bench:
            for seed, run in enumerate(runs):
                reviews.append(Reviewer(bench, run, truth_of(seed)))
                readings += reviewed(reviews[-1])
                bench.another_browser()
                load.append(os.getloadavg()[0])
                wrong = sum(one.covered is False for one in readings)
                print(f"{seed + 1} of {options.seeds} reviewed, {wrong} of {len(readings)} figures wrong", flush=True)
    _report(reviews, readings, load)


def _runs(place: Path, count: int) -> list[RunFolder]:
    """A finished run for each seed, of the same photographs; none knows its truth."""
    files = made_photographs.draw(place / "drawn", size=SIZE)
    made_photographs.link(files, place / "photographs", IMAGES)
    photographs = made_photographs.opened(place / "photographs", files)
    return [
        made_run(
            place / "runs" / f"reviewed{seed}",
            images=IMAGES,
            clusters=CLASSES,
            features=FEATURES,
            neighbors=NEIGHBORS,
            truth=False,
            seed=seed,
            frames=False,
            photographs=photographs,
            unequal=UNEQUAL,
            astray=ASTRAY,
            blur=BLUR,
        )
        for seed in range(count)
    ]


def truth_of(seed: int) -> np.ndarray:
    """(N,) int64: the class of each image of a run. Some look like those of another class: in some classes many."""
    kinds = made_kinds(IMAGES, CLASSES, FEATURES, seed, UNEQUAL)
    rng = np.random.default_rng((seed, 1))
    misleading = rng.uniform(0, 2 * MISLEADING, CLASSES)[kinds.main]
    return np.where(rng.random(IMAGES) < misleading, kinds.other, kinds.main)


def reviewed(one: Reviewer) -> list[Reading]:
    """Everything that is done with one run, and all that was read meanwhile."""
    found = list[Reading]()
    one.begin([f"kind {number}" for number in range(CLASSES)])
    one.answer(ANSWERS)
    after = f"{ANSWERS} answers"
    one.open("curate", SHOWN)
    found += one.accepting(after)
    one.show("Spread")
    found += [*one.counted(after), *one.suggestions(after), *one.on_reliability(after), *one.on_export(after)]
    for after in ("spread", "spread undone", "spread again"):
        one.open("curate", f"deep('{CURATOR}')?.dataset.ready === 'true'")
        one.show("Spread")
        one.undo() if "undone" in after else one.spread()
        found += [*one.counted(after), *one.on_export(after)]
    drawn = f"deep('{CURATOR}')?.dataset.queue === 'audit-0' && deep('{CURATOR}').dataset.current"
    one.open("curate", drawn, "&queue=audit-0")
    one.answer(AUDIT)
    after = f"{AUDIT} random answers"
    one.open("curate", SHOWN)
    found += one.accepting(after)
    one.show("Purity audit")
    found += one.audited(after)
    one.show("Spread")
    found += [*one.counted(after), *one.suggestions(after), *one.on_reliability(after), *one.on_export(after)]
    return found


def _report(reviews: list[Reviewer], readings: list[Reading], load: list[float]) -> None:
    seeds, offers = len(reviews), [offer for one in reviews for offer in one.offers]
    accuracy = [float((one.labels == one.truth).mean()) for one in reviews]
    key_ms = [took for one in reviews for took in one.key_ms]
    keys = Figure("key pressed, answer committed and next image shown", "ms", KEY_GOAL_MS, key_ms, 0.95)
    table_rows = rows(readings)
    right = float(np.mean(offers))
    body = (
        f"{seeds} runs of {IMAGES:,} drawn photographs in {CLASSES} unequal classes; the model is right about "
        f"{100 * min(accuracy):.0f} to {100 * max(accuracy):.0f} % of the images. A simulated reviewer, one of "
        f"{MISTAKE_EVERY} of whose answers is a mistake, answered {ANSWERS} typical images by keys in Chromium, spread "
        f"the suggestions, undid that, spread them again, and answered {AUDIT} images of the random audit. A share is "
        "right if the truth lies within the interval that the page states, which is the goal in nine of ten cases; a "
        "count only if it is exact. “Worst” is the largest distance between what was stated and the truth.\n\n"
        f"{table(['figure', 'stated', 'true', 'worst', 'right', ''], [one.cells() for one in table_rows])}\n\n"
        f"Of {len(offers):,} suggestions beside the image that was shown, which differ from the model's label or are "
        f"surer, {100 * right:.1f} % were right.\n\n"
        f"{table(['', 'median', 'worst', 'times', 'goal', ''], [keys.row()])}\n\n"
        f"Meanwhile the machine had {min(load):.1f} to {max(load):.1f} tasks to run at a time (load average)."
    )
    data: dict[str, Any] = {
        "seeds": seeds,
        "accuracy": accuracy,
        "figures": [{**asdict(one), "met": one.met} for one in table_rows],
        "offers": {"shown": len(offers), "right": right},
        "keys": {**vars(keys), "met": keys.met},
        "load": load,
        # Of counts only what was wrong: hundreds were right.
        "readings": [one.record() for one in readings if one.kind == "share" or not one.covered],
    }
    write("reviewer", "A simulated reviewer: what the pages state, and the truth", data, body)
