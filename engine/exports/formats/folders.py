"""A folder for each class, with its images: what torchvision's `ImageFolder` and many others open."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.exports.format import Export, Format
from engine.exports.names import folder_names
from engine.exports.trees import put_pictures, save_table

# What `ImageFolder` takes for an image; it passes over any other file in silence.
OPENED = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def _fill(export: Export) -> None:
    """[SPLIT/]CLASS/IMAGE, and labels.csv."""
    found = export.labelled
    folders, codes = folder_names(found.classes), found.codes
    splits = found.table["split"] if "split" in found.table else [""] * len(found)
    paths = put_pictures(export, lambda place: "/".join(filter(None, [splits[place], folders[codes[place]]])))
    save_table(export, paths)
    changed = [f"“{name}” is {folder}" for name, folder in zip(found.classes, folders, strict=True) if name != folder]
    if changed:
        export.notes.append(f"classes that cannot be called so as a folder: {', '.join(changed)}")
    _note_what_is_passed_over(export, paths)
    _note_missing_classes(export)


def _note_what_is_passed_over(export: Export, paths: list[str]) -> None:
    others = Counter(ending for one in paths if (ending := Path(one).suffix.lower()) not in OPENED)
    if others:
        listed = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common(4))
        export.notes.append(f"torchvision's ImageFolder passes over {listed}: give it your own is_valid_file")


def _note_missing_classes(export: Export) -> None:
    """`ImageFolder` numbers the folders that are there, so a class that one part lacks would shift the numbers."""
    found = export.labelled
    if len(found.splits) < 2:
        return
    every = set(found.table["class_name"])
    for part in found.splits:
        lacking = every - set(found.table["class_name"][found.table["split"] == part])
        if lacking:
            export.notes.append(
                f"{part} has no image of {', '.join(sorted(lacking))}, so ImageFolder numbers its classes differently"
            )


FORMATS = (
    Format(
        "folders",
        "Class folders",
        "A folder for each class with its images, for torchvision's ImageFolder and many other tools.",
        pictures=True,
        options=frozenset({"how"}),
        fill=_fill,
    ),
)
