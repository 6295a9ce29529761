"""FiftyOne's image classification dataset: data/ and labels.json."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import PurePosixPath
from typing import Any

from engine.exports.format import Export, Format
from engine.exports.trees import IMAGE_ID, put_pictures, save_table
from engine.runs.files import write_text

KEPT = ("provenance", "source", "decision", "reviewer", "decided_at", "reliable", "agreement", "run", "run_id")


def _fill(export: Export) -> None:
    """[SPLIT/]data/IMAGE, [SPLIT/]labels.json and labels.csv: a dataset for each part, to be added with its name as a
    tag. FiftyOne knows an image by its file's name without the ending."""
    found = export.labelled
    splits = found.table["split"].tolist() if "split" in found.table else [""] * len(found)
    paths = put_pictures(export, lambda place: "/".join(filter(None, [splits[place], "data"])), stems=True)
    labels: dict[str, dict[str, Any]] = {part: {} for part in found.splits}
    for path, part, row in zip(paths, splits, found.table.to_dict("records"), strict=True):
        labels[part][PurePosixPath(path).stem] = _label(row)
    for part, said in labels.items():
        content = {"classes": list(found.classes), "labels": said}
        write_text(export.draft / part / "labels.json", json.dumps(content, ensure_ascii=False) + "\n")
    save_table(export, paths)


def _label(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """The class, and who gave it; a confidence only of the model's own label, because it is about no other."""
    sure = {"confidence": float(row["confidence"])} if row["provenance"] == "model" else {}
    return {
        "label": row["class_name"],
        **sure,
        "attributes": {IMAGE_ID: row["id"], **{name: row[name] for name in KEPT}},
    }


FORMATS = (
    Format(
        "fiftyone",
        "FiftyOne",
        "A FiftyOneImageClassificationDataset, with who gave each label as its attributes.",
        pictures=True,
        options=frozenset({"how"}),
        fill=_fill,
    ),
)
