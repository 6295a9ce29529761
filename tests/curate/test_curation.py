"""The fold of decisions, by hand and against a naive implementation."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.curate.curation import FOLDED, Curation, State
from engine.curate.decisions import Decision, values_of
from engine.curate.judging import judged
from engine.curate.log import DecisionLog
from engine.curate.provenance import NAMES, Provenance
from engine.errors import DecisionError
from tests.curate.conftest import CLUSTERS, IMAGES, LABELS, MODEL, act, classes, names

UNDECIDED, DECIDED, REJECTED, EXCLUDED = State


def test_nothing_decided_is_what_the_model_says(log: DecisionLog) -> None:
    assert classes(log) == LABELS.tolist()
    assert not log.curation.state.any()
    assert names(log) == {0: "Cluster 0", 1: "Cluster 1", 2: "Cluster 2"}


def test_each_action_leaves_its_state_and_its_class(log: DecisionLog) -> None:
    act(log, "accept", 0, 1)
    act(log, "relabel", 2, class_=1)
    act(log, "reject", 3)
    act(log, "exclude", 4)
    assert log.curation.state[:6].tolist() == [DECIDED, DECIDED, DECIDED, REJECTED, EXCLUDED, UNDECIDED]
    assert classes(log)[:6] == [0, 1, 1, 0, 1, 2]


def test_an_accepted_label_stays_when_the_model_changes_its_mind(log: DecisionLog) -> None:
    act(log, "accept", 0)
    assert log.curation.classes_of(np.full(IMAGES, 2))[:2].tolist() == [0, 2]


def test_what_is_accepted_is_what_was_shown(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=2, by="Bob")
    act(log, "accept", 3, 0, new=np.array([0, 0]), seen=0)  # Ann still sees class 0 for both
    assert classes(log)[0] == 0
    assert log.curation.disputed[[0, 3]].tolist() == [True, False]
    act(log, "merge", class_=1, other=0)
    act(log, "accept", 6, new=np.array([0]))
    assert log.decisions()[-1].new is not None
    assert log.decisions()[-1].new.tolist() == [1]  # type: ignore[union-attr]
    with pytest.raises(DecisionError, match="there is no class 9"):
        act(log, "accept", 6, new=np.array([9]))


def test_a_bulk_action_is_one_row_and_one_undo(log: DecisionLog) -> None:
    assert act(log, "relabel", *range(12), class_=2).row == 1
    assert set(classes(log)) == {2}
    act(log, "undo")
    assert classes(log) == LABELS.tolist()
    act(log, "redo")
    assert set(classes(log)) == {2}


def test_undo_goes_back_step_by_step_and_redo_forward_again(log: DecisionLog) -> None:
    for class_ in (1, 2, 1):
        act(log, "relabel", 0, class_=class_)
    seen = [classes(log)[0]]
    for _ in range(3):
        act(log, "undo")
        seen.append(classes(log)[0])
    assert seen == [1, 2, 1, 0]
    assert log.curation.state[0] == UNDECIDED
    for _ in range(3):
        act(log, "redo")
        seen.append(classes(log)[0])
    assert seen[4:] == [1, 2, 1]
    with pytest.raises(DecisionError, match="nothing to redo: Ann has no undone decision"):
        act(log, "redo")


def test_a_new_decision_ends_the_redos(log: DecisionLog) -> None:
    act(log, "reject", 0)
    act(log, "undo")
    act(log, "reject", 1)
    with pytest.raises(DecisionError, match="nothing to redo"):
        act(log, "redo")


def test_undo_takes_back_ones_own_and_leaves_what_others_decided_since(log: DecisionLog) -> None:
    act(log, "relabel", 0, 1, class_=2, by="Ann")
    act(log, "relabel", 1, class_=0, by="Bob")
    act(log, "undo", by="Ann")
    assert classes(log)[:2] == [0, 0]
    assert log.curation.state[:2].tolist() == [UNDECIDED, DECIDED]
    act(log, "redo", by="Ann")  # Bob's decision remains the later one
    assert classes(log)[:2] == [2, 0]
    act(log, "undo", by="Bob")
    assert classes(log)[:2] == [2, 2]


def test_a_merge_takes_the_class_along_and_undo_brings_it_back(log: DecisionLog) -> None:
    act(log, "rename", class_=1, text="cats")
    act(log, "accept", 0)
    act(log, "merge", class_=1, other=0)
    assert classes(log)[:3] == [1, 1, 2]
    assert names(log) == {1: "cats", 2: "Cluster 2"}
    act(log, "merge", class_=2, other=1)
    assert set(classes(log)) == {2}
    act(log, "undo")
    act(log, "undo")
    assert classes(log) == LABELS.tolist()


def test_a_split_moves_images_without_deciding_them(log: DecisionLog) -> None:
    act(log, "accept", 0)
    made = act(log, "split", 0, 3, other=0, text="odd zeros")
    assert made.class_ == 3
    assert classes(log)[:7] == [3, 1, 2, 3, 1, 2, 0]
    assert log.curation.state[:4].tolist() == [DECIDED, UNDECIDED, UNDECIDED, UNDECIDED]
    act(log, "undo")
    assert classes(log) == LABELS.tolist()
    assert log.curation.class_(3) is None
    assert act(log, "new class", text="fresh").class_ == 4, "numbers are never used twice"


def test_a_new_class_takes_the_images_it_is_made_of(log: DecisionLog) -> None:
    act(log, "new class", 0, 1, text="dogs")
    assert classes(log)[:3] == [3, 3, 2]
    assert log.curation.state[:3].tolist() == [DECIDED, DECIDED, UNDECIDED]
    assert names(log)[3] == "dogs"


def test_a_class_in_use_by_another_is_not_undone(log: DecisionLog) -> None:
    act(log, "new class", 0, text="dogs", by="Ann")
    act(log, "relabel", 1, class_=3, by="Bob")
    with pytest.raises(DecisionError, match="“dogs” is in use \\(Bob\\)"):
        act(log, "undo", by="Ann")
    act(log, "undo", by="Bob")
    act(log, "undo", by="Ann")
    assert classes(log) == LABELS.tolist()


def test_two_answers_given_without_seeing_each_other_are_shown_both(log: DecisionLog) -> None:
    act(log, "relabel", 0, 1, class_=1, by="Ann", seen=0)
    act(log, "relabel", 0, class_=2, by="Bob", seen=0)
    act(log, "relabel", 1, class_=1, by="Bob", seen=0)
    assert log.curation.disputed[:2].tolist() == [True, False]
    said = [(one.reviewer, one.class_) for one in log.curation.answers(0)]
    assert said == [("Bob", 2), ("Ann", 1)]
    act(log, "relabel", 0, class_=1, by="Bob")  # now Bob has seen it
    assert not log.curation.disputed.any()


def test_to_say_it_otherwise_once_more_does_not_end_a_dispute(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, by="Ann", seen=0)
    act(log, "relabel", 0, class_=2, by="Bob", seen=0)
    act(log, "relabel", 0, class_=0, by="Bob", seen=0)  # Bob has seen neither
    assert log.curation.disputed[0]
    said = [(one.reviewer, one.class_) for one in log.curation.answers(0)]
    assert said == [("Bob", 0), ("Ann", 1)]
    act(log, "relabel", 0, class_=1, by="Bob", seen=0)
    assert not log.curation.disputed.any()  # as Ann decided


def test_an_undo_can_end_and_bring_back_a_dispute(log: DecisionLog) -> None:
    act(log, "reject", 0, by="Ann", seen=0)
    act(log, "accept", 0, by="Bob", seen=0)
    act(log, "undo", by="Ann")
    assert not log.curation.disputed.any()
    act(log, "redo", by="Ann")
    assert log.curation.disputed[0]


def test_one_visit_never_disputes_with_itself(log: DecisionLog) -> None:
    act(log, "reject", 0, seen=0)
    act(log, "accept", 0, seen=0)
    assert not log.curation.disputed.any()


def test_one_person_in_two_tabs_never_disputes_with_themselves(log: DecisionLog) -> None:
    act(log, "reject", 0, visit="first", seen=0)
    act(log, "accept", 0, visit="second", seen=0)
    assert not log.curation.disputed.any()
    assert log.curation.state[0] == DECIDED, "the later answer counts"
    assert [one.row for one in log.curation.answers(0)] == [2]
    act(log, "undo", visit="second")
    assert log.curation.state[0] == REJECTED
    assert not log.curation.disputed.any()


def test_two_people_dispute_whatever_tab_they_use(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, by="Ann", visit="shared", seen=0)
    act(log, "relabel", 0, class_=2, by="Bob", visit="shared", seen=0)
    assert log.curation.disputed[0]
    assert [one.reviewer for one in log.curation.answers(0)] == ["Bob", "Ann"]


def test_the_last_answer_of_each_person_is_compared(log: DecisionLog) -> None:
    act(log, "relabel", 0, 1, class_=0, by="Ann", visit="first", seen=0)
    act(log, "relabel", 0, 1, class_=1, by="Ann", visit="second", seen=0)
    act(log, "relabel", 0, class_=1, by="Bob", seen=0)  # as Ann says now
    act(log, "relabel", 1, class_=0, by="Bob", seen=0)  # as she said before
    assert log.curation.disputed[:2].tolist() == [False, True]
    act(log, "undo", by="Ann")
    assert log.curation.disputed[:2].tolist() == [True, False]
    act(log, "redo", by="Ann")
    act(log, "relabel", 1, class_=2, by="Bob", visit="second", seen=0)
    assert log.curation.disputed[1]
    assert [(one.reviewer, one.class_) for one in log.curation.answers(1)] == [("Bob", 2), ("Ann", 1)]
    act(log, "relabel", 1, class_=1, by="Bob", visit="third", seen=0)  # changes his mind: both say the same
    assert not log.curation.disputed[1]


def test_what_a_person_has_seen_in_one_tab_they_know_in_every_tab(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, by="Bob", seen=0)
    act(log, "relabel", 0, class_=2, by="Ann", visit="first", seen=1)  # she decides against Bob
    act(log, "relabel", 0, class_=0, by="Ann", visit="second", seen=0)  # and changes her mind in an older tab
    assert not log.curation.disputed.any()
    act(log, "relabel", 0, class_=1, by="Bob", seen=1)  # he has not seen hers
    assert log.curation.disputed[0]


def test_of_two_names_that_one_person_gives_in_two_tabs_the_later_counts(log: DecisionLog) -> None:
    act(log, "rename", class_=0, text="cats", visit="first", seen=0)
    act(log, "rename", class_=0, text="dogs", visit="second", seen=0)
    assert log.curation.renamed == {}
    assert names(log)[0] == "dogs"


def test_two_names_given_unseen_are_kept_both(log: DecisionLog) -> None:
    act(log, "rename", class_=0, text="cats", by="Ann", seen=0)
    act(log, "rename", class_=0, text="dogs", by="Bob", seen=0)
    assert log.curation.renamed == {0: (("Ann", "cats"), ("Bob", "dogs"))}
    act(log, "rename", class_=0, text="pets", by="Ann")
    assert log.curation.renamed == {}


def test_a_note_changes_nothing_and_can_be_undone(log: DecisionLog) -> None:
    act(log, "note", 0, text="  blurred ")
    assert log.decisions()[-1].text == "blurred"
    assert not log.curation.state.any()
    act(log, "undo")
    assert log.curation.undoable("Ann") is None


# -- against a naive fold ------------------------------------------------------------------------

PEOPLE = ("Ann", "Bob")
ONE = st.fixed_dictionaries(
    {
        "action": st.sampled_from(
            ["accept", "reject", "relabel", "exclude", "merge", "split", "new class", "rename", "undo", "undo", "redo"]
        ),
        "by": st.sampled_from(PEOPLE),
        "ids": st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=4),
        "class_": st.integers(0, 6),
        "other": st.integers(0, 6),
        "unseen": st.integers(0, 3),
        "provenance": st.sampled_from([Provenance.VOTED, Provenance.BULK, Provenance.SEEN]),
    }
)


def rows_of(plan: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The rows that the log would have after a plan, without impossible steps."""
    curation, rows = Curation(IMAGES, CLUSTERS), []
    for one in plan:
        number = len(rows) + 1
        now = curation.classes_of(LABELS)
        ids = [i for i in one["ids"] if one["action"] != "split" or now[i] == one["other"]]
        asked = Decision(
            one["action"],
            one["by"],
            visit=one["by"],
            seen=max(0, len(rows) - one["unseen"]),
            images=np.array(ids, np.int64),
            class_=one["class_"],
            other=one["other"],
            text=f"class of row {number}",
            provenance=one["provenance"],
        )
        try:
            done = judged(asked, curation, MODEL)
        except DecisionError:
            continue
        columns = dict(
            zip(
                (
                    "key",
                    "time",
                    "reviewer",
                    "visit",
                    "action",
                    "seen",
                    "class",
                    "other",
                    "target",
                    "text",
                    "images",
                    "old",
                    "new",
                    "said",
                    "sure",
                    "stage",
                    "provenance",
                    "among",
                    "crc",
                ),
                values_of(done),
                strict=True,
            )
        ) | {"row": number}
        rows.append(tuple(columns[name.strip()] for name in FOLDED.split(",")))
        curation.take(rows[-1:])
    return rows


