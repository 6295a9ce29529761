"""The images that a person excludes from a source before training.

The decisions are kept outside the cache, which may be deleted at any time, in a log like that of a run
(`decisions`): one row each, an undo is another row. A log belongs to one state of a source,

    exclusions/SOURCE/FINGERPRINT/decisions.sqlite
    exclusions/SOURCE/FINGERPRINT/names.json

and if the source has changed since, excluded images are excluded again, matched by name; duplicates only
if the source has merely grown, since any other change may have removed their twins.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.curate.curation import State
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import FILE, DecisionLog
from engine.data.columns import of_images
from engine.data.image_store import cache
from engine.data.images import ImageSet, fingerprint_of
from engine.data.skipped import Skipped
from engine.errors import DecisionError, SourceError, disk_cure, reason_of, sized
from engine.health.health import DUPLICATES, Problem
from engine.sources.folders import readable
from engine.sources.open_source import KINDS, Opened, kind_and_path

# Why an image was excluded, as recorded in the log.
REASONS: dict[Problem, str] = {
    "exact duplicates": "exact duplicate",
    "near duplicates": "near duplicate",
    "dark": "dark",
    "bright": "bright",
    "blurred": "may be blurred",
    "blank": "blank",
    "odd aspect": "odd aspect",
    "outliers": "outlier",
}
OF_DUPLICATES = {REASONS[problem] for problem in DUPLICATES}
BY_HAND = "by hand"
# This page asks for no name: anyone who opens a source decides for everyone, and can undo the last decision.
REVIEWER = "before training"
NAMES = "names.json"
HOME = "SPICE_EXPLORER_HOME"
# Fewer pixels than these are kept in memory when some images are excluded.
IN_MEMORY_BYTES, BLOCK_BYTES = 2**28, 2**24


class Exclusions:
    """The excluded images of a source, kept up to date with other people's decisions.

    Raises:
        DecisionError: from all methods, when the log cannot be read or written.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self.folder = _folder(images)
        begun = (self.folder / FILE).exists()
        self._log = _log_in(self.folder, len(images), images.fingerprint)
        nothing = np.zeros(len(images), np.int64)  # there is no model yet that could say anything
        self._model = Model(nothing, nothing.astype(np.float32), "")
        if not begun:
            self._carry()

    # -- reading -------------------------------------------------------------------------------

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool: the images that are not excluded."""
        return self._log.curation.state != State.EXCLUDED

    def refresh(self) -> None:
        """Takes what other tabs and programs have decided since."""
        self._log.refresh()

    def reasons(self) -> dict[int, str]:
        """The reason for each excluded image."""
        return _reasons(self._log)

    def parted(self) -> tuple[np.ndarray, tuple[Skipped, ...]]:
        """The images that are kept, (N,) bool, and all others by name with the reason: both as they are
        at the same moment."""
        reasons, kept = self.reasons(), np.ones(len(self._images), bool)
        kept[list(reasons)] = False
        return kept, tuple(Skipped(self._images.ids[one], why) for one, why in reasons.items())

    def left_out(self) -> tuple[Skipped, ...]:
        """The excluded images, by name, with the reason."""
        return self.parted()[1]

    def undoable(self) -> Decision | None:
        """The last decision that stands."""
        row = self._log.curation.undoable(REVIEWER)
        return None if row is None else self._log.decisions(after=row - 1, most=1)[0]

    def close(self) -> None:
        self._log.close()

    # -- deciding ------------------------------------------------------------------------------

    def exclude(self, images: np.ndarray, reason: str, visit: str = "") -> int:
        """Leaves out those of `images` (m,) that are not yet, as one decision; returns how many."""
        self.refresh()
        new = np.asarray(images, np.int64)
        new = new[self.kept[new]]
        if len(new):
            self._commit(Decision("exclude", REVIEWER, visit=visit, images=new, text=reason))
        return len(new)

    def put_back(self, images: np.ndarray, visit: str = "") -> int:
        """Puts back those of `images` (m,) that are excluded, as one decision."""
        self.refresh()
        out = np.asarray(images, np.int64)
        out = out[~self.kept[out]]
        if len(out):  # someone has looked at them and finds them right
            self._commit(Decision("accept", REVIEWER, visit=visit, images=out, text="put back"))
        return len(out)

    def undo(self, visit: str = "") -> None:
        """Turns the last decision back; raises DecisionError when there is none."""
        self._commit(Decision("undo", REVIEWER, visit=visit))

    def _commit(self, *asked: Decision) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = self.folder / NAMES
            if not names.exists():
                draft = names.with_suffix(".tmp")
                draft.write_text(json.dumps(self._images.ids), "utf-8")
                draft.replace(names)
        except OSError as error:
            raise DecisionError(
                f"{self.folder} cannot be written ({reason_of(error)}): nothing was saved; "
                f"{disk_cure(error, f'name another place with {HOME}')}"
            ) from None
        self._log.commit(asked, self._model)

    # -- a source that has changed ---------------------------------------------------------------

    def _carry(self) -> None:
        """Excludes, by name, the images that were excluded from the source's previous state.

        A duplicate may only be excluded while a copy remains. If all images are unchanged, so is the
        copy. If one is missing or has changed, a duplicate may be the last copy: then none is excluded,
        and the health report finds those that are still duplicates.
        """
        before = _before(self.folder)
        if before is None:
            return
        left_out = _named_reasons(before)
        if not OF_DUPLICATES.isdisjoint(left_out.values()) and not _holds(self._images, before):
            left_out = {name: why for name, why in left_out.items() if why not in OF_DUPLICATES}
        place = {name: index for index, name in enumerate(self._images.ids)}
        gone: dict[str, list[int]] = {}
        for name, reason in left_out.items():
            if name in place:
                gone.setdefault(reason, []).append(place[name])
        asked = [
            Decision("exclude", REVIEWER, images=np.array(images), text=why, key=f"carried: {why}")
            for why, images in gone.items()
        ]
        if asked:
            self._commit(*asked)


def home() -> Path:
    """Where decisions about sources are kept: $SPICE_EXPLORER_HOME, or ~/.local/share/spice-explorer."""
    return Path(os.environ.get(HOME) or Path.home() / ".local" / "share" / "spice-explorer").absolute()


def _log_in(folder: Path, images: int, fingerprint: str) -> DecisionLog:
    return DecisionLog(folder, images=images, clusters=1, fingerprint=fingerprint)


def _reasons(log: DecisionLog) -> dict[int, str]:
    """The reason for each excluded image."""
    with log.reading() as now:
        out = np.flatnonzero(now.state == State.EXCLUDED)
        said = {one.row: one.text for one in log.decisions()} if len(out) else {}
        rows = now.deciding[out]
    return {image: said[row] for image, row in zip(out.tolist(), rows.tolist(), strict=True)}


def _named_reasons(folder: Path) -> dict[str, str]:
    """The same by name, from the log in `folder`; nothing when that cannot be read any more."""
    try:
        names = json.loads((folder / NAMES).read_text("utf-8"))
        log = _log_in(folder, len(names), folder.name)
        try:
            return {names[image]: why for image, why in _reasons(log).items()}
        finally:
            log.close()
    except (OSError, ValueError, DecisionError):
        return {}


def _folder(images: ImageSet) -> Path:
    """Where the log of these images is: the source, however it was named, and its state."""
    height, width = images.size
    about = f"{_place(images.source)} at {height} {width}"
    source = hashlib.blake2b(about.encode(), digest_size=12).hexdigest()
    return home() / "exclusions" / source / images.fingerprint


def _place(source: str) -> str:
    """A source's kind and absolute path, from its name alone: it works even if the source no longer exists."""
    named = kind_and_path(source)
    if named is None:
        return source
    kind, path = named
    alike = [one for one in KINDS if KINDS[one] is KINDS.get(kind)]  # "imagefolder" is a folder
    return f"{next(iter(alike), kind)}:{readable(path)}"


