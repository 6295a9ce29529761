"""The features: as an array, as a table, and as an index that finds neighbours."""

from __future__ import annotations

import io

import numpy as np

from engine import npy
from engine.exports.format import Export, Format
from engine.exports.trees import save_table
from engine.runs.files import synced
from engine.space.vectors import units

INDEX = "index.faiss"


def _fill(export: Export) -> None:
    """embeddings.npy (M, D) float32 as stage 1 made them, embeddings.parquet with each one's id, and index.faiss, which
    has them at length 1 for the inner product: cosine similarity. All in the order of labels.csv."""
    import faiss
    import pyarrow as pa
    from pyarrow import parquet

    found = export.labelled
    vectors = np.asarray(found.folder.load("features")["vectors"])[found.rows].astype(np.float32)
    with synced(export.draft / "embeddings.npy") as file:
        npy.save(file, vectors)
    export.tell(0)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"id": pa.array(found.table["id"].tolist()), "embedding": flat})
    content = io.BytesIO()
    parquet.write_table(table, content)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(units(vectors))
    for name, whole in (("embeddings.parquet", content.getbuffer()), (INDEX, faiss.serialize_index(index).data)):
        with synced(export.draft / name) as file:
            file.write(whole)
        export.tell(0)
    save_table(export)


FORMATS = (
    Format(
        "embeddings",
        "Embeddings",
        "The features as .npy and Parquet, and a FAISS index of them.",
        rejected=True,
        fill=_fill,
    ),
)
