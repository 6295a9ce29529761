"""What is not essential never costs a picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from engine.data.decode_image import decode
from engine.formats.essentials import essentials
from engine.sources.browser_image import facts_of, for_browser

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
ORIENTED = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)  # turned to the right


def saved(form: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def with_chunk(content: bytes, extra: bytes, *, before: bytes = b"IDAT") -> bytes:
    place = content.index(before) - 4
    return content[:place] + extra + content[place:]


BOMB = zlib.compress(b"x" * 2_000_000)
CHUNKS = {
    "ztxt": chunk(b"zTXt", b"workflow\0\0" + BOMB),
    "itxt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + BOMB),
    "profile": chunk(b"iCCP", b"icc\0\0" + BOMB),
    "wrong checksum": chunk(b"tEXt", b"a\0b", crc=1),
    "no profile": chunk(b"iCCP", b""),
    "bad exif": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow says it, and reads on
@pytest.mark.parametrize("extra", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_is_read_whatever_its_texts_are(extra: bytes, before: bytes) -> None:
    content = with_chunk(saved("PNG"), extra, before=before)
    assert np.array_equal(np.asarray(decode(content, 4)[0]), PIXELS)
    assert facts_of(content).width == 9
    assert for_browser(content).media == "image/png"


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_it_stays_upright(before: bytes) -> None:
    content = with_chunk(saved("PNG", exif=ORIENTED), CHUNKS["ztxt"], before=before)
    assert np.array_equal(np.asarray(decode(content, 4)[0]), np.rot90(PIXELS, -1))


@given(st.binary(max_size=40), st.sampled_from([*range(0xE1, 0xF0), 0xFE]))
def test_a_jpeg_is_read_whatever_its_segments_hold(body: bytes, marker: int) -> None:
    plain = saved("JPEG", subsampling=0)
    if marker == 0xEE:
        return  # Adobe's says how the colours are meant
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    found = decode(plain[:2] + segment + plain[2:], 4)[0]
    assert np.array_equal(np.asarray(found), np.asarray(decode(plain, 4)[0]))


def test_nothing_is_taken_from_a_plain_file_and_pixels_never() -> None:
    for form in ("PNG", "GIF", "BMP", "WEBP"):
        assert list(essentials(saved(form))) == []
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    content = saved("PNG", pnginfo=info, exif=ORIENTED)
    some, least = essentials(content)
    assert b"tEXt" not in some
    assert b"eXIf" in some
    assert least == saved("PNG")


@given(st.binary(max_size=200), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b""]))
def test_anything_ends(body: bytes, start: bytes) -> None:
    for bare in essentials(start + body):
        assert len(bare) < len(start + body)
