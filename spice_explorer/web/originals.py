"""What people see of the images of a run, or of an opened source: thumbnails of the originals, and the
originals themselves.

Where these cannot be had (the source is gone, or has changed since), the pixels that were trained on stand
in for them.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import pictured, resembles, size_of
from engine.errors import RunError, SourceError, SpiceError
from engine.sources.originals import Original, facts, gone, make_thumbnails, origin_named, read_original, stamps_now
from spice_explorer.present.gallery import PIXELATED
from spice_explorer.queries import artefacts, runs
from spice_explorer.queries.cache import cached

if TYPE_CHECKING:
    from engine.data.images import ImageSet
    from engine.data.origin import Origin
    from engine.runs.folder import RunFolder
    from engine.sources.open_source import Opened

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
# What may be otherwise a moment later: the source is mounted, or the run made again.
FRESH = {**HEADERS, "Cache-Control": "no-store"}
MOST_DIGITS = 12
# What the names of opened sources begin with in addresses; no run's name does.
SOURCE = "."
# Opened sources whose pictures can be asked for; one that is looked at again is known again.
MOST_SOURCES = 32


@dataclass(frozen=True, eq=False)
class Pictures:
    """The originals of the N images of a run, or of an opened source.

    Attributes:
        name: what they are called in addresses: the run's name, or SOURCE and a hash.
        version: changes with the images, so that nobody is shown those of another run of the same name.
        origin: where they are; None where nobody knows, or there are none.
        stamps: (N, 2) int64, as they were at the import; None in a run of an early version.
        extents: (N, 2) int32, their widths and heights; None likewise.
        pictured: (N,) bool, of which a thumbnail is shown; of an early run, only a look can tell.
    """

    name: str
    version: str
    images: ImageSet
    origin: Origin | None
    stamps: np.ndarray | None
    extents: np.ndarray | None
    pictured: np.ndarray

    def bodies(self, ids: Sequence[int], *, make: bool = True) -> list[bytes | None]:
        """Thumbnails of the originals of `ids` as JPEG; those that are not kept are made, if `make`. None
        stands for images that have none: they are small, have changed, or are not there any more."""
        found: list[bytes | None] = [None] * len(ids)
        asked = [place for place, index in enumerate(ids) if self.pictured[index]]
        if self.origin is None or not asked:
            return found
        names = [self.images.ids[ids[place]] for place in asked]
        stamps = self._stamps([ids[place] for place in asked])
        with ThumbnailStore(self.origin.place) as store:
            kept = store.bodies(names, stamps)
        missing = [row for row, body in enumerate(kept) if body is None and stamps[row, 0] >= 0]
        if missing and make:
            made = make_thumbnails(self.origin, [names[row] for row in missing], stamps[missing])
            for row, body in zip(missing, made, strict=True):
                kept[row] = body
        for place, body in zip(asked, kept, strict=True):
            found[place] = body if body is not None and self._shows(body, ids[place]) else None
        return found

    def kept_of(self, ids: Sequence[int]) -> np.ndarray:
        """(m,) bool: the thumbnails of which of the images `ids` are kept, so that they need not be made."""
        chosen = self.pictured[list(ids)]
        if self.origin is None or not chosen.any():
            return np.zeros(len(ids), bool)
        stamps = self._stamps(list(ids))
        with ThumbnailStore(self.origin.place) as store:
            return chosen & store.present([self.images.ids[index] for index in ids], stamps)

    def sizes(self, ids: Sequence[int]) -> list[tuple[int, int] | None]:
        """Width and height of the originals of which `bodies` has thumbnails, as far as can be told without
        making them; None for the others."""
        if self.extents is None:
            return [self.extent(*each) for each in zip(ids, self.bodies(ids), strict=True)]
        return [self.extent(index, None) if ok else None for index, ok in zip(ids, self._there(ids), strict=True)]

    def extent(self, index: int, body: bytes | None) -> tuple[int, int] | None:
        """Width and height of the original whose thumbnail is `body`, as far as they are known."""
        if self.extents is None:
            return None if body is None else size_of(body)
        width, height = self.extents[index].tolist()
        return width, height

    def read(self, index: int) -> Original:
        """The original of an image.

        Raises:
            SourceError: when it is not there any more, the image has none, or the file is of another image
                than an early run was trained on.
        """
        if self.origin is None or (self.stamps is None and self.bodies([index])[0] is None):
            raise SourceError("this image has no original apart from its pixels")
        return read_original(self.origin, self.images.ids[index])

    def missing(self) -> str:
        """Why the originals cannot be shown, "" while they can, or there are none."""
        return gone(self.origin) if self.origin is not None and self.pictured.any() else ""

    def stand_in(self) -> str:
        """A sentence for the page that shows the pixels that are trained on in place of photographs, or ""."""
        why, (height, width) = self.missing(), self.images.size
        return f"{why}. Pictures are shown as the model sees them, {width} × {height} pixels." if why else ""

    @property
    def kept(self) -> bool:
        """Whether there are thumbnails in the cache that can be shown without the originals."""
        if self.origin is None or self.stamps is None:
            return False
        return ThumbnailStore(self.origin.place).path.exists()

    @property
    def sharp(self) -> bool:
        """Whether there are only pictures so small that they are drawn as squares."""
        if max(self.images.size) > PIXELATED:
            return False
        return not self.pictured.any() or (self.missing() != "" and not self.kept)

    @property
    def photographs(self) -> bool:
        """Whether originals are shown, which have more to see than the pixels that are trained on."""
        return bool(self.pictured.any()) and not self.sharp

    def changed(self, index: int, stamp: tuple[int, int]) -> bool:
        """Whether an original with this stamp is another than the run was made with."""
        return self.stamps is not None and tuple(self.stamps[index].tolist()) != stamp

    def _stamps(self, ids: list[int]) -> np.ndarray:
        """(m, 2) the stamps that the originals had, or have where nobody knows that."""
        if self.stamps is not None:
            return self.stamps[ids]
        assert self.origin is not None
        try:
            return stamps_now(self.origin, [self.images.ids[index] for index in ids])
        except SourceError:
            return np.full((len(ids), 2), -1, np.int64)

    def _shows(self, body: bytes, index: int) -> bool:
        """Whether a thumbnail is of the image that was trained on, and is to be shown in its place: in an
        early run both are looked at."""
        if self.stamps is not None:
            return True
        shown = pictured(np.array([size_of(body)]), self.images.size)
        return bool(shown) and resembles(body, self.images.pixels[index])

    def _there(self, ids: Sequence[int]) -> np.ndarray:
        """(m,) bool: whose thumbnail is kept, or can be made."""
        assert self.stamps is not None
        there = self.kept_of(ids)
        rest = np.flatnonzero(self.pictured[list(ids)] & ~there)
        if self.origin is not None and len(rest):
            names, stamps = [self.images.ids[index] for index in ids], self.stamps[list(ids)]
            try:
                now = stamps_now(self.origin, [names[row] for row in rest])
                there[rest] = (now == stamps[rest]).all(1) & (now[:, 0] >= 0)
            except SourceError:
                pass
        return there


def pictures(run: RunFolder) -> Pictures:
    """The originals of a run's images; raises SpiceError when it cannot be read."""
    images, card = artefacts.images(run), run.card()
    name, version = run.name, card.fingerprint[:12]
    known = _known(run, images.size)
    if known is not None:
        return Pictures(name, version, images, *known)
    origin = origin_named(card.source)
    return Pictures(name, version, images, origin, None, None, np.full(len(images), origin is not None))


