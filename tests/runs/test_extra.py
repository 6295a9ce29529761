"""Extra images, which are trained on and get no labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.config import with_settings
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.exports.label_table import export_table
from engine.jobs import Control
from engine.runs.create import branch_decided, branch_run, create_run
from engine.runs.folder import RunFolder
from engine.runs.history import load_frame
from engine.runs.results import observe
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from tests.runs.test_imported import finish, guidance
from tests.runs.test_pipeline import StopAfter, assert_same_results
from tests.tiny_runs import drawn, tiny_config

CPU = choose_device("cpu")
IMAGES, TRUTH = drawn()


def further(seed: int) -> ImageSet:
    images, _ = drawn(seed=seed, images=30)
    return replace(images, ids=tuple(f"more-{index}" for index in range(30)))


def make(path: Path, seed: int | None) -> RunFolder:
    extra = None if seed is None else further(seed)
    return create_run(path, Opened(IMAGES, TRUTH, extra=extra), tiny_config())


def test_further_images_change_the_encoder_and_get_no_labels(tmp_path: Path) -> None:
    plain, one, other = (finish(make(tmp_path / str(seed), seed)) for seed in (None, 5, 6))
    seen = [np.array(folder.load("features")["vectors"]) for folder in (plain, one, other)]
    assert [array.shape for array in seen] == [(60, 16)] * 3
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])
    # 3 epochs in batches of 16: of 60 images, and of 90.
    assert observe(plain).stages["features"].steps == 3 * (60 // 16)
    assert observe(one).stages["features"].steps == 3 * (90 // 16)
    assert one.load("joint")["probabilities"].shape == (60, 3)
    assert one.load("neighbors")["ids"].max() < 60
    first = load_frame(one, "features", 0).vectors
    assert first is not None
    assert len(first) == 60
    assert list(export_table(one, observe(one)).iloc[:, 0]) == list(IMAGES.ids)
    assert (one.card().images, one.card().extra) == (60, 30)
    assert one.card().fingerprint == plain.card().fingerprint


def test_stage_3_learns_from_further_images_unless_told_otherwise(tmp_path: Path) -> None:
    """Stages 1 and 2 are those of one run; the two that branch off differ in stage 3 alone."""
    parent = finish(make(tmp_path / "parent", 5))
    with_, without = (
        finish(branch_run(parent, tmp_path / str(wanted), with_settings(parent.config(), {"joint.extra": wanted})))
        for wanted in (True, False)
    )
    own, other = (np.array(folder.load("joint")["probabilities"]) for folder in (with_, without))
    assert np.array_equal(own, np.array(parent.load("joint")["probabilities"]))
    assert not np.array_equal(own, other)


def test_a_run_with_further_images_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, broken = make(tmp_path / "whole", 5), make(tmp_path / "broken", 5)
    finish(whole)
    # 15 steps of stage 1: the run stops in the middle of them, and in stage 3.
    assert [execute(broken, CPU, StopAfter(n)) for n in (7, 9 + 3 + 3)] == ["stopped"] * 2
    finish(broken)
    assert_same_results(whole, broken)


def test_a_set_that_stays_in_host_memory_gives_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = finish(make(tmp_path / "usual", 5))
    monkeypatch.setattr("engine.data.batches.room", lambda _: 0)
    assert_same_results(usual, finish(make(tmp_path / "tight", 5)))


def test_runs_that_go_on_inherit_the_further_images(tmp_path: Path) -> None:
    parent = finish(make(tmp_path / "parent", 5))
    config = parent.card().config
    branch = branch_run(parent, tmp_path / "branch", with_settings(config, {"joint.steps": 2}))
    keep = np.arange(60) > 3
    decided = branch_decided(parent, tmp_path / "decided", config, guidance(keep, 3))
    for folder in (branch, decided):
        extra = folder.extra()
        assert extra is not None
        np.testing.assert_array_equal(extra.pixels, further(5).pixels)
        assert folder.card().extra == 30
        assert (folder.path / "extra/pixels.npy").samefile(parent.path / "extra/pixels.npy")
        finish(folder)


def test_imported_vectors_need_no_further_images(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(60, 4)))
    config = with_settings(tiny_config(), {"features.source": f"import:{tmp_path / 'v.npy'}"})
    folder = create_run(tmp_path / "run", Opened(IMAGES, extra=further(5)), config)
    assert folder.extra() is None
    assert execute(folder, CPU, Control()) == "finished"


def test_further_images_of_another_size_are_refused(tmp_path: Path) -> None:
    small = ImageSet(np.zeros((2, 1, 4, 4), np.uint8), ("a", "b"), "small")
    with pytest.raises(RunError, match=r"extra images are \(1, 4, 4\), but those of drawn \(1, 8, 8\)"):
        create_run(tmp_path / "run", Opened(IMAGES, extra=small), tiny_config())
    assert list(tmp_path.iterdir()) == []
