"""The same picture without what is not needed to draw it: texts, profiles and tags that a file may have wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# The chunks of a PNG that make the picture; of an animated one, those of its frames.
_DRAWN = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"tIME"})
# Where the orientation may be, which is kept as long as it can be.
_XMP = b"XML:com.adobe.xmp\0"
# Segments of a JPEG with anything but the picture: APP1 to APP15 and comments, except Adobe's, which names the colours.
_SAID = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}
_EXIF, _START_OF_SCAN = 0xE1, 0xDA


def essentials(content: bytes) -> Iterator[bytes]:
    """The file with less and less of what is not the picture; nothing for files that have nothing else, and for other
    formats than PNG and JPEG."""
    before = content
    for least in (False, True):
        after = _bare(content, least)
        if after != before:
            yield after
        before = after


def _bare(content: bytes, least: bool) -> bytes:
    if content.startswith(_PNG):
        return _png(content, lambda kind, body: kind in _DRAWN if least else _wanted(kind, body))
    if content.startswith(_JPEG):
        return _jpeg(content, lambda marker: marker not in _SAID or (marker == _EXIF and not least))
    return content


def _wanted(kind: bytes, body: bytes) -> bool:
    return kind not in _TEXTS or (kind == b"iTXt" and body.startswith(_XMP))


def _png(content: bytes, wanted: Callable[[bytes, bytes], bool]) -> bytes:
    """A PNG with the chunks that are `wanted` by kind and content; what is behind damage stays."""
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 12 + length
        if end > len(content):
            break
        if wanted(content[place + 4 : place + 8], content[place + 8 : place + 8 + min(length, 32)]):
            parts.append(content[place:end])
        place = end
    return b"".join([*parts, content[place:]])


def _jpeg(content: bytes, wanted: Callable[[int], bool]) -> bytes:
    """A JPEG with the segments before the picture that are `wanted` by marker."""
    parts, place = [_JPEG], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + struct.unpack_from(">H", content, place + 2)[0]
        if marker == _START_OF_SCAN or end > len(content):
            break
        if wanted(marker):
            parts.append(content[place:end])
        place = end
    return b"".join([*parts, content[place:]])
