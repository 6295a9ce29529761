"""Downloads benchmark sets into the cache with torchvision: completely or not at all."""

from __future__ import annotations

import http.client
import tarfile
import tempfile
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.data.image_store import cache
from engine.errors import SourceError, out_of_memory
from engine.leftovers import DRAFT, holding

_FAULTS = (OSError, RuntimeError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile, EOFError)


def downloaded(name: str, title: str, address: str, fetch: Callable[[str], object]) -> Path:
    """The folder of a set in the cache, downloaded by `fetch` if it is missing.

    Args:
        name: the name of the set on the command line, and of its folder.
        title: the name of the set in messages.
        address: the URL it is downloaded from, for messages.
        fetch: downloads and unpacks the set into a folder.

    Raises:
        SourceError: if the download fails or gives something unexpected.
    """
    place = cache() / "sets" / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{name}{DRAFT}") as draft, holding(Path(draft)):
            inside = Path(draft) / name
            inside.mkdir()
            fetch(str(inside))
            for packed in list(inside.rglob("*")):
                if packed.suffix in (".gz", ".tgz", ".zip"):
                    packed.unlink()  # it is unpacked beside it, and just as large
            if not place.is_dir():  # another process may have been faster
                inside.rename(place)
    except _FAULTS as error:
        if out_of_memory(error):
            raise
        missing = "could not be reached" if isinstance(error, urllib.error.URLError) else "failed"
        reason = " ".join(str(getattr(error, "reason", "") or error).split())
        raise SourceError(
            f"{title} cannot be downloaded, because {address} {missing} ({reason}): download it on "
            f"another machine, and open its folder with {name}:FOLDER"
        ) from None
    return place


def by_torchvision(kind: str, **options: str) -> Callable[[str], object]:
    """A function that downloads and unpacks with one of torchvision's classes, which verify checksums."""

    def fetch(root: str) -> object:
        from torchvision import datasets

        return getattr(datasets, kind)(root, download=True, **options)

    return fetch


def tiny_imagenet(root: str) -> None:
    """Downloads Tiny-ImageNet, which has no class in torchvision."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip", root, md5="90528d7ca1a48142e341f4ef8d21d0de"
    )
