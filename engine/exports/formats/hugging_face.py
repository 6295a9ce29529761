"""What Hugging Face's `datasets` opens: an image folder with metadata.jsonl, or Parquet with the images inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.exports.format import Export, Format
from engine.exports.label_table import to_csv
from engine.exports.labelled import Labelled, counts_by_provenance
from engine.exports.trees import TABLE, names_of, put_pictures, save_table
from engine.runs.files import write_text

if TYPE_CHECKING:
    import pyarrow as pa

# A part without a name is what `datasets` calls one anyway.
ONLY = "train"
# Bytes of images in one Parquet file, and in one group of its rows.
FILE_BYTES, GROUP_BYTES = 2**29, 2**25


def _fill_folder(export: Export) -> None:
    """SPLIT/IMAGE and SPLIT/metadata.jsonl, whose column `label` is the name of the class."""
    found, parts = export.labelled, _parts(export)
    paths = put_pictures(export, lambda place: parts[place])
    table = found.table.rename(columns={"label": "cluster"}).assign(label=found.table["class_name"])
    lines: dict[str, list[str]] = {}
    for path, row in zip(paths, table.to_dict("records"), strict=True):
        part, _, name = path.partition("/")
        lines.setdefault(part, []).append(json.dumps({"file_name": name, **row}, ensure_ascii=False))
    for part, rows in lines.items():
        write_text(export.draft / part / "metadata.jsonl", "\n".join(rows) + "\n")
    save_table(export, paths)
    _write_card(export, {part: f"{part}/**" for part in lines})


def _fill_parquet(export: Export) -> None:
    """data/SPLIT-00000-of-00001.parquet; the column `label` is a `ClassLabel`, `image` an `Image`."""
    parts = np.array(_parts(export), object)
    (export.draft / "data").mkdir()
    counted = dict.fromkeys(parts.tolist(), 0)
    writers: dict[str, _Writer] = {part: _Writer(export, part) for part in counted}
    try:
        for row in _rows(export):
            writers[row.pop("part")].add(row)
        for writer in writers.values():
            writer.flush()
    finally:
        for writer in writers.values():
            writer.end()
    for writer in writers.values():
        writer.number_files()
    save_table(export)
    _write_card(export, {part: f"data/{part}-*.parquet" for part in counted})


def _parts(export: Export) -> list[str]:
    table = export.labelled.table
    return table["split"].tolist() if "split" in table else [ONLY] * len(table)


# -- Parquet ---------------------------------------------------------------------------------------


def _rows(export: Export) -> Iterator[dict[str, Any]]:
    found = export.labelled
    table = found.table.rename(columns={"label": "cluster"})
    every = zip(_parts(export), found.codes.tolist(), table.to_dict("records"), names_of(export), strict=True)
    for place, (known, picture) in enumerate(zip(every, export.pictures.each(), strict=True)):
        part, code, row, named = known
        yield {"part": part, "image": {"bytes": picture.read(), "path": named(picture.ending)}, "label": code, **row}
        export.tell(place)


class _Writer:
    """Writes the rows of one part, a new file whenever one is full."""

    def __init__(self, export: Export, part: str) -> None:
        self._folder, self._part, self._schema = export.draft / "data", part, _schema(export)
        self._rows: list[dict[str, Any]] = []
        self._held, self._written, self._files = 0, 0, 0
        self._open: Any = None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._held += len(row["image"]["bytes"])
        if self._held >= GROUP_BYTES:
            self.flush()

    def number_files(self) -> None:
        for number in range(self._files):
            name = f"{self._part}-{number:05d}"
            (self._folder / name).rename(self._folder / f"{name}-of-{self._files:05d}.parquet")

    def flush(self) -> None:
        """Writes the rows that are held."""
        import pyarrow as pa
        from pyarrow import parquet

        if not self._rows:
            return
        if self._open is None:
            file = (self._folder / f"{self._part}-{self._files:05d}").open("wb")
            self._open = file, parquet.ParquetWriter(file, self._schema)
            self._files += 1
        self._open[1].write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._written += self._held
        self._rows, self._held = [], 0
        if self._written >= FILE_BYTES:
            self.end()

    def end(self) -> None:
        """Closes the file that is open."""
        if self._open is not None:
            file, writer = self._open
            self._open, self._written = None, 0
            writer.close()
            file.close()


def _schema(export: Export) -> pa.Schema:
    """With the features as `datasets` reads them from the file itself."""
    import pyarrow as pa

    table = export.labelled.table.rename(columns={"label": "cluster"})
    plain = pa.Schema.from_pandas(table, preserve_index=False)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field("image", image), pa.field("label", pa.int64()), *(_plain(one) for one in plain)]
    names = list(export.labelled.classes)
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    features |= {one.name: {"dtype": str(one.type), "_type": "Value"} for one in fields[2:]}
    told = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": told})


def _plain(field: pa.Field) -> pa.Field:
    """Without pandas' own kinds of text."""
    import pyarrow as pa

    return pa.field(field.name, pa.string() if pa.types.is_large_string(field.type) else field.type)


# -- the card --------------------------------------------------------------------------------------


def _write_card(export: Export, files: dict[str, str]) -> None:
    """README.md: which files belong to which part, and in words who gave the labels.

    `datasets` keeps what it has read by the folder's last name and by what this file says of the configuration, not by
    the files: without a description of its own, it would give the labels of an earlier export.
    """
    found = export.labelled
    said = counts_by_provenance(found.table)
    who = {
        "seen": "by a person who looked at the image",
        "bulk": "by a person together with others, which were not looked at one by one",
        "voted": "by suggestions learned from such answers, spread to many images at once",
        "model": "by the model alone, without anybody having looked",
    }
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        f"  description: {json.dumps(_told_apart(found))}",
        "  data_files:",
        *(f"  - split: {part}\n    path: {json.dumps(pattern)}" for part, pattern in files.items()),
        "---",
        "",
        f"# {found.folder.name}",
        "",
        f"{len(found):,} images, labelled with SPICE Explorer. Who gave the labels:",
        "",
        *(f"- {count:,} {who[name]} (`provenance` is `{name}`)" for name, count in said.items() if count),
        "",
        f"`{TABLE}` has the same columns as a table.",
    ]
    write_text(export.draft / "README.md", "\n".join(lines) + "\n")


def _told_apart(labelled: Labelled) -> str:
    """A line that no other images, and no other labels of these, have."""
    content = to_csv(labelled.table, guard=False)
    return f"{labelled.folder.name}, {hashlib.blake2b(content, digest_size=8).hexdigest()}"


FORMATS = (
    Format(
        "hf",
        "Hugging Face image folder",
        "Images with metadata.jsonl, for load_dataset.",
        pictures=True,
        options=frozenset({"how"}),
        fill=_fill_folder,
    ),
    Format(
        "hf-parquet",
        "Hugging Face Parquet",
        "Parquet files with the images inside, for load_dataset and the Hub.",
        pictures=True,
        fill=_fill_parquet,
    ),
)
