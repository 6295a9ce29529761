"""The lesson of a run: its numbers are those of the run, and building it changes nothing."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import metrics
from engine.config import with_settings
from engine.curate.guidance import Guidance
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.jobs import Control
from engine.lesson.build import lesson, prepared_config
from engine.lesson.bundle import Cast, packed, sprite, unpacked
from engine.lesson.chapters import NEEDS_JOINT, features, joint, views
from engine.lesson.em_steps import Steps
from engine.lesson.failure_trials import TEMPERATURES, Temperatures, Trials, load_trials, make_trials
from engine.lesson.interactive import judged
from engine.lesson.run_view import Material
from engine.presets import preset
from engine.runs.create import branch_decided, create_run
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of, load_frame, load_xrays
from engine.runs.maps import DEFAULT, artefact_of
from engine.runs.results import load_reliable
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from engine.space.neighbors import Neighbors, local_agreement
from engine.space.projection import principal_map
from engine.space.vectors import units
from engine.stages.prototypes import pseudo_label
from engine.stages.reliable import judge
from engine.views import contrastive_view
from tests.runs.test_pipeline import StopAfter
from tests.tiny_runs import TINY, MakeRun, drawn

CPU = choose_device("cpu")
KEYS = ["problem", "views", "features", "confident", "prototypes", "nearest", "agreement", "reliable", "joint"]


def finish(folder: RunFolder) -> RunFolder:
    assert execute(folder, CPU, Control()) == "finished"
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished tiny run with truth."""
    torch.set_num_threads(1)
    images, truth = drawn()
    config = with_settings(
        preset("quick", clusters=3, channels=1), {**TINY, "heads.epochs": 6, "reliable.confidence": 0.78}
    )
    path = tmp_path_factory.mktemp("lesson") / "run"
    return finish(create_run(path, replace(Opened(images), truth=truth), config))


@pytest.fixture(scope="module")
def made(run: RunFolder) -> dict[str, Any]:
    """The lesson of the run, as a browser reads it."""
    return json.loads(json.dumps(lesson(run), allow_nan=False))


def step(made: dict[str, Any], key: str) -> dict[str, Any]:
    return next(one for one in made["steps"] if one["key"] == key)


def pictures(sheet: dict[str, Any]) -> np.ndarray:
    """(n, H, W): the pictures of a grey sheet."""
    image = np.array(Image.open(io.BytesIO(base64.b64decode(sheet["data"]))).convert("L"))
    columns, height, width = sheet["columns"], sheet["height"], sheet["width"]
    cells = image.reshape(-1, height, columns, width).transpose(0, 2, 1, 3)
    return cells.reshape(-1, height, width)[: sheet["count"]]


