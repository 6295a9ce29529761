"""Guidance for a handful of images, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.curate.curation import State
from engine.curate.guidance import Guidance, Unseen, guide, held_back
from engine.curate.provenance import Provenance
from engine.errors import RunError

UNDECIDED, DECIDED, REJECTED, EXCLUDED = State
# Five images in three clusters.
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.5, 0.375], [0, 0.25, 0.75], [1, 0, 0]], np.float32
)
IDS = [f"image-{number}" for number in range(5)]


def guided(
    state: list[int],
    classes: list[int],
    alive: tuple[int, ...],
    home: list[int],
    moved: list[int],
    provenance: list[Provenance] | None = None,
    unseen: Unseen = "doubted",
) -> Guidance:
    """`moved` lists images."""
    return guide(
        np.array(state, np.uint8),
        np.array(classes, np.uint16),
        alive,
        np.array(home, np.uint16),
        np.isin(np.arange(5), moved),
        PROBABILITIES,
        IDS,
        looked(np.array(state)) if provenance is None else np.array(provenance),
        unseen,
    )


def looked(state: np.ndarray) -> np.ndarray:
    """The provenance of labels of which every decided one was seen."""
    return np.where(state == DECIDED, Provenance.SEEN, Provenance.MODEL)


def test_without_decisions_the_run_begins_with_what_the_model_believes() -> None:
    found = guided([0] * 5, [0, 1, 1, 2, 0], (0, 1, 2), [0, 1, 2], [])
    assert found.keep.all()
    assert not (found.taught | found.held | found.refused).any()
    assert found.belief.tolist() == PROBABILITIES.tolist()
    assert found.belief.dtype == np.float32
    assert found.model.tolist() == [0, 1, 1, 2, 0]
    assert found.clusters == 3


def test_merged_clusters_are_believed_in_together() -> None:
    found = guided([0] * 5, [0, 2, 2, 2, 0], (0, 2), [0, 2, 2], [])
    assert found.belief.tolist() == [[0.5, 0.5], [0.25, 0.75], [0.125, 0.875], [0, 1], [1, 0]]
    assert found.labels.tolist() == [0, 1, 1, 1, 0]
    assert found.clusters == 2


def test_a_class_that_was_split_off_gets_the_mass_of_its_images() -> None:
    found = guided([0] * 5, [0, 1, 7, 2, 0], (0, 1, 2, 7), [0, 1, 2], [2])
    assert found.belief[1].tolist() == [0.25, 0.5, 0.25, 0]
    assert found.belief[2].tolist() == [0.125, 0, 0.375, 0.5]
    assert found.labels.tolist() == [0, 1, 3, 2, 0]
    assert found.model.tolist() == [0, 1, 3, 2, 0]
    assert not found.taught.any()


def test_a_decision_moves_belief_but_not_what_the_model_is_said_to_have_found() -> None:
    found = guided([0, 1, 0, 0, 0], [0, 2, 1, 2, 0], (0, 1, 2), [0, 1, 2], [1])
    assert found.taught.tolist() == [False, True, False, False, False]
    assert found.labels[1] == 2
    assert found.belief[1].tolist() == [0.25, 0, 0.75]
    assert found.model[1] == 1


def test_a_rejected_image_keeps_the_wrong_class_and_its_belief() -> None:
    found = guided([0, 0, 0, 2, 0], [0, 1, 1, 1, 0], (0, 1, 2), [0, 1, 2], [3])
    assert found.refused.tolist() == [False, False, False, True, False]
    assert (found.labels[3], found.model[3]) == (1, 2)
    assert found.belief[3].tolist() == [0, 0.25, 0.75]


def test_excluded_images_are_left_out_of_everything() -> None:
    found = guided([3, 1, 0, 0, 3], [9, 1, 1, 2, 1], (0, 1, 2), [0, 1, 2], [1])
    assert found.keep.tolist() == [False, True, True, True, False]
    assert found.labels.tolist() == [1, 1, 2]
    assert found.taught.tolist() == [True, False, False]
    assert found.belief.tolist() == PROBABILITIES[1:4].tolist()


def test_a_class_of_which_every_image_is_left_out_is_learned_no_more() -> None:
    found = guided([3, 0, 1, 0, 3], [0, 1, 1, 2, 0], (0, 1, 2, 7), [0, 1, 2], [2])
    assert found.clusters == 3, "an empty class that was made is still one"
    assert found.labels.tolist() == [0, 0, 1]
    assert found.belief[:2] == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [4 / 7, 3 / 7, 0]]))
    assert found.belief[2].tolist() == [0.25, 0.75, 0]
    assert found.model.tolist() == [0, 0, 1]


def test_a_model_that_was_sure_of_a_class_that_is_left_out_believes_in_none_of_the_others() -> None:
    found = guided([3, 0, 0, 0, 2], [0, 1, 1, 2, 1], (0, 1, 2), [0, 1, 2], [4])
    assert PROBABILITIES[4].tolist() == [1, 0, 0]
    assert found.belief[3].tolist() == [0.5, 0.5]


def test_rows_of_belief_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(6, 0.3), 300).astype(np.float32)
    alive, home = (1, 2, 4, 8), np.array([4, 1, 2, 2, 4, 1], np.uint16)
    state = rng.choice([0, 1, 2, 3], 300).astype(np.uint8)
    found = guide(
        state,
        rng.choice(alive, 300).astype(np.uint16),
        alive,
        home,
        rng.random(300) < 0.4,
        table,
        [str(one) for one in range(300)],
        looked(state),
    )
    assert found.belief.sum(1) == pytest.approx(1, abs=1e-6)
    assert found.belief.min() >= 0
    assert (found.labels[found.taught].max(), found.belief.shape[1]) == (3, 4)


# -- labels that nobody looked at ----------------------------------------------------------------

# Of five images the first was seen, the second accepted in bulk, the third voted; all into class 2.
SAID = [Provenance.SEEN, Provenance.BULK, Provenance.VOTED, Provenance.MODEL, Provenance.MODEL]


@pytest.mark.parametrize(
    ("unseen", "taught", "doubted", "moved"),
    [("doubted", [0], [1, 2], [0, 1, 2]), ("fixed", [0, 1, 2], [], [0, 1, 2]), ("unused", [0], [], [0])],
)
def test_only_what_was_seen_is_fixed_unless_the_person_says_otherwise(
    unseen: Unseen, taught: list[int], doubted: list[int], moved: list[int]
) -> None:
    found = guided([1, 1, 1, 0, 0], [2, 2, 2, 2, 0], (0, 1, 2), [0, 1, 2], [0, 1, 2], SAID, unseen)
    assert np.flatnonzero(found.taught).tolist() == taught
    assert np.flatnonzero(found.doubted).tolist() == doubted
    assert np.flatnonzero(found.seen).tolist() == [0]
    changed = (found.belief != PROBABILITIES).any(1)
    assert np.flatnonzero(changed).tolist() == moved
    assert found.belief[0].tolist() == [0, 0.25, 0.75]


@pytest.mark.parametrize("unseen", ["doubted", "fixed", "unused"])
def test_nothing_but_what_was_seen_is_held_back_to_measure_with(unseen: Unseen) -> None:
    decided, moved = np.full(1000, State.DECIDED, np.uint8), np.ones(1000, bool)
    said = np.where(np.arange(1000) < 100, Provenance.SEEN, Provenance.VOTED)
    table = np.tile(np.float32([0.75, 0.25]), (1000, 1))
    found = guide(decided, HALVES, (0, 1), np.arange(2), moved, table, NAMES, said, unseen)
    assert 0 < found.held.sum() < 100
    assert not found.held[100:].any()
    assert found.seen.sum() == 100
    assert not (found.held & found.taught).any()


# -- held back -----------------------------------------------------------------------------------

NAMES = [f"photos/{number:04d}.png" for number in range(1000)]
HALVES = np.arange(1000) % 2


def test_a_fifth_of_the_decisions_is_held_back_and_nothing_else() -> None:
    decided = np.arange(1000) < 800
    held = held_back(HALVES, decided, NAMES, 0.2)
    assert not held[800:].any()
    assert held[:800].mean() == pytest.approx(0.2, abs=0.03)


def test_the_name_alone_decides_so_that_later_trainings_hold_back_the_same() -> None:
    few = held_back(HALVES, np.arange(1000) < 400, NAMES, 0.2)
    more = held_back(HALVES, np.ones(1000, bool), NAMES, 0.2)
    assert np.array_equal(few[:400], more[:400])
    order = np.random.default_rng(0).permutation(1000)
    shuffled = held_back(HALVES[order], np.ones(1000, bool), [NAMES[one] for one in order], 0.2)
    assert np.array_equal(shuffled, more[order])


@pytest.mark.parametrize(("decisions", "held"), [(0, 0), (1, 0), (4, 0), (5, 4)])
def test_a_class_keeps_a_teacher_and_all_of_them_while_they_are_few(decisions: int, held: int) -> None:
    found = held_back(HALVES, (HALVES == 1) & (np.arange(1000) < 2 * decisions), NAMES, 1.0)
    assert found.sum() == held


def test_belief_knows_nothing_of_what_is_held_back() -> None:
    table = np.tile(np.float32([0.75, 0.25]), (1000, 1))
    decided, moved = np.full(1000, State.DECIDED, np.uint8), np.ones(1000, bool)
    found = guide(decided, HALVES, (0, 1), np.arange(2), moved, table, NAMES, looked(decided))
    assert found.held.any()
    assert (found.taught ^ found.held).all()
    assert (found.belief[found.held] == table[found.held]).all()
    assert np.array_equal(found.belief[found.taught].argmax(1), HALVES[found.taught])
    assert (found.model == 0).all()


# -- what cannot be trained ----------------------------------------------------------------------


def test_one_class_is_too_few() -> None:
    with pytest.raises(RunError, match="1 of the classes is left: training needs at least 2"):
        guided([0] * 5, [0] * 5, (0,), [0, 0, 0], [])
    with pytest.raises(RunError, match=r"1 of the classes is left: .* exclude fewer images"):
        guided([0, 3, 3, 3, 0], [0, 1, 1, 2, 0], (0, 1, 2), [0, 1, 2], [])


def test_more_classes_than_images_are_too_many() -> None:
    with pytest.raises(RunError, match="3 classes for the 2 images that are not excluded: merge"):
        guided([3, 3, 3, 0, 0], [0, 1, 1, 2, 0], (0, 1, 2, 7), [0, 1, 2], [])


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(RunError, match=r"class 5 does not exist, .* expected one of 0, 1, 2"):
        guided([0] * 5, [0, 1, 5, 2, 0], (0, 1, 2), [0, 1, 2], [])
    with pytest.raises(RunError, match="class 2 does not exist"):
        guided([0] * 5, [0, 1, 1, 1, 0], (0, 1), [0, 1, 2], [])
