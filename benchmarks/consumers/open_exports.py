"""Opens the exports of a run with the packages that they are made for. Run by the benchmark in its own environment:

    python open_exports.py FOLDER datumaro|fiftyone|others

Prints a line of JSON for each way to open one: {"export", "by", "version", "how", "found"}, where `found` counts class
names with the digest of a picture ("" where there are no pictures); "failed" in its place says what was raised.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "FIFTYONE_DO_NOT_TRACK": "true", "FIFTYONE_DATABASE_VALIDATION": "false"}

Found = Iterable[tuple[str, str]]


def digest(image: Any) -> str:
    """Of a picture's size and pixels, upright: some packages turn it when they decode it."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image).convert("RGB")
    return hashlib.sha256(repr(upright.size).encode() + upright.tobytes()).hexdigest()


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


# -- datasets --------------------------------------------------------------------------------------


def loaded(*asked: Any, **more: Any) -> Iterable[Any]:
    import datasets

    parts = datasets.load_dataset(*asked, **more)
    for part in parts.values():
        yield from part


def hf_folder(place: Path) -> Found:
    return ((row["label"], digest(row["image"])) for row in loaded(str(place)))


def hf_imagefolder(place: Path) -> Found:
    return ((row["label"], digest(row["image"])) for row in loaded("imagefolder", data_dir=str(place)))


def hf_class_folders(place: Path) -> Found:
    import datasets

    (part,) = datasets.load_dataset("imagefolder", data_dir=str(place)).values()
    names = part.features["label"].names
    return ((names[row["label"]], digest(row["image"])) for row in part)


def hf_parquet(place: Path) -> Found:
    import datasets

    for part in datasets.load_dataset(str(place)).values():
        names = part.features["label"].names
        yield from ((names[row["label"]], digest(row["image"])) for row in part)


def hf_webdataset(place: Path) -> Found:
    shards = sorted(str(one) for one in place.glob("*.tar"))
    names = lines(place / "classes.txt")
    for row in loaded("webdataset", data_files={"train": shards}):
        image = next(value for key, value in row.items() if key in ("jpg", "jpeg", "png") and value is not None)
        assert row["json"]["class_name"] == names[row["cls"]]
        yield names[row["cls"]], digest(image)


# -- others ----------------------------------------------------------------------------------------


def webdataset_package(place: Path) -> Found:
    import webdataset

    shards = sorted(str(one) for one in place.glob("*.tar"))
    names = lines(place / "classes.txt")
    samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg;png;jpeg", "cls", "json")
    for image, code, said in samples:
        assert said["class_name"] == names[code]
        yield names[code], digest(image)


def cleanlab_issues(place: Path) -> Found:
    import numpy as np
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, probabilities = (np.load(place / f"{name}.npy") for name in ("labels", "pred_probs"))
    features, names = np.load(place / "features.npy"), lines(place / "classes.txt")
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    scores = get_label_quality_scores(labels, probabilities)
    assert len(features) == len(scores) == len(labels)
    assert probabilities.shape[1] == len(names)
    assert set(issues.tolist()) <= set(np.flatnonzero(probabilities.argmax(1) != labels).tolist())
    return ((names[code], "") for code in labels.tolist())


def label_studio(place: Path) -> Found:
    from urllib.parse import unquote

    from label_studio_sdk.label_interface import LabelInterface
    from PIL import Image

    interface = LabelInterface((place / "config.xml").read_text("utf-8"))
    for task in json.loads((place / "tasks.json").read_text("utf-8")):
        (prediction,) = task["predictions"]
        assert not interface.validate_prediction(prediction, return_errors=True)
        (choice,) = prediction["result"][0]["value"]["choices"]
        path = unquote(task["data"]["image"].removeprefix("/data/local-files/?d="))
        with Image.open(place / path) as image:
            yield choice, digest(image)


