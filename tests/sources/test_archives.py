from __future__ import annotations

import io
import json
import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import SourceError
from engine.formats.bounds import SPARE_DISK, Growth
from engine.sources import tars, zips
from engine.sources.open_source import Opened, open_source
from tests.encoded_images import Encoded


def zipped(path: Path, **members: bytes) -> Path:
    """A zip of members; a double underscore in a name stands for a slash."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def opened(source: object, **options: Any) -> Opened:
    return open_source(str(source), size=4, **options)


def reasons(found: Opened) -> dict[str, str]:
    return {one.name: one.reason for one in found.skipped}


def tones(found: Opened) -> list[int]:
    return found.images.pixels[:, 0, 0, 0].tolist()


# -- zip ---------------------------------------------------------------------------------------


def test_a_zip_is_read_without_unpacking_it(tmp_path: Path, encoded: Encoded) -> None:
    path = zipped(
        tmp_path / "a.zip", **{"b/two.png": encoded(20), "a/one.jpg": encoded(10, "JPEG"), "notes.txt": b"no image"}
    )
    found = opened(path, labels=True)
    assert found.images.ids == ("a/one.jpg", "b/two.png")
    assert tones(found) == [10, 20]
    assert found.truth is not None
    assert found.truth.class_names == ("a", "b")
    assert not found.skipped
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


def test_members_that_lead_out_hide_or_repeat_are_listed_and_nothing_is_written(
    tmp_path: Path, encoded: Encoded
) -> None:
    path = tmp_path / "inside" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../slip.png", "/root.png", "c:/disk.png", "ok.png", "x/../up.png"):
            archive.writestr(name, encoded(30))
        archive.writestr("more.zip", b"PK")
        archive.writestr("__MACOSX/ok.png", b"")
        archive.writestr(".hidden.png", b"")
        archive.writestr("folder.png/", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("ok.png", encoded(40))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    found = opened(path)
    assert found.images.ids == ("ok.png",)
    assert tones(found) == [40]
    leads = "its path leads outside the archive"
    assert reasons(found) == {
        "../slip.png": leads,
        "/root.png": leads,
        "c:/disk.png": leads,
        "x/../up.png": leads,
        "more.zip": "an archive inside the archive: unpack it first",
        "ok.png": "the archive has this name again: the last one is used",
        "link.png": "a link, not an image",
    }
    assert [one.name for one in tmp_path.rglob("*")] == ["inside", "a.zip"]


def test_encrypted_members_are_listed_and_the_others_used(tmp_path: Path, encoded: Encoded) -> None:
    path = zipped(tmp_path / "a.zip", **{"a.png": encoded(1), "b.png": encoded(2)})
    content = bytearray(path.read_bytes())
    first = content.index(b"PK\x01\x02")  # the first entry of the directory
    content[first + 8] |= 1
    path.write_bytes(content)
    found = opened(path)
    assert found.images.ids == ("b.png",)
    assert reasons(found) == {"a.png": "encrypted: unpack the archive with its password"}


def test_a_member_that_grows_beyond_measure_is_not_unpacked(
    tmp_path: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "ZIP", Growth(200, 10_000))
    path = zipped(tmp_path / "a.zip", **{"bomb.png": bytes(3_000_000), "ok.png": encoded(9)})
    found = opened(path)
    assert found.images.ids == ("ok.png",)
    assert reasons(found) == {"bomb.png": "would unpack to 3 MB, too much for an image"}


def test_a_damaged_member_does_not_harm_the_others(tmp_path: Path, encoded: Encoded) -> None:
    path = zipped(tmp_path / "a.zip", **{"a.png": encoded(1, side=40), "b.png": encoded(2)})
    content = bytearray(path.read_bytes())
    content[40:50] = b"0123456789"
    path.write_bytes(content)
    found = opened(path)
    assert found.images.ids == ("b.png",)
    assert reasons(found)["a.png"].startswith("damaged in the archive (")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"<html>"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.zip cannot be read as a zip archive"):
        opened(tmp_path / "a.zip")


def test_a_zip_without_images_says_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", **{"a.txt": b"", "in.zip": b""})
    with pytest.raises(SourceError, match=r"no usable image files .* the first it holds is in\.zip"):
        opened(path)
    with pytest.raises(SourceError, match=r"no usable image files \([^)]*\)$"):
        opened(zipped(tmp_path / "b.zip", **{"a.txt": b""}))


# -- tar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("tar.bz2", "w:bz2")]
)
def test_a_tar_is_read_plain_or_compressed(ending: str, mode: str, tmp_path: Path, encoded: Encoded) -> None:
    members = {"train/b/2.png": encoded(20), "train/a/1.png": encoded(10), "train/x.txt": b"text"}
    path = tarred(tmp_path / f"a.{ending}", members, mode)
    found = opened(path, labels=True)
    assert found.images.ids == ("train/a/1.png", "train/b/2.png")
    assert tones(found) == [10, 20]
    assert found.truth is not None
    assert found.truth.class_names == ("a", "b")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_links_devices_and_names_that_lead_out_of_a_tar_are_listed(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in {
            "link.png": tarfile.SYMTYPE,
            "fifo.png": tarfile.FIFOTYPE,
            "dev.png": tarfile.CHRTYPE,
            "hard.png": tarfile.LNKTYPE,
        }.items():
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
        for name in ("../up.png", "ok.png"):
            about = tarfile.TarInfo(name)
            about.size = len(encoded(5))
            archive.addfile(about, io.BytesIO(encoded(5)))
    found = opened(path)
    assert found.images.ids == ("ok.png",)
    assert reasons(found) == {
        **dict.fromkeys(("link.png", "fifo.png", "dev.png", "hard.png"), "a link or a device, not an image"),
        "../up.png": "its path leads outside the archive",
    }


def test_what_is_before_the_cut_of_a_tar_is_used(tmp_path: Path, encoded: Encoded) -> None:
    path = tarred(tmp_path / "a.tar", {f"{i}.png": encoded(i, side=60) for i in range(1, 5)})
    path.write_bytes(path.read_bytes()[: 512 * 7])
    found = opened(path)
    assert set(found.images.ids) < {"1.png", "2.png", "3.png", "4.png"}
    assert tones(found) == [int(name[0]) for name in found.images.ids]
    assert any("truncated" in one.reason for one in found.skipped)


def test_a_compressed_tar_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "TAR", Growth(2, 10_000))
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(bytes(10**7)))
    with pytest.raises(SourceError, match=r"a\.tar\.xz unpacks to more than .*: unpack it to a folder"):
        opened(tmp_path / "a.tar.xz")


def test_a_compressed_tar_needs_no_more_room_than_it_takes(
    tmp_path: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SPARE_DISK + 10_240  # the least size of a tar
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    path = tarred(tmp_path / "a.tar.gz", {"a.png": encoded(1)}, "w:gz")
    assert tars.TarSource("tar", str(path)).listing().names == ("a.png",)
    free -= 1
    place = re.escape(tempfile.gettempdir())
    with pytest.raises(SourceError, match=rf"a\.tar\.gz cannot be unpacked: only 67 MB are free in {place}; free some"):
        tars.TarSource("tar", str(path)).listing()


def test_webdataset_shards_bring_classes_and_columns(tmp_path: Path, encoded: Encoded) -> None:
    for shard in range(2):
        members = {}
        for i in range(2):
            tone = 10 * (2 * shard + i) + 10
            members |= {
                f"k{i}.png": encoded(tone),
                f"k{i}.cls": str(10 * i).encode(),
                f"k{i}.json": json.dumps({"place": f"p{shard}", "deep": [1]}).encode(),
            }
        tarred(tmp_path / f"set-{shard:03d}.tar", members)
    names = ("set-000/k0.png", "set-000/k1.png", "set-001/k0.png", "set-001/k1.png")
    for place in (tmp_path, tmp_path / "set-{000..001}.tar", tmp_path / "set-*.tar"):
        found = opened(f"webdataset:{place}", labels=True)
        assert found.images.ids == names
        assert tones(found) == [10, 20, 30, 40]
        assert found.truth is not None
        assert (found.truth.class_names, found.truth.labels.tolist()) == (("0", "10"), [0, 1, 0, 1])
        (column,) = found.columns
        assert column.names is not None
        assert [column.names[value] for value in column.values] == ["p0", "p0", "p1", "p1"]


def test_a_dot_before_the_names_of_a_tar_parts_nothing(tmp_path: Path, encoded: Encoded) -> None:
    members = {}
    for i in range(2):
        members |= {
            f"./{i}/k\udcff.json": json.dumps({"mood": f"m{i}"}).encode(),
            f"./{i}/k\udcff.png": encoded(10 + i),
            f"./{i}/k\udcff.cls": str(1 - i).encode(),
        }
    found = opened(tarred(tmp_path / "a.tar", members), labels=True)
    assert found.images.ids == ("0/k\\xff.png", "1/k\\xff.png")
    assert found.truth is not None
    assert found.truth.labels.tolist() == [1, 0]
    (column,) = found.columns
    assert column.names == ("m0", "m1")


def test_an_image_without_a_class_among_others_is_named(tmp_path: Path, encoded: Encoded) -> None:
    members = {"a.png": encoded(1), "a.cls": b"1", "b.png": encoded(2)}
    path = tarred(tmp_path / "a.tar", members)
    with pytest.raises(SourceError, match=r"1 images have no class \(b\.png has no \.cls beside it\)"):
        opened(path, labels=True)
    assert len(opened(path).images) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("webdataset:{}", "contains no tar files: expected WebDataset shards"),
        ("webdataset:{}/x-{{0..3}}.tar", "there are no files .*: check the pattern"),
        ("tar:{}/no.tar", "there is no file .*no.tar"),
        ("tar:{}/text.tar", "text.tar cannot be read as a tar archive"),
    ],
)
def test_a_tar_that_is_not_there_is_refused(source: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (tmp_path / "text.tar").write_text("this is no archive" * 100)
    place = folder if source == "webdataset:{}" else tmp_path
    with pytest.raises(SourceError, match=message):
        opened(source.format(place))
