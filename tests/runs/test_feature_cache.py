"""Features in the cache: what runs share, what they do not, and what a stop or a crash leaves behind."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import RunConfig, with_settings
from engine.data.image_store import cache
from engine.errors import SettingError
from engine.events import Progress, StageFinished, StageStarted
from engine.jobs import Control
from engine.runs.create import branch_decided, branch_run
from engine.runs.feature_cache import RowFile
from engine.runs.folder import RunFolder
from engine.runs.results import observe
from engine.runs.runner import choose_device, execute
from engine.stages.encoder import Encoder
from tests.runs.test_imported import guidance
from tests.runs.test_pipeline import StopAfter
from tests.tiny_runs import MakeRun, drawn, save_frozen_network

CPU = choose_device("cpu")
IMAGES, TRUTH = drawn()


@pytest.fixture
def choices(frozen: dict[str, Any]) -> dict[str, Any]:
    return {**frozen, "features.weak_views": 2, "features.strong_views": 3, "heads.epochs": 1, "joint.steps": 1}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in every batch that goes through an encoder for stage 1 alone."""
    seen: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, x: torch.Tensor) -> torch.Tensor:
        if torch.is_inference_mode_enabled():
            seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Encoder, "forward", counted)
    return seen


def finish(folder: RunFolder) -> RunFolder:
    with folder.lock():
        assert execute(folder, CPU, Control()) == "finished", observe(folder).message
    return folder


def arrays(folder: RunFolder) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in folder.load("features").items() if name != "labels"}


def assert_same(one: RunFolder, other: RunFolder) -> None:
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def forget() -> None:
    shutil.rmtree(cache() / "features")


# -- what is kept ------------------------------------------------------------------------------


def test_a_run_keeps_the_features_of_its_images_and_of_their_views(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int]
) -> None:
    found = arrays(finish(make_run(**choices)))
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "vectors": ((60, 60), np.float32),
        "clean": ((60, 64), np.float32),
        "weak": ((2, 60, 64), np.float16),
        "strong": ((3, 60, 64), np.float16),
    }
    assert all(np.isfinite(array).all() for array in found.values())
    assert sum(encoded) == 60 * 6


def test_a_second_run_does_not_ask_the_network_and_shares_the_files(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int]
) -> None:
    one = finish(make_run("one", **choices))
    encoded.clear()
    other = finish(make_run("other", **{**choices, "clusters": 4, "seed": 7, "heads.epochs": 2}))
    assert encoded == []
    assert_same(one, other)
    for file in ("clean.npy", "weak.npy", "strong.npy"):
        assert (one.path / "features" / file).samefile(other.path / "features" / file)
    said = [record.event for record in other.records()[0]]
    assert StageStarted("features", 0) in said
    assert StageFinished("features", 0.0) in said
    assert observe(other).stages["features"].scores["silhouette"] is not None


def test_what_was_cached_equals_what_is_computed_anew_to_the_bit(make_run: MakeRun, choices: dict[str, Any]) -> None:
    one = finish(make_run("one", **choices))
    cached = finish(make_run("cached", **choices))
    forget()
    fresh = finish(make_run("fresh", **choices))
    assert_same(one, cached)
    assert_same(one, fresh)
    assert not (one.path / "features/clean.npy").samefile(fresh.path / "features/clean.npy")


@pytest.mark.parametrize(
    "change",
    [
        {"features.view_seed": 1},
        {"features.weak_views": 1},
        {"features.strong_views": 4},
        {"views.weak.shift": 0.25},
        {"views.strong.cutout": 0.1},
        {"compute.precision": "bfloat16"},
    ],
)
def test_other_views_or_another_precision_are_other_features(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int], change: dict[str, Any]
) -> None:
    finish(make_run("one", **choices))
    encoded.clear()
    finish(make_run("other", **{**choices, **change}))
    assert encoded


def test_without_views_nothing_depends_on_them(make_run: MakeRun, choices: dict[str, Any], encoded: list[int]) -> None:
    none = {**choices, "features.weak_views": 0, "features.strong_views": 0}
    one = finish(make_run("one", **none))
    assert arrays(one).keys() == {"vectors"}
    encoded.clear()
    finish(make_run("other", **{**none, "features.view_seed": 1, "views.weak.shift": 0.25}))
    assert encoded == []


def test_other_weights_are_other_features(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int], tmp_path: Path
) -> None:
    finish(make_run("one", **choices))
    save_frozen_network(tmp_path / "weights.safetensors", seed=1)
    encoded.clear()
    finish(make_run("other", **choices))
    assert sum(encoded) == 60 * 6


