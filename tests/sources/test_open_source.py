from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.data.image_store import cache
from engine.data.pixel_file import SPARE_BYTES
from engine.data.skipped import Skipped
from engine.errors import SourceError
from engine.sources import folders
from engine.sources.open_source import Opened, open_source


def picture(path: Path, colour: Any = 128, mode: str = "L", side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, side), colour).save(path)
    return path


def opened(root: Path, **options: Any) -> Opened:
    return open_source(f"folder:{root}", size=4, **options)


def test_digits_are_1797_grey_images_of_ten_classes() -> None:
    found = open_source("digits")
    assert found.images.pixels.shape == (1797, 1, 8, 8)
    assert found.images.ids[:2] == ("digit-0000", "digit-0001")
    assert (found.images.pixels.min(), found.images.pixels.max()) == (0, 255)
    assert found.truth is not None
    assert found.truth.labels[:4].tolist() == [0, 1, 2, 3]
    assert found.truth.class_names == tuple("0123456789")
    assert not found.skipped


def test_a_folder_is_read_to_its_depth_and_sorted_by_path(tmp_path: Path) -> None:
    for name, grey in {"b.png": 2, "a/z.JPG": 1, "a/deep/x.bmp": 0, "c.tiff": 3}.items():
        picture(tmp_path / name, 60 * grey)
    (tmp_path / "notes.txt").write_text("not an image, and not called one")
    found = opened(tmp_path)
    assert found.images.ids == ("a/deep/x.bmp", "a/z.JPG", "b.png", "c.tiff")
    assert found.images.names == ["x.bmp", "z.JPG", "b.png", "c.tiff"]
    assert found.images.pixels[:, 0, 0, 0].tolist() == [0, 60, 120, 180]
    assert found.images.source == f"folder:{tmp_path}"
    assert found.truth is None
    assert not found.skipped


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".cache/c.png", "d/.e/f.png"):
        picture(tmp_path / name)
    assert opened(tmp_path).images.ids == ("a.png",)


def test_links_that_point_upwards_end_somewhere(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "b.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "linked.png").symlink_to(tmp_path / "a" / "b.png")
    assert opened(tmp_path).images.ids == ("a/b.png", "linked.png")


def test_files_that_differ_only_in_their_ending_are_two_images(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "sub/a.png"):
        picture(tmp_path / name)
    assert opened(tmp_path).images.ids == ("a.bmp", "a.png", "sub/a.png")


def test_images_of_any_size_come_out_at_the_size_asked(tmp_path: Path) -> None:
    for side in (1, 5, 60):
        picture(tmp_path / f"{side}.png", 77, side=side)
    pixels = opened(tmp_path).images.pixels
    assert pixels.shape == (3, 1, 4, 4)
    assert (pixels == 77).all()
    assert open_source(f"folder:{tmp_path}").images.size == (32, 32)


def test_one_coloured_image_makes_all_have_three_channels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    picture(tmp_path / "b.png", (1, 2, 3), "RGB")
    assert opened(tmp_path).images.pixels[:, :, 0, 0].tolist() == [[10, 10, 10], [1, 2, 3]]


def test_grey_is_what_looks_grey_however_it_is_stored(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (9, 9, 9), "RGB")
    picture(tmp_path / "b.png", (200, 0, 0, 0), "RGBA")
    picture(tmp_path / "c.gif", 30, "L")
    assert opened(tmp_path).images.pixels[:, :, 0, 0].tolist() == [[9], [255], [30]]


def test_subfolders_are_truth_only_when_asked(photos: Path) -> None:
    assert opened(photos).truth is None
    truth = opened(photos, labels=True).truth
    assert truth is not None
    assert truth.class_names == ("bars", "spots")
    assert truth.labels.tolist() == [0] * 20 + [1] * 20


def test_truth_takes_the_first_subfolder_as_the_class(tmp_path: Path) -> None:
    for name in ("cat/x/1.png", "cat/2.png", "dog/x/3.png"):
        picture(tmp_path / name)
    truth = opened(tmp_path, labels=True).truth
    assert truth is not None
    assert (truth.labels.tolist(), truth.class_names) == ([0, 0, 1], ("cat", "dog"))


def test_a_class_of_which_every_image_is_broken_is_no_class(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "2.png").write_bytes(b"")
    truth = opened(tmp_path, labels=True).truth
    assert truth is not None
    assert truth.class_names == ("cat",)


def test_labels_cannot_come_from_images_outside_the_class_folders(photos: Path) -> None:
    picture(photos / "stray.png")
    with pytest.raises(SourceError, match="but 1 images lie directly in it: move them"):
        opened(photos, labels=True)


def test_broken_files_are_listed_and_the_rest_is_used(photos: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "cut.jpg")
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:2000])
    (photos / "bars" / "text.png").write_text("this is no picture")
    (photos / "zero.png").touch()
    found = opened(photos)
    assert len(found.images) == 40
    assert [one.name for one in found.skipped] == ["bars/text.png", "cut.jpg", "zero.png"]
    assert found.skipped[0].reason == "not an image"
    assert "truncated" in found.skipped[1].reason
    assert found.skipped[2].reason == "the file is empty"


