"""Suggestions: what the answers given so far say about every other image, by a light classifier on the features. Pure.

It learns in a moment what training with decisions takes minutes for, so it follows every few answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.blas import one_blas_thread
from engine.curate.audit import Estimate, estimated
from engine.curate.curation import Curation

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# How much a vector of length 1 counts, and the run's own probabilities beside it. Chosen on frozen features of
# clothes and CIFAR-10: with the probabilities 30 answers do what 60 to 100 do without.
FEATURES, PROBABILITIES = 8.0, 3.0
# Answers beyond these teach little, and would take seconds.
MOST_ANSWERS = 3_000
FOLDS = 10
# With fewer answers nothing can be said about how often suggestions are right.
LEAST_TO_MEASURE = 20
# Held-back answers share their classifiers, which know a tenth less: their mistakes hang together. In simulated reviews
# intervals at .95 covered the truth in 88 of 100 cases, those at .99 in 96.
LEVEL = 0.99
# Where the classifier and the model agree, both are likelier right than either by itself; where they disagree, one of
# them is wrong. By so much the log-odds of a suggestion change before answers have shown how much it is.
AGREES, DISAGREES = 0.5, -1.0
# After so many new answers it is worth learning again.
FEW = 5


@dataclass(frozen=True, eq=False)
class Answers:
    """What there is to learn from at one row of the log: people can go on deciding meanwhile.

    Attributes:
        row: the last row that counts.
        classes: (N,) int64, the class of each image as people left it.
        model: (N,) int64, the model's labels, with merges followed.
        seen, refuted: (N,) bool, of `Curation`.
        among: (N,) int64, of `Curation`.
    """

    row: int
    classes: np.ndarray
    model: np.ndarray
    seen: np.ndarray
    refuted: np.ndarray
    among: np.ndarray

    @classmethod
    def of(cls, now: Curation, labels: np.ndarray) -> Answers:
        """A copy of what counts in `now`, for a model's labels (N,)."""
        own, model = now.classes_of(labels).astype(np.int64), now.home[labels].astype(np.int64)
        return cls(now.row, own, model, now.seen, now.refuted, now.among.astype(np.int64))

    @property
    def kinds(self) -> int:
        """How many classes have an answer."""
        return len(np.unique(self.classes[self.seen]))

    def due(self, before: Answers | None) -> bool:
        """Whether to learn from these after having learned from those `before`: some are new, an earlier one does not
        stand any more, or for the first time two classes have one."""
        if before is None or before.kinds < 2:
            return self.kinds >= 2
        gone = before.seen & (~self.seen | (before.classes != self.classes))
        return bool(gone.any()) or int(np.count_nonzero(self.seen & ~before.seen)) >= FEW


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The class that each of N images would get, and what is known about how often that is right.

    Only answers teach: of images that a person looked at. Each is held back once, so that it also measures. They are
    no random sample of the other images unless they were drawn at random: only `estimate` and `model_estimate` say
    anything about the others.

    Attributes:
        labels: (N,) int64, numbers of classes that were answered.
        confidence: (N,) float32 in 0–1, calibrated on held-back answers where there are `LEAST_TO_MEASURE`: by one
            temperature, and apart for suggestions that agree with the model and those that do not.
        margin: (N,) float32 in 0–1, how much likelier the label is than the second likeliest.
        checked: (a,) int64, the images that a person looked at; none before there are enough to measure.
        held: (a,) float32, the confidence of the suggestion for each by a classifier that was not told the answer.
        right, model_right: (a,) bool, whether that suggestion, or the model (merges and splits followed), agrees
            with the person. Where a label was rejected, both count as wrong.
        among: (a,) int64, of an answer in an audit the images it stands for; else 0.
    """

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray
    checked: np.ndarray
    held: np.ndarray
    right: np.ndarray
    model_right: np.ndarray
    among: np.ndarray

    def estimate(self, least: float) -> Estimate | None:
        """How many suggestions at least as sure as `least` are right, of images that nobody looked at, decided or not;
        None without random answers about such."""
        drawn = (self.among > 0) & (self.held >= least)
        return estimated(self.right[drawn], self.among[drawn], LEVEL)

    def model_estimate(self, least: float) -> Estimate | None:
        """How many of the model's labels are right where suggestions are at least as sure as `least`."""
        drawn = (self.among > 0) & (self.held >= least)
        return estimated(self.model_right[drawn], self.among[drawn])