def naive(rows: list[tuple[Any, ...]]) -> tuple[list[int], list[int], dict[int, str], list[bool]]:
    """States, classes, names and disputes after undo, computed image by image and row by row."""
    undone: set[int] = set()
    for row in rows:
        if row[1] == "undo":
            undone.add(row[6])
        elif row[1] == "redo":
            undone.discard(row[6])
    remains = [row for row in rows if row[0] not in undone and row[1] not in ("undo", "redo")]
    state, given = [0] * IMAGES, dict[int, int]()
    said: list[list[tuple[int, str, tuple[int, int], str, int]]] = [[] for _ in range(IMAGES)]
    disputed = [False] * IMAGES
    found, into = {k: f"Cluster {k}" for k in range(CLUSTERS)}, dict[int, int]()

    def home(number: int) -> int:
        return home(into[number]) if number in into else number

    for number, action, who, seen, class_, other, _, text, images, new, _, kept, _ in remains:
        ids = np.frombuffer(images, "<u4").tolist()
        if action in ("split", "new class", "rename"):
            found[class_] = text
        if action == "merge" and home(other) != home(class_):
            into[home(other)] = home(class_)
        for place, image in enumerate(ids):
            if action == "accept":
                given[image] = int(np.frombuffer(new, "<u2")[place])
            elif action in ("relabel", "split", "new class"):
                given[image] = class_
            if action in ("note", "split"):
                continue
            state[image] = {"reject": 2, "exclude": 3}.get(action, 1)
            answer = (state[image], given[image] if state[image] == 1 else 0)
            before = next((one for one in reversed(said[image]) if one[1] != who), None)
            own = said[image][said[image].index(before) + 1 :] if before else said[image]
            knew = max([seen, *(one[4] for one in own)])
            contrary = before is not None and before[0] > knew and before[2] != answer
            disputed[image] = contrary and before is not None and (before[3] != "voted" or kept == "voted")
            said[image].append((number, who, answer, kept, seen))
    labels = [home(given.get(image, int(LABELS[image]))) for image in range(IMAGES)]
    return state, labels, {k: v for k, v in found.items() if k not in into}, disputed


