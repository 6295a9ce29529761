"""Labels that come back: what a person changed in another tool becomes decisions, previewed first, undone as one.

Only what differs from the run's labels as they are now becomes a decision. An image that was decided here after the
labels had left is a conflict: nothing is done about it unless that is asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.provenance import Provenance
from engine.errors import DecisionError, RunError
from engine.exports.labelled import Labelled, run_id
from engine.formats.identity import Spelt
from engine.runs.folder import RunFolder
from engine.runs.results import judged_stage, load_strict

# What the log calls a program that brings labels back; a time follows.
VISIT = "import-labels "
SHOWN = 5


@dataclass(frozen=True)
class Answer:
    """What a file says of one image.

    Attributes:
        image: the name of the image.
        class_: the name, or the number, of a class.
        looked: whether somebody certainly looked at this image for it.
        decided_at: when the image had been decided at the time its label left; "" if it had not, or nobody knows.
    """

    image: str
    class_: str
    looked: bool = False
    decided_at: str = ""


@dataclass(frozen=True)
class Conflict:
    """An image about which file and run say different things, where the run's answer is newer, or may be."""

    image: str
    here: str
    file: str
    reviewer: str


@dataclass(frozen=True, eq=False)
class Preview:
    """What an import of labels would do.

    Attributes:
        answers: how many images the file is about.
        rows: (m,) int64, the images whose class would change, or that somebody has looked at.
        classes: (m,) int64, the number of the class that each would get.
        looked: (m,) bool.
        same: how many already have the class that the file says.
        conflicts: what is not done, or done last.
    """

    answers: int
    rows: np.ndarray
    classes: np.ndarray
    looked: np.ndarray
    same: int
    conflicts: tuple[Conflict, ...]


def preview(labelled: Labelled, answers: Sequence[Answer], *, conflicts_too: bool = False) -> Preview:
    """What these answers would change.

    Args:
        labelled: all images of the run, as they are now.
        conflicts_too: whether the file's answer is taken where there is a conflict.

    Raises:
        RunError: for images or classes that the run does not have, or an image with two answers.
    """
    rows = np.array(_rows_of(labelled, answers), np.int64)
    classes = np.array(_classes_of(labelled, answers), np.int64)
    looked = np.array([one.looked for one in answers], bool)
    now = labelled.table.iloc[rows]
    decision, when = now["decision"].to_numpy(str), np.array([one.decided_at for one in answers], str)
    same = (now["class"].to_numpy() == classes) & np.isin(decision, ["", "decided"])
    newer = (decision != "") & (now["decided_at"].to_numpy(str) != when) & ~same
    changes = ~same | (looked & (decision != "decided"))
    chosen = changes if conflicts_too else changes & ~newer
    conflicts = _conflicts(labelled, answers, rows, classes, np.flatnonzero(newer))
    return Preview(len(answers), rows[chosen], classes[chosen], looked[chosen], int(same.sum()), conflicts)


def _conflicts(
    labelled: Labelled, answers: Sequence[Answer], rows: np.ndarray, classes: np.ndarray, places: np.ndarray
) -> tuple[Conflict, ...]:
    """Of the answers at these places (m,)."""
    titles = dict(zip(labelled.numbers, labelled.classes, strict=True))
    found = []
    for place in places.tolist():
        now = labelled.table.iloc[int(rows[place])]
        here = now["decision"] if now["decision"] in ("rejected", "excluded") else now["class_name"]
        found.append(Conflict(answers[place].image, here, titles[int(classes[place])], now["reviewer"]))
    return tuple(found)


def commit(folder: RunFolder, found: Preview, log: DecisionLog, reviewer: str, *, seen: int) -> int:
    """Makes the answers decisions of `reviewer`, all or none; returns how many images they are about.

    Answers of people who looked at the image are seen, all others bulk. There is a row for each class, because that is
    what the log undoes; `undo` takes back all of them.

    Args:
        seen: the last row of the log that the preview knew.
    """
    if not len(found.rows):
        return 0
    visit = f"{VISIT}{time.time():.3f}"
    asked = []
    for number in np.unique(found.classes).tolist():
        of_class = found.classes == number
        asked += [
            Decision(
                "relabel",
                reviewer,
                visit=visit,
                seen=seen,
                images=found.rows[[place]],
                class_=number,
                provenance=Provenance.SEEN,
            )
            for place in np.flatnonzero(of_class & found.looked).tolist()
        ]
        others = found.rows[of_class & ~found.looked]
        if len(others):
            asked.append(Decision("relabel", reviewer, visit=visit, seen=seen, images=others, class_=number))
    log.commit(asked, _model(folder))
    return len(found.rows)


