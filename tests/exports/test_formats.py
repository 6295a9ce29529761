"""Each format is opened by what it is made for: pandas, pyarrow, torchvision, FAISS, NumPy, and the standard library.

benchmarks/consumers opens the same exports with packages that are not installed here.
"""

from __future__ import annotations

import json
import os
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import faiss
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from torchvision.datasets import ImageFolder

from engine.curate.provenance import Provenance
from engine.exports.format import known_formats
from engine.runs.folder import RunFolder
from tests.exports.conftest import CLUSTERS, Content, DoExport, expected, labels_of, pixels_of

Decide = Callable[..., None]
COLUMNS = [
    "id",
    "name",
    "class",
    "class_name",
    "provenance",
    "source",
    "decision",
    "reviewer",
    "decided_at",
    "label",
    "confidence",
    "agreement",
    "reliable",
    "stage",
    "epoch",
    "run",
    "run_id",
    "path",
    "pixels_hash",
]


def in_folder(folder: Path) -> Content:
    """What torchvision finds there: class names with pixels."""
    found = ImageFolder(str(folder))
    return Counter((found.classes[code], pixels_of(Path(path).read_bytes())) for path, code in found.samples)


def test_every_format_is_in_one_file_and_has_one_way_to_write() -> None:
    assert {"csv", "jsonl", "parquet", "folders", "hf", "hf-parquet", "webdataset"} < set(known_formats())
    for one in known_formats().values():
        assert (one.packed is None) != (one.fill is None)
        assert bool(one.ending) == (one.packed is not None)
        assert one.writes.endswith(".")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_table_has_a_row_an_image_with_who_gave_its_label(
    format: str, run: RunFolder, photos: Path, decide: Decide, export: DoExport, tmp_path: Path
) -> None:
    decide("rename", class_=1, text="käse, =sum")
    decide("relabel", [0], class_=1)
    decide("accept", [1, 2], "Bob", provenance=Provenance.BULK)
    decide("accept", [3], provenance=Provenance.VOTED)
    decide("reject", [4])
    decide("exclude", [5])
    done = export(format, f"out.{format}")
    read = {"csv": pd.read_csv, "jsonl": lambda file: pd.read_json(file, lines=True), "parquet": pd.read_parquet}
    table = read[format](tmp_path / f"out.{format}").fillna("")
    assert list(table.columns) == COLUMNS
    ids = list(run.images().ids)
    assert table["id"].tolist() == ids[:5] + ids[6:]
    assert table["provenance"].tolist() == ["seen", "bulk", "bulk", "voted"] + ["model"] * 35
    assert table["source"].tolist() == ["person"] * 3 + ["suggestion"] + ["stage 3"] * 35
    assert table["decision"].tolist() == ["decided"] * 4 + ["rejected"] + [""] * 34
    assert table["reviewer"].tolist() == ["Ann", "Bob", "Bob", "Ann", "Ann"] + [""] * 34
    assert table["class_name"][0] == "käse, =sum"
    assert table["label"].tolist() == np.delete(labels_of(40), 5).tolist(), "the model's label stays"
    assert pd.to_datetime(table["decided_at"][:5]).notna().all()
    assert (table["path"] == [str(photos / one) for one in table["id"]]).all()
    assert (done.images, done.dropped) == (39, {"excluded": 1})
    assert done.provenance == {"seen": 1, "bulk": 2, "voted": 1, "model": 35}


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_torchvision_opens_class_folders_of_the_originals(
    how: str, run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("folders", how=how)
    assert in_folder(tmp_path / "out") == expected(photos, run)
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    for file, image in zip(table["exported_as"], table["id"], strict=True):
        exported, original = tmp_path / "out" / file, photos / image
        assert exported.read_bytes() == original.read_bytes()
        assert exported.is_symlink() == (how == "symlink")
        assert os.path.samefile(exported, original) == (how != "copy")


def test_names_that_collide_or_are_illegal_stay_apart(decide: Decide, export: DoExport, tmp_path: Path) -> None:
    for class_, name in enumerate(("Cat/Dog", "cat:dog", "CON")):
        decide("rename", class_=class_, text=name)
    decide("new class", [0], text="..")
    done = export("folders")
    folders = ["Cat_Dog", "cat_dog-2", "CON_", "_"]
    assert sorted(one.name for one in (tmp_path / "out").iterdir() if one.is_dir()) == sorted(folders)
    labels = labels_of(40)
    labels[0] = 3
    counts = Counter(path.parent.name for path in (tmp_path / "out").glob("*/*"))
    assert [counts[one] for one in folders] == np.bincount(labels).tolist()
    assert [note for note in done.notes if "“CON” is CON_" in note]


def test_images_with_one_name_in_several_folders_stay_apart(export: DoExport, tmp_path: Path) -> None:
    export("folders")
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    names = [one.rsplit("/", 1)[1] for one in table["exported_as"]]
    assert len({name.lower() for name in names}) == len(table) == 40
    own = [(name, image) for name, image in zip(names, table["id"], strict=True) if name != image.rsplit("/", 1)[1]]
    assert own == [("38-2.png", "spots/38.png")]


def test_a_rejected_class_is_no_label_of_an_image_in_its_folder(
    export: DoExport, decide: Decide, tmp_path: Path
) -> None:
    decide("reject", [3, 4])
    assert (export("folders").images, export("csv", "out.csv").images) == (38, 40)
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert "rejected" not in table["decision"].tolist()


def test_a_hugging_face_folder_has_metadata_beside_its_images(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("hf", split="50,50")
    found: Content = Counter()
    for part in ("train", "test"):
        lines = [json.loads(line) for line in (tmp_path / "out" / part / "metadata.jsonl").read_text().splitlines()]
        assert {one["split"] for one in lines} == {part}
        assert sorted(one["file_name"] for one in lines) == sorted(
            path.name for path in (tmp_path / "out" / part).iterdir() if path.name != "metadata.jsonl"
        )
        found += Counter(
            (one["label"], pixels_of((tmp_path / "out" / part / one["file_name"]).read_bytes())) for one in lines
        )
    assert found == expected(photos, run)


def test_other_labels_of_the_same_images_are_another_configuration(
    decide: Decide, export: DoExport, tmp_path: Path
) -> None:
    """`datasets` keeps what it has read by this file alone: with an equal one it would give the earlier labels."""
    export("hf")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    export("hf", overwrite=True)
    assert (tmp_path / "out" / "README.md").read_text("utf-8") == card
    decide("relabel", [0], class_=(int(labels_of(40)[0]) + 1) % 3)
    export("hf", overwrite=True)
    assert (tmp_path / "out" / "README.md").read_text("utf-8").split("data_files")[0] != card.split("data_files")[0]


def test_pyarrow_finds_images_and_class_names_in_hugging_face_parquet(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("hf-parquet")
    (file,) = (tmp_path / "out" / "data").iterdir()
    table = parquet.read_table(file)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["Cluster 0", "Cluster 1", "Cluster 2"], "_type": "ClassLabel"}
    assert set(features) == set(table.column_names)
    names = features["label"]["names"]
    rows = table.to_pylist()
    assert Counter((names[row["label"]], pixels_of(row["image"]["bytes"])) for row in rows) == expected(photos, run)
    assert [row["id"] for row in rows] == list(run.images().ids)


def test_a_shard_has_an_image_its_class_and_what_is_known_of_it(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("webdataset", scope="reliable")
    classes = (tmp_path / "out" / "classes.txt").read_text("utf-8").splitlines()
    found: Content = Counter()
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        members = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}
    for key in {name.split(".", 1)[0] for name in members}:
        said = json.loads(members[f"{key}.json"])
        assert classes[int(members[f"{key}.cls"])] == said["class_name"]
        assert run.images().ids[int(key)] == said["id"]
        found[said["class_name"], pixels_of(members[f"{key}.png"])] += 1
    assert found == expected(photos, run, kept=list(range(1, 40, 2)))


def test_cleanlab_gets_labels_probabilities_and_features_in_one_order(
    run: RunFolder, decide: Decide, export: DoExport, tmp_path: Path
) -> None:
    decide("merge", class_=2, other=0)
    wrong = int(np.flatnonzero(labels_of(40) == 1)[0])
    decide("relabel", [wrong], class_=2)
    made = int(np.flatnonzero(labels_of(40) == 1)[1])
    decide("new class", [made], text="mine")
    done = export("cleanlab")
    labels, probabilities, features = (
        np.load(tmp_path / "out" / f"{name}.npy") for name in ("labels", "pred_probs", "features")
    )
    assert (tmp_path / "out" / "classes.txt").read_text("utf-8") == "Cluster 1\nCluster 2\n"
    ids = pd.read_csv(tmp_path / "out" / "labels.csv")["id"].tolist()
    every = list(run.images().ids)
    assert ids == [one for place, one in enumerate(every) if place != made]
    rows = [every.index(one) for one in ids]
    assert np.allclose(features, run.load("features")["vectors"][rows])
    model = labels_of(40)[rows]
    assert np.allclose(probabilities, np.where((model == 1)[:, None], [0.9, 0.1], [0.05, 0.95]), atol=1e-6)
    assert labels.tolist() == [0 if one == 1 and row != wrong else 1 for one, row in zip(model, rows, strict=True)]
    assert (labels != probabilities.argmax(1)).tolist() == [row == wrong for row in rows]
    assert any("1 images are of classes that people made" in note for note in done.notes)


def test_faiss_finds_each_embedding_by_itself(run: RunFolder, export: DoExport, tmp_path: Path) -> None:
    export("embeddings", scope="class:Cluster 1")
    vectors = np.load(tmp_path / "out" / "embeddings.npy")
    rows = np.flatnonzero(labels_of(40) == 1)
    assert np.array_equal(vectors, run.load("features")["vectors"][rows])
    table = parquet.read_table(tmp_path / "out" / "embeddings.parquet").to_pylist()
    assert [one["id"] for one in table] == [run.images().ids[row] for row in rows]
    assert np.array_equal(np.array([one["embedding"] for one in table], np.float32), vectors)
    index = faiss.read_index(str(tmp_path / "out" / "index.faiss"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity, found = index.search(unit, 1)
    assert (index.ntotal, found[:, 0].tolist()) == (len(rows), list(range(len(rows))))
    assert np.allclose(similarity, 1, atol=1e-5)


def test_label_studio_gets_predictions_that_name_who_gave_them(
    run: RunFolder, photos: Path, decide: Decide, export: DoExport, tmp_path: Path
) -> None:
    decide("rename", class_=0, text='a "b" & <c>')
    decide("accept", [0])
    export("label-studio")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    interface = ET.parse(tmp_path / "out" / "config.xml").getroot()
    assert [one.get("value") for one in interface.iter("Choice")] == ['a "b" & <c>', "Cluster 1", "Cluster 2"]
    found: Content = Counter()
    for task in tasks:
        (prediction,) = task["predictions"]
        (result,) = prediction["result"]
        path = unquote(task["data"]["image"].removeprefix("/data/local-files/?d="))
        found[result["value"]["choices"][0], pixels_of((tmp_path / "out" / path).read_bytes())] += 1
        seen = task["data"]["image_id"] == run.images().ids[0]
        assert prediction["model_version"] == ("mine: seen" if seen else "mine: model (stage 3)")
        assert ("score" in prediction) is not seen, "the model's confidence is about its own label"
    named = Counter(
        {(name.replace("Cluster 0", 'a "b" & <c>'), data): n for (name, data), n in expected(photos, run).items()}
    )
    assert found == named


def test_fiftyone_gets_a_label_for_each_file_name(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("fiftyone", split="60,20,20")
    found: Content = Counter()
    for part in ("train", "validation", "test"):
        said = json.loads((tmp_path / "out" / part / "labels.json").read_text("utf-8"))
        assert said["classes"] == [f"Cluster {number}" for number in range(CLUSTERS)]
        files = {path.stem: path for path in (tmp_path / "out" / part / "data").iterdir()}
        assert files.keys() == said["labels"].keys()
        for stem, label in said["labels"].items():
            assert label["attributes"]["provenance"] == "model"
            found[label["label"], pixels_of(files[stem].read_bytes())] += 1
    assert found == expected(photos, run)
