"""The image panel: why a label is reliable or rejected, and the panel in every state of a run."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine.data.images import ImageSet
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened
from engine.space.neighbors import Neighbors, local_agreement
from engine.stages.reliable import Verdict, judge
from spice_explorer import palette
from spice_explorer.present import panel as present
from tests.app.conftest import CLUSTERS, IMAGES, button, texts, tiny_config

# The number of neighbours in the tiny run.
ASKED = 10

# -- the sentences -----------------------------------------------------------------------------


def why(verdict: int, agreement: float = 0.41, confidence: float = 0.81) -> present.Explanation:
    return present.explanation(3, agreement, confidence, verdict, threshold=0.95, asked_confidence=0.9, count=100)


def test_a_rejection_says_what_was_found_and_what_was_needed() -> None:
    both = why(Verdict.NEITHER)
    assert both.verdict == "Rejected: neighbours disagree, not confident"
    assert both.neighbors == present.Reason(False, "41 of 100 neighbours say 3, 95 needed")
    assert both.confidence == present.Reason(False, "confidence 0.81, 0.90 needed")


@pytest.mark.parametrize(
    ("verdict", "words", "holds"),
    [
        (Verdict.RELIABLE, "Reliable", (True, True)),
        (Verdict.NEIGHBORS_DISAGREE, "Rejected: neighbours disagree", (False, True)),
        (Verdict.NOT_CONFIDENT, "Rejected: not confident", (True, False)),
    ],
)
def test_the_verdict_is_the_engines(verdict: int, words: str, holds: tuple[bool, bool]) -> None:
    found = why(verdict)
    assert found.verdict == words
    assert tuple(one.holds for one in found.reasons) == holds


def test_one_neighbour_is_one() -> None:
    found = present.explanation(0, 1.0, 1.0, 0, threshold=0.5, asked_confidence=0.5, count=1)
    assert found.neighbors.text == "1 of 1 neighbour says 0, 1 needed"


@pytest.mark.parametrize("count", [1, 7, 10, 18, 30, 100])
def test_what_is_needed_is_the_least_that_the_engine_lets_through(count: int) -> None:
    # Shares as `local_agreement` stores them; thresholds as settings, or as another image's share.
    shares = (np.arange(count + 1) / count).astype(np.float32)
    thresholds = [0.0, 0.3, 0.6, 0.7, 0.95, 1.0, *shares.tolist()]
    for threshold in np.array(thresholds, np.float32):
        enough = np.flatnonzero(shares >= threshold)[0]
        assert present.needed(float(threshold), count) == enough


@pytest.mark.parametrize(
    ("value", "other", "words"),
    [
        (0.81, 0.95, ("0.81", "0.95")),
        (0.9496, 0.95, ("0.9496", "0.9500")),
        (0.95, 0.95, ("0.95", "0.95")),
        (0.9999999, 1.0, ("1.00000", "1.00000")),
    ],
)
def test_numbers_are_as_long_as_it_takes_to_tell_them_apart(value: float, other: float, words: tuple[str, str]) -> None:
    assert present.apart(value, other) == words


def test_votes_are_counted_commonest_first() -> None:
    labels = np.array([5, 1, 1, 2, 5, 1, 9])
    assert present.votes(labels, np.array([0, 1, 2, 3, 4])) == [(1, 2), (5, 2), (2, 1)]


def test_history_is_a_cell_a_frame() -> None:
    labels = np.array([1, 2, 2], np.uint16)
    cells = present.cells(("heads", "heads", "joint"), (0, 12, 1500), labels, np.array([0.5, 0.71, 1]))
    assert [one.title for one in cells] == [
        "stage 2, round 0: cluster 1, confidence 0.50",
        "stage 2, round 12: cluster 2, confidence 0.71",
        "stage 3, step 1,500: cluster 2, confidence 1.00",
    ]
    assert [one.colour for one in cells] == [palette.cluster_colour(one) for one in (1, 2, 2)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([4], "It has never changed its label."),
        ([4, 4, 5], "It changed its label once."),
        ([4, 5, 4], "It changed its label 2 times."),
    ],
)
def test_changes_are_counted(labels: list[int], words: str) -> None:
    assert present.changes(np.array(labels, np.uint16)) == words


# -- the panel ---------------------------------------------------------------------------------


def page(name: str, confidence: float | None = None, agreement: float | None = None) -> None:
    """A page with only the panel; with thresholds, as on the Reliability page."""
    from dataclasses import replace

    from spice_explorer.queries import artefacts, runs
    from spice_explorer.sections import panel

    run = runs.folder_of(name)
    if confidence is None or agreement is None:
        panel.show(run)
        return
    asked = replace(run.card().config.reliable, confidence=confidence, agreement=agreement, neighbors=5, floor=0.0)
    judged = artefacts.judge(run, "heads", asked)
    panel.show(run, stage="heads", judged=judged, count=5, confidence=confidence)


def opened(run: str, image: int | str, **rest: Any) -> AppTest:
    at = AppTest.from_function(page, args=(run,), kwargs=rest)
    at.query_params["image"] = str(image)
    return at.run(timeout=30)


def neighbors(at: AppTest) -> dict[str, Any]:
    (component,) = at.get("bidi_component")
    return json.loads(component.proto.json)


@pytest.fixture
def mixed(finished: RunFolder) -> RunFolder:
    """The finished run with true classes as labels: some images have neighbours with other labels."""
    labels = np.asarray(finished.load("truth")["labels"])
    near = finished.load("neighbors")
    agreement = local_agreement(labels, Neighbors(near["ids"], near["similarity"]), ASKED)
    confidence = np.linspace(0, 1, len(labels), dtype=np.float32)
    judged = judge(labels, confidence, agreement, CLUSTERS, finished.card().config.reliable)
    assert set(judged.verdicts.tolist()) == set(Verdict)
    finished.save("reliable-joint", vars(judged))
    return finished


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_finished_run_explains_its_verdict(verdict: Verdict, mixed: RunFolder) -> None:
    judged, near = mixed.load("reliable-joint"), mixed.load("neighbors")
    index = int(np.flatnonzero(judged["verdicts"] == verdict)[0])
    label = int(judged["labels"][index])
    agree = int((judged["labels"][near["ids"][index, :ASKED]] == label).sum())
    shown = texts(opened("demo", index))
    assert f"<b>{mixed.images().names[index]}</b>" in shown
    assert f"<b>Cluster {label}</b><span>label of stage 3</span>" in shown
    assert f"<b>{present.VERDICTS[verdict]}</b>" in shown
    assert f"{agree} of {ASKED} neighbours say {label}, " in shown
    assert f"{'holds' if judged['confidence'][index] >= 0.3 else 'fails'}'>confidence" in shown
    assert ", 0.30" in shown
    assert "full=1" in shown
    truth = mixed.load("truth")
    assert f"truth: {truth['class_names'][truth['labels'][index]]} · never used" in shown


def test_neighbours_are_in_order_with_those_that_disagree_outlined(mixed: RunFolder) -> None:
    labels, near = mixed.load("reliable-joint")["labels"], mixed.load("neighbors")
    split = (labels[near["ids"][:, :ASKED]] != labels[:, None]).any(1)
    index = int(np.flatnonzero(split)[0])
    at = opened("demo", index)
    data = neighbors(at)
    ids = near["ids"][index, :ASKED]
    assert data["ids"] == ids.tolist()
    assert data["odd"] == (labels[ids] != labels[index]).tolist()
    assert data["captions"] == [str(label) for label in labels[ids]]
    assert data["titles"][0].endswith(f"cosine {near['similarity'][index, 0]:.3f}")
    assert data["actions"] == []
    commonest = present.votes(labels, ids)[0]
    assert f"</i>{commonest[0]}</span>" in texts(at)
    assert f"<em>{commonest[1]}</em>" in texts(at)
    assert "dashed: another label" in texts(at)


def test_history_has_a_cell_for_each_frame(finished: RunFolder) -> None:
    shown = texts(opened("demo", 0))
    frames = [one.name for one in (finished.path / "frames").iterdir() if "features" not in one.name]
    assert shown.count("<i title='stage ") == len(frames)
    assert "<span>stage 2</span>" in shown
    assert "changed its label" in shown


@pytest.mark.usefixtures("without_truth")
def test_without_truth_there_is_no_word_of_it() -> None:
    assert "truth" not in texts(opened("demo", 0)).lower()


def test_other_thresholds_are_explained_as_given(finished: RunFolder) -> None:
    strict = texts(opened("demo", 0, confidence=1.0, agreement=1.0))
    label = int(finished.load("reliable-heads")["labels"][0])
    assert "label of stage 2" in strict
    assert f"of 5 neighbours say {label}, 5 needed" in strict
    assert "1.00" in strict.partition("<li class='fails'>confidence ")[2][:30]
    loose = texts(opened("demo", 0, confidence=0.0, agreement=0.0))
    assert "<b>Reliable</b>" in loose
    assert ", 0 needed" in loose


# -- states ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("image", [IMAGES, "x", "-1", "", "9" * 30])
def test_without_an_image_there_is_no_panel(image: int | str) -> None:
    at = opened("demo", image)
    assert not at.button
    assert not texts(at)


@pytest.mark.usefixtures("interrupted")
def test_before_stage_1_there_is_the_picture_and_what_is_to_come() -> None:
    at = opened("halfway", 3)
    shown = texts(at)
    assert "/spice/thumbs/halfway/3.webp" in shown
    assert "stage 1 finds its neighbours" in shown
    assert "Cluster" not in shown
    assert not at.get("bidi_component")
    assert not at.error


def test_after_stage_1_there_are_neighbours_with_its_labels(finished: RunFolder) -> None:
    for later in ("heads", "joint", "reliable-heads", "reliable-joint", "frames"):
        shutil.rmtree(finished.path / later)
    at = opened("demo", 3)
    assert "come with stage 2" in texts(at)
    assert "spice-panel-why" not in texts(at)
    labels = finished.load("features")["labels"]
    ids = finished.load("neighbors")["ids"][3, :ASKED]
    assert neighbors(at)["captions"] == [str(label) for label in labels[ids]]


def test_in_stage_2_the_history_is_there_before_the_verdict(finished: RunFolder) -> None:
    for later in ("heads", "joint", "reliable-heads", "reliable-joint"):
        shutil.rmtree(finished.path / later)
    shown = texts(opened("demo", 3))
    assert "spice-panel-history" in shown
    assert "come with stage 2" in shown


def test_after_stage_2_its_label_is_explained(finished: RunFolder) -> None:
    shutil.rmtree(finished.path / "reliable-joint")
    assert "label of stage 2" in texts(opened("demo", 3))


@pytest.mark.parametrize("gone", ["images/pixels.npy", "images", "neighbors"])
def test_what_is_gone_from_the_folder_is_a_sentence(gone: str, finished: RunFolder) -> None:
    st.cache_resource.clear()
    path = finished.path / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    at = opened("demo", 3)
    shown = texts(at)
    assert not at.exception
    assert "unexpected" not in shown
    assert "missing" in shown
    assert "spice-panel-history" in shown
    assert button(at, "Close")


def test_names_are_escaped(finished: RunFolder) -> None:
    evil = tuple(f"<b>folder/'<script>{index}" for index in range(20))
    pixels = np.asarray(finished.images().pixels[:20])
    opening = Opened(ImageSet(pixels, evil, "evil"), None, ())
    create_run(finished.path.parent / "evil", opening, tiny_config())
    shown = texts(opened("evil", 3))
    assert "<script>" not in shown
    assert "&#x27;&lt;script&gt;3" in shown
    assert "&lt;b&gt;folder/ · image 3" in shown


# -- buttons -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_an_image_joins_and_leaves_the_travelling_selection() -> None:
    at = opened("demo", 3)
    at.session_state["selection"] = ("demo", np.array([1, 7]))
    at.run()
    button(at, "Select").click().run()
    assert at.session_state["selection"][1].tolist() == [1, 3, 7]
    button(at, "Remove from selection").click().run()
    assert at.session_state["selection"][1].tolist() == [1, 7]


@pytest.mark.usefixtures("finished")
def test_close_closes() -> None:
    at = opened("demo", 3)
    button(at, "Close").click().run()
    assert not texts(at)
    assert "image" not in at.query_params
