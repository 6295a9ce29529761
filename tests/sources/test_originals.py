"""The originals of images from every kind of source: as thumbnails, as files, changed, and gone."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine.data import decode_pool
from engine.data.decode_image import content_of
from engine.data.image_store import cache
from engine.data.origin import Origin
from engine.data.thumbnail_store import ThumbnailStore
from engine.errors import SourceError
from engine.sources import arrays, downloads, originals
from engine.sources.browser_image import for_browser
from engine.sources.open_source import Opened, open_source, source_of
from engine.sources.originals import facts, gone, make_thumbnails, origin_named, read_original, stamps_now
from engine.sources.set_layouts import EUROSAT_CLASSES
from tests.two_colours import BLUE, RED, colours, content, turned, two_colours

FILES = {
    "a/jpeg.jpg": content(two_colours()),
    "a/png.png": content(two_colours(), "PNG"),
    "b/turned.jpg": turned(),
    "b/ü ß.tif": content(two_colours(), "TIFF"),
    "cmyk.jpg": content(two_colours(mode="CMYK")),
}


def folder(place: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        file = place / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return str(place / "files")


def zipped(place: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(place / "files.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(place / "files.zip")


def tarred(place: Path, files: dict[str, bytes], name: str = "files.tar", mode: str = "w") -> str:
    with tarfile.open(place / name, mode) as archive:  # type: ignore[call-overload]
        for member, data in files.items():
            about = tarfile.TarInfo(member)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return str(place / name)


def packed(place: Path, files: dict[str, bytes]) -> str:
    return tarred(place, files, "files.tar.gz", "w:gz")


def shards(place: Path, files: dict[str, bytes]) -> str:
    names = sorted(files)
    for number in (0, 1):
        tarred(place, {name: files[name] for name in names[number::2]}, f"part-{number}.tar")
    return f"webdataset:{place}/part-{{0..1}}.tar"


def table(place: Path, files: dict[str, bytes]) -> str:
    folder(place, {f"below/{name}": data for name, data in files.items()})
    pd.DataFrame({"path": [f"below/{name}" for name in files]}).to_csv(place / "files" / "table.csv", index=False)
    return str(place / "files" / "table.csv")


def parquet(place: Path, files: dict[str, bytes]) -> str:
    rows = [{"bytes": data, "path": name} for name, data in files.items()]
    pd.DataFrame({"image": rows}).to_parquet(place / "files.parquet")
    return str(place / "files.parquet")


def classes(place: Path, files: dict[str, bytes]) -> str:
    """A known set of files: EuroSAT's folders of classes, by another name for the few files of each."""
    for name in EUROSAT_CLASSES:
        (place / "2750" / name).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (place / "2750" / EUROSAT_CLASSES[0] / name.replace("/", "-")).write_bytes(data)
    return f"eurosat:{place}"


