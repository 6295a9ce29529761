"""The Reliability page: its numbers, the data for the inspector, and the effects of its answers."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from starlette.requests import Request
from starlette.responses import Response
from streamlit.elements.lib.streamlit_plotly_theme import GRAY_90
from streamlit.testing.v1 import AppTest

from engine.config import ReliableSettings, RunConfig
from engine.curate.audit import LEAST_ANSWERS
from engine.curate.decisions import Decision
from engine.curate.provenance import Provenance
from engine.errors import RunError
from engine.runs.folder import RunFolder
from engine.shares import percent
from engine.sources.open_source import Opened
from engine.space.neighbors import Neighbors, local_agreement
from engine.stages.reliable import ReliableSet, Verdict, judge, neighbor_count
from engine.terms import EXPLANATIONS, REASONS
from spice_explorer import charts
from spice_explorer.components.scripts import parts
from spice_explorer.present import reliability as present
from spice_explorer.present.reliability import Thresholds
from spice_explorer.queries import artefacts, decisions, runs, training
from spice_explorer.web import columns
from tests.app.conftest import CLUSTERS, IMAGES, Visit, button, demo, texts
from tests.browser.conftest import launched

PLANE = "plane-demo"
# The settings of the tiny run in tests/app/conftest.py; ten neighbours, because it is so small.
OWN = {"agreement": 0.6, "confidence": 0.3, "neighbors": 10, "floor": 1 / 3}


# -- thresholds --------------------------------------------------------------------------------


def test_thresholds_come_back_from_the_address_exactly() -> None:
    asked = Thresholds(0.1 + 0.2, 0.95, 18, 1 / 3)
    assert present.thresholds_of(asked.text().split(","), 20) == asked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0.9,0.9,5",
        "0.9,0.9,5,0,0",
        "nan,0.9,5,0",
        "0.9,1.1,5,0",
        "-0.1,0.9,5,0",
        "0.9,0.9,0,0",
        "0.9,0.9,21,0",
        "0.9,0.9,2.5,0",
        "0.9,0.9,inf,0",
        "0.9,0.9,5,<b>",
    ],
)
def test_impossible_thresholds_are_none(text: str) -> None:
    assert present.thresholds_of(text.split(","), 20) is None
    assert present.thresholds_of([None, 0.5, 5, 0], 20) is None


# -- counts ------------------------------------------------------------------------------------


def test_the_reasons_are_the_engines_verdicts() -> None:
    assert len(REASONS) == len(EXPLANATIONS) == len(Verdict)
    assert [v.name for v in Verdict] == ["RELIABLE", "NEIGHBORS_DISAGREE", "NOT_CONFIDENT", "NEITHER"]


def test_a_split_counts_and_judges() -> None:
    labels, truth = np.array([0, 0, 0, 1]), np.array([5, 5, 2, 2])
    found = present.split(labels, np.array([0, 1, 0, 3]), truth)
    assert (found.images, found.reliable, found.by_reason) == (4, 2, (2, 1, 0, 1))
    assert found.purity_of_all == 0.75
    assert found.purity == 0.5
    assert found.coverage == pytest.approx(1 / 3)
    assert present.split(labels, np.array([3, 3, 3, 3]), truth).purity is None
    assert present.split(labels, np.array([0, 1, 0, 3])).coverage is None


def test_nines_of_confidence() -> None:
    assert present.nines(np.array([0.0, 0.9, 0.99, 1.0])) == pytest.approx([0, 1, 2, 5])


def test_galleries_begin_with_the_most_doubtful_or_the_surest() -> None:
    agreement, confidence = np.array([0.9, 0.1, 0.5]), np.array([0.5, 0.5, 0.5])
    every = np.arange(3)
    doubtful = present.order(every, agreement, confidence, doubtful_first=True)
    assert doubtful.tolist() == [1, 2, 0]
    surest = present.order(every, agreement, confidence, doubtful_first=False)
    assert surest.tolist() == [0, 2, 1]


def test_the_curve_is_the_split_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 5, 300), rng.integers(0, 3, 300)
    labels[labels == 3] = 4  # nobody is in cluster 3
    agreement, sure = (rng.integers(0, 11, 300) / 10).astype(np.float32), rng.random(300) < 0.7
    curve = present.purity_coverage(labels, truth, agreement, sure)
    assert curve.agreement.tolist() == sorted(set(agreement[sure].tolist()), reverse=True)
    for level, purity, coverage in zip(curve.agreement, curve.purity, curve.coverage, strict=True):
        found = present.split(labels, np.where(sure & (agreement >= level), 0, 1), truth)
        assert (purity, coverage) == (pytest.approx(found.purity), pytest.approx(found.coverage))


def test_no_sure_image_has_no_curve() -> None:
    curve = present.purity_coverage(np.array([0, 1]), np.array([0, 1]), np.array([0.5, 1.0]), np.zeros(2, bool))
    assert len(curve.agreement) == len(curve.purity) == len(curve.coverage) == 0


def test_a_confusion_table_counts_the_reliable_along_the_diagonal() -> None:
    labels, truth = np.array([0, 0, 0, 2, 2, 1]), np.array([1, 1, 0, 0, 0, 2])
    mask = np.array([1, 1, 1, 1, 1, 0], bool)
    found = present.confusion(labels, truth, ("a", "b", "c"), mask)
    assert found.clusters.tolist() == [2, 0]  # in the order of their classes; 1 has no reliable image
    assert found.classes == ("a", "b")
    assert found.counts.tolist() == [[2, 0], [1, 2]]
    assert found.hidden == 0


def test_axes_of_shares_do_not_go_far_beyond_them() -> None:
    curve = present.purity_coverage(np.zeros(4, int), np.array([0, 0, 1, 2]), np.full(4, 0.5), np.ones(4, bool))
    assert len(curve.agreement) == 1
    layout = charts.purity_coverage(curve, (1.0, 0.5), (1.0, 0.5)).layout
    for axis in (layout.xaxis, layout.yaxis):
        assert axis.range is None, "purity differs by a few points"
        assert -0.1 < axis.autorangeoptions.clipmin <= 0
        assert 1 <= axis.autorangeoptions.clipmax < 1.1


def test_numbers_on_pale_cells_are_not_in_the_grey_of_figures() -> None:
    table = present.confusion(np.zeros(8, int), np.array([0, 0, 0, 1, 1, 1, 2, 2]), ("a", "b", "c"), np.ones(8, bool))
    _, full, pale = charts.confusion(table).data
    assert (len(full.x), len(pale.x)) == (0, 3)
    assert pale.textfont.color == GRAY_90  # legible on both themes


def test_of_many_clusters_the_worst_are_shown() -> None:
    labels = np.repeat(np.arange(60), 4)
    truth = labels.copy()
    truth[4 * 37] = truth[4 * 37 + 1] = 5
    names = tuple(str(one) for one in range(60))
    found = present.confusion(labels, truth, names, np.ones(240, bool))
    assert 37 in found.clusters
    assert (len(found.clusters), found.hidden) == (present.MOST_ROWS, 60 - present.MOST_ROWS)
    assert len(present.confusion(labels, truth, names, np.zeros(240, bool)).clusters) == 0


# -- routes ------------------------------------------------------------------------------------


def get(run: str, column: str) -> Response:
    parts = {"run": run, "column": column}
    return columns.serve(Request({"type": "http", "path_params": parts, "headers": []}))


def test_how_many_neighbours_agree_is_served_for_every_image(finished: RunFolder) -> None:
    labels = finished.load("reliable-heads")["labels"]
    agreed = np.frombuffer(bytes(get("demo", "agreed.heads.7").body), "<u2")
    near = labels[finished.load("neighbors")["ids"][:, :7]]
    assert agreed.tolist() == (near == labels[:, None]).sum(1).tolist()


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("count", ["0", "9999", "-1", "", "007"])
def test_neighbours_that_are_not_kept_cannot_be_asked(count: str) -> None:
    answer = get("demo", f"agreed.joint.{count}")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


def test_the_address_changes_with_the_labels(finished: RunFolder) -> None:
    def address(column: str) -> str:
        return columns.Addresses(demo()).at(column, "u2")["url"]

    before, place = address("agreed.joint.COUNT"), address("place.pca")
    assert address("agreed.joint.COUNT") == before
    finished.save("reliable-joint", dict(finished.load("reliable-joint")))
    assert address("agreed.joint.COUNT") != before
    assert address("place.pca") == place  # the map is not sent again


# -- the rule in the browser -------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> Iterator[Page]:
    """A page with plane.js loaded and its classes accessible."""
    source = parts("plane")["js"]
    with launched() as browser:
        page = browser.new_page()
        page.add_script_tag(content=f"{source}\nObject.assign(window, {{ Judge, Plane }});", type="module")
        page.wait_for_function("() => Boolean(window.Judge)")
        yield page


RULE = """([labels, confidence, agreed, clusters, count, asked]) => {
  const buffer = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const judge = new Judge(
    new Uint16Array(buffer(labels)), new Float32Array(buffer(confidence)), clusters);
  judge.tally(new Uint16Array(buffer(agreed)), count, asked.confidence);
  const { table, total, needs, plain, relaxed } = judge.verdict(asked);
  const lowered = [...needs].map((need, k) => judge.sizes[k] > 0 && need < plain);
  return { table: [...table], total, lowered, relaxed: [...relaxed] };
}"""


def base64_of(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(array.astype(kind).tobytes()).decode()


@pytest.mark.browser
@pytest.mark.parametrize("count", [1, 7, 18, 100])
def test_the_browser_judges_as_the_engine_does(script: Page, count: int) -> None:
    rng = np.random.default_rng(count)
    clusters, images = 9, 800
    labels = rng.integers(0, clusters, images)
    labels[labels == 4] = 5  # nobody is in cluster 4
    confidence = rng.choice(np.float32([0.2, 0.9, 0.95, 0.99999, 1.0]), images)
    agreed = rng.binomial(count, rng.beta(4, 1, images))
    # As in the engine: a mean, stored as float32.
    agreement = (agreed / count).astype(np.float32)
    for _ in range(30):
        level = rng.integers(0, count + 1) / count
        # The nearest float32 is above or below the share itself; the engine treats both alike.
        share = float(rng.choice([rng.random(), 0.95, level, np.float32(level)]))
        asked = {
            "agreement": share,
            "confidence": float(rng.choice([0.0, 0.9, 0.95, 1.0])),
            "floor": float(rng.choice([0.0, 1 / 3, 0.9, 1.0])),
        }
        taken = judge(labels, confidence, agreement, clusters, ReliableSettings(**asked))
        verdict = taken.strict(ReliableSettings(**asked), np.zeros(images, bool))
        table = np.zeros((clusters, 4), int)
        np.add.at(table, (labels, verdict.verdicts), 1)
        found = script.evaluate(
            RULE,
            [base64_of(labels, "<u2"), base64_of(confidence, "<f4"), base64_of(agreed, "<u2"), clusters, count, asked],
        )
        assert found["table"] == table.ravel().tolist()
        assert found["total"] == table.sum(0).tolist()
        relaxed = taken.relaxed(share, np.zeros(images, bool))
        assert found["relaxed"] == np.bincount(labels[relaxed], minlength=clusters).tolist()
        there = np.bincount(labels, minlength=clusters) > 0
        lowered = (taken.thresholds < np.float32(share)) & there
        # Lowering a threshold between two numbers of neighbours changes no verdict.
        assert not np.any(np.array(found["lowered"]) & ~lowered)


@pytest.mark.browser
@pytest.mark.parametrize("count", [1, 3, 18, 57, 100, 999, 1500])
def test_a_dragged_line_asks_for_whole_neighbours(script: Page, count: int) -> None:
    code = """(count) => [...Array(count + 1).keys()].filter(
      (need) => Judge.need(Plane.prototype.agreementOf.call({ count }, need), count) !== need)"""
    assert script.evaluate(code, count) == []


# -- the page ----------------------------------------------------------------------------------


def rejudge(folder: RunFolder, stage: Any, labels: np.ndarray, confidence: np.ndarray) -> None:
    """Replaces the labels of a stage, with the engine's verdicts on them."""
    near, config = folder.load("neighbors"), folder.card().config
    count = neighbor_count(config.reliable, IMAGES, CLUSTERS)
    agreement = local_agreement(labels, Neighbors(near["ids"], near["similarity"]), count)
    found = judge(labels, confidence, agreement, CLUSTERS, config.reliable)
    folder.save(f"reliable-{stage}", dict(vars(found)))


