"""The app's access to a run's decision log: the current classes, and the order of images to review."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.curate import propagation, queues
from engine.curate.carry import carried
from engine.curate.curation import State
from engine.curate.decisions import Decision
from engine.curate.guidance import guide, held_back
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.measured import measured as measure
from engine.curate.splitting import two_means
from engine.curate.suggestions import Answers, learned, least_sure_first
from engine.errors import RunError, SpiceError
from engine.runs import comparison
from engine.runs.results import decision_log
from spice_explorer.palette import cluster_colour
from spice_explorer.present.names import Names
from spice_explorer.queries import artefacts, runs
from spice_explorer.queries.cache import cached
from spice_explorer.queries.learner import Learned, Learner

if TYPE_CHECKING:
    from engine.curate.curation import Curation
    from engine.curate.guidance import Guidance, Unseen
    from engine.curate.measured import Measured
    from engine.curate.suggestions import Suggestions
    from engine.events import Stage
    from engine.runs.comparison import BeforeAfter
    from engine.runs.folder import RunFolder
    from engine.stages.reliable import ReliableSet
    from spice_explorer.present.gallery import Known

MOST_KEPT_QUEUES = 32
# Of seeds and classes in the names of queues.
MOST_NUMBERED = 2**31
_logs: dict[Path, tuple[float, DecisionLog]] = {}
_kept: OrderedDict[str, np.ndarray] = OrderedDict()
_guard = threading.Lock()
_learner = Learner()


@dataclass(frozen=True)
class Shown:
    """A class as displayed on every page."""

    number: int
    name: str
    colour: str


def log_of(run: RunFolder) -> DecisionLog:
    """The decision log of a run, one a process; raises DecisionError or RunError."""
    made = runs.made(run)
    with _guard:
        kept = _logs.get(run.path)
        if kept is None or kept[0] != made:
            kept = _logs[run.path] = made, decision_log(run)
        return kept[1]


def curation(run: RunFolder) -> Curation:
    """What the decisions come to now, those of other programs included."""
    log = log_of(run)
    log.refresh()
    return log.curation


def reading(run: RunFolder) -> AbstractContextManager[Curation]:
    """The same, kept from changing for a moment: for all that has to be right up to one row."""
    return log_of(run).reading()


def model(run: RunFolder) -> Model | None:
    """The output of the run's latest judged model for every image; None before stage 2 is done."""
    stages = artefacts.judged_stages(run)
    if not stages:
        return None
    found = artefacts.arrays(run, f"reliable-{stages[0]}")
    return Model(np.asarray(found["labels"]), np.asarray(found["confidence"]), stages[0])


def needed_model(run: RunFolder) -> Model:
    found = model(run)
    if found is None:
        raise RunError(f"{run.name} has no labels yet: train until stage 2 is done")
    return found


def commit(run: RunFolder, asked: list[Decision]) -> list[Decision]:
    """Commits decisions, all or none; raises DecisionError."""
    return log_of(run).commit(asked, model(run))[0]


# -- classes -----------------------------------------------------------------------------------


def classes(run: RunFolder) -> list[Shown]:
    """The classes that exist, by number."""
    return shown(curation(run))


def shown(now: Curation) -> list[Shown]:
    return [Shown(one.number, one.name, one.colour or cluster_colour(one.number)) for one in now.classes]


def names(run: RunFolder) -> Names:
    """What the clusters and classes of the run are called; only numbers where its decisions cannot be read."""
    try:
        return Names.of(curation(run))
    except (SpiceError, OSError):  # said on the Curate page
        return Names()


def cluster_names(run: RunFolder) -> list[str]:
    """The short name of each cluster, by number."""
    called = names(run)
    return [called.short(one) for one in range(run.card().config.clusters)]


def known(run: RunFolder, stage: Stage | None) -> Known:
    """Everything a gallery shows about the run's images, with the labels of `stage`, if any, and their names."""
    return replace(artefacts.known(run, stage), called=names(run))


def classes_of(run: RunFolder) -> np.ndarray:
    """(N,) uint16: the class of each image as people left it."""
    said = needed_model(run)
    with reading(run) as now:
        return now.classes_of(said.labels)


def halves(run: RunFolder, members: np.ndarray) -> np.ndarray:
    """(m,) bool: which of a class's images a split would move."""
    return _halves(run, members.astype("<u4").tobytes())


@cached("features", spinner="Looking for two halves…")
def _halves(run: RunFolder, members: bytes) -> np.ndarray:
    ids = np.frombuffer(members, "<u4")
    return two_means(artefacts.unit_vectors(run)[ids], seed=run.card().config.seed)