@cached(entries=16)
def _known(run: RunFolder, size: tuple[int, int]) -> tuple[Origin, np.ndarray, np.ndarray, np.ndarray] | None:
    """What the run remembers; None for a run of an early version."""
    try:
        origin, originals = run.card().origin, run.originals()
    except RunError:  # damaged: the run itself is not
        return None
    if origin is None or originals is None:
        return None
    stamps, extents = originals
    return origin, stamps, extents, pictured(extents, size)


_sources: OrderedDict[str, Pictures] = OrderedDict()
_guard = threading.Lock()


def pictures_of_source(opened: Opened) -> Pictures:
    """The originals of the images of an opened source, for which browsers may ask from now on."""
    images, origin = opened.images, opened.origin
    named = hashlib.blake2b(repr((images.fingerprint, origin)).encode("utf-8", "replace"), digest_size=16)
    name, version = SOURCE + named.hexdigest(), images.fingerprint[:12]
    if origin is None or opened.stamps is None or opened.extents is None:
        found = Pictures(name, version, images, None, None, None, np.zeros(len(images), bool))
    else:
        shown = pictured(opened.extents, images.size)
        found = Pictures(name, version, images, origin, opened.stamps, opened.extents, shown)
    with _guard:
        _sources[name] = found
        _sources.move_to_end(name)
        while len(_sources) > MOST_SOURCES:
            _sources.popitem(last=False)
    return found


def pictures_named(name: str) -> Pictures:
    """The pictures that are called so in an address; raises SpiceError where there are none."""
    if not name.startswith(SOURCE):
        return pictures(runs.folder_of(name))
    with _guard:
        found = _sources.get(name)
    if found is None:
        raise SourceError("this source is not open any more: open it on the Dataset page")
    return found


# -- what is known of one original ---------------------------------------------------------------


def about(request: Request) -> Response:
    """What is known of an image's original, as JSON; 404 for runs and images that are not there."""
    run, wanted = request.path_params["run"], request.path_params["id"]
    try:
        found = pictures_named(run)
    except (SpiceError, OSError, KeyError, ValueError):
        return PlainTextResponse("no such run", 404, FRESH)
    if not is_id(wanted, len(found.images)):
        return PlainTextResponse("no such image", 404, FRESH)
    return JSONResponse(facts_of(found, int(wanted)), headers=FRESH)


def facts_of(found: Pictures, index: int) -> dict[str, Any]:
    """What a page says of an image's original; "note" says what is missing, and why."""
    name, (height, width) = found.images.ids[index], found.images.size
    told: dict[str, Any] = {"name": name, "folder": name.rpartition("/")[0], "trained": [width, height], "note": ""}
    if found.extents is not None:
        told |= dict(zip(("width", "height"), found.extents[index].tolist(), strict=True))
    if found.origin is None:
        return told
    told["fit"] = found.origin.fit
    try:
        said = facts(found.origin, name)
    except SourceError as error:
        return told | {"note": str(error)}
    file, changed = said.file, found.changed(index, said.stamp)
    return told | {
        "width": file.width,
        "height": file.height,
        "form": file.form,
        "frames": file.frames,
        "camera": file.camera,
        "taken": file.taken.isoformat(" ") if file.taken else "",
        "bytes": said.length,
        "modified": said.modified,
        "path": said.where,
        "changed": changed,
        "note": "The file has changed since it was imported." if changed else "",
    }


def is_id(text: str, images: int) -> bool:
    """Whether `text` is the number of one of so many images."""
    return text.isdecimal() and text.isascii() and len(text) <= MOST_DIGITS and int(text) < images
