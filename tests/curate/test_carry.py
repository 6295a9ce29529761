"""The decisions that a run trained with decisions starts with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.curate.carry import carried
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.provenance import Provenance
from tests.curate.conftest import LABELS, act, classes, names


def test_names_colours_and_decided_labels_go_along_in_new_numbers(log: DecisionLog, tmp_path: Path) -> None:
    act(log, "rename", class_=2, text="cats", by="Bob")
    act(log, "recolour", class_=2, text="#112233", by="Bob")
    act(log, "merge", class_=2, other=0)  # classes 1 and 2 remain, as clusters 0 and 1
    act(log, "exclude", 3)
    act(log, "accept", 0, 1, by="Ann")
    act(log, "relabel", 4, class_=2, by="Bob")
    act(log, "reject", 5)
    keep = log.curation.state != 3
    asked = carried(log.curation, log.curation.classes_of(LABELS), keep, "test")

    (tmp_path / "child").mkdir()
    child = DecisionLog(tmp_path / "child", images=11, clusters=2, fingerprint="child")
    child.commit(asked, Model(np.zeros(11, int), np.zeros(11), ""))
    assert names(child) == {0: "Cluster 0", 1: "cats"}
    assert [one.colour for one in child.curation.classes][1] == "#112233"
    assert child.curation.state.tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    own = child.curation.classes_of(np.zeros(11, int))
    assert own[[0, 1, 3]].tolist() == [1, 0, 1]
    who = {one.reviewer for one in child.decisions() if one.action == "relabel"}
    assert who == {"Ann", "Bob"}
    assert classes(log)[0] == 2, "the earlier run's log is as it was"


def test_who_gave_a_label_goes_along(log: DecisionLog, tmp_path: Path) -> None:
    for image in (0, 3):
        act(log, "accept", image, provenance=Provenance.SEEN)
    act(log, "accept", 6, 9, provenance=Provenance.VOTED)
    act(log, "accept", 1, 4)
    asked = carried(log.curation, log.curation.classes_of(LABELS), np.ones(12, bool), "test")
    (tmp_path / "child").mkdir()
    child = DecisionLog(tmp_path / "child", images=12, clusters=3, fingerprint="child")
    child.commit(asked, Model(np.zeros(12, int), np.zeros(12), ""))
    assert child.curation.provenance.tolist() == log.curation.provenance.tolist()
    assert np.flatnonzero(child.curation.seen).tolist() == [0, 3]


def test_a_class_of_which_every_image_is_left_out_is_no_cluster_of_the_new_run(log: DecisionLog) -> None:
    act(log, "rename", class_=0, text="dust")
    act(log, "rename", class_=2, text="cats")
    act(log, "exclude", *np.flatnonzero(LABELS == 0).tolist())
    cat = int(np.flatnonzero(LABELS == 2)[0])
    act(log, "accept", cat)
    keep = log.curation.state != 3
    asked = carried(log.curation, log.curation.classes_of(LABELS), keep, "test")
    assert [(one.action, one.class_, one.text) for one in asked] == [("rename", 1, "cats"), ("relabel", 1, "")]
    assert asked[1].images.tolist() == [int(keep[:cat].sum())]


def test_nothing_decided_carries_nothing(log: DecisionLog) -> None:
    assert carried(log.curation, LABELS, np.ones(12, bool), "test") == []