# -- many at once, and training ----------------------------------------------------------------


def agreeing(run: RunFolder, seeds: np.ndarray, class_: int, share: float) -> np.ndarray:
    """The undecided images whose neighbours say that they are of the seeds' class."""
    now, own = curation(run), classes_of(run)
    return propagation.agreeing(seeds, own == class_, now.state != 0, _near(run), share)


def _near(run: RunFolder) -> np.ndarray:
    """(N, k) the neighbours that a label is compared with."""
    count = artefacts.neighbor_count(run)
    return np.asarray(artefacts.arrays(run, "neighbors")["ids"])[:, :count]


def _row(run: RunFolder) -> int:
    return curation(run).row


@cached("features", _row, entries=4, spinner="Learning from your answers…")
def suggestions(run: RunFolder) -> Suggestions | None:
    """What all answers say about every image; None before two classes have some."""
    said = needed_model(run)
    answers, last = _answers(run, said), _learner.newest(_learns(run, said))
    same = last is not None and last.answers.row == answers.row
    return last.found if last is not None and same else _learn(run, said, answers)


def newest_suggestions(run: RunFolder) -> Learned | None:
    """What was last learned in the background, from all answers but the last few, and from which; None before
    anything was."""
    last = _learner.newest(_learns(run, needed_model(run)))
    return last if last is not None and last.found is not None else None


def follow_answers(run: RunFolder, row: int) -> bool:
    """Has suggestions learned in the background if the answers up to `row` ask for it; returns at once, whether that
    is under way."""
    said = needed_model(run)
    return _learner.follow(
        _learns(run, said), row, lambda: _answers(run, said), lambda answers: _learn(run, said, answers)
    )


def _learns(run: RunFolder, said: Model) -> tuple[Path, float, str]:
    """What tells one model that is learned about from another."""
    return run.path, runs.made(run), said.stage


def _answers(run: RunFolder, said: Model) -> Answers:
    with reading(run) as now:
        return Answers.of(now, said.labels)


def _learn(run: RunFolder, said: Model, answers: Answers, untold: np.ndarray | None = None) -> Suggestions | None:
    return learned(artefacts.unit_vectors(run), _probabilities(run, said.stage), answers, untold=untold)


@cached("features", _row, entries=4, spinner="Learning from your answers…")
def to_spread(run: RunFolder) -> Suggestions | None:
    """What the answers say that are not held back from training: suggestions that are spread are trained with, and
    must not know what is to measure the training."""
    said, names = needed_model(run), artefacts.images(run).ids
    answers = _answers(run, said)
    return _learn(run, said, answers, held_back(answers.classes, answers.seen, names))


def measured(run: RunFolder, labels: np.ndarray, chosen: np.ndarray) -> Measured:
    """What people's answers say about the labels (N,) of this run's model in `chosen` (N,) bool."""
    with reading(run) as now:
        return measure(now, labels, chosen, artefacts.fixed(run))


@cached("reliable-heads", "reliable-joint", "decided", _row, entries=4)
def measured_reliable(run: RunFolder) -> Measured:
    """The same of the newest labels that are reliable."""
    verdict = _verdict(run, needed_model(run))
    return measured(run, np.asarray(verdict.labels), verdict.mask)


def audited(run: RunFolder) -> dict[int, tuple[int, int]]:
    """For each class, how many of the audited images that had it were right, and how many there are."""
    return log_of(run).audited()


def guidance(run: RunFolder, unseen: Unseen = "doubted") -> Guidance:
    """What the decisions ask of the next training; raises RunError when it cannot be trained so.

    Of a disputed image nothing is learned until the dispute is settled. `unseen` says what becomes of decided labels
    that nobody looked at.
    """
    said = needed_model(run)
    with reading(run) as now:
        state = np.where(now.disputed & (now.state != State.EXCLUDED), State.UNDECIDED, now.state)
        own, numbers = now.classes_of(said.labels), [one.number for one in now.classes]
        home, moved, provenance = now.home, now.moved & ~now.disputed, now.provenance.copy()
    probabilities, names = _probabilities(run, said.stage), artefacts.images(run).ids
    return guide(state.astype(np.uint8), own, numbers, home, moved, probabilities, names, provenance, unseen)