@pytest.fixture
def mixed(finished: RunFolder, few_digits: Opened) -> RunFolder:
    """A finished run in which every cluster has images of every verdict, in both stages."""
    assert few_digits.truth is not None
    for seed, stage in enumerate(("heads", "joint")):
        rng = np.random.default_rng(seed)
        wrong = rng.random(IMAGES) < 0.25
        labels = np.where(wrong, rng.integers(0, CLUSTERS, IMAGES), few_digits.truth.labels)
        rejudge(finished, stage, labels, rng.random(IMAGES).astype(np.float32))
    return finished


def told(at: AppTest) -> dict[str, Any]:
    """The data that the inspector got."""
    every = [json.loads(one.proto.json) for one in at.get("bidi_component")]
    return next(one for one in every if "ownCounts" in one)


def shown(at: AppTest) -> list[int]:
    """The ids on the first page of the gallery."""
    every = [json.loads(one.proto.json) for one in at.get("bidi_component")]
    return next((one["ids"] for one in every if "captions" in one), [])


def move(at: AppTest, serial: int = 1, **change: Any) -> AppTest:
    """Drags to other thresholds."""
    asked = {**told(at)["asked"], **change, "serial": serial}
    at.session_state[PLANE] = {"thresholds": asked}
    return at.run()


