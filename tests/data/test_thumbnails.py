"""Thumbnails show the whole of an image, upright, in the colours that people see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from engine.data.decode_image import decode, fitted, upright
from engine.data.thumbnails import has_own_profile, resembles, size_of, thumbnail
from engine.errors import SourceError
from tests.two_colours import GREEN, colours, content, green_profile, swapping_profile, turned, two_colours


def made(data: bytes) -> Image.Image:
    body = thumbnail(upright(data, 1)[0])
    image = Image.open(io.BytesIO(body))
    assert image.format == "JPEG"
    assert size_of(body) == image.size
    return image


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_the_whole_image_keeps_its_aspect_and_colours(form: str) -> None:
    image = made(content(two_colours(), form))
    assert image.size == (320, 107)
    assert colours(image) == ["red", "blue"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_upright(form: str) -> None:
    image = made(turned(form))
    assert image.size == (320, 107)
    assert colours(image) == ["red", "blue"]


def test_an_image_that_is_smaller_keeps_its_size() -> None:
    assert made(content(two_colours(90, 30), "PNG")).size == (90, 30)


@pytest.mark.parametrize(("size", "small"), [((1, 20_000), (1, 320)), ((20_000, 1), (320, 1)), ((5000, 7), (320, 1))])
def test_strips_stay_visible(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert made(content(Image.new("RGB", size, GREEN), "PNG")).size == small


def test_a_cmyk_image_without_a_profile() -> None:
    image = made(content(two_colours(mode="CMYK")))
    assert (image.mode, colours(image)) == ("RGB", ["red", "blue"])


def test_the_profile_of_an_image_gives_its_colours() -> None:
    assert colours(made(content(two_colours(), icc_profile=swapping_profile()))) == ["blue", "red"]
    assert colours(made(content(two_colours(mode="RGBA"), "PNG", icc_profile=swapping_profile()))) == ["blue", "red"]


def test_the_profile_of_a_cmyk_image_gives_its_colours() -> None:
    data = content(two_colours(mode="CMYK"), icc_profile=green_profile())
    red, green, blue = made(data).getpixel((80, 50))  # type: ignore[misc]
    assert green > 200 > 60 > max(red, blue)
    image = decode(data, 32)[0]  # which has lost the colours that the profile is about
    assert (image.mode, has_own_profile(image)) == ("RGB", True)


@pytest.mark.parametrize("profile", [b"damaged" * 40, green_profile(), swapping_profile()[:200], b""])
def test_a_profile_that_cannot_be_used_is_ignored(profile: bytes) -> None:
    assert colours(made(content(two_colours(), icc_profile=profile))) == ["red", "blue"]


def test_transparency_lies_on_white() -> None:
    image = two_colours(mode="RGBA")
    image.putalpha(0)
    assert made(content(image, "PNG")).convert("L").getextrema() == (255, 255)


def test_sixteen_bits_become_eight() -> None:
    grey = np.linspace(0, 65535, 640).astype(np.uint16)[None] * np.ones((200, 1), np.uint16)
    found = np.asarray(made(content(Image.fromarray(grey.astype(np.uint16)), "PNG")).convert("L"), int)
    assert found.shape == (100, 320)
    assert np.abs(found[50] - np.linspace(0, 255, 320)).max() < 4


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_a_moving_image_the_first_picture_is_shown(form: str) -> None:
    others = [Image.new("RGB", (900, 300), GREEN)] * 2
    data = content(two_colours(), form, save_all=True, append_images=others)
    assert colours(made(data)) == ["red", "blue"]


def test_a_large_jpeg_is_read_in_small_where_a_png_of_its_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_500_000)
    with pytest.warns(Image.DecompressionBombWarning):
        image, extent = decode(content(two_colours(4000, 1000)), 32)
    assert extent == (4000, 1000)
    assert image.size == (500, 125)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(SourceError, match="more pixels than is safe to decode"),
    ):
        decode(content(two_colours(4000, 1000), "PNG"), 32)


def test_enough_is_read_for_a_thumbnail() -> None:
    assert decode(content(two_colours(1200, 900)), 4)[0].size == (600, 450)  # a quarter would be too small


def test_a_thumbnail_resembles_its_own_image_only() -> None:
    image = two_colours()
    body = thumbnail(image)
    middle = np.asarray(image.crop((300, 0, 600, 300)).resize((32, 32))).transpose(2, 0, 1)
    assert resembles(body, middle)
    assert not resembles(body, middle[:, :, ::-1])
    assert not resembles(body[:50], middle)


def test_a_size_within_a_square() -> None:
    assert fitted((900, 300), 32, enlarge=True) == (32, 11)
    assert fitted((3, 6), 32) == (3, 6)
    assert fitted((3, 6), 32, enlarge=True) == (16, 32)
