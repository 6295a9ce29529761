"""WebDataset shards: tar files of samples, an image with its class and what is known of the label."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.exports.format import Export, Format
from engine.exports.trees import save_table
from engine.runs.files import write_text

# A shard is full with so many samples or bytes.
MOST_SAMPLES, MOST_BYTES = 10_000, 2**28
ONLY = "train"


class _Shards:
    """The shards of one part: PART-000000.tar and so on."""

    def __init__(self, export: Export, part: str, stack: ExitStack) -> None:
        self._folder, self._part, self._stack = export.draft, part, stack
        self._count, self._samples, self._bytes = 0, 0, 0
        self._tar: tarfile.TarFile | None = None

    def add(self, key: str, members: dict[str, bytes]) -> None:
        if self._tar is None or self._samples >= MOST_SAMPLES or self._bytes >= MOST_BYTES:
            self._begin()
        assert self._tar is not None
        for ending, content in members.items():
            about = tarfile.TarInfo(f"{key}.{ending}")
            about.size, about.mode = len(content), 0o644
            self._tar.addfile(about, io.BytesIO(content))
            self._bytes += len(content)
        self._samples += 1

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        path = self._folder / f"{self._part}-{self._count:06d}.tar"
        self._tar = self._stack.enter_context(_new_tar(path))
        self._count, self._samples, self._bytes = self._count + 1, 0, 0


@contextmanager
def _new_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        yield tar


def _fill(export: Export) -> None:
    """KEY.jpg, KEY.cls (the place of the class in classes.txt) and KEY.json for each image; the key is its number in
    the run, because names may have dots, at which a sample's key would end."""
    found = export.labelled
    table = found.table.rename(columns={"label": "cluster"})
    parts = table["split"].tolist() if "split" in table else [ONLY] * len(table)
    known = zip(parts, found.rows.tolist(), found.codes.tolist(), table.to_dict("records"), strict=True)
    with ExitStack() as stack:
        shards = {part: _Shards(export, part, stack) for part in dict.fromkeys(parts)}
        for place, ((part, row, code, said), picture) in enumerate(zip(known, export.pictures.each(), strict=True)):
            members = {picture.ending[1:].lower(): picture.read(), "cls": str(code).encode()}
            shards[part].add(f"{row:09d}", members | {"json": json.dumps(said, ensure_ascii=False).encode()})
            export.tell(place)
    write_text(export.draft / "classes.txt", "".join(f"{name}\n" for name in found.classes))
    save_table(export)


FORMATS = (
    Format(
        "webdataset",
        "WebDataset",
        "Tar shards of images with .cls and .json, for the package webdataset and load_dataset.",
        pictures=True,
        fill=_fill,
    ),
)