def verdict_of(stage: Any = "joint", **change: Any) -> ReliableSet:
    own = runs.look(demo()).card.config.reliable
    return artefacts.judge(demo(), stage, replace(own, **change))


def counts_of(verdict: ReliableSet) -> list[int]:
    return np.bincount(verdict.verdicts, minlength=4).tolist()


def test_the_page_begins_with_the_runs_own_split(mixed: RunFolder, visit: Visit) -> None:
    at = visit("reliability")
    data = told(at)
    own = mixed.load("reliable-joint")["verdicts"]
    assert data["ownCounts"] == data["engine"]["counts"] == np.bincount(own, minlength=4).tolist()
    assert data["asked"] == data["own"] == OWN
    assert (data["images"], data["clusters"]) == (IMAGES, CLUSTERS)
    assert data["most"] == mixed.load("neighbors")["ids"].shape[1]
    assert shown(at)
    assert all(own[one] == Verdict.NEIGHBORS_DISAGREE for one in shown(at))
    assert not [name for name in at.query_params if name in ("t", "stage", "reason", "cluster")]


@pytest.mark.usefixtures("mixed")
def test_moved_thresholds_are_judged_by_the_engine(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=0.9, confidence=0.35, neighbors=5, floor=0.0)
    verdict = verdict_of(agreement=0.9, confidence=0.35, neighbors=5, floor=0.0)
    data = told(at)
    assert data["engine"]["counts"] == counts_of(verdict) != data["ownCounts"]
    assert data["engine"]["thresholds"] == data["asked"]
    assert set(shown(at)) <= set(np.flatnonzero(verdict.verdicts == 1).tolist())
    assert at.query_params["t"] == "0.9,0.35,5,0.0"