def every_file(folder: RunFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


# -- the whole -----------------------------------------------------------------------------------


def test_a_finished_run_shows_all_nine_steps(made: dict[str, Any]) -> None:
    assert [one["key"] for one in made["steps"]] == KEYS
    assert not [one["key"] for one in made["steps"] if one["needs"]]
    assert (made["images"], made["of"], made["clusters"], made["truth"]) == (60, 60, 3, True)
    assert made["stages"] == {"features": True, "heads": True, "joint": True}
    assert unpacked(made["ids"]).tolist() == list(range(60))
    assert made["names"][7] == "bar-07"
    for one in made["steps"]:
        assert one["title"]
        assert one["sentence"].endswith(".")
        if one["play"]:
            assert len(one["play"]["values"]) == len(one["play"]["results"])
            assert all(result["says"].endswith(".") for result in one["play"]["results"])


def test_making_a_lesson_changes_nothing_in_the_run(run: RunFolder) -> None:
    before = every_file(run)
    lesson(run)
    assert every_file(run) == before


def test_the_pictures_are_the_images_to_the_bit(run: RunFolder, made: dict[str, Any]) -> None:
    np.testing.assert_array_equal(pictures(made["sprite"]), run.images().pixels[:, 0])


def test_frames_are_the_runs_own(run: RunFolder, made: dict[str, Any]) -> None:
    moments = frame_steps_of(run)
    assert [(one["stage"], one["step"]) for one in made["frames"]] == moments
    head = int(run.load("heads")["chosen"])
    for shown, moment in zip(made["frames"], moments, strict=True):
        frame, own = load_frame(run, *moment), head if moment[0] == "heads" else 0
        points = unpacked(shown["points"])
        assert points.shape == (60, 2)
        assert points.min() >= 0
        assert points.max() <= 1
        if frame.labels is None:
            assert shown["labels"] is None
            continue
        labels = np.asarray(frame.labels[own])
        np.testing.assert_array_equal(unpacked(shown["labels"]), labels)
        assert shown["sizes"] == np.bincount(labels, minlength=3).tolist()
        assert frame.confidence is not None
        sure = np.asarray(frame.confidence[own], np.float32)
        np.testing.assert_array_equal(unpacked(shown["confidence"]), (sure * 255).round())
        if frame.confident is not None:
            assert shown["prototypes"] == np.asarray(frame.confident[own])[:, :6].tolist()
        for cluster, places in enumerate(shown["prototypes"]):
            if moment[0] == "joint":
                assert {int(labels[place]) for place in places} <= {cluster}


def test_without_maps_all_frames_are_principal_components_on_one_scale(run: RunFolder, made: dict[str, Any]) -> None:
    vectors = np.array(run.load("features")["vectors"])
    own = principal_map(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    points = {(one["stage"], one["step"]): unpacked(one["points"]) for one in made["frames"]}
    now = points["heads", 0]
    scale = np.ptp(now[:, 0]) / np.ptp(own[:, 0])
    np.testing.assert_allclose(now - now.mean(0), scale * (own - own.mean(0)), atol=1e-5)
    # Stage 3 starts with the same network, so its first frame has the same places as those of stage 2.
    np.testing.assert_allclose(points["joint", 0], now, atol=0.02)


def test_losses_are_those_that_training_told(run: RunFolder, made: dict[str, Any]) -> None:
    curve = next(one for one in made["curves"] if one["stage"] == "heads")
    told = [
        (record.event.step, record.event.losses)  # type: ignore[union-attr]
        for record in run.records()[0]
        if getattr(record.event, "losses", None) and record.event.stage == "heads"  # type: ignore[union-attr]
    ]
    expected = [[at, round(losses["pseudo-label loss"], 6)] for at, losses in told]
    assert curve["losses"]["pseudo-label loss"] == expected


# -- interactive parts -------------------------------------------------------------------------


def test_views_are_made_by_the_engine(run: RunFolder, made: dict[str, Any]) -> None:
    shown = step(made, "views")["show"]
    settings = run.config().views.contrastive
    pixels = np.repeat(run.images().pixels[shown["originals"]], 8, 0)
    chance = torch.Generator().manual_seed(0)
    views = contrastive_view(torch.from_numpy(pixels).float() / 255, settings, chance)
    expected = (views * 255).round().byte().numpy()[:, 0]
    np.testing.assert_array_equal(pictures(shown["sprite"]), expected)
    play = step(made, "views")["play"]
    assert play["results"][play["start"]]["sprite"] == shown["sprite"]
    # At strength 0 nothing moves, but tone, noise and blur may change: 8 views of one place.
    assert len({one["sprite"]["data"] for one in play["results"]}) == len(play["values"])


def test_the_first_rounds_are_the_real_e_and_m_steps(run: RunFolder, made: dict[str, Any]) -> None:
    play, steps = step(made, "confident")["play"], Steps(run)
    assert play["values"][:3] == ["E-step 1", "M-step 1", "E-step 2"]
    assert (play["values"][-1], play["start"]) == ("the end", 8)
    head = int(run.load("heads")["chosen"])
    for result in play["results"][:-1]:
        half = steps.advance()
        ids = half.now.confident[head][:, :8].numpy()
        assert result["confident"] == ids.tolist()
        assert result["round"] == half.round + 1
        sure = half.now.belief[head].numpy()[ids, np.arange(3)[:, None]]
        np.testing.assert_allclose(result["confidence"], sure, atol=1e-6)
        if half.losses is not None:
            assert f"{half.losses[head]:.3f}" in result["says"]
    last = play["results"][-1]
    assert last["confident"] == run.load("heads")["confident"][:, :8].tolist()
    assert last["round"] == 6


def test_where_rounds_take_long_the_runs_frames_are_shown(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.lesson.interactive.PIXELS", 60 * 8 * 8 - 1)
    play = step(lesson(run), "confident")["play"]
    assert play["values"] == [at for stage, at in frame_steps_of(run) if stage == "heads"]
    head = int(run.load("heads")["chosen"])
    confident = load_frame(run, "heads", play["values"][-1]).confident
    assert confident is not None
    assert play["results"][-1]["confident"] == np.asarray(confident[head])[:, :8].tolist()


def test_maps_are_drawn_where_every_frame_has_one(run: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "mapped"))
    assert lesson(folder)["map"] == "pca"
    rng = np.random.default_rng(0)
    last = rng.normal(0, 5, (60, 2)).astype(np.float32)
    folder.save(artefact_of(folder, DEFAULT), {"points": last})
    for moment in frame_steps_of(folder):
        if moment[0] != "heads":
            folder.save(artefact_of(folder, DEFAULT, moment), {"points": last / (1 + moment[1])})
    found = lesson(folder)
    assert found["map"] == "umap"
    points = [unpacked(one["points"]) for one in found["frames"] if one["stage"] == "heads"]
    # One scale for all: the largest map fills 0 to 1 along its longer side.
    expected = (last - (last.min(0) + last.max(0)) / 2) / np.ptp(last, 0).max() + 0.5
    np.testing.assert_allclose(points[0], expected, atol=1e-5)


def test_prototypes_at_every_share_are_the_stages_own(run: RunFolder, made: dict[str, Any]) -> None:
    play = step(made, "prototypes")["play"]
    assert play["values"][play["start"]] == run.config().heads.center_ratio
    vectors = torch.from_numpy(np.array(run.load("features")["vectors"]))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    belief = torch.from_numpy(np.array(run.load("heads")["probabilities"]))[None]
    truth = drawn()[1].labels
    for value, result in zip(play["values"], play["results"], strict=True):
        ids, prototypes, _ = pseudo_label(belief, unit, value)
        assert result["prototypes"] == ids[0, :, :8].tolist()
        assert result["images_each"] == ids.shape[2]
        expected = (prototypes[0] @ prototypes[0].T).numpy()
        np.testing.assert_allclose(unpacked(result["similarity"]), expected, atol=1e-5)
        owners = np.repeat(np.arange(3), ids.shape[2])
        pure = metrics.purity(owners, truth[ids[0].flatten().numpy()])
        assert result["truth"]["purity"] == pytest.approx(pure, abs=1e-6)


def test_claims_are_those_that_stage_2_left(run: RunFolder, made: dict[str, Any]) -> None:
    play, near = step(made, "nearest")["play"], np.asarray(run.load("heads")["nearest"])
    several, alone = play["results"]
    assert play["start"] == 1  # the quick settings are exclusive
    # In the order of their cosines: of two images that are equally near, either may come first.
    claimed, left = np.array(several["claimed"]), np.hstack([near[:, :8], near[:, -8:]])
    assert np.sort(claimed).tolist() == np.sort(left).tolist()
    cosines = np.array(run.load("heads")["prototypes"]) @ units(np.array(run.load("features")["vectors"])).T
    assert np.take_along_axis(cosines, claimed, 1) == pytest.approx(np.take_along_axis(cosines, left, 1), abs=1e-6)
    times = np.bincount(near.ravel(), minlength=60)
    assert (several["unclaimed"], several["twice"]) == ((times == 0).sum(), (times > 1).sum())
    assert several["sizes"] == [20, 20, 20]
    assert sum(alone["sizes"]) == 60 - several["unclaimed"]


def test_agreement_with_any_number_of_neighbours(run: RunFolder, made: dict[str, Any]) -> None:
    play, found = step(made, "agreement")["play"], load_reliable(run, "heads")
    neighbors = Neighbors(**run.load("neighbors"))
    for count, result in zip(play["values"], play["results"], strict=True):
        shares = local_agreement(found.labels, neighbors, count)
        histogram = unpacked(result["histogram"])
        assert histogram.sum() == 60
        assert histogram[-1] == (shares >= 0.95).sum()
    own = play["results"][play["start"]]
    assert own["kept"] == found.mask.sum()
    for one in step(made, "agreement")["show"]["examples"]:
        image = one["example"]
        assert one["neighbours"] == neighbors.ids[image, : len(one["neighbours"])].tolist()
        assert one["labels"] == found.labels[one["neighbours"]].tolist()
        same = np.mean([label == one["label"] for label in one["labels"]])
        assert one["agreement"] == pytest.approx(same, abs=1e-5)
        assert one["agreement"] == pytest.approx(float(found.agreement[image]), abs=1e-5)


def test_the_reliable_set_at_any_threshold(run: RunFolder, made: dict[str, Any]) -> None:
    one, found = step(made, "reliable"), load_reliable(run, "heads")
    settings, truth = run.config().reliable, drawn()[1].labels
    for value, result in zip(one["play"]["values"], one["play"]["results"], strict=True):
        again = judge(found.labels, found.confidence, found.agreement, 3, replace(settings, agreement=value))
        assert (result["kept"], result["rejected"]) == (again.mask.sum(), (~again.mask).sum())
        assert result["per_cluster"] == again.per_cluster.tolist()
        assert all(again.mask[place] for place in result["accepted"])
        assert not any(again.mask[place] for place in result["refused"])
    shown = one["show"]
    assert shown["kept"] == found.mask.sum()
    pure = metrics.purity(found.labels[found.mask], truth[found.mask])
    assert shown["truth"]["purity of those kept"] == pytest.approx(pure, abs=1e-6)
    assert one["wrong"]["show"]["kept"] == 60


def test_who_passes_tau_and_what_goes_wrong_without_it(run: RunFolder, made: dict[str, Any]) -> None:
    one = step(made, "joint")
    frames = [load_frame(run, *moment) for moment in frame_steps_of(run) if moment[0] == "joint"]
    for value, result in zip(one["play"]["values"], one["play"]["results"], strict=True):
        expected = [(np.asarray(f.confidence)[0].astype(np.float32) >= np.float32(value)).mean() for f in frames]
        np.testing.assert_allclose(unpacked(result["passing"]), expected, rtol=1e-6)
    assert unpacked(one["wrong"]["show"]["passing"]).tolist() == [1] * len(frames)


def test_the_xray_is_what_stage_3_saw(run: RunFolder, made: dict[str, Any]) -> None:
    looks, shown = load_xrays(run), made["xray"]
    assert shown["steps"] == [one.step for one in looks]
    assert shown["places"] == looks[0].ids.tolist()
    weak = pictures(shown["weak"]).reshape(48, len(looks), 8, 8)
    for place, look in enumerate(looks):
        np.testing.assert_array_equal(unpacked(shown["probabilities"])[:, place], look.probabilities)
        np.testing.assert_array_equal(unpacked(shown["loss"])[:, place], look.loss)
        np.testing.assert_array_equal(unpacked(shown["passes"])[:, place], look.weights > 0)
        np.testing.assert_array_equal(weak[:, place], look.weak[:, 0])


def test_the_quiz_asks_about_kept_and_rejected_images(run: RunFolder, made: dict[str, Any]) -> None:
    quiz, found = made["quiz"], load_reliable(run, "heads")
    assert quiz["rejected"] == [bool(~found.mask[place]) for place in quiz["places"]]
    assert len(set(quiz["places"])) == 12
    assert 0 < sum(quiz["rejected"]) < 12
    assert quiz["labels"] == found.labels[quiz["places"]].tolist()
    same = round(float(found.agreement[quiz["places"][0]]) * 10)
    assert quiz["why"][0].startswith(f"{same} of 10 neighbours")


# -- runs of other kinds -----------------------------------------------------------------------


def test_what_is_not_there_says_which_stage_to_train(make_run: MakeRun) -> None:
    folder = make_run()
    with pytest.raises(RunError, match="train until stage 1 has begun"):
        lesson(folder)

    def lacking() -> dict[str, str]:
        return {one["key"]: one["needs"] for one in lesson(folder)["steps"] if one["needs"]}

    # 9 steps of stage 1, 3 rounds of stage 2, 6 steps of stage 3, and one question at each start.
    assert execute(folder, CPU, StopAfter(6)) == "stopped"
    found = lacking()
    assert list(found) == KEYS[3:]
    assert "stage 2" in found["agreement"]
    assert "stage 3" in found["joint"]
    assert lesson(folder)["stages"] == {"features": False, "heads": False, "joint": False}
    assert execute(folder, CPU, StopAfter(6)) == "stopped"
    assert folder.has("features")
    assert list(lacking()) == KEYS[3:]
    assert execute(folder, CPU, StopAfter(4)) == "stopped"
    assert folder.has("reliable-heads")
    halfway = lesson(folder)
    # Half of stage 3 would be shown as if it were complete.
    assert list(lacking()) == ["joint"]
    assert "stage 3" in lacking()["joint"]
    assert halfway["xray"] is None
    material = Material(folder)
    assert ("joint", 0) in material.moments
    assert execute(folder, CPU, Control()) == "finished"
    assert joint(material)["needs"] == NEEDS_JOINT  # it was loaded before stage 3 was done
    assert lacking() == {}
    assert len(lesson(folder)["xray"]["steps"]) == 7


def test_imported_features_have_no_views_of_images_and_no_xray(make_run: MakeRun, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    vectors = np.eye(5)[drawn()[1].labels] + chance.normal(0, 0.1, (60, 5))
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    choices = {"features.source": f"import:{tmp_path / 'vectors.npy'}", "heads.epochs": 6}
    found = lesson(finish(make_run(**choices)))
    lacking = {one["key"]: one["needs"] for one in found["steps"] if one["needs"]}
    assert list(lacking) == ["views"]
    assert "external vectors" in lacking["views"]
    assert "adapter on the external vectors" in found["steps"][8]["sentence"]
    assert "the vector with noise" in found["steps"][8]["sentence"]
    assert found["xray"] is None


def test_a_run_whose_frames_are_gone_shows_the_rest(make_run: MakeRun) -> None:
    folder = finish(make_run())
    folder.remove("frames")
    found = lesson(folder)
    lacking = {one["key"]: one["needs"] for one in found["steps"] if one["needs"]}
    assert list(lacking) == ["features", "joint"]
    assert "frames of this stage are missing" in lacking["joint"]
    assert found["frames"] == []
    assert found["images"] == 60


def test_what_a_reviewer_decided_is_heeded(make_run: MakeRun, tmp_path: Path) -> None:
    parent = finish(make_run())
    labels = np.zeros(60, np.int64)
    taught = np.arange(60) < 4
    config = parent.card().config
    none = np.zeros(60, bool)
    guidance = Guidance(
        keep=~none,
        labels=labels,
        taught=taught,
        held=none,
        seen=taught,
        doubted=none,
        refused=none,
        model=labels,
        belief=np.full((60, 3), 1 / 3, np.float32),
    )
    child = finish(branch_decided(parent, tmp_path / "child", config, guidance))
    found = lesson(child)
    assert not [one["key"] for one in found["steps"] if one["needs"]]
    result = step(found, "prototypes")["show"]["prototypes"]
    assert set(result[0][:4]) == {0, 1, 2, 3}  # decisions come before any probability


def test_without_truth_nothing_is_said_of_it(make_run: MakeRun) -> None:
    found = lesson(finish(make_run(truth=None)))
    assert found["truth"] is False
    said: list[Any] = []

    def search(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if "truth" in value:
                yield value["truth"]
            for one in value.values():
                yield from search(one)
        elif isinstance(value, list):
            for one in value:
                yield from search(one)

    said = [one for one in search(found["steps"]) if one is not None]
    assert said == []


def test_a_few_colour_images_in_more_clusters_than_they_fill(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (20, 3, 12, 12), dtype=np.uint8)
    pixels[:10, 0] += 180
    images = ImageSet(pixels, tuple(f"folder/{n}.png" for n in range(20)), "folder:photos")
    changes = {
        **TINY,
        "features.batch": 8,
        "reliable.agreement": 0.1,
        "reliable.confidence": 0.1,
        "heads.exclusive": False,
    }
    config = with_settings(preset("quick", clusters=7, channels=3), changes)
    found = lesson(finish(create_run(tmp_path / "few", Opened(images), config)))
    assert (found["images"], found["clusters"]) == (20, 7)
    assert found["names"][3] == "3.png"
    assert len(step(found, "problem")["show"]["places"]) == 20
    assert step(found, "views")["play"]["name"] == "crop"
    last = [frame for frame in found["frames"] if frame["stage"] == "joint"][-1]
    assert 0 in last["sizes"]  # seven clusters of two colours: some stay empty
    assert last["prototypes"][last["sizes"].index(0)] == []
    json.dumps(found, allow_nan=False)


def test_a_large_set_is_sampled_in_proportion_and_says_so(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(make_run())
    monkeypatch.setattr("engine.lesson.failure_trials.EPOCHS", 1)
    make_trials(folder)
    monkeypatch.setattr("engine.lesson.run_view.Cast", lambda images: Cast(images, most=30))
    found = lesson(folder)
    ids = unpacked(found["ids"])
    assert (found["images"], found["of"], len(set(ids.tolist()))) == (30, 60, 30)
    assert "30 of 60 images" in found["note"]
    head = int(folder.load("heads")["chosen"])
    frame = next(one for one in found["frames"] if one["stage"] == "heads")
    own = np.asarray(load_frame(folder, "heads", 0).labels)[head]
    np.testing.assert_array_equal(unpacked(frame["labels"]), own[ids])
    np.testing.assert_array_equal(pictures(found["sprite"]), folder.images().pixels[ids, 0])
    assert frame["sizes"] == np.bincount(own, minlength=3).tolist()  # counts are over all images
    trial = load_trials(folder).temperatures
    assert trial is not None
    result = step(found, "features")["play"]["results"][1]
    np.testing.assert_allclose(unpacked(result["points"]), trial.points[1][ids] / 2 + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(unpacked(result["labels"]), trial.labels[1][ids])
    shown = step(found, "reliable")["show"]["accepted"]
    assert load_reliable(folder, "heads").mask[ids[shown]].all()


def test_images_of_a_trial_get_half_of_the_places_at_most(run: RunFolder) -> None:
    material = Material(run)
    material.cast = Cast(60, most=8)
    material.cast.places(np.array([7, 41]))
    ids, points = np.arange(40, 50), np.linspace(-1, 1, 20).reshape(10, 2)
    found = material.scattered(ids, points)
    assert material.cast.ids.tolist() == [7, 41, 40, 42, 43]
    np.testing.assert_allclose(found[1:5], points[[1, 0, 2, 3]] / 2 + 0.5, rtol=1e-6)
    assert np.isnan(found[[0, 5, 6, 7]]).all()
    labels = material.placed(ids, np.arange(10))
    assert labels.tolist() == [0, 1, 0, 2, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("objective", "temperature", "start", "own"),
    [("simclr", 0.5, 1, True), ("simclr", 0.4, 1, False), ("byol", 0.5, 1, False), ("moco", 0.1, 0, False)],
)
def test_a_temperature_is_the_runs_own_where_that_learned_by_it(
    run: RunFolder, objective: str, temperature: float, start: int, own: bool
) -> None:
    material = Material(run)
    changes = {"features.objective": objective, "features.temperature": temperature}
    material.config = with_settings(material.config, changes)
    numbers = np.ones(3, np.float32)
    material.trials = Trials(
        temperatures=Temperatures(
            np.arange(60),
            np.array(TEMPERATURES),
            np.zeros((3, 60, 2), np.float32),
            numbers,
            numbers,
            np.zeros((3, 60), np.int32),
        )
    )
    play = features(material)["play"]
    assert (play["start"], play["own"]) == (start, own)
    assert "with SimCLR at T = 0.1," in play["results"][0]["says"]


@pytest.mark.parametrize(("objective", "apart"), [("moco", True), ("simclr", True), ("byol", False)])
def test_images_are_only_pushed_apart_by_what_does_so(run: RunFolder, objective: str, apart: bool) -> None:
    material = Material(run)
    material.config = with_settings(material.config, {"features.objective": objective})
    assert ("other images different ones" in features(material)["sentence"]) == apart


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Random turns, shifts, zooms and tone changes turn an image into views"),
        (
            {"crop": 0.2, "rotation": 0, "shift": 0, "zoom": 0, "flip": 0.5},
            "Random crops, mirror images and tone changes turn",
        ),
        ({"rotation": 0, "shift": 0, "zoom": 0, "gamma": 0, "flip": 0.5}, "Random mirror images turn"),
    ],
)
def test_what_happens_in_views_is_what_the_settings_say(run: RunFolder, changes: dict[str, float], said: str) -> None:
    material = Material(run)
    changed = {f"views.contrastive.{name}": value for name, value in changes.items()}
    material.config = with_settings(material.config, changed)
    assert views(material)["sentence"].startswith(said)


@pytest.mark.parametrize(("lowered", "said"), [(0, ""), (1, "for 1 cluster,"), (2, "for 2 clusters,")])
def test_it_says_for_how_many_clusters_the_threshold_was_lowered(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, lowered: int, said: str
) -> None:
    found = load_reliable(run, "heads")
    thresholds = np.where(np.arange(3) < lowered, 0.1, 0.9).astype(np.float32)
    monkeypatch.setattr("engine.lesson.interactive.judge", lambda *_: replace(found, thresholds=thresholds))
    says = judged(Material(run), replace(run.config().reliable, agreement=0.9))["says"]
    assert ("It was lowered" in says) is bool(lowered)
    assert said in says


def test_the_prepared_run_is_a_run_on_digits() -> None:
    config = prepared_config()
    assert (config.clusters, config.views) == (10, preset("quick", clusters=10, channels=1).views)
    assert config.joint.adapt == "fixed"  # otherwise the formula of step 9 would not match what is shown


@pytest.mark.parametrize(("adapt", "said"), [("fixed", False), ("flex", True), ("soft", True)])
def test_a_run_that_departs_from_the_formula_says_so(make_run: MakeRun, adapt: str, said: bool) -> None:
    made = lesson(finish(make_run(**{"joint.adapt": adapt})))
    found = step(made, "joint")
    assert ("In this run" in found["sentence"]) is said
    assert ("the same τ for all" in found["show"]["says"]) is said
    assert found["play"]["own"] is (adapt != "soft")  # which has no τ
    assert made["xray"]["adapt"] == adapt


# -- encoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u8", "u16", "u32", "i32", "f32"])
def test_arrays_come_back(kind: str) -> None:
    array = np.arange(6).reshape(2, 3)
    value = packed(array, kind)
    assert value["shape"] == [2, 3]
    np.testing.assert_array_equal(unpacked(value), array)


def test_bytes_are_little_endian() -> None:
    assert base64.b64decode(packed(np.array([258], ">u2"), "u16")["data"]) == b"\x02\x01"


def test_a_sheet_holds_small_pictures_to_the_bit_and_large_ones_small() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 1, 8, 6), dtype=np.uint8)
    sheet = sprite(small, columns=2)
    assert (sheet["columns"], sheet["width"], sheet["height"], sheet["count"]) == (2, 6, 8, 5)
    np.testing.assert_array_equal(pictures(sheet), small[:, 0])
    large = sprite(np.full((3, 3, 200, 100), 90, np.uint8))
    assert (large["width"], large["height"]) == (32, 64)
    assert np.abs(pictures(large).astype(int) - 90).max() <= 2


def test_a_sample_has_the_shares_of_the_whole() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    cast = Cast(1000, most=100)
    assert cast.places(np.array([999, 5, 999])) == [0, 1, 0]
    cast.fill(labels, seed=0)
    assert cast.ids[:2].tolist() == [999, 5]
    assert len(set(cast.ids.tolist())) == 100
    counts = np.bincount(labels[cast.ids])
    assert np.abs(counts - [60, 30, 10]).max() <= 2
    assert cast.places(np.array([5, 1, 2, 3, 4]))[0] == 1


def test_a_full_cast_leaves_out_what_has_no_room() -> None:
    cast = Cast(10, most=2)
    assert cast.places(np.array([7, 8, 9])) == [0, 1]
    whole = Cast(3)
    assert whole.places(np.array([2, 0])) == [2, 0]
    assert whole.ids.tolist() == [0, 1, 2]