def suggested(
    unit: np.ndarray,
    probabilities: np.ndarray,
    now: Curation,
    labels: np.ndarray,
    *,
    untold: np.ndarray | None = None,
    seed: int = 0,
) -> Suggestions | None:
    """Suggestions for all images by logistic regression on what was answered; None before two classes were.

    Each answer is held back once, from a classifier trained on nine tenths of the answers. The confidence is
    calibrated by one temperature (Guo et al., arXiv 1706.04599, section 4.2), fitted on the held-back answers. That is
    right on average, but not for the suggestions that are news: of those that contradict the model, stated 57 % sure
    in simulated reviews, 19 % were right. So those that agree with the model and those that do not are shifted apart.

    Args:
        unit: (N, D) float32, features of length 1.
        probabilities: (N, K) float32, of the run's newest model.
        labels: (N,) its labels.
        untold: (N,) bool, answers that teach nothing, and only measure.
    """
    return learned(unit, probabilities, Answers.of(now, labels), untold=untold, seed=seed)


def learned(
    unit: np.ndarray, probabilities: np.ndarray, answers: Answers, *, untold: np.ndarray | None = None, seed: int = 0
) -> Suggestions | None:
    """`suggested`, of answers that were copied before."""
    own, taught = answers.classes, _some(answers.seen if untold is None else answers.seen & ~untold, seed)
    if len(np.unique(own[taught])) < 2:
        return None
    model, temperature, without = _learned(_inputs(unit[taught], probabilities[taught]), own[taught])
    belief = _softmax(_logits(model, unit, probabilities) / temperature)
    top = np.partition(belief, -2, axis=1)[:, -2:]
    found, confidence = model.classes_[belief.argmax(1)], top[:, 1]
    # Of images that taught, what was said without them.
    again, sure, measuring = found.copy(), confidence.copy(), taught[: len(without)]
    again[measuring], sure[measuring] = model.classes_[without.argmax(1)], without.max(1)
    confidence, sure = _shifted(
        (confidence, found == answers.model),
        (sure, again == answers.model),
        measuring,
        (again == own)[measuring],
        1 / len(model.classes_),
    )
    checked = np.flatnonzero(answers.seen | answers.refuted) if len(without) else np.zeros(0, np.int64)
    seen = answers.seen[checked]
    return Suggestions(
        labels=found,
        confidence=confidence,
        margin=top[:, 1] - top[:, 0],
        checked=checked,
        held=sure[checked],
        right=seen & (again == own)[checked],
        model_right=seen & (answers.model == own)[checked],
        among=answers.among[checked],
    )


def classified(
    unit: np.ndarray, probabilities: np.ndarray, classes: np.ndarray, taught: np.ndarray, *, seed: int = 0
) -> np.ndarray | None:
    """(N,) int64: the class that the classifier of `suggested` gives each image, for comparisons; None if it would
    learn only one.

    Args:
        unit: (N, D) float32, features of length 1.
        probabilities: (N, K) float32, of a model.
        classes: (N,) int64, what people said of the images `taught` (N,) bool; nothing else of it is read.
    """
    chosen = _some(taught, seed)
    if len(np.unique(classes[chosen])) < 2:
        return None
    with one_blas_thread():
        model = _fitted(_inputs(unit[chosen], probabilities[chosen]), classes[chosen])
    return model.classes_[_logits(model, unit, probabilities).argmax(1)].astype(np.int64)


def least_sure_first(found: Suggestions) -> np.ndarray:
    """(N,) int64: all images, those first where the two likeliest classes are closest."""
    return np.argsort(found.margin, kind="stable")


def _some(taught: np.ndarray, seed: int) -> np.ndarray:
    """(a,) int64: images of `taught` (N,) bool in random order, as many as are learned."""
    return np.random.default_rng(seed).permutation(np.flatnonzero(taught))[:MOST_ANSWERS]