Make = Callable[[Path, dict[str, bytes]], str]
KINDS: dict[str, Make] = {
    one.__name__: one for one in (folder, zipped, tarred, packed, shards, table, parquet, classes)
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


def origin_of(found: Opened) -> Origin:
    assert found.origin is not None
    return found.origin


def stamps_of(found: Opened) -> np.ndarray:
    assert found.stamps is not None
    return found.stamps


def kept(found: Opened) -> list[bytes | None]:
    return ThumbnailStore(origin_of(found).place).bodies(found.images.ids, stamps_of(found))


def made(found: Opened) -> list[bytes | None]:
    return make_thumbnails(origin_of(found), found.images.ids, stamps_of(found))


def forget() -> None:
    shutil.rmtree(cache() / "thumbnails", ignore_errors=True)
    originals._kept.clear()


# -- every kind of source ------------------------------------------------------------------------


def test_an_import_keeps_a_thumbnail_of_every_whole_image(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    assert len(found.images) == len(FILES)
    assert found.extents is not None
    assert found.extents.tolist() == [[900, 300]] * len(FILES)
    for body in kept(found):
        assert body is not None
        image = Image.open(io.BytesIO(body))
        assert image.size == (320, 107)
        assert colours(image) == ["red", "blue"]


def test_thumbnails_that_were_lost_are_made_again(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    before = kept(found)
    forget()
    assert kept(found) == [None] * len(FILES)
    again = made(found)
    assert kept(found) == again
    for one, other in zip(before, again, strict=True):
        assert one is not None
        assert other is not None
        pair = [np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), int) for body in (one, other)]
        assert np.abs(pair[0] - pair[1]).mean() < 2  # it may be read at another fraction of its size


def test_the_original_is_there_to_be_seen(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    for name, stamp in zip(found.images.ids, stamps_of(found).tolist(), strict=True):
        original = read_original(origin_of(found), name)
        assert original.content in FILES.values()
        assert list(original.stamp) == stamp
        image = Image.open(io.BytesIO(for_browser(original.content).body))
        assert sorted(image.size) == [300, 900]
        assert facts(origin_of(found), name).file.width == 900


def test_a_source_that_has_changed_is_noticed(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    forget()
    other = {name: content(two_colours().transpose(Image.Transpose.ROTATE_180), "PNG") for name in FILES}
    make(tmp_path, other)
    assert made(found) == [None] * len(FILES)
    assert kept(found) == [None] * len(FILES)
    original = read_original(origin_of(found), found.images.ids[0])
    assert original.content == other["a/jpeg.jpg"]
    assert list(original.stamp) != stamps_of(found)[0].tolist()
    now = stamps_now(origin_of(found), found.images.ids)
    assert not (now == stamps_of(found)).all(1).any()


def test_an_image_that_is_gone_is_said_to_be(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    lost = [name for name in found.images.ids if "cmyk" in name]
    for entry in tmp_path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    make(tmp_path, {name: data for name, data in FILES.items() if name != "cmyk.jpg"})
    with pytest.raises(SourceError, match=f"{lost[0]} is not in .* any more"):
        read_original(origin_of(found), lost[0])
    assert stamps_now(origin_of(found), lost).tolist() == [[-1, -1]]
    assert make_thumbnails(origin_of(found), lost, np.zeros((1, 2), np.int64)) == [None]


def test_a_source_that_is_gone_is_said_to_be(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    found = open_source(make(place, FILES))
    assert gone(origin_of(found)) == ""
    place.rename(tmp_path / "elsewhere")
    forget()
    assert re_matches(gone(origin_of(found)), place)
    assert made(found) == [None] * len(FILES)
    for ask in (read_original, facts):
        with pytest.raises(SourceError):
            ask(origin_of(found), found.images.ids[0])
    (tmp_path / "elsewhere").rename(place)
    assert gone(origin_of(found)) == ""
    assert None not in made(found)


def re_matches(sentence: str, place: Path) -> bool:
    return str(place) in sentence and ("is not there any more" in sentence or "cannot be opened" in sentence)


def test_many_ask_at_once(make: Make, tmp_path: Path) -> None:
    found = open_source(make(tmp_path, FILES))
    forget()
    with ThreadPoolExecutor(8) as pool:
        asked = [found.images.ids[each % len(FILES)] for each in range(40)]
        answers = list(pool.map(lambda name: read_original(origin_of(found), name).content, asked))
    assert set(answers) == set(FILES.values())
    assert answers[: len(FILES)] == answers[len(FILES) : 2 * len(FILES)]


def test_a_source_that_was_named_from_a_folder_is_found_from_another(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = make(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    found = open_source(text.replace(f"{tmp_path}/", "").replace(str(tmp_path), "."))
    monkeypatch.chdir("/")
    forget()
    assert None not in made(found)


# -- arrays --------------------------------------------------------------------------------------


def array(count: int = 3) -> np.ndarray:
    one = np.asarray(two_colours(90, 30))
    return np.stack([one] * (count - 1) + [one[:, ::-1]])


@pytest.mark.parametrize("form", ["npy", "npz", "floats"])
def test_arrays_that_are_larger_than_what_is_trained_on_are_originals(form: str, tmp_path: Path) -> None:
    pixels = array()
    if form == "npz":
        np.savez(tmp_path / "a.npz", images=pixels, names=np.array(["x", "y", "z"]))
    else:
        np.save(tmp_path / "a.npy", pixels if form == "npy" else (pixels / 255).astype(np.float32))
    found = open_source(str(next(tmp_path.iterdir())), size=8)
    before = kept(found)
    forget()
    assert made(found) == before == kept(found)
    for body, expected in zip(before, (["red", "blue"], ["red", "blue"], ["blue", "red"]), strict=True):
        assert body is not None
        assert Image.open(io.BytesIO(body)).size == (90, 30)
        assert colours(Image.open(io.BytesIO(body))) == expected
    for number in (2, 0, 1):
        original = for_browser(read_original(origin_of(found), found.images.ids[number]).content)
        assert original.media == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(original.body))), pixels[number])


def test_arrays_that_are_trained_on_as_they_are_need_no_thumbnails(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array())
    found = open_source(str(tmp_path / "a.npy"))
    assert kept(found) == [None] * 3


def test_arrays_are_read_from_any_image_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(11, dtype=np.uint8)[:, None, None] * np.ones((11, 4, 6), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 3 * 24)
    source = source_of(str(tmp_path / "a.npy"))
    for first in (0, 1, 3, 10):
        found = np.concatenate(list(source.blocks(first)))  # type: ignore[attr-defined]
        assert found[:, 0, 0, 0].tolist() == list(range(first, 11))


def test_a_known_set_of_arrays(tmp_path: Path) -> None:
    """STL-10 stores 96 × 96 pixels, each channel column by column."""
    pixels = np.asarray(two_colours(96, 96)).transpose(2, 1, 0)
    for split in ("train", "test"):
        np.stack([pixels] * 4).tofile(tmp_path / f"{split}_X.bin")
        np.ones(4, np.uint8).tofile(tmp_path / f"{split}_y.bin")
    np.stack([pixels] * 4).tofile(tmp_path / "unlabeled_X.bin")
    found = open_source(f"stl10:{tmp_path}", size=32)
    assert found.extra is not None
    assert len(list((cache() / "thumbnails").glob("*.sqlite"))) == 1
    forget()
    bodies = made(found)
    assert len(bodies) == 8
    assert {colours(Image.open(io.BytesIO(body or b"")))[0] for body in bodies} == {"red"}
    assert not ThumbnailStore(f"stl10:{tmp_path} unlabelled").path.exists()  # nobody looks at them
    parts = list(source_of(f"stl10:{tmp_path}").blocks(5))  # type: ignore[attr-defined]
    assert sum(map(len, parts)) == 3
    original = read_original(origin_of(found), "test-00003")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(original.content)))[:, 0], [RED] * 96)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(original.content)))[:, 95], [BLUE] * 96)