def naive_credit(rows: list[tuple[Any, ...]]) -> tuple[list[int], list[bool]]:
    """Who gave each label, and whether a person looked at the image for the decision that stands."""
    undone: set[int] = set()
    for row in rows:
        (undone.add if row[1] == "undo" else undone.discard)(row[6])
    gave, decided = [(0, Provenance.MODEL)] * IMAGES, [(0, Provenance.MODEL)] * IMAGES
    for row in rows:
        if row[0] in undone:
            continue
        for image in np.frombuffer(row[8], "<u4").tolist():
            said = row[0], Provenance(NAMES.index(row[11]))
            if row[1] in ("accept", "relabel", "new class", "split"):
                gave[image] = said
            if row[1] in ("accept", "relabel", "new class", "reject", "exclude"):
                decided[image] = said
    answered = [then[1] == Provenance.SEEN and by[0] <= then[0] for by, then in zip(gave, decided, strict=True)]
    return [one[1] for one in gave], answered


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(ONE, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=4))
def test_any_sequence_equals_the_fold_of_what_remains(plan: list[dict[str, Any]], cuts: list[int]) -> None:
    rows = rows_of(plan)
    curation = Curation(IMAGES, CLUSTERS)
    ends = sorted({min(cut, len(rows)) for cut in cuts} | {len(rows)})
    for start, end in zip([0, *ends[:-1]], ends, strict=True):  # in parts of any size
        curation.take(rows[start:end])
    state, labels, known, disputed = naive(rows)
    assert curation.state.tolist() == state
    assert curation.classes_of(LABELS).tolist() == labels
    assert {one.number: one.name for one in curation.classes} == known
    assert curation.disputed.tolist() == disputed
    gave, answered = naive_credit(rows)
    assert curation.provenance.tolist() == gave
    assert curation.answered.tolist() == answered