def _inputs(unit: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(a, D + K): what the classifier sees of images."""
    return np.hstack([FEATURES * unit, PROBABILITIES * probabilities])


def _learned(inputs: np.ndarray, answers: np.ndarray) -> tuple[LogisticRegression, float, np.ndarray]:
    """The classifier of all answers, its temperature, and the probabilities (d, K) of each answer by one that was not
    told it; (0, K) of too few answers."""
    with one_blas_thread():  # where everything is this small, threads only wait for each other
        model = _fitted(inputs, answers)
        if len(answers) < LEAST_TO_MEASURE:
            return model, 1.0, np.zeros((0, len(model.classes_)), np.float32)
        held = _held_back(inputs, answers)
    temperature = _temperature(held, np.searchsorted(model.classes_, answers))
    return model, temperature, _softmax(held / temperature)


def _fitted(inputs: np.ndarray, classes: np.ndarray) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300, tol=1e-3).fit(inputs, classes)


def _logits(model: LogisticRegression, unit: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N, K) float32 logits of all images, without a table of all their inputs."""
    weights, features = model.coef_.astype(np.float32), unit.shape[1]
    scores = unit @ (FEATURES * weights[:, :features].T) + probabilities @ (PROBABILITIES * weights[:, features:].T)
    return _both(scores + model.intercept_.astype(np.float32))


def _both(scores: np.ndarray) -> np.ndarray:
    """Scores as (N, K) logits: of two classes scikit-learn has one, that of the second."""
    scores = scores.reshape(len(scores), -1)
    return np.hstack([-scores / 2, scores / 2]) if scores.shape[1] == 1 else scores


def _held_back(inputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(d, K) float32 logits of each answer by a classifier that was trained without it; a class that is only among
    the answers held back has no chance there."""
    numbers = np.unique(classes)
    logits = np.full((len(classes), len(numbers)), -1e3, np.float32)
    folds = np.arange(len(classes)) % FOLDS  # the answers are in random order
    for fold in range(FOLDS):
        taught, held = folds != fold, folds == fold
        if len(np.unique(classes[taught])) < 2:
            logits[held, np.searchsorted(numbers, classes[taught][0])] = 0
            continue
        model = _fitted(inputs[taught], classes[taught])
        places = np.searchsorted(numbers, model.classes_)
        logits[np.ix_(held, places)] = _both(model.decision_function(inputs[held]))
    return logits


def _temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature in 1/8–8 at which the logits (d, K) explain the labels (d,) best."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(power: float) -> float:
        return -float(np.log(np.maximum(_softmax(logits / 2**power)[rows, truth], 1e-6)).mean())

    return 2 ** float(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 0.01}).x)


def _shifted(
    all_: tuple[np.ndarray, np.ndarray],
    held: tuple[np.ndarray, np.ndarray],
    measuring: np.ndarray,
    right: np.ndarray,
    chance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Both confidences (N,) shifted by `_moved`, apart for suggestions that agree with the model and those that do not,
    by what the answers held back say.

    Args:
        all_, held: the confidence (N,) and whether (N,) bool the suggestion agrees with the model; of `held`, where the
            image taught, by a classifier that was not told.
        measuring: (d,) the images held back, and whether each suggestion was `right` (d,) bool.
        chance: the confidence of a guess.
    """
    out = [confidence.copy() for confidence, _ in (all_, held)]
    for agrees, usual in ((True, AGREES), (False, DISAGREES)):
        some = held[1][measuring] == agrees
        shift = _shift(held[0][measuring][some], right[some], usual, chance)
        for target, (confidence, same) in zip(out, (all_, held), strict=True):
            rows = same == agrees
            target[rows] = _moved(confidence[rows], shift, chance)
    return out[0], out[1]


def _shift(confidence: np.ndarray, right: np.ndarray, usual: float, chance: float) -> float:
    """By how much to move confidences (d,) so that they fit best what was right (d,) bool. It lies near the `usual` (a
    normal distribution of variance 4) until there are many answers."""
    from scipy.optimize import minimize_scalar

    if not len(right):
        return usual

    def loss(shift: float) -> float:
        sure = np.clip(_moved(confidence, shift, chance), 1e-6, 1 - 1e-6)
        return float((shift - usual) ** 2 / 8 - np.log(np.where(right, sure, 1 - sure)).sum())

    return float(minimize_scalar(loss, bounds=(usual - 5, usual + 5), method="bounded", options={"xatol": 0.01}).x)


def _moved(confidence: np.ndarray, shift: float, chance: float) -> np.ndarray:
    """Confidences with `shift` added to the log-odds of how far they are from `chance`: none becomes less than a guess.

    >>> _moved(np.array([0.25, 0.625, 1.0]), -1.0, 0.25).round(2).tolist()
    [0.25, 0.45, 1.0]
    """
    more = np.maximum(confidence - chance, 0) / (1 - chance)
    moved = more / (more + (1 - more) * np.exp(-shift))
    return (chance + (1 - chance) * moved).astype(confidence.dtype)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
