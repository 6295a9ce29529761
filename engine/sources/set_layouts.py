"""The folder layout of each benchmark set, as distributed and as torchvision unpacks it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engine.data.skipped import Skipped
from engine.errors import SourceError, out_of_memory
from engine.sources.folders import walk
from engine.sources.set_files import CifarPart, IdxPart, Part, StlPart, about

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_SUPERCLASSES = (
    "aquatic mammals",
    "fish",
    "flowers",
    "food containers",
    "fruit and vegetables",
    "household electrical devices",
    "household furniture",
    "insects",
    "large carnivores",
    "large man-made outdoor things",
    "large natural outdoor scenes",
    "large omnivores and herbivores",
    "medium mammals",
    "non-insect invertebrates",
    "people",
    "reptiles",
    "small mammals",
    "trees",
    "vehicles 1",
    "vehicles 2",
)
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
EUROSAT_CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
# The subsets of ImageNet used to compare deep clustering methods (Chang et al., Deep Adaptive Image
# Clustering, ICCV 2017), by WordNet id. The lists of DAC and of Contrastive Clustering agree.
IMAGENET10 = {
    "n02056570": "king penguin",
    "n02085936": "Maltese dog",
    "n02128757": "snow leopard",
    "n02690373": "airliner",
    "n02692877": "airship",
    "n03095699": "container ship",
    "n04254680": "soccer ball",
    "n04285008": "sports car",
    "n04467665": "trailer truck",
    "n07747607": "orange",
}
IMAGENET_DOGS = {
    "n02085936": "Maltese dog",
    "n02086646": "Blenheim spaniel",
    "n02088238": "basset",
    "n02091467": "Norwegian elkhound",
    "n02097130": "giant schnauzer",
    "n02099601": "golden retriever",
    "n02101388": "Brittany spaniel",
    "n02101556": "clumber",
    "n02102177": "Welsh springer spaniel",
    "n02105056": "groenendael",
    "n02105412": "kelpie",
    "n02105855": "Shetland sheepdog",
    "n02107142": "Doberman",
    "n02110958": "pug",
    "n02112137": "chow",
}


@dataclass(frozen=True)
class Tree:
    """Image files with known classes, as paths below a folder.

    Attributes:
        stamps: (n, 2) int64, size and modification time of each file.
        classes: (n,) int64, indices into `class_names`.
    """

    files: list[str]
    stamps: np.ndarray
    classes: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Files:
    """A set of image files below `root`."""

    root: Path
    tree: Callable[[Path], Tree]


@dataclass(frozen=True)
class Blocks:
    """A set of arrays; `extra` are its unlabelled images."""

    parts: tuple[Part, ...]
    class_names: tuple[str, ...]
    extra: tuple[Part, ...] = ()


# -- finding a set -----------------------------------------------------------------------------


def cifar10(root: Path) -> Files | Blocks | None:
    folder = _holding("data_batch_1", root, root / "cifar-10-batches-py")
    if folder is not None:
        paths = [folder / f"data_batch_{number}" for number in range(1, 6)]
        parts = tuple(CifarPart(path, "train", "labels", 10) for path in paths)
        return Blocks(parts, CIFAR10_CLASSES)
    train = root / "train" if (root / "train").is_dir() else root
    return _class_folders(CIFAR10_CLASSES, train)


def cifar100(root: Path) -> Blocks | None:
    """The 20 superclasses are the coarse labels. The folder is recognized by its file `meta`, because a
    file named `train` could belong to anything."""
    folder = _holding("meta", root, root / "cifar-100-python")
    if folder is None:
        return None
    part = CifarPart(folder / "train", "train", "coarse_labels", 20)
    return Blocks((part,), CIFAR100_SUPERCLASSES)


def stl10(root: Path) -> Blocks | None:
    folder = _holding("train_X.bin", root, root / "stl10_binary")
    if folder is None:
        return None
    parts = tuple(
        StlPart(folder / f"{split}_X.bin", split, folder / f"{split}_y.bin", 10) for split in ("train", "test")
    )
    others = folder / "unlabeled_X.bin"
    extra = (StlPart(others, "unlabeled", None, 10),) if others.exists() else ()
    return Blocks(parts, STL10_CLASSES, extra)


def mnist(kind: str, class_names: tuple[str, ...], root: Path) -> Blocks | None:
    for ending in ("", ".gz"):
        name = f"train-images-idx3-ubyte{ending}"
        folder = _holding(name, root, root / "raw", root / kind / "raw")
        if folder is not None:
            labels = folder / "train-labels-idx1-ubyte"
            if not labels.exists():
                labels = labels.with_suffix(".gz")
            return Blocks((IdxPart(folder / name, "train", labels, 10),), class_names)
    return None


def imagenet(classes: Mapping[str, str], root: Path) -> Files | None:
    kaggle = root / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    for train in (root / "train", root / "ILSVRC2012_img_train", kaggle, root):
        missing = [f"{wnid} ({name})" for wnid, name in classes.items() if not (train / wnid).is_dir()]
        if len(missing) == len(classes):
            continue
        if missing:
            raise SourceError(
                f"{train} holds only {len(classes) - len(missing)} of the set's {len(classes)} "
                f"classes: add the folders {', '.join(missing)}"
            )
        return Files(train, partial(_classes, dict(classes)))
    return None


def tiny_imagenet(root: Path) -> Files | None:
    folder = _holding("wnids.txt", root, root / "tiny-imagenet-200")
    if folder is None:
        return None
    wnids = _lines(folder / "wnids.txt")
    words = dict(line.split("\t", 1) for line in _lines(folder / "words.txt") if "\t" in line)
    for wnid in wnids:
        if not re.fullmatch(r"n\d{8}", wnid) or not (folder / "train" / wnid).is_dir():
            raise SourceError(
                f"{folder / 'wnids.txt'} names {wnid!r}, but there is no folder train/{wnid}: unpack the set again"
            )
    first = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    twice = {name for name, times in Counter(first).items() if times > 1}
    names = [f"{name} ({wnid})" if name in twice else name for wnid, name in zip(wnids, first, strict=True)]
    return Files(folder / "train", partial(_classes, dict(zip(wnids, names, strict=True))))


def eurosat(root: Path) -> Files | None:
    return _class_folders(EUROSAT_CLASSES, root / "eurosat" / "2750", root / "2750", root)


def flowers102(root: Path) -> Files | None:
    folder = _holding("imagelabels.mat", root, root / "flowers-102")
    return None if folder is None else Files(folder, _flowers)


def oxford_pets(root: Path) -> Files | None:
    folder = _holding("annotations/trainval.txt", root, root / "oxford-iiit-pet")
    return None if folder is None else Files(folder, _pets)


def _holding(name: str, *folders: Path) -> Path | None:
    """The first of the folders that contains `name`."""
    return next((folder for folder in folders if (folder / name).exists()), None)


def _class_folders(class_names: tuple[str, ...], *folders: Path) -> Files | None:
    """The first of the folders that has a subfolder for each class."""
    for folder in folders:
        if all((folder / name).is_dir() for name in class_names):
            return Files(folder, partial(_classes, {name: name for name in class_names}))
    return None


def _lines(path: Path) -> list[str]:
    """The non-empty lines of a text file; raises SourceError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise SourceError(f"{path} cannot be read ({reason}): unpack the set again") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