@pytest.mark.usefixtures("mixed")
def test_thresholds_that_nobody_can_drag_to_change_nothing(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=7, neighbors="<b>")
    assert told(at)["asked"] == OWN
    assert "An unexpected error occurred" not in texts(at)


@pytest.mark.usefixtures("mixed")
def test_the_view_stays_while_another_page_is_visited(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=0.9)
    at.session_state[PLANE] = {"pick": {"cluster": 2, "serial": 5}}
    at.run()
    at.switch_page("../pages/export.py").run()
    at.switch_page("../pages/reliability.py").run()
    assert (told(at)["asked"]["agreement"], told(at)["cluster"]) == (0.9, 2)
    assert at.query_params["t"] == "0.9,0.3,10,0.3333333333333333"


def link(visit: Visit, **query: str) -> AppTest:
    at = visit("reliability")
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


@pytest.mark.usefixtures("mixed")
def test_a_link_opens_the_view_again(visit: Visit) -> None:
    at = link(visit, t="0.8,0.4,7,0.5", stage="heads", reason="reliable", cluster="1")
    data = told(at)
    asked = {"agreement": 0.8, "confidence": 0.4, "neighbors": 7, "floor": 0.5}
    assert data["asked"] == asked
    assert data["engine"]["counts"] == counts_of(verdict_of("heads", **asked))
    assert "label.heads" in data["labels"]["url"]
    assert (data["reason"], data["cluster"]) == (0, 1)
    labels = artefacts.reliable(demo(), "heads").labels
    assert shown(at)
    assert all(labels[one] == 1 for one in shown(at))


