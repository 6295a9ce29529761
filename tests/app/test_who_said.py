"""Who gave a label, and how far the word reliable goes, in the words of the pages."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.audit import LEAST_ANSWERS, Estimate
from engine.curate.decisions import Decision
from engine.curate.log import FILE
from engine.curate.measured import Measured
from engine.curate.provenance import Provenance
from engine.events import Record, ReliableSelected
from engine.runs.folder import RunFolder
from engine.runs.snapshot import fold
from spice_explorer.present import curation as present
from spice_explorer.present import progress, reliability
from spice_explorer.queries import artefacts, decisions
from tests.app.conftest import CLUSTERS, IMAGES, NBSP, Visit, demo, texts

MODEL, VOTED, BULK, SEEN = Provenance


def decide(action: Any, ids: Any, said: Provenance, **about: Any) -> None:
    asked = Decision(action, "Ann", visit="t", seen=999, images=np.array(ids, np.int64), provenance=said, **about)
    decisions.commit(demo(), [asked])


def page(name: str) -> None:
    """A page with only the panel."""
    from spice_explorer.queries import runs
    from spice_explorer.sections import panel

    panel.show(runs.folder_of(name))


def opened(image: int) -> str:
    at = AppTest.from_function(page, args=("demo",))
    at.query_params["image"] = str(image)
    return texts(at.run(timeout=30))


# -- words -----------------------------------------------------------------------------------------


def test_decided_labels_are_counted_by_who_gave_them() -> None:
    state, said = np.array([1, 1, 1, 1, 0, 2, 1]), np.array([SEEN, VOTED, VOTED, BULK, MODEL, BULK, SEEN])
    assert present.who_said(state, said) == "2 seen, 1 bulk, 2 voted"
    assert present.who_said(np.zeros(3, int), np.zeros(3, int)) == "nothing decided"
    own, reliable = np.array([0, 0, 1, 1, 0, 1, 1]), np.ones(7, bool)
    (zero, one) = present.class_counts([0, 1], own, state, reliable, said)
    assert (zero.images, zero.seen, zero.bulk, zero.voted, zero.left) == (3, 1, 0, 1, 1)
    assert (one.images, one.seen, one.bulk, one.voted, one.rejected) == (4, 1, 1, 1, 1)


def test_few_answers_measure_nothing_and_only_random_ones_speak_of_the_others() -> None:
    assert present.measured(Measured(20, LEAST_ANSWERS - 1, None)) == ""
    chosen = present.measured(Measured(20, 30, None))
    assert chosen.startswith("20 of the 30 that you looked at are right; these were not drawn at random")
    drawn = Measured(20, 50, Estimate(0.364, 0.242, 0.507, 41))
    assert present.measured(drawn) == f"about 36.4{NBSP}% (24 – 51{NBSP}%) right, measured with 41 random answers"


def test_a_relaxed_threshold_is_called_one() -> None:
    assert reliability.relaxed_words(1 / 3, 0.5) == "best third, relaxed to 0.50"
    assert reliability.relaxed_words(0.17, 0.166) == "best 17\N{NO-BREAK SPACE}%, relaxed to 0.17"
    found = ReliableSelected("heads", (1, 1), (3, 1), (0.5, 0.9), 3, 0.9)
    detail = progress.steps(fold([Record(9.0, found)]), None)[2].detail
    assert detail == "2 of 4 (50\N{NO-BREAK SPACE}%) are trained on, some relaxed to agreement 0.50"


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_the_panel_says_who_gave_the_label() -> None:
    own = decisions.classes_of(demo())
    assert "· seen" not in opened(0)
    decide("relabel", [0], SEEN, class_=(int(own[0]) + 1) % CLUSTERS)
    decide("accept", [1, 2], VOTED)
    assert f"<b>Cluster {(int(own[0]) + 1) % CLUSTERS}</b><span>decided · seen · by Ann</span>" in opened(0)
    assert "<span>decided · voted · by Ann</span>" in opened(1)


def test_labels_of_an_earlier_version_are_said_to_count_as_bulk(finished: RunFolder, visit: Visit) -> None:
    decide("accept", [0], SEEN)
    decide("accept", [1, 2, 3], BULK)
    assert "earlier version" not in texts(visit("curate", run="demo"))
    decisions.log_of(demo()).close()
    decisions._logs.clear()
    with contextlib.closing(sqlite3.connect(finished.path / FILE)) as database, database:
        database.execute("UPDATE decisions SET provenance = NULL, crc = NULL")
    assert "4 labels were decided with an earlier version" in texts(visit("curate", run="demo"))


@pytest.mark.usefixtures("finished")
def test_the_export_of_reliable_labels_contains_what_was_seen(visit: Visit) -> None:
    verdict = artefacts.reliable(demo(), "joint")
    doubtful = np.flatnonzero(~verdict.mask)[:3].tolist()
    for image in doubtful:
        decide("accept", [image], SEEN)
    decide("accept", np.flatnonzero(~verdict.mask)[3:6], VOTED)
    at = visit("export", run="demo")
    at.session_state["rows-3"] = "reliable only"
    at.run()
    table = at.dataframe[0].value
    assert list(table.columns[:5]) == ["id", "name", "class", "class_name", "provenance"]
    assert (table["provenance"] == "seen").sum() == 3
    assert len(table) == int(verdict.mask.sum()) + 3
    assert "is not measured" in texts(at)


@pytest.mark.usefixtures("finished")
def test_random_answers_are_on_the_accept_button_and_in_the_export(visit: Visit) -> None:
    verdict, own = artefacts.reliable(demo(), "joint"), decisions.classes_of(demo())
    reliable = np.flatnonzero(verdict.mask)
    drawn = np.random.default_rng(0).permutation(reliable)[: LEAST_ANSWERS + 5]
    for place, image in enumerate(drawn.tolist()):
        class_ = (int(own[image]) + 1) % CLUSTERS if place % 4 == 0 else int(own[image])
        decide("relabel", [image], SEEN, class_=class_, text="audit")
    found = decisions.measured(demo(), verdict.labels, verdict.mask).estimate
    assert found is not None
    words = f"about {100 * found.value:.1f}{NBSP}% ({100 * found.low:.0f} – {100 * found.high:.0f}{NBSP}%) right"
    at = visit("curate", run="demo")
    assert f"Of all reliable labels, {words}, measured with {LEAST_ANSWERS + 5} random answers." in texts(at)
    (accept,) = [one for one in at.button if one.label.startswith("Accept reliable")]
    assert accept.label.endswith(f"· of all reliable {words}")
    assert f"Of the model's reliable labels, {words}" in texts(visit("export", run="demo"))


def test_where_none_is_reliable_the_page_says_what_to_do(finished: RunFolder, visit: Visit) -> None:
    judged = dict(finished.load("reliable-joint"))
    judged["agreement"] = np.full(IMAGES, 0.1, np.float32)  # as after thresholds were lowered to 0.10
    judged["verdicts"] = np.zeros(IMAGES, np.uint8)
    judged["thresholds"] = np.full(CLUSTERS, 0.1, np.float32)
    finished.save("reliable-joint", judged)
    assert "None of these is reliable: look at them one by one" in texts(visit("curate", run="demo"))
    at = visit("export", run="demo")
    assert at.metric[1].value == "0"
    assert "None of these labels is reliable" in texts(at)
