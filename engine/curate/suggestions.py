"""A light classifier on the features: what the answers given so far say about every other image. Pure.

It learns in a moment what training with decisions takes minutes for, so it follows every few answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.curate.audit import Share, wilson

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


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The class that N images would get, and how sure that is.

    Attributes:
        labels: (N,) int64, numbers of classes that were answered.
        confidence: (N,) float32 in 0–1, calibrated on held-back answers where there are `LEAST_TO_MEASURE`.
        margin: (N,) float32 in 0–1, how much likelier the label is than the second likeliest.
        held: (d,) float32, the confidence in the label of each held-back answer: from a classifier that was
            not told it.
        held_right: (d,) bool, whether that label was the answer.
    """

    labels: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray
    held: np.ndarray
    held_right: np.ndarray

    @property
    def measured(self) -> bool:
        """Whether enough answers were held back to say how often suggestions are right."""
        return len(self.held) >= LEAST_TO_MEASURE

    def right(self, least: float) -> Share:
        """Of the held-back answers whose label was at least as sure as `least`, how many were right.

        Its `low` is a promise for images like those answered; the whole interval is not one: a classifier that
        was told all answers does one or two points better.
        """
        sure = self.held >= least
        return wilson(int(self.held_right[sure].sum()), int(sure.sum()))


def suggested(
    unit: np.ndarray, probabilities: np.ndarray, answered: np.ndarray, classes: np.ndarray, *, seed: int = 0
) -> Suggestions | None:
    """Suggestions for all images by logistic regression on what was answered; None before two classes were.

    Each answer is held back once, from a classifier trained on nine tenths of the answers. The confidence is
    calibrated by one temperature (Guo et al., arXiv 1706.04599, section 4.2), fitted on the held-back answers.

    Args:
        unit: (N, D) float32, features of length 1.
        probabilities: (N, K) float32, of the run's newest model.
        answered: (d,) ids of images that a person looked at and answered.
        classes: (d,) the number of the class that each was given.
    """
    if len(np.unique(classes)) < 2:
        return None
    chance = np.random.default_rng(seed)
    chosen = chance.permutation(len(answered))[:MOST_ANSWERS]
    answered, classes = np.asarray(answered)[chosen], np.asarray(classes, np.int64)[chosen]
    inputs = np.hstack([FEATURES * unit[answered], PROBABILITIES * probabilities[answered]])
    held, temperature = np.zeros((0, 2), np.float32), 1.0
    if len(answered) >= LEAST_TO_MEASURE:
        numbers, logits = _held_back(inputs, classes)
        temperature = _temperature(logits, np.searchsorted(numbers, classes))
        belief = _softmax(logits / temperature)
        held = np.stack([belief.max(1), numbers[belief.argmax(1)] == classes], 1)
    model = _fitted(inputs, classes)
    belief = _softmax(_logits(model, unit, probabilities) / temperature)
    top = np.partition(belief, -2, axis=1)[:, -2:]
    return Suggestions(
        model.classes_[belief.argmax(1)],
        top[:, 1],
        top[:, 1] - top[:, 0],
        held[:, 0].astype(np.float32),
        held[:, 1].astype(bool),
    )


def least_sure_first(found: Suggestions) -> np.ndarray:
    """(N,) int64: all images, those first where the two likeliest classes are closest."""
    return np.argsort(found.margin, kind="stable")


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


def _held_back(inputs: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes (K,), and logits (d, K) of each answer by a classifier that was trained without it; a class that
    is only among the answers held back has no chance there."""
    numbers = np.unique(classes)
    logits = np.full((len(classes), len(numbers)), -1e3)
    folds = np.arange(len(classes)) % FOLDS  # the answers are in random order
    for fold in range(FOLDS):
        taught, held = folds != fold, folds == fold
        if len(np.unique(classes[taught])) < 2:
            logits[held, np.searchsorted(numbers, classes[taught][0])] = 0
            continue
        model = _fitted(inputs[taught], classes[taught])
        places = np.searchsorted(numbers, model.classes_)
        logits[np.ix_(held, places)] = _both(model.decision_function(inputs[held]))
    return numbers, logits


def _temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature in 1/8–8 at which the logits (d, K) explain the labels (d,) best."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(power: float) -> float:
        return -float(np.log(np.maximum(_softmax(logits / 2**power)[rows, truth], 1e-6)).mean())

    return 2 ** float(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 0.01}).x)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