def test_a_bomb_among_good_images_is_listed_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", side=4)
    picture(tmp_path / "b.png", side=6)
    picture(tmp_path / "c.png", side=20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    reason = "more pixels than is safe to decode"
    assert opened(tmp_path).skipped == (Skipped("b.png", reason), Skipped("c.png", reason))


def test_a_file_without_read_permission_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png").chmod(0)
    forbid(monkeypatch, "open", tmp_path / "b.png")
    assert opened(tmp_path).skipped == (Skipped("b.png", "Permission denied"),)


def forbid(monkeypatch: pytest.MonkeyPatch, call: str, path: Path) -> None:
    """Makes a system call fail, because it would succeed for root, who may run these tests."""
    real = getattr(os, call)

    def refusing(where: Any, *more: Any, **named: Any) -> Any:
        if str(where) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(where, *more, **named)

    monkeypatch.setattr(os, call, refusing)


def test_odd_names_keep_their_images_and_ids(tmp_path: Path) -> None:
    names = sorted(["käse 猫 🐈.png", "two  spaces.png", 'it\'s "so".png', "=1+1.png", "a,b;c.png", "%s {}.png"])
    names.append("z" * 240 + ".png")
    for name in names:
        picture(tmp_path / name)
    assert opened(tmp_path).images.ids == tuple(names)


def test_a_name_that_is_no_utf8_becomes_text_that_json_can_hold(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(root)
    except OSError:
        pytest.skip("the file system takes no such names")
    picture(tmp_path / "a.png").rename(Path(os.fsdecode(root + b"/\xff.png")))
    with open(root + b"/bad\xff.png", "wb"):
        pass
    found = opened(Path(os.fsdecode(root)))
    assert found.images.ids == (r"\xff.png",)
    assert found.skipped == (Skipped(r"bad\xff.png", "the file is empty"),)
    assert found.images.source == f"folder:{tmp_path}/caf\\xe9"
    assert json.dumps([*found.images.ids, found.images.source], ensure_ascii=False).encode()
    assert found.images.fingerprint


def test_reading_tells_how_far_it_is(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    opened(photos, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder:{}/nowhere", "there is no folder .*nowhere: check the path"),
        ("folder:~nobody-of-this-name/x", "there is no folder ~nobody-of-this-name/x"),
        ("folder:{}/file.png", "file.png is a file: expected a folder of images"),
        ("folder:{}/empty", r"empty holds no image files \(.bmp, .*\): choose another folder"),
        ("folder:{}/broken", "none of the 2 images in .*broken can be read; the first is a.png: the file is"),
        ("folder:", "there is no folder or file folder:: check the path .other sources are folder:PATH"),
        ("photos", "there is no folder or file photos: check the path"),
        ("{}/nowhere", "there is no folder or file .*nowhere: check the path"),
        ("{}/notes.txt", "notes.txt is not a supported kind of file: expected a folder"),
        ("{}/metadata.csv", "metadata.csv describes a folder of images: open that folder"),
        ("cifar10:", "the path is missing after cifar10:: write cifar10:PATH, or cifar10 alone"),
        ("digits:x", "there is no folder or file digits:x: check the path"),
        ("cifar10:{}/nowhere", "there is no folder .*nowhere"),
        ("cifar10:{}/empty", "empty does not hold CIFAR-10: expected torchvision's"),
    ],
)
def test_a_source_without_images_is_refused_in_one_sentence(source: str, message: str, tmp_path: Path) -> None:
    picture(tmp_path / "file.png")
    for name in ("notes.txt", "metadata.csv"):
        (tmp_path / name).write_text("file_name\n")
    for folder in ("empty", "broken"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "a.png").touch()
    (tmp_path / "broken" / "b.png").write_text("no picture")
    with pytest.raises(SourceError, match=message):
        open_source(source.format(tmp_path))


def test_images_beyond_the_disk_are_refused_before_anything_is_decoded(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil._ntuple_diskusage(10**9, 10**9 - SPARE_BYTES, SPARE_BYTES + 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(SourceError, match=r"40 images of 4 × 4 pixels need .* choose a smaller"):
        opened(photos)
    assert not list((cache() / "images").glob("*/*"))


@pytest.mark.parametrize("size", [3, 1025])
def test_a_size_out_of_range_is_refused(size: int, photos: Path) -> None:
    with pytest.raises(SourceError, match=rf"size is {size}: allowed from 4 to 1024 pixels"):
        open_source(f"folder:{photos}", size=size)


def test_what_is_no_image_file_though_it_is_called_one_is_listed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = picture(tmp_path_factory.mktemp("elsewhere") / "secret.png", 99)
    picture(tmp_path / "good.png", 50)
    picture(tmp_path / "folder.jpg" / "inside.png", 60)
    (tmp_path / "out.png").symlink_to(elsewhere)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "linked").symlink_to(elsewhere.parent)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "page.jpg").write_text("<html><body>not found</body></html>")
    found = opened(tmp_path)
    assert found.images.ids == ("folder.jpg/inside.png", "good.png")
    assert {one.name: one.reason for one in found.skipped} == {
        "out.png": "a link to outside the folder: not followed",
        "gone.png": "No such file or directory",
        "loop.png": "Too many levels of symbolic links",
        "null.png": "not a regular file",
        "linked": "a link to a folder: not followed",
        "pipe.png": "not a regular file",
        "page.jpg": "not an image",
    }


def test_a_folder_without_read_permission_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "closed" / "b.png")
    forbid(monkeypatch, "scandir", tmp_path / "closed")
    assert opened(tmp_path).skipped == (Skipped("closed/", "Permission denied"),)


def test_names_that_read_the_same_are_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, grey in (("a.png", 10), ("b.png", 20)):
        picture(tmp_path / name, grey)
    monkeypatch.setattr(folders, "readable", lambda _: "same.png")
    found = opened(tmp_path)
    assert found.images.pixels[:, 0, 0, 0].tolist() == [10]
    assert found.skipped == (Skipped("same.png", "another image has the same name"),)


def test_names_with_line_breaks_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "two\nlines.png")
    assert opened(tmp_path).images.ids == ("two\nlines.png",)


def test_a_split_is_no_class(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "Test/cat/3.png"):
        picture(tmp_path / name)
    truth = opened(tmp_path, labels=True).truth
    assert truth is not None
    assert truth.class_names == ("cat", "dog")


@pytest.mark.parametrize("suffix", ["", ".zip", ".csv", ".npy"])
def test_a_path_alone_is_opened_as_what_it_is(suffix: str, photos: Path) -> None:
    place = photos.with_suffix(suffix) if suffix else photos
    if suffix == ".zip":
        shutil.make_archive(str(photos), "zip", photos)
    elif suffix == ".csv":
        place.write_text("file\n" + "\n".join(f"photos/{p.relative_to(photos)}" for p in photos.rglob("*.png")))
    elif suffix == ".npy":
        np.save(place, opened(photos).images.pixels)
    assert len(open_source(str(place)).images) == 40
