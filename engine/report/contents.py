"""`Contents`: everything that a report says, as plain data. `page` turns it into HTML."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from engine.config import SCRATCH, RunConfig
from engine.curate.log import DecisionLog
from engine.data.images import ImageSet
from engine.errors import RunError, Stopped
from engine.events import STAGES, Stage
from engine.report.clusters import Cluster, Shown, clusters_of, thresholds_of
from engine.report.labels import Labels, labels_of
from engine.report.people import People, people_of
from engine.report.pictures import Pictures
from engine.report.points import map_of
from engine.report.quality import Quality, quality_of
from engine.report.settings import Group, groups_of, without_folders
from engine.report.source import SourceHealth, health_of
from engine.runs.folder import RunCard, RunFolder
from engine.runs.results import learned_from, observe
from engine.runs.snapshot import LIVE, Snapshot
from engine.shares import percent
from engine.sources.originals import origin_named
from engine.terms import REASONS, STAGE_TITLES, duration

NUMBERED: dict[Stage, str] = {"features": "stage 1", "heads": "stage 2", "joint": "stage 3"}
LIBRARIES = {"spice-explorer": "SPICE Explorer", "torch": "PyTorch", "numpy": "NumPy", "umap-learn": "UMAP"}
# Called with what is being done, and the share of it all that is done.
Progress = Callable[[str, float], None]
# What a report is made of, in this order; the page is made of all.
PARTS = ("labels", "pictures", "map", "scores", "page")


@dataclass(frozen=True)
class Figure:
    """A number that stands alone, what it counts, and what should be known of it."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a report says.

    Attributes:
        title: the source's own name. run: the run's.
        made: when the report was made, in seconds since 1970.
        notices: what a reader must know before all else: how far the run is, what is missing.
        figures, facts: the summary.
        clusters: of the newest labels. counts: images by verdict, in the order of `REASONS`; None after stage 1 alone.
        thresholds: what a reliable label needs, in words.
        map: as `map_of` packs it.
    """

    title: str
    run: str
    made: float
    notices: tuple[str, ...]
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...]
    quality: Quality
    clusters: tuple[Cluster, ...]
    counts: tuple[int, ...] | None
    thresholds: tuple[tuple[str, str], ...]
    shown: Shown
    map: dict[str, Any]
    people: People
    health: SourceHealth
    settings: tuple[Group, ...]


def check(folder: RunFolder) -> None:
    """Raises RunError before stage 1 is done."""
    if not folder.has("features"):
        raise RunError(f"{folder.path} has nothing to report yet: train until stage 1 is done")


def contents(
    folder: RunFolder,
    log: DecisionLog,
    *,
    progress: Progress = lambda _part, _done: None,
    stop: Callable[[], bool] = lambda: False,
) -> Contents:
    """What the report of a run says, as it is now; reads the run's folder and caches only.

    Args:
        progress: called before each of PARTS.
        stop: called as often.

    Raises:
        RunError: before stage 1 is done.
        DecisionError: when the decisions cannot be read.
        Stopped: when `stop()` said so.
    """

    def begin(part: str) -> None:
        progress(part, PARTS.index(part) / len(PARTS))
        if stop():
            raise Stopped

    card = folder.card()
    check(folder)
    begin("labels")
    snapshot, found, images = observe(folder), labels_of(folder, log), folder.images()
    pictures = Pictures(images, card.origin or origin_named(card.source), folder.originals())
    begin("pictures")
    rows, shown = clusters_of(found, images, pictures)
    begin("map")
    plane = map_of(found, images, pictures)
    counts = None
    if found.verdict is not None:
        counts = tuple(np.bincount(found.verdict.verdicts, minlength=len(REASONS)).tolist())
    begin("scores")
    quality, health = quality_of(folder, snapshot, found), health_of(folder, images)
    begin("page")
    return Contents(
        title_of(card.source),
        folder.name,
        time.time(),
        tuple(_notices(snapshot, found, plane["kind"])),
        tuple(_figures(card, found)),
        tuple(_facts(folder, card, snapshot, images)),
        quality,
        rows,
        counts,
        thresholds_of(found),
        shown,
        plane,
        people_of(found),
        health,
        groups_of(card.config),
    )


def title_of(source: str) -> str:
    """The source's own name, without the folders that it lies in.

    >>> title_of("folder:/home/ann/photos"), title_of("digits")
    ('photos', 'digits')
    """
    return PurePosixPath(source.replace("\\", "/").partition(":")[2] or source).name or source


def date(seconds: float) -> str:
    """ "30 November 2026", in UTC."""
    when = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{when.day} {when:%B %Y}"


def day(seconds: float) -> str:
    """ "30 November 2026, 22:41 UTC" """
    return f"{date(seconds)}, {datetime.fromtimestamp(seconds, timezone.utc):%H:%M} UTC"


# -- the summary ---------------------------------------------------------------------------------


def _notices(snapshot: Snapshot, found: Labels, kind: str) -> list[str]:
    said = []
    stage = NUMBERED[found.stage]
    if snapshot.state in LIVE:
        said.append(f"The run is still training. This report shows {stage}, the last one that is finished.")
    elif snapshot.state != "finished":
        said.append(f"The run is {snapshot.state}. This report shows {stage}, the last one that is finished.")
    if found.verdict is None:
        said.append(
            "Only stage 1 is done: the clusters are those of k-means on its features. Nothing has judged their labels "
            "yet, and there are no prototypes."
        )
    elif not found.verdict.mask.any():
        said.append("None of the labels is reliable: use them with care.")
    if kind == "pca":
        said.append(
            "The map shows principal components, because no UMAP of this run has been made: with it, clusters lie "
            "further apart."
        )
    return said


def _figures(card: RunCard, found: Labels) -> list[Figure]:
    classes = len(found.curation.classes)
    merged = f"{classes:,} classes as people left them" if classes > 1 else "1 class as people left it"
    out = [
        Figure(f"{card.images:,}", "images"),
        Figure(f"{card.config.clusters:,}", "clusters", merged if classes != card.config.clusters else ""),
    ]
    if found.verdict is not None:
        count = int(found.verdict.mask.sum())
        out.append(Figure(percent(count / card.images), "of the labels are reliable", f"{count:,} images"))
    right = found.measured.estimate
    if right is not None:
        note = f"{percent(right.low)} to {percent(right.high)}, from {right.answers:,} random answers"
        out.append(Figure(percent(right.value), "of all labels are right, measured by people", note))
    seen = int(found.curation.seen.sum())
    if found.curation.row:
        out.append(Figure(f"{seen:,}", "images were looked at and decided by people"))
    return out


def _facts(folder: RunFolder, card: RunCard, snapshot: Snapshot, images: ImageSet) -> list[tuple[str, str]]:
    height, width = images.size
    kind = "colour" if images.channels == 3 else "grey"
    network = learned_from(folder)
    config = card.config
    out = [
        ("Images", f"{card.images:,} {kind} images of {width} × {height} pixels from “{title_of(card.source)}”"),
        ("Extra unlabelled images", f"{card.extra:,}" if card.extra else ""),
        ("Method", f"SPICE, preset “{config.preset}”, {config.clusters:,} clusters, seed {config.seed}"),
        ("Encoder", _encoder(config, network)),
        ("Started from", card.parent),
        ("Trained on", "CPU" if snapshot.device == "cpu" else snapshot.device),
        ("Begun", day(card.created)),
        ("Last event", day(snapshot.seen) if snapshot.seen else ""),
        ("Training time", duration(snapshot.seconds) if snapshot.seconds else ""),
    ]
    for stage in STAGES:
        view = snapshot.stages[stage]
        if view.seconds is not None:
            out.append((STAGE_TITLES[stage], f"{view.steps:,} steps in {duration(view.seconds)}"))
    out += [("Fingerprint of the images", card.fingerprint), ("Versions that made this report", versions())]
    return [(name, value) for name, value in out if value]


def _encoder(config: RunConfig, network: str) -> str:
    """The network, and what it began with."""
    if config.features.source == SCRATCH:
        return f"{config.encoder.backbone}, trained from random weights"
    return network or without_folders(config.features.source)


def versions() -> str:
    """ "SPICE Explorer 0.1.0, PyTorch 2.14.1, …, Python 3.11.7" """
    found = []
    for package, name in LIBRARIES.items():
        try:
            found.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([*found, f"Python {platform.python_version()}"])
