"""Which column names the images: by its title, then the only one that matches; never the one with most hits."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.columns import columns_of, rows_of, truth_of
from engine.errors import SourceError
from engine.formats.identity import NAMES, Spelt, by_content, matched, text_of, the_column

IDS = ("cats/a.png", "cats/b.png", "dogs/c.png", "dogs/d.png")
names = st.lists(st.text("abcxyz019 _-é", min_size=1, max_size=8).map(str.strip), min_size=2, max_size=8, unique=True)


@given(st.data(), names, st.sampled_from(NAMES), st.sampled_from([str, str.upper, str.title]))
def test_the_titled_column_counts_whatever_other_columns_hold(
    data: st.DataObject, stems: list[str], title: str, spelt: type
) -> None:
    ids = [f"{stem}.png" for stem in stems]
    order = data.draw(st.permutations(range(len(ids))))
    columns = {"nearest": data.draw(st.permutations(ids)), "previous": data.draw(st.permutations(ids))}
    table = pd.DataFrame({**columns, spelt(title): [ids[place] for place in order]})
    table = table[data.draw(st.permutations(list(table.columns)))]
    found = matched(table, ids)
    assert found.places.tolist() == list(order)


def test_a_column_with_more_hits_does_not_beat_the_title() -> None:
    table = pd.DataFrame({"next": ["b.png", "c.png", "a.png"], "ID": ["a.png", "other", "c.png"], "n": [1, 2, 3]})
    assert rows_of(table, ["a.png", "b.png", "c.png"])["n"].tolist()[::2] == [1, 3]


def test_titles_have_an_order() -> None:
    table = pd.DataFrame({"path": ["b", "a"], "Filename": ["a", "b"], "file-name": ["b", "a"]})
    assert matched(table, ["a", "b"]).title == "file-name"
    assert matched(table[["path", "Filename"]], ["a", "b"]).title == "Filename"


def test_a_title_that_matches_nothing_does_not_hide_the_column_that_does() -> None:
    table = pd.DataFrame({"id": [7, 8], "picture": ["b", "a"]})
    assert matched(table, ["a", "b"]).places.tolist() == [1, 0]


@pytest.mark.parametrize("titles", [("nearest", "farthest"), ("Path", "path")])
def test_two_equally_good_columns_are_refused_and_named(titles: tuple[str, str]) -> None:
    table = pd.DataFrame({titles[0]: ["a", "b"], titles[1]: ["b", "a"], "x": [1, 2]})
    with pytest.raises(SourceError, match=f"2 columns that name images, '{titles[0]}' and '{titles[1]}': rename"):
        columns_of(table, ["a", "b"])


def test_two_columns_that_say_the_same_are_no_choice() -> None:
    table = pd.DataFrame({"this": ["b", "a"], "that": ["b", "a"], "x": [0.5, 1.5]})
    assert columns_of(table, ["a", "b"])[-1].values.tolist() == [1.5, 0.5]


def test_the_class_comes_from_the_first_usual_title_even_with_gaps() -> None:
    rows = pd.DataFrame({"class_name": ["x", "y"], "label": ["cat", None]})
    assert truth_of(rows, "t.csv") is None
    truth = truth_of(rows.assign(label=["cat", "dog"]), "t.csv")
    assert truth is not None
    assert truth.class_names == ("cat", "dog")
    with pytest.raises(SourceError, match="2 columns that hold the class, 'label' and 'Label'"):
        truth_of(pd.DataFrame({"label": ["a"], "Label": ["b"]}), "t.csv")


def test_a_column_is_not_looked_into_when_it_is_the_only_one() -> None:
    assert by_content(["x"], lambda _title: False, (), "hold images") == "x"
    assert by_content(["x", "y"], lambda title: title == "y", (), "hold images") == "y"
    assert the_column(["mask", "image"], ("image",), "hold images") == "image"


@given(st.sampled_from(IDS), st.booleans(), st.booleans(), st.booleans())
def test_a_name_is_found_however_it_is_spelt(name: str, blank: bool, dotted: bool, backslash: bool) -> None:
    told = f"./{name}" if dotted else name
    told = told.replace("/", "\\") if backslash else told
    told = f" {told} " if blank else told
    assert Spelt(IDS).place(told) == IDS.index(name)


def test_both_forms_of_an_accent_are_one_name_unless_both_are_there() -> None:
    forms = [unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")]
    assert [Spelt(forms[:1]).place(one) for one in forms] == [0, 0]
    assert [Spelt(forms).place(one) for one in forms] == [0, 1]
    assert Spelt(["a.png", " a.png"]).place("a.png ") == -1


def test_the_same_row_twice_says_one_thing_and_two_different_ones_are_refused() -> None:
    table = pd.DataFrame({"id": ["a", "a", "b"], "x": [1, 1, 2]})
    assert rows_of(table, ["a", "b"])["x"].tolist() == [1, 2]
    with pytest.raises(SourceError, match="several rows for 'a': keep only one"):
        rows_of(table.assign(x=[1, 3, 2]), ["a", "b"])


@pytest.mark.parametrize(
    ("value", "text"),
    [("007", "007"), (b"cat", "cat"), (np.bytes_(b"a.png"), "a.png"), (3.0, "3"), (np.float32(2), "2"), (2.5, "2.5")],
)
def test_names_are_text(value: object, text: str) -> None:
    assert text_of(value) == text
