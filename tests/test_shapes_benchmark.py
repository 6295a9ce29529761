"""The benchmark of the shapes counts correctly; its runs are not tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import shapes
from engine.sources.shapes import shapes as drawn_shapes


def test_clusters_are_judged_by_shape_and_by_colour_apart() -> None:
    drawn = drawn_shapes(images=160)
    by_colour = shapes.judged(drawn.colours.astype(np.int64), drawn)
    assert by_colour == pytest.approx({"acc": 0.25, "shape": 0, "colour": 1}, abs=1e-9)
    by_shape = shapes.judged((drawn.classes + 1) % 4, drawn)
    assert by_shape == pytest.approx({"acc": 1, "shape": 1, "colour": 0}, abs=1e-9)


def test_labels_are_read_from_the_run_folder(tmp_path: Path) -> None:
    for stage in shapes.STAGES:
        (tmp_path / stage).mkdir()
    np.save(tmp_path / "features" / "labels.npy", [2, 0])
    np.save(tmp_path / "heads" / "probabilities.npy", [[0.2, 0.8], [0.6, 0.4]])
    assert shapes.labels_of(tmp_path, "features").tolist() == [2, 0]
    assert shapes.labels_of(tmp_path, "heads").tolist() == [1, 0]


def test_a_stage_s_gain_is_counted_seed_by_seed() -> None:
    def one(*accuracies: float) -> dict[str, dict[str, float]]:
        names = ("features", "heads", "joint")
        return {name: {"acc": acc} for name, acc in zip(names, accuracies, strict=True)}

    rows = shapes.gain_table([one(0.5, 0.6, 0.6), one(0.6, 0.8, 0.9)]).splitlines()
    assert rows[2] == "| stage 2 | +15.0 ± 5.0 | +10.0, +20.0 |"
    assert rows[3] == "| stage 3 | +5.0 ± 5.0 | +0.0, +10.0 |"


def test_variants_differ_in_one_setting() -> None:
    assert shapes.VARIANTS["by shape"] == ()
    assert shapes.VARIANTS["colour left in"] == ("views.contrastive.hue=0",)
