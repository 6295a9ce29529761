"""Label Studio: tasks with pre-annotations, and the labelling interface that they are made for."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from engine.exports.format import Export, Format
from engine.exports.trees import IMAGE_ID, put_pictures, save_table
from engine.runs.files import write_text

IMAGES = "images"
HELP = """To open these images in Label Studio with their labels:

1. Start it so that it may read this folder:
   LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=<this folder> label-studio start
2. Make a project, and paste config.xml under Settings, Labeling Interface, Code.
3. Add the folder images under Settings, Cloud Storage, Local files, without syncing it.
4. Import tasks.json. Each class is a prediction, whose model version says who gave it.

Exported from there as JSON, the answers come back with: python -m engine import-labels
"""
# What a choice is called in the interface, and which object it is about.
CHOICE, IMAGE = "label", "image"


def _fill(export: Export) -> None:
    """tasks.json, config.xml, labels.csv, images/ and README.txt: how to import them."""
    found = export.labelled
    paths = put_pictures(export, lambda _place: IMAGES)
    rows = found.table.to_dict("records")
    tasks = [_task(path, row) for path, row in zip(paths, rows, strict=True)]
    write_text(export.draft / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_text(export.draft / "config.xml", _interface(found.classes))
    write_text(export.draft / "README.txt", HELP)
    save_table(export, paths)


def _task(path: str, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """The class is a prediction, never an annotation: only those who answer in Label Studio have annotated there. Who
    gave it is its model version; a score has only the model's own label, because it is about no other."""
    result = {"from_name": CHOICE, "to_name": IMAGE, "type": "choices", "value": {"choices": [row["class_name"]]}}
    who = row["provenance"] if row["provenance"] != "model" else f"model ({row['source']})"
    prediction: dict[str, Any] = {"model_version": f"{row['run']}: {who}", "result": [result]}
    if row["provenance"] == "model":
        prediction["score"] = float(row["confidence"])
    kept = ("provenance", "source", "decision", "reviewer", "decided_at", "reliable", "agreement", "run", "run_id")
    data = {IMAGE_ID: row["id"], **{name: row[name] for name in kept}}
    data[IMAGE] = f"/data/local-files/?d={quote(path)}"
    return {"data": data, "predictions": [prediction]}


def _interface(classes: tuple[str, ...]) -> str:
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <Choices name="{CHOICE}" toName="{IMAGE}" choice="single">\n{choices}\n  </Choices>\n</View>\n'
    )


FORMATS = (
    Format(
        "label-studio",
        "Label Studio",
        "Tasks with the labels as predictions, and the images for local file serving.",
        pictures=True,
        options=frozenset({"how"}),
        fill=_fill,
    ),
)
