"""Excluding images before training: one row per click, one undo per row, by name if a source changes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.curate import log as log_module
from engine.curate.log import FILE
from engine.data.columns import ImageColumn
from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import DecisionError, LogBusyError, SourceError
from engine.health import exclusions as module
from engine.health.exclusions import BY_HAND, NAMES, REASONS, Exclusions, cut
from engine.health.health import DUPLICATES, Problem
from engine.sources.open_source import Opened

NAMES_OF_SIX = tuple("abcdef")
Open = Callable[..., Exclusions]


def six(names: tuple[str, ...] = NAMES_OF_SIX, source: str = "made:up") -> ImageSet:
    pixels = np.array([ord(name) for name in names], np.uint8)[:, None, None, None]
    return ImageSet(np.tile(pixels, (1, 1, 4, 4)), names, source)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPICE_EXPLORER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def open_it() -> Iterator[Open]:
    """Opens the exclusions of a source, each time like a separate program."""
    opened: list[Exclusions] = []

    def one(images: ImageSet | None = None) -> Exclusions:
        opened.append(Exclusions(images or six()))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


def out(one: Exclusions) -> list[tuple[str, str]]:
    return [(each.name, each.reason) for each in one.left_out()]


def test_nothing_is_written_before_the_first_decision(open_it: Open, place: Path) -> None:
    one = open_it()
    assert one.kept.tolist() == [True] * 6
    assert one.left_out() == ()
    assert one.undoable() is None
    assert not place.exists()


def test_what_is_left_out_is_kept_with_its_reason(open_it: Open) -> None:
    one = open_it()
    assert one.exclude(np.array([4, 1]), "dark") == 2
    assert one.exclude(np.array([0]), BY_HAND) == 1
    again = open_it()
    assert again.kept.tolist() == [False, False, True, True, False, True]
    assert out(again) == [("a", BY_HAND), ("b", "dark"), ("e", "dark")]


def test_each_click_is_one_row_and_one_undo(open_it: Open) -> None:
    one = open_it()
    one.exclude(np.array([1, 2, 3]), "blank")
    one.exclude(np.array([3, 4]), "dark")  # 3 is excluded already, and stays excluded as blank
    last = one.undoable()
    assert last is not None
    assert (last.text, last.images.tolist()) == ("dark", [4])
    one.undo()
    assert out(one) == [("b", "blank"), ("c", "blank"), ("d", "blank")]
    one.undo()
    assert one.kept.all()
    with pytest.raises(DecisionError, match="nothing to undo"):
        one.undo()


def test_a_click_that_changes_nothing_writes_nothing(open_it: Open) -> None:
    one = open_it()
    one.exclude(np.array([2]), "dark")
    last = one.undoable()
    assert last is not None
    assert one.exclude(np.array([2]), "blank") == 0
    assert one.exclude(np.zeros(0, np.int64), "blank") == 0
    assert one.put_back(np.array([3])) == 0
    again = one.undoable()
    assert again is not None
    assert again.row == last.row


def test_images_are_put_back_and_that_is_undone(open_it: Open) -> None:
    one = open_it()
    one.exclude(np.array([1, 2]), "dark")
    assert one.put_back(np.array([0, 1, 2])) == 2
    assert one.kept.all()
    one.undo()
    assert out(one) == [("b", "dark"), ("c", "dark")]


def test_one_program_sees_what_another_has_decided(open_it: Open) -> None:
    one, other = open_it(), open_it()
    one.exclude(np.array([5]), "dark")
    other.refresh()
    assert not other.kept[5]
    other.undo()
    one.refresh()
    assert one.kept.all()


def test_a_source_that_grew_leaves_out_the_same_images_by_name(open_it: Open) -> None:
    first = open_it()
    first.exclude(np.array([1]), "dark")
    first.exclude(np.array([4, 5]), "blank")
    grown = tuple("eabxyf")  # c and d are gone, and the order has changed
    later = open_it(six(grown))
    assert out(later) == [("e", "blank"), ("b", "dark"), ("f", "blank")]
    assert out(open_it(six(grown))) == out(later)  # carried once
    later.undo()
    assert out(later) == [("b", "dark")]


def test_what_was_put_back_is_not_carried(open_it: Open) -> None:
    first = open_it()
    first.exclude(np.array([1, 2]), "dark")
    first.put_back(np.array([1]))
    assert out(open_it(six(tuple("abcdefg")))) == [("c", "dark")]


def without_a() -> ImageSet:
    return six(tuple("bcdef"))


def another_a() -> ImageSet:
    return ImageSet(np.maximum(six().pixels, ord("b")), NAMES_OF_SIX, "made:up")


@pytest.mark.parametrize("problem", DUPLICATES)
@pytest.mark.parametrize("changed", [without_a, another_a])
def test_a_duplicate_is_not_left_out_any_more_when_it_may_be_the_last(
    open_it: Open, problem: Problem, changed: Callable[[], ImageSet]
) -> None:
    first = open_it()
    first.exclude(np.array([1, 5]), REASONS[problem])
    first.exclude(np.array([2]), "dark")
    assert out(open_it(changed())) == [("c", "dark")]


@pytest.mark.parametrize("problem", DUPLICATES)
def test_duplicates_are_left_out_of_a_source_that_has_merely_grown(
    open_it: Open, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 32)
    open_it().exclude(np.array([1, 5]), REASONS[problem])
    grown = open_it(six(tuple("gfaxbcde")))
    assert out(grown) == [("f", REASONS[problem]), ("b", REASONS[problem])]


def test_other_sources_and_sizes_have_decisions_of_their_own(open_it: Open) -> None:
    open_it().exclude(np.array([1]), "dark")
    large = np.zeros((6, 1, 8, 8), np.uint8)
    assert open_it(ImageSet(large, NAMES_OF_SIX, "made:up")).kept.all()
    assert open_it(six(source="made:otherwise")).kept.all()


def test_a_folder_is_the_same_however_it_is_named(
    open_it: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    open_it(six(source="folder:photos")).exclude(np.array([1]), "dark")
    names = (f"folder:{tmp_path}/photos", "folder:~/photos", "folder:x/../photos", "imagefolder:photos")
    for source in names:
        assert out(open_it(six(source=source))) == [("b", "dark")]
    (tmp_path / "photos").rmdir()  # its images may still be in the cache
    for source in names:
        assert out(open_it(six(source=source))) == [("b", "dark")]


def test_a_damaged_log_is_moved_aside_and_a_new_one_begun(open_it: Open) -> None:
    one = open_it()
    one.exclude(np.array([1]), "dark")
    one.close()
    (one.folder / FILE).write_bytes(b"nothing that SQLite knows" * 100)
    again = open_it()
    assert again.kept.all()
    again.exclude(np.array([2]), "dark")
    assert out(open_it()) == [("c", "dark")]
    assert len(list(one.folder.glob("decisions.damaged-*"))) == 1


def test_a_locked_log_is_said_and_nothing_is_decided(open_it: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "BUSY_SECONDS", 0.01)
    one = open_it()
    one.exclude(np.array([1]), "dark")
    other = sqlite3.connect(one.folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogBusyError, match="is locked by another program"):
        one.exclude(np.array([2]), "dark")
    assert out(open_it()) == [("b", "dark")]  # reading still works
    other.close()
    one.exclude(np.array([2]), "dark")
    assert out(one) == [("b", "dark"), ("c", "dark")]


def test_a_damaged_log_of_an_earlier_state_is_lost_without_a_word(open_it: Open) -> None:
    one = open_it()
    one.exclude(np.array([1]), "dark")
    (one.folder / NAMES).write_text("{", "utf-8")
    assert open_it(six(tuple("abcdefg"))).kept.all()


def test_a_place_that_is_removed_leaves_nothing_out_and_is_made_anew(open_it: Open, place: Path) -> None:
    one = open_it()
    one.exclude(np.array([1, 2]), "dark")
    shutil.rmtree(place)
    one.refresh()
    assert one.kept.all()
    one.exclude(np.array([2]), "blank")
    assert out(one) == out(open_it()) == [("c", "blank")]


def test_a_place_that_is_removed_unseen_keeps_what_is_decided_next(open_it: Open, place: Path) -> None:
    one = open_it()
    one.exclude(np.array([1]), "dark")
    shutil.rmtree(place)
    assert one.exclude(np.array([1, 5]), "blank") == 2
    assert out(one) == out(open_it()) == [("b", "blank"), ("f", "blank")]


def test_a_place_that_cannot_be_written_is_said(open_it: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPICE_EXPLORER_HOME", str(tmp_path / "file"))
    with pytest.raises(DecisionError, match=r"cannot be written .* nothing was saved"):
        open_it().exclude(np.array([1]), "dark")


# -- excluding -------------------------------------------------------------------------------------


@pytest.fixture
def whole() -> Opened:
    return Opened(
        six(),
        Truth(np.array([0, 1, 2, 0, 1, 2]), ("x", "y", "z")),
        (Skipped("s", "broken"),),
        np.arange(12, dtype=np.int32).reshape(6, 2),
        (ImageColumn("weight", np.arange(6, dtype=np.float32)),),
        six(tuple("uvw")),
    )


KEPT = np.array([True, False, True, True, False, True])


def test_nothing_is_copied_where_nothing_is_left_out(whole: Opened) -> None:
    assert cut(whole, np.ones(6, bool)) is whole


def test_everything_about_an_image_goes_with_it(whole: Opened) -> None:
    left = cut(whole, KEPT)
    assert left.images.ids == ("a", "c", "d", "f")
    assert left.images.pixels[:, 0, 0, 0].tolist() == [ord(one) for one in "acdf"]
    assert left.truth is not None
    assert [left.truth.class_names[one] for one in left.truth.labels] == ["x", "z", "x", "z"]
    assert left.extents is not None
    assert left.extents[:, 0].tolist() == [0, 4, 6, 10]
    assert left.columns[0].values.tolist() == [0, 2, 3, 5]
    assert left.skipped == whole.skipped
    assert left.extra is whole.extra


def test_many_pixels_go_through_a_nameless_file_and_are_the_same(
    whole: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cut(whole, KEPT).images.fingerprint
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 32)
    left = cut(whole, KEPT).images
    assert isinstance(left.pixels, np.memmap)
    assert left.fingerprint == expected
    assert list(cache().iterdir()) == []


def test_no_room_for_the_pixels_is_said(whole: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    with pytest.raises(SourceError, match="of kept images cannot be written"):
        cut(whole, KEPT)


@pytest.mark.parametrize("left", [0, 1])
def test_one_image_is_too_few(left: int, whole: Opened) -> None:
    kept = np.arange(6) < left
    with pytest.raises(DecisionError, match=rf"{left} of the 6 images is kept.*put some back"):
        cut(whole, kept)
