"""What cleanlab takes to find label issues: labels, the model's probabilities, and features."""

from __future__ import annotations

import numpy as np

from engine import npy
from engine.errors import RunError
from engine.exports.format import Export, Format
from engine.exports.trees import save_table
from engine.runs.files import synced, write_text


def _fill(export: Export) -> None:
    """labels.npy (M,) int64, pred_probs.npy (M, C) float32, features.npy (M, D) float32, classes.txt with C names, and
    labels.csv.

    Only of the model's clusters there are probabilities. Those of clusters that were merged are added up; images of a
    class that people made otherwise are left out, since cleanlab would take a probability of 0 for an error.
    """
    found = export.labelled
    probabilities = np.asarray(found.folder.load(found.stage)["probabilities"])[found.rows]
    known = [code for code, number in enumerate(found.numbers) if number in set(found.home.tolist())]
    places = {found.numbers[code]: place for place, code in enumerate(known)}
    summed = np.zeros((len(found), len(known)), np.float32)
    for cluster, home in enumerate(found.home.tolist()):
        summed[:, places[home]] += probabilities[:, cluster]
    kept = np.isin(found.codes, known)
    if not kept.any():
        raise RunError("no image here is of a class that the model knows: cleanlab needs its probabilities")
    if not kept.all():
        export.notes.append(
            f"{int((~kept).sum()):,} images are of classes that people made: the model has no probability of them, and "
            "they are left out"
        )
    labels = np.searchsorted(known, found.codes[kept])
    vectors = np.asarray(found.folder.load("features")["vectors"])[found.rows[kept]]
    arrays = {"labels": labels.astype(np.int64), "pred_probs": summed[kept], "features": vectors.astype(np.float32)}
    for name, array in arrays.items():
        with synced(export.draft / f"{name}.npy") as file:
            npy.save(file, array)
        export.tell(len(found))
    write_text(export.draft / "classes.txt", "".join(f"{found.classes[code]}\n" for code in known))
    save_table(export, kept=kept)
    export.notes.append("the model was trained on these images: its probabilities are not out of sample")


FORMATS = (
    Format(
        "cleanlab",
        "cleanlab",
        "labels, pred_probs and features as .npy files, for cleanlab's find_label_issues and Datalab.",
        fill=_fill,
    ),
)
