"""The app's access to a run's decision log: the current classes, and the order of images to review."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate import propagation, queues
from engine.curate.carry import carried
from engine.curate.curation import State
from engine.curate.decisions import Decision
from engine.curate.guidance import guide
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.splitting import two_means
from engine.errors import RunError
from engine.runs import comparison
from engine.runs.results import decision_log
from spice_explorer.palette import cluster_colour
from spice_explorer.queries import artefacts, runs

if TYPE_CHECKING:
    from engine.curate.curation import Curation
    from engine.curate.guidance import Guidance
    from engine.runs.comparison import BeforeAfter

MOST_KEPT_QUEUES = 32
_logs: dict[Path, tuple[float, DecisionLog]] = {}
_kept: OrderedDict[str, np.ndarray] = OrderedDict()
_guard = threading.Lock()


@dataclass(frozen=True)
class Shown:
    """A class as displayed on every page."""

    number: int
    name: str
    colour: str


def log_of(name: str) -> DecisionLog:
    """The decision log of a run, one a process; raises DecisionError or RunError."""
    folder = runs.folder_of(name)
    made = runs.made(folder)
    with _guard:
        kept = _logs.get(folder.path)
        if kept is None or kept[0] != made:
            log = decision_log(folder)
            kept = _logs[folder.path] = made, log
        return kept[1]


def curation(name: str) -> Curation:
    """What the decisions come to now, those of other programs included."""
    log = log_of(name)
    log.refresh()
    return log.curation


def reading(name: str) -> AbstractContextManager[Curation]:
    """The same, kept from changing for a moment: for all that has to be right up to one row."""
    return log_of(name).reading()


def model(name: str) -> Model | None:
    """The output of the run's latest judged model for every image; None before stage 2 is done."""
    stages = artefacts.judged_stages(name)
    if not stages:
        return None
    found = artefacts.reliable(name, stages[0])
    return Model(np.asarray(found.labels), np.asarray(found.confidence), stages[0])


def needed_model(name: str) -> Model:
    found = model(name)
    if found is None:
        raise RunError(f"{name} has no labels yet: train until stage 2 is done")
    return found


def commit(name: str, asked: list[Decision]) -> list[Decision]:
    """Commits decisions, all or none; raises DecisionError."""
    return log_of(name).commit(asked, model(name))[0]


# -- classes -----------------------------------------------------------------------------------


def classes(name: str) -> list[Shown]:
    """The classes that exist, by number."""
    return shown(curation(name))


def shown(now: Curation) -> list[Shown]:
    return [Shown(one.number, one.name, one.colour or cluster_colour(one.number)) for one in now.classes]


def classes_of(name: str) -> np.ndarray:
    """(N,) uint16: the class of each image as people left it."""
    said = needed_model(name)
    with reading(name) as now:
        return now.classes_of(said.labels)


def halves(name: str, members: np.ndarray) -> np.ndarray:
    """(m,) bool: which of a class's images a split would move."""
    folder = runs.folder_of(name)
    return _halves(name, folder.modified("features"), members.astype("<u4").tobytes())


@st.cache_resource(show_spinner="Looking for two halves…", max_entries=8)
def _halves(name: str, modified: float | None, members: bytes) -> np.ndarray:
    del modified  # of the cache's key alone
    ids = np.frombuffer(members, "<u4")
    return two_means(artefacts.unit_vectors(name)[ids], seed=runs.card(name).config.seed)


# -- many at once, and training ----------------------------------------------------------------


def agreeing(name: str, seeds: np.ndarray, class_: int, share: float) -> np.ndarray:
    """The undecided images whose neighbours say that they are of the seeds' class."""
    now, own = curation(name), classes_of(name)
    return propagation.agreeing(seeds, own == class_, now.state != 0, _near(name), share)


def _near(name: str) -> np.ndarray:
    """(N, k) the neighbours that a label is compared with."""
    count = artefacts.neighbor_count(name)
    return np.asarray(artefacts.arrays(name, "neighbors")["ids"])[:, :count]


@dataclass(frozen=True, eq=False)
class Votes:
    """The votes of the decided images on the others, and how often such votes are right.

    Attributes:
        ids, classes, agreement: (m,) undecided images, the class they would get, and its share of
            the votes, 0–1.
        total: decided images; the votes of the others are right about `right` of them, the model's
            label (merges and splits followed) about `model_right`.
    """

    ids: np.ndarray
    classes: np.ndarray
    agreement: np.ndarray
    total: int
    right: int
    model_right: int


def votes(name: str) -> Votes | None:
    """The votes of all decided images on all others; None before two classes have decided images."""
    folder = runs.folder_of(name)
    return _votes(name, folder.modified("features"), curation(name).row)


@st.cache_resource(show_spinner="The decided images vote…", max_entries=4)
def _votes(name: str, modified: float | None, row: int) -> Votes | None:
    del modified, row  # of the cache's key alone
    said = needed_model(name)
    with reading(name) as now:
        own, home = now.classes_of(said.labels), now.home
        decided, left = np.flatnonzero(now.state == 1), np.flatnonzero(now.state == 0)
    if len(np.unique(own[decided])) < 2:
        return None
    unit = artefacts.unit_vectors(name)
    found, agreement = propagation.voted(unit, decided, own[decided], left)
    known = propagation.voted(unit, decided, own[decided], decided)[0]
    return Votes(
        left,
        found,
        agreement,
        len(decided),
        int((known == own[decided]).sum()),
        int((home[said.labels[decided]] == own[decided]).sum()),
    )


