"""How accurate the label-free estimate of purity is: `engine.metrics.estimated_purity`.

Good and bad runs are trained, and their labels judged by many thresholds. For every subset, the true
purity is compared with this estimate and with simpler ones. Truth is used only to score.
"""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations import trained
from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, table, write
from engine import metrics
from engine.config import ReliableSettings, RunConfig, with_settings
from engine.health.exclusions import cut
from engine.presets import preset
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened, open_source
from engine.stages.reliable import judge

AGREEMENT = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
CONFIDENCE = (0.5, 0.7, 0.9, 0.95, 0.99)
LEAST = 20  # images in a subset: the purity of fewer means little
DIGITS_SEEDS = 5
# Stage 3 on photographs is slow on a CPU; these steps are enough to change its labels.
AS_IT_IS = {"features.source": "encoder:small-cifar100", "features.epochs": 0, "joint.steps": 8}
APART = ("airplane", "automobile", "frog")  # easy to tell apart; in alphabetical order
OURS = "ours"
Point = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A data set, a number of clusters, and settings for good or bad runs."""

    title: str
    opened: Opened
    clusters: int
    seeds: int
    changes: dict[str, Any] = field(default_factory=dict)

    def config(self, seed: int) -> RunConfig:
        channels = self.opened.images.channels
        return with_settings(preset("quick", clusters=self.clusters, channels=channels, seed=seed), self.changes)


def cases(options: Options) -> list[Case]:
    """All cases; photographs only if --data names them."""
    digits, seeds = open_source("digits"), options.seeds
    found = [
        Case("digits", digits, 10, DIGITS_SEEDS),
        Case("digits, 4 epochs of stage 1", digits, 10, seeds, {"features.epochs": 4}),
        Case("digits, K = 8", digits, 8, seeds),
        Case("digits, K = 14", digits, 14, seeds),
    ]
    if options.data:
        subset = cifar10_images(options, "train", options.images)
        for part, clusters in ((subset, 10), (only(subset, APART), len(APART))):
            title = f"{NAME}, {len(part.images):,} images, K = {clusters}"
            found.append(Case(title, part, clusters, seeds, AS_IT_IS))
    return found


def only(opened: Opened, classes: Sequence[str]) -> Opened:
    """Only the images of these classes."""
    assert opened.truth is not None
    numbers = [opened.truth.class_names.index(name) for name in classes]
    return cut(opened, np.isin(opened.truth.labels, numbers))


# -- one run -----------------------------------------------------------------------------------


def measured(folder: Path, case: Case, seed: int, device: str) -> dict[str, list[Point]]:
    """Trains a run, measures its subsets, and deletes it."""
    trained(folder, case.opened, case.config(seed), device)
    found = points(RunFolder(folder))
    shutil.rmtree(folder)
    return found


def points(run: RunFolder) -> dict[str, list[Point]]:
    """For the labels of each stage: the true purity of subsets, and every estimate of it."""
    truth, settings = run.truth(), run.config().reliable
    assert truth is not None
    heads = np.asarray(run.load("heads")["head_labels"])
    out: dict[str, list[Point]] = {}
    for stage in ("heads", "joint"):
        verdict = {key: np.asarray(value) for key, value in run.load(f"reliable-{stage}").items()}
        labels, agreement = verdict["labels"], verdict["agreement"]
        votes, clusters = metrics.head_votes(heads, labels), run.config().clusters
        posterior = dawid_skene(heads, labels, clusters)
        out[stage] = []
        for asked in thresholds(settings):
            mask = judge(labels, verdict["confidence"], agreement, clusters, asked).verdicts == 0
            if mask.sum() < LEAST:
                continue
            near, pairs = float(agreement[mask].mean()), float(votes[mask].mean())
            out[stage].append(
                {
                    "own": asked is settings,
                    "agreement": asked.agreement,
                    "confidence": asked.confidence,
                    "coverage": float(mask.mean()),
                    "purity": metrics.purity(labels[mask], truth.labels[mask]),
                    OURS: metrics.estimated_purity(labels, agreement, votes, mask),
                    "heads × the subset's own neighbours": pairs * near,
                    "heads, mistakes independent": independent(pairs, clusters),
                    "neighbours, mistakes independent": independent(near, clusters),
                    "heads, Dawid–Skene": float(posterior[mask].mean()),
                }
            )
    return out


def thresholds(own: ReliableSettings) -> Iterator[ReliableSettings]:
    """The run's own settings, then a grid of thresholds without a floor, which would lower them."""
    yield own
    for agreement, confidence in itertools.product(AGREEMENT, CONFIDENCE):
        yield ReliableSettings(agreement=agreement, confidence=confidence)


def independent(same: float, clusters: int) -> float:
    """The accuracy a of two labellings that agree on a share `same` of the images, if their mistakes are
    independent and uniform over the other clusters: same = a² + (1 − a)²/(K − 1)."""
    other = 1 / (clusters - 1)
    root = other**2 - (1 + other) * (other - same)
    return (other + math.sqrt(max(0.0, root))) / (1 + other)