def label_studio_converter(place: Path) -> Found:
    """As if each prediction had been submitted, and the answers exported as CSV."""
    import csv
    import tempfile

    from label_studio_sdk.converter import Converter

    tasks = json.loads((place / "tasks.json").read_text("utf-8"))
    answers = []
    for number, task in enumerate(tasks):
        answer = {"id": number, "completed_by": {"email": "a@b.org"}, "result": task["predictions"][0]["result"]}
        answer |= {"lead_time": 1, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
        answers.append({"id": number, "data": task["data"], "annotations": [answer]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.json"
        file.write_text(json.dumps(answers), "utf-8")
        converter = Converter((place / "config.xml").read_text("utf-8"), folder, download_resources=False)
        converter.convert(str(file), folder, "CSV", is_dir=False)
        (table,) = Path(folder).rglob("*.csv")
        with table.open(encoding="utf-8", newline="") as rows:
            yield from [(row["label"], "") for row in csv.DictReader(rows)]


def fiftyone_json(place: Path) -> Found:
    import fiftyone as fo
    from PIL import Image

    kind = fo.types.FiftyOneImageClassificationDataset
    for sample in fo.Dataset.from_dir(str(place), dataset_type=kind, label_field="label", progress=False):
        assert sample.label.provenance in ("seen", "bulk", "voted", "model")
        with Image.open(sample.filepath) as image:
            yield sample.label.label, digest(image)


def fiftyone_folders(place: Path) -> Found:
    import fiftyone as fo
    from PIL import Image

    kind = fo.types.ImageClassificationDirectoryTree
    for sample in fo.Dataset.from_dir(str(place), dataset_type=kind, progress=False):
        with Image.open(sample.filepath) as image:
            yield sample.ground_truth.label, digest(image)


def cvat_datumaro(place: Path) -> Found:
    import datumaro
    from PIL import Image

    dataset = datumaro.Dataset.import_from(str(place), "cvat")
    names = [one.name for one in dataset.categories()[datumaro.AnnotationType.label]]
    for item in dataset:
        (label,) = item.annotations
        with Image.open(item.media.path) as image:
            assert item.media.size == image.size[::-1]
            yield names[label.label], digest(image)


Way = tuple[str, str, str, Callable[[Path], Found]]
OTHERS: list[Way] = [
    ("folders", "datasets", 'load_dataset("imagefolder", data_dir=…)', hf_class_folders),
    ("hf", "datasets", "load_dataset(folder)", hf_folder),
    ("hf", "datasets", 'load_dataset("imagefolder", data_dir=…)', hf_imagefolder),
    ("hf-split", "datasets", "load_dataset(folder), three splits", hf_folder),
    ("hf-parquet", "datasets", "load_dataset(folder)", hf_parquet),
    ("hf-parquet-split", "datasets", "load_dataset(folder), three splits", hf_parquet),
    ("webdataset", "datasets", 'load_dataset("webdataset", …)', hf_webdataset),
    ("webdataset", "webdataset", "WebDataset(shards)", webdataset_package),
    ("cleanlab", "cleanlab", "find_label_issues", cleanlab_issues),
    ("label-studio", "label-studio-sdk", "LabelInterface.validate_prediction", label_studio),
    ("label-studio", "label-studio-sdk", "Converter to CSV, answers as predicted", label_studio_converter),
]
FIFTYONE: list[Way] = [
    ("fiftyone", "fiftyone", "from_dir(FiftyOneImageClassificationDataset)", fiftyone_json),
    ("folders", "fiftyone", "from_dir(ImageClassificationDirectoryTree)", fiftyone_folders),
]
DATUMARO: list[Way] = [
    ("cvat", "datumaro", 'Dataset.import_from(folder, "cvat")', cvat_datumaro),
    ("cvat-split", "datumaro", 'Dataset.import_from(folder, "cvat"), three splits', cvat_datumaro),
]
# By the environment that has the packages.
WAYS = {"others": OTHERS, "fiftyone": FIFTYONE, "datumaro": DATUMARO}


def main(folder: Path, which: str) -> None:
    for export, package, how, opened in WAYS[which]:
        said = {"export": export, "by": package, "version": importlib.metadata.version(package), "how": how}
        try:
            counts = Counter(opened(folder / export))
            told = {**said, "found": [[*key, count] for key, count in sorted(counts.items())]}
        except Exception as error:
            told = {**said, "failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
