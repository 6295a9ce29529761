from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from engine.data.columns import MISSING, MOST_COLUMNS, columns_of, read_table
from engine.errors import SourceError

IMAGES = ("a.png", "b.png", "c.png")


def test_rows_are_put_in_the_order_of_the_images() -> None:
    table = pd.DataFrame({"score": [3.5, 1.25, 9.0], "file": ["c.png", "a.png", "other.png"]})
    (found,) = columns_of(table, IMAGES)
    assert (found.title, found.names) == ("score", None)
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, np.float32([1.25, np.nan, 3.5]))


def test_texts_truths_and_few_whole_numbers_are_categories() -> None:
    table = pd.DataFrame(
        {"name": IMAGES, "camera": ["z", None, "<b>"], "sharp": [True, False, True], "day": [2, 1, 10]}
    )
    camera, sharp, day = columns_of(table, IMAGES)
    assert camera.names is not None
    assert [camera.names[one] for one in camera.values] == ["z", MISSING, "<b>"]
    assert sharp.names == ("False", "True")
    assert day.names is not None
    assert [day.names[one] for one in day.values] == ["2", "1", "10"]


def test_many_whole_numbers_lie_on_a_scale() -> None:
    names = [f"{one}.png" for one in range(40)]
    (found,) = columns_of(pd.DataFrame({"name": names, "size": range(40)}), names)
    assert found.names is None
    assert found.values.tolist() == list(range(40))


def test_numbers_without_an_end_are_missing() -> None:
    names = [f"{one}.png" for one in range(40)]
    table = pd.DataFrame(
        {
            "name": names,
            "some": [np.inf, -np.inf, *np.arange(38) / 4],
            "large": [-1e39 * one for one in range(1, 41)],
            "few": [np.inf, *[2.0] * 39],
        }
    )
    some, few = columns_of(table, names)
    assert some.title == "some"
    assert np.isnan(some.values[:2]).all()
    assert some.values[2:].tolist() == (np.arange(38) / 4).tolist()
    assert few.names == ("(none)", "2")


def test_large_numbers_are_no_categories() -> None:
    table = pd.DataFrame({"name": IMAGES, "a": [1e30, 2e30, 1e30], "b": [123456789.5, 1.0, 2.0], "c": [3e9, 1.0, 2.0]})
    a, b, c = columns_of(table, IMAGES)
    assert a.values.tolist() == np.float32([1e30, 2e30, 1e30]).tolist()
    assert b.names is None
    assert c.names == ("1", "2", "3000000000")


@pytest.mark.parametrize(
    "value", [{"bbox": [1, 2]}, [1, 2], np.zeros(3), b"\xff\xd8"], ids=["dict", "list", "vector", "bytes"]
)
def test_columns_of_more_than_one_value_are_left_out(value: object) -> None:
    table = pd.DataFrame({"odd": [None, value, value], "name": IMAGES, "n": [0.5, 1.5, 2.5]})
    assert [one.title for one in columns_of(table, IMAGES)] == ["n"]
    with pytest.raises(SourceError, match="apart from the images' names, the table has no column"):
        columns_of(table[["odd", "name"]], IMAGES)


def test_words_for_nothing_are_names_among_texts_and_missing_among_numbers() -> None:
    content = b"name,class,score,n,empty\na.png,NA,0.5,NA,\nb.png,None,nan,1,None\nc.png,,,2,NaN\n"
    class_, score, n, empty = columns_of(read_table(content, "t.csv"), IMAGES)
    assert class_.names is not None
    assert [class_.names[one] for one in class_.values] == ["NA", "None", MISSING]
    np.testing.assert_array_equal(score.values, np.float32([0.5, np.nan, np.nan]))
    assert n.names == (MISSING, "1", "2")
    assert empty.names == (MISSING, "NaN", "None")


def test_what_cannot_be_shown_is_left_out() -> None:
    names = [f"{one}.png" for one in range(1200)]
    table = pd.DataFrame({"name": names, "comment": [f"text {n}" for n in names], "n": 0.5, "empty": None})
    assert [one.title for one in columns_of(table, names)] == ["n"]
    with pytest.raises(SourceError, match="at most 1,000 different texts"):
        columns_of(table[["name", "comment"]], names)
    wide = pd.DataFrame({"name": IMAGES, **{f"c{n}": [0.1, 0.2, 0.3] for n in range(30)}})
    assert len(columns_of(wide, IMAGES)) == MOST_COLUMNS


def test_a_table_of_other_images_is_refused_with_an_example() -> None:
    with pytest.raises(SourceError, match=r"such as 'a\.png': found 'name', 'x'"):
        columns_of(pd.DataFrame({"name": ["q"], "x": [1]}), IMAGES)
    with pytest.raises(SourceError, match="found none"):
        columns_of(pd.DataFrame(), IMAGES)


def test_two_rows_of_an_image_are_refused() -> None:
    with pytest.raises(SourceError, match=r"several rows for 'a\.png'"):
        columns_of(pd.DataFrame({"name": ["a.png", "a.png"], "x": [1, 2]}), IMAGES)


def test_csv_and_parquet_are_read_and_nothing_else() -> None:
    table = pd.DataFrame({"name": IMAGES, "x": [1.5, 2.5, 3.5]})
    content = io.BytesIO()
    table.to_parquet(content)
    for found in (read_table(content.getvalue(), "T.PARQUET"), read_table(table.to_csv(index=False).encode(), "t.csv")):
        pd.testing.assert_frame_equal(found, table)
    for content_, file in ((b"", "t.csv"), (b"\x00\xff\xfe\x9c", "t.csv"), (b"no", "t.parquet")):
        with pytest.raises(SourceError, match=rf"{file} cannot be read as a table"):
            read_table(content_, file)


def test_images_may_be_named_without_their_folders_where_that_is_clear() -> None:
    table = pd.DataFrame({"name": ["b.png", "a.png"], "x": [0.5, 1.5]})
    (found,) = columns_of(table, ("cats/a.png", "dogs/b.png"))
    assert found.values.tolist() == [1.5, 0.5]
    with pytest.raises(SourceError, match="no column of the table contains names"):
        columns_of(table, ("cats/a.png", "dogs/a.png", "b.png/c.png"))
