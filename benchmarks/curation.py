"""Accuracy against the number of decisions: for each queue, with spreading, and with training.

The reviewer is an oracle that answers from truth. Otherwise truth is used only to score: it reaches
training only as the reviewer's decisions. Decisions go through the real log, training through real runs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.ablations import trained
from benchmarks.baselines.votes import voted
from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.lite_network import lite_source
from benchmarks.photo_sets import CIFAR10_SIDE
from benchmarks.pieces import WORK, Options, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine.config import RunConfig, with_settings
from engine.curate import propagation, queues
from engine.curate.carry import carried
from engine.curate.curation import State
from engine.curate.decisions import Decision
from engine.curate.guidance import guide, held_back
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.provenance import Provenance
from engine.curate.suggestions import Suggestions, least_sure_first, suggested
from engine.data.truth import Truth
from engine.jobs import Control
from engine.metrics import best_match
from engine.presets import preset
from engine.runs.create import branch_decided
from engine.runs.folder import RunFolder
from engine.runs.history import load_history
from engine.runs.results import load_reliable, newest_stage
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened, open_source
from engine.space.vectors import units
from engine.stages.reliable import ReliableSet

Curve = list[tuple[int, float]]
Order = Callable[["Curator"], np.ndarray]


@dataclass(frozen=True)
class Strategy:
    """How a reviewer works.

    Attributes:
        order: the order of the images.
        spread: also give each answer to the images that agree, with at least this share of their
            neighbours; None to decide one image at a time.
        train: numbers of decisions after which to train a run with them.
        then: measure the accuracy after one more decision, which gives undecided images the class that the images
            looked at vote for ("votes") or that a light classifier suggests ("suggestions"); "" for no such decision.
        again: the order is made again after so many decisions; None if it does not depend on them.
    """

    order: Order
    spread: float | None = None
    train: tuple[int, ...] = ()
    then: str = ""
    again: int | None = None


@dataclass(frozen=True)
class Set:
    """Images, their settings, the number of decisions, how often accuracy is measured, and the accuracy to reach;
    None for what votes reach with all decisions."""

    title: str
    opened: Opened
    config: Callable[[int], RunConfig]
    most: int
    every: int
    goal: float | None
    strategies: dict[str, Strategy]
    seeds: int


# -- the reviewer --------------------------------------------------------------------------------


class Curator:
    """A reviewer of a run who knows the truth and decides one image after the other."""

    def __init__(self, run: RunFolder, right: np.ndarray | None = None) -> None:
        card, stage = run.card(), newest_stage(run)
        assert stage is not None
        self.run, self.stage = run, stage
        self.verdict: ReliableSet = load_reliable(run, stage)
        self.labels = np.asarray(self.verdict.labels)
        self.model = Model(self.labels, np.asarray(self.verdict.confidence), stage)
        self.log = DecisionLog(
            run.path, images=card.images, clusters=card.config.clusters, fingerprint=card.fingerprint
        )
        self.right = _right(run.truth(), self.labels) if right is None else right
        self.near = np.asarray(run.load("neighbors")["ids"])
        self.unit = units(np.asarray(run.load("features")["vectors"], np.float32))

    @property
    def probabilities(self) -> np.ndarray:
        return np.asarray(self.run.load(self.stage)["probabilities"])

    @property
    def classes(self) -> np.ndarray:
        return self.log.curation.classes_of(self.labels)

    @property
    def accuracy(self) -> float:
        return float((self.classes == self.right).mean())

    def accuracy_with(self, then: str) -> float:
        """The accuracy; with `then`, after spreading what the answers say of the other images."""
        now, classes = self.log.curation, self.classes.astype(np.int64)
        held, left = held_back(classes, now.seen, self.run.images().ids), np.flatnonzero(now.state == State.UNDECIDED)
        told = np.flatnonzero(now.seen & ~held)
        if then == "votes" and len(np.unique(classes[told])) > 1:
            classes[left] = voted(self.unit, told, classes[told], left)[0]
        elif then == "suggestions":
            found = suggested(self.unit, self.probabilities, now, self.labels, untold=held)
            classes[left] = classes[left] if found is None else found.labels[left]
        return float((classes == self.right).mean())

    @property
    def suggestions(self) -> Suggestions | None:
        return suggested(self.unit, self.probabilities, self.log.curation, self.labels)

    def decide(self, image: int, share: float | None) -> None:
        """Decides the image, and with `share` also the images that agree with it."""
        images, class_ = np.array([image]), int(self.right[image])
        asked = [Decision("relabel", "oracle", images=images, class_=class_, provenance=Provenance.SEEN)]
        if share is not None:
            decided = self.log.curation.state != 0
            found = propagation.agreeing(images, self.classes == class_, decided, self.near, share)
            asked += [Decision("relabel", "oracle", images=found, class_=class_)] if len(found) else []
        self.log.commit(asked, self.model)

    def trained(self, place: Path, device: str) -> Curator:
        """Trains a run with the decisions; returns a reviewer of that run."""
        now, card = self.log.curation, self.run.card()
        guidance = guide(
            now.state,
            self.classes,
            [one.number for one in now.classes],
            now.home,
            now.moved,
            self.probabilities,
            self.run.images().ids,
            now.provenance,
            unseen="fixed",  # as in all figures so far; the app's own choice is to doubt them
        )
        child = branch_decided(self.run, place, card.config, guidance)
        with child.lock():
            if execute(child, choose_device(device), Control()) != "finished":
                raise RuntimeError(f"{child.path} did not finish")
        after = Curator(child, self.right)
        after.log.commit(carried(now, self.classes, guidance.keep, "carried"), after.model)
        return after


def _right(truth: Truth | None, labels: np.ndarray) -> np.ndarray:
    """(N,) the right cluster of each image: that of its true class, matched one to one."""
    assert truth is not None
    cluster_of = {class_: cluster for cluster, class_ in best_match(labels, truth.labels).items()}
    return np.array([cluster_of[one] for one in truth.labels.tolist()])


def curve(strategy: Strategy, run: RunFolder, place: Path, most: int, every: int, device: str) -> Curve:
    """(decisions, accuracy) from 0 decisions on; each bulk answer counts as one."""
    one, out, made = Curator(_copy(run, place / "run")), list[tuple[int, float]](), 0
    out.append((0, one.accuracy))
    for until in (*strategy.train, most):
        for image in _next(one, strategy, until - made):
            one.decide(image, strategy.spread)
            made += 1
            if made % every == 0:
                out.append((made, one.accuracy_with(strategy.then)))
        if until in strategy.train:
            one = one.trained(place / f"trained-{until}", device)
            out.append((made, one.accuracy))
    return out


def _next(one: Curator, strategy: Strategy, count: int) -> Iterator[int]:
    """The next undecided images of the queue."""
    while count > 0:
        order = strategy.order(one)
        left = order[one.log.curation.state[order] == State.UNDECIDED][: strategy.again or count]
        if not len(left):
            return
        for image in left[:count].tolist():
            if one.log.curation.state[image] == State.UNDECIDED:  # answers may have spread meanwhile
                count -= 1
                yield image


def _copy(run: RunFolder, place: Path) -> RunFolder:
    """A copy of the run without decisions."""
    shutil.copytree(run.path, place, ignore=shutil.ignore_patterns("decisions.sqlite*", "lock"))
    return RunFolder(place)


# -- the queues ----------------------------------------------------------------------------------


def at_random(one: Curator) -> np.ndarray:
    return np.random.default_rng(one.run.card().config.seed).permutation(len(one.labels))


def rejected(one: Curator) -> np.ndarray:
    return queues.rejected_first(one.verdict.verdicts, one.verdict.agreement, one.verdict.confidence)


def undecided(one: Curator) -> np.ndarray:
    return queues.undecided_first(one.probabilities)


def flipped(one: Curator) -> np.ndarray:
    return queues.flipped_first(load_history(one.run).flips)


def audit(one: Curator) -> np.ndarray:
    return queues.audit(one.labels, one.run.card().config.seed)


def typical(one: Curator) -> np.ndarray:
    return queues.typical_first(one.near)


def unsure(one: Curator) -> np.ndarray:
    found = one.suggestions
    return typical(one) if found is None else least_sure_first(found)


RANDOM = "random order, one image at a time"
VOTES = "typical first, then spread by votes"
ALONE: dict[str, Strategy] = {
    RANDOM: Strategy(at_random),
    "rejected first": Strategy(rejected),
    "most undecided": Strategy(undecided),
    "changed most": Strategy(flipped),
    "random audit": Strategy(audit),
}
DIGITS = {
    **ALONE,
    "rejected first, then spread by suggestions": Strategy(rejected, then="suggestions"),
    "least sure first": Strategy(unsure, again=5),
    "least sure first, then spread by suggestions": Strategy(unsure, then="suggestions", again=5),
    "rejected first, trained after 40": Strategy(rejected, train=(40,)),
}
PICTURES = {
    **ALONE,
    "typical first": Strategy(typical),
    "typical first, each spread to images that agree": Strategy(typical, spread=0.5),
    VOTES: Strategy(typical, then="votes"),
    "random order, then spread by votes": Strategy(at_random, then="votes"),
    "typical first, then spread by suggestions": Strategy(typical, then="suggestions"),
    "random order, then spread by suggestions": Strategy(at_random, then="suggestions"),
    "least sure first, then spread by suggestions": Strategy(unsure, then="suggestions", again=5),
    "typical first, trained after 100 and 200": Strategy(typical, train=(100, 200)),
}


def sets(options: Options) -> list[Set]:
    """Digits, and photographs if --data names them."""
    found = [
        Set(
            "digits, 1,797 images",
            open_source("digits"),
            lambda seed: preset("quick", clusters=10, channels=1, seed=seed),
            120,
            10,
            0.99,
            DIGITS,
            options.seeds,
        )
    ]
    if options.data:
        subset = cifar10_images(options, "train", options.images)
        found.append(
            Set(f"{NAME}, {len(subset.images):,} images", subset, _frozen, 300, 25, None, PICTURES, options.seeds)
        )
    return found


def _frozen(seed: int) -> RunConfig:
    """The preset for photographs, with a small network that a package carries."""
    WORK.mkdir(exist_ok=True)
    source = lite_source(WORK, CIFAR10_SIDE)
    return with_settings(preset("photos", clusters=10, channels=3, seed=seed), {"features.source": source})


# -- all of it -----------------------------------------------------------------------------------


def measure(options: Options) -> None:
    """Writes results/curation-DEVICE."""
    pieces = Pieces("curation", options)
    data: dict[str, dict[str, list[Curve]]] = {}
    parts = []
    for number, one in enumerate(sets(options)):
        curves: dict[str, list[Curve]] = {name: [] for name in one.strategies}
        for seed in range(one.seeds):
            run = pieces.folder / f"set{number}-{seed}"
            pieces.get(
                f"{one.title} run {seed}", lambda o=one, s=seed, r=run: _run(o, s, r, options.device), seconds=300
            )
            for name, strategy in one.strategies.items():
                curves[name].append(
                    pieces.get(
                        f"{one.title} {name} {seed}",
                        lambda o=one, w=strategy, r=run: _curve(o, w, RunFolder(r), options.device),
                        seconds=200 * (1 + len(strategy.train)),
                    )
                )
        data[one.title] = curves
        runs = "1 seed" if one.seeds == 1 else f"{one.seeds} seeds"
        parts.append(f"**{one.title}**, {runs}\n\n{_table(one, curves)}")
    body = (
        "Mean ± standard deviation (lowest). The reviewer is an oracle that "
        "answers from truth, one decision at a time; a bulk answer counts as one. Accuracy is "
        "over all labels, decided or not, with clusters matched to classes once, before the first "
        "decision. “Trained”: a new run is trained with the decisions, a fifth of which are held "
        "back, and curation continues with its labels.\n\n" + "\n\n".join(parts)
    )
    write("curation", "Accuracy against decisions", {"curves": data}, body, slug=device_slug(options.device))


def _run(one: Set, seed: int, place: Path, device: str) -> float:
    trained(place, one.opened, one.config(seed), device)
    return Curator(RunFolder(place)).accuracy


def _curve(one: Set, strategy: Strategy, run: RunFolder, device: str) -> Curve:
    with tempfile.TemporaryDirectory() as place:
        return curve(strategy, run, Path(place), one.most, one.every, device)


def needed(found: Curve, accuracy: float, images: int) -> float:
    """Decisions until the accuracy is reached. Beyond the end of the curve this is extrapolated: with one
    image at a time, the chance that a decision corrects a mistake is the share of wrong labels."""
    for made, reached in found:
        if reached >= accuracy:
            return made
    made, reached = found[-1]
    return made + (accuracy - reached) * images / (1 - reached)


def _table(one: Set, curves: dict[str, list[Curve]]) -> str:
    count, random = len(one.opened.images), curves[RANDOM]
    shown = [one.most // 3, 2 * one.most // 3, one.most]
    goals = [curve_[-1][1] for curve_ in curves[VOTES]] if one.goal is None else [one.goal] * one.seeds
    rows = []
    for name, found in curves.items():
        at = [spread([_at(curve_, made) for curve_ in found]) for made in (0, *shown)]
        goal = _reached(found, goals)
        ratio = [needed(base, own[-1][1], count) / one.most for base, own in zip(random, found, strict=True)]
        rows.append([name, *at, goal, "" if name == RANDOM else f"{spread(ratio, 1)}"])
    head = [
        "",
        "at the start",
        *(f"{made} decisions" for made in shown),
        f"decisions to {one.goal or f'what votes reach with {one.most}'}",
        f"× as many decisions at random to match {one.most}",
    ]
    return table(head, rows)


def _at(found: Curve, made: int) -> float:
    """The accuracy after `made` decisions, and after training with them."""
    return [accuracy for count, accuracy in found if count <= made][-1]


def _reached(found: list[Curve], goals: list[float]) -> str:
    """How many decisions it took each run to reach its goal."""
    first = [
        next((made for made, reached in one if reached >= goal), None) for one, goal in zip(found, goals, strict=True)
    ]
    return ", ".join("not reached" if one is None else str(one) for one in first)