def test_the_features_of_a_run_outlive_the_cache(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int]
) -> None:
    folder = finish(make_run(**choices))
    before = arrays(folder)
    shutil.rmtree(cache())
    branch = finish(branch_run(folder, folder.path.with_name("branch"), folder.card().config))
    encoded.clear()
    for name, array in arrays(branch).items():
        np.testing.assert_array_equal(array, before[name])
    assert encoded == []


# -- stopping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("questions", [2, 4, 6])
def test_a_stopped_pass_resumes_where_it_was(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int], questions: int
) -> None:
    whole = finish(make_run("whole", **choices))
    forget()
    broken = make_run("broken", **choices)
    encoded.clear()
    # One question at the start, then one before each of the six steps.
    assert execute(broken, CPU, StopAfter(questions)) == "stopped"
    done = len(encoded)
    assert 0 < done < 6
    assert not broken.has("features")
    finish(broken)
    assert len(encoded) == 6
    assert_same(whole, broken)
    left = [path.name for path in (cache() / "features").iterdir()]
    assert not [name for name in left if name.endswith(".draft")]


def test_another_run_goes_on_with_what_one_has_begun(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int]
) -> None:
    broken = make_run("broken", **choices)
    assert execute(broken, CPU, StopAfter(4)) == "stopped"
    other = finish(make_run("other", **choices))
    assert len(encoded) == 6
    finish(broken)
    assert len(encoded) == 6
    assert_same(broken, other)


def test_a_crash_leaves_nothing_that_looks_whole(
    make_run: MakeRun, choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finish(make_run("whole", **choices))
    forget()
    write, count = RowFile.write, iter(range(100))

    def crash(self: RowFile, first: int, rows: np.ndarray) -> None:
        if next(count) == 3:
            raise OSError(28, "No space left on device")
        write(self, first, rows)

    broken = make_run("broken", **choices)
    with monkeypatch.context() as patch:
        patch.setattr(RowFile, "write", crash)
        assert execute(broken, CPU, Control()) == "failed"
    assert "No space left on device" in observe(broken).message
    assert not list((cache() / "features").glob("*/about.json"))
    finish(broken)
    assert_same(whole, broken)


def test_progress_is_told_in_images_a_second(make_run: MakeRun, choices: dict[str, Any]) -> None:
    folder = finish(make_run(**choices))
    said = [record.event for record in folder.records()[0]]
    assert StageStarted("features", 6) in said
    told = [one for one in said if isinstance(one, Progress) and one.stage == "features"]
    assert told[-1].step == 6
    assert told[-1].images_per_second > 0


def test_without_room_on_the_disk_nothing_is_begun(
    make_run: MakeRun, choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(**choices)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 0))
    assert execute(folder, CPU, Control()) == "failed"
    assert "60 images and their views need 268.5 MB, but only 0 bytes are free" in observe(folder).message
    assert not list((cache() / "features").glob("*.draft"))


# -- settings and branches ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"features.source": "scratch", "features.epochs": 3}, {"features.epochs": 1}, {"features.source": "import:v.npy"}],
)
def test_only_a_frozen_network_has_views_to_keep(choices: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="only a frozen network has views to keep"):
        with_settings(RunConfig(), {**choices, **change})


@pytest.mark.parametrize(("left_out", "clusters"), [(0, 3), (0, 4), (5, 3)])
def test_a_run_with_decisions_has_the_views_of_the_images_that_stay(
    make_run: MakeRun, choices: dict[str, Any], encoded: list[int], left_out: int, clusters: int
) -> None:
    parent = finish(make_run(**choices))
    before, keep = arrays(parent), np.arange(60) >= left_out
    encoded.clear()
    config = with_settings(parent.card().config, {"clusters": clusters})
    branch = branch_decided(parent, parent.path.with_name("decided"), config, guidance(keep, clusters))
    shutil.rmtree(parent.path)
    found = arrays(finish(branch))
    assert encoded == []
    np.testing.assert_array_equal(found["vectors"], before["vectors"][keep])
    np.testing.assert_array_equal(found["weak"], before["weak"][:, keep])
    np.testing.assert_array_equal(found["strong"], before["strong"][:, keep])
    assert not [path.name for path in branch.path.glob("*.npy")]


def test_a_damaged_array_of_the_cache_is_said_and_computed_again(make_run: MakeRun, choices: dict[str, Any]) -> None:
    first = finish(make_run("one", **choices))
    (file,) = (cache() / "features").glob("*/vectors.npy")
    file.unlink()
    file.write_bytes(b"hello")
    other = make_run("other", **choices)
    assert execute(other, CPU, Control()) == "finished"
    (told,) = [one for one in observe(other).alarms if "in the cache" in one.cause]
    assert told.cause.startswith("vectors.npy is damaged")
    assert len(list((cache() / "features").glob("*.damaged/vectors.npy"))) == 1
    np.testing.assert_array_equal(other.load("features")["vectors"], first.load("features")["vectors"])