def undo(log: DecisionLog, reviewer: str) -> int:
    """Takes back the last import of labels by `reviewer`, all of it; returns how many images change.

    Raises:
        DecisionError: when there is none that stands, or the reviewer has decided something else since.
    """
    rows = _last_import(log, reviewer) if can_undo(log, reviewer) else []
    if not rows:
        raise DecisionError(f"nothing to undo: {reviewer} has brought no labels back, or has decided something since")
    _, changed = log.commit([Decision("undo", reviewer, visit=VISIT) for _ in rows])
    return len(changed)


def can_undo(log: DecisionLog, reviewer: str) -> bool:
    """Whether the last decision of `reviewer` that stands is of an import."""
    with log.reading() as now:
        row = now.undoable(reviewer)
        return row is not None and log.decisions(row - 1, 1)[0].visit.startswith(VISIT)


def _last_import(log: DecisionLog, reviewer: str) -> list[int]:
    """The rows of the last import of `reviewer` that stand."""
    with log.reading() as now:
        own = [one for one in log.decisions() if one.reviewer == reviewer and one.action not in ("undo", "redo")]
        standing = [one for one in own if now.stands(one.row)]
    return [one.row for one in standing if one.visit == standing[-1].visit]


def check_run(folder: RunFolder, found: set[str]) -> None:
    """Raises RunError when labels say that they are of another run; `found` are the ids of runs that they name."""
    others = found - {run_id(folder), ""}
    if others:
        raise RunError(
            f"these labels were exported from another run (its id is {min(others)}, that of {folder.name} is "
            f"{run_id(folder)}): numbers and names of classes may mean something else there; remove the column run_id "
            "to bring them in all the same"
        )


def _model(folder: RunFolder) -> Model:
    stage = judged_stage(folder)
    verdict = load_strict(folder, stage)
    return Model(np.asarray(verdict.labels), np.asarray(verdict.confidence), stage)


def _rows_of(labelled: Labelled, answers: Sequence[Answer]) -> list[int]:
    """The image of each answer."""
    rows = Spelt(labelled.images.ids).places([one.image for one in answers]).tolist()
    gone = [one.image for one, row in zip(answers, rows, strict=True) if row < 0]
    if gone:
        raise RunError(
            f"{len(gone):,} of {len(answers):,} labels are for images that are not in {labelled.folder.name}, such as "
            f"{', '.join(map(repr, gone[:SHOWN]))}: remove these, or bring them into the run that has them"
        )
    twice = [row for row, count in Counter(rows).items() if count > 1]
    if twice:
        raise RunError(
            f"{labelled.images.ids[twice[0]]!r} has several labels, and so have {len(twice) - 1:,} other images: "
            "expected one each"
        )
    return rows


def _classes_of(labelled: Labelled, answers: Sequence[Answer]) -> list[int]:
    """The number of the class of each answer: by its name, whatever its case, or else by its number."""
    named = {name.casefold(): number for name, number in zip(labelled.classes, labelled.numbers, strict=True)}
    numbered = {str(number): number for number in labelled.numbers}
    found = [named.get(one.class_.casefold(), numbered.get(one.class_, -1)) for one in answers]
    unknown = Counter(one.class_ for one, number in zip(answers, found, strict=True) if number < 0)
    if unknown:
        listed = ", ".join(f"{name!r} ({count:,} images)" for name, count in unknown.most_common(SHOWN))
        raise RunError(
            f"{labelled.folder.name} has no class {listed}: its classes are {', '.join(labelled.classes[:20])}; name "
            "or create the class first, on the Curate page"
        )
    return found