# -- folders -------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    found = open_source(folder(tmp_path, {f"{name}/x{name}.jpg": FILES["a/jpeg.jpg"], "x.jpg": FILES["cmyk.jpg"]}))
    assert r"\xff\xfe/x\xff\xfe.jpg" in found.images.ids
    original = read_original(origin_of(found), r"\xff\xfe/x\xff\xfe.jpg")
    assert original.content == FILES["a/jpeg.jpg"]
    forget()
    assert None not in made(found)


def test_a_folder_whose_path_is_no_text_is_found(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"\xff")
    found = open_source(folder(place, FILES))
    forget()
    assert None not in made(found)
    shutil.rmtree(place)
    assert r"\xff/files is not there any more" in gone(origin_of(found))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "a/../../secret.jpg",
        "/secret.jpg",
        "a//jpeg.jpg",
        "./a/jpeg.jpg",
        "",
        "a\0",
        "link.jpg",
        "up/secret.jpg",
    ],
)
def test_nothing_outside_the_folder_is_read(name: str, tmp_path: Path) -> None:
    found = open_source(folder(tmp_path, FILES))
    (tmp_path / "secret.jpg").write_bytes(FILES["a/jpeg.jpg"])
    (tmp_path / "files" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "files" / "up").symlink_to(tmp_path)
    with pytest.raises(SourceError, match=r"is not the name of an image|leads out of"):
        read_original(origin_of(found), name)


def test_a_link_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    folder(tmp_path, FILES)
    (tmp_path / "link").symlink_to(tmp_path / "files")
    found = open_source(str(tmp_path / "link"))
    assert read_original(origin_of(found), "a/png.png").content == FILES["a/png.png"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    found = open_source(folder(tmp_path, FILES))
    (tmp_path / "files" / "cmyk.jpg").unlink()
    os.mkfifo(tmp_path / "files" / "cmyk.jpg")
    with pytest.raises(SourceError, match="not a regular file"):
        read_original(origin_of(found), "cmyk.jpg")


def test_facts_of_a_file(tmp_path: Path) -> None:
    found = open_source(folder(tmp_path, FILES))
    said = facts(origin_of(found), "b/ü ß.tif")
    file = tmp_path / "files" / "b" / "ü ß.tif"
    assert (said.where, said.length, said.modified) == (str(file), file.stat().st_size, file.stat().st_mtime)
    assert (said.file.form, said.file.height) == ("TIFF", 300)


def test_where_a_member_is(tmp_path: Path) -> None:
    path = zipped(tmp_path, FILES)
    said = facts(origin_of(open_source(path)), "cmyk.jpg")
    assert (said.where, said.length) == (path, len(FILES["cmyk.jpg"]))


# -- importing -----------------------------------------------------------------------------------


def test_thumbnails_are_made_by_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "MANY", 1)
    found = open_source(folder(tmp_path, FILES))
    assert None not in kept(found)


