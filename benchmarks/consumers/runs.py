"""The runs that are exported, with decisions of every kind, and what an export of them has to hold."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.consumers.open_exports import digest
from engine.config import with_settings
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.provenance import Provenance
from engine.data.thumbnails import as_image
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, load_strict, newest_stage
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened, open_source

Content = Counter[tuple[str, str]]
# A few steps: whether an export is right does not depend on how good the labels are.
QUICK = {
    "features.epochs": 2,
    "heads.epochs": 4,
    "heads.heads": 2,
    "joint.steps": 20,
    "reliable.agreement": 0.3,
    "reliable.confidence": 0.3,
}
CLUSTERS = 10
NAMES = ("cats/dogs", "Cats:dogs", "CON", "..", "käse, “so”")


@dataclass(frozen=True)
class Expected:
    """What is to be found: class names with digests of pictures, without images that were left out; `classes` (N,) the
    class names of all images, `kept` (N,) those that are in an export of pictures."""

    content: Content
    classes: np.ndarray
    kept: np.ndarray


def trained(place: Path, source: str, opened: Opened) -> RunFolder:
    """A run in `place` on a source, trained if it is not there yet."""
    folder = RunFolder(place)
    if not folder.exists:
        config = with_settings(preset("quick", clusters=CLUSTERS, channels=opened.images.channels), QUICK)
        create_run(place, opened, config)
    if newest_stage(folder) != "joint":
        with folder.lock():
            state = execute(folder, choose_device("cpu"), Control())
        if state != "finished":
            raise RuntimeError(f"the run on {source} {state}")
    return folder


def opened_slice(source: str, most: int) -> Opened:
    """The first `most` images of a source, evenly from all of it."""
    opened = open_source(source)
    chosen = np.unique(np.linspace(0, len(opened.images) - 1, min(most, len(opened.images))).astype(int))
    names = np.array(opened.images.ids, object)[chosen]
    images = replace(
        opened.images, pixels=np.asarray(opened.images.pixels[chosen]), ids=tuple(names), known_fingerprint=""
    )
    return replace(
        opened,
        images=images,
        truth=None,
        columns=(),
        extents=None if opened.extents is None else opened.extents[chosen],
        stamps=None if opened.stamps is None else opened.stamps[chosen],
    )


def decide(folder: RunFolder) -> None:
    """Decisions of every kind, once: odd names, labels that were seen, in bulk and voted, rejected and excluded."""
    stage = newest_stage(folder)
    assert stage is not None
    verdict = load_strict(folder, stage)
    model = Model(verdict.labels, verdict.confidence, stage)
    count = len(verdict.labels)
    parts = np.array_split(np.random.default_rng(0).permutation(count)[: count // 2], 5)
    asked = [Decision("rename", "Ann", class_=number, text=name) for number, name in enumerate(NAMES)]
    asked += [
        Decision("relabel", "Ann", images=parts[0][:1], class_=1, provenance=Provenance.SEEN),
        Decision("relabel", "Ann", images=parts[1], class_=2, provenance=Provenance.BULK),
        Decision("relabel", "Ben", images=parts[2], class_=3, provenance=Provenance.VOTED),
        Decision("reject", "Ben", images=parts[3], provenance=Provenance.SEEN),
        Decision("exclude", "Ann", images=parts[4]),
    ]
    with contextlib.closing(decision_log(folder)) as log:
        if not log.curation.row:
            log.commit(asked, model)


def expected(folder: RunFolder, source: Path | None) -> Expected:
    """From the decisions above and the files themselves, without what exports them."""
    stage = newest_stage(folder)
    assert stage is not None
    labels, images = np.array(load_strict(folder, stage).labels), folder.images()
    count = len(labels)
    parts = np.array_split(np.random.default_rng(0).permutation(count)[: count // 2], 5)
    labels[parts[0][:1]], labels[parts[1]], labels[parts[2]] = 1, 2, 3
    names = np.array([*NAMES, *(f"Cluster {number}" for number in range(len(NAMES), CLUSTERS))], object)
    kept = np.ones(count, bool)
    kept[np.concatenate(parts[3:])] = False
    content: Content = Counter()
    for row in np.flatnonzero(kept).tolist():
        if source is None:
            content[names[labels[row]], digest(as_image(images.pixels[row]))] += 1
            continue
        with Image.open(source / images.ids[row]) as image:
            content[names[labels[row]], digest(ImageOps.exif_transpose(image))] += 1
    return Expected(content, names[labels], kept)
