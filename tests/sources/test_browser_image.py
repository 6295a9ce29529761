"""Which files a browser is given as they are, and what becomes of the others."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.data.decode_image import decode
from engine.errors import SourceError
from engine.sources import browser_image
from engine.sources.browser_image import facts_of, for_browser
from tests.two_colours import colours, content, green_profile, swapping_profile, turned, two_colours


def shown(data: bytes) -> Image.Image:
    """What the browser is given, which is not the file itself."""
    found = for_browser(data)
    assert found.body != data
    image = Image.open(io.BytesIO(found.body))
    assert f"image/{str(image.format).lower()}" == found.media
    return image


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (content(two_colours()), "image/jpeg"),
        (turned("JPEG"), "image/jpeg"),
        (content(two_colours(), icc_profile=swapping_profile()), "image/jpeg"),
        (content(two_colours(mode="L")), "image/jpeg"),
        (content(two_colours(), "PNG"), "image/png"),
        (content(two_colours(mode="RGBA"), "PNG"), "image/png"),
        (content(two_colours(mode="P"), "PNG"), "image/png"),
        (content(two_colours(mode="1"), "PNG"), "image/png"),
        (content(two_colours(), "WEBP"), "image/webp"),
        (content(two_colours(), "GIF", save_all=True, append_images=[two_colours(mode="L")]), "image/gif"),
        (content(two_colours(), "MPO", save_all=True, append_images=[two_colours()]), "image/jpeg"),
    ],
    ids=["jpeg", "turned", "profile", "grey", "png", "rgba", "palette", "bits", "webp", "gif", "mpo"],
)
def test_what_browsers_show_is_passed_on_as_it_is(data: bytes, media: str) -> None:
    found = for_browser(data)
    assert (found.media, found.reduced) == (media, False)
    assert found.body == data


@pytest.mark.parametrize(
    "data",
    [
        content(two_colours(), "TIFF"),
        content(two_colours(), "BMP"),
        content(two_colours(mode="CMYK")),
        content(two_colours(mode="CMYK"), "TIFF"),
        turned("PNG"),
        turned("WEBP"),
        turned("TIFF"),
    ],
    ids=["tiff", "bmp", "cmyk", "cmyk tiff", "turned png", "turned webp", "turned tiff"],
)
def test_what_they_show_wrongly_or_not_at_all_is_encoded_again(data: bytes) -> None:
    image = shown(data)
    assert image.size == (900, 300)
    assert image.mode == "RGB"
    assert colours(image) == ["red", "blue"]


def test_sixteen_bits_become_eight() -> None:
    grey = np.linspace(0, 65535, 600).astype(np.uint16)[None] * np.ones((20, 1), np.uint16)
    image = shown(content(Image.fromarray(grey.astype(np.uint16)), "PNG"))
    assert (image.mode, image.size) == ("L", (600, 20))
    assert np.abs(np.asarray(image, int)[9] - np.linspace(0, 255, 600)).max() < 2


def test_the_profile_of_a_cmyk_image_gives_its_colours() -> None:
    red, green, blue = shown(content(two_colours(mode="CMYK"), icc_profile=green_profile())).getpixel((9, 9))  # type: ignore[misc]
    assert green > 200 > 60 > max(red, blue)


def test_a_jpeg_that_only_other_metadata_turns_is_turned_here() -> None:
    """Browsers turn by EXIF; Pillow, by which the images are imported, by XMP as well."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = content(two_colours().transpose(Image.Transpose.ROTATE_90), xmp=xmp)
    assert decode(data, 32)[1] == (900, 300)
    assert colours(shown(data)) == ["red", "blue"]


