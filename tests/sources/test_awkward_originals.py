"""Originals that are hard to show: huge, thin, turned in all ways, deep, moving, changed, without a cache."""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.data import thumbnail_store
from engine.data.decode_image import decode, fit, upright
from engine.data.image_store import cache
from engine.data.origin import FITS
from engine.data.thumbnails import thumbnail
from engine.errors import SourceError
from engine.sources.browser_image import facts_of, for_browser
from engine.sources.open_source import open_source
from engine.sources.originals import make_thumbnails
from tests.two_colours import BLUE, GREEN, RED, colours, content, green_profile, two_colours

PANORAMA = (20_000, 5_000)
ORIENTATION = 0x0112
# What a camera's sensor saw, by the EXIF number that turns it upright.
SEEN = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body))


def thumb(data: bytes) -> Image.Image:
    return opened(thumbnail(upright(data, 1)[0]))


# -- a panorama of 100 megapixels ----------------------------------------------------------------


@pytest.fixture(scope="module", params=["RGB", "CMYK"])
def panorama(request: pytest.FixtureRequest) -> bytes:
    return content(two_colours(*PANORAMA, mode=request.param))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_panorama_is_shown_whole_with_fewer_pixels(panorama: bytes) -> None:
    small = thumb(panorama)
    assert (small.size, colours(small)) == ((320, 80), ["red", "blue"])
    shown = for_browser(panorama)
    assert (shown.media, shown.reduced) == ("image/jpeg", True)
    image = opened(shown.body)
    assert image.size == (9797, 2449)  # 24 megapixels
    assert colours(image.reduce(16)) == ["red", "blue"]
    said = facts_of(panorama)
    assert (said.width, said.height, said.form) == (*PANORAMA, "JPEG")


