"""Settings of a run that is trained in a second: all stages, a few steps each."""

from __future__ import annotations

TINY = {
    "encoder.width": 4,
    "features.epochs": 3,
    "features.batch": 16,
    "features.projection": 8,
    "heads.heads": 2,
    "heads.epochs": 3,
    "heads.passes": 2,
    "heads.batch": 16,
    "joint.steps": 6,
    "joint.adapt": "fixed",
    "joint.batch": 8,
    "joint.unlabelled": 2,
    "reliable.agreement": 0.3,
    "reliable.confidence": 0.3,
}
