"""An original as browsers can show it, and what its file says of it."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image, UnidentifiedImageError

from engine.data.decode_image import (
    ORIENTATION,
    TOO_LARGE,
    UNREADABLE,
    frames,
    image_file,
    orientation,
    oversized,
    plain,
    reason_of,
    upright,
)
from engine.data.thumbnails import in_srgb, jpeg
from engine.errors import SourceError
from engine.formats.images import why_unreadable

# Formats that browsers show, in modes that they all show with the right colours.
MEDIA = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
# What is encoded again: exactly up to so many pixels, then nearly so; and never with more than these,
# of which a browser shows no more, but is slow to decode them.
EXACT_PIXELS, MOST_PIXELS = 1_000_000, 24_000_000
QUALITY = 90
# Files that are decoded at a time: each may take some hundred MB then.
_DECODING = threading.BoundedSemaphore(2)
_MAKER, _MODEL, _TIME, _TIME_TAKEN, _EXIF_PART = 0x010F, 0x0110, 0x0132, 0x9003, 0x8769
MOST_LETTERS = 80


@dataclass(frozen=True)
class Shown:
    """An original for a browser.

    Attributes:
        media: its media type.
        body: the file's own content, or the same picture encoded again.
        reduced: whether it has fewer pixels than the original.
    """

    media: str
    body: bytes
    reduced: bool = False


@dataclass(frozen=True)
class FileFacts:
    """What an image file says of itself.

    Attributes:
        width, height: of the upright image.
        form: its format, such as "JPEG".
        camera: maker and model, "" where the file does not say.
        taken: when the picture was taken, by the camera's clock.
        frames: how many pictures are in it, of which the first is used.
    """

    width: int
    height: int
    form: str
    camera: str = ""
    taken: datetime | None = None
    frames: int = 1


def for_browser(content: bytes) -> Shown:
    """The original with this content, upright.

    It is passed on as it is only if what is in it, not its name, is a JPEG, PNG, WebP or GIF that browsers
    show as it should be, and has no more pixels than is safe; anything else is decoded, and encoded again.

    Raises:
        SourceError: with the reason, when it cannot be read.
    """
    with _opened(content) as file:
        if file.format in MEDIA and file.mode in _MODES and _turned_by_browsers(file) and not oversized(file):
            return Shown(MEDIA[file.format], content)
    with _DECODING:
        return _again(content)


def _again(content: bytes) -> Shown:
    image, extent = upright(content, 0)
    try:
        flat = image if image.mode == "CMYK" else plain(image)
        share = math.sqrt(MOST_PIXELS / math.prod(flat.size))
        if share < 1:
            width, height = (max(1, int(length * share)) for length in flat.size)
            flat = flat.resize((width, height), Image.Resampling.HAMMING, reducing_gap=2.0)
        return Shown(*_encoded(in_srgb(flat)), reduced=flat.size != extent)
    except UNREADABLE as error:
        raise SourceError(reason_of(error)) from None


def facts_of(content: bytes) -> FileFacts:
    """What the file with this content says of itself; raises SourceError when it is no image."""
    with _opened(content) as file:
        (width, height), exif = file.size, _exif(file)
        if orientation(file) > 4 and file.format != "TIFF":  # of which Pillow gives the upright size
            width, height = height, width
        return FileFacts(width, height, str(file.format), _camera(exif), _taken(exif), frames(file, content))


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The file, of which only the head is read; raises SourceError."""
    if not content:
        raise SourceError("the file is empty")
    try:
        with image_file(content) as file:
            yield file
    except UnidentifiedImageError:
        raise SourceError(why_unreadable(content)) from None
    except Image.DecompressionBombError:
        raise SourceError(TOO_LARGE) from None
    except UNREADABLE as error:
        raise SourceError(reason_of(error)) from None


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    if math.prod(image.size) > EXACT_PIXELS:
        return MEDIA["JPEG"], jpeg(image, QUALITY)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return MEDIA["PNG"], out.getvalue()


def _turned_by_browsers(file: Image.Image) -> bool:
    """Whether browsers show the file upright: all of them turn a JPEG by what its EXIF says, but not by
    other metadata, and not other files."""
    turn = orientation(file)
    if turn == 1:
        return True
    own = Image.Exif()
    try:
        own.load(file.info.get("exif", b""))
    except UNREADABLE:
        return False
    return MEDIA[str(file.format)] == MEDIA["JPEG"] and own.get(ORIENTATION) == turn


def _exif(file: Image.Image) -> dict[int, Any]:
    """The tags that can be read, of the file's main part and of its EXIF part."""
    found: dict[int, Any] = {}
    if file.format == "PNG" and oversized(file):
        return found  # Pillow would decode all of it, because they may stand at its end
    try:
        exif = file.getexif()
        found |= dict(exif)
        found |= exif.get_ifd(_EXIF_PART)
    except UNREADABLE:
        pass  # no camera and no time, but a picture all the same
    return found


def _camera(exif: dict[int, Any]) -> str:
    maker, model = _text(exif.get(_MAKER)), _text(exif.get(_MODEL))
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()


def _text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return "".join(one for one in text.partition("\0")[0] if one.isprintable()).strip()[:MOST_LETTERS]


def _taken(exif: dict[int, Any]) -> datetime | None:
    for tag in (_TIME_TAKEN, _TIME):
        with suppress(ValueError):
            return datetime.strptime(_text(exif.get(tag)), "%Y:%m:%d %H:%M:%S")
    return None
