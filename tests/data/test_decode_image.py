from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.data.decode_image import decode, fit
from engine.errors import SourceError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(path: Path, image: Image.Image, **options: Any) -> Image.Image:
    """`image`, saved and decoded again."""
    image.save(path, **options)
    return decode(str(path), 32)[0]


def row(image: Image.Image) -> list[object]:
    """The pixels of a picture one pixel high, from left to right."""
    return [image.getpixel((x, 0)) for x in range(image.width)]


def drawn(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return image


def paletted(transparent: int | None = None) -> Image.Image:
    image = drawn("P", 0, 1, 2)
    image.putpalette([*RED, *GREEN, *BLUE])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


@pytest.mark.parametrize(
    ("image", "ending", "mode", "pixels"),
    [
        (drawn("L", 0, 7, 255), "png", "L", [0, 7, 255]),
        (drawn("RGB", RED, (1, 2, 3)), "png", "RGB", [RED, (1, 2, 3)]),
        (drawn("1", 0, 255), "png", "L", [0, 255]),
        (paletted(), "png", "RGB", [RED, GREEN, BLUE]),
        (paletted(1), "png", "RGB", [RED, WHITE, BLUE]),
        (paletted(1), "gif", "RGB", [RED, WHITE, BLUE]),
        (drawn("RGBA", (*RED, 255), (*RED, 0)), "png", "RGB", [RED, WHITE]),
        (drawn("RGBA", (0, 0, 0, 102)), "png", "RGB", [(153, 153, 153)]),
        (drawn("LA", (9, 255), (9, 0)), "png", "RGB", [(9, 9, 9), WHITE]),
        (drawn("CMYK", (0, 0, 0, 0), (0, 255, 255, 0)), "tif", "RGB", [WHITE, RED]),
        (Image.fromarray(np.array([[0, 257, 65535]], np.uint16)), "png", "L", [0, 1, 255]),
        (Image.fromarray(np.array([[0, 257, 65535]], np.uint16)), "tif", "L", [0, 1, 255]),
        (Image.fromarray(np.array([[0, 514, 65535]], np.int32)), "tif", "L", [0, 2, 255]),
        (Image.fromarray(np.array([[0, 0.2, 1]], np.float32)), "tif", "L", [0, 51, 255]),
    ],
    ids=[
        "grey",
        "colour",
        "1-bit",
        "palette",
        "palette with transparency",
        "GIF with transparency",
        "RGBA",
        "half transparent",
        "LA",
        "CMYK",
        "16-bit PNG",
        "16-bit TIFF",
        "32-bit TIFF",
        "float TIFF",
    ],
)
def test_every_mode_becomes_8_bit_grey_or_colour(
    image: Image.Image, ending: str, mode: str, pixels: list[object], tmp_path: Path
) -> None:
    found = saved(tmp_path / f"x.{ending}", image)
    assert found.mode == mode
    assert row(found) == pixels


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([-1, 0, 4], [0, 51, 255]),
        ([0, 2, 10], [0, 51, 255]),
        ([-3, -3], [0, 0]),
        ([0.2, np.nan, np.inf, -np.inf], [51, 0, 0, 0]),
    ],
    ids=["negative", "above 1", "constant", "not finite"],
)
def test_floats_outside_0_to_1_are_stretched_to_fit(values: list[float], pixels: list[int], tmp_path: Path) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert row(saved(tmp_path / "x.tif", image)) == pixels


@pytest.mark.parametrize(("orientation", "dark"), [(1, "left"), (2, "right"), (3, "right"), (6, "top"), (8, "bottom")])
def test_a_photograph_comes_upright(orientation: int, dark: str, tmp_path: Path) -> None:
    image = Image.new("L", (32, 16), 255)
    image.paste(0, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.asarray(saved(tmp_path / "x.jpg", image, exif=exif))
    half = {"left": pixels[:, :12], "right": pixels[:, -12:], "top": pixels[:12], "bottom": pixels[-12:]}
    assert pixels.shape == ((16, 32) if orientation < 5 else (32, 16))
    assert half[dark].max() < 20
    assert pixels.mean() == pytest.approx(127.5, abs=3)


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    found = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    assert found.getpixel((2, 2)) == RED


def test_a_phone_s_picture_in_two_views_gives_the_first(tmp_path: Path) -> None:
    views = [Image.new("L", (16, 16), value) for value in (90, 200)]
    views[0].save(tmp_path / "x.mpo", save_all=True, append_images=views[1:])
    assert decode(str((tmp_path / "x.mpo").rename(tmp_path / "x.jpg")), 32)[0].getpixel((8, 8)) == 90


def test_a_large_jpeg_is_read_small_but_not_smaller_than_asked(tmp_path: Path) -> None:
    found = saved(tmp_path / "x.jpg", Image.new("RGB", (800, 400), RED))
    assert 32 <= found.height < 400
    assert found.width == 2 * found.height


def test_a_broken_file_gives_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is no picture")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    reasons = {
        "empty.png": "the file is empty",
        "text.png": "not an image",
        "cut.jpg": "image file is truncated",
        "loop.png": "Too many levels of symbolic links",
        "missing.png": "No such file or directory",
        "folder.png": "Is a directory",
    }
    for name, reason in reasons.items():
        with pytest.raises(SourceError, match=reason):
            decode(str(tmp_path / name), 32)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(SourceError, match="not a regular file"):
        decode(str(tmp_path / "x.png"), 32)


