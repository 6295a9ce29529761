"""Benchmark sets from the network, by torchvision, into the cache: whole or not at all."""

from __future__ import annotations

import http.client
import tarfile
import tempfile
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.data.image_store import cache
from engine.errors import SourceError

_FAULTS = (OSError, RuntimeError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile, EOFError)


def downloaded(name: str, title: str, address: str, fetch: Callable[[str], object]) -> Path:
    """The folder of a set in the cache, which `fetch` fills if it is not there.

    Args:
        name: of its folder; the user names the set by it.
        title: what people call the set.
        address: where it comes from.
        fetch: downloads and unpacks the set into a folder.

    Raises:
        SourceError: when the address cannot be reached or gives something else.
    """
    place = cache() / "sets" / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{name}-") as draft:
            inside = Path(draft) / name
            inside.mkdir()
            fetch(str(inside))
            for packed in list(inside.rglob("*")):
                if packed.suffix in (".gz", ".tgz", ".zip"):
                    packed.unlink()  # it is unpacked beside, and as large
            if not place.is_dir():  # another process may have been faster
                inside.rename(place)
    except _FAULTS as error:
        missing = "could not be reached" if isinstance(error, urllib.error.URLError) else "failed"
        reason = " ".join(str(getattr(error, "reason", "") or error).split())
        raise SourceError(
            f"{title} cannot be downloaded, because {address} {missing} ({reason}): download it on "
            f"another machine, and open its folder with {name}:FOLDER"
        ) from None
    return place


def by_torchvision(kind: str, **options: str) -> Callable[[str], object]:
    """Downloads and unpacks with one of torchvision's classes, which check what they get."""

    def fetch(root: str) -> object:
        from torchvision import datasets

        return getattr(datasets, kind)(root, download=True, **options)

    return fetch


def tiny_imagenet(root: str) -> None:
    """torchvision has no class for it, but knows how to download."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip", root, md5="90528d7ca1a48142e341f4ef8d21d0de"
    )
