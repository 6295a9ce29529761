"""Thumbnails: small pictures of whole images, as people see them, for the screen only."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageOps

from engine.data.decode_image import THUMBNAIL_SIDE, UNREADABLE, fitted, plain

# JPEG is encoded ten times and decoded four times as fast as WebP, for files a quarter larger (about
# 15 kB): a page of 60 is put together from them while a run trains.
QUALITY = 80
# What the modes of Pillow are called in colour profiles.
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
# Images up to this side in pixels are shown pixel by pixel.
TINY_SIDE = 32
# Two pictures of this side in pixels differ by less where they show the same: JPEG changes 2 to 3 of 255.
ALIKE_SIDE, ALIKE_DIFFERENCE = 16, 16
# Transforms that are kept: of CMYK they take megabytes.
_KEPT_TRANSFORMS = 8


def pictured(extents: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(m,) bool: of which images people see a thumbnail, not what is trained on.

    Args:
        extents: (m, 2), width and height of the originals.
        size: height and width of what is trained on.

    These are the images that are larger, or of which a square may lack a part. What is left are tiny
    images, which look best pixel by pixel, and those that are whole anyway.

    >>> pictured(np.array([(900, 300), (200, 100), (200, 200), (32, 20)]), (224, 224)).tolist()
    [True, True, False, False]
    """
    longer, oblong = extents.max(1), extents[:, 0] != extents[:, 1]
    return (longer > max(size)) | ((longer > TINY_SIDE) & oblong & (size[0] == size[1]))


def thumbnail(image: Image.Image) -> bytes:
    """The whole of an upright image of any mode as a JPEG in sRGB, at most 320 pixels wide and high, with
    transparency on white."""
    return jpeg(in_srgb(reduced(image, THUMBNAIL_SIDE)), QUALITY)


def as_image(pixels: np.ndarray) -> Image.Image:
    """The image (C, H, W) uint8, C = 1 or 3, in mode "L" or "RGB"."""
    channels = np.asarray(pixels).transpose(1, 2, 0)
    return Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)


def jpeg(image: Image.Image, quality: int, *, every_colour: bool = False) -> bytes:
    """`image`, in mode "L" or "RGB", as a JPEG; with `every_colour`, no pixel shares it with its neighbours."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling=0 if every_colour else 2)
    return out.getvalue()


def reduced(image: Image.Image, side: int) -> Image.Image:
    """`image` in mode "L", "RGB" or "CMYK" within a square of `side` pixels; it is never enlarged."""
    flat = image if image.mode == "CMYK" else plain(image)
    size = fitted(flat.size, side)
    # Hamming looks like bicubic where an image becomes smaller, in two thirds of the time.
    small = flat if size == flat.size else flat.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)
    if profile := image.info.get("icc_profile"):
        small.info["icc_profile"] = profile
    return small


def in_srgb(image: Image.Image) -> Image.Image:
    """`image`, in mode "L", "RGB" or "CMYK", in mode "L" or "RGB" with the colours that its profile gives
    it; a profile that is damaged, or made for another mode, is ignored."""
    profile = image.info.get("icc_profile")
    transform = _transform(profile, image.mode) if profile else None
    if transform is None:
        return plain(image)
    return transform.apply(image)


def has_own_profile(image: Image.Image) -> bool:
    """Whether the colours of `image` are of a profile for another mode than its own: it was converted."""
    profile = image.info.get("icc_profile") or b""
    return profile[16:20] in _SPACES.values() and profile[16:20] != _SPACES.get(image.mode)


@lru_cache(_KEPT_TRANSFORMS)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB; None where nothing is to be done, or can be."""
    if profile[16:20] != _SPACES[mode]:
        return None
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(given):
            return None
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def size_of(body: bytes) -> tuple[int, int]:
    """Width and height of the thumbnail `body`."""
    with Image.open(io.BytesIO(body), formats=("JPEG",)) as file:
        return file.size


def resembles(body: bytes, pixels: np.ndarray) -> bool:
    """Whether the thumbnail `body` may be of the image whose middle square is `pixels` (C, H, W) uint8."""
    side = (ALIKE_SIDE, ALIKE_SIDE)
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as file:
            square = ImageOps.fit(file.convert("RGB"), side, Image.Resampling.HAMMING)
    except UNREADABLE:
        return False
    other = as_image(pixels).convert("RGB").resize(side, Image.Resampling.HAMMING)
    return float(np.abs(np.asarray(square, int) - np.asarray(other, int)).mean()) < ALIKE_DIFFERENCE
