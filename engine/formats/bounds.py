"""How much a source may hold, in one table, and the sentences that refuse more.

Nothing that a file announces is believed. What is bounded is how many bytes come out of each that is there, and what
memory and disk are free: an honest source of any size stays below. Time follows, since nothing is done more than once
for each byte, cell or image.

| source | bounded | by |
| --- | --- | --- |
| zip | a member's growth, and its size | `ZIP`, `IMAGE_BYTES` |
| | members that overlap, as in archives that unpack to more than there is | the size of the archive |
| tar.gz, .bz2, .xz | its growth, and the disk | `TAR`, `SPARE_DISK` |
| tar | a header, zeros between members, the files beside images | `HEADER_BYTES`, `ZERO_BYTES`, `SIDECAR_BYTES` |
| npz, npy | a member's growth; one image | `ZIP`, `IMAGE_BYTES` |
| gzipped set | its growth | `SET` |
| CSV, TSV, JSON lines | columns; cells, by memory; cells that no row has | `COLUMNS`, `CELL_MEMORY`, `CELLS` |
| Parquet | the same, and its growth as far as it can be told beforehand | `PARQUET` |
| folder, any other | the list of its images, by memory; tables beside them | `IMAGE_MEMORY`, `IMAGE_BYTES` |
| image file | its size; its pixels, by Pillow's own bound | `IMAGE_BYTES` |
| upload | the disk; its size, by Streamlit's own bound | `SPARE_DISK` |
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import SourceError, sized
from engine.memory import free_memory


@dataclass(frozen=True)
class Growth:
    """`times` as much may come out as there is, and `small` in any case."""

    times: int
    small: int

    def most(self, packed: int) -> int:
        """
        >>> Growth(100, 5_000).most(20), Growth(100, 5_000).most(60)
        (5000, 6000)
        """
        return max(self.small, self.times * packed)


# Photographs hardly shrink; drawn masks may shrink to a fiftieth.
TAR = Growth(100, 2**26)
ZIP = Growth(200, 2**24)
SET = Growth(200, 2**26)
PARQUET = Growth(200, 2**26)
# Cells for each byte of JSON lines, where a cell that is there takes at least four.
CELLS = Growth(1, 2**20)
UNPACK = "unpack it to a folder and open that"
# An encoded image, one image of an array as it is stored, a table beside images.
IMAGE_BYTES = 2**28
# A .cls, .json or .txt beside an image.
SIDECAR_BYTES = 2**20
# The header of a tar's member, which holds long names.
HEADER_BYTES = 2**20
# Zeros in a row between the members of a tar: what a damaged disk leaves.
ZERO_BYTES = 2**27
COLUMNS = 2_000
# What an image in a list, and a cell of a table while it is read, take at most.
IMAGE_MEMORY, CELL_MEMORY = 1_000, 200
# No more than this share of what is free.
MEMORY_SHARE = 0.5
# The disk space to leave free.
SPARE_DISK = 2**26
# Images between two looks at the memory that is left.
LOOK_EVERY = 2**16


def check_growth(where: object, packed: int, unpacked: int, growth: Growth, cure: str = UNPACK) -> None:
    """Raises SourceError where `unpacked` bytes are announced, or found, in `packed`; `cure` is for those who trust
    it."""
    most = growth.most(packed)
    if unpacked > most:
        raise SourceError(
            f"{where} unpacks to more than {sized(most)}, the most that is believed of {sized(packed)}: {cure}, if you "
            "trust it"
        )


def check_memory(where: object, needed: int, what: str, cure: str) -> None:
    """Raises SourceError where `what` needs more memory than its share of what is free."""
    free = free_memory()
    if free is not None and needed > MEMORY_SHARE * free:
        raise SourceError(
            f"{where} has {what}, which need {sized(needed)} of memory, but {sized(free)} are free, of which "
            f"{sized(MEMORY_SHARE * free)} may be taken: {cure}"
        )


def check_images(where: object, count: int) -> None:
    """Raises SourceError where the list of so many images alone would fill the memory."""
    cure = "open a part of it, or close other programs"
    check_memory(where, IMAGE_MEMORY * count, f"{count:,} images", cure)


class Lookout:
    """Looks, as the list of a source's images grows, whether there is memory for more of them."""

    def __init__(self, where: object) -> None:
        self._where, self._next = where, LOOK_EVERY

    def see(self, count: int) -> None:
        """Raises SourceError as `check_images` does, of which it costs next to nothing."""
        if count >= self._next:
            self._next = count + LOOK_EVERY
            check_images(self._where, count)


def check_columns(where: object, count: int) -> None:
    """Raises SourceError for a table of more than `COLUMNS` columns."""
    if count > COLUMNS:
        raise SourceError(
            f"{where} has {count:,} columns, allowed are {COLUMNS:,}: keep those that describe the images; vectors are "
            "read with features.source=import:FILE"
        )


def check_cells(where: object, rows: int, columns: int) -> None:
    """Raises SourceError for a table that is too wide, or would fill the memory."""
    check_columns(where, columns)
    cells = rows * columns
    check_memory(where, CELL_MEMORY * cells, f"{cells:,} cells", "split it, or keep fewer columns")


def check_gaps(where: object, rows: int, columns: int, length: int) -> None:
    """Raises SourceError for rows of JSON, of `length` bytes, with hardly a key in common: each key is a column."""
    check_cells(where, rows, columns)
    most = CELLS.most(length)
    if rows * columns > most:
        raise SourceError(
            f"{where} has {rows:,} rows with {columns:,} different keys, which make {rows * columns:,} cells, allowed "
            f"are {most:,}: give all rows the same keys"
        )
