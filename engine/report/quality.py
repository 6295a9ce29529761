"""How good the labels are, by what each kind of evidence can say: people's answers, scores without labels, truth."""

from __future__ import annotations

from dataclasses import dataclass

from engine.curate.audit import LEAST_ANSWERS
from engine.curate.measured import Measured
from engine.report.labels import Labels
from engine.runs.folder import RunFolder
from engine.runs.results import summary
from engine.runs.snapshot import Snapshot
from engine.shares import percent
from engine.terms import SCORE_MEANINGS, SCORE_NAMES, TRUTH_NAMES

# By the keys of a summary.
_STAGES = {"stage1": "Stage 1", "stage2": "Stage 2", "stage3": "Stage 3"}


@dataclass(frozen=True)
class Score:
    """A score, its meaning ("" where its name says it), and its value at each stage."""

    name: str
    meaning: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Scores of the stages that have been scored."""

    stages: tuple[str, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Quality:
    """What is known of the labels.

    Attributes:
        measured: sentences about what people's answers measured.
        estimate: of the reliable labels' purity, without any truth; "" where nothing can be said, or answers say it.
        scores: label-free. truth: None without ground truth.
        purity: of the reliable labels, by truth; "" without.
    """

    measured: tuple[str, ...]
    estimate: str
    scores: Table
    truth: Table | None
    purity: str


def quality_of(folder: RunFolder, snapshot: Snapshot, found: Labels) -> Quality:
    """Scores from the run's `summary`, and what people's answers say now."""
    told = summary(folder, snapshot)
    stages, truth = told["stages"], told.get("truth", {})
    scored = tuple(stages)
    scores = tuple(
        Score(SCORE_NAMES[name], SCORE_MEANINGS[name], tuple(_number(stages[one][name]) for one in scored))
        for name in SCORE_NAMES
        if any(stages[one][name] is not None for one in scored)
    )
    by_truth = tuple(one for one in _STAGES if one in truth)
    compared = tuple(
        Score(title, "", tuple(percent(truth[one][name]) for one in by_truth)) for name, title in TRUTH_NAMES.items()
    )
    estimate = "" if found.estimate is None or found.measured_reliable.enough else percent(found.estimate)
    return Quality(
        _measured(found),
        estimate,
        Table(tuple(_STAGES[one] for one in scored), scores),
        Table(tuple(_STAGES[one] for one in by_truth), compared) if by_truth else None,
        percent(truth["reliable_purity"]) if "reliable_purity" in truth else "",
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _measured(found: Labels) -> tuple[str, ...]:
    if not found.measured.answers:
        return (
            "Nobody has measured these labels yet: no person has looked at an image and answered, apart from answers "
            "that training used.",
        )
    said = [_sentence("all labels", found.measured)]
    if found.verdict is not None and found.measured_reliable.answers:
        said.append(_sentence("the reliable labels", found.measured_reliable))
    return tuple(said)


def _sentence(what: str, found: Measured) -> str:
    """What answers say of some labels: an interval only where images were drawn at random."""
    estimate = found.estimate
    if estimate is not None:
        return (
            f"Of {what}, about {percent(estimate.value)} are right ({percent(0.95, 0)} interval: "
            f"{percent(estimate.low)} to {percent(estimate.high)}), from {estimate.answers:,} random answers."
        )
    counted = f"Of {what}, people looked at {found.answers:,}: {found.right:,} are right."
    if found.enough:
        return f"{counted} These were not drawn at random, so the others may be better or worse."
    return f"{counted} These are too few to say anything about the others ({LEAST_ANSWERS} are needed)."