@pytest.mark.usefixtures("mixed")
def test_bad_values_in_a_link_are_ignored(visit: Visit) -> None:
    at = link(visit, t="0.8,2,7,0.5", stage="<b>", reason="no", cluster="99")
    data = told(at)
    assert (data["asked"], data["reason"], data["cluster"]) == (OWN, 1, None)
    assert "label.joint" in data["labels"]["url"]
    assert "An unexpected error occurred" not in texts(at)


@pytest.mark.usefixtures("mixed")
def test_an_address_that_the_page_has_left_is_no_link(visit: Visit) -> None:
    at = link(visit, t="0.8,0.4,7,0.5")
    at = move(at, agreement=0.9)
    at.query_params["t"] = "0.8,0.4,7,0.5"  # as sent by a browser that lags behind
    assert told(at.run())["asked"]["agreement"] == 0.9


@pytest.mark.usefixtures("mixed")
def test_a_click_on_a_bar_is_taken_once(visit: Visit) -> None:
    at = visit("reliability")
    at.session_state[PLANE] = {"pick": {"cluster": 2, "serial": 1}}
    assert told(at.run())["cluster"] == 2
    cluster = next(one for one in at.selectbox if one.label == "Cluster")
    assert cluster.value == 2
    cluster.set_value("all").run()
    assert told(at)["cluster"] is None
    at.session_state[PLANE] = {"pick": {"reason": 3, "serial": 2}}
    verdicts = artefacts.reliable(demo(), "joint").verdicts
    assert told(at.run())["reason"] == 3
    assert set(shown(at)) <= set(np.flatnonzero(verdicts == 3).tolist())


@pytest.mark.usefixtures("mixed")
def test_truth_is_marked(visit: Visit) -> None:
    at = visit("reliability")
    verdict, truth = verdict_of(), artefacts.truth(demo())
    assert truth is not None
    found = present.split(verdict.labels, verdict.verdicts, truth.labels)
    assert "never used in training" in texts(at)
    assert f"Purity of the reliable set **{percent(found.purity)}**" in texts(at)
    assert len(at.get("plotly_chart")) == 2


