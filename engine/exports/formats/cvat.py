"""CVAT for images 1.1: annotations.xml with a tag for each image, which Datumaro reads, too."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from engine.exports.format import Export, Format
from engine.exports.trees import put_pictures, save_table
from engine.runs.files import write_text

IMAGES, ALL = "images", "annotations"
# Who gave a label, in the words of CVAT.
SOURCES = {"seen": "manual", "bulk": "manual", "voted": "semi-auto", "model": "auto"}
# What XML has no way to say.
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Values of EXIF's orientation by which an image lies on its side.
_LYING = (5, 6, 7, 8)


def _fill(export: Export) -> None:
    """images/IMAGE and annotations.xml, or images/SPLIT/IMAGE and SPLIT.xml for each part; and labels.csv. CVAT and
    Datumaro know an image by its file's name without the ending."""
    found = export.labelled
    parts = found.table["split"].tolist() if "split" in found.table else [""] * len(found)
    paths = put_pictures(export, lambda place: "/".join(filter(None, [IMAGES, parts[place]])), stems=True)
    listed: dict[str, list[str]] = {part: [] for part in found.splits}
    given = zip(paths, parts, found.table["class_name"], found.table["provenance"], strict=True)
    for path, part, name, provenance in given:
        file = export.draft / Path(*path.split("/"))
        listed[part].append(_image(len(listed[part]), file, name, SOURCES[provenance]))
    for part, images in listed.items():
        write_text(export.draft / f"{part or ALL}.xml", "\n".join([_head(found.classes), *images, "</annotations>\n"]))
    save_table(export, paths)


def _head(classes: tuple[str, ...]) -> str:
    labels = "".join(f"<label><name>{escape(_said(name))}</name><attributes/></label>" for name in classes)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><labels>{labels}</labels></task></meta>"
    )


def _image(number: int, file: Path, name: str, source: str) -> str:
    width, height = _size(file)
    tag = f'<tag label={quoteattr(_said(name))} source="{source}"></tag>'
    return f'<image id="{number}" name={quoteattr(file.name)} width="{width}" height="{height}">{tag}</image>'


def _size(file: Path) -> tuple[int, int]:
    """Width and height of a picture, upright; only its head is read."""
    with Image.open(file) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(0x0112) in _LYING else (width, height)


def _said(name: str) -> str:
    return _UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", name)


FORMATS = (
    Format(
        "cvat",
        "CVAT, Datumaro",
        "CVAT for images 1.1: a tag for each image, and the images. Datumaro reads it, too.",
        pictures=True,
        options=frozenset({"how"}),
        fill=_fill,
    ),
)