def test_the_fold_says_which_images_a_row_changed(open_log: Callable[[], DecisionLog]) -> None:
    one, other = open_log(), open_log()
    act(one, "reject", 3, 5)
    act(one, "undo")
    assert other.refresh().tolist() == [3, 5]
    assert other.refresh().tolist() == []


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(ONE, max_size=12))
def test_two_interleaved_writers_come_to_the_same(plan: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        logs = {who: DecisionLog(Path(place), images=IMAGES, clusters=CLUSTERS, fingerprint="abc") for who in PEOPLE}
        written = 0
        for one in plan:
            log = logs[one["by"]]
            now = log.curation.classes_of(LABELS)  # as this writer last saw it
            ids = [i for i in one["ids"] if one["action"] != "split" or now[i] == one["other"]]
            asked = Decision(
                one["action"],
                one["by"],
                visit=one["by"],
                seen=log.curation.row,
                images=np.array(ids, np.int64),
                class_=one["class_"],
                other=one["other"],
                text=f"class of {written}",
            )
            with contextlib.suppress(DecisionError):
                log.commit([asked], MODEL)
                written += 1
        for log in logs.values():
            log.refresh()
        ann, bob = (logs[who].curation for who in PEOPLE)
        rows = logs["Ann"].decisions()
        assert [one.row for one in rows] == list(range(1, written + 1))
        for name in ("state", "given", "moved", "disputed", "home"):
            assert getattr(ann, name).tolist() == getattr(bob, name).tolist()
        assert ann.classes == bob.classes
        for log in logs.values():
            log.close()
