"""A run with known labels on real files, and what an export of it must hold."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.curate.decisions import Action, Decision
from engine.curate.judging import Model
from engine.curate.provenance import Provenance
from engine.exports.export import Asked, Exported, export_run
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log
from engine.sources.open_source import open_source
from tests.tiny_runs import tiny_config

CLUSTERS = 3
Content = Counter[tuple[str, bytes]]
DoExport = Callable[..., Exported]


def labels_of(count: int) -> np.ndarray:
    """The model's labels: neither the folders nor the order of the files tell them."""
    return np.random.default_rng(7).permutation(np.arange(count) % CLUSTERS)


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> RunFolder:
    """A run on 40 files in two folders, with drawn labels of stage 3; every second one is reliable. Two files have
    names that are one on some systems."""
    (photos / "bars" / "39.png").rename(photos / "bars" / "38.PNG")
    opened = open_source(f"folder:{photos}")
    folder = create_run(tmp_path / "runs" / "mine", opened, tiny_config(**{"encoder.width": 4}))
    count = len(opened.images)
    labels = labels_of(count)
    probabilities = np.full((count, CLUSTERS), 0.05, np.float32)
    probabilities[np.arange(count), labels] = 0.9
    folder.save("joint", {"probabilities": probabilities})
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    folder.save("features", {"vectors": vectors, "labels": labels})
    judged = {
        "labels": labels,
        "confidence": probabilities.max(1),
        "agreement": np.where(np.arange(count) % 2, 1, 0).astype(np.float32),
        "verdicts": (np.arange(count) % 2 == 0).astype(np.uint8),
        "thresholds": np.full(CLUSTERS, 0.3, np.float32),
    }
    folder.save("reliable-joint", judged)
    return folder


@pytest.fixture
def decide(run: RunFolder) -> Callable[..., None]:
    """Commits one decision about images of the run."""

    def commit(action: Action, images: list[int] | None = None, who: str = "Ann", **about: Any) -> None:
        about.setdefault("provenance", Provenance.SEEN)
        labels = labels_of(run.card().images)
        with contextlib.closing(decision_log(run)) as log:
            asked = Decision(action, who, visit="test", images=np.array(images or [], int), **about)
            log.commit([asked], Model(labels, np.full(len(labels), 0.9), "joint"))

    return commit


@pytest.fixture
def export(run: RunFolder, tmp_path: Path) -> DoExport:
    """Exports the run to tmp_path/out, or what is asked for."""

    def do(format: str, out: str = "out", **asked: Any) -> Exported:
        with contextlib.closing(decision_log(run)) as log:
            return export_run(run, Asked(format, tmp_path / out, **asked), log)

    return do


def pixels_of(content: bytes) -> bytes:
    """Size and pixels of an encoded image, as RGB."""
    with Image.open(io.BytesIO(content)) as image:
        return repr(image.size).encode() + image.convert("RGB").tobytes()


def expected(photos: Path, run: RunFolder, kept: list[int] | None = None) -> Content:
    """How often each picture has each label, straight from the files and the drawn labels."""
    ids, labels = run.images().ids, labels_of(run.card().images)
    rows = range(len(ids)) if kept is None else kept
    return Counter((f"Cluster {labels[row]}", pixels_of((photos / ids[row]).read_bytes())) for row in rows)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