@pytest.mark.usefixtures("mixed")
def test_an_estimate_is_called_one_and_compared_with_truth(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []

    def estimated_purity(_name: str, stage: str, mask: np.ndarray) -> float:
        masks.append((stage, mask))
        return 0.5

    monkeypatch.setattr(artefacts, "estimated_purity", estimated_purity)
    at = move(visit("reliability"), agreement=0.8)
    verdict, truth = verdict_of(agreement=0.8), artefacts.truth(demo())
    assert truth is not None
    purity = present.split(verdict.labels, verdict.verdicts, truth.labels).purity
    assert purity is not None
    assert masks[-1][0] == "joint"
    assert np.array_equal(masks[-1][1], verdict.mask)
    assert "Estimated purity of the reliable set: **50.0\N{NO-BREAK SPACE}%**" in texts(at)
    off = f"{100 * (0.5 - purity):+.1f}".replace("-", "−")
    assert f"estimate 50.0\N{NO-BREAK SPACE}%, truth {percent(purity)}: off by {off} points" in texts(at)


@pytest.mark.usefixtures("mixed")
def test_enough_answers_take_the_place_of_the_estimate(visit: Visit) -> None:
    verdict = verdict_of("heads")
    ids = np.flatnonzero(verdict.mask)[:LEAST_ANSWERS]
    labels = decisions.needed_model(demo()).labels
    for place, image in enumerate(ids.tolist()):
        if place == LEAST_ANSWERS - 1:
            assert "Estimated purity" in texts(link(visit, stage="heads"))
        class_ = int(labels[image]) if place % 3 else (int(labels[image]) + 1) % CLUSTERS
        asked = Decision("relabel", "Ann", images=np.array([image]), class_=class_, provenance=Provenance.SEEN)
        decisions.commit(demo(), [asked])
    said = texts(link(visit, stage="heads"))
    assert "Estimated purity" not in said
    own = decisions.classes_of(demo())
    right = int((verdict.labels[ids] == own[ids]).sum())
    assert f"{right} of the {LEAST_ANSWERS} that you looked at are right; these were not drawn at random" in said


@pytest.mark.usefixtures("mixed")
def test_none_of_the_labels_may_be_reliable_and_that_says_what_to_do(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=1.0, confidence=1.0)
    assert told(at)["engine"]["counts"][0] == 0
    assert "None of these labels is reliable." in at.warning[0].value
    assert "look at images yourself" in at.warning[0].value


@pytest.mark.usefixtures("mixed")
def test_what_training_takes_below_the_line_is_not_called_reliable(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=1.0, floor=1 / 3)
    own = runs.look(demo()).card.config.reliable
    taken = artefacts.teachers(demo(), "heads", replace(own, agreement=1.0, floor=1 / 3))
    relaxed = int(taken.relaxed(1.0, np.zeros(IMAGES, bool)).sum())
    assert relaxed > 0
    least = f"{taken.thresholds.min():.2f}"
    assert f"{relaxed:,} of them are not reliable: best third, relaxed to {least}." in texts(at)
    assert told(at)["engine"]["counts"][0] == verdict_of(agreement=1.0, floor=0.0).mask.sum()


@pytest.mark.usefixtures("mixed")
def test_where_nothing_can_be_estimated_nothing_is_said(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "estimated_purity", lambda *_: None)
    assert "stimate" not in texts(visit("reliability"))


@pytest.mark.usefixtures("without_truth")
def test_without_truth_nothing_is_said_of_it(visit: Visit) -> None:
    at = visit("reliability")
    assert "ground truth" not in texts(at).lower()
    assert not at.get("plotly_chart")
    assert told(at)["engine"]["counts"] == counts_of(verdict_of())


@pytest.mark.usefixtures("mixed")
def test_when_all_are_rejected_nothing_can_be_trained(visit: Visit) -> None:
    at = move(visit("reliability"), confidence=1.0)
    assert told(at)["engine"]["counts"][0] == 0
    assert "No label of stage 2 is reliable under these thresholds" in texts(at)
    assert "Purity of the reliable set **–**" in texts(at)
    assert "No image is reliable." in texts(at)


@pytest.mark.usefixtures("mixed")
def test_when_none_is_rejected_the_gallery_is_empty(visit: Visit) -> None:
    at = move(visit("reliability"), agreement=0.0, confidence=0.0)
    assert told(at)["engine"]["counts"] == [IMAGES, 0, 0, 0]
    assert "No image has this verdict here." in texts(at)


def test_a_dead_cluster_has_no_teacher(mixed: RunFolder, visit: Visit) -> None:
    for stage in ("heads", "joint"):
        own = mixed.load(f"reliable-{stage}")
        labels = np.where(own["labels"] == 3, 2, own["labels"])
        rejudge(mixed, stage, labels, np.array(own["confidence"]))
    at = visit("reliability")
    assert told(at)["clusters"] == CLUSTERS
    assert "Cluster 3 would have no image to train on, and may lose all of its images in stage 3." in texts(at)
    at.session_state[PLANE] = {"pick": {"cluster": 3, "serial": 1}}
    assert not shown(at.run())
    assert "No image has this verdict here." in texts(at)


def test_while_stage_3_trains_stage_2_is_shown_and_stage_3_offered_later(mixed: RunFolder, visit: Visit) -> None:
    later = mixed.path.parent.parent / "later"
    shutil.move(mixed.path / "reliable-joint", later)
    at = visit("reliability")
    assert "label.heads" in told(at)["labels"]["url"]
    shutil.move(later, mixed.path / "reliable-joint")
    at.run()
    assert "label.heads" in told(at)["labels"]["url"]  # the view does not change unasked
    offered = next(one for one in at.get("button_group") if "stage 2" in str(one.proto.options))
    assert "stage 3" in str(offered.proto.options)


def test_a_run_that_goes_away_is_a_sentence(mixed: RunFolder, visit: Visit) -> None:
    at = visit("reliability")
    shutil.rmtree(mixed.path / "reliable-joint")
    shutil.rmtree(mixed.path / "reliable-heads")
    at.run()
    assert not at.exception
    shutil.rmtree(mixed.path)
    at.run()
    assert not at.exception
    assert "An unexpected error occurred" not in texts(at)


def gone() -> None:
    """The chart of a run that goes away while it is looked at: the chart is redrawn without the page."""
    import shutil

    from spice_explorer.queries import runs
    from spice_explorer.sections import reliability

    look = runs.look(runs.folder_of("demo"))
    shutil.rmtree(look.folder.path)
    reliability._inspector(look)


@pytest.mark.usefixtures("mixed")
def test_the_chart_of_a_run_that_went_away_says_so() -> None:
    at = AppTest.from_function(gone).run(timeout=30)
    assert not at.exception
    assert at.error[0].value.startswith("There is no run 'demo' in")


# -- training from the thresholds --------------------------------------------------------------


@pytest.fixture
def branches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, RunConfig]]:
    """The requested branches; nothing is trained."""
    calls: list[tuple[str, RunConfig]] = []

    def continue_from(run: RunFolder, config: RunConfig) -> str:
        calls.append((run.name, config))
        return run.name

    monkeypatch.setattr(training, "continue_from", continue_from)
    return calls