def carry(parent: RunFolder, child: RunFolder, keep: np.ndarray) -> None:
    """Copies a run's decisions to the run that was trained with them."""
    said = needed_model(parent)
    with reading(parent) as now:
        asked = carried(now, now.classes_of(said.labels), keep, f"from {parent.name}")
    if asked:
        nothing = np.zeros(child.card().images, np.int64)  # the new model has said nothing yet
        log_of(child).commit(asked, Model(nothing, nothing.astype(np.float32), ""))


def _started_from(run: RunFolder) -> float | None:
    """When the run was made that this one started from; None if it is gone."""
    parent = runs.find(run.card().parent)
    return None if parent is None else runs.made(parent)


@cached("heads", "joint", "reliable-heads", "reliable-joint", _started_from, entries=4)
def before_after(run: RunFolder) -> BeforeAfter | None:
    """The effect of training with decisions; None if there is nothing to compare."""
    parent = runs.find(run.card().parent)
    if parent is None or not run.has("decided") or model(run) is None:
        return None
    return comparison.before_after(parent, run)


@cached("reliable-heads", "reliable-joint", _row, entries=4)
def typical(run: RunFolder) -> dict[int, list[int]]:
    """Up to three images for each class that show what it is: the surest of its own, or, in a class that people made,
    any of those that they put there. None for a class whose images were all rejected or left out."""
    said = needed_model(run)
    verdict = _verdict(run, said)
    with reading(run) as now:
        own, moved, standing = now.classes_of(said.labels), now.moved, now.state < State.REJECTED
    doubts = queues.doubt(verdict.agreement, verdict.confidence) + 2 * moved  # the model doubts another label of these
    return queues.typical_of(own, doubts, standing)


def _verdict(run: RunFolder, said: Model) -> ReliableSet:
    return artefacts.reliable(run, said.stage)  # type: ignore[arg-type]


# -- queues ------------------------------------------------------------------------------------


def queue(run: RunFolder, what: str) -> np.ndarray:
    """(m,) ids in the order of the queue `what`, images that are decided left out.

    `what` is rejected, undecided, flipped, typical, unsure (as typical, until two classes have answers), duplicates,
    border-A-B, class-C, audit-SEED or audit-SEED-C (all images that nobody looked at), disputed, or kept-TOKEN
    of `keep`. Raises LookupError for any other.
    """
    kind, _, rest = what.partition("-")
    if kind == "kept":
        with _guard:
            return _kept[rest]
    numbers = [int(one) for one in rest.split("-") if one]
    if any(one > MOST_NUMBERED for one in numbers):
        raise LookupError(f"no queue {what}")
    found = _ordered(run, kind, numbers)
    if kind == "disputed":
        return found
    if kind == "audit":
        return found[~curation(run).answered[found]]
    return found[curation(run).state[found] == 0]


def _ordered(run: RunFolder, kind: str, numbers: list[int]) -> np.ndarray:
    said, own = needed_model(run), classes_of(run)
    verdict = _verdict(run, said)
    if kind == "rejected":
        return queues.rejected_first(verdict.verdicts, verdict.agreement, verdict.confidence)
    if kind == "undecided":
        return queues.undecided_first(_probabilities(run, said.stage))
    if kind == "flipped":
        return queues.flipped_first(artefacts.history(run).flips)
    if kind == "duplicates":
        near = artefacts.arrays(run, "neighbors")
        return queues.contradictions(own, np.asarray(near["ids"]), np.asarray(near["similarity"]))
    if kind == "typical":
        return queues.typical_first(_near(run))
    if kind == "unsure":
        last = newest_suggestions(run)
        found = last.found if last else suggestions(run)
        return queues.typical_first(_near(run)) if found is None else least_sure_first(found)
    if kind == "disputed":
        return np.flatnonzero(curation(run).disputed)
    if kind == "border" and len(numbers) == 2:
        return _border(run, said, own, *numbers)
    if kind == "audit" and numbers:
        order = queues.audit(own, seed=numbers[0])
        return order if len(numbers) == 1 else order[own[order] == numbers[1]]
    if kind == "class" and len(numbers) == 1:
        members = np.flatnonzero(own == numbers[0])
        order = queues.doubt(verdict.agreement[members], verdict.confidence[members])
        return members[np.argsort(-order, kind="stable")]
    raise LookupError(f"no queue {kind}")


def _probabilities(run: RunFolder, stage: str) -> np.ndarray:
    return np.asarray(artefacts.arrays(run, stage)["probabilities"])


def _border(run: RunFolder, said: Model, own: np.ndarray, one: int, other: int) -> np.ndarray:
    """Between two classes: by the probabilities of the clusters that have become them."""
    probabilities, home = _probabilities(run, said.stage), curation(run).home
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