# -- trees of files ----------------------------------------------------------------------------


def _classes(names: Mapping[str, str], root: Path) -> Tree:
    """The images in one folder per class; `names` maps folders to class names."""
    files: list[str] = []
    classes: list[int] = []
    stamps, skipped = [np.empty((0, 2), np.int64)], []
    for number, folder in enumerate(names):
        found = walk(root / folder)
        files += [f"{folder}/{path}" for path in found.files]
        classes += [number] * len(found.files)
        stamps.append(found.stamps)
        skipped += [Skipped(f"{folder}/{one.name}", one.reason) for one in found.skipped]
    labels = np.array(classes, np.int64)
    return Tree(files, np.concatenate(stamps), labels, tuple(names.values()), tuple(skipped))


def _flowers(root: Path) -> Tree:
    """jpg/image_00001.jpg …; value i of imagelabels.mat is the class of image number i."""
    from scipy.io import loadmat

    path = root / "imagelabels.mat"
    about(path)
    try:
        classes = np.asarray(loadmat(path)["labels"], np.int64).ravel() - 1
    except Exception as error:  # a damaged file may raise anything
        if out_of_memory(error):
            raise
        raise SourceError(f"{path} holds no labels of Flowers-102: {error}") from None
    class_names = _flower_names()
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(class_names):
        raise SourceError(f"{path} holds labels from {classes.min() + 1} to {classes.max() + 1}: expected 1 to 102")
    found = walk(root / "jpg")
    numbers = [re.fullmatch(r"image_(\d{5})\.jpg", name) for name in found.files]
    places = [int(match[1]) - 1 if match else -1 for match in numbers]
    known = np.array([0 <= place < len(classes) for place in places], bool)
    unknown = [
        Skipped(f"jpg/{name}", "imagelabels.mat has no label for it")
        for name, one in zip(found.files, known, strict=True)
        if not one
    ]
    files = [f"jpg/{name}" for name, one in zip(found.files, known, strict=True) if one]
    labels = classes[np.array(places, np.int64)[known]]
    return Tree(files, found.stamps[known], labels, class_names, (*found.skipped, *unknown))


def _flower_names() -> tuple[str, ...]:
    """Class names from torchvision, if its version has them; the set itself has only numbers."""
    from torchvision.datasets import Flowers102

    numbers = [f"flower {number}" for number in range(1, 103)]
    return tuple(getattr(Flowers102, "classes", numbers))


def _pets(root: Path) -> Tree:
    """images/NAME.jpg; annotations/trainval.txt and test.txt give the class of each NAME."""
    numbers: dict[str, int] = {}
    for split in ("trainval", "test"):
        path = root / "annotations" / f"{split}.txt"
        for line in _lines(path):
            match = re.fullmatch(r"([^\s/\\]+)\s+(\d+)\s+\d+\s+\d+", line)
            if match is None or not 1 <= int(match[2]) <= 37:
                raise SourceError(
                    f"{path} has the line {line[:80]!r}: expected NAME CLASS SPECIES BREED, with CLASS from 1 to 37"
                )
            numbers[f"{match[1]}.jpg"] = int(match[2])
    found = walk(root / "images")
    stamps = dict(zip(found.files, found.stamps, strict=True))
    reasons = {one.name: one.reason for one in found.skipped}
    files = [name for name in numbers if name in stamps]
    present, classes = np.unique([numbers[name] for name in files], return_inverse=True)
    breeds = {number: name.rpartition("_")[0].replace("_", " ") for name, number in numbers.items()}
    skipped = [
        Skipped(f"images/{name}", reasons.get(name, "there is no such file")) for name in numbers if name not in stamps
    ]
    return Tree(
        [f"images/{name}" for name in files],
        np.array([stamps[name] for name in files], np.int64).reshape(-1, 2),
        classes.astype(np.int64),
        tuple(breeds[int(number)] for number in present),
        tuple(skipped),
    )