def test_a_program_that_calls_itself_an_image_is_not_run(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_bytes(eps)
    with pytest.raises(SourceError, match="not an image"):
        decode(str(tmp_path / "x.png"), 32)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [15, 7], ids=["where Pillow warns", "where Pillow refuses"])
def test_a_decompression_bomb_is_refused(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(SourceError, match="more pixels than is safe"):
        decode(str(tmp_path / "x.png"), 32)


def test_the_middle_square_is_kept() -> None:
    image = Image.new("RGB", (20, 4), RED)
    image.paste(GREEN, (4, 0, 16, 4))
    assert fit(image, 2).getcolors() == [(4, GREEN)]


def test_a_picture_one_pixel_high_fits_too() -> None:
    assert fit(Image.new("L", (500, 1), 9), 8).getcolors() == [(64, 9)]


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A PNG of 50,000 × 50,000 pixels in 70 bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), (b"IDAT", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        content += struct.pack(">I", len(body)) + kind + body
        content += struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(SourceError, match="more pixels than is safe to decode"):
        decode(str(tmp_path / "bomb.png"), 32)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 3), (3, 10_000)])
def test_images_of_odd_shapes_give_a_square_and_their_extent(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "x.png")
    image, extent = decode(str(tmp_path / "x.png"), 32)
    assert extent == size
    square = np.asarray(fit(image, 32))
    assert square.shape == (32, 32, 3)
    assert (square == (9, 8, 7)).all()


def test_the_extent_is_that_of_the_upright_file_and_not_of_a_draft(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1600, 800)).save(tmp_path / "x.jpg", exif=exif)
    image, extent = decode(str(tmp_path / "x.jpg"), 32)
    assert extent == (800, 1600)
    assert image.width < 800


def test_content_is_decoded_as_a_file_is(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 77).save(tmp_path / "x.png")
    image, extent = decode((tmp_path / "x.png").read_bytes(), 32)
    assert (extent, image.getpixel((2, 1))) == ((3, 2), 77)
    for content, reason in ((b"", "the file is empty"), (b"<html>", "not an image")):
        with pytest.raises(SourceError, match=reason):
            decode(content, 32)


def test_a_whole_image_on_a_border_of_its_mean_colour() -> None:
    image = Image.new("RGB", (20, 10), RED)
    image.paste(GREEN, (10, 0, 20, 10))
    found = np.asarray(fit(image, 20, "pad"))
    assert (found[5:15, :10] == RED).all()
    assert (found[5:15, 10:] == GREEN).all()
    mean = np.add(RED, GREEN) / 2
    assert np.abs(found[:5] - mean).max() <= 1
    assert np.abs(found[15:] - mean).max() <= 1


def test_a_grey_image_on_a_border() -> None:
    found = np.asarray(fit(Image.new("L", (1, 9), 77), 9, "pad"))
    assert (found == 77).all()


def test_a_whole_image_without_regard_to_its_aspect() -> None:
    image = Image.new("RGB", (200, 10), RED)
    image.paste(GREEN, (100, 0, 200, 10))
    found = np.asarray(fit(image, 8, "squeeze"))
    assert (found[:, :3] == RED).all()
    assert (found[:, 5:] == GREEN).all()


@pytest.mark.parametrize(("top", "white"), [(4095, 255), (1023, 255), (65535, 255), (40000, 156)])
def test_a_deep_image_alone_is_as_bright_as_its_own_bits_allow(top: int, white: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, top]], np.uint16))
    assert row(saved(tmp_path / "x.png", image)) == [0, white]
