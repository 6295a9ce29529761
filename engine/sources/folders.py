"""A folder of image files, of any size and depth, perhaps with a table like Hugging Face's image folders."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.listing import Listing, Reader
from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError, sized
from engine.formats.bounds import IMAGE_BYTES, Lookout
from engine.formats.images import HEAD_BYTES, IMAGE_ENDINGS, USUAL_ENDINGS, ending_of, judged
from engine.formats.samples import NOT_OF_ITS_OWN, companions
from engine.formats.stamps import stamp_of
from engine.sources.metadata import is_metadata, metadata_of

_ENDINGS = tuple(IMAGE_ENDINGS)
# Names of top folders that are parts of a set, not classes.
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"})


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
    if name.isascii():
        return name
    # Not by os.fsencode: file names are UTF-8 even where the locale is not.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def on_system(name: str) -> str:
    """`name` as the system takes it, also where the locale's encoding does not have its letters."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass").decode(sys.getfilesystemencoding(), "surrogateescape")
    return name


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
            raise SourceError(nothing_usable(self.root, found))
        names, keys, stamps, skipped = unique(found.files, found.stamps)
        said = metadata_of(lambda path: _table(self.root / path), found.tables, names, labels=self.labels)
        truth = said.truth
        if self.labels and truth is None:
            truth = truth_beside(said.odd, self.root, names)
        everything = (*found.skipped, *skipped, *said.odd)
        return Listing(names, stamps, keys, everything, truth, said.columns, said.notes)


