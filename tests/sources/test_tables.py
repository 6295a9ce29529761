from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.errors import SourceError
from engine.sources.open_source import Opened, open_source
from tests.encoded_images import Encoded


@pytest.fixture
def place(tmp_path: Path, encoded: Encoded) -> Path:
    """A folder with the images a.png (tone 10), b.png (20) and sub/c.png (30)."""
    (tmp_path / "sub").mkdir()
    for tone, name in ((10, "a.png"), (20, "b.png"), (30, "sub/c.png")):
        (tmp_path / name).write_bytes(encoded(tone))
    return tmp_path


def opened(path: Path, table: pd.DataFrame | None = None, **options: Any) -> Opened:
    if table is not None:
        (table.to_parquet if path.suffix == ".parquet" else table.to_csv)(path, index=False)
    return open_source(str(path), size=4, **options)


def tones(found: Opened) -> list[int]:
    return found.images.pixels[:, 0, 0, 0].tolist()


def values(found: Opened, title: str) -> list[object]:
    column = next(one for one in found.columns if one.title == title)
    raw = column.values.tolist()
    return raw if column.names is None else [column.names[value] for value in raw]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_of_paths_brings_images_in_its_order_and_its_columns(ending: str, place: Path) -> None:
    table = pd.DataFrame({"note": ["x", "y", "x"], "file": ["sub/c.png", "a.png", "./b.png"], "age": [1.5, 2.5, 3.5]})
    found = opened(place / f"t.{ending}", table)
    assert found.images.ids == ("sub/c.png", "a.png", "b.png")
    assert tones(found) == [30, 10, 20]
    assert values(found, "note") == ["x", "y", "x"]
    assert values(found, "age") == [1.5, 2.5, 3.5]
    assert found.truth is None


def test_the_label_column_is_truth_only_when_asked(place: Path) -> None:
    table = pd.DataFrame({"picture": ["a.png", "b.png"], "Label": ["dog", "cat"]})
    assert opened(place / "t.csv", table).truth is None
    truth = opened(place / "t.csv", labels=True).truth
    assert truth is not None
    assert (truth.class_names, truth.labels.tolist()) == (("cat", "dog"), [1, 0])


def test_rows_that_cannot_be_used_are_listed_with_their_reasons(place: Path) -> None:
    (place.parent / "outside.png").write_bytes((place / "a.png").read_bytes())
    (place / "link.png").symlink_to(place.parent / "outside.png")
    rows = [
        "a.png",
        "gone.png",
        "a.png",
        None,
        "../outside.png",
        "link.png",
        "sub",
        "https://example.org/a.png",
        "b.png",
    ]
    found = opened(place / "t.csv", pd.DataFrame({"path": rows, "n": range(9)}))
    assert found.images.ids == ("a.png", "b.png")
    assert values(found, "n") == ["0", "8"]
    outside = f"outside {place}: give the folder that the paths start from"
    assert {one.name: one.reason for one in found.skipped} == {
        "gone.png": "No such file or directory",
        "a.png": "listed twice: row 1 has it already",
        "row 4": "no path",
        "../outside.png": outside,
        "link.png": outside,
        "sub": "not a regular file",
        "https://example.org/a.png": "an address, not a path: download the images first",
    }


