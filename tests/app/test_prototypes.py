"""The Prototypes page: its computations, and the page in every state of a run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.events import Progress, RunStarted, StageFinished, StageStarted
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.history import PrototypeHistory, save_frame
from engine.sources.open_source import Opened
from engine.stages.frames import Frame
from engine.stages.prototypes import Claims
from spice_explorer.present import prototypes as present
from spice_explorer.present.names import NUMBERS
from spice_explorer.present.prototypes import Hint, Overview, Veto
from spice_explorer.queries import artefacts, prototypes
from tests.app.conftest import CLUSTERS, IMAGES, Visit, demo, texts, tiny_config

# -- the clusters ------------------------------------------------------------------------------


def overview_of(labels: list[int], reliable: list[int], truth: list[int] | None = None) -> Overview:
    """Two clusters whose prototypes are formed of one image each; `reliable` lists the reliable images."""
    none = np.zeros((2, 1), bool)
    mask = np.isin(np.arange(len(labels)), reliable)
    found = None if truth is None else np.array(truth)
    return present.overview(np.array(labels), mask, np.array([[0], [1]]), none, none, found)


def test_an_overview_counts_and_judges_even_an_empty_cluster() -> None:
    found = overview_of([0, 0, 0], [0, 2], [1, 1, 0])
    assert found.sizes.tolist() == [3, 0]
    assert found.reliable.tolist() == [2, 0]
    assert (found.share(0), found.share(1)) == (2 / 3, 0.0)
    assert found.purity == pytest.approx([2 / 3, np.nan], nan_ok=True)
    assert found.majority is not None
    assert found.majority[0] == 1
    assert overview_of([0, 1, 1], []).purity is None


def test_clusters_are_ordered_as_asked() -> None:
    found = overview_of([0, 1, 1], [0, 1])
    assert present.order(found, "number").tolist() == [0, 1]
    assert present.order(found, "largest first").tolist() == [1, 0]
    assert present.order(found, "least reliable first").tolist() == [1, 0]
    assert present.order(overview_of([1, 1, 1], []), "flagged first").tolist() == [0, 1]


# -- flags -------------------------------------------------------------------------------------


def test_planted_duplicates_are_found_among_the_images_of_the_same_prototype() -> None:
    ids = np.array([[1, 2], [0, 2], [5, 0], [4, 5], [3, 5], [2, 3]])
    similarity = np.full(ids.shape, 0.9)
    # Copies are 0 and 1, 2 and 5, 3 and 4.
    for one, other in ((0, 1), (2, 5), (3, 4)):
        similarity[one, ids[one] == other] = similarity[other, ids[other] == one] = 1.0
    confident = np.array([[0, 1, 2], [5, 4, 3]])
    found = present.duplicates(confident, ids, similarity)
    # The copies 2 and 5 form different prototypes.
    assert found.tolist() == [[True, True, False], [False, True, True]]
    assert not present.duplicates(confident, ids, np.full(ids.shape, 0.99)).any()


def test_planted_outliers_are_found_and_a_tight_cluster_has_none() -> None:
    generator = np.random.default_rng(0)
    cosines = np.stack((generator.normal(0.9, 0.02, 40), generator.normal(0.99, 0.001, 40)))
    cosines[0, [3, 30]] = 0.4, 0.7
    cosines[1, 7] = 0.98  # ten spreads away, yet as similar as images get
    found = present.outliers(cosines)
    assert np.flatnonzero(found[0]).tolist() == [3, 30]
    assert not found[1].any()


def flagged(duplicates: int, outliers: int, size: int = 1) -> Overview:
    """One cluster, formed of ten images, with this many flagged."""
    first = np.arange(10)
    return Overview(
        np.array([size]),
        np.array([0]),
        np.arange(10)[None] + 50,
        (first < duplicates)[None],
        (first >= 10 - outliers)[None],
    )


def test_flags_name_what_is_odd_and_show_it() -> None:
    assert present.flags(flagged(1, 0), 0) == []
    few, many = present.flags(flagged(0, 1), 0), present.flags(flagged(2, 2), 0)
    assert [(flag.name, flag.ids.tolist()) for flag in few] == [("outliers", [59])]
    assert few[0].sentence.startswith("1 of the images that form the prototype is far")
    assert [(flag.name, flag.ids.tolist()) for flag in many] == [("near-duplicates", [50, 51]), ("outliers", [58, 59])]
    assert many[0].sentence.startswith("20\N{NO-BREAK SPACE}% of the images")
    assert present.flags(flagged(0, 0, size=0), 0)[0].name == "empty"


# -- clusters that may be the same class -----------------------------------------------------------


def test_a_class_cut_in_half_is_found_by_its_neighbours() -> None:
    # Images 0-3 form a ring of neighbours, split between two clusters; 4 and 5 have only each other.
    labels, ids = np.array([0, 1, 0, 1, 2, 2]), np.array([[1], [2], [3], [0], [5], [4]])
    pairs, shared = present.shared_neighbors(labels, ids, 3)
    assert pairs.tolist() == [[0, 1]]
    assert shared.tolist() == [1.0]
    labels[1] = 0  # now cluster 0 has 0, 1 and 2, and two of the four links cross
    assert present.shared_neighbors(labels, ids, 3)[1].tolist() == [0.5]


def test_links_are_sampled_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "LINKED_IMAGES", 500)
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 1000)
    ids = generator.integers(0, 2000, (3000, 4))  # half of the links from 0 and 1 cross
    ids[2000:] = generator.integers(2000, 3000, (1000, 4))
    pairs, shared = present.shared_neighbors(labels, ids, 3)
    assert pairs.tolist() == [[0, 1]]
    assert shared[0] == pytest.approx(0.5, abs=0.06)


def test_merge_hints_come_from_either_sign() -> None:
    cosines = present.similarity(np.array([[1.0, 0.0], [0.0, 1.0], [0.96, 0.28]]))
    pairs, shared = np.array([[0, 1], [0, 2], [1, 2]]), np.array([0.3, 0.02, 0.04])
    assert present.merge_hints(cosines, pairs, shared) == [Hint(0, 1, 0.0, 0.3), Hint(0, 2, pytest.approx(0.96), 0.02)]
    nobody = np.zeros((0, 2), np.int64), np.zeros(0)
    assert present.merge_hints(cosines, *nobody) == [Hint(0, 2, pytest.approx(0.96), 0.0)]
    assert present.merge_hints(np.eye(3), *nobody) == []
    assert "3 and 8: cosine 0.93, 40\N{NO-BREAK SPACE}%" in Hint(3, 8, 0.93, 0.4).sentence(NUMBERS)


def test_a_heat_map_of_many_clusters_keeps_the_most_alike() -> None:
    cosines = np.eye(5)
    cosines[1, 3] = cosines[3, 1] = 0.8
    cosines[0, 4] = cosines[4, 0] = 0.5
    assert present.most_alike(cosines, 2).tolist() == [1, 3]
    assert present.most_alike(cosines, 4).tolist() == [0, 1, 3, 4]
    assert present.most_alike(cosines, 40).tolist() == [0, 1, 2, 3, 4]


# -- vetoes --------------------------------------------------------------------------------------


def test_vetoes_add_up_and_can_be_taken_back() -> None:
    made = [Veto(4, (7, 3)), Veto(1, (9,)), Veto(4, (3, 5)), Veto(1, (9,), True), Veto(4, (7,), True)]
    assert present.vetoed(made) == {4: (3, 5)}
    assert present.vetoed(made[:2]) == {1: (9,), 4: (3, 7)}


def test_a_change_says_who_goes_where() -> None:
    def claims(confident: list[list[int]], nearest: list[list[int]], turn: float) -> Claims:
        ids = np.array(nearest)
        prototypes = np.array([[np.cos(turn), np.sin(turn)], [0.0, 1.0]])
        return Claims(np.array(confident), prototypes, ids, np.ones(ids.shape), ids >= 0)

    before = claims([[0, 1], [4, 5]], [[0, 1, 2], [4, 5, 6]], 0.0)
    after = claims([[1, 3], [4, 5]], [[1, 3, 6], [4, 5, 2]], np.pi / 3)
    labels = np.array([0, 0, 0, -1, 1, 1, 1]), np.array([-1, 0, 1, 0, 1, 1, 0])
    found = present.change(before, after, labels, 0)
    assert found.cosine == pytest.approx(0.5)
    assert (found.out.tolist(), found.joined.tolist()) == ([0], [3])
    assert (found.lost.tolist(), found.lost_to.tolist()) == ([0, 2], [-1, 1])
    assert (found.gained.tolist(), found.gained_from.tolist()) == ([3, 6], [-1, 1])
    assert present.tally(found.lost_to, "to") == "1 to no cluster, 1 to cluster 1"


# -- how prototypes were formed ------------------------------------------------------------------


def test_a_path_is_measured_against_the_last_round() -> None:
    prototypes = np.array([[[1.0, 0.0]], [[0.6, 0.8]], [[0.0, 2.0]]])
    sizes = np.array([[5], [6], [7]])
    history = PrototypeHistory((0, 4, 8), prototypes, np.zeros((3, 1, 2), np.int32), sizes)
    cosines, images = present.path(history, 0)
    assert cosines.tolist() == pytest.approx([0.0, 0.8, 1.0])
    assert images.tolist() == [5, 6, 7]


def test_first_middle_and_last_round_each_once() -> None:
    assert present.moments(range(9)) == [0, 4, 8]
    assert present.moments((0, 2)) == [0, 1]
    assert present.moments((0,)) == [0]


# -- artefacts of a run --------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_the_preview_without_a_veto_is_the_saved_state(finished: RunFolder) -> None:
    saved = finished.load("heads")
    after, changes = prototypes.without(demo(), {})
    assert changes == []
    for name in ("confident", "prototypes", "nearest"):
        assert np.array_equal(getattr(after, name), saved[name])
    # ... and it follows from the saved probabilities by the equations.
    unit = artefacts.unit_vectors(demo())
    means = unit[saved["confident"]].mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert means == pytest.approx(saved["prototypes"], abs=1e-5)
    for cluster in range(CLUSTERS):
        best = np.sort(saved["probabilities"][:, cluster])[::-1][: saved["confident"].shape[1]]
        assert saved["probabilities"][saved["confident"][cluster], cluster] == pytest.approx(best)
        nearest = np.sort(unit @ saved["prototypes"][cluster])[::-1][: IMAGES // CLUSTERS]
        assert after.cosines[cluster] == pytest.approx(nearest, abs=1e-5)


@pytest.mark.usefixtures("finished")
def test_a_veto_of_the_surest_half_moves_the_prototype() -> None:
    own = prototypes.claims(demo())
    half = own.confident[2, : own.confident.shape[1] // 2]
    after, (change,) = prototypes.without(demo(), {2: tuple(half.tolist())})
    assert change.cosine < 1
    assert np.array_equal(np.sort(change.out), np.sort(half))
    assert len(change.joined) == len(half)
    assert not np.isin(half, after.confident[2]).any()
    assert np.array_equal(after.prototypes[[0, 1, 3]], own.prototypes[[0, 1, 3]])


@pytest.mark.usefixtures("finished")
def test_borderline_images_have_the_label_and_the_least_clear_come_first() -> None:
    ids, margin, other = prototypes.borderline(demo(), 1)
    assert set(ids.tolist()) == set(prototypes.claims(demo()).members(1).tolist())
    assert (np.diff(margin) >= 0).all()
    assert 1 not in other


# -- the page --------------------------------------------------------------------------------------


def row_order(at: AppTest) -> list[int]:
    """The clusters in the order of their rows."""
    names = texts(at).split("</i>Cluster ")[1:]
    return [int(name.split("<")[0]) for name in names if name.split("<")[1] == "/div>"]


def veto(at: AppTest, folder: RunFolder, *decisions: Veto) -> AppTest:
    """Acts as if the user had marked images and vetoed them."""
    made = {(folder.path.name, folder.modified("heads")): list(decisions)}
    at.session_state["vetoes"] = made
    return at.run()


def opened(at: AppTest, cluster: int, view: str) -> AppTest:
    at.session_state[f"open-demo-{cluster}"] = True
    at.session_state[f"view-{cluster}"] = view
    return at.run()


@pytest.mark.usefixtures("finished")
def test_there_is_a_row_for_each_cluster_in_the_order_asked(finished: RunFolder, visit: Visit) -> None:
    at = visit("prototypes")
    assert row_order(at) == list(range(CLUSTERS))
    assert "truth:" in texts(at)
    sizes = np.bincount(finished.load("reliable-heads")["labels"], minlength=CLUSTERS)
    at.session_state["order"] = "largest first"
    at.run()
    assert row_order(at) == np.argsort(-sizes, kind="stable").tolist()


@pytest.mark.usefixtures("finished")
def test_a_cluster_is_taken_along_as_the_selection(finished: RunFolder, visit: Visit) -> None:
    at = visit("prototypes")
    labels = finished.load("reliable-heads")["labels"]
    count = int((labels == 1).sum())
    at.button(key="select-1").click().run()
    assert f"<b>{count}</b> images selected" in texts(at)
    assert np.array_equal(at.session_state["selection"][1], np.flatnonzero(labels == 1))


@pytest.mark.usefixtures("finished")
def test_only_the_clusters_asked_for_are_shown(visit: Visit) -> None:
    at = visit("prototypes")
    at.multiselect(key="only clusters-demo").set_value([3, 1]).run()
    assert row_order(at) == [1, 3]


def test_alike_prototypes_are_hinted_at_and_shown_together(finished: RunFolder, visit: Visit) -> None:
    heads = finished.load("heads")
    twins = np.array(heads["prototypes"])
    twins[3] = twins[1]
    finished.save("heads", {**{name: np.array(one) for name, one in heads.items()}, "prototypes": twins})
    at = visit("prototypes")
    at.session_state["alike"] = True
    at.run()
    assert "1 and 3: cosine 1.00" in texts(at)
    at.button(key="both-(1, 3)").click().run()
    assert row_order(at) == [1, 3]


def test_a_veto_is_previewed_undone_and_cleared(finished: RunFolder, visit: Visit) -> None:
    own = prototypes.claims(demo())
    first, second = own.confident[2, :9], own.confident[0, :1]
    at = visit("prototypes")
    assert "nothing is retrained" not in texts(at)
    veto(at, finished, Veto(2, tuple(first.tolist())), Veto(0, tuple(second.tolist())))
    shown = texts(at)
    assert "**10 vetoes** · Preview only: nothing is retrained" in shown
    _, (change, _) = prototypes.without(demo(), {2: tuple(first.tolist()), 0: tuple(second.tolist())})
    assert f"<td>9</td><td>{change.cosine:.4f}</td><td>{len(change.lost)}" in shown
    at.button(key="show vetoed").click().run()
    assert row_order(at) == [0, 2]
    at.button(key="undo veto").click().run()
    assert "**9 vetoes**" in texts(at)
    at.switch_page("../pages/export.py").run()
    at.switch_page("../pages/prototypes.py").run()
    assert "**9 vetoes**" in texts(at)
    at.button(key="clear vetoes").click().run()
    assert "nothing is retrained" not in texts(at)


def test_an_opened_cluster_shows_what_its_vetoes_change(finished: RunFolder, visit: Visit) -> None:
    ids = tuple(prototypes.claims(demo()).confident[2, :9].tolist())
    _, (change,) = prototypes.without(demo(), {2: ids})
    at = opened(veto(visit("prototypes"), finished, Veto(2, ids)), 2, "form the prototype")
    shown = texts(at)
    assert "Vetoed (9)" in shown
    assert "Replace the vetoed images (9)" in shown
    assert f"Lose its label ({len(change.lost)})" in shown
    assert f"Gain its label ({len(change.gained)})" in shown


def test_too_many_vetoes_are_a_sentence_and_can_be_undone(finished: RunFolder, visit: Visit) -> None:
    at = veto(visit("prototypes"), finished, Veto(2, tuple(range(IMAGES - 5))))
    assert "undo some vetoes" in at.error[0].value
    assert row_order(at) == list(range(CLUSTERS))
    at.button(key="undo veto").click().run()
    assert not at.error


@pytest.mark.usefixtures("finished")
def test_vetoes_of_another_training_are_not_these(visit: Visit) -> None:
    at = visit("prototypes")
    at.session_state["vetoes"] = {("demo", 1.0): [Veto(0, (1,))]}
    at.run()
    assert "nothing is retrained" not in texts(at)


@pytest.mark.usefixtures("finished")
def test_every_view_of_an_opened_cluster(visit: Visit) -> None:
    at = visit("prototypes")
    for view, words in (
        ("form the prototype", "Mark and veto some"),
        ("got its label", "The prototype claims these"),
        ("borderline", "border on"),
        ("history", "Round 0:"),
    ):
        assert words in texts(opened(at, 1, view))
    assert len(at.get("plotly_chart")) == 2


def test_flags_are_shown_with_their_images(finished: RunFolder, visit: Visit) -> None:
    near = finished.load("neighbors")
    finished.save("neighbors", {"ids": np.array(near["ids"]), "similarity": np.ones_like(near["similarity"])})
    at = visit("prototypes")
    assert "near-duplicates</span>" in texts(at)
    assert "form the prototype are near-duplicates" in texts(opened(at, 0, "flags"))


def test_a_run_without_frames_says_so(finished: RunFolder, visit: Visit) -> None:
    shutil.rmtree(finished.path / "frames")
    at = opened(visit("prototypes"), 0, "history")
    assert "This run saved no frames of stage 2." in texts(at)


def test_files_that_went_away_are_a_sentence(finished: RunFolder, visit: Visit) -> None:
    at = visit("prototypes")
    shutil.rmtree(finished.path / "features")
    shutil.rmtree(finished.path / "heads")
    at.run()
    assert "has no heads yet" in at.error[0].value


# -- unusual runs --------------------------------------------------------------------------------


def made_run(workspace: Path, clusters: int, labels: np.ndarray, names: tuple[str, ...]) -> RunFolder:
    """A run after stage 2, with synthetic features around each of the `labels`."""
    generator = np.random.default_rng(0)
    count = len(labels)
    pixels = generator.integers(0, 255, (count, 1, 8, 8), np.uint8)
    ids = tuple(f"<b>{index}</b>.png" for index in range(count))
    truth = Truth(labels % len(names), names)
    folder = create_run(
        workspace / "odd", Opened(ImageSet(pixels, ids, "digits"), truth, ()), replace(tiny_config(), clusters=clusters)
    )
    means = generator.normal(size=(clusters, 8)).astype(np.float32)
    vectors = means[labels] + generator.normal(0, 0.1, (count, 8)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    each = max(1, count // clusters)
    near = np.argsort(-(vectors @ means.T), axis=0)[:each].T
    folder.save("features", {"vectors": vectors, "labels": labels.astype(np.int32)})
    others = (np.arange(count)[:, None] + np.arange(1, 11)) % count
    folder.save("neighbors", {"ids": others.astype(np.int32), "similarity": np.full(others.shape, 0.5, np.float32)})
    folder.save(
        "heads",
        {
            "probabilities": np.full((count, clusters), 1 / clusters, np.float32),
            "prototypes": means,
            "confident": near[:, : max(1, each // 2)],
            "nearest": near,
            "chosen": np.array(0),
        },
    )
    ones = np.ones(count, np.float32)
    folder.save(
        "reliable-heads",
        {
            "labels": labels,
            "confidence": ones,
            "agreement": ones,
            "verdicts": np.zeros(count, np.uint8),
            "thresholds": np.ones(clusters, np.float32),
        },
    )
    return folder


def test_a_dead_cluster_has_a_clear_row(workspace: Path, visit: Visit) -> None:
    made_run(workspace, 2, np.zeros(40, np.int64), ("<script>one",))
    at = visit("prototypes")
    shown = texts(at)
    assert row_order(at) == [0, 1]
    assert ">empty</span>" in shown
    assert shown.count("No image is assigned to this cluster;") == 1
    assert "&lt;script&gt;one" in shown
    assert "<script>" not in shown
    assert [one.key for one in at.button if str(one.key).startswith("select-")] == ["select-0"]


def test_two_thousand_clusters_are_turned_page_by_page(workspace: Path, visit: Visit) -> None:
    made_run(workspace, 2000, np.arange(4000) % 2000, ("one", "two"))
    at = visit("prototypes")
    assert row_order(at) == list(range(10))
    at.session_state["page-prototypes-200"] = 200
    at.session_state["alike"] = True
    at.run()
    assert row_order(at) == list(range(1990, 2000))
    assert "The 40 of 2,000 clusters with the most similar prototypes." in texts(at)


@pytest.mark.usefixtures("without_truth")
def test_without_truth_there_is_no_purity(visit: Visit) -> None:
    at = visit("prototypes")
    assert row_order(at) == list(range(CLUSTERS))
    assert "truth:" not in texts(at)


# -- while stage 2 trains --------------------------------------------------------------------------


def frame(round_: int, confident: int) -> Frame:
    """A frame of two heads after a round; image `confident` forms every prototype."""
    labels = np.zeros((2, IMAGES), np.uint16)
    labels[:, :30] = 1
    labels[:, 30] = 2
    prototypes = np.zeros((2, CLUSTERS, 4), np.float16)
    prototypes[..., 0] = 1
    formed = np.full((2, CLUSTERS, 1), confident, np.int32)
    return Frame("heads", round_, None, labels, np.ones_like(labels, np.float16), prototypes, formed)


def test_prototypes_are_watched_while_they_form(interrupted: RunFolder, visit: Visit) -> None:
    for event in (
        RunStarted("cpu", 1),
        StageFinished("features", 1.0),
        StageStarted("heads", 30),
        Progress("heads", 12, 100.0, {"pseudo-label loss": 1.0}),
    ):
        interrupted.append(event)
    save_frame(interrupted, frame(0, 3))
    with interrupted.lock():
        at = visit("prototypes")
        assert "Stage 2 is forming prototypes: round 12 of 30." in texts(at)
        assert row_order(at) == list(range(CLUSTERS))
        assert "Round 0: top cluster for 30 images" in texts(at)
        assert "<img src='/spice/thumbs/halfway/" in texts(at)
        assert "Round 0: top cluster for 1 image" in texts(at)
        assert "Round 0: top cluster for 0 images" in texts(at)
        assert "to the last" not in texts(at)
        assert "Round 4" not in texts(at)
        save_frame(interrupted, frame(4, 5))
        at.run()
        assert "Round 4: top cluster for 30 images</div>" in texts(at)
        assert "Round 0: top cluster for 30 images, cosine 1.000 to the last" in texts(at)
    at.run()  # its training process has ended
    assert "Stage 2 was interrupted while forming prototypes: round 12 of 30." in texts(at)


@pytest.mark.usefixtures("interrupted")
def test_before_stage_2_there_is_nothing_to_watch(visit: Visit) -> None:
    assert "forming prototypes" not in texts(visit("prototypes"))
