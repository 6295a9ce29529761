"""The benchmark sets of the literature, in the form in which they are distributed.

These images of each set are used:

- CIFAR-10, CIFAR-100-20, MNIST, Fashion-MNIST, ImageNet-10, ImageNet-Dogs, Tiny-ImageNet: training
  images. (The paper's headline figures also use the test images; ours on CIFAR-10 do not.)
- STL-10: training and test images, with the unlabelled images as `extra` for stage 1.
- EuroSAT, Flowers-102, Oxford-Pets: all images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engine.data.listing import Listing, Reader
from engine.data.truth import Truth
from engine.errors import SourceError
from engine.sources import set_layouts
from engine.sources.downloads import by_torchvision, downloaded, tiny_imagenet
from engine.sources.folders import FolderReader, existing_folder, readable, refused, unique
from engine.sources.set_files import Part, about
from engine.sources.set_layouts import Blocks, Files

# -- sources -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SetFiles:
    """A set of image files (a `FileSource`)."""

    text: str
    place: str
    side: int | None
    labels: bool
    found: Files

    def stamp(self) -> str:
        return ""

    def reader(self) -> Reader:
        return FolderReader(self.found.root)

    def listing(self) -> Listing:
        tree = self.found.tree(self.found.root)
        if not tree.files:
            if tree.skipped:
                raise SourceError(refused(self.found.root, tree.skipped))
            raise SourceError(f"{self.found.root} holds no image files of the set")
        class_of = dict(zip(tree.files, tree.classes, strict=True))
        names, keys, stamps, again = unique(tree.files, tree.stamps)
        truth = None
        if self.labels:
            truth = Truth(np.array([class_of[key] for key in keys], np.int64), tree.class_names)
        return Listing(names, stamps, keys, (*tree.skipped, *again), truth)


@dataclass(frozen=True, eq=False)
class SetBlocks:
    """A set of arrays (a `BlockSource`).

    Attributes:
        extra: extra unlabelled images for stage 1, such as STL-10's 100,000.
    """

    text: str
    place: str
    labels: bool
    parts: tuple[Part, ...]
    class_names: tuple[str, ...]
    extra: SetBlocks | None = None
    side: int | None = None

    def stamp(self) -> str:
        states = [about(path) for part in self.parts for path in part.files]
        return " ".join(f"{size}-{time}" for size, time in states)

    def listing(self) -> Listing:
        names: list[str] = []
        done: Counter[str] = Counter()
        for part in self.parts:
            numbers = range(done[part.split], done[part.split] + len(part.labels))
            names += [f"{part.split}-{number:05d}" for number in numbers]
            done[part.split] += len(part.labels)
        stamps = [np.tile(about(part.files[0]), (len(part.labels), 1)) for part in self.parts]
        truth = None
        if self.labels:
            truth = Truth(np.concatenate([part.labels for part in self.parts]), self.class_names)
        return Listing(tuple(names), np.concatenate(stamps), truth=truth)

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        for part in self.parts:
            if first >= len(part.labels):
                first -= len(part.labels)
                continue
            for block in part.blocks():
                if first < len(block):
                    yield block[first:]
                first = max(0, first - len(block))


# -- by name -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Benchmark:
    """A set that can be opened by name.

    Attributes:
        title: its name in the literature.
        side: the side of its images in pixels, or the size to scale image files to.
        find: finds the set in a folder; returns None if it is not there.
        expected: describes a folder that contains the set, for messages.
        address: its download URL; empty if it cannot be downloaded without an agreement.
        fetch: downloads it into a folder.
    """

    title: str
    side: int
    find: Callable[[Path], Files | Blocks | None]
    expected: str
    address: str = ""
    fetch: Callable[[str], object] | None = None


def _wnids(classes: Iterable[str]) -> str:
    first, *_, last = classes
    return f"ImageNet's folders train/{first} … train/{last} with .JPEG files"


SETS = {
    "cifar10": Benchmark(
        "CIFAR-10",
        32,
        set_layouts.cifar10,
        "torchvision's cifar-10-batches-py with data_batch_1 … data_batch_5, or the folders "
        "train/airplane … train/truck",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        by_torchvision("CIFAR10"),
    ),
    "cifar100-20": Benchmark(
        "CIFAR-100-20",
        32,
        set_layouts.cifar100,
        "torchvision's cifar-100-python with train and meta",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        by_torchvision("CIFAR100"),
    ),
    "stl10": Benchmark(
        "STL-10",
        96,
        set_layouts.stl10,
        "stl10_binary with train_X.bin, train_y.bin, test_X.bin, test_y.bin and, for stage 1, unlabeled_X.bin",
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        by_torchvision("STL10"),
    ),
    "imagenet10": Benchmark(
        "ImageNet-10", 224, partial(set_layouts.imagenet, set_layouts.IMAGENET10), _wnids(set_layouts.IMAGENET10)
    ),
    "imagenet-dogs": Benchmark(
        "ImageNet-Dogs",
        224,
        partial(set_layouts.imagenet, set_layouts.IMAGENET_DOGS),
        _wnids(set_layouts.IMAGENET_DOGS),
    ),
    "tiny-imagenet": Benchmark(
        "Tiny-ImageNet",
        64,
        set_layouts.tiny_imagenet,
        "tiny-imagenet-200 with wnids.txt, words.txt and train/WNID/images/*.JPEG",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        tiny_imagenet,
    ),
    "mnist": Benchmark(
        "MNIST",
        28,
        partial(set_layouts.mnist, "MNIST", tuple("0123456789")),
        "MNIST/raw with train-images-idx3-ubyte and train-labels-idx1-ubyte, or these with .gz",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        by_torchvision("MNIST"),
    ),
    "fashion-mnist": Benchmark(
        "Fashion-MNIST",
        28,
        partial(set_layouts.mnist, "FashionMNIST", set_layouts.FASHION_CLASSES),
        "FashionMNIST/raw with train-images-idx3-ubyte and train-labels-idx1-ubyte, or these with .gz",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        by_torchvision("FashionMNIST"),
    ),
    "eurosat": Benchmark(
        "EuroSAT",
        64,
        set_layouts.eurosat,
        "eurosat/2750 with the folders AnnualCrop … SeaLake",
        "https://huggingface.co/datasets/torchgeo/eurosat",
        by_torchvision("EuroSAT"),
    ),
    "flowers102": Benchmark(
        "Flowers-102",
        224,
        set_layouts.flowers102,
        "flowers-102 with jpg/image_*.jpg and imagelabels.mat",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        by_torchvision("Flowers102"),
    ),
    "oxford-pets": Benchmark(
        "Oxford-Pets",
        224,
        set_layouts.oxford_pets,
        "oxford-iiit-pet with images/*.jpg, annotations/trainval.txt and annotations/test.txt",
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        by_torchvision("OxfordIIITPet"),
    ),
}


def set_source(name: str, path: str | None, *, labels: bool = True) -> SetFiles | SetBlocks:
    """The benchmark set `name` in the folder `path`; without a path it is downloaded into the cache.

    Raises:
        SourceError: if the set is unknown, is not in the folder, or cannot be downloaded.
    """
    if name not in SETS:
        raise SourceError(f"there is no set {name!r}: expected one of {', '.join(SETS)}")
    known = SETS[name]
    if path is not None:
        root = existing_folder(path)
    elif known.fetch is None:
        raise SourceError(
            f"{known.title} cannot be downloaded, because ImageNet requires an agreement first: "
            f"open {name}:FOLDER, where FOLDER holds {known.expected}"
        )
    else:
        root = downloaded(name, known.title, known.address, known.fetch)
    found = known.find(root)
    if found is None:
        raise SourceError(f"{root} does not hold {known.title}: expected {known.expected}")
    text = readable(name if path is None else f"{name}:{path}")
    place = f"{name}:{readable(str(root.absolute()))}"
    if isinstance(found, Files):
        return SetFiles(text, place, known.side, labels, found)
    extra = None
    if found.extra:
        extra = SetBlocks(f"{text} unlabelled", f"{place} unlabelled", False, found.extra, ())
    return SetBlocks(text, place, labels, found.parts, found.class_names, extra)