def test_paths_may_lie_below_another_folder(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    table = pd.DataFrame({"path": [str(place / "a.png"), "b.png"]})
    with pytest.raises(
        SourceError, match=r"lists no usable image below .*: give the folder .* the first is .*a\.png: outside"
    ):
        opened(path, table)
    assert opened(path, root=str(place)).images.ids == ("a.png", "b.png")


@pytest.mark.parametrize("nested", [False, True])
def test_a_parquet_file_may_hold_the_images_themselves(nested: bool, tmp_path: Path, encoded: Encoded) -> None:
    content: list[Any] = [encoded(10), None, b"no image", encoded((200, 0, 0), "JPEG")]
    if nested:
        content = [{"bytes": one, "path": f"p{i}.png"} for i, one in enumerate(content)]
    found = opened(tmp_path / "t.parquet", pd.DataFrame({"image": content, "label": ["a", "b", "b", "c"]}), labels=True)
    names = ("p0.png", "p3.png") if nested else ("row-0000000", "row-0000003")
    assert found.images.ids == names
    assert found.images.pixels[0, 0, 0, 0] == 10
    assert found.truth is not None
    assert found.truth.class_names == ("a", "c")
    assert [one.reason for one in found.skipped] == ["no image in this row", "not an image"]


def test_many_groups_of_rows_are_read(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"image": [encoded(tone) for tone in range(1, 201)]})
    frame.to_parquet(path, row_group_size=7)
    assert tones(open_source(f"table:{path}", size=4)) == list(range(1, 201))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"n": [1, 2], "name": ["x", "y"]}, "no column of .* holds paths of images or images: found 'n', 'name'"),
        ({"path": [1.5, 2.5]}, "no column of .* holds paths of images"),
        ({"path": ["gone.png"]}, "lists no usable image below .*; the first is gone.png: No such file"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_without_images_is_refused(
    ending: str, table: dict[str, list[Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        opened(tmp_path / f"t.{ending}", pd.DataFrame(table))


@pytest.mark.parametrize(
    ("name", "message"), [("t.parquet", "cannot be read as a Parquet table"), ("t.csv", "cannot be read as a table")]
)
def test_what_is_no_table_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n\0\0\xff")
    with pytest.raises(SourceError, match=message):
        opened(tmp_path / name)


def test_labels_that_are_missing_are_asked_for(place: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", None]})
    with pytest.raises(SourceError, match="has no column label, class, category or target with"):
        opened(place / "t.csv", table, labels=True)
    assert len(opened(place / "t.csv").images) == 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_classes_are_found_beyond_what_is_shown(ending: str, tmp_path: Path, encoded: Encoded) -> None:
    names = [f"{one:02d}.png" for one in range(30)]
    for name in names:
        (tmp_path / name).write_bytes(encoded(9))
    more = {f"c{one:02d}": np.arange(30) / 7 for one in range(25)}
    table = pd.DataFrame({"path": names, **more, "label": np.arange(30) % 26 + 100})
    truth = opened(tmp_path / f"t.{ending}", table, labels=True).truth
    assert truth is not None
    assert truth.class_names == tuple(str(one) for one in range(100, 126))
    assert truth.labels.tolist() == [one % 26 for one in range(30)]


def test_classes_with_the_names_of_nothing_are_classes(place: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png", "sub/c.png"], "label": ["None", "NA", "(none)"]})
    truth = opened(place / "t.csv", table, labels=True).truth
    assert truth is not None
    assert truth.class_names == ("(none)", "NA", "None")


@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], [1.0, np.nan, 2.0], [1e300, 1.0, 2.0]])
def test_measures_and_gaps_are_no_classes(values: list[float], place: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png", "sub/c.png"], "target": values})
    with pytest.raises(SourceError, match="with the class of every image"):
        opened(place / "t.csv", table, labels=True)


def test_other_images_and_vectors_in_a_parquet_file_are_passed_over(tmp_path: Path, encoded: Encoded) -> None:
    table = pd.DataFrame(
        {
            "image": [encoded(10), encoded(20)],
            "mask": [encoded(1), b"\xff\xd8"],
            "objects": [{"bbox": [1, 2]}, {"bbox": []}],
            "vector": [np.zeros(3), np.ones(3)],
            "label": [5, 7],
        }
    )
    found = opened(tmp_path / "t.parquet", table, labels=True)
    assert tones(found) == [10, 20]
    assert [one.title for one in found.columns] == ["label"]
    assert found.truth is not None
    assert found.truth.class_names == ("5", "7")


def test_paths_beside_vectors_in_a_parquet_file_are_read(place: Path) -> None:
    table = pd.DataFrame({"path": ["a.png", "b.png"], "vector": [np.zeros(3), np.ones(3)], "age": [1.5, 2.5]})
    assert [one.title for one in opened(place / "t.parquet", table).columns] == ["age"]


def test_boxes_in_the_metadata_of_an_image_folder_are_passed_over(place: Path) -> None:
    lines = [
        {"file_name": name, "objects": {"bbox": [[1, 2, 3, 4]]}, "label": number}
        for number, name in enumerate(["a.png", "b.png", "sub/c.png"])
    ]
    path = place / "metadata.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    found = open_source(str(place), size=4, labels=True)
    assert [one.title for one in found.columns] == ["label"]
    assert found.truth is not None
    assert found.truth.labels.tolist() == [0, 1, 2]
    for one in lines:
        del one["label"]
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    (odd,) = open_source(str(place), size=4).skipped
    assert odd.name == "metadata.jsonl"
    assert "has no column of numbers" in odd.reason


def test_a_hugging_face_image_folder_brings_its_metadata(place: Path) -> None:
    lines = '{"file_name": "c.png", "mood": "calm"}\n'
    (place / "sub" / "metadata.jsonl").write_text(lines)
    (place / "metadata.csv").write_text("file_name,mood\na.png,wild\nb.png,calm\n")
    found = open_source(f"imagefolder:{place}", size=4)
    assert found.images.ids == ("a.png", "b.png", "sub/c.png")
    assert values(found, "mood") == ["wild", "calm", "calm"]
    assert not found.skipped
    (place / "metadata.csv").write_text("name\na.png\n")
    found = open_source(str(place), size=4)
    assert values(found, "mood") == ["(none)", "(none)", "calm"]
    assert [one.reason for one in found.skipped] == ["there is no column file_name in it"]


def test_columns_go_with_the_images_that_can_be_used(place: Path) -> None:
    (place / "a.png").write_bytes(b"")
    table = pd.DataFrame({"path": ["a.png", "b.png", "sub/c.png"], "age": [1.5, 2.5, np.nan]})
    found = opened(place / "t.csv", table)
    assert found.images.ids == ("b.png", "sub/c.png")
    assert values(found, "age")[0] == 2.5
    assert np.isnan(found.columns[0].values[1])
