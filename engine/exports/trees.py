"""Folders of pictures: each file's name, and the table that says which image it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.exports.format import Export
from engine.exports.label_table import to_csv, write_file
from engine.exports.names import Distinct
from engine.formats.images import image_ending

# The table that is in every exported folder, and its column of the files' paths within it.
TABLE, EXPORTED_AS = "labels.csv", "exported_as"
# What the name of an image is called in tools that have an id of their own.
IMAGE_ID = "image_id"


def put_pictures(export: Export, folder_of: Callable[[int], str], *, stems: bool = False) -> list[str]:
    """Puts each picture into the draft; returns its path there, with forward slashes, in the order of the table.

    No two files of an export have the same name, not even in two folders or by another case: a person who moves one
    to another class can still say which image it is.

    Args:
        folder_of: the folder for the image with that place in the table.
        stems: whether names have to be distinct without their endings.
    """
    paths, made = list[str](), set[str]()
    for place, (name, picture) in enumerate(zip(names_of(export, stems=stems), export.pictures.each(), strict=False)):
        folder = folder_of(place)
        if folder not in made:
            (export.draft / folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        paths.append(f"{folder}/{name(picture.ending)}")
        picture.put(export.draft / Path(*paths[-1].split("/")), export.how)
        export.tell(place)
    return paths


def names_of(export: Export, *, stems: bool = False) -> Iterator[Callable[[str], str]]:
    """For each image what gives its file a name, as much like its own as can be, when the ending is known."""
    own = export.labelled.table["name"].tolist()
    bare = [os.path.splitext(name)[0] if image_ending(name) else name for name in own]
    distinct = Distinct(bare if stems else own)
    for stem in bare:

        def named(ending: str, stem: str = stem) -> str:
            return distinct(stem) + ending if stems else distinct(stem + ending)

        yield named


def save_table(export: Export, paths: list[str] | None = None, kept: np.ndarray | None = None) -> None:
    """Writes the table, with names as they are.

    Args:
        paths: of the pictures.
        kept: (M,) bool, the rows to write.
    """
    table = export.labelled.table
    if paths is not None:
        table = table.assign(**{EXPORTED_AS: paths})
        table = table[[EXPORTED_AS, *(one for one in table.columns if one != EXPORTED_AS)]]
    write_file(to_csv(table if kept is None else table[kept], guard=False), export.draft / TABLE)
