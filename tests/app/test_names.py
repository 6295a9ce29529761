"""Names that people gave: the same on every page, in every figure and every caption."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.decisions import Decision
from engine.runs.folder import RunFolder
from spice_explorer.present.names import NUMBERS, Names
from spice_explorer.queries import artefacts, decisions
from tests.app.conftest import CLUSTERS, Visit, demo, galleries, texts


def decide(action: Any, **about: Any) -> None:
    decisions.commit(demo(), [Decision(action, "Ann", visit="Ann", **about)])


@pytest.fixture
def cats(finished: RunFolder) -> int:
    """The largest cluster, which is called cats; the next was merged into it."""
    largest = int(np.bincount(finished.load("reliable-joint")["labels"]).argmax())
    decide("rename", class_=largest, text="<b>cats</b>")
    decide("merge", class_=largest, other=merged(largest))
    return largest


def merged(cats: int) -> int:
    return (cats + 1) % CLUSTERS


def short(cats: int) -> list[str]:
    """The names of all clusters."""
    given = {cats: "<b>cats</b>", merged(cats): f"<b>cats</b> ({merged(cats)})"}
    return [given.get(one, str(one)) for one in range(CLUSTERS)]


def sent(at: AppTest, key: str) -> dict[str, Any]:
    """What the page sends to the component whose data has `key`."""
    return next(one for one in (json.loads(one.proto.json) for one in at.get("bidi_component")) if key in one)


def test_a_cluster_is_called_by_its_class_and_else_by_its_number() -> None:
    names = Names({0: "cats", 9: "dogs"}, {1: 0, 3: 2})
    assert [names.title(one) for one in (0, 1, 2, 3, 9)] == [
        "cats",
        "cats (cluster 1)",
        "Cluster 2",
        "Cluster 2 (cluster 3)",
        "dogs",
    ]
    assert [names.short(one) for one in (0, 1, 2, 3, 9)] == ["cats", "cats (1)", "2", "2 (3)", "dogs"]
    assert [names.inline(one) for one in (0, 1, 2)] == ["“cats”", "“cats (cluster 1)”", "cluster 2"]
    assert (NUMBERS.title(5), NUMBERS.short(5), NUMBERS.inline(5)) == ("Cluster 5", "5", "cluster 5")


def test_names_follow_the_decisions_and_their_undo(cats: int) -> None:
    assert decisions.cluster_names(demo()) == short(cats)
    decide("undo")
    assert decisions.cluster_names(demo())[merged(cats)] == str(merged(cats))


def test_the_map_is_coloured_by_class_and_names_its_clusters(cats: int, visit: Visit) -> None:
    columns = sent(visit("map", run="demo"), "stages")["stages"][0]["columns"]
    assert [one["key"] for one in columns[:2]] == ["class", "cluster"]
    assert columns[0]["names"] == [one.name for one in decisions.classes(demo())]
    assert "<b>cats</b>" in columns[0]["names"]
    assert columns[1]["names"] == short(cats)


def test_prototypes_are_called_by_their_names(cats: int, visit: Visit) -> None:
    at = visit("prototypes", run="demo")
    said = texts(at)
    other = next(one for one in range(CLUSTERS) if one not in (cats, merged(cats)))
    name = "&lt;b&gt;cats&lt;/b&gt;"
    for words in (f"{name}</div>", f"{name} (cluster {merged(cats)})</div>", f"Cluster {other}</div>"):
        assert words in said
    assert at.multiselect[0].options == short(cats)
    assert any("“<b>cats" in title for one in galleries(at) for title in one["titles"])


def test_reliability_and_the_panel_use_the_names(cats: int, visit: Visit) -> None:
    labels = artefacts.reliable(demo(), "joint").labels
    image = int(np.flatnonzero(labels == cats)[0])
    at = visit("reliability", run="demo", image=str(image))
    assert sent(at, "clusterColours")["names"] == short(cats)
    box = next(one for one in at.selectbox if one.label == "Cluster")
    assert box.options == ["all", *short(cats)]
    said = texts(at)
    assert "<b>&lt;b&gt;cats&lt;/b&gt;</b><span>label of stage 3" in said
    assert " say &lt;b&gt;cats&lt;/b&gt;, " in said
    assert ": “&lt;b&gt;cats&lt;/b&gt;”, confidence " in said


@pytest.mark.usefixtures("finished")
def test_before_anybody_gives_a_name_clusters_have_their_numbers(visit: Visit) -> None:
    assert decisions.cluster_names(demo()) == [str(one) for one in range(CLUSTERS)]
    at = visit("map", run="demo")
    assert sent(at, "stages")["stages"][0]["columns"][0]["key"] == "cluster"