@pytest.mark.parametrize(
    ("extent", "size", "has"),
    [
        ((32, 20), 32, False),
        ((33, 20), 32, True),
        ((20, 32), 64, False),
        ((64, 64), 64, False),
        ((65, 65), 64, True),
        ((60, 50), 64, True),  # a part of it is cut off
    ],
)
def test_images_of_which_all_can_be_seen_have_none(
    extent: tuple[int, int], size: int, has: bool, tmp_path: Path
) -> None:
    files = {"x.png": content(two_colours(*extent), "PNG")}
    assert [body is not None for body in kept(open_source(folder(tmp_path, files), size=size))] == [has]
    np.save(tmp_path / "a.npy", np.asarray(two_colours(*extent))[None])
    assert [body is not None for body in kept(open_source(str(tmp_path / "a.npy"), size=size))] == [has]


def test_a_set_that_was_downloaded_is_not_downloaded_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven images, in the cache as a download leaves them."""
    place = cache() / "sets" / "eurosat"
    classes(place, {f"{number}.jpg": FILES["a/jpeg.jpg"] for number in range(11)})
    found = open_source("eurosat")
    assert origin_of(found).text == f"eurosat:{place}"
    assert origin_named("eurosat") == found.origin
    monkeypatch.setattr(downloads, "_FAULTS", ())  # a download would fail, and not quietly
    shutil.rmtree(cache() / "sets")
    assert f"{place} is not there any more" in gone(origin_of(found))
    assert origin_named("eurosat") is None


def test_another_size_uses_the_thumbnails_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = folder(tmp_path, FILES)
    open_source(text, size=32)
    monkeypatch.setattr(decode_pool, "thumbnail", None)  # it would fail
    assert None not in kept(open_source(text, size=16))


def test_an_import_needs_no_thumbnails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_image: object) -> bytes:
        raise OSError("encoder error")

    monkeypatch.setattr(decode_pool, "thumbnail", fails)
    found = open_source(folder(tmp_path, FILES))
    assert (len(found.images), found.skipped) == (len(FILES), ())
    assert kept(found) == [None] * len(FILES)


def test_a_cache_that_is_full_of_one_source_takes_no_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = folder(tmp_path, FILES)
    before = kept(open_source(text))
    monkeypatch.setenv("SPICE_EXPLORER_THUMBNAILS", "0.00001")
    folder(tmp_path, {"z.jpg": FILES["cmyk.jpg"]})
    assert kept(open_source(text)) == [*before, None]


def test_a_file_that_is_written_to_meanwhile_has_no_thumbnail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meddle(path: str) -> tuple[bytes, tuple[int, int]]:
        data, (length, _) = content_of(path)
        return data, (length, 1)

    text = folder(tmp_path, FILES)
    monkeypatch.setattr(decode_pool, "content_of", meddle)
    assert kept(open_source(text)) == [None] * len(FILES)


def test_a_source_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = folder(tmp_path, FILES)
    found = open_source(text)
    assert origin_named(text) == origin_named(f"folder:{text}") == found.origin
    monkeypatch.chdir(tmp_path)
    assert origin_named("files") == found.origin
    assert [origin_named(name) for name in ("digits", "shapes", "nothing", "arrays:nothing.npy")] == [None] * 4
    lost = origin_named("zip:nothing.zip")
    assert lost is not None
    assert f"{tmp_path}/nothing.zip is not there any more" in gone(lost)


def test_listings_that_are_kept_are_few(tmp_path: Path) -> None:
    for number in range(5):
        place = tmp_path / str(number)
        place.mkdir()
        read_original(origin_of(open_source(zipped(place, FILES))), "cmyk.jpg")
    assert len(originals._kept) <= originals.MOST_LISTED
