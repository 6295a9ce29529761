"""A picture that tells how it was treated: the left half is red, the right half is blue."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)
SIDEWAYS = 6


def two_colours(width: int = 900, height: int = 300, mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image.convert(mode)


def content(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **({"quality": 90} if form in ("JPEG", "WEBP") else {}) | options)
    return out.getvalue()


def turned(form: str = "JPEG") -> bytes:
    """It lies on its side, and its EXIF says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    return content(two_colours().transpose(Image.Transpose.ROTATE_90), form, exif=exif)


def colours(image: Image.Image) -> list[str]:
    """Of the middle of the left half and of the right half, as far as they are known by name."""
    found = []
    for x in (image.width // 4, image.width * 3 // 4):
        pixel = image.convert("RGB").getpixel((x, image.height // 2))
        names = {"red": RED, "green": GREEN, "blue": BLUE}
        near = [name for name, value in names.items() if np.abs(np.subtract(pixel, value)).max() < 60]
        found.append(near[0] if near else str(pixel))
    return found


# -- colour profiles ---------------------------------------------------------------------------


def swapping_profile() -> bytes:
    """A profile of RGB whose red is sRGB's blue, and its blue sRGB's red."""
    red, green, blue = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    gamma = b"curv" + struct.pack(">III", 0, 1, int(2.2 * 256) << 16)
    tags = {b"rXYZ": _xyz(*blue), b"gXYZ": _xyz(*green), b"bXYZ": _xyz(*red)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def green_profile() -> bytes:
    """A profile of CMYK in which every colour is a green."""
    head = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    lab = bytes((int(0.87 * 255), 128 - 80, 128 + 80))
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": head + ramp * 4 + lab * 16 + ramp * 3})


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(one * 65536) for one in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"made for a test\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {b"desc": described, b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0", **tags}
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += tag + struct.pack(">II", offset + len(body), len(value))
        body += padded
    head = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(body), bytes(4), 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + table + body
