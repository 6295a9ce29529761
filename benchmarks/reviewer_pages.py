"""A simulated reviewer at the real pages: answers by keys, and reads every figure of which the truth is known."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.browser import Bench
from benchmarks.decisions import CURATOR, answered
from benchmarks.reviewer_figures import Reading, Stated, cell, counts, number, shares, sought
from engine.curate.guidance import held_back
from engine.curate.suggestions import Suggestions, suggested
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, load_strict, newest_stage
from engine.space.vectors import units

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAME = "Ann"
# Every so many answers are a mistake of the reviewer.
MISTAKE_EVERY = 50
LEAST = 0.7  # the confidence that the page proposes
# In the browser: the image that is shown, and the class that is suggested for it.
LOOK = """() => {
  const offer = deep(".curator .suggestion[data-number]");
  return [deep(".curator").dataset.current, offer?.dataset.number ?? ""];
}"""
MAIN = "stMain"
# Words at the beginning of the views of the Curate page.
BEGINS = {"Spread": "Decided:", "Purity audit": "Choose “Random audit” above"}


@dataclass
class Reviewer:
    """A person who knows the truth and keeps an account of all that was done.

    Attributes:
        truth: (N,) the class of each image, which the run does not know.
        said: the class that was answered for each image.
        voted: the class that each image got when suggestions were spread.
        offers: for each suggestion that the page showed whether it was right.
    """

    bench: Bench
    run: RunFolder
    truth: np.ndarray
    said: dict[int, int] = field(default_factory=dict)
    voted: dict[int, int] = field(default_factory=dict)
    offers: list[bool] = field(default_factory=list)
    key_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        stage = newest_stage(self.run)
        assert stage is not None
        verdict = load_strict(self.run, stage)
        self.labels, self.reliable = np.asarray(verdict.labels), verdict.mask
        self.probabilities = np.asarray(self.run.load(stage)["probabilities"])
        self.unit = units(np.asarray(self.run.load("features")["vectors"], np.float32))

    @property
    def page(self) -> Page:
        return self.bench.page

    @property
    def looked(self) -> np.ndarray:
        """(N,) bool: the images that were answered."""
        return _mask(self.said, len(self.truth))

    @property
    def by_vote(self) -> np.ndarray:
        """(N,) bool: those that votes decided."""
        return _mask(self.voted, len(self.truth)) & ~self.looked

    @property
    def classes(self) -> np.ndarray:
        """(N,) the class of each image after all that was done."""
        out = self.labels.copy()
        for some in (self.voted, self.said):
            out[list(some)] = list(some.values())
        return out

    # -- acting --------------------------------------------------------------------------------

    def open(self, where: str, ready: str = "true", more: str = "") -> None:
        self.bench.open(where, self.run.name + more, ready)
        self.bench.settle()

    def begin(self, names: list[str]) -> None:
        """Opens Curate, says who is deciding, and names the classes."""
        self.open("curate", f"deep('{CURATOR}')?.dataset.current", "&queue=typical")
        self.page.get_by_role("textbox", name="Your name").fill(NAME)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function(f"deep('{CURATOR}').dataset.ready === 'true'")
        self.bench.settle()
        self.page.locator(CURATOR).get_by_role("button", name="Rename").click()
        for name in names:
            self.page.keyboard.type(name)
            self.page.keyboard.press("Enter")
        self.page.wait_for_function(f"deep('{CURATOR}').dataset.waiting === '0'")

    def answer(self, count: int) -> None:
        """Answers so many images by key, each as soon as it is shown."""
        self.page.locator(CURATOR).focus()
        for _ in range(count):
            current, offer = self.page.evaluate(LOOK)  # at once: a suggestion may go while it is looked at
            image = int(current)
            if offer:
                self.offers.append(int(offer) == self.truth[image])
            class_ = int(self.truth[image])
            if len(self.said) % MISTAKE_EVERY == MISTAKE_EVERY - 1:
                class_ = (class_ + 1) % 10
            self.key_ms.append(answered(self.bench, str((class_ + 1) % 10)))
            self.said[image] = class_

    def show(self, view: str) -> None:
        self.page.get_by_role("radiogroup").get_by_text(view, exact=True).click()
        self.page.get_by_test_id(MAIN).get_by_text(BEGINS[view]).first.wait_for()
        self.bench.settle()

    def spread(self) -> None:
        """Gives all images their suggestions that are as sure as the page proposes."""
        found, ids = self.to_spread()
        before = self.bench.data(CURATOR, "decided")
        self.page.get_by_role("button", name=f"Give these {len(ids):,} images their classes").click()
        self.page.get_by_text(f"{len(ids):,} images voted.").wait_for()
        self.page.wait_for_function(f"deep('{CURATOR}').dataset.decided !== {json.dumps(before)}")
        self.voted = dict(zip(ids.tolist(), found.labels[ids].tolist(), strict=True))

    def undo(self) -> None:
        """Undoes the last action by key."""
        self.page.locator(CURATOR).focus()
        self.page.keyboard.press("u")
        self.page.wait_for_function(f"deep('{CURATOR}').dataset.decided === '{len(self.said)}'")
        self.page.wait_for_timeout(2000)  # the page hears of it a little later
        self.bench.settle()
        self.voted = {}

    def to_spread(self) -> tuple[Suggestions, np.ndarray]:
        """What Spread suggests for all images, and the undecided ones that are sure enough."""
        log = decision_log(self.run)
        try:
            now, names = log.curation, self.run.images().ids
            held = held_back(now.classes_of(self.labels).astype(np.int64), now.seen, names)
            found = suggested(self.unit, self.probabilities, now, self.labels, untold=held)
        finally:
            log.close()
        assert found is not None
        left = ~self.looked & ~self.by_vote
        return found, np.flatnonzero(left & (found.confidence >= LEAST))

    def text(self) -> str:
        return self.page.get_by_test_id(MAIN).inner_text()

    # -- reading -------------------------------------------------------------------------------

    def counted(self, after: str) -> Iterator[Reading]:
        """The counts below the curator and on Spread."""
        want = {"seen": int(self.looked.sum()), "voted": int(self.by_vote.sum())}
        said = {"Curate, the bar": self.page.locator(f"{CURATOR} .tally").text_content() or ""}
        said["Curate, Spread"] = sought(r"Decided: ([^.]*)\.", self.text())[0]
        for where, text in said.items():
            found = counts(text)
            for name, true in want.items():
                yield Reading(f"{after}: {where}: {name}", "count", found.get(name, 0), true)
            strange = sum(count for name, count in found.items() if name not in want)
            yield Reading(f"{after}: {where}: others", "count", strange, 0)

    def suggestions(self, after: str) -> Iterator[Reading]:
        """What Spread says about the suggestions."""
        text, (found, ids) = self.text(), self.to_spread()
        where = f"{after}: Spread"
        sure, left = sought(r"([\d,]+) of ([\d,]+) undecided images have a suggestion this sure", text)
        yield Reading(f"{where}: suggestions this sure", "count", number(sure), len(ids))
        yield Reading(f"{where}: undecided", "count", number(left), int((~self.looked & ~self.by_vote).sum()))
        changed = number(sought(r"([\d,]+) of them would get another class", text)[0])
        yield Reading(f"{where}: changed", "count", changed, int((found.labels[ids] != self.classes[ids]).sum()))
        others = ~self.looked & (found.confidence >= LEAST)
        if "not known yet" in text:
            true = float((found.labels == self.truth)[ids].mean())
            expected = float(sought(r"classifier itself expects ([\d.]+)\s*%", text)[0]) / 100
            yield Reading(f"{where}: accuracy that the classifier expects", "share", expected, true)
            right = number(sought(r"the model about ([\d,]+);", text)[0])
            same = sum(int(self.labels[image]) == class_ for image, class_ in self.said.items())
            yield Reading(f"{where}: the model's right labels of those looked at", "count", right, same)
            return
        stated = shares(sought(r"(Of all images you did not look at.*random answers)", text)[0])
        for name, one, labels in zip(("suggestions", "the model"), stated, (found.labels, self.labels), strict=True):
            yield _share(f"{where}: {name}, right where suggestions are sure", one, (labels == self.truth)[others])

    def measured(self, where: str, text: str) -> Iterator[Reading]:
        """The measured share of the reliable labels, or the counts that take its place."""
        stated = shares(text)
        if stated:
            yield _share(f"{where}: reliable labels right", stated[0], (self.labels == self.truth)[self.reliable])
            return
        known = [image for image in self.said if self.reliable[image]]
        right, total = sought(r"([\d,]+) of the ([\d,]+) that you looked at are right", text)
        same = sum(int(self.labels[image]) == self.said[image] for image in known)
        yield Reading(f"{where}: reliable labels looked at", "count", number(total), len(known))
        yield Reading(f"{where}: of these right", "count", number(right), same)

    def accepting(self, after: str) -> Iterator[Reading]:
        """The Accept button of the first class, and the sentence below it."""
        label = self.page.get_by_role("button", name="Accept reliable").inner_text()
        ids = (self.classes == 0) & ~self.looked & ~self.by_vote & self.reliable
        shown = number(sought(r"Accept reliable ([\d,]+)", label)[0])
        yield Reading(f"{after}: Accept button: images", "count", shown, int(ids.sum()))
        stated = shares(label)
        if stated:
            right = (self.labels == self.truth)[self.reliable]
            yield _share(f"{after}: Accept button: reliable labels right", stated[0], right)
        text = self.text()
        if "Of all reliable labels" in text:
            sentence = sought(r"(Of all reliable labels,[^\n]*)", text)[0]
            yield from self.measured(f"{after}: below the Accept button", sentence)

    def audited(self, after: str) -> Iterator[Reading]:
        """The table of the purity audit, and the sentence above it."""
        self.page.locator("[data-testid=stDataFrame] [role=gridcell]").first.wait_for(state="attached")
        rows = self.page.locator("[data-testid=stDataFrame] [role=grid] tbody tr")
        for class_, row in enumerate(rows.all()):
            cells = row.locator("[role=gridcell]").all_text_contents()
            own = self.classes == class_
            yield Reading(f"{after}: Purity audit: images of a class", "count", number(cells[1]), int(own.sum()))
            stated = cell(cells[2])
            if stated:
                right = (self.classes == self.truth)[own & ~self.looked]
                yield _share(f"{after}: Purity audit: labels of a class not looked at", stated, right)
        (stated,) = shares(sought(r"(Of all labels that nobody looked at,[^\n]*)", self.text())[0])
        right = (self.classes == self.truth)[~self.looked]
        yield _share(f"{after}: Purity audit: all labels not looked at", stated, right)

    def on_reliability(self, after: str) -> Iterator[Reading]:
        self.open("reliability", "deep('.plane [data-count]') || deep('.plane')")
        shown = self.page.get_by_text(re.compile("Of the reliable labels|Estimated purity of the reliable")).first
        shown.wait_for()
        text = shown.inner_text()
        if text.startswith("Estimated"):
            estimate = Stated(float(sought(r"([\d.]+)\s*%", text)[0]) / 100)
            right = (self.labels == self.truth)[self.reliable]
            yield _share(f"{after}: Reliability: purity, estimated without answers", estimate, right)
        else:
            yield from self.measured(f"{after}: Reliability", text)
        label = self.page.get_by_role("radio", name="Reliable (").inner_text()
        count = number(sought(r"\(([\d,]+)\)", label)[0])
        yield Reading(f"{after}: Reliability: reliable labels", "count", count, int(self.reliable.sum()))

    def on_export(self, after: str) -> Iterator[Reading]:
        """The figures and the downloaded table."""
        self.open("export")
        button = self.page.get_by_role("button", name="rows as CSV")
        button.wait_for()
        self.bench.settle()
        said = self.page.get_by_text("reliable labels,").first
        if said.count():
            yield from self.measured(f"{after}: Export", said.inner_text())
        want = {
            "Images": len(self.truth),
            "Reliable": int((self.looked | (self.reliable & (self.classes == self.labels))).sum()),
            "Classes with images": len(np.unique(self.classes)),
        }
        for name, true in want.items():
            box = self.page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue")
            yield Reading(f"{after}: Export: {name}", "count", number(box.first.inner_text()), true)
        with self.page.expect_download() as waiting:
            button.click()
        yield from self._table(f"{after}: CSV", pd.read_csv(io.BytesIO(Path(waiting.value.path()).read_bytes())))

    def _table(self, where: str, table: pd.DataFrame) -> Iterator[Reading]:
        gave = table["provenance"].value_counts()
        seen, voted = int(self.looked.sum()), int(self.by_vote.sum())
        want = {"seen": seen, "bulk": 0, "voted": voted, "model": len(self.truth) - seen - voted}
        for name, true in want.items():
            yield Reading(f"{where}: {name}", "count", int(gave.get(name, 0)), true)
        same = int((table["class"].to_numpy() == self.classes).sum())
        yield Reading(f"{where}: rows with the class that was decided", "count", same, len(self.truth))


def _mask(some: dict[int, int], count: int) -> np.ndarray:
    out = np.zeros(count, bool)
    out[list(some)] = True
    return out


def _share(figure: str, stated: Stated, right: np.ndarray) -> Reading:
    return Reading(figure, "share", stated.share, float(right.mean()), stated.low, stated.high)
