"""`Labelled`: the images of a run with their labels, as every export format gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from engine.curate.log import DecisionLog
from engine.curate.provenance import NAMES, Provenance
from engine.data.images import ImageSet
from engine.data.origin import Origin
from engine.errors import RunError
from engine.events import Stage
from engine.exports.label_table import exported, model_table, with_decisions
from engine.runs.folder import RunFolder
from engine.runs.results import judged_stage
from engine.runs.snapshot import LIVE, Snapshot
from engine.sources.originals import origin_named, places

if TYPE_CHECKING:
    import pandas as pd

NUMBERED: dict[Stage, str] = {"heads": "stage 2", "joint": "stage 3"}
ONE_CLASS = "class:"
SCOPES = ("reliable", "decided", "all", "selection", f"{ONE_CLASS}NAME")
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Labelled:
    """M images of a run, in its order, none of them excluded once they are `within` a scope.

    Attributes:
        folder: the run.
        images: all N images of the run.
        origin: where their originals are; None where there are none, or nobody knows.
        stage: whose labels the model's are.
        rows: (M,) int64, which of the N images these are.
        table: M rows; see `COLUMNS` of the label table, and `labelled` for what is added.
        numbers: the classes that exist in the run, by number.
        classes: their names.
        home: (K,) the number of the class that each of the model's clusters has become.
        dropped: how many images of the scope a person excluded, or rejected as wrong, by that word.
        notes: sentences for the user.
    """

    folder: RunFolder
    images: ImageSet
    origin: Origin | None
    stage: Stage
    rows: np.ndarray
    table: pd.DataFrame
    numbers: tuple[int, ...]
    classes: tuple[str, ...]
    home: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def codes(self) -> np.ndarray:
        """(M,) int64: the place of each one's class in `classes`."""
        return np.searchsorted(self.numbers, self.table["class"].to_numpy()).astype(np.int64)

    def at(self, chosen: np.ndarray) -> Labelled:
        """The rows that are `chosen` (M,) bool."""
        return replace(self, rows=self.rows[chosen], table=self.table[chosen].reset_index(drop=True))

    def parted(self, parts: np.ndarray, names: Sequence[str]) -> Labelled:
        """With a column "split", the name of each one's part (M,)."""
        return replace(self, table=self.table.assign(split=np.array(names, object)[parts]))

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts that have images, in the order train, validation, test; a single one of no name without a split."""
        if "split" not in self.table:
            return ("",)
        there = set(self.table["split"])
        return tuple(one for one in ("train", "validation", "test") if one in there)

    def within(self, scope: str, selection: np.ndarray | None = None, *, rejected: bool = True) -> Labelled:
        """The images of a scope without those that a person left out.

        Args:
            scope: one of SCOPES.
            selection: (m,) image numbers of the scope "selection".
            rejected: whether images stay whose class a person rejected as wrong.

        Raises:
            RunError: for a scope that there is not, or that has no image.
        """
        asked = self.at(self._asked(scope, selection))
        kept, dropped = exported(asked.table, reliable=scope == "reliable")
        found = asked.at(np.isin(np.arange(len(asked)), kept.index))
        wrong = (found.table["decision"] == "rejected").to_numpy()
        if not rejected and wrong.any():
            dropped["rejected"] = int(wrong.sum())
            found = found.at(~wrong)
        if not len(found):
            words = f" except {dropped_words(dropped)}" if dropped else ""
            raise RunError(
                f"no image of {self.folder.name} is in the scope “{scope}”{words}: choose another one, such as all"
            )
        return replace(found, dropped=dropped)

    def _asked(self, scope: str, selection: np.ndarray | None) -> np.ndarray:
        """(M,) bool."""
        if scope == "all":
            return np.ones(len(self), bool)
        if scope == "reliable":
            return self.table["reliable"].to_numpy(bool)
        if scope == "decided":
            return (self.table["decision"] == "decided").to_numpy(bool)
        if scope == "selection" and selection is not None:
            return np.isin(self.rows, selection)
        if scope.startswith(ONE_CLASS):
            return self.codes == self._class_named(scope.removeprefix(ONE_CLASS))
        raise RunError(f"there is no scope {scope!r} here: expected {', '.join(SCOPES)}")

    def _class_named(self, name: str) -> int:
        if name in self.classes:
            return self.classes.index(name)
        folded = [one.casefold() for one in self.classes]
        if name.casefold() in folded:
            return folded.index(name.casefold())
        raise RunError(f"the run has no class {name!r}: its classes are {', '.join(self.classes[:20])}")


def labelled(folder: RunFolder, snapshot: Snapshot, log: DecisionLog) -> Labelled:
    """All images of a run with the newest labels that have been judged, and everything that people decided about them.

    The table has the columns of `with_decisions`, always, and

        source      who gave the class: stage 2, stage 3, person (seen or bulk) or suggestion (voted)
        decided_at  when the decision was made, in UTC; "" without one
        run, run_id the run's name, and a hash of its images and of when it was made, which copies of it share
        path        the file that the original is, or is in; "" where there is none
        pixels_hash a hash of the pixels that were trained on, after scaling: equal for equal ones

    Raises:
        RunError: before stage 2 is done.
        DecisionError: when the decisions cannot be read.
    """
    stage = judged_stage(folder)
    card, images = folder.card(), folder.images()
    with log.reading() as curation:
        table = with_decisions(model_table(folder, snapshot, stage), curation)
        times, deciding, classes = log.times(), curation.deciding.copy(), curation.classes
        home = curation.home[: card.config.clusters].copy()
    origin = card.origin or origin_named(card.source)
    said = dict(zip(NAMES, (NUMBERED[stage], "suggestion", "person", "person"), strict=True))
    table.insert(5, "source", table["provenance"].map(said))
    decided = table["decision"] != ""
    when = [_moment(times.get(row)) if ok else "" for row, ok in zip(deciding.tolist(), decided, strict=True)]
    table.insert(8, "decided_at", when)
    table["run"], table["run_id"] = folder.name, run_id(folder)
    table["path"] = "" if origin is None else places(origin, images.ids)
    table["pixels_hash"] = _hashes(images.pixels)
    return Labelled(
        folder,
        images,
        origin,
        stage,
        np.arange(len(images)),
        table,
        tuple(one.number for one in classes),
        tuple(one.name for one in classes),
        home,
        notes=(f"the run is still training: these are the labels of {NUMBERED[stage]}",)
        if snapshot.state in LIVE
        else (),
    )


def run_id(folder: RunFolder) -> str:
    """A hash of a run's images and of when it was made."""
    card = folder.card()
    return hashlib.blake2b(f"{card.fingerprint} {card.created!r}".encode(), digest_size=6).hexdigest()


def counts_by_provenance(table: pd.DataFrame) -> dict[str, int]:
    """How many labels each of seen, bulk, voted and model gave, the strongest claim first."""
    counts = table["provenance"].value_counts()
    return {name: int(counts.get(name, 0)) for name in (NAMES[one] for one in sorted(Provenance, reverse=True))}


def dropped_words(counts: dict[str, int]) -> str:
    """ "2 excluded images and 1 images whose class was rejected as wrong"."""
    words = {"excluded": "excluded images", "rejected": "images whose class was rejected as wrong"}
    return " and ".join(f"{count:,} {words[reason]}" for reason, count in counts.items())


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _hashes(pixels: np.ndarray) -> list[str]:
    """Of each image (N, C, H, W): 32 hex digits."""
    found: list[str] = []
    for start in range(0, len(pixels), BLOCK):
        block = np.ascontiguousarray(pixels[start : start + BLOCK])
        found += [hashlib.blake2b(one.data, digest_size=16).hexdigest() for one in block]
    return found