@pytest.mark.usefixtures("mixed")
def test_stage_3_is_trained_from_these_thresholds(visit: Visit, branches: list[tuple[str, RunConfig]]) -> None:
    at = move(visit("reliability"), agreement=0.9, floor=0.0)
    teachers = int(verdict_of("heads", agreement=0.9, floor=0.0).mask.sum())
    assert f"no floor: **{teachers:,} images** are trained on" in texts(at)
    assert not branches
    button(at, "Start the new run").click().run()
    own = runs.look(demo()).card.config
    wanted = replace(own, reliable=replace(own.reliable, agreement=0.9, floor=0.0))
    assert branches == [("demo", wanted)]
    assert wanted.reliable.neighbors is None  # the run's own number: the setting stays
    assert "spice-steps" in texts(at)  # the Train page


@pytest.mark.usefixtures("mixed")
def test_another_number_of_neighbours_is_asked_for(visit: Visit, branches: list[tuple[str, RunConfig]]) -> None:
    at = move(visit("reliability"), neighbors=6)
    button(at, "Start the new run").click().run()
    assert branches[0][1].reliable.neighbors == 6


@pytest.mark.usefixtures("mixed")
def test_a_run_that_cannot_be_made_is_a_sentence(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> str:
        raise RunError("the disk is <full>")

    monkeypatch.setattr(training, "continue_from", fails)
    at = visit("reliability")
    button(at, "Start the new run").click().run()
    assert at.error[0].value == "The disk is \\<full\\>"
