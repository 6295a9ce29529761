"""The Curate page in every state of a run and of its log."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate import queues
from engine.curate.audit import LEAST_ANSWERS
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import FILE
from engine.curate.provenance import Provenance
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log
from engine.sources.open_source import Opened
from spice_explorer import browsers, session
from spice_explorer.present import export
from spice_explorer.queries import artefacts, decisions, exports
from tests.app.conftest import CLUSTERS, IMAGES, NBSP, Visit, button, demo, texts

SAID = Model(np.zeros(IMAGES, np.int64), np.ones(IMAGES, np.float32), "joint")


def decide(action: Any, ids: list[int] | np.ndarray = (), by: str = "Ann", **about: Any) -> None:  # type: ignore[assignment]
    asked = Decision(action, by, visit=by, images=np.array(ids, np.int64), seen=999, **about)
    decisions.commit(demo(), [asked])


def named(at: AppTest, name: str = "Ann") -> AppTest:
    at.text_input(key="reviewer name").set_value(name).run()
    assert not at.exception
    return at


def show(at: AppTest, view: str) -> AppTest:
    at.session_state["curate view"] = view
    at.run()
    assert not at.exception
    return at


def class_box(at: AppTest) -> Any:
    return next(one for one in at.selectbox if one.label == "Class")


def table(at: AppTest) -> Any:
    return at.dataframe[0].value


@pytest.mark.usefixtures("workspace")
def test_without_a_run_it_says_what_to_do(visit: Visit) -> None:
    assert "No run yet" in texts(visit("curate"))


@pytest.mark.usefixtures("interrupted")
def test_before_stage_2_it_says_what_is_missing(visit: Visit) -> None:
    said = texts(visit("curate", run="halfway"))
    assert "has not reached this stage" in said
    assert "Resume it on the Train page" in said


@pytest.mark.usefixtures("finished")
def test_without_a_name_nothing_can_be_decided(visit: Visit) -> None:
    at = visit("curate", run="demo")
    assert all(one.disabled for one in at.button if one.label.startswith(("Accept", "Leave out")))
    assert table(at)["images"].sum() == IMAGES
    assert table(at)[["seen", "bulk", "voted"]].sum().sum() == 0


@pytest.mark.usefixtures("finished")
def test_each_class_is_shown_by_three_of_its_surest_images(visit: Visit) -> None:
    own, verdict = decisions.classes_of(demo()), artefacts.reliable(demo(), "joint")
    chosen = int(np.bincount(own).argmax())
    typical = decisions.typical(demo())
    assert len(typical[chosen]) == 3
    assert (own[typical[chosen]] == chosen).all()
    others = np.setdiff1d(np.flatnonzero(own == chosen), typical[chosen])
    assert queues.doubt(verdict.agreement, verdict.confidence)[typical[chosen]].max() <= (
        queues.doubt(verdict.agreement, verdict.confidence)[others].min()
    )
    row = table(visit("curate", run="demo")).iloc[chosen]
    assert [int(row[f"picture {place}"].rpartition("/")[2].split(".")[0]) for place in range(3)] == typical[chosen]
    decide("exclude", typical[chosen][:1])
    assert typical[chosen][0] not in decisions.typical(demo())[chosen]


@pytest.mark.usefixtures("finished")
def test_one_decision_accepts_a_whole_class(visit: Visit) -> None:
    own = decisions.classes_of(demo())
    at = named(visit("curate", run="demo"))
    chosen = int(np.bincount(own).argmax())
    class_box(at).set_value(chosen).run()
    count = int((own == chosen).sum())
    button(at, f"Accept all {count:,}").click().run()
    assert not at.exception
    assert table(at)["bulk"].sum() == count
    assert table(at)["seen"].sum() == 0, "nobody looked at them one by one"
    assert f"{count:,} accepted" in at.success[0].value
    assert [one.row for one in decisions.log_of(demo()).decisions()] == [1]
    assert decisions.curation(demo()).state[own == chosen].tolist() == [1] * count


@pytest.mark.usefixtures("finished")
def test_names_with_markup_are_shown_as_they_are(visit: Visit) -> None:
    decide("rename", class_=0, text="<b>bold</b> *x* 🐈")
    at = visit("curate", run="demo")
    assert "<b>bold</b> *x* 🐈 (0)" in table(at)["class"].tolist()
    assert "\\*x\\*" in texts(at)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("name", "complaint"), [("", "is empty"), ("Cluster 1", "A class “Cluster 1” already exists"), ("y" * 61, "61")]
)
def test_a_bad_name_is_refused_in_words(visit: Visit, name: str, complaint: str) -> None:
    at = named(visit("curate", run="demo"))
    at.text_input(key="name-0-Cluster 0").set_value(name)
    at.color_picker[0].set_value("#123456").run()
    button(at, "Keep").click().run()
    assert not at.success
    assert complaint in at.error[0].value.replace("\\", "")
    assert decisions.log_of(demo()).decisions() == []


@pytest.mark.usefixtures("finished")
def test_the_class_box_shows_the_new_name_of_the_class_that_was_chosen(visit: Visit) -> None:
    at = named(visit("curate", run="demo"))
    class_box(at).set_value(2).run()
    before = class_box(at).key
    at.text_input(key="name-2-Cluster 2").set_value("twos")
    at.color_picker[0].set_value("#123456").run()
    button(at, "Keep").click().run()
    assert at.success[0].value == "Renamed and coloured."
    assert class_box(at).value == 2
    assert "twos (2)" in class_box(at).options
    assert class_box(at).key != before, "a browser shows the name that the box was made with"
    at.run()
    assert class_box(at).value == 2


@pytest.mark.usefixtures("finished")
def test_a_class_is_renamed_merged_and_made(visit: Visit) -> None:
    at = named(visit("curate", run="demo"))
    at.text_input(key="name-0-Cluster 0").set_value("zeros").run()
    button(at, "Keep").click().run()
    at.selectbox(key="into-0").set_value(1).run()
    button(at, "Merge").click().run()
    at.text_input(key="new class name").set_value("spare").run()
    button(at, "Create").click().run()
    assert not at.error
    names = [one.name for one in decisions.classes(demo())]
    assert names == ["Cluster 1", "Cluster 2", "Cluster 3", "spare"]
    assert table(at)["images"].sum() == IMAGES


@pytest.mark.usefixtures("finished")
def test_a_split_is_shown_before_it_is_done(visit: Visit) -> None:
    own = decisions.classes_of(demo())
    chosen = int(np.bincount(own).argmax())
    at = named(visit("curate", run="demo"))
    class_box(at).set_value(chosen).run()
    at.session_state[f"split-{chosen}"] = True
    at.run()
    members = np.flatnonzero(own == chosen)
    second = decisions.halves(demo(), members)
    assert f"{int(second.sum()):,} images · goes" in texts(at)
    assert decisions.log_of(demo()).decisions() == []
    at.text_input(key="split name").set_value("others").run()
    button(at, "Split").click().run()
    assert not at.error
    after = decisions.classes_of(demo())
    assert np.flatnonzero(after == CLUSTERS).tolist() == members[second].tolist()


@pytest.mark.usefixtures("finished")
def test_the_audit_shows_an_interval_and_how_many_more(visit: Visit) -> None:
    own = decisions.classes_of(demo())
    zero = np.flatnonzero(own == own[0])[:4]
    decide("accept", zero[:3], text="audit", provenance=Provenance.SEEN)
    decide("reject", zero[3:], text="audit", provenance=Provenance.SEEN)
    at = show(visit("curate", run="demo"), "Purity audit")
    row = next(one for one in at.dataframe[0].value.values.tolist() if f"75.0{NBSP}%" in str(one[2]))
    assert row[2] == f"75.0{NBSP}% (3 of 4; 30 – 95{NBSP}%)"
    assert row[3] > 0
    assert "not looked at" in at.dataframe[0].value.to_string()


@pytest.mark.usefixtures("finished")
def test_training_says_what_it_will_learn_and_starts_a_run(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    own = decisions.classes_of(demo())
    decide("relabel", np.arange(60), class_=int(own[0]), provenance=Provenance.SEEN)
    decide("exclude", np.arange(60, 70))
    decide("rename", class_=int(own[0]), text="first")
    at = show(named(visit("curate", run="demo")), "Train with my decisions")
    guidance = decisions.guidance(demo())
    assert f"**{int(guidance.taught.sum())}** decided labels" in texts(at).replace(",", "")
    assert "Left out: 10." in texts(at)
    from engine.runs import runner

    asked: list[RunFolder] = []
    monkeypatch.setattr(runner.Runner, "submit", lambda _self, folder, _device: asked.append(folder))
    button(at, "Train with my decisions").click().run()
    assert not at.exception
    (child,) = asked
    assert child.card().parent == "demo"
    assert child.card().images == IMAGES - 10
    assert decisions.curation(child).state.tolist() == [1] * 60 + [0] * (IMAGES - 70)
    assert "first" in [one.name for one in decisions.classes(child)]


@pytest.mark.usefixtures("finished")
def test_a_class_that_is_left_out_whole_is_none_of_those_to_train(visit: Visit) -> None:
    decide("relabel", np.arange(40), class_=0)
    decide("relabel", np.arange(40, 80), class_=1)
    decide("relabel", np.arange(80, IMAGES), class_=2)
    decide("exclude", np.arange(40))
    at = show(visit("curate", run="demo"), "Train with my decisions")
    assert f"**{CLUSTERS - 1} classes**" in texts(at)
    assert not button(at, "Train with my decisions").disabled


@pytest.mark.usefixtures("finished")
def test_nothing_decided_trains_nothing(visit: Visit) -> None:
    at = show(visit("curate", run="demo"), "Train with my decisions")
    assert button(at, "Train with my decisions").disabled
    assert "Nothing is decided yet" in texts(at)


def test_a_damaged_log_is_moved_aside_and_that_is_said(finished: RunFolder, visit: Visit) -> None:
    (finished.path / FILE).write_bytes(b"no database at all, sorry" * 200)
    at = visit("curate", run="demo")
    assert "was moved to decisions.damaged-" in at.warning[0].value
    assert next(finished.path.glob("decisions.damaged-*")).read_bytes().startswith(b"no database")


def test_a_log_that_is_gone_is_told_until_there_is_a_new_one(finished: RunFolder, visit: Visit) -> None:
    assert not visit("curate", run="demo").warning
    with closing(decision_log(finished)) as log:
        log.commit([Decision("reject", "Ann", images=np.array([0]))], SAID)
    assert not visit("curate", run="demo").warning
    for file in (finished.path / FILE, *finished.path.glob(f"{FILE}-[ws]*")):
        file.unlink()
    decisions._logs.clear()
    for page in ("curate", "export"):
        said = visit(page, run="demo").warning[0].value
        assert said.startswith("In this run decisions were made, and decisions.sqlite is gone")
    with closing(decision_log(finished)) as log:
        log.commit([Decision("reject", "Ann", images=np.array([0]))], SAID)
    assert not visit("curate", run="demo").warning


def test_a_damaged_log_that_export_moved_aside_is_told_on_both_pages_after_a_restart_too(
    finished: RunFolder, visit: Visit
) -> None:
    (finished.path / FILE).write_bytes(b"no database at all, sorry" * 200)
    assert "was moved to decisions.damaged-" in visit("export", run="demo").warning[0].value
    (aside,) = finished.path.glob("decisions.damaged-*")
    decisions._logs.clear()
    for page in ("curate", "export"):
        assert f"was moved to {aside.name} in" in visit(page, run="demo").warning[0].value
    aside.unlink()
    assert not visit("curate", run="demo").warning


def test_a_log_of_other_images_is_refused_in_words(finished: RunFolder, visit: Visit) -> None:
    decide("accept", [0])
    decisions._logs.clear()
    with sqlite3.connect(finished.path / FILE) as database:
        database.execute("UPDATE about SET value = 'another' WHERE name = 'fingerprint'")
    database.close()
    at = visit("curate", run="demo")
    assert "holds decisions about" in at.error[0].value


def test_a_run_removed_while_open_is_said(finished: RunFolder, visit: Visit) -> None:
    at = named(visit("curate", run="demo"))
    shutil.rmtree(finished.path)
    at.run()
    assert not at.exception
    assert "No run yet" in texts(at)


@pytest.mark.usefixtures("finished")
def test_the_same_name_in_two_tabs_is_said(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session._reviewers, "demo", {"another tab": "Ann"})
    at = named(visit("curate", run="demo"))
    assert "“Ann” is also deciding in another tab" in at.warning[0].value
    at = named(at, "Bob")
    assert not at.warning
    monkeypatch.setattr(session, "is_here", lambda _visitor: False)  # his tab is closed
    assert not named(at, "Ann").warning


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("other", "warned"), [("this browser", False), ("another browser", True)])
def test_a_second_tab_of_the_same_browser_is_nobody_else(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, other: str, warned: bool
) -> None:
    monkeypatch.setattr(browsers, "current", lambda: "this browser")
    monkeypatch.setitem(session._reviewers, "demo", {"another tab": "Ann"})
    monkeypatch.setitem(session._browsers, "another tab", other)
    assert bool(named(visit("curate", run="demo")).warning) is warned


@pytest.mark.usefixtures("finished")
def test_a_reload_brings_back_the_name_and_the_queue(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "current", lambda: "Ann's")
    at = named(visit("curate", run="demo"))
    at.selectbox(key="queue kind").set_value("typical").run()
    at = visit("curate", run="demo")
    assert at.text_input(key="reviewer name").value == "Ann"
    assert at.selectbox(key="queue kind").value == "typical"
    assert visit("curate", run="demo", queue="flipped").selectbox(key="queue kind").value == "flipped"
    monkeypatch.setattr(browsers, "current", lambda: "Bob's")
    assert visit("curate", run="demo").text_input(key="reviewer name").value == ""


@pytest.mark.usefixtures("finished")
def test_what_agrees_is_shown_before_it_is_decided(visit: Visit) -> None:
    own = decisions.classes_of(demo())
    seeds = np.flatnonzero(own == own[0])[:5]
    decide("accept", seeds, provenance=Provenance.SEEN)
    at = named(visit("curate", run="demo"))
    at.session_state["agreeing"] = {"ids": seeds.tolist()}
    at.run()
    found = decisions.agreeing(demo(), seeds, int(own[0]), 0.6)
    assert len(found) > 0
    button(at, f"Give these {len(found):,} the class “Cluster {own[0]}”").click().run()
    assert not at.exception
    state = decisions.curation(demo()).state
    assert state[found].all()
    assert len(decisions.log_of(demo()).decisions()) == 2
    assert decisions.curation(demo()).provenance[found].tolist() == [Provenance.BULK] * len(found)
    assert decisions.curation(demo()).provenance[seeds].tolist() == [Provenance.SEEN] * len(seeds)


@pytest.mark.usefixtures("finished")
def test_before_anything_is_decided_nothing_is_suggested(visit: Visit) -> None:
    assert "Decide some images" in texts(show(visit("curate", run="demo"), "Spread"))


@pytest.mark.usefixtures("finished")
def test_answers_suggest_the_class_of_all_others_in_one_decision(few_digits: Opened, visit: Visit) -> None:
    assert few_digits.truth is not None
    for class_ in range(CLUSTERS):
        images = np.flatnonzero(few_digits.truth.labels == class_)[:15]
        decide("relabel", images, class_=class_, provenance=Provenance.SEEN)
    at = named(show(visit("curate", run="demo"), "Spread"))
    found = decisions.to_spread(demo())
    assert found is not None
    total, right = len(found.checked), int(found.right.sum())
    assert total == 15 * CLUSTERS
    told = f"Of the {total} images you looked at, each held back from it, the suggestions are right about {right},"
    assert told in texts(at)
    left = np.flatnonzero(decisions.curation(demo()).state == 0)
    sure = found.confidence[left][found.confidence[left] >= 0.7]
    assert f"{len(sure):,}** of {len(left):,} undecided images have a suggestion this sure" in texts(at)
    assert f"expects {100 * sure.mean():.1f}{NBSP}%" in texts(at)
    assert right > total / 2, "digits of a kind are alike even to a tiny network"
    at.slider(key="least confidence").set_value(0.0).run()
    button(at, f"Give these {IMAGES - total} images their classes").click().run()
    assert not at.exception
    last = decisions.log_of(demo()).decisions()[-1]
    assert (last.action, len(last.images), last.row) == ("accept", IMAGES - total, CLUSTERS + 1)
    assert last.provenance == Provenance.VOTED
    assert decisions.curation(demo()).state.tolist() == [1] * IMAGES
    assert (decisions.classes_of(demo()) == few_digits.truth.labels).mean() > 0.5
    said = texts(show(at, "Spread"))
    assert f"Decided: **{total} seen, {IMAGES - total} voted**" in said
    assert told in said
    decide("undo")
    assert (decisions.curation(demo()).state == 1).sum() == total


@pytest.mark.usefixtures("finished")
def test_how_many_suggestions_are_right_is_said_once_enough_random_images_are_answered(
    few_digits: Opened, visit: Visit
) -> None:
    assert few_digits.truth is not None
    truth = few_digits.truth.labels
    for class_ in range(CLUSTERS):
        decide("relabel", np.flatnonzero(truth == class_)[:6], class_=class_, provenance=Provenance.SEEN)
    order = decisions.queue(demo(), "audit-0")
    drawn = order[~decisions.curation(demo()).answered[order]]
    for image in drawn[: LEAST_ANSWERS - 1].tolist():
        decide("relabel", [image], class_=int(truth[image]), text="audit", provenance=Provenance.SEEN)
    at = named(show(visit("curate", run="demo"), "Spread"))
    assert f"not known yet**: that needs {LEAST_ANSWERS} answers" in texts(at)
    image = int(drawn[LEAST_ANSWERS - 1])
    decide("relabel", [image], class_=int(truth[image]), text="audit", provenance=Provenance.SEEN)
    at.slider(key="least confidence").set_value(0.0).run()
    found = decisions.to_spread(demo())
    assert found is not None
    own = found.estimate(0)
    assert own is not None
    assert f"**about {100 * own.value:.1f}{NBSP}% ({100 * own.low:.0f} – {100 * own.high:.0f}{NBSP}%)**" in texts(at)
    assert f"estimated from {LEAST_ANSWERS} random answers" in texts(at)
    rest = decisions.curation(demo()).state == 0
    assert own.low <= (found.labels == truth)[rest].mean() <= own.high


@pytest.mark.usefixtures("finished")
def test_what_becomes_of_labels_that_nobody_looked_at_is_asked(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    own = decisions.classes_of(demo())
    decide("accept", np.arange(30), provenance=Provenance.SEEN)
    at = show(named(visit("curate", run="demo")), "Train with my decisions")
    assert not at.radio
    decide("accept", np.arange(30, 50))
    decide("accept", np.arange(50, 90), new=own[50:90], provenance=Provenance.VOTED)
    at = show(named(visit("curate", run="demo")), "Train with my decisions")
    assert at.radio[0].label == "Labels that nobody looked at (20 bulk, 40 voted)"
    assert at.radio[0].value == "doubted"
    assert "**60** labels that nobody looked at are where stage 2 begins" in texts(at)
    asked: list[RunFolder] = []
    monkeypatch.setattr("engine.runs.runner.Runner.submit", lambda _self, folder, _device: asked.append(folder))
    at.radio[0].set_value("fixed").run()
    assert "nobody looked at are where stage 2 begins" not in texts(at)
    button(at, "Train with my decisions").click().run()
    assert not at.exception
    (child,) = asked
    said = child.load("decided")
    assert said["taught"].sum() == 90 - said["held"].sum()
    assert not said["held"][30:].any()
    assert np.flatnonzero(said["seen"]).tolist() == list(range(30))
    assert decisions.curation(child).provenance[:90].tolist() == [3] * 30 + [2] * 20 + [1] * 40


# -- two at once -------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("looked", [True, False])
def test_a_name_counts_as_seen_when_the_page_has_shown_it(visit: Visit, looked: bool) -> None:
    at = named(visit("curate", run="demo"), "Bob")
    decide("accept", [0], by="Bob")
    at.session_state["curation seen-demo"] = 1  # he wrote this row himself
    if looked:
        decide("rename", class_=0, text="cats")
        at.run()
    at.text_input(key=f"name-0-{'cats' if looked else 'Cluster 0'}").set_value("dogs").run()
    if not looked:
        decide("rename", class_=0, text="cats")
    button(at, "Keep").click().run()
    assert decisions.classes(demo())[0].name == "dogs"
    assert ("got two names at the same time" in texts(at)) is not looked


# -- export ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_images_that_were_left_out_are_not_exported_and_that_is_said(visit: Visit) -> None:
    reliable = artefacts.reliable(demo(), "joint").mask
    sure = np.flatnonzero(reliable)
    decide("exclude", [*sure[:-3], *np.flatnonzero(~reliable)[:2]])
    decide("reject", sure[-2:])
    at = visit("export", run="demo")
    out = len(sure) - 3
    assert len(at.dataframe[0].value) == IMAGES - out - 2
    assert "excluded" not in at.dataframe[0].value["decision"].tolist()
    assert f"Not in the file: images that were left out ({out + 2})." in [one.value for one in at.caption]
    at.session_state["rows-3"] = "reliable only"
    at.run()
    assert at.dataframe[0].value["decision"].tolist() == [""]
    said = f"Not in the file: images that were left out ({out}) and images whose class was rejected as wrong (2)."
    assert said in [one.value for one in at.caption]


@pytest.mark.usefixtures("finished")
def test_export_counts_the_classes_that_the_file_contains(visit: Visit) -> None:
    def figures(rows: str = "all") -> dict[str, str]:
        at = visit("export", run="demo")
        for key in ("rows-2", "rows-3"):  # without and with decisions
            at.session_state[key] = rows
        at.run()
        return {one.label: one.value for one in at.metric}

    def file(rows: Any = "all") -> pd.DataFrame:
        table, _ = export.chosen(exports.label_table(demo()), rows)
        return pd.read_csv(io.BytesIO(exports.csv(table)))

    assert figures()["Classes with images"] == f"{file()['label'].nunique()}"
    for number in range(CLUSTERS):
        decide("relabel", np.arange(number, IMAGES, CLUSTERS), class_=number)
    assert figures()["Classes with images"] == f"{CLUSTERS}" == f"{file()['class'].nunique()}"
    decide("merge", class_=1, other=0)
    decide("rename", class_=1, text="both")
    decide("new class", text="without an image")
    assert figures()["Classes with images"] == f"{CLUSTERS - 1}" == f"{file()['class'].nunique()}"
    decide("split", np.arange(2, IMAGES, CLUSTERS)[:5], other=2, text="a part")
    assert figures()["Classes with images"] == f"{CLUSTERS}" == f"{file()['class'].nunique()}"
    left_out = np.arange(3, IMAGES, CLUSTERS)
    decide("exclude", left_out)
    assert figures()["Classes with images"] == f"{CLUSTERS - 1}" == f"{file()['class'].nunique()}"
    assert figures()["Images"] == f"{IMAGES - len(left_out)}" == f"{len(file())}"
    sure = file("reliable only")
    assert figures("reliable only")["Classes with images"] == f"{sure['class'].nunique()}"
    assert figures("reliable only")["Reliable"] == f"{len(sure)}"
