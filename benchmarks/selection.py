"""Which labelling is chosen without labels: of all heads of all rounds of stage 2, by each criterion.

The truth scores, and chooses which images a set has; no run and no criterion sees it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.ablations import trained
from benchmarks.baselines.linear_probe import generalised
from benchmarks.long_tail import FEWER_SEEDS, PRESETS, Set
from benchmarks.pieces import Options, Pieces, cache_in
from benchmarks.report import device_slug, spread, table, write
from engine import metrics
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.errors import SourceError
from engine.presets import preset
from engine.runs.folder import RunFolder
from engine.runs.pipeline import batches_of, load_features
from engine.runs.runner import choose_device
from engine.sources.open_source import Opened
from engine.space.neighbors import nearest
from engine.stages.clustering import JUDGES, alive, head_agreement, neighbor_agreement
from engine.stages.features import Features
from engine.stages.heads import Rounds, claimed_by_head, e_step, m_step

SETS = (Set("digits", 1), Set("digits", 10), Set("shapes", 1), Set("CIFAR-10", 1), Set("CIFAR-10", 10))
# The labelling with the highest score is chosen.
CRITERIA = ("loss", "consensus", "neighbors", "linear probe")
# What is said of each, with how many decimals.
SHOWN = {"acc": 3, "regret": 1, "rank": 2}


def labellings(config: RunConfig, features: Features, pixels: DeviceImages) -> tuple[np.ndarray, np.ndarray]:
    """(R, H, N) labels of each head after each round of stage 2, and (R, H) its loss on all images."""
    rounds = Rounds(config, batches_of(features, pixels), features)
    unit = F.normalize(rounds.vectors, dim=1)
    labels, losses = [], []
    for index in range(config.heads.epochs):
        drawn = rounds.draw(index)
        m_step(config.heads, rounds.heads, rounds.optimiser, drawn, e_step(config.heads, rounds.heads, drawn).labels)
        heads = range(len(rounds.heads))
        with torch.no_grad():
            each = [
                claimed_by_head(config.heads, rounds.heads, one, rounds.vectors, unit, rounds.known) for one in heads
            ]
        losses.append([one[0] for one in each])
        labels.append([one[1].cpu().numpy() for one in each])
    return np.array(labels), np.array(losses)


def criteria(labels: np.ndarray, losses: np.ndarray, vectors: np.ndarray, clusters: int) -> dict[str, np.ndarray]:
    """(R·H,) each, the higher the better, of labels (R, H, N)."""
    flat = labels.reshape(-1, labels.shape[2])
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return {
        "loss": -losses.ravel(),
        "consensus": np.concatenate([head_agreement(one) for one in labels]),
        "neighbors": neighbor_agreement(flat, nearest(vectors, JUDGES)),
        "linear probe": generalised(unit, flat, clusters),
    }


def chosen(score: np.ndarray, left: list[int] | None) -> int:
    """The best of the labellings, the last of equals; only of those with most clusters left, where these are given."""
    clusters = [0] * len(score) if left is None else left
    return max(range(len(score)), key=lambda one: (clusters[one], score[one], one))


def outcome(one: Set, options: Options, place: Path, seed: int) -> dict[str, Any]:
    """For each criterion the accuracy of what it chooses, how many points of 100 that is below the best, and its rank
    correlation with the accuracy; beside it accuracies of all labellings."""
    opened = one.open(options)
    assert opened.truth is not None
    clusters = len(opened.truth.class_names)
    asked = preset(PRESETS[one.source], clusters=clusters, channels=opened.images.channels, seed=seed)
    config = with_settings(asked, one.settings(place))
    labels, losses, vectors = _made(place / "run", replace(opened, truth=None), config, options.device)
    flat = labels.reshape(-1, labels.shape[2])
    accuracy = np.array([metrics.accuracy(each, opened.truth.labels) for each in flat])
    left, found = alive(flat, clusters), {}
    for name, score in criteria(labels, losses, vectors, clusters).items():
        best = float(accuracy[chosen(score, None if name == "loss" else left)])
        found[name] = {"acc": best, "regret": 100 * (float(accuracy.max()) - best), "rank": _rank(score, accuracy)}
    last = accuracy[-labels.shape[1] :]
    about = {"best": accuracy.max(), "mean of all": accuracy.mean(), "mean of the last round": last.mean()}
    return {"criteria": found, "acc": {name: float(value) for name, value in about.items()}}


def _made(place: Path, opened: Opened, config: RunConfig, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and losses of all rounds, and the features, of a run in `place`, which is deleted."""
    shutil.rmtree(place, ignore_errors=True)
    trained(place, opened, config, device)
    pixels = DeviceImages(opened.images, choose_device(device).device)
    features = load_features(RunFolder(place), pixels)
    labels, losses = labellings(config, features, pixels)
    vectors = np.array(features.vectors)
    shutil.rmtree(place)
    return labels, losses, vectors