def _table(path: Path) -> bytes:
    """The content of a table beside the images; raises SourceError for a pipe, which would never end, and OSError."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise SourceError("not a regular file")
    if about.st_size > IMAGE_BYTES:
        raise SourceError(f"holds {sized(about.st_size)}, allowed are {sized(IMAGE_BYTES)}: open it as a table instead")
    return path.read_bytes()


def truth_beside(
    odd: tuple[Skipped, ...], where: object, names: Iterable[str], told: str = "the names of folders"
) -> Truth:
    """`folder_truth`; when there is none, and a table could not be used, that is the reason."""
    try:
        return folder_truth(where, names, told)
    except SourceError:
        if not odd:
            raise
        raise SourceError(
            f"labels were requested, but {odd[0].name} cannot be used: {odd[0].reason}; or open the images without "
            "labels"
        ) from None


@dataclass
class Walk:
    """The contents of a folder, as paths relative to it with forward slashes.

    `others` counts the files that are no images by their ending, and those that are hidden.
    """

    files: list[str]
    stamps: np.ndarray
    tables: list[str]
    skipped: list[Skipped]
    others: Counter[str]


def walk(root: Path) -> Walk:
    """Finds the image files below `root`, sorted by path, with their stamps."""
    real = os.path.realpath(root)
    found: dict[str, tuple[int, int]] = {}
    tables: list[str] = []
    skipped: list[Skipped] = []
    others: Counter[str] = Counter()
    lookout = Lookout(root)
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(root / below) as entries:
                listed = _all(entries, root)
        except OSError as error:
            skipped.append(Skipped(readable(f"{below or '.'}/"), error.strerror or str(error)))
            continue
        inside = [one for one in listed if not one.name.startswith(".")]
        others["hidden"] += len(listed) - len(inside)
        lookout.see(len(found))
        for entry in inside:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif entry.is_dir():
                    skipped.append(Skipped(readable(path), "a link to a folder: not followed"))
                elif is_metadata(entry.name):
                    tables.append(path)
                elif _is_image(entry, real):
                    found[path] = _stamp(entry, real)
                else:
                    others[ending_of(entry.name)] += 1
            except OSError as error:
                skipped.append(Skipped(readable(path), error.strerror or str(error)))
            except SourceError as error:
                skipped.append(Skipped(readable(path), str(error)))
    files = sorted(found)
    stamps = np.array([found[one] for one in files], np.int64).reshape(-1, 2)
    return Walk(files, stamps, sorted(tables), sorted(skipped, key=lambda one: one.name), others)


def _all(entries: Iterable[os.DirEntry[str]], root: Path) -> list[os.DirEntry[str]]:
    """Raises SourceError where one folder has more files than there is memory for."""
    found, lookout = [], Lookout(root)
    for entry in entries:
        found.append(entry)
        lookout.see(len(found))
    return found


def _is_image(entry: os.DirEntry[str], root: str) -> bool:
    """Raises SourceError, with the reason, for an image that is not read."""
    if entry.name.lower().endswith(_ENDINGS):  # most files: quicker than to take the name apart
        return True
    taken, why = judged(entry.name, lambda: _head(entry, root))
    if why:
        raise SourceError(why)
    return taken


def _head(entry: os.DirEntry[str], root: str) -> bytes:
    """The first bytes of a regular file that can be read and is not outside `root`; none of any other."""
    try:
        _stamp(entry, root)
        with open(entry.path, "rb", buffering=0) as file:
            return file.read(HEAD_BYTES) or b""
    except (OSError, SourceError):
        return b""


def nothing_usable(where: object, found: Walk) -> str:
    """Why a folder gives no image: the first reasons, or what else is in it."""
    if found.skipped:
        return refused(where, found.skipped)
    others = [(ending or "without an ending", count) for ending, count in found.others.most_common(3) if count]
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in others)
    inside = f" (it has other files: {kinds}; a table, an archive or an array is opened by its own path)"
    return f"{where} holds no image files ({USUAL_ENDINGS}): choose another folder{inside if kinds else ''}"


def refused(where: object, skipped: Sequence[Skipped]) -> str:
    """Why none of the images in a source is usable, with the most frequent reasons."""
    count = f"none of the {len(skipped):,} files in {where} that may be images can be used"
    return f"{count}; the first is {first_of(skipped)}"


def first_of(skipped: Sequence[Skipped]) -> str:
    """The first file with each of the most frequent reasons, and what to do about links."""
    reasons = Counter(one.reason for one in skipped).most_common(3)
    first = {reason: next(one.name for one in skipped if one.reason == reason) for reason, _ in reasons}
    words = "; ".join(
        f"{first[reason]}: {reason}" + (f" (and {n - 1:,} more)" if n > 1 else "") for reason, n in reasons
    )
    linked = any(reason.startswith("a link") for reason in first)
    return words + (". Name the folder that the links lead to, or copy the images with cp -rL" if linked else "")


def _stamp(entry: os.DirEntry[str], root: str) -> tuple[int, int]:
    """The stamp of a regular file; raises SourceError for any other, and outside `root`."""
    about = entry.stat()
    if not stat.S_ISREG(about.st_mode):
        raise SourceError("not a regular file")
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith(root + os.sep):
        raise SourceError("a link to outside the folder: not followed")
    return stamp_of(about)


def unique(paths: list[str], stamps: np.ndarray) -> tuple[tuple[str, ...], list[str], np.ndarray, list[Skipped]]:
    """Readable names, with paths and stamps; of several paths with the same readable name, the first is
    kept and the others are skipped, as are `companions`."""
    names = [readable(one) for one in paths]
    about = companions(names)
    if len(set(names)) == len(names) and not about:
        return tuple(names), paths, stamps, []
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    places = sorted(place for name, place in first.items() if name not in about)
    again = [
        Skipped(name, "another image has the same name") for place, name in enumerate(names) if first[name] != place
    ]
    again += [Skipped(name, NOT_OF_ITS_OWN.format(image=image)) for name, image in about.items()]
    return tuple(names[i] for i in places), [paths[i] for i in places], stamps[places], again


def folder_truth(where: object, names: Iterable[str], told: str) -> Truth:
    """The first subfolder of each image is its class, apart from those that are above the classes: a split such as
    train, or the one folder that an archive was made of.

    Raises:
        SourceError: if an image has no such folder, only some of the folders are splits, or there are too many
            classes.
    """
    parts = [name.split("/")[:-1] for name in names]
    while _above_classes(where, parts):
        parts = [one[1:] for one in parts]
    stray = sum(not one for one in parts)
    if stray:
        raise SourceError(
            f"labels were requested from the subfolders of {where}, but {stray} images lie directly in "
            "it: move them into class folders, or open the images without labels"
        )
    return class_truth([one[0] for one in parts], told)


def _above_classes(where: object, parts: list[list[str]]) -> bool:
    """Whether the first folders of the images are no classes; raises SourceError if only some of them are."""
    if not all(parts):
        return False
    first = {one[0] for one in parts}
    splits = {one for one in first if one.lower() in SPLITS}
    if splits == first:
        return True
    deeper = {one[0] for one in parts if len(one) > 1}
    if splits & deeper:
        raise SourceError(
            f"labels were requested from the subfolders of {where}, but {min(splits & deeper)} is a part of a set, and "
            f"{min(first - splits)} is not: open one of them, or open the images without labels"
        )
    return len(first) == 1 and bool(deeper)  # a single class would tell nothing
