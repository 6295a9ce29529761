"""Files from the Hugging Face Hub: taken from its own cache where they are, else downloaded once.

A download that breaks off is kept, and goes on from there the next time.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from filelock import FileLock

from engine.config import WEIGHTS
from engine.errors import SettingError, first_sentence

# What shall be left on the disk.
SPARE_BYTES = 2**28
SHA256 = re.compile(r"[0-9a-f]{64}")
BLOCK_BYTES = 2**22
# How long a page waits for the Hub to say whether it has a file.
CHECK_SECONDS = 4.0


# Called with the name of a file that is downloaded, and its bytes so far and in all (0 while unknown).
Told = Callable[[str, int, int], None]


def nobody(_name: str, _done: int, _total: int) -> None:
    """Whom nothing is told."""


@dataclass(frozen=True)
class Downloads:
    """Where downloads lie until they are used, and who is told how far one is."""

    folder: Path = Path(tempfile.gettempdir()) / "spice-explorer-downloads"
    told: Told = nobody


@dataclass(frozen=True)
class _Remote:
    """A file on the Hub."""

    repository: str
    revision: str | None
    name: str
    url: str
    etag: str
    size: int


def hub_file(repository: str, names: tuple[str, ...], downloads: Downloads) -> Path:
    """The first of the files `names` that `repository` ("ORG/NAME" or "ORG/NAME@REVISION") has.

    Raises:
        SettingError: when the Hub cannot be reached or has no such file, the repository is gated, the download
            breaks off or arrives damaged, or the disk is full.
    """
    kept = kept_file(repository, names)
    return kept if kept is not None else _downloaded(_first(repository, names), downloads)


def check_download(repository: str, names: tuple[str, ...]) -> None:
    """Asks the Hub for what `hub_file` would download, and leaves it there; it has a few seconds to answer.

    Raises:
        SettingError: the one of `hub_file`.
    """
    if kept_file(repository, names) is None:
        _first(repository, names, CHECK_SECONDS)


def _first(repository: str, names: tuple[str, ...], seconds: float | None = None) -> _Remote:
    """The first of the files that the repository has; raises SettingError."""
    place, _, revision = repository.partition("@")
    for name in names:
        remote = _remote(place, revision or None, name, seconds)
        if remote is not None:
            return remote
    raise SettingError(f"{place} has none of the files {', '.join(names)}: choose another network")


def kept_file(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of the files that is in the Hub's own cache; raises SettingError for what is no repository."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    place, _, revision = repository.partition("@")
    try:
        found = [try_to_load_from_cache(place, one, constants.HF_HUB_CACHE, revision or None) for one in names]
    except HFValidationError:
        raise SettingError(f"{repository!r} is no repository of the Hugging Face Hub: write ORG/NAME") from None
    return next((Path(one) for one in found if isinstance(one, str)), None)


def _remote(place: str, revision: str | None, name: str, seconds: float | None) -> _Remote | None:
    """What the Hub says of a file within `seconds`; None if the repository has no such file."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    url = hf_hub_url(place, name, revision=revision)
    with _explained(place, name):
        try:
            found = get_hf_file_metadata(url, timeout=seconds or constants.HF_HUB_ETAG_TIMEOUT)
        except EntryNotFoundError:
            return None
    return _Remote(place, revision, name, url, found.etag or "", found.size or 0)


def _downloaded(remote: _Remote, downloads: Downloads) -> Path:
    downloads.folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.blake2b(f"{remote.url} {remote.etag}".encode(), digest_size=8).hexdigest()
    file = downloads.folder / f"{key}-{remote.name}"
    part = file.with_name(f"{file.name}.part")
    with FileLock(f"{file}.lock"):
        if not file.exists():
            _check_room(remote, part)
            with _explained(remote.repository, remote.name, part, remote.size):
                _fetch(remote, part, downloads)
            _check_sum(remote, part)
            part.replace(file)
    return file


