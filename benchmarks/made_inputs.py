"""Odd files, tables and archives as people bring them, each made here with its truth."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

# Image i has the tone TONES[i] and the class CLASSES[i].
TONES, CLASSES = (20, 80, 140, 200), ("cat", "dog", "owl", "cat")
# Makes an input in an empty folder, and returns the source that a person would name.
Make = Callable[[Path], object]


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        kind: what could go wrong with it.
        make: makes it.
        images: the tone and the class (None: not looked at) of each image that is to be read; None for an input that
            may only be refused.
        said: parts of names that must be listed or noted, because they are not read.
        change: what a person does after it was opened once; it is judged when it is opened again.
    """

    kind: str
    name: str
    make: Make
    images: dict[str, tuple[int, str | None]] | None
    said: tuple[str, ...] = ()
    change: Callable[[Path], None] = field(default=lambda _place: None)


def encoded(tone: int, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (tone,) * 3).save(out, form, **options)
    return out.getvalue()


def truth(names: list[str], classes: bool = True) -> dict[str, tuple[int, str | None]]:
    return {name: (TONES[i], CLASSES[i] if classes else None) for i, name in enumerate(names)}


def put(place: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def tarred(place: Path, members: list[tuple[str, bytes]], name: str = "a.tar", cut: int | None = None) -> Path:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in members:
            about = tarfile.TarInfo(path)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return put(place, {name: out.getvalue()[:cut]}) / name


def zipped(place: Path, members: list[tuple[str, bytes]], cut: int | None = None) -> Path:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for path, content in members:
            archive.writestr(zipfile.ZipInfo(path), content)
    return put(place, {"a.zip": out.getvalue()[:cut]}) / "a.zip"


NAMES = [f"{letter}.png" for letter in "abcd"]
IMAGES = {name: encoded(tone) for name, tone in zip(NAMES, TONES, strict=True)}


def rows(titles: tuple[str, ...], **more: list[str]) -> list[tuple[str, ...]]:
    """A table about IMAGES: the titles "next…" and "nearest" hold the name of another image."""
    columns = {title: NAMES[1:] + NAMES[:1] if title.startswith(("next", "near")) else NAMES for title in titles}
    columns |= {"label": list(CLASSES)} | more
    return [tuple(columns), *zip(*columns.values(), strict=True)]


def text(table: list[tuple[str, ...]], separator: str = ",", tail: str = "") -> str:
    return "".join(separator.join(row) + (tail if number else "") + "\n" for number, row in enumerate(table))


# -- the kinds -----------------------------------------------------------------------------------


def identity() -> Iterator[Input]:
    for titles in itertools.permutations(("next_file_name", "file_name")):
        content = text(rows(titles)).encode()
        whole = {**IMAGES, "metadata.csv": content}
        named = " ".join(titles)
        yield Input("identity", f"folder, {named}", lambda place, w=whole: put(place, w), truth(NAMES))
        yield Input("identity", f"zip, {named}", lambda place, w=whole: zipped(place, [*w.items()]), truth(NAMES))
        yield Input("identity", f"tar, {named}", lambda place, w=whole: tarred(place, [*w.items()]), truth(NAMES))
    for titles in (("nearest", "id"), ("nearest", "Filename"), ("next", "Image Path")):
        content = text(rows(titles)).encode()
        yield Input("identity", f"table, {titles}", _table(content), truth(NAMES))
    yield Input("identity", "table, left and right", _table(text(rows(("left", "next"))).encode()), None)
    images, masks = list(IMAGES.values()), [encoded(255 - tone) for tone in TONES]
    digests = [hashlib.sha256(one).digest() for one in images]
    for columns in ({"sha256": digests, "image": images}, {"mask": masks, "image": images}):
        table = pd.DataFrame({**columns, "label": list(CLASSES)})
        yield Input("identity", f"parquet, {list(columns)}", _parquet(table), truth([f"row-{i:07d}" for i in range(4)]))
    table = pd.DataFrame({"left": images, "right": masks})
    yield Input("identity", "parquet, left and right", _parquet(table), None)
    cls = [(f"{name[0]}.cls", kind.encode()) for name, kind in zip(NAMES, CLASSES, strict=True)]
    for part in ("seg", "depth"):
        members = [(f"{name[0]}.{part}.png", encoded(255)) for name in NAMES] + [*IMAGES.items(), *cls]
        said = tuple(f"{name[0]}.{part}.png" for name in NAMES)
        yield Input("identity", f"samples with .{part}.png", _webdataset(members), truth(NAMES), said)
    stereo = [(f"{name[0]}.{side}.png", content) for name, content in IMAGES.items() for side in ("left", "right")]
    both = {name: (TONES["abcd".index(name[0])], CLASSES["abcd".index(name[0])]) for name, _ in stereo}
    yield Input("identity", "samples of two images", _webdataset([*stereo, *cls]), both)


def _table(content: bytes, file: str = "t.csv") -> Make:
    return lambda place: put(place, {**IMAGES, file: content}) / file


def _parquet(table: pd.DataFrame) -> Make:
    def make(place: Path) -> Path:
        table.to_parquet(place / "t.parquet")
        return place / "t.parquet"

    return make


def _webdataset(members: list[tuple[str, bytes]]) -> Make:
    return lambda place: f"webdataset:{tarred(place, members)}"


def whole_names() -> Iterator[Input]:
    for places, pattern in ((("s.v1-0.tar", "s.v1-1.tar"), ""), (("x/p.tar", "y/p.tar"), "/*/p.tar")):

        def make(place: Path, places: tuple[str, ...] = places, pattern: str = pattern) -> str:
            for number, name in enumerate(places):
                members = [(f"{i}.png", encoded(TONES[2 * number + i])) for i in range(2)]
                members += [(f"{i}.cls", CLASSES[2 * number + i].encode()) for i in range(2)]
                tarred(place, members, name)
            return f"webdataset:{place}{pattern}"

        stems = [name.removesuffix(".tar") for name in places]
        yield Input("names", f"shards {places}", make, truth([f"{stem}/{i}.png" for stem in stems for i in range(2)]))
    twice = [("a.png", encoded(99)), ("a.cls", b"old"), ("a.png", encoded(TONES[0])), ("a.cls", b"cat")]
    yield Input("names", "tar with a name twice", _webdataset(twice), truth(["a.png"]), ("a.png",))
    again = [("cat/a.png", encoded(99)), ("cat/a.png", encoded(TONES[0]))]
    yield Input("names", "zip with a name twice", lambda place: zipped(place, again), truth(["cat/a.png"]), ("cat/a",))


def cache() -> Iterator[Input]:
    bitmaps = {f"{name[0]}.bmp": encoded(tone, "BMP") for name, tone in zip(NAMES, TONES, strict=True)}
    swapped = {"a.bmp": (TONES[1], None), "b.bmp": (TONES[0], None)}
    expected = {name: swapped.get(name, found) for name, found in truth(list(bitmaps), classes=False).items()}

    def timed(place: Path) -> Path:
        put(place, bitmaps)
        for name in bitmaps:
            os.utime(place / name, ns=(10**18, 10**18))
        return place

    def rename(place: Path) -> None:
        for before, after in (("a.bmp", "x"), ("b.bmp", "a.bmp"), ("x", "b.bmp")):
            (place / before).rename(place / after)

    def rewrite(place: Path) -> None:
        for name, content in (("a.bmp", bitmaps["b.bmp"]), ("b.bmp", bitmaps["a.bmp"])):
            (place / name).write_bytes(content)
            os.utime(place / name, ns=(10**18, 10**18))

    yield Input("cache", "files swapped by name", timed, expected, change=rename)
    yield Input("cache", "files rewritten with their old times", timed, expected, change=rewrite)


def silence() -> Iterator[Input]:
    for ending, form in (
        *(("jpe", "JPEG"), ("jfif", "JPEG"), ("JPG", "JPEG"), ("pjpeg", "JPEG"), ("dib", "BMP"), ("TIFF", "TIFF")),
        *(("ppm", "PPM"), ("pnm", "PPM"), ("jp2", "JPEG2000"), ("avif", "AVIF"), ("webp", "WEBP"), ("apng", "PNG")),
    ):
        members = {f"{i}.{ending}": encoded(tone, form) for i, tone in enumerate(TONES)}
        yield Input(
            "silence", f".{ending}", lambda place, m=members: put(place, m), truth(list(members), classes=False)
        )
    one = {"a.png": IMAGES["a.png"]}
    for name, content in (
        ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("x.CR2", b"II*\0"),
        ("x.svg", b"<svg/>"),
        ("x.ico", b"\0\0\1\0"),
        ("scan.1", encoded(9)),
        ("empty.jpg", b""),
        ("page.png", b"<html>"),
    ):
        whole = {**one, name: content}
        yield Input("silence", name, lambda place, m=whole: put(place, m), truth(["a.png"], classes=False), (name,))
    bare = {name[0]: content for name, content in IMAGES.items()}
    yield Input("silence", "no endings", lambda place: put(place, bare), truth(list(bare), classes=False))
    more = [Image.new("RGB", (40, 30), (9,) * 3)]
    for name, form in (("p.tif", "TIFF"), ("p.gif", "GIF"), ("p.webp", "WEBP"), ("p.png", "PNG")):
        content = encoded(TONES[0], form, save_all=True, append_images=more)
        make = _folder({name: content})
        yield Input("silence", f"pages of {name}", make, truth([name], classes=False), ("p.",))
    yield Input("silence", "links that lead out", _links, None)
    yield Input("silence", "a folder of tables", _folder({"t.parquet": b"PAR1"}), None)
    x = np.repeat(np.array(TONES, np.uint8), 64).reshape(4, 8, 8)
    named = truth([f"image-{i:06d}" for i in range(4)])

    def splits(place: Path) -> Path:
        np.savez(place / "a.npz", x_train=x, y_train=np.array(CLASSES, "S")[:, None], x_test=x[::-1], y=np.zeros(4))
        return place / "a.npz"

    yield Input("silence", "splits of an npz", splits, named, ("x_test",))


def _folder(members: dict[str, bytes]) -> Make:
    return lambda place: put(place, members)


def _links(place: Path) -> Path:
    put(place / "blobs", IMAGES)
    (place / "set").mkdir()
    for name in NAMES:
        (place / "set" / name).symlink_to(place / "blobs" / name)
    return place / "set"


def tables() -> Iterator[Input]:
    plain = rows(("path",))
    for name, content in {
        "semicolons": text(plain, ";").encode(),
        "tabs in UTF-16": text(plain, "\t").encode("utf-16"),
        "a mark": text(plain).encode("utf-8-sig"),
        "trailing commas": text(plain, tail=",").encode(),
        "backslashes": text(plain).replace("a.png", ".\\a.png").encode(),
        "blanks": text(plain).replace("a.png", " a.png ").encode(),
    }.items():
        yield Input("tables", name, _table(content), truth(NAMES))
    for name, content in {
        "cp1252": "path,label\né.png,cat\n".encode("cp1252"),
        "an open quote": b'path,label\n"a.png,cat\n',
        "unquoted commas": b"path,note,label\na.png,red, round,cat\n",
    }.items():
        yield Input("tables", name, _table(content), None)
    yield Input("header", "none", _table(text(plain[1:]).encode()), truth(NAMES, classes=False), ("header",))
    yield Input("header", "a list", _table("\n".join(NAMES).encode()), truth(NAMES, classes=False), ("header",))
    for labels in ("007 07 7 010", "1e5 1E05 100000 2e3", "NA None null nan", "1 1.0 01 one", "-1 0 +1 1"):
        content = text(rows(("path",), label=labels.split())).encode()
        as_written = {name: (TONES[i], labels.split()[i]) for i, name in enumerate(NAMES)}
        yield Input("letters", labels, _table(content), as_written)
    lines = [f'{{"file_name": "{name}", "label": "00{i}"}}' for i, name in enumerate(NAMES)]
    as_written = {name: (TONES[i], f"00{i}") for i, name in enumerate(NAMES)}
    yield Input("letters", "JSON lines", _table("\n".join(lines).encode(), "t.jsonl"), as_written)


def archives() -> Iterator[Input]:
    bitmaps = [(f"{name[0]}.bmp", encoded(tone, "BMP")) for name, tone in zip(NAMES, TONES, strict=True)]
    three = truth([name for name, _ in bitmaps[:3]], classes=False)
    size = 512 + -(-len(bitmaps[0][1]) // 512) * 512
    for into in (30, 512, 1500):
        cut = 3 * size + into
        yield Input(
            "archives", f"tar cut {into} into", lambda place, c=cut: tarred(place, bitmaps, cut=c), three, ("a",)
        )

    def packed(place: Path) -> Path:
        path = tarred(place, bitmaps)
        content = gzip.compress(path.read_bytes(), 0)
        return put(place, {"b.tar.gz": content[: 3 * size + 1500]}) / "b.tar.gz"

    yield Input("archives", "tar.gz cut", packed, three, ("b.tar",))

    def without_directory(place: Path) -> Path:
        path = zipped(place, bitmaps)
        with zipfile.ZipFile(path) as archive:
            cut = archive.infolist()[3].header_offset + 40
        return zipped(place, bitmaps, cut)

    yield Input("archives", "zip without its directory", without_directory, three, ("a.zip",))


def depths() -> Iterator[Input]:
    for top, kind, form in ((4095, np.uint16, "TIFF"), (1023, np.uint16, "PNG"), (1, np.float32, "TIFF")):
        members = {}
        for i, tone in enumerate(TONES):
            out = io.BytesIO()
            Image.fromarray(np.full((30, 40), tone / 255 * top).astype(kind)).save(out, form)
            members[f"{i}.{form.lower()}"[:5]] = out.getvalue()
        make, expected = _folder(members), truth(list(members), classes=False)
        yield Input("depth", f"{form} of {kind.__name__} to {top}", make, expected, (f"{top:,} (white)",))


def essentials() -> Iterator[Input]:
    bomb = zlib.compress(b"x" * 2_000_000)
    for name, (kind, body) in {
        "zTXt": (b"zTXt", b"workflow\0\0" + bomb),
        "iTXt": (b"iTXt", b"workflow\0\1\0\0\0" + bomb),
        "iCCP": (b"iCCP", b"icc\0\0" + bomb),
    }.items():
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for before in (b"IDAT", b"IEND"):
            members = {}
            for file, content in IMAGES.items():
                place = content.index(before) - 4
                members[file] = content[:place] + chunk + content[place:]
            yield Input("essentials", f"{name} before {before.decode()}", _folder(members), truth(NAMES, classes=False))


def typed() -> Iterator[Input]:
    for name, form in {"quotes": "'{}'", "double quotes": '"{}"', "an address": "file://{}", "blanks": " {} "}.items():
        yield Input("typed", name, lambda place, f=form: f.format(put(place, IMAGES)), truth(NAMES, classes=False))
    yield Input("typed", "one image", lambda place: put(place, IMAGES) / "a.png", None)
    yield Input("typed", "no such folder", lambda place: place / "none", None)


def inputs() -> list[Input]:
    kinds = (identity, whole_names, cache, silence, tables, archives, depths, essentials, typed)
    return [one for kind in kinds for one in kind()]