def audited(name: str) -> dict[int, tuple[int, int]]:
    """For each class, how many of the audited images that had it were right, and how many there are."""
    return log_of(name).audited()


def guidance(name: str) -> Guidance:
    """What the decisions ask of the next training; raises RunError when it cannot be trained so.

    Of a disputed image nothing is learned until the dispute is settled.
    """
    said = needed_model(name)
    with reading(name) as now:
        state = np.where(now.disputed & (now.state != State.EXCLUDED), State.UNDECIDED, now.state)
        own, numbers = now.classes_of(said.labels), [one.number for one in now.classes]
        home, moved = now.home, now.moved & ~now.disputed
    return guide(
        state.astype(np.uint8), own, numbers, home, moved, _probabilities(name, said.stage), artefacts.images(name).ids
    )


def carry(parent: str, child: str, keep: np.ndarray) -> None:
    """Copies a run's decisions to the run that was trained with them."""
    said = needed_model(parent)
    with reading(parent) as now:
        asked = carried(now, now.classes_of(said.labels), keep, f"from {parent}")
    if asked:
        card = runs.card(child)
        nothing = np.zeros(card.images, np.int64)  # the new model has said nothing yet
        log_of(child).commit(asked, Model(nothing, nothing.astype(np.float32), ""))


def before_after(name: str) -> BeforeAfter | None:
    """The effect of training with decisions; None if there is nothing to compare."""
    parent, folder = runs.card(name).parent, runs.folder_of(name)
    if not folder.has("decided") or parent not in runs.run_names() or model(name) is None:
        return None
    return comparison.before_after(runs.folder_of(parent), folder)


# -- queues ------------------------------------------------------------------------------------


def queue(name: str, what: str) -> np.ndarray:
    """(m,) ids in the order of the queue `what`, images that are decided left out.

    `what` is rejected, undecided, flipped, typical, duplicates, border-A-B, class-C, audit-SEED or audit-SEED-C
    (decided images too), disputed, or kept-TOKEN of `keep`. Raises LookupError for any other.
    """
    kind, _, rest = what.partition("-")
    if kind == "kept":
        with _guard:
            return _kept[rest]
    found = _ordered(name, kind, [int(one) for one in rest.split("-") if one])
    if kind in ("audit", "disputed"):
        return found
    return found[curation(name).state[found] == 0]


def _ordered(name: str, kind: str, numbers: list[int]) -> np.ndarray:
    said, own = needed_model(name), classes_of(name)
    verdict = artefacts.reliable(name, said.stage)  # type: ignore[arg-type]
    if kind == "rejected":
        return queues.rejected_first(verdict.verdicts, verdict.agreement, verdict.confidence)
    if kind == "undecided":
        return queues.undecided_first(_probabilities(name, said.stage))
    if kind == "flipped":
        return queues.flipped_first(artefacts.history(name).flips)
    if kind == "duplicates":
        near = artefacts.arrays(name, "neighbors")
        return queues.contradictions(own, np.asarray(near["ids"]), np.asarray(near["similarity"]))
    if kind == "typical":
        return queues.typical_first(_near(name))
    if kind == "disputed":
        return np.flatnonzero(curation(name).disputed)
    if kind == "border" and len(numbers) == 2:
        return _border(name, said, own, *numbers)
    if kind == "audit" and numbers:
        order = queues.audit(own, seed=numbers[0])
        return order if len(numbers) == 1 else order[own[order] == numbers[1]]
    if kind == "class" and len(numbers) == 1:
        members = np.flatnonzero(own == numbers[0])
        order = queues.doubt(verdict.agreement[members], verdict.confidence[members])
        return members[np.argsort(-order, kind="stable")]
    raise LookupError(f"no queue {kind}")


def _probabilities(name: str, stage: str) -> np.ndarray:
    return np.asarray(artefacts.arrays(name, stage)["probabilities"])


def _border(name: str, said: Model, own: np.ndarray, one: int, other: int) -> np.ndarray:
    """Between two classes: by the probabilities of the clusters that have become them."""
    probabilities, home = _probabilities(name, said.stage), curation(name).home
    sides = [probabilities[:, home[: probabilities.shape[1]] == side].sum(1) for side in (one, other)]
    return queues.border(np.stack(sides, 1), np.where(own == one, 0, np.where(own == other, 1, 2)), 0, 1)


def keep(ids: np.ndarray) -> str:
    """A custom queue: its name for `queue`."""
    token = f"{abs(hash(ids.tobytes())):x}"
    with _guard:
        _kept[token] = np.asarray(ids, np.int64)
        _kept.move_to_end(token)
        while len(_kept) > MOST_KEPT_QUEUES:
            _kept.popitem(last=False)
    return f"kept-{token}"