def _rank(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Spearman's correlation; 0 where all are equal."""
    from scipy.stats import spearmanr

    return float(spearmanr(score, accuracy)[0]) if np.ptp(score) and np.ptp(accuracy) else 0.0


def measure(options: Options) -> None:
    """Writes results/selection-DEVICE, again after each set."""
    torch.set_num_threads(1)
    pieces = Pieces("selection", options)
    found: dict[str, list[dict[str, Any]]] = {}
    with cache_in(pieces.folder / "cache"):
        for one in SETS:
            try:
                one.open(options)
            except SourceError as error:
                print(f"{one.name} is left out: {error}", flush=True)
                continue
            seeds = range(min(options.seeds, FEWER_SEEDS.get(one.source, options.seeds)))
            found[one.name] = [
                pieces.get(f"{one.name} {seed}", partial(outcome, one, options, pieces.folder, seed), seconds=180)
                for seed in seeds
            ]
            body = report_body(found)
            write("selection", "Choosing without labels", {"runs": found}, body, slug=device_slug(options.device))


def report_body(found: dict[str, list[dict[str, Any]]]) -> str:
    """One table a set, and one of all."""
    about = (
        "Every head after every round of stage 2 is a labelling (150 in `quick` and `shapes`, 40 in `photos`); each "
        "criterion chooses one. Regret: what the accuracy of the best of them has more, in points. Rank: Spearman's "
        "correlation of the criterion with the accuracy. Mean ± standard deviation (lowest) over seeds. Loss: of the "
        "head on its own pseudo-labels (the paper). Consensus: agreement with the other heads of the round. "
        "Neighbors: how often the nearest images have the same label. Linear probe: how often a linear classifier "
        "gives images that it has not seen their label (TURTLE). By all but loss, a labelling that has lost a cluster "
        "loses to any that has not."
    )
    parts = [
        f"## {name}\n\n{len(runs)} seeds; {_accuracies(runs)}.\n\n{_by_criterion(runs)}" for name, runs in found.items()
    ]
    return "\n\n".join([about, *parts, f"## All sets\n\nMeans over the sets above.\n\n{_whole(found)}"])


def _accuracies(runs: list[dict[str, Any]]) -> str:
    return "; ".join(f"{name}: {spread([one['acc'][name] for one in runs])}" for name in runs[0]["acc"])


def _by_criterion(runs: list[dict[str, Any]]) -> str:
    rows = []
    for name in CRITERIA:
        each = [one["criteria"][name] for one in runs]
        rows.append([name, *(spread([one[what] for one in each], digits) for what, digits in SHOWN.items())])
    return table(["", "ACC", "regret", "rank"], rows)


def _whole(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for name in CRITERIA:
        regret, rank = (
            [np.mean([one["criteria"][name][what] for one in runs]) for runs in found.values()]
            for what in ("regret", "rank")
        )
        rows.append([name, f"{np.mean(regret):.1f}", f"{np.max(regret):.1f}", f"{np.mean(rank):.2f}"])
    return table(["", "regret", "regret in the worst set", "rank"], rows)