def _before(folder: Path) -> Path | None:
    """The log of the same source that was written last, in another state of it."""
    logs = [log for log in folder.parent.glob(f"*/{FILE}") if log.parent != folder]
    return max(logs, key=lambda log: log.stat().st_mtime).parent if logs else None


def _holds(images: ImageSet, before: Path) -> bool:
    """Whether all images of the earlier state in the folder `before` are among `images`, unchanged."""
    place = {name: index for index, name in enumerate(images.ids)}
    names = json.loads((before / NAMES).read_text("utf-8"))
    if not place.keys() >= set(names):
        return False
    ids = np.array([place[name] for name in names])
    shape = (len(ids), *images.pixels.shape[1:])
    return fingerprint_of(shape, names, _blocks(images.pixels, ids)) == before.name


# -- leaving out -----------------------------------------------------------------------------------


def cut(opened: Opened, kept: np.ndarray) -> Opened:
    """`opened` without the images that are not `kept` (N,) bool; itself where all are.

    The pixels of more than 256 MB are copied block by block into a nameless file, which goes with the
    last that holds on to it.

    Raises:
        DecisionError: when fewer than two images are kept.
        SourceError: when there is no room for the copy.
    """
    if kept.all():
        return opened
    if kept.sum() < 2:
        raise DecisionError(
            f"{int(kept.sum())} of the {len(kept):,} images is kept, the others are excluded: put some "
            "back before training"
        )
    images, truth, ids = opened.images, opened.truth, np.flatnonzero(kept)
    names = tuple(images.ids[index] for index in ids.tolist())
    return replace(
        opened,
        images=ImageSet(_rows(images.pixels, ids), names, images.source),
        truth=None if truth is None else truth.of(ids),
        extents=None if opened.extents is None else opened.extents[ids],
        columns=of_images(opened.columns, ids),
        stamps=None if opened.stamps is None else opened.stamps[ids],
    )


def _rows(pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    each = pixels[:1].nbytes
    if each * len(ids) <= IN_MEMORY_BYTES:
        return np.asarray(pixels[ids])
    try:
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache()) as file:
            for block in _blocks(pixels, ids):
                file.write(block)
            file.flush()
            return np.memmap(file, np.uint8, "c", shape=(len(ids), *pixels.shape[1:]))
    except OSError as error:
        raise SourceError(
            f"{sized(each * len(ids))} of kept images cannot be written to {cache()} "
            f"({reason_of(error)}): {disk_cure(error, 'name another place with SPICE_EXPLORER_CACHE')}"
        ) from None


def _blocks(pixels: np.ndarray, ids: np.ndarray) -> Iterator[memoryview]:
    length = max(1, BLOCK_BYTES // pixels[:1].nbytes)
    for start in range(0, len(ids), length):
        yield np.ascontiguousarray(pixels[ids[start : start + length]]).data


def without_excluded(opened: Opened) -> tuple[Opened, tuple[Skipped, ...]]:
    """The images to train on, and the excluded ones; raises SpiceError as `Exclusions` and `cut` do."""
    decided = Exclusions(opened.images)
    try:
        kept, excluded = decided.parted()
        return cut(opened, kept), excluded
    finally:
        decided.close()


def without(opened: Opened, names: set[str]) -> Opened:
    """`opened` without the images of these names: as a run was begun; raises SpiceError as `cut`."""
    return cut(opened, np.array([one not in names for one in opened.images.ids]))
