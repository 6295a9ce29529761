"""The starting point of stage 1 if it is not random weights: validated in advance and kept with the run.

The run has the network or the vectors in its own folder, so it does not depend on files that may be moved or
replaced. Runs with the same network share one file in the cache, by hard links:

    encoders/KEY.pt KEY.json   a network with its weights, and its card
    encoders/KEY.download/     what has been downloaded of it so far
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock

from engine import checksums, npy
from engine.config import ENCODER, IMPORT, SCRATCH, WEIGHTS
from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.data.vectors import import_vectors
from engine.networks.hub import Downloads, Told, nobody
from engine.runs.files import link_file, synced, write_text
from engine.runs.folder import IMPORTED

BLANK_BYTES = 2**24
# Raised when encoders are packed differently, so that old files are not used any more.
FORMAT = 1


def check_beginning(source: str, images: ImageSet) -> None:
    """Reads what `features.source` names, and downloads nothing.

    Raises:
        SpiceError: when it is not there, or does not fit these images.
    """
    if source == SCRATCH:
        return
    if source.startswith(IMPORT):
        import_vectors(source, images)
        return
    from engine.networks.pretrained import check_pretrained
    from engine.stages.encoder_file import load_encoder

    if source.startswith(ENCODER):
        load_encoder(source)
    else:
        check_pretrained(source)


def on_disk(source: str) -> bool:
    """Whether a run with the network that `source` names begins without a download; raises SettingError."""
    from engine.networks.pretrained import kept

    file = cache() / "encoders" / f"{_key(source)}.pt"
    return (file.exists() and file.with_suffix(".json").exists()) or kept(source)


def check_download(source: str) -> None:
    """Asks whether the network that `source` names could be downloaded, unless it is there already.

    Raises:
        SettingError: the one with which a run could not be created.
    """
    from engine.networks import pretrained

    if not on_disk(source):
        pretrained.check_download(source)


def keep_beginning(folder: Path, source: str, images: ImageSet, told: Told = nobody, *, clusters: int = 2) -> None:
    """Puts what `source` names (anything but "scratch") into a run's `folder`; `told` follows a download.

    Raises:
        SpiceError: when it is not there, does not fit these images, or cannot be downloaded.
    """
    if source.startswith(IMPORT):
        file = folder / IMPORTED / "vectors.npy"
        file.parent.mkdir()
        kept = import_vectors(source, images, lambda shape: _blank_array(file, shape), clusters=clusters)
        if isinstance(kept, np.memmap):
            kept.flush()
        sums = checksums.of_files([file])
        write_text(file.parent / checksums.FILE, checksums.text_of(sums))
        return
    file = cached_encoder(source, told)
    link_file(file, folder / "encoder.pt")
    link_file(file.with_suffix(".json"), folder / "encoder.json")


def cached_encoder(source: str, told: Told = nobody) -> Path:
    """The encoder's file in the cache, made or downloaded if it is not there; raises SpiceError."""
    from engine.stages.encoder_file import encoder_content, read_card

    place = cache() / "encoders"
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{_key(source)}.pt"
    card, downloads = file.with_suffix(".json"), file.with_suffix(".download")
    with FileLock(file.with_suffix(".lock")):
        if card.exists() and file.exists():
            return file
        content = encoder_content(source, Downloads(downloads, told))
        draft = file.with_suffix(".tmp")
        try:
            with synced(draft) as encoder:
                encoder.write(content)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
        write_text(card, json.dumps(read_card(f"{ENCODER}{file}"), indent=1, default=str))
        shutil.rmtree(downloads, ignore_errors=True)
    return file


def _key(source: str) -> str:
    """Names stand for what was downloaded under them once; files for their content."""
    from engine.stages.encoder_file import encoder_path

    found = hashlib.blake2b(f"{FORMAT} ".encode(), digest_size=16)
    path = None
    if source.startswith(ENCODER):
        path = encoder_path(source)
        found.update(ENCODER.encode())
    elif source.startswith(WEIGHTS):
        model, _, place = source.removeprefix(WEIGHTS).partition(":")
        path = Path(place).expanduser()
        found.update(f"{WEIGHTS}{model}:{path.name}".encode())
    else:
        found.update(source.encode())
    if path is not None and path.is_file():
        with path.open("rb") as file:
            while block := file.read(BLANK_BYTES):
                found.update(block)
    return found.hexdigest()


def _blank_array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A new .npy file of zeros, (N, D) float32, to be written through memory.

    The zeros are really written, so that a full disk raises an error now instead of killing the process.
    """
    rows, columns = shape
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with synced(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        length = max(1, BLANK_BYTES // (4 * columns))
        for start in range(0, rows, length):
            file.write(bytes(4 * columns * min(length, rows - start)))
    return npy.mapped(path, "r+")
