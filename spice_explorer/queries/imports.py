"""The app's access to sources: background imports, uploads, sets by name."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.data.image_store import cache
from engine.errors import SourceError, disk_cure, reason_of, sized
from engine.formats.bounds import SPARE_DISK
from engine.leftovers import DRAFT, holding
from engine.sources.import_job import Asked, the_importer
from engine.sources.sets import SETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.data.origin import Fit
    from engine.sources.import_job import ImportJob

Steer = Literal["pause", "continue", "cancel"]
# Kinds of files that can be dropped onto the page; for larger ones, type the path.
_UPLOADS = "zip tar gz tgz xz txz bz2 tbz tbz2 csv tsv jsonl ndjson parquet npy npz"
UPLOADS = tuple(_UPLOADS.split())


def begin(source: str, size: int | None, labels: bool, root: str = "", fit: Fit = "crop") -> Asked:
    """Begins to open `source`, in the background; what it returns asks how that goes."""
    asked = Asked(source.strip(), size, labels, root.strip() or None, fit)
    the_importer().begin(asked)
    return asked


def look(asked: Asked) -> ImportJob | None:
    """How the import is coming along."""
    return the_importer().look(asked)


def steer(asked: Asked, action: Steer) -> None:
    importer = the_importer()
    {"pause": importer.pause, "continue": importer.resume, "cancel": importer.cancel}[action](asked)


def begin_again(asked: Asked) -> None:
    """Restarts a forgotten import; images already in the cache are available immediately."""
    the_importer().begin(asked)


def drop(asked: Asked) -> None:
    """Nobody is waiting for the import any more: cancels it, or releases its result."""
    importer = the_importer()
    importer.cancel(asked)
    importer.forget(asked)


def keep_upload(name: str, content: memoryview) -> str:
    """Keeps a file that was dropped onto the page, and returns its path; raises SourceError."""
    # The browser's name is shown, never used as a path: only its last part, of plain letters.
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in last).lstrip(".")[-80:]
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    folder = cache() / "uploads" / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, draft = folder / (plain or "images"), folder / f".upload{DRAFT}{secrets.token_hex(6)}"
        if not path.exists():
            _check_room(last, len(content), folder)
            with draft.open("wb") as file, holding(draft):
                file.write(content)
            draft.replace(path)
    except OSError as error:
        raise SourceError(
            f"{last} cannot be kept in {folder} ({reason_of(error)}): "
            f"{disk_cure(error, 'name another place with SPICE_EXPLORER_CACHE')}"
        ) from None
    return str(path)


def _check_room(name: str, length: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if length + SPARE_DISK > free:
        raise SourceError(
            f"{name} cannot be kept in {folder}: it has {sized(length)}, and of {sized(free)} that are free "
            f"{sized(SPARE_DISK)} stay so; free some space, or name another place with SPICE_EXPLORER_CACHE"
        )


def known_sets() -> Mapping[str, str]:
    """The benchmark sets: title by name."""
    return {name: one.title for name, one in SETS.items()}


def downloadable(name: str) -> bool:
    """Whether the set can be downloaded from here, if there is a network."""
    return SETS[name].fetch is not None