def test_a_very_large_picture_is_reduced_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_image, "MOST_PIXELS", 67_500)
    found = for_browser(content(two_colours(), "TIFF"))
    assert found.reduced
    assert Image.open(io.BytesIO(found.body)).size == (450, 150)
    monkeypatch.setattr(browser_image, "EXACT_PIXELS", 10)
    found = for_browser(content(two_colours(), "TIFF"))
    assert found.media == "image/jpeg"
    assert colours(Image.open(io.BytesIO(found.body))) == ["red", "blue"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><script>alert(1)</script></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n",
        b"%PDF-1.4",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        for_browser(data)
    with pytest.raises(SourceError):
        facts_of(data)


# -- facts -------------------------------------------------------------------------------------


def with_tags(**tags: Any) -> bytes:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[{"maker": 0x010F, "model": 0x0110, "time": 0x0132, "turn": 0x0112}[name]] = value
    return content(two_colours(), exif=exif)


def test_what_a_file_says_of_itself() -> None:
    said = facts_of(with_tags(maker="NIKON CORPORATION", model="D750", time="2021:12:31 23:59:58"))
    assert (said.width, said.height, said.form) == (900, 300, "JPEG")
    assert (said.camera, said.taken) == ("NIKON CORPORATION D750", datetime(2021, 12, 31, 23, 59, 58))
    assert facts_of(with_tags(maker="Canon", model="Canon EOS")).camera == "Canon EOS"
    assert facts_of(turned("PNG")).width == 900


@pytest.mark.parametrize("time", ["", "0000:00:00 00:00:00", "yesterday", "2021:13:31 23:59:58", "2021-12-31"])
def test_a_time_that_is_none(time: str) -> None:
    assert facts_of(with_tags(time=time)).taken is None


def test_odd_words_for_a_camera() -> None:
    assert facts_of(with_tags(maker="A\x07\nB\0hidden", model="x" * 500)).camera == "AB " + "x" * 80
    assert facts_of(content(two_colours())).camera == ""


def tiff(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF by hand: tag, type, count and value."""
    head, late = b"II*\0" + struct.pack("<IH", 8, len(tags)), b""
    for tag, kind, count, value in tags:
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack("<I", 8 + 2 + 12 * len(tags) + 4 + len(late))
            late += value
        head += struct.pack("<HHI", tag, kind, count) + place
    return head + bytes(4) + late


TURN = (0x0112, 3, 1, struct.pack("<H", 6))
BROKEN = {
    "rational of minus one and zero": b"Exif\0\0" + tiff(TURN, (0x011A, 10, 1, struct.pack("<ii", -1, 0))),
    "two headers": b"Exif\0\0Exif\0\0" + tiff(TURN),
    "cut off": b"Exif\0\0" + tiff(TURN)[:20],
    "empty": b"Exif\0\0",
    "types that do not match": b"Exif\0\0" + tiff(TURN, (0x010F, 7, 5, b"Canon"), (0x0132, 4, 1, struct.pack("<I", 5))),
    "orientation as text": b"Exif\0\0" + tiff((0x0112, 2, 2, b"6\0")),
    "orientation of 99": b"Exif\0\0" + tiff((0x0112, 3, 1, struct.pack("<H", 99))),
    "part that points nowhere": b"Exif\0\0" + tiff(TURN, (0x8769, 4, 1, struct.pack("<I", 2**31))),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_metadata_cost_no_picture(broken: str) -> None:
    data = content(two_colours(), exif=BROKEN[broken])
    said = facts_of(data)
    assert sorted((said.width, said.height)) == [300, 900]
    image, extent = decode(data, 32)
    assert extent == (said.width, said.height)
    assert (image.width > image.height) == (said.width > said.height)
    served = Image.open(io.BytesIO(for_browser(data).body))
    assert sorted(served.size) == [300, 900]


def test_a_rational_of_zero_does_not_hinder_turning() -> None:
    """python-pillow/Pillow#8348: such EXIF cannot be written again, but it can be read."""
    data = content(two_colours(), exif=BROKEN["rational of minus one and zero"])
    assert decode(data, 32)[1] == (300, 900)