MEASURED = """
import resource, sys, warnings
from engine.data.decode_image import upright
from engine.data.thumbnails import thumbnail
from engine.sources.browser_image import for_browser
warnings.simplefilter("ignore")
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
thumbnail(upright(data, 1)[0])
middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for_browser(data)
print(middle - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in kilobytes on Linux only")
def test_a_panorama_takes_little_memory(tmp_path: Path) -> None:
    """All of its pixels would be 300 MB."""
    (tmp_path / "panorama.jpg").write_bytes(content(two_colours(*PANORAMA)))
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "panorama.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large = (int(one) / 1000 for one in done.stdout.split())
    assert small < 40
    assert large < 260


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "form"), [(PANORAMA, "PNG"), ((20_000, 10_000), "JPEG")], ids=["no jpeg", "200 megapixels"]
)
def test_what_cannot_be_read_in_small_is_refused_in_a_sentence(size: tuple[int, int], form: str) -> None:
    data = content(Image.new("L", size, 90), form)
    for ask in (lambda: decode(data, 32), lambda: upright(data, 1), lambda: for_browser(data)):
        with pytest.raises(SourceError, match="more pixels than is safe to decode") as raised:
            ask()
        assert str(raised.value) == "more pixels than is safe to decode"


# -- strips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_a_strip_keeps_its_length(form: str) -> None:
    data = content(Image.new("RGB", (1, 20_000), GREEN), form)
    small = thumb(data)
    assert small.size == (1, 320)
    assert np.abs(np.asarray(small.convert("RGB"), int) - GREEN).max() < 12
    assert opened(for_browser(data).body).size == (1, 20_000)
    assert (facts_of(data).width, facts_of(data).height) == (1, 20_000)


# -- colours -------------------------------------------------------------------------------------


def deep_png() -> bytes:
    """A PNG of 16 bits a channel: red at the left, blue at the right."""
    values = np.zeros((300, 900, 3), ">u2")
    values[:, :450], values[:, 450:] = np.array(RED) * 257, np.array(BLUE) * 257
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 900, 300, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [deep_png(), content(two_colours(mode="CMYK")), content(two_colours(mode="CMYK"), "TIFF")],
    ids=["16 bits", "cmyk", "cmyk tiff"],
)
def test_deep_and_printed_colours_are_right(data: bytes) -> None:
    assert colours(thumb(data)) == ["red", "blue"]
    assert colours(opened(for_browser(data).body)) == ["red", "blue"]
    assert colours(decode(data, 32)[0]) == ["red", "blue"]


def test_a_printed_image_with_a_profile_is_the_same_as_thumbnail_and_as_original() -> None:
    data = content(two_colours(mode="CMYK"), icc_profile=green_profile())
    small, large = thumb(data), opened(for_browser(data).body)
    pixels = [np.asarray(one.convert("RGB").resize((30, 10)), int) for one in (small, large)]
    assert np.abs(pixels[0] - pixels[1]).max() < 8


# -- moving images -------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "frames"), [("GIF", 3), ("WEBP", 3), ("PNG", 3), ("TIFF", 3), ("MPO", 1)])
def test_of_a_moving_image_the_first_frame_is_used_and_the_others_are_counted(form: str, frames: int) -> None:
    others = [Image.new("RGB", (900, 300), GREEN), Image.new("RGB", (900, 300), BLUE)]
    data = content(two_colours(), form, save_all=True, append_images=others)
    assert colours(thumb(data)) == ["red", "blue"]
    assert facts_of(data).frames == frames
    assert facts_of(content(two_colours(), "TIFF" if form == "MPO" else form)).frames == 1


# -- turned photographs --------------------------------------------------------------------------


def portrait() -> Image.Image:
    """A portrait of which every corner has another colour."""
    image = Image.new("RGB", (300, 600), RED)
    image.paste(BLUE, (150, 0, 300, 300))
    image.paste(GREEN, (0, 300, 150, 600))
    image.paste("white", (150, 300, 300, 600))
    return image


@pytest.mark.parametrize("turn", SEEN)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photograph_is_upright_in_all_pictures_of_it(turn: int, form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    seen = SEEN[turn]
    data = content(portrait() if seen is None else portrait().transpose(seen), form, exif=exif)
    image, extent = decode(data, 32)
    # Browsers turn a JPEG themselves, by its EXIF; other files reach them upright.
    original = opened(for_browser(data).body)
    browsed = ImageOps.exif_transpose(original) if original.format == "JPEG" else original
    assert extent == (300, 600)
    assert browsed.size == (300, 600)
    assert (facts_of(data).width, facts_of(data).height) == (300, 600)
    assert thumb(data).size == (160, 320)
    for shown in (image, thumb(data), browsed):
        assert near(shown.resize((60, 120)), portrait().resize((60, 120)))
    for how in FITS:
        assert near(fit(image, 64, how), fit(portrait(), 64, how))


def near(one: Image.Image, other: Image.Image) -> bool:
    pixels = [np.asarray(image.convert("RGB"), int) for image in (one, other)]
    return pixels[0].shape == pixels[1].shape and float(np.abs(pixels[0] - pixels[1]).mean()) < 4


# -- what happens to files and to the cache ------------------------------------------------------


def test_the_next_import_renews_the_thumbnail_of_a_file_that_has_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(content(two_colours()))
    before = open_source(str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(content(two_colours().transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=70))
    after = open_source(str(tmp_path))
    shown = []
    for found in (before, after):
        assert found.origin is not None
        assert found.stamps is not None
        with thumbnail_store.ThumbnailStore(found.origin.place) as store:
            shown.append([colours(opened(body or b"")) for body in store.bodies(found.images.ids, found.stamps)])
    assert shown == [[["red", "blue"], ["red", "blue"]], [["blue", "red"], ["red", "blue"]]]


def test_without_room_for_thumbnails_they_are_made_each_time_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(content(two_colours()))
    cache().mkdir(parents=True, exist_ok=True)
    (cache() / "thumbnails").write_text("a file where the folder should be")
    thumbnail_store._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING, "engine"):
        found = open_source(str(folder))
        assert found.origin is not None
        assert found.stamps is not None
        for _ in range(2):
            made = make_thumbnails(found.origin, found.images.ids, found.stamps)
            assert [colours(opened(body or b"")) for body in made] == [["red", "blue"]] * 3
    said = [record.getMessage() for record in caplog.records if record.name == "engine.data.thumbnail_store"]
    assert said == [
        f"thumbnails cannot be kept in {cache() / 'thumbnails'} (File exists): they are made again whenever they are "
        "shown; name another place with SPICE_EXPLORER_CACHE"
    ]
