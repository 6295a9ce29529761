"""The Map page: the component's data in every state of a run, and what it may fetch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from engine.curate.decisions import Decision
from engine.curate.provenance import Provenance
from engine.data.columns import ImageColumn
from engine.runs.folder import RunFolder
from engine.runs.history import load_history, save_frame
from engine.runs.maps import MapJob
from engine.stages.frames import Frame
from engine.stages.reliable import ReliableSet
from spice_explorer import palette
from spice_explorer.components import image_map
from spice_explorer.present import maps as present
from spice_explorer.queries import artefacts, decisions, maps
from spice_explorer.web import columns
from tests.app.conftest import CLUSTERS, IMAGES, Visit, button, demo, texts

Told = Callable[[], dict[str, Any]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The data that the map component got last."""
    kept: list[dict[str, Any]] = []
    real = image_map.image_map

    def tell(data: dict[str, Any], **others: Any) -> None:
        kept.append(data)
        real(data, **others)

    monkeypatch.setattr(image_map, "image_map", tell)
    return lambda: kept[-1]


@pytest.fixture
def no_umap(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """UMAP is requested but never runs; the list records for what: the map (False), or every frame (True)."""
    asked: list[bool] = []

    def job(_run: RunFolder, _settings: object, *, frames: bool, again: bool = False) -> MapJob:
        asked.append(frames)
        assert not again
        return MapJob("computing", "map", 0.25)

    monkeypatch.setattr(maps, "map_job", job)
    return asked


def fetch(address: dict[str, str]) -> np.ndarray:
    """The array at a URL, as the browser gets it."""
    run, name = address["url"].removeprefix("/spice/columns/").split(".bin?v=")[0].split("/")
    answer = columns.serve(Request({"type": "http", "path_params": {"run": run, "column": name}}))
    assert answer.status_code == 200, answer.body
    return np.frombuffer(bytes(answer.body), {"u1": "u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}[address["type"]])


def column(data: dict[str, Any], stage: str, key: str) -> dict[str, Any]:
    found = next(one for one in data["stages"] if one["key"] == stage)
    return next(one for one in found["columns"] if one["key"] == key)


# -- a finished run ----------------------------------------------------------------------------


def test_a_finished_run_is_told_with_all_it_has(finished: RunFolder, visit: Visit, told: Told) -> None:
    assert "UMAP of stage 1" in texts(visit("map"))
    data = told()
    assert (data["n"], data["ids"], data["note"]) == (IMAGES, None, "")
    assert [one["key"] for one in data["stages"]] == ["joint", "heads", "features"]
    keys = [one["key"] for one in data["stages"][0]["columns"]]
    assert keys == ["cluster", "reliable", "confidence", "agreement", "changed", "flips", "truth"]
    assert len(fetch(data["place"])) == 2 * IMAGES
    for stage in ("joint", "heads"):
        own = finished.load(f"reliable-{stage}")
        assert np.array_equal(fetch(column(data, stage, "cluster")["column"]), own["labels"])
        assert np.array_equal(fetch(column(data, stage, "agreement")["column"]), own["agreement"])
        assert np.array_equal(fetch(column(data, stage, "confidence")["column"]), own["confidence"])


def test_the_browser_can_judge_as_the_run_did_by_the_bar_of_reliable(
    finished: RunFolder, visit: Visit, told: Told
) -> None:
    arrays = {name: np.array(array) for name, array in finished.load("reliable-joint").items()}
    arrays["verdicts"][arrays["verdicts"] == 1] = 0  # as if a floor had lowered a threshold
    finished.save("reliable-joint", arrays)
    visit("map")
    spec, own = column(told(), "joint", "reliable"), artefacts.reliable(demo(), "joint")
    label, confidence, agreement = (fetch(spec[key]) for key in ("label", "confidence", "agreement"))
    asked = np.float32(spec["own"]["agreement"])[label]
    verdicts = (agreement < asked) + 2 * (confidence < np.float32(spec["own"]["confidence"]))
    assert np.array_equal(verdicts, own.verdicts)
    assert not np.array_equal(verdicts, arrays["verdicts"])  # what passes only that is not reliable
    assert spec["palette"] == list(palette.VERDICTS)


def test_a_replay_has_every_moment_and_its_labels(finished: RunFolder, visit: Visit, told: Told) -> None:
    visit("map")
    frames, history = told()["frames"], load_history(finished)
    labelled = [one for one in frames if one["label"]]
    assert len(labelled) == len(history.steps) < len(frames)
    assert np.array_equal(fetch(labelled[-1]["label"]), history.labels[-1])
    assert np.array_equal(fetch(labelled[0]["label"]), history.labels[0])
    assert frames[0]["title"] == "stage 1 · epoch 0 of 3"
    assert frames[-1]["title"] == "stage 3 · step 5 of 5"
    places = [fetch(one["place"]) for one in frames]
    assert all(len(one) == 2 * IMAGES for one in places)
    assert not np.array_equal(places[0], places[-1])
    assert told()["frameNote"] == "principal components"  # their UMAP has not been requested


def test_addresses_change_when_what_they_hold_does(finished: RunFolder, visit: Visit, told: Told) -> None:
    visit("map")
    before = [told()["place"]["url"], column(told(), "joint", "cluster")["column"]["url"]]
    arrays = {name: np.asarray(array) for name, array in finished.load("reliable-joint").items()}
    finished.save("reliable-joint", {**arrays, "labels": arrays["labels"][::-1]})
    visit("map")
    after = [told()["place"]["url"], column(told(), "joint", "cluster")["column"]["url"]]
    assert after[0] == before[0]  # the places are the same and are not sent again
    assert after[1] != before[1]


@pytest.mark.usefixtures("without_truth")
def test_without_truth_there_is_no_such_column(visit: Visit, told: Told) -> None:
    visit("map")
    assert all(one["key"] != "truth" for stage in told()["stages"] for one in stage["columns"])
    with pytest.raises(LookupError, match="no column truth"):
        columns.column(demo(), "truth")


def test_a_map_that_is_not_made_yet_is_a_preview(
    finished: RunFolder, visit: Visit, told: Told, no_umap: list[bool]
) -> None:
    shutil.rmtree(finished.path / "maps")
    shown = texts(visit("map"))
    assert "UMAP is being computed (25\N{NO-BREAK SPACE}%); until then the map shows principal components" in shown
    assert "place.pca" in told()["place"]["url"]
    assert len(np.unique(fetch(told()["place"]))) > IMAGES
    assert set(no_umap) == {False}


@pytest.mark.usefixtures("finished")
def test_the_moments_are_only_mapped_when_someone_replays(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def job(_run: RunFolder, _settings: object, *, frames: bool) -> MapJob:
        asked.append(frames)
        return MapJob("computing", "replay", 0.5) if frames else MapJob("ready")

    monkeypatch.setattr(maps, "map_job", job)
    at = visit("map")
    assert True not in asked
    at.session_state["map-demo"] = {"replay": True}
    at.run()
    assert True in asked
    assert "UMAP of every frame is being computed (50\N{NO-BREAK SPACE}%); until then the replay" in texts(at)


def test_a_failed_umap_says_why_and_can_be_tried_again(
    finished: RunFolder, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(finished.path / "maps")
    again_asked: list[bool] = []

    def job(_run: RunFolder, _settings: object, *, frames: bool, again: bool = False) -> MapJob:
        assert not frames
        again_asked.append(again)
        return MapJob("failed", message="no <b>room</b>")

    monkeypatch.setattr(maps, "map_job", job)
    at = visit("map")
    assert "UMAP failed (No \\<b\\>room\\</b\\>)" in at.warning[0].value
    assert True not in again_asked
    button(at, "Try again").click().run()
    assert again_asked.count(True) == 1


def test_the_open_image_is_shown_with_its_neighbours(finished: RunFolder, visit: Visit, told: Told) -> None:
    visit("map", image="7")
    assert told()["open"] == 7
    near = finished.load("neighbors")["ids"][7]
    assert told()["near"] == near[: artefacts.neighbor_count(demo())].tolist()
    visit("map", image=str(IMAGES))
    assert told()["open"] is None
    visit("map", image="../7")
    assert (told()["open"], told()["near"]) == (None, [])


@pytest.mark.usefixtures("finished")
def test_the_selection_is_shown_unless_it_is_another_runs(visit: Visit, told: Told) -> None:
    at = visit("map")
    at.session_state["selection"] = ("demo", np.array([3, 8]))
    at.run()
    assert present.from_bits(told()["selection"], IMAGES).tolist() == [3, 8]
    at.session_state["selection"] = ("other", np.array([3, 8]))
    at.run()
    assert present.from_bits(told()["selection"], IMAGES).tolist() == []
    assert "images selected" not in texts(at)


def test_what_flipped_is_offered_most_often_first(finished: RunFolder, visit: Visit) -> None:
    flips = load_history(finished).flips
    at = visit("map")
    at.session_state["pictures-demo"] = "flipped"
    at.run()
    assert f"{np.count_nonzero(flips):,} images changed their label" in texts(at)
    assert f"the first of these {flips.max()} times" in texts(at)


# -- your columns ------------------------------------------------------------------------------


def test_a_table_colours_the_map_and_stays_with_the_run(finished: RunFolder, visit: Visit, told: Told) -> None:
    at = visit("map")
    names = finished.images().ids
    rows = "".join(f"{name},{index / 7},{'even' if index % 2 == 0 else 'odd'}\n" for index, name in enumerate(names))
    at.file_uploader(key="table-demo").upload("t.csv", f"file,weight,side\n{rows}".encode(), "text/csv").run()
    button(at, "Use table").click().run()
    assert at.success[0].value == "You can now colour the map by: weight, side."
    for stage in ("joint", "heads", "features"):
        weight, side = column(told(), stage, "imported.0"), column(told(), stage, "imported.1")
        assert (weight["title"], weight["kind"]) == ("weight", "number")
        assert (weight["low"], round(weight["high"], 4)) == (0, round((IMAGES - 1) / 7, 4))
        np.testing.assert_allclose(fetch(weight["column"]), np.arange(IMAGES) / 7, rtol=1e-6)
        assert side["names"] == ("even", "odd")
        assert np.array_equal(fetch(side["column"]), np.arange(IMAGES) % 2)


def test_columns_without_an_end_are_told_in_numbers_that_a_browser_reads(
    finished: RunFolder, visit: Visit, told: Told
) -> None:
    odd = np.arange(IMAGES, dtype=np.float32)
    odd[:3] = np.inf, -np.inf, np.nan
    finished.save_columns([ImageColumn("odd", odd), ImageColumn("none", np.full(IMAGES, np.inf, np.float32))])
    visit("map")
    json.dumps(told(), allow_nan=False)
    found, none = (column(told(), "joint", f"imported.{number}") for number in range(2))
    assert (found["low"], found["high"]) == (3, IMAGES - 1)
    assert (none["low"], none["high"]) == (0, 1)


@pytest.mark.usefixtures("finished")
def test_a_table_of_something_else_is_a_sentence(visit: Visit, told: Told) -> None:
    at = visit("map")
    at.file_uploader(key="table-demo").upload("t.csv", b"<i>,b\n1,2\n", "text/csv").run()
    button(at, "Use table").click().run()
    assert "No column of the table contains names" in at.error[0].value
    assert "\\<i\\>" in at.error[0].value
    assert all("imported" not in one["key"] for one in told()["stages"][0]["columns"])


# -- unfinished and unusual runs ---------------------------------------------------------------


def test_while_stage_one_trains_its_last_frame_is_the_map(interrupted: RunFolder, visit: Visit, told: Told) -> None:
    rng = np.random.default_rng(0)
    for step in (0, 3):
        save_frame(interrupted, Frame("features", step, rng.normal(size=(IMAGES, 6)).astype(np.float16)))
    assert "stage 1's features so far" in texts(visit("map"))
    data = told()
    assert [one["key"] for one in data["stages"]] == ["none"]
    assert [one["key"] for one in data["stages"][0]["columns"]] == ["truth"]
    assert len(data["frames"]) == 2
    assert np.array_equal(fetch(data["place"]), fetch(data["frames"][-1]["place"]))


def test_with_stage_one_alone_its_own_clusters_are_shown(finished: RunFolder, visit: Visit, told: Told) -> None:
    for artefact in ("heads", "reliable-heads", "joint", "reliable-joint"):
        shutil.rmtree(finished.path / artefact)
    visit("map")
    data = told()
    assert [one["key"] for one in data["stages"]] == ["features"]
    labels = finished.load("features")["labels"]
    assert np.array_equal(fetch(data["stages"][0]["columns"][0]["column"]), labels)


def many_clusters(folder: RunFolder, clusters: int, labels: np.ndarray) -> None:
    """Gives the run judged labels for this many clusters."""
    share = np.ones(IMAGES, np.float32)
    verdict = ReliableSet(labels, share, share, np.zeros(IMAGES, np.uint8), np.full(clusters, 0.9, np.float32))
    for stage in ("heads", "joint"):
        folder.save(f"reliable-{stage}", {key: getattr(verdict, key) for key in verdict.__dataclass_fields__})


def reconfigured(folder: RunFolder, clusters: int) -> None:
    text = (folder.path / "run.json").read_text("utf-8")
    (folder.path / "run.json").write_text(text.replace(f'"clusters": {CLUSTERS}', f'"clusters": {clusters}'), "utf-8")


@pytest.mark.parametrize(("clusters", "labels"), [(2000, np.arange(IMAGES) * 8), (2, np.zeros(IMAGES, np.int64))])
def test_two_thousand_clusters_and_dead_ones_are_named(
    finished: RunFolder, visit: Visit, told: Told, clusters: int, labels: np.ndarray
) -> None:
    reconfigured(finished, clusters)
    many_clusters(finished, clusters, labels)
    assert "An unexpected error occurred" not in texts(visit("map"))
    spec = column(told(), "joint", "cluster")
    assert np.array_equal(fetch(spec["column"]), labels)
    assert len(spec["names"]) == len(spec["palette"]) == clusters


def test_a_run_that_is_removed_while_it_is_open_is_missed_in_a_sentence(finished: RunFolder, visit: Visit) -> None:
    at = visit("map", run="demo")
    shutil.rmtree(finished.path)
    at.run()
    shown = texts(at)
    assert "The run “demo” no longer exists" in shown
    assert "No run yet" in shown
    assert "An unexpected error occurred" not in shown


# -- what may be fetched -----------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("demo", "nothing"),
        ("demo", "place.pca.joint.77"),
        ("demo", "label.joint.77"),
        ("demo", "confidence.features"),
        ("demo", "place.99-0.5"),
        ("other", "label.joint"),
        ("..", "label.joint"),
        ("demo", "../reliable-joint/labels"),
        ("demo", "place.1.2-3.4"),
    ],
)
def test_what_is_not_there_is_refused_in_words(run: str, name: str) -> None:
    request = Request({"type": "http", "path_params": {"run": run, "column": name}})
    answer = columns.serve(request)
    assert answer.status_code == 404
    assert b"Traceback" not in bytes(answer.body)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("finished")
def test_what_is_served_may_be_kept_and_is_not_sniffed() -> None:
    request = Request({"type": "http", "path_params": {"run": "demo", "column": "label.joint"}})
    headers = columns.serve(request).headers
    assert "immutable" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("finished")
def test_above_the_limit_a_sample_is_drawn_and_said(visit: Visit, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "MOST_POINTS", 100)
    monkeypatch.setattr(present.sample, "__defaults__", (100, 0))
    at = visit("map")
    data = told()
    ids = fetch(data["ids"])
    assert 95 <= data["n"] == len(ids) <= 105
    assert data["note"] == f"{len(ids)} of {IMAGES} images: a random sample with the same share of every cluster"
    labels = artefacts.reliable(demo(), "joint").labels
    assert np.array_equal(fetch(column(data, "joint", "cluster")["column"]), labels[ids])
    assert len(fetch(data["place"])) == 2 * len(ids)
    at.session_state["selection"] = ("demo", ids[[2, 5]].astype(np.int64))
    at.run()
    assert present.from_bits(told()["selection"], len(ids)).tolist() == [2, 5]


# -- pure --------------------------------------------------------------------------------------


def test_places_keep_their_proportions_and_lie_in_the_middle() -> None:
    points = np.array([[0.0, 0.0], [10.0, 5.0]])
    box = present.Box.of(points)
    place = present.squared(points, box) / present.SPAN
    np.testing.assert_allclose(place, [[1 / 6, 1 / 3], [5 / 6, 2 / 3]], atol=1e-4)
    far = present.squared(np.array([[-90.0, 5.0]]), box)
    assert far[0, 0] == 0


def test_all_images_in_one_place_are_a_map_too() -> None:
    points = np.ones((3, 2))
    assert present.squared(points, present.Box.of(points)).tolist() == [[32768, 32768]] * 3


def test_a_selection_survives_the_way_there_and_back() -> None:
    chosen = np.array([0, 7, 8, 19])
    assert present.from_bits(present.to_bits(chosen, 20), 20).tolist() == chosen.tolist()


def test_a_sample_takes_the_same_share_of_every_cluster() -> None:
    groups = np.repeat([0, 1], [80, 20])
    kept = present.sample(groups, most=10)
    assert kept is not None
    assert np.bincount(groups[kept]).tolist() == [8, 2]
    assert present.sample(groups, most=100) is None


def test_what_changed_names_the_stage() -> None:
    first, second, third = np.array([0, 0, 0, 0]), np.array([0, 1, 0, 1]), np.array([0, 1, 2, 2])
    assert present.changed(first, second, third).tolist() == [0, 1, 2, 3]
    assert present.changed(first, second, None).tolist() == [0, 1, 0, 1]
    assert len(present.CHANGES) == 4


def test_moments_are_named_by_epoch_round_and_step() -> None:
    assert present.moment("features", 30, 60, 10) == "stage 1 · epoch 5 of 10"
    assert present.moment("features", 0, 0, 0) == "stage 1 · epoch 0 of 0"
    assert present.moment("heads", 4, 15, 10) == "stage 2 · round 4 of 15"
    assert present.moment("joint", 1200, 10000, 10) == "stage 3 · step 1,200 of 10,000"


def test_a_ramp_runs_from_low_to_high() -> None:
    told = present.number("flips", "changes", {"url": "u", "type": "u1"}, 0, 7).told()
    assert (told["low"], told["high"], len(told["palette"])) == (0, 7, present.RAMP_STEPS)
    assert palette.ramp(2) == [palette.RAMP[0], palette.RAMP[-1]]


def test_what_people_decided_can_be_seen_on_the_map(finished: RunFolder, visit: Visit, told: Told) -> None:
    own = np.asarray(finished.load("reliable-joint")["labels"])
    for action, ids, about in (
        ("accept", [0, 1], {}),
        ("reject", [2], {}),
        ("exclude", [3], {}),
        ("new class", [4, 5], {"text": "<i>new</i>"}),
    ):
        asked = Decision(action, "Ann", visit="t", images=np.array(ids), **about)  # type: ignore[arg-type]
        decisions.commit(demo(), [replace(asked, provenance=Provenance.SEEN)])
    visit("map")
    data = told()
    reviewed, class_ = (column(data, "joint", key) for key in ("reviewed", "class"))
    assert fetch(reviewed["column"]).tolist() == [1, 1, 2, 3, 1, 1] + [0] * (IMAGES - 6)
    said = column(data, "joint", "provenance")
    assert (said["title"], tuple(said["names"])) == ("who said", ("model", "voted", "bulk", "seen"))
    assert fetch(said["column"])[:7].tolist() == [3, 3, 0, 0, 3, 3, 0]
    assert class_["names"][-1] == "<i>new</i>"
    assert fetch(class_["column"])[4:8].tolist() == [len(class_["names"]) - 1] * 2 + own[6:8].tolist()
    before = reviewed["column"]
    decisions.commit(demo(), [Decision("undo", "Ann")])
    visit("map")
    after = column(told(), "joint", "reviewed")["column"]
    assert after != before, "the browser keeps what an address gave it"
    assert fetch(after)[4] == 0
