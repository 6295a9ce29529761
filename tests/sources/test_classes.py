"""Which class an image has, from folders, tables, sidecars and arrays: the right one, or a refusal."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine.errors import SourceError
from engine.sources.folders import nothing_usable, walk
from engine.sources.open_source import open_source, source_of


def picture(tone: int = 9) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (tone, tone, tone)).save(out, "PNG")
    return out.getvalue()


def filed(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def zipped(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, picture())
    return path


def classes(source: object) -> dict[str, str]:
    listing = source_of(str(source), labels=True).listing()
    assert listing.truth is not None
    told = [listing.truth.class_names[label] for label in listing.truth.labels]
    return dict(zip(listing.names, told, strict=True))


# -- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "above", [("",), ("photos/",), ("Training/", "Testing/"), ("set/train/", "set/val/"), ("a/b/dev/", "a/b/eval/")]
)
def test_folders_above_the_classes_are_no_classes(above: tuple[str, ...], tmp_path: Path) -> None:
    expected = {f"{one}{name}/{i}.png": name for i, one in enumerate(above) for name in ("cats", "dogs")}
    assert classes(zipped(tmp_path / "a.zip", list(expected))) == expected
    assert classes(filed(tmp_path / "folder", {name: picture() for name in expected})) == expected


def test_an_image_beside_the_class_folders_has_no_class(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="1 images lie directly in it"):
        classes(zipped(tmp_path / "a.zip", ["photos/cats/1.png", "photos/dogs/2.png", "photos/all.png"]))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train/cats/1.png", "test/dogs/2.png", "unlabeled/3.png"], "test is a part of a set, and unlabeled is not"),
        (["train/1.png", "test/2.png"], "2 images lie directly in it"),
    ],
)
def test_splits_are_never_classes(names: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words):
        classes(zipped(tmp_path / "a.zip", names))


def test_one_class_is_kept(tmp_path: Path) -> None:
    assert set(classes(zipped(tmp_path / "a.zip", ["cats/1.png", "cats/2.png"])).values()) == {"cats"}


def test_shards_are_no_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("cats", "dogs")):
        tarred(tmp_path / f"s-{number}.tar", {f"{name}/1.png": picture()})
    expected = {"s-0/cats/1.png": "cats", "s-1/dogs/1.png": "dogs"}
    assert classes(f"tar:{tmp_path}/s-*.tar") == classes(f"webdataset:{tmp_path}/s-*.tar") == expected


def test_shards_without_any_class_are_refused_and_tars_called_by_class_are_not(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        tarred(tmp_path / f"{name}.tar", {"1.png": picture()})
    with pytest.raises(SourceError, match="2 images lie directly in it"):
        classes(f"webdataset:{tmp_path}/*.tar")
    assert classes(f"tar:{tmp_path}/*.tar") == {"cats/1.png": "cats", "dogs/1.png": "dogs"}


def test_names_in_utf_8_without_its_flag_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ["Käse/1.png", "Öl/2.png"])
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] &= ~8
            place = content.find(mark, place + 1)
    for length in (len(content), content.find(b"PK\1\2")):  # also without the directory
        path.write_bytes(content[:length])
        assert classes(path) == {"Käse/1.png": "Käse", "Öl/2.png": "Öl"}


def test_hidden_images_alone_are_said(tmp_path: Path) -> None:
    root = filed(tmp_path, {".a.png": picture(), ".cats/b.png": picture()})
    assert "2 hidden" in nothing_usable(root, walk(root))


# -- metadata ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Metadata.csv", "METADATA.CSV"])
def test_metadata_counts_in_any_case(name: str, tmp_path: Path) -> None:
    table = "file_name,label\ncats/a.png,x\ndogs/b.png,y\n"
    root = filed(tmp_path, {"cats/a.png": picture(), "dogs/b.png": picture(), name: table})
    assert classes(root) == {"cats/a.png": "x", "dogs/b.png": "y"}


@pytest.mark.parametrize("titles", ["File Name,file_name", "file_name,File-Name"])
def test_metadata_with_two_columns_of_names_is_refused(titles: str, tmp_path: Path) -> None:
    table = f"{titles},label\na.png,b.png,x\nb.png,a.png,y\n"
    root = filed(tmp_path, {"a.png": picture(), "b.png": picture(), "metadata.csv": table})
    with pytest.raises(SourceError, match="2 columns that name images"):
        classes(root)


def test_names_in_bytes_are_read(tmp_path: Path) -> None:
    root = filed(tmp_path, {"a.png": picture()})
    pd.DataFrame({"file_name": [b"a.png"], "label": ["x"]}).to_parquet(root / "metadata.parquet")
    assert classes(root) == {"a.png": "x"}


def test_images_found_by_the_last_part_of_their_path_are_not_called_missing(tmp_path: Path) -> None:
    table = "file_name,label\na.png,x\nb.png,y\ngone.png,z\n"
    root = filed(tmp_path, {"cats/a.png": picture(), "dogs/b.png": picture(), "metadata.csv": table})
    assert classes(root) == {"cats/a.png": "x", "dogs/b.png": "y"}
    (note,) = source_of(str(root)).listing().notes
    assert "names 1 files that are not there or no image, the first gone.png" in note


def test_a_title_like_those_of_a_table_without_a_header_is_a_title(tmp_path: Path) -> None:
    table = "file_name,column 1,label\na.png,3,x\n"
    assert classes(filed(tmp_path, {"a.png": picture(), "metadata.csv": table})) == {"a.png": "x"}


def test_letters_that_end_lines_elsewhere_end_none_in_json(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "label": "x\u2028y"}, {"file_name": "b.png", "label": "z\x85z"}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    root = filed(tmp_path, {"a.png": picture(), "b.png": picture(), "metadata.jsonl": lines})
    assert classes(root) == {"a.png": "x\u2028y", "b.png": "z\x85z"}


# -- no class ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", ['""', '"  "', "null"])
def test_an_empty_class_is_none(gap: str, tmp_path: Path) -> None:
    table = f'{{"file_name": "a.png", "label": {gap}}}\n{{"file_name": "b.png", "label": "y"}}\n'
    root = filed(tmp_path, {"a.png": picture(), "b.png": picture(), "metadata.jsonl": table})
    with pytest.raises(SourceError, match=r"empty for 1 of 2 images\), the first a\.png"):
        classes(root)


def test_an_empty_cls_is_none(tmp_path: Path) -> None:
    members = {"a.png": picture(), "a.cls": b"\n", "b.png": picture(), "b.cls": b"y"}
    with pytest.raises(SourceError, match=r"1 images have no class \(a\.png has an empty \.cls beside it\)"):
        classes(tarred(tmp_path / "a.tar", members))


@pytest.mark.parametrize("labels", [[1.0, np.nan, 2.0], ["a", "", "b"]])
def test_an_image_of_an_array_without_a_class_is_named(labels: list[object], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((3, 8, 8), 9, np.uint8), labels=np.array(labels))
    with pytest.raises(SourceError, match="1 of 3 images have no class, the first is image 2"):
        classes(tmp_path / "a.npz")


def test_measures_of_an_array_are_no_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((3, 8, 8), 9, np.uint8), y=np.array([1.5, 2.0, 3.0]))
    with pytest.raises(SourceError, match=r"y of .* holds measures, not classes"):
        classes(tmp_path / "a.npz")


def test_folders_do_not_stand_in_for_sidecars_with_gaps(tmp_path: Path) -> None:
    members = {"cats/a.png": picture(), "cats/a.json": b'{"label": "x"}', "dogs/b.png": picture()}
    with pytest.raises(SourceError, match=r"empty for 1 of 2 images\), the first dogs/b\.png"):
        classes(tarred(tmp_path / "a.tar", members))


# -- one class ---------------------------------------------------------------------------------


def test_blanks_and_marks_around_a_class_part_nothing(tmp_path: Path) -> None:
    table = "file_name, label\na.png, cat\nb.png,cat\n"
    root = filed(tmp_path, {"a.png": picture(), "b.png": picture(), "metadata.csv": table})
    assert set(classes(root).values()) == {"cat"}
    members = {"a.png": picture(), "a.cls": b"\xef\xbb\xbfcat", "b.png": picture(), "b.cls": b"cat\n"}
    assert set(classes(tarred(tmp_path / "a.tar", members)).values()) == {"cat"}


def test_what_macos_keeps_beside_sidecars_is_not_read(tmp_path: Path) -> None:
    members = {"a.png": picture(), "._a.json": b"\0\5\x16\7", "a.json": b'{"label": "cat"}'}
    listing = source_of(str(tarred(tmp_path / "a.tar", members)), labels=True).listing()
    assert listing.skipped == ()
    assert listing.truth is not None
    assert listing.truth.class_names == ("cat",)


def test_two_classes_of_one_image_are_refused_and_the_same_twice_is_not(tmp_path: Path) -> None:
    root = filed(tmp_path, {"a.png": picture(), "b.png": picture()})
    filed(root, {"t.csv": "path,label\na.png,x\n./a.png,y\nb.png,z\n", "u.csv": "path,label\na.png,x\na.png,x\n"})
    with pytest.raises(SourceError, match="two classes for one image, 'x' in row 1 and 'y' in row 2"):
        classes(root / "t.csv")
    assert len(source_of(str(root / "t.csv")).listing().names) == 2
    assert classes(root / "u.csv") == {"a.png": "x"}


def test_both_forms_of_an_accent_are_one_class(tmp_path: Path) -> None:
    names = ["Caf\u00e9/1.png", "Cafe\u0301/2.png", "dogs/3.png"]
    assert set(classes(zipped(tmp_path / "a.zip", names)).values()) == {"Caf\u00e9", "dogs"}


# -- pictures ----------------------------------------------------------------------------------


def test_a_damaged_first_picture_does_not_make_masks_the_images(tmp_path: Path) -> None:
    tables = {"image": [b"damaged", picture(3), picture(4)], "mask": [picture(1)] * 3}
    pd.DataFrame(tables).to_parquet(tmp_path / "a.parquet")
    source = source_of(str(tmp_path / "a.parquet"))
    listing = source.listing()
    assert source.reader()(listing.keys[1]) == picture(3)


@pytest.mark.parametrize("channels", [3, 4])
def test_an_array_of_one_image_is_not_taken_for_many(channels: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((48, 64, channels), np.uint8))
    with pytest.raises(SourceError, match="is a single image"):
        source_of(str(tmp_path / "a.npy")).listing()


def test_images_of_an_array_are_numbered_where_a_name_is_empty(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((2, 8, 8), 9, np.uint8), names=np.array(["x", ""]))
    listing = source_of(str(tmp_path / "a.npz")).listing()
    assert listing.names == ("image-000000", "image-000001")
    assert "some are equal or empty" in listing.notes[0]


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        ({"file_name": ["b.png", "a.png"]}, ("b.png", "a.png")),
        ({"path": ["x/1", "x/2"], "id": [7, 3]}, ("7", "3")),
        ({"id": ["same", "same"], "path": ["x/1", "x/2"]}, ("x/1", "x/2")),
        ({"id": ["a", None]}, ("row-0000000", "row-0000001")),
        ({"name": ["cat", "dog"]}, ("row-0000000", "row-0000001")),
    ],
)
def test_images_in_a_table_are_called_as_its_column_of_names_says(
    titles: dict[str, list[object]], names: tuple[str, ...], tmp_path: Path
) -> None:
    table = pd.DataFrame({"image": [picture(3), picture(4)], **titles})
    table.to_parquet(tmp_path / "a.parquet", row_group_size=1)
    assert source_of(str(tmp_path / "a.parquet")).listing().names == names


def test_names_of_an_array_are_of_the_same_split(tmp_path: Path) -> None:
    split = {"x_test": np.full((2, 8, 8), 9, np.uint8), "names": ["a", "b"], "names_test": ["c", "d"]}
    np.savez(tmp_path / "a.npz", **split)
    assert source_of(str(tmp_path / "a.npz")).listing().names == ("c", "d")


def test_classes_of_another_split_are_not_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=np.full((2, 8, 8), 9, np.uint8), y_train=[1, 2])
    with pytest.raises(SourceError, match="has none"):
        classes(tmp_path / "a.npz")


# -- where they come from ----------------------------------------------------------------------


def noted(source: Path) -> str:
    """The last note of a source that was opened with labels."""
    return open_source(str(source), size=8, labels=True).notes[-1]


def test_a_note_says_where_the_classes_come_from_with_an_example(tmp_path: Path) -> None:
    folders = filed(tmp_path / "folders", {"train/cat/1.png": picture(), "train/dog/1.png": picture(8)})
    assert noted(folders) == "the classes come from the names of folders: train/cat/1.png is 'cat'"
    table = filed(tmp_path / "table", {"1.png": picture(), "2.png": picture(8)})
    (table / "t.csv").write_text("path,target\n2.png,owl\n1.png,cat\n")
    assert noted(table / "t.csv") == "the classes come from the column target of t.csv: 2.png is 'owl'"
    samples = {"1.png": picture(), "1.cls": b"3", "2.png": picture(8), "2.cls": b"5"}
    assert noted(tarred(tmp_path / "s.tar", samples)) == "the classes come from the .cls files: 1.png is '3'"
    values = {"1.png": picture(), "1.json": b'{"label": "x"}', "2.png": picture(8), "2.json": b'{"label": "y"}'}
    told = "the classes come from the column label of the .json files: 1.png is 'x'"
    assert noted(tarred(tmp_path / "j.tar", values)) == told
    for name, tone in (("a", 9), ("b", 8)):
        tarred(tmp_path / "shards" / f"{name}.tar", {"1.png": picture(tone)})
    found = open_source(f"tar:{tmp_path / 'shards'}", size=8, labels=True)
    assert found.notes[-1] == "the classes come from the names of the tar files: a/1.png is 'a'"
    again = open_source(f"tar:{tmp_path / 'shards'}", size=8, labels=True)
    assert again.notes == found.notes, "also when the images are kept"


def test_sources_without_labels_or_with_known_classes_say_nothing(tmp_path: Path) -> None:
    folders = filed(tmp_path / "folders", {"cat/1.png": picture(), "dog/1.png": picture(8)})
    assert open_source(str(folders), size=8).notes == ()
    assert open_source("digits", labels=True).notes == ()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_masks_beside_images_are_neither_classes_nor_images(kind: str, tmp_path: Path) -> None:
    files = {
        f"{part}/{way}/{name}.png": picture(tone)
        for part, tone in (("train", 50), ("val", 60))
        for way, name in (("images", "1"), ("Images", "2"), ("masks", "1"), ("masks", "2"), ("masks", "3"))
    }
    place = filed(tmp_path / "set", files)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        place = tmp_path / "set.zip"
    elif kind == "tar":
        place = tarred(tmp_path / "set.tar", files)
    found = open_source(str(place), size=8)
    kept = [f"{part}/{name}" for part in ("train", "val") for name in ("Images/2.png", "images/1.png", "masks/3.png")]
    assert found.images.ids == tuple(kept), "the third mask is about no image"
    assert {one.name: one.reason for one in found.skipped}["val/masks/2.png"] == (
        "a picture about val/Images/2.png, not an image of its own"
    )
    assert len(found.skipped) == 4


def test_two_arrays_of_labels_have_to_say_the_same(tmp_path: Path) -> None:
    images, fine = np.zeros((6, 4, 4), np.uint8), np.array([0, 1, 2, 3, 4, 5])
    np.savez(tmp_path / "a.npz", images=images, labels=fine, y=fine // 2)
    with pytest.raises(SourceError, match=r"the arrays labels and y of .* say different things: keep one of them"):
        open_source(str(tmp_path / "a.npz"), labels=True)
    assert open_source(str(tmp_path / "a.npz")).truth is None
    named = np.array(["c", "b", "a"])[fine // 2]
    boxes, ten = np.ones((6, 4)), np.array(["a", "b", "c"])
    np.savez(tmp_path / "b.npz", images=images, labels=named, y=fine // 2, targets=boxes, classes=ten)
    found = open_source(str(tmp_path / "b.npz"), labels=True)
    assert found.truth is not None
    assert found.truth.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert found.notes[-1] == "the classes come from the array labels: image-000000 is 'c'"
