"""Tables are read as they were written: separators, encodings, headers, and what is a number."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.columns import read_table
from engine.errors import SourceError
from engine.exports.label_table import packed
from engine.formats.identity import matched

IDS = ["a.png", "b.png", "é.png"]
ROWS = [("path", "label"), ("a.png", "cat"), ("b.png", "dog"), ("é.png", "cat")]
cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)


def text(separator: str, end: str = "\n", tail: str = "") -> str:
    return "".join(separator.join(row) + (tail if place else "") + end for place, row in enumerate(ROWS))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("t.csv", text(",").encode("utf-8-sig")),
        ("t.csv", text(";").encode()),
        ("t.csv", text("|").encode()),
        ("t.csv", text("\t").encode()),
        ("t.tsv", text("\t").encode()),
        ("t.csv", text("\t").encode("utf-16")),
        ("t.csv", text(",").encode("utf-16")),
        ("t.csv", text(",", tail=",").encode()),
        ("t.csv", text(",", "\r\n").encode()),
        ("t.csv", text(",", "\r").encode()),
        ("t.csv", b"sep=;\r\n" + text(";", "\r\n").encode()),
        ("t.csv", b"\n" + text(",", "\n\n").encode()),
    ],
    ids=["mark", "semicolon", "bar", "tab", "tsv", "excel", "utf-16", "trailing", "crlf", "cr", "sep=", "blank lines"],
)
def test_a_table_is_read_whatever_parts_its_cells(file: str, content: bytes) -> None:
    table = read_table(content, file)
    assert table.columns.tolist() == ["path", "label"]
    assert table["path"].tolist() == IDS
    assert table["label"].tolist() == ["cat", "dog", "cat"]


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_texts_come_back_to_the_letter(rows: list[tuple[str, str]], separator: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("file_name", "label"), *rows])
    table = read_table(out.getvalue().encode(), "t.csv")
    written = [[cell if cell.strip() else None for cell in row] for row in rows]
    for place, title in enumerate(table.columns):
        given_, found = [row[place] for row in written], table[title]
        if found.dtype.kind == "f":  # a measure is no name
            assert title == "label"
            assert [float(one) if one else None for one in given_] == [None if pd.isna(v) else v for v in found]
        elif found.dtype.kind == "i":  # only where a number is written back as it was
            assert [one.strip() if one else None for one in given_] == [None if pd.isna(v) else str(v) for v in found]
        else:
            assert [None if pd.isna(value) else value for value in found] == given_


@pytest.mark.parametrize(
    "labels",
    [
        ["007", "07", "7"],
        ["1e5", "1E05", "100000"],
        ["0x10", "1_6", "16"],
        ["1.0", "2.0", "1.0"],
        ["NA", "None", "x"],
        ["12345678901234567890", "12345678901234567891", "1"],
        ["+1", "-1", "1"],
        ["٣", "3", "x"],
    ],
)
@pytest.mark.parametrize("title", ["label", "id"])
def test_numbers_that_are_names_stay_as_they_were_written(labels: list[str], title: str) -> None:
    table = read_table("".join(f"{one}\n" for one in [f"{title},x", *(f"{one},0" for one in labels)]).encode(), "t.csv")
    assert table[title].astype(str).tolist() == labels


def test_json_keeps_texts_that_look_like_numbers_and_dates() -> None:
    table = read_table(b'{"id": "0001", "label": "1e5", "date": "2024-01-01"}\n', "t.jsonl")
    assert table.iloc[0].tolist() == ["0001", "1e5", "2024-01-01"]


@pytest.mark.parametrize("known", [[], ["row-0", "row-1"]])
def test_a_first_row_of_data_is_no_header(known: list[str]) -> None:
    first = known[0] if known else "a.png"
    table = read_table(f"{first},cat\nrow-1,dog\n".encode(), "t.csv", known)
    assert table.columns.tolist() == ["column 1", "column 2"]
    assert table["column 1"].tolist() == [first, "row-1"]
    assert table["column 2"].tolist() == ["cat", "dog"]


def test_of_two_possible_separators_the_one_that_brings_out_images_counts() -> None:
    table = read_table(b"a.png;1,5\nb.png;2,5\n", "t.csv")
    assert table["column 1"].tolist() == ["a.png", "b.png"]
    assert table["column 2"].tolist() == ["1,5", "2,5"]


def test_row_names_without_a_title_take_no_title_of_another() -> None:
    table = read_table(b"file,label\n1,a.png,cat\n2,b.png,dog\n", "t.csv")
    assert table["file"].tolist() == ["a.png", "b.png"]
    assert table["label"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\né.png".encode("cp1252"), r"not UTF-8: line 2 has the byte 0xe9; save it as UTF-8, in Excel as"),
        ("path,n\na.png,1".encode("utf-16-le"), "zero bytes, perhaps as UTF-16 without a mark"),
        (b"path,note,n\na.png,red, round,1\nb.png,blue,2\n", "line 2 has 4 cells, its header 3; put texts"),
        (b"path,note,n\na.png,red, round,1\n", "line 2 has 4 cells, its header 3"),
        (b'path,n\n"a.png,1\n', "line 2: unexpected end of data"),
        (b"path,path\na.png,b.png\n", "two columns called 'path'"),
        (b"", "it is empty"),
    ],
    ids=["cp1252", "utf-16 without a mark", "unquoted", "unquoted in all rows", "open quote", "twice", "empty"],
)
def test_what_cannot_be_read_names_the_place_and_the_cure(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=rf"t\.csv cannot be read as a table \(.*{message}"):
        read_table(content, "t.csv")


def test_a_broken_line_of_json_is_named() -> None:
    with pytest.raises(SourceError, match="line 2 is not JSON"):
        read_table(b'{"a": 1}\nno\n', "t.jsonl")
    with pytest.raises(SourceError, match="line 1 is not a JSON object"):
        read_table(b"[1]\n", "t.jsonl")


@given(st.lists(cells, min_size=1, max_size=6, unique=True), st.sampled_from(["csv", "jsonl", "parquet"]))
def test_exported_names_find_their_images_again(ids: list[str], form: str) -> None:
    ids = [f"{one}.png" for one in ids]
    if len({one.strip() for one in ids}) < len(ids):
        return
    table = pd.DataFrame({"id": ids, "class_name": ids, "confidence": 0.5})
    back = read_table(packed(table, form), f"t.{form}", ids)  # type: ignore[arg-type]
    assert matched(back, ids).places.tolist() == list(range(len(ids)))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_without_the_guard_every_name_is_as_it_was(form: str) -> None:
    names = ["=1+1", "-x", "@home", "'=quoted", "007", "1e5", "NA", "a\nb"]
    back = read_table(packed(pd.DataFrame({"id": names, "class_name": names}), form, guard=False), f"t.{form}")  # type: ignore[arg-type]
    assert back["id"].tolist() == names
    assert back["class_name"].tolist() == names
    guarded = read_table(packed(pd.DataFrame({"id": names}), "csv"), "t.csv")["id"].tolist()
    assert guarded == ["'=1+1", "'-x", "'@home", *names[3:]]
