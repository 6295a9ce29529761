"""A folder of image files, of any size and depth, perhaps with a table like Hugging Face's image folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.columns import METADATA, metadata_columns
from engine.data.decode_image import IMAGE_ENDINGS
from engine.data.listing import Listing, Reader
from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError

_ENDINGS = tuple(IMAGE_ENDINGS)
# Names of top folders that are parts of a set, not classes.
SPLITS = frozenset({"train", "test", "val", "valid", "validation"})


def existing_folder(text: str) -> Path:
    """The folder that the user named; raises SourceError."""
    path = Path(os.path.expanduser(text))  # Path.expanduser would raise for unknown users
    if not path.exists():
        raise SourceError(f"there is no folder {text}: check the path")
    if not path.is_dir():
        raise SourceError(f"{text} is a file: expected a folder of images")
    return path


def existing_file(text: str, what: str) -> Path:
    """The file that the user named, which should be `what`; raises SourceError."""
    path = Path(os.path.expanduser(text))
    if not path.exists():
        raise SourceError(f"there is no file {text}: check the path")
    if not path.is_file():
        raise SourceError(f"{text} is not a regular file: expected {what}")
    return path


def readable(name: str) -> str:
    """`name` as valid text for JSON, CSV and pages, with bytes that are not UTF-8 as \\xNN."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class FolderReader:
    """Turns a path relative to `root` into a full path."""

    root: Path

    def __call__(self, key: str) -> str:
        return f"{self.root}{os.sep}{key}"


class FolderSource:
    """The image files below a folder, sorted by path.

    Hidden files and folders are ignored. Links to folders are not followed, because a link to a parent
    would make the walk endless, and links to files outside the folder are not read.
    """

    side: int | None = 32

    def __init__(self, text: str, path: str, *, labels: bool = False) -> None:
        self.root, self.text, self.labels = existing_folder(path), readable(text), labels
        self.place = f"folder:{readable(os.path.abspath(self.root))}"

    def stamp(self) -> str:
        return ""

    def reader(self) -> Reader:
        return FolderReader(self.root)

    def listing(self) -> Listing:
        found = walk(self.root)
        if not found.files:
            raise SourceError(
                f"{self.root} holds no image files ({', '.join(sorted(IMAGE_ENDINGS))}): choose another folder"
            )
        names, keys, stamps, skipped = unique(found.files, found.stamps)
        columns, truth, odd = metadata_columns(self.root, found.tables, names, labels=self.labels)
        if self.labels and truth is None:
            truth = folder_truth(self.root, names)
        return Listing(names, stamps, keys, (*found.skipped, *skipped, *odd), truth, columns)


@dataclass
class Walk:
    """The contents of a folder, as paths relative to it with forward slashes."""

    files: list[str]
    stamps: np.ndarray
    tables: list[str]
    skipped: list[Skipped]


def walk(root: Path) -> Walk:
    """Finds the image files below `root`, sorted by path, with their sizes and modification times."""
    real, found = os.path.realpath(root), {}
    tables: list[str] = []
    skipped: list[Skipped] = []
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(root / below) as entries:
                inside = [one for one in entries if not one.name.startswith(".")]
        except OSError as error:
            skipped.append(Skipped(readable(f"{below or '.'}/"), error.strerror or str(error)))
            continue
        for entry in inside:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif entry.is_dir():
                    skipped.append(Skipped(readable(path), "a link to a folder: not followed"))
                elif entry.name in METADATA:
                    tables.append(path)
                elif entry.name.lower().endswith(_ENDINGS):
                    found[path] = _stamp(entry, real)
            except OSError as error:
                skipped.append(Skipped(readable(path), error.strerror or str(error)))
            except SourceError as error:
                skipped.append(Skipped(readable(path), str(error)))
    files = sorted(found)
    stamps = np.array([found[one] for one in files], np.int64).reshape(-1, 2)
    return Walk(files, stamps, sorted(tables), sorted(skipped, key=lambda one: one.name))


def _stamp(entry: os.DirEntry[str], root: str) -> tuple[int, int]:
    """Size and modification time (ns) of a regular file; raises SourceError for any other, and outside `root`."""
    about = entry.stat()
    if not stat.S_ISREG(about.st_mode):
        raise SourceError("not a regular file")
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith(root + os.sep):
        raise SourceError("a link to outside the folder: not followed")
    return about.st_size, about.st_mtime_ns


def unique(paths: list[str], stamps: np.ndarray) -> tuple[tuple[str, ...], list[str], np.ndarray, list[Skipped]]:
    """Readable names, with paths and stamps; of several paths with the same readable name, the first is
    kept and the others are skipped."""
    names = [readable(one) for one in paths]
    if len(set(names)) == len(names):
        return tuple(names), paths, stamps, []
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    places = sorted(first.values())
    again = [
        Skipped(name, "another image has the same name") for place, name in enumerate(names) if first[name] != place
    ]
    return tuple(names[i] for i in places), [paths[i] for i in places], stamps[places], again


def folder_truth(where: object, names: Iterable[str]) -> Truth:
    """The first subfolder of each image is its class, or the second if the first is a split such as train.

    Raises:
        SourceError: if an image has no such folder, or there are too many classes.
    """
    parts = [name.split("/")[:-1] for name in names]
    if parts and all(len(one) > 1 and one[0].lower() in SPLITS for one in parts):
        parts = [one[1:] for one in parts]
    stray = sum(not one for one in parts)
    if stray:
        raise SourceError(
            f"labels were requested from the subfolders of {where}, but {stray} images lie directly in "
            "it: move them into class folders, or open the images without labels"
        )
    return class_truth([one[0] for one in parts])
