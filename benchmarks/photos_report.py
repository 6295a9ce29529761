"""The tables of the benchmark `photos`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.baselines.plain import DIRECTIONS, FOLDS, NEIGHBORS, STARTS
from benchmarks.baselines.temi import TemiSettings
from benchmarks.baselines.turtle import TurtleSettings
from benchmarks.lite_network import TITLE
from benchmarks.photos_methods import CLUSTERS, FEW_IMAGES, FEW_SEEDS, TEMI, TURTLE
from benchmarks.report import spread, table

STAGES = {"stage1": "SPICE, stage 1 (k-means)", "stage2": "SPICE, stage 2", "stage3": "SPICE, stage 3"}
SETS = {"heads": "after stage 2, which stage 3 learns from", "joint": "after stage 3"}
SCORES = ("acc", "nmi", "ari")
ABSENT = "not available"


def line(name: str, title: str, seed: int, scores: dict[str, float], seconds: float | None) -> None:
    """Prints a result as soon as it is there."""
    took = "" if seconds is None else f", {seconds:.1f} s"
    values = ", ".join(f"{score.upper()} {scores[score]:.3f}" for score in SCORES)
    print(f"{name}: {title}, seed {seed}: {values}{took}", flush=True)


def report_body(found: dict[str, Any]) -> str:
    """The whole text, from what `measure` has found so far."""
    seeds = found["seeds"]
    skipped = [f"The set {name} was not measured: {why}." for name, why in found["skipped"].items()]
    return "\n\n".join(
        [
            f"{TITLE}, frozen; preset `photos`; K = {CLUSTERS}; {seeds} seeds (0–{seeds - 1}): mean ± standard "
            f"deviation (lowest). {found['threads']} threads. Ground truth is used only to score, but for the last row "
            "of each table.",
            *(set_body(name, one) for name, one in found["sets"].items()),
            *skipped,
            notes(),
        ]
    )


def set_body(name: str, one: dict[str, Any]) -> str:
    parts = [f"## {name}", f"{one['about']}; here {one['images']:,} images.", score_table(one), gain_table(one)]
    parts.append(reliable_table(one["spice"]))
    if one["embedding"] is not None:
        parts.append(embedding_text(one["images"], one["embedding"]))
    return "\n\n".join(parts)


def score_table(one: dict[str, Any]) -> str:
    """A row for each method and each stage; a stage that was skipped says so."""
    titles = list(one["methods"])
    rows = [_row(title, one["methods"][title]) for title in titles[:-1] if one["methods"][title]]
    for stage, title in STAGES.items():
        runs = (
            [run["truth"][stage] | {"seconds": run["seconds"].get(stage)} for run in one["spice"]]
            if all(stage in run["truth"] for run in one["spice"])
            else []
        )
        rows.append(_row(title, runs) if runs else [title, 0, ABSENT, "", "", ""])
    rows.append(_row(titles[-1], one["methods"][titles[-1]]))
    skipped = {why for run in one["spice"] for why in run["skipped"].values()}
    text = table(["", "runs", "ACC", "NMI", "ARI", "seconds"], rows)
    return "\n\n".join([text, *(f"Stage 3 was skipped: {why}." for why in sorted(skipped))])


def _row(title: str, runs: Sequence[dict[str, Any]]) -> list[object]:
    seconds = [run["seconds"] for run in runs]
    return [
        title,
        len(runs),
        *(spread([run[score] for run in runs]) for score in SCORES),
        "" if None in seconds else spread(seconds, 1),
    ]


def gain_table(one: dict[str, Any]) -> str:
    """Differences in accuracy between runs of the same seed, in percentage points."""
    values = {title: [run["acc"] for run in runs] for title, runs in one["methods"].items()}
    for stage, title in STAGES.items():
        values[title] = [run["truth"][stage]["acc"] for run in one["spice"] if stage in run["truth"]]
    rows = []
    for after, before in (
        ("stage2", "k-means"),
        ("stage2", "UMAP + k-means"),
        ("stage3", STAGES["stage2"]),
        ("stage3", "k-means"),
        ("stage3", "UMAP + k-means"),
    ):
        gains = [100 * (a - b) for a, b in zip(values[STAGES[after]], values.get(before, []), strict=False)]
        if gains:
            rows.append([f"{STAGES[after]}, over {before}", spread(gains, 1), ", ".join(f"{g:+.1f}" for g in gains)])
    return table(["gain, points of ACC", "mean ± standard deviation (lowest)", "by seed"], rows)


def reliable_table(runs: Sequence[dict[str, Any]]) -> str:
    rows = []
    for stage, title in SETS.items():
        sets = [run["reliable"][stage] for run in runs if stage in run["reliable"]]
        pure = [each["purity"] for each in sets if each["purity"] is not None]
        if sets and pure:
            rows.append([title, spread([each["share"] for each in sets]), spread(pure)])
    return table(["reliable set", "share", "purity"], rows)


def embedding_text(images: int, embedding: dict[str, Any]) -> str:
    passes = images * embedding["views"]
    return (
        f"Embedding, once for all seeds: {passes:,} passes ({images:,} images, each in {embedding['views']} views, "
        f"itself among them) in {embedding['seconds']:,.0f} s. In turns in one process, over the same "
        f"{embedding['count']:,} passes: the engine {embedding['engine']:.1f} a second, with reading, views, scaling "
        f"and files; a bare loop of the network on finished batches {embedding['bare']:.1f}; ratio "
        f"{embedding['ratio']:.2f} (median of rounds)."
    )


def notes() -> str:
    """What the methods are, in which settings."""
    published = TemiSettings()
    return (
        f"k-means: scikit-learn, {STARTS} starts, on unit vectors. UMAP: {DIRECTIONS} dimensions, {NEIGHBORS} "
        "neighbours, least distance 0, by cosine. TEMI (arXiv 2303.17896) and TURTLE (arXiv 2406.07236) are written "
        "from the papers, and are given what SPICE's heads begin with: the leading directions of unit vectors. "
        f"TEMI, more steps: {TEMI.heads} linear heads, {TEMI.neighbors} neighbours, β = {TEMI.beta:g}, "
        f"{TEMI.least_steps:,} steps of {TEMI.batch} pairs at a learning rate of {TEMI.learning_rate:g}, momentum of "
        f"the teacher {TEMI.teacher_momentum:g}. As published it has heads with a hidden layer, {published.epochs} "
        f"epochs at {published.learning_rate:g} and momentum {published.teacher_momentum:g}: with so few images these "
        "are a few hundred steps, in which heads and teacher stay near their random weights. TURTLE, warm start: "
        f"{TURTLE.outer_steps:,} outer steps on batches of at most {TURTLE.batch:,} images, {TURTLE.inner_steps} inner "
        f"steps each, γ = {TURTLE.gamma:g}; as published it starts cold, and takes {TurtleSettings().outer_steps:,} on "
        "all images. Its γ makes the clusters equally large, whatever the classes are. The settings of the baselines "
        "that are not published were chosen by their accuracy on clothes, seed 0, which favours them. Published "
        "settings: "
        f"{FEW_SEEDS} seed, and sets of at most {FEW_IMAGES:,} images. Logistic regression is given the labels of the "
        f"other folds ({FOLDS} folds): a ceiling, no rival. Seconds are those of each method alone, without the "
        "network; those of stage 2 contain its start from a UMAP layout in a process of its own, with the imports of "
        "that process."
    )
