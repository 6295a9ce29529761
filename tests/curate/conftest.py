"""A log for twelve images in three clusters, 0 1 2 0 1 2 …, with high confidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.curate.decisions import Action, Decision
from engine.curate.judging import Model
from engine.curate.log import DecisionLog

IMAGES, CLUSTERS = 12, 3
LABELS = np.arange(IMAGES) % CLUSTERS
MODEL = Model(LABELS, np.full(IMAGES, 0.9, np.float32), "joint")


@pytest.fixture
def open_log(tmp_path: Path) -> Callable[[], DecisionLog]:
    """Opens the log of a run folder, each time like a separate program."""

    def opened() -> DecisionLog:
        return DecisionLog(tmp_path, images=IMAGES, clusters=CLUSTERS, fingerprint="abc")

    return opened


@pytest.fixture
def log(open_log: Callable[[], DecisionLog]) -> DecisionLog:
    return open_log()


def act(log: DecisionLog, action: Action, *ids: int, by: str = "Ann", **about: Any) -> Decision:
    """Commits one decision; the reviewer has seen everything unless `seen` is given."""
    about = {"visit": by, "seen": log.curation.row, **about}
    asked = Decision(action, by, images=np.array(ids, np.int64), **about)
    return log.commit([asked], MODEL)[0][0]


def classes(log: DecisionLog) -> list[int]:
    return log.curation.classes_of(LABELS).tolist()


def names(log: DecisionLog) -> dict[int, str]:
    return {one.number: one.name for one in log.curation.classes}