def dawid_skene(heads: np.ndarray, labels: np.ndarray, clusters: int, rounds: int = 20) -> np.ndarray:
    """(N,) posterior of `labels` given the votes of heads (H, N), by expectation maximisation: each head is
    right with its own probability, and its mistakes are uniform."""
    votes = np.stack([metrics.renumbered(one, labels) for one in heads])
    rows, right = np.arange(len(labels)), np.full(len(heads), 0.8)
    for _ in range(rounds):
        odds = np.log(right * (clusters - 1) / (1 - right))
        score = np.zeros((len(labels), max(clusters, int(votes.max()) + 1)))
        for vote, weight in zip(votes, odds, strict=True):
            score[rows, vote] += weight
        belief = np.exp(score - score.max(1, keepdims=True))
        belief /= belief.sum(1, keepdims=True)
        right = np.array([belief[rows, vote].mean() for vote in votes]).clip(0.001, 0.999)
    return belief[rows, labels]


# -- summaries of the points -------------------------------------------------------------------


def errors(runs: Sequence[Sequence[Point]], method: str) -> list[float]:
    """Estimate − purity of every subset of every run, in percentage points."""
    return [100 * (one[method] - one["purity"]) for run in runs for one in run]


def rank_correlation(runs: Sequence[Sequence[Point]], method: str) -> float | None:
    """Spearman's correlation of estimate and purity over a run's subsets; mean over runs that have one."""
    from scipy.stats import spearmanr

    found = []
    for run in runs:
        said, purity = ([one[key] for one in run] for key in (method, "purity"))
        if len(set(said)) > 1 and len(set(purity)) > 1:
            found.append(float(spearmanr(said, purity).statistic))
    return statistics.mean(found) if found else None


def _described(runs: Sequence[Sequence[Point]], method: str) -> list[str]:
    off, rank = errors(runs, method), rank_correlation(runs, method)
    return [
        _signed(statistics.mean(off)),
        f"{statistics.mean(map(abs, off)):.1f}",
        _signed(max(off, key=abs)),
        "" if rank is None else f"{rank:.2f}".replace("-", "−"),
    ]


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def by_case(data: dict[str, dict[str, list[list[Point]]]]) -> str:
    """A row for every case and stage: our estimate for many subsets, and for the run's own reliable set."""
    rows = []
    for title, stages in data.items():
        for stage, runs in stages.items():
            own = [one for run in runs for one in run if one["own"]]
            purity = [one["purity"] for run in runs for one in run]
            said, true = ([100 * one[key] for one in own] for key in (OURS, "purity"))
            rows.append(
                [
                    title,
                    {"heads": "2", "joint": "3"}[stage],
                    f"{100 * min(purity):.0f} – {100 * max(purity):.0f}",
                    *_described(runs, OURS),
                    f"{statistics.mean(said):.1f} / {statistics.mean(true):.1f}" if own else "",
                ]
            )
    head = [
        "",
        "stage",
        "true purity, %",
        "mean error",
        "mean absolute error",
        "worst",
        "rank correlation",
        "own reliable set: estimate / truth, %",
    ]
    return table(head, rows)


def by_method(data: dict[str, dict[str, list[list[Point]]]], methods: Sequence[str]) -> str:
    """A row for every estimate, averaged over all cases and stages with equal weight."""
    rows = []
    groups = [runs for stages in data.values() for runs in stages.values()]
    for method in methods:
        off = [errors(runs, method) for runs in groups]
        ranks = [rank_correlation(runs, method) for runs in groups]
        rows.append(
            [
                method,
                _signed(statistics.mean(map(statistics.mean, off))),
                f"{statistics.mean(statistics.mean(map(abs, one)) for one in off):.1f}",
                _signed(max(itertools.chain(*off), key=abs)),
                f"{statistics.mean(one for one in ranks if one is not None):.2f}",
            ]
        )
    return table(["", "mean error", "mean absolute error", "worst", "rank correlation"], rows)


def measure(options: Options) -> None:
    """Writes results/estimates-DEVICE."""
    pieces = Pieces("estimates", options)
    data: dict[str, dict[str, list[list[Point]]]] = {}
    for number, case in enumerate(cases(options)):
        runs = [
            pieces.get(
                f"{case.title} {seed}",
                lambda c=case, s=seed, n=number: measured(pieces.folder / f"case{n}-{s}", c, s, options.device),
                seconds=180,
            )
            for seed in range(case.seeds)
        ]
        data[case.title] = {stage: [run[stage] for run in runs] for stage in ("heads", "joint")}
    first = next(iter(data.values()))["heads"][0][0]
    methods = [key for key in first if key == OURS or " " in key]
    seeds = f"{DIGITS_SEEDS} seeds of digits and {options.seeds} of every other case"
    body = (
        f"{seeds}; each run's labels of stages 2 and 3 judged by its own settings and by "
        f"{len(AGREEMENT)} × {len(CONFIDENCE)} thresholds (agreement {AGREEMENT[0]} – {AGREEMENT[-1]}, "
        f"confidence {CONFIDENCE[0]} – {CONFIDENCE[-1]}; subsets of {LEAST} images or more). Error: "
        "estimate − true purity, in percentage points.\n\n"
        f"{by_case(data)}\n\nThe mean over all of these rows, next to simpler estimates:\n\n"
        f"{by_method(data, methods)}\n\n"
        "Ours: the share of pairs of heads that agree in the subset × the agreement of neighbours. "
        "The latter is shrunk from the subset's value towards that of all images in its clusters, and "
        "more strongly if heads and neighbours agree less in the whole run. This form was chosen on "
        "one or two runs of each of these cases, so errors may be larger on other images."
    )
    write("estimates", "Estimated purity", data, body, slug=device_slug(options.device))
