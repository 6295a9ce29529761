"""The starting point of stage 1 if it is not random weights: validated in advance and kept with the run.

The run keeps a copy of the network or the vectors, so it does not depend on files that may be moved or replaced.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.config import ENCODER, IMPORT, SCRATCH
from engine.data.images import ImageSet
from engine.data.vectors import import_vectors
from engine.runs.files import synced
from engine.runs.folder import IMPORTED

BLANK_BYTES = 2**24


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


def keep_beginning(folder: Path, source: str, images: ImageSet) -> None:
    """Puts a copy of what `source` names (anything but "scratch") into a run's `folder`.

    Raises:
        SpiceError: when it is not there, does not fit these images, or cannot be downloaded.
    """
    if source.startswith(IMPORT):
        file = folder / IMPORTED / "vectors.npy"
        file.parent.mkdir()
        kept = import_vectors(source, images, lambda shape: _blank_array(file, shape))
        if isinstance(kept, np.memmap):
            kept.flush()
        return
    from engine.stages.encoder_file import encoder_content

    content = encoder_content(source)
    with synced(folder / "encoder.pt") as encoder:
        encoder.write(content)


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
    return np.load(path, mmap_mode="r+", allow_pickle=False)
