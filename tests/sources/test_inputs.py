"""What people bring: odd files, tables and archives end as the right image with the right label, or in a sentence."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine.data import decode_image
from engine.data.thumbnail_store import ThumbnailStore
from engine.errors import SourceError
from engine.sources.import_job import Asked
from engine.sources.open_source import Opened, open_source
from spice_explorer.queries.imports import UPLOADS
from tests.encoded_images import Encoded


def opened(source: object, **options: Any) -> Opened:
    return open_source(str(source), size=4, **options)


def tones(found: Opened) -> list[int]:
    return found.images.pixels[:, 0, 0, 0].tolist()


def classes(found: Opened) -> dict[str, str]:
    assert found.truth is not None
    named = [found.truth.class_names[label] for label in found.truth.labels]
    return dict(zip(found.images.ids, named, strict=True))


def reasons(found: Opened) -> dict[str, str]:
    return {one.name: one.reason for one in found.skipped}


def tarred(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def zipped(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def packed_as(kind: str, path: Path, *members: tuple[str, bytes]) -> Path:
    """The files in a folder, a zip or a tar."""
    if kind != "folder":
        return (zipped if kind == "zip" else tarred)(path.with_suffix(f".{kind}"), *members)
    path.mkdir()
    for name, content in members:
        (path / name).write_bytes(content)
    return path


# -- identity by name --------------------------------------------------------------------------


@pytest.mark.parametrize("titles", ["next_file_name,file_name,label", "label,file_name,next_file_name"])
@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_metadata_belongs_to_the_file_it_names(titles: str, kind: str, tmp_path: Path, encoded: Encoded) -> None:
    row = {"next_file_name": "bca", "file_name": "abc", "label": ["cat", "dog", "owl"]}
    lines = [titles]
    for place in range(3):
        cell = {"label": row["label"][place]} | {t: f"{row[t][place]}.png" for t in ("next_file_name", "file_name")}
        lines.append(",".join(cell[title] for title in titles.split(",")))
    members = [(f"{name}.png", encoded(10)) for name in "abc"] + [("metadata.csv", "\n".join(lines).encode())]
    path = packed_as(kind, tmp_path / "set", *members)
    assert classes(opened(path, labels=True)) == {"a.png": "cat", "b.png": "dog", "c.png": "owl"}


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    """0.png … 3.png in tones 10, 20, 30, 40."""
    for place in range(4):
        (tmp_path / f"{place}.png").write_bytes(encoded(10 * place + 10))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("file_name;label\n0.png;a\n1.png;b\n2.png;a\n3.png;b\n", "abab"),
        ("\ufefffile_name,label\n./0.png,a\n.\\1.png,b\n 2.png ,a\n3.png,b\n", "abab"),
        ("file_name,label\n0.png,a\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n", "abab"),
        ("file_name,label\n0.png,a\n1.png,b\n,c\n,d\n2.png,e\n3.png,f\n", "abef"),
        ("file_name,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n9.png,z\n", "abab"),
    ],
    ids=["semicolons", "spellings", "doubled", "nameless", "more"],
)
def test_metadata_is_read_where_it_is_clear(text: str, labels: str, folder: Path) -> None:
    (folder / "metadata.csv").write_text(text)
    found = opened(folder, labels=True)
    assert "".join(classes(found).values()) == labels
    told = "the classes come from the column label of metadata.csv: 0.png is 'a'"
    assert found.notes[-1] == told
    if "9.png" in text:
        assert found.notes[:-1] == ("metadata.csv names 1 files that are not there or no image, the first 9.png",)
    if ",c" in text:
        assert found.notes[:-1] == ("metadata.csv names no file in 2 of its rows, which are not used",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file_name,label\n0.png,a\n1.png,b\n2.png,a\n",
            r"column 'label' is empty for 1 of 4 images\), the first 3\.png",
        ),
        ("0.png,a\n1.png,b\n2.png,a\n3.png,b\n", r"metadata\.csv cannot be used: it has no header"),
        ("file_name,label\n0.png,a\n0.png,b\n", r"metadata\.csv cannot be used: .* several rows for '0\.png'"),
    ],
)
def test_metadata_that_gives_no_labels_names_the_cause(text: str, message: str, folder: Path) -> None:
    (folder / "metadata.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        opened(folder, labels=True)


def test_paths_come_from_the_titled_column_and_two_others_are_refused(folder: Path) -> None:
    (folder / "t.csv").write_text("mask,image\n3.png,0.png\n2.png,1.png\n")
    assert tones(opened(folder / "t.csv")) == [10, 20]
    (folder / "t.csv").write_text("left,right\n3.png,0.png\n2.png,1.png\n")
    with pytest.raises(SourceError, match="2 columns that hold paths of images, 'left' and 'right'"):
        opened(folder / "t.csv")
    (folder / "t.csv").write_text("file_name,path\nnone.png,0.png\nno.png,1.png\n")
    assert tones(opened(folder / "t.csv")) == [10, 20]


def nested(contents: list[bytes | None], names: list[str]) -> list[dict[str, Any]]:
    return [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]


def test_pictures_come_from_the_column_that_holds_them(tmp_path: Path, encoded: Encoded) -> None:
    images, masks = [encoded(10), encoded(20)], [encoded(90), encoded(91)]
    hashes = [hashlib.sha256(one).digest() for one in images]
    for table in (
        {"sha256": hashes, "image": images},
        {"sha256": hashes, "shot": images},
        {"mask": nested([*masks], ["m0.png", "m1.png"]), "image": nested([*images], ["0.png", "1.png"])},
    ):
        pd.DataFrame(table).to_parquet(tmp_path / "t.parquet")
        assert tones(opened(tmp_path / "t.parquet")) == [10, 20]
    pd.DataFrame({"left": images, "right": masks}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="2 columns that hold images, 'left' and 'right'"):
        opened(tmp_path / "t.parquet")


def test_parquet_may_hold_paths_in_place_of_pictures_and_bytes_as_labels(folder: Path) -> None:
    names = ["0.png", "1.png"]
    pd.DataFrame({"image": nested([None, None], names), "label": [b"cat", b"dog"]}).to_parquet(folder / "t.parquet")
    found = opened(folder / "t.parquet", labels=True)
    assert tones(found) == [10, 20]
    assert classes(found) == {"0.png": "cat", "1.png": "dog"}


def test_rows_with_one_path_are_as_many_images(tmp_path: Path, encoded: Encoded) -> None:
    images = nested([encoded(10), encoded(20), encoded(30)], ["row-0000001", "same.png", "same.png"])
    images.append({"bytes": encoded(40), "path": None})
    pd.DataFrame({"image": images}).to_parquet(tmp_path / "t.parquet")
    found = opened(tmp_path / "t.parquet")
    assert tones(found) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("k.png", "k.seg.png", "k.cls"), {"k.png": "7"}),
        (("k.seg.png", "k.image.png", "k.cls"), {"k.image.png": "7"}),
        (("k.left.png", "k.right.png", "k.cls"), {"k.left.png": "7", "k.right.png": "7"}),
        (("k.5 x.png", "k.5 x.cls"), {"k.5 x.png": "7"}),
        (("k.PNG", "k.CLS"), {"k.PNG": "7"}),
    ],
    ids=["mask", "named", "stereo", "dots", "capitals"],
)
def test_a_sample_gives_its_class_to_its_image(
    members: tuple[str, ...], expected: dict[str, str], tmp_path: Path, encoded: Encoded
) -> None:
    contents = [(name, b"7" if name.lower().endswith("cls") else encoded(10)) for name in members]
    found = opened(f"webdataset:{tarred(tmp_path / 'a.tar', *contents)}", labels=True)
    assert classes(found) == expected
    pictures = {name for name in members if name.lower().endswith("png")}
    assert set(reasons(found)) == pictures - expected.keys()


def test_masks_without_a_class_are_no_images_of_a_webdataset_but_are_in_a_tar(tmp_path: Path, encoded: Encoded) -> None:
    path = tarred(tmp_path / "a.tar", ("k.png", encoded(1)), ("k.seg.png", encoded(2)))
    assert opened(f"webdataset:{path}").images.ids == ("k.png",)
    assert opened(path).images.ids == ("k.png", "k.seg.png")


def test_what_lies_beside_the_images_of_a_tar_and_is_not_used_is_said(tmp_path: Path, encoded: Encoded) -> None:
    path = tarred(tmp_path / "a.tar", ("a.png", encoded(1)), ("a.json", b"3"), ("a.txt", b"a caption"))
    found = opened(path)
    assert "holds no JSON object" in reasons(found)["a.json"]
    assert found.notes == ("1 .txt files beside the images are not read",)
    with pytest.raises(SourceError, match=r"a\.json cannot be used: holds no JSON object"):
        opened(path, labels=True)


# -- names whole and unique --------------------------------------------------------------------


@pytest.mark.parametrize("places", [("set.v1-0.tar", "set.v1-1.tar"), ("train/part-0.tar", "test/part-0.tar")])
def test_shards_keep_folder_and_stem(places: tuple[str, str], tmp_path: Path, encoded: Encoded) -> None:
    for name, place in zip(("cat", "dog"), places, strict=True):
        members = [(f"{i}.png", encoded(10)) for i in range(2)] + [(f"{i}.cls", name.encode()) for i in range(2)]
        tarred(tmp_path / place, *members)
    pattern = "webdataset:{}/*/part-0.tar" if "/" in places[0] else "webdataset:{}"
    found = opened(pattern.format(tmp_path), labels=True)
    stems = [place.removesuffix(".tar") for place in places]
    assert classes(found) == {f"{s}/{i}.png": c for s, c in zip(stems, ("cat", "dog"), strict=True) for i in range(2)}
    assert not found.skipped


def test_a_shard_that_is_missing_is_said(tmp_path: Path, encoded: Encoded) -> None:
    for place in (0, 2):
        tarred(tmp_path / f"s-{place}.tar", ("a.png", encoded(10 + place)))
    found = opened(f"webdataset:{tmp_path}/s-{{0..2}}.tar")
    assert found.images.ids == ("s-0/a.png", "s-2/a.png")
    assert found.notes == (f"1 of the tar files are not there, the first {tmp_path}/s-1.tar",)


def test_of_two_members_of_one_name_the_last_counts_for_all(tmp_path: Path, encoded: Encoded) -> None:
    rows = [b"file_name,n\na.png,1\n", b"file_name,n\na.png,2\n"]
    members = [("a.png", encoded(10)), ("a.cls", b"old"), ("a.json", b'{"age": 1}'), ("metadata.csv", rows[0])]
    members += [("./a.png", encoded(20)), ("a.cls", b"new"), ("a.json", b'{"age": 2}'), ("metadata.csv", rows[1])]
    found = opened(tarred(tmp_path / "a.tar", *members), labels=True)
    assert tones(found) == [20]
    assert classes(found) == {"a.png": "new"}
    assert [(one.title, one.names) for one in found.columns] == [("age", ("2",)), ("n", ("2",))]
    assert "the last one is used" in reasons(found)["a.png"]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.zip", ("x/a.png", encoded(10)), ("x/a.png", encoded(20)))
    assert tones(opened(path)) == [20]


# -- the cache ---------------------------------------------------------------------------------


def swap(one: Path, other: Path) -> None:
    """Exchanges two files, which keep their times."""
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def overwrite(one: Path, other: Path) -> None:
    """Writes the content of another file into `one`, whose time is set back."""
    before = one.stat()
    one.write_bytes(other.read_bytes())
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))


def restore(one: Path, other: Path) -> None:
    """Replaces `one` by a copy of another, with the time that `one` had."""
    before = one.stat()
    one.unlink()
    shutil.copyfile(other, one)
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))


def bmp(path: Path, tone: int) -> Path:
    """All of these have the same size."""
    Image.new("L", (400, 300), tone).save(path, "BMP")
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.mark.parametrize("change", [swap, overwrite, restore])
def test_a_file_that_is_another_shows_its_own_pixels(change: Any, tmp_path: Path) -> None:
    place = tmp_path / "set"
    place.mkdir()
    one, other = bmp(place / "a.bmp", 10), bmp(place / "b.bmp", 200)
    before = opened(place)
    assert tones(before) == [10, 200]
    change(one, other)
    after = opened(place)
    assert tones(after)[0] == 200
    assert before.stamps is not None
    assert after.stamps is not None
    assert before.origin is not None
    with ThumbnailStore(before.origin.place) as store:
        (shown,) = store.bodies(["a.bmp"], after.stamps[:1])
    assert shown is not None
    assert np.asarray(Image.open(io.BytesIO(shown))).mean() == pytest.approx(200, abs=2)


@pytest.mark.parametrize("change", [swap, overwrite, restore])
@pytest.mark.parametrize("kind", ["tar", "npy", "csv"])
def test_so_does_an_archive_an_array_and_a_table(change: Any, kind: str, tmp_path: Path) -> None:
    paths = []
    for number, tone in enumerate((10, 200)):
        path, image = tmp_path / f"{number}.{kind}", bmp(tmp_path / f"{number}.bmp", tone)
        if kind == "tar":
            tarred(path, ("a.bmp", image.read_bytes()))
        elif kind == "npy":
            np.save(path, np.full((1, 4, 4), tone, np.uint8))
        else:
            path.write_text(f"path\n{number}.bmp\n")
        os.utime(path, ns=(10**18, 10**18))
        paths.append(path if kind != "csv" else image)
    source = tmp_path / f"0.{kind}"
    assert tones(opened(source)) == [10]
    change(*paths)
    assert tones(opened(source)) == [200]


# -- nothing is passed over in silence ---------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "form"),
    [
        *((one, "JPEG") for one in ("jpe", "jfif", "jif", "pjpeg", "JPG", "JPE")),
        *(("dib", "BMP"), ("TIFF", "TIFF"), ("apng", "PNG"), ("pgm", "PPM"), ("pnm", "PPM"), ("jp2", "JPEG2000")),
        ("avif", "AVIF"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "csv"])
def test_images_are_read_by_any_of_their_endings(
    ending: str, form: str, kind: str, tmp_path: Path, encoded: Encoded
) -> None:
    if form not in decode_image.FORMATS:
        pytest.skip("this Pillow does not read it")
    (tmp_path / "set").mkdir()
    content = encoded(120, form, side=16)
    if kind in ("folder", "csv"):
        (tmp_path / "set" / f"a.{ending}").write_bytes(content)
        (tmp_path / "set" / "t.csv").write_text(f"path\na.{ending}\n")
        path = tmp_path / "set" / ("t.csv" if kind == "csv" else "")
    else:
        path = (zipped if kind == "zip" else tarred)(tmp_path / f"a.{kind}", (f"a.{ending}", content))
    assert tones(opened(path))[0] == pytest.approx(120, abs=3)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_every_file_that_may_be_an_image_is_read_or_listed_with_a_cure(
    kind: str, tmp_path: Path, encoded: Encoded
) -> None:
    members = [
        ("plain.png", encoded(10)),
        ("IMG_0001", encoded(20, "JPEG")),
        ("scan.1", encoded(30)),
        ("README", b"a text"),
        ("notes.txt", encoded(40)),
        ("raw.CR2", b"II*\0"),
        ("draw.svg", b"<svg/>"),
        ("icon.ico", b"\0\0\1\0"),
        ("deep.jxl", b"\xff\x0a"),
    ]
    path = packed_as(kind, tmp_path / "a", *members)
    found = opened(path)
    assert found.images.ids == ("IMG_0001", "plain.png")
    assert reasons(found) == {
        "scan.1": "a PNG with the ending .1: rename it to .png",
        "raw.CR2": "a camera's raw file: convert it to PNG or JPEG",
        "draw.svg": "a drawing (SVG), not pixels: convert it to PNG or JPEG",
        "icon.ico": "ICO is not read: convert it to PNG or JPEG",
        "deep.jxl": "JPEG XL is not read: convert it to PNG or JPEG",
    }


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_names_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_image, "_has_heif", lambda: False)
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(SourceError, match="HEIC is read after “pip install pillow-heif” and a restart; or convert it"):
        opened(tmp_path)


def test_heic_is_read_where_its_plug_in_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 64), (200, 200, 200))).save(tmp_path / "a.heic")
    assert tones(opened(tmp_path))[0] == pytest.approx(200, abs=3)


def test_pages_and_frames_are_counted(tmp_path: Path) -> None:
    first, more = Image.new("RGB", (9, 9), (10, 10, 10)), [Image.new("RGB", (9, 9), (t, 0, 0)) for t in (90, 180)]
    for name, form in (("a.webp", "WEBP"), ("b.gif", "GIF"), ("c.png", "PNG"), ("d.tif", "TIFF")):
        first.save(tmp_path / name, form, save_all=True, append_images=more, lossless=True)
    first.save(tmp_path / "e.tif")
    note = "of files with several pages or frames, only the first is used: a.webp has 3, and 3 more"
    found = opened(tmp_path)
    assert tones(found) == [10] * 5
    assert found.notes == (note,)
    first.save(tmp_path / "f.png")  # the others are not decoded again
    assert opened(tmp_path).notes == (note,)


def test_a_folder_of_links_says_why_none_is_used(tmp_path: Path, encoded: Encoded) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for place in range(3):
        (tmp_path / "blobs" / f"{place}").write_bytes(encoded(10 * place))
        (tmp_path / "snapshot" / f"{place}.png").symlink_to(tmp_path / "blobs" / f"{place}")
    message = (
        r"none of the 3 files .* 0\.png: a link to outside the folder: not followed \(and 2 more\)\. Name the folder"
    )
    with pytest.raises(SourceError, match=message):
        opened(tmp_path / "snapshot")
    assert tones(opened(tmp_path / "blobs")) == [0, 10, 20]


def test_a_folder_of_other_files_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match=r"it has other files: 2 \.parquet, 1 \.txt; a table, an archive"):
        opened(tmp_path)


def test_other_splits_of_an_npz_are_said_and_labels_are_of_the_same_split(tmp_path: Path) -> None:
    x, y = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "a.npz", x_test=x[:2], y=y[::-1], x_train=x, y_train=y[:, None])
    found = opened(tmp_path / "a.npz", labels=True)
    told = "the classes come from the array y_train: image-000000 is '0'"
    assert found.notes == ("of a.npz, only the array x_train is read, not x_test (2)", told)
    assert list(classes(found).values()) == ["0", "1", "2"] * 2
    np.savez(tmp_path / "b.npz", train_images=x, val_images=x[:1], train_labels=np.eye(3)[y])
    assert list(classes(opened(tmp_path / "b.npz", labels=True)).values()) == ["0", "1", "2"] * 2


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (np.array(["a", "b"]), r"its names are not used .*of shape \(2,\): expected one each"),
        (np.array(["a"] * 6), "its names are not used, because some are equal"),
        (np.array([f"{i}" for i in range(6)], object), "its names are not used .*Python objects"),
    ],
)
def test_names_of_an_npz_never_make_it_fail(names: np.ndarray, note: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((6, 4, 4), np.uint8), names=names)
    found = opened(tmp_path / "a.npz")
    assert found.images.ids[0] == "image-000000"
    (said,) = found.notes
    assert re.match(note, said)


# -- headers and names -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0.png,cat\n1.png,dog\n2.png,owl\n3.png,cat\n", "0.png\n1.png\n2.png\n3.png\n"])
def test_a_table_without_a_header_loses_no_image(text: str, folder: Path) -> None:
    (folder / "list.csv").write_text(text)
    found = opened(folder / "list.csv")
    assert tones(found) == [10, 20, 30, 40]
    assert found.notes == ("list.csv has no header: its first line is read as data, and its columns are numbered",)
    with pytest.raises(SourceError, match="without a header: put a first line such as path,label"):
        opened(folder / "list.csv", labels=True)


@pytest.mark.parametrize(
    "labels", ["007 07 7 010", "1e5 1E05 100000 2e3", "NA None null nan", "1 2 cat 1.0", "0x10 16 1_6 ٣", "-1 0 1 1"]
)
def test_classes_of_a_table_stay_as_they_were_written(labels: str, folder: Path) -> None:
    lines = [f"{place}.png,{one}\n" for place, one in enumerate(labels.split())]
    (folder / "t.csv").write_text("path,label\n" + "".join(lines))
    assert list(classes(opened(folder / "t.csv", labels=True)).values()) == labels.split()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["cat", "dog"], "S"), ["cat", "dog"]),
        (np.array([1.0, 0.0], np.float32), ["1", "0"]),
        (np.array(["007", "07"]), ["007", "07"]),
        (np.array([[3], [4]]), ["3", "4"]),
    ],
)
def test_classes_and_names_of_an_npz_are_text(labels: np.ndarray, names: list[str], tmp_path: Path) -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels, names=np.array(["0001", "1e5"], "S"))
    assert classes(opened(tmp_path / "a.npz", labels=True)) == dict(zip(("0001", "1e5"), names, strict=True))


def test_class_folders_do_not_stand_in_for_metadata_that_contradicts_itself(tmp_path: Path, encoded: Encoded) -> None:
    for name in ("x/a.png", "y/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encoded(10))
    (tmp_path / "metadata.csv").write_text("file_name,label\nx/a.png,cat\nx/a.png,dog\ny/b.png,owl\n")
    with pytest.raises(SourceError, match=r"metadata\.csv cannot be used: .*several rows for 'x/a\.png'"):
        opened(tmp_path, labels=True)
    assert len(opened(tmp_path).images) == 2


def test_masks_of_0_and_1_are_black_and_white_in_an_array(tmp_path: Path) -> None:
    mask = np.array([[[0, 1], [1, 0]]] * 3, np.uint8)
    for name, array, white in (("a", mask, 255), ("b", np.concatenate([mask, 2 * mask]), 1), ("c", mask[:1] * 0, 0)):
        np.save(tmp_path / f"{name}.npy", array)
        found = open_source(str(tmp_path / f"{name}.npy")).images.pixels[0, 0]
        assert found.tolist() == (array[0] * white).tolist()


# -- what people type ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["'{}'", '"{}"', " {} ", "file://{}", "file://localhost{}", "folder:'{}'", "'file://{}'"]
)
def test_a_path_is_opened_as_people_copy_it(form: str, tmp_path: Path, encoded: Encoded) -> None:
    place = tmp_path / "my photos"
    place.mkdir()
    (place / "a.png").write_bytes(encoded(10))
    named = str(place).replace(" ", "%20") if "file:" in form else str(place)
    assert tones(opened(form.format(named))) == [10]
    assert Asked(form.format(named)) == Asked(str(place)) or form.startswith("folder:")


def test_a_name_with_quotes_is_the_file_of_that_name(
    tmp_path: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "'a'").mkdir()
    (tmp_path / "'a'" / "x.png").write_bytes(encoded(10))
    monkeypatch.chdir(tmp_path)
    assert tones(opened("'a'")) == [10]


def test_a_single_image_names_its_folder(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"0\.png is one image: open the folder that it is in"):
        opened(folder / "0.png")


@pytest.mark.parametrize(
    "ending", ["TAR", "Tar.GZ", "tgz", "tbz2", "txz", "ZIP", "CSV", "tsv", "JSONL", "ndjson", "NPZ"]
)
def test_archives_and_tables_are_opened_by_endings_in_any_case(ending: str, folder: Path, encoded: Encoded) -> None:
    path, modes = folder / f"set.{ending}", {"gz": "w:gz", "tgz": "w:gz", "tbz2": "w:bz2", "txz": "w:xz"}
    kind = ending.lower().rpartition(".")[2]
    if kind == "zip":
        zipped(path, ("0.png", encoded(10)))
    elif kind == "npz":
        np.savez(folder / "x.npz", np.full((1, 4, 4), 10, np.uint8))
        (folder / "x.npz").rename(path)
    elif kind in ("csv", "tsv"):
        path.write_text("path\tn\n0.png\t1\n")
    elif kind in ("jsonl", "ndjson"):
        path.write_text('{"path": "0.png"}\n')
    else:
        with tarfile.open(path, modes.get(kind, "w")) as archive:  # type: ignore[call-overload]
            archive.add(folder / "0.png", "0.png")
    assert tones(opened(path)) == [10]
    assert any(f".{kind}".endswith(f".{one}") for one in UPLOADS)