def _fetch(remote: _Remote, part: Path, downloads: Downloads) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with part.open("ab") as out:
        if remote.size and out.tell() > remote.size:
            out.truncate(0)
        told = _Told(out, lambda done: downloads.told(remote.name, done, remote.size))
        http_get(
            remote.url,
            cast(BinaryIO, told),
            resume_size=out.tell(),
            headers=build_hf_headers(),
            expected_size=remote.size or None,
            displayed_filename=f"{remote.repository} {remote.name}",
        )


class _Told:
    """A file that tells how long it is after each write."""

    def __init__(self, file: IO[bytes], told: Callable[[int], None]) -> None:
        self._file, self._told = file, told

    def write(self, content: bytes) -> int:
        written = self._file.write(content)
        self._told(self._file.tell())
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_room(remote: _Remote, part: Path) -> None:
    """Raises SettingError when the disk has no room for the rest of the file."""
    have = part.stat().st_size if part.exists() else 0
    if remote.size - have + SPARE_BYTES > shutil.disk_usage(part.parent).free:
        raise _full(remote.repository, part.parent, remote.size)


def _check_sum(remote: _Remote, part: Path) -> None:
    """Deletes a large file that is not what the Hub says it is, and raises SettingError."""
    if not SHA256.fullmatch(remote.etag):
        return  # of a small file, which has another kind of sum
    found = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.update(block)
    if found.hexdigest() != remote.etag:
        part.unlink()
        raise SettingError(
            f"{remote.name} of {remote.repository} arrived damaged, and was deleted: try again to download it again"
        )


@contextmanager
def _explained(repository: str, name: str, part: Path | None = None, size: int = 0) -> Iterator[None]:
    """Turns the Hub's errors, and those of the network and the disk, into a sentence."""
    from huggingface_hub import errors

    # The Hub's error is also one of the library that asks the network, whichever that is.
    faults: tuple[type[Exception], ...] = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        yield
    except errors.EntryNotFoundError:
        raise
    except faults as error:
        raise _sentence(error, repository, name, part, size) from None


def _sentence(error: Exception, repository: str, name: str, part: Path | None, size: int) -> SettingError:
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repository}"
    if isinstance(error, errors.GatedRepoError):
        return SettingError(
            f"{repository} is gated: accept its licence at {page}, then log in with `hf auth login`, or choose another"
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):
        return SettingError(
            f"there is no {repository} on the Hugging Face Hub, or it was deleted or is private: check its name at "
            f"{page}, or choose another network"
        )
    if isinstance(error, errors.DisabledRepoError):
        return SettingError(f"{repository} was taken down by the Hugging Face Hub (see {page}): choose another network")
    refusal = getattr(getattr(error, "response", None), "status_code", None)
    if refusal in (401, 403):
        return SettingError(
            f"the Hugging Face Hub refuses {repository} (status {refusal}): your token may have expired or may not "
            "cover it; log in again with `hf auth login`, or choose another network"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(repository, part.parent if part else Path(), size)
    have = part.stat().st_size if part is not None and part.exists() else 0
    if have:
        return SettingError(
            f"the download of {repository} broke off after {have / 1e6:,.1f} of {size / 1e6:,.1f} MB "
            f"({first_sentence(error)}): try again, and it goes on from there"
        )
    own = repository if repository.startswith("timm/") else "timm/NAME"
    return SettingError(
        f"{repository} could not be downloaded ({first_sentence(error) or type(error).__name__}): connect to the "
        f"network; or fetch {name} elsewhere, and use it with features.source={WEIGHTS}{own}:FILE; or copy the "
        "Hub's cache from a machine that has it, name it with HF_HOME, and set HF_HUB_OFFLINE=1"
    )


def _full(repository: str, folder: Path, size: int) -> SettingError:
    return SettingError(
        f"{repository} needs {size / 1e6:,.0f} MB, but the disk of {folder} is full: free some space, or name "
        "another place with SPICE_EXPLORER_CACHE"
    )
